"""Diagonal profiles, band energies and attention mass of Fig. 4, from records."""

from __future__ import annotations

import dataclasses
import functools
import statistics
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from ppn_tf import spectrum
from reproduce import compare, paired
from reproduce.tables import Cell

Record = dict[str, Any]
Runs = Mapping[int, Record]

CNNS = ("ptychonn", "ptynet", "dpi")
PPN = ("ppn", "ppn-released")

#: What spectra are of, to the region of the record: single patches without training pixels,
#: and the stitched field, which must be square to have a diagonal.
KINDS = {"patches": "gap", "field": "lower-right"}

#: Ways to read "2.1 to 3.7 times greater mid-frequency attenuation", PPN against a CNN. The
#: first one is judged, fixed before any run: the paper gives the energies in brackets as
#: shares of the total energy.
READINGS = {
    "share": "mid-band share of the diagonal profile, PPN's over the CNN's",
    "power": "mid-band power of the diagonal profile, PPN's over the CNN's",
    "loss": "share of the true mid-band power that is lost, the CNN's over PPN's",
    "share (corner)": "mid-band share with bands up to the end of the diagonal, PPN's over the "
    "CNN's",
}


@dataclasses.dataclass(frozen=True, eq=False)
class Profile:
    """The diagonal of a mean power spectrum.

    Attributes
    ----------
    frequency : (K,) float
        Over Nyquist, 0 first.
    power : (K,) float
        On the target scale, squared; mean of each image removed.
    """

    frequency: np.ndarray
    power: np.ndarray

    @property
    def shares(self) -> dict[str, float] | None:
        """Share of the profile in the three bands; None for a constant image."""
        if not self.power.sum() > 0:
            return None
        return spectrum.profile_band_energies(self.frequency, self.power)

    @property
    def to_corner(self) -> Profile:
        """The same with the end of the diagonal as Nyquist: bands are 1.41 times as wide."""
        return Profile(self.frequency / np.sqrt(2), self.power)

    @property
    def mid(self) -> float:
        """Power in the middle band."""
        shares = self.shares
        return 0.0 if shares is None else shares["mid"] * float(self.power.sum())

    @property
    def floor(self) -> float:
        """Median power beyond Nyquist, where the chart has next to nothing."""
        return float(np.median(self.power[self.frequency > 1.0]))


def profile(record: Record, channel: str, kind: str, side: str = "prediction") -> Profile:
    """Return one profile of a record.

    Parameters
    ----------
    record : dict
    channel : {"amplitude", "phase"}
    kind : {"patches", "field"}
    side : {"prediction", "truth"}
    """
    found = record["results"]["spectrum"][KINDS[kind]][channel][side][kind]
    return Profile(np.array(found["frequency"]), np.array(found["power"]))


def spread(runs: Runs, channel: str, kind: str) -> tuple[np.ndarray, ...]:
    """Return frequency, and mean, smallest and largest power over seeds."""
    profiles = [profile(record, channel, kind) for record in runs.values()]
    powers = np.array([found.power for found in profiles])
    return profiles[0].frequency, powers.mean(0), powers.min(0), powers.max(0)


def ratio(reading: str, ppn: Record, cnn: Record, channel: str, kind: str) -> float | None:
    """Return the attenuation of a CNN relative to PPN in one seed, see `READINGS`."""
    ours, other = (profile(record, channel, kind) for record in (ppn, cnn))
    if reading == "share (corner)":
        ours, other = ours.to_corner, other.to_corner
    if None in (ours.shares, other.shares):
        return None
    if reading.startswith("share"):
        pair = ours.shares["mid"], other.shares["mid"]
    elif reading == "power":
        pair = ours.mid, other.mid
    else:
        true = profile(ppn, channel, kind, "truth").mid
        pair = true - other.mid, true - ours.mid
        # no loss: a ratio of losses has no meaning
        if min(pair) <= 0:
            return None
    return pair[0] / pair[1] if pair[1] > 0 else None


def ratios(
    records: Mapping[str, Runs], ppn: str, reading: str, channel: str, kind: str
) -> dict[str, dict[int, float]]:
    """Return ratios by CNN and seed, for the seeds that PPN and the CNN share on one backend."""
    found = {}
    for cnn in CNNS:
        own, runs = paired.pair(records, (ppn, cnn))
        values = {
            seed: ratio(reading, record, runs[seed], channel, kind) for seed, record in own.items()
        }
        found[cnn] = {seed: value for seed, value in values.items() if value is not None}
    return found


def attenuation_cells(
    records: Mapping[str, Runs], channels: Sequence[str], profile_name: str
) -> list[Cell]:
    """Compare the smallest and largest ratio over the three CNNs with the paper's."""
    found = []
    for ppn in PPN:
        for channel in channels:
            for kind in KINDS:
                for reading, how in READINGS.items():
                    values = ratios(records, ppn, reading, channel, kind)
                    judged = reading == "share" and kind == "patches"
                    for end, pick in (("min", min), ("max", max)):
                        found.append(
                            _extreme(
                                f"claims.mid_frequency_attenuation_{end}" if judged else None,
                                (ppn, f"{end} {reading} {channel} {kind}"),
                                f"{how}; {kind}, {channel}; {end} over the three CNNs",
                                values if all(values.values()) else {},
                                pick,
                                records,
                                profile_name,
                            )
                        )
    return found


def _extreme(
    key: str | None,
    names: tuple[str, str],
    how: str,
    values: Mapping[str, Mapping[int, float]],
    pick: Any,
    records: Mapping[str, Runs],
    profile_name: str,
) -> Cell:
    ppn, metric = names
    if not values:
        return cell(key, ppn, metric, how, {}, {}, profile_name)
    cnn = pick(values, key=lambda name: statistics.fmean(values[name].values()))
    both = paired.rows(records, (ppn, cnn))
    runs = {seed: both[seed] for seed in values[cnn]}
    return cell(key, ppn, metric, f"{how}: {cnn}", values[cnn], runs, profile_name, "ratio")


def share_cells(
    records: Mapping[str, Runs], channels: Sequence[str], profile_name: str
) -> list[Cell]:
    """Return band shares of every method and of the truth, next to those published."""
    found = []
    for channel in channels:
        for kind in KINDS:
            for band in spectrum.BANDS:
                how = f"share of the diagonal profile in the {band} band; {kind}, {channel}"
                metric = f"{band} share {channel} {kind}"
                for method in ("truth", *records):
                    key = _published(method, band, kind)
                    runs = _runs(records, method)
                    values = _shares(runs, method, channel, kind, band)
                    pairs = {seed: (runs[seed],) for seed in values}
                    found.append(cell(key, method, metric, how, values, pairs, profile_name))
                    if band == "mid":
                        wide = _shares(runs, method, channel, kind, band, corner=True)
                        names = f"{metric} (corner)", f"{how}, bands up to the diagonal's end"
                        found.append(cell(None, method, *names, wide, pairs, profile_name))
    return found


def _runs(records: Mapping[str, Runs], method: str) -> Runs:
    if method != "truth":
        return records[method]
    # the truth is the same for all
    first = next((runs for runs in records.values() if runs), {})
    return dict(list(first.items())[:1])


def _published(method: str, band: str, kind: str) -> str | None:
    ids = {("mid", cnn): "claims.mid_band_share_cnn" for cnn in CNNS}
    ids |= {("high", ppn): "claims.high_band_share_ppn" for ppn in PPN}
    ids["high", "truth"] = "claims.high_band_share_truth"
    return ids.get((band, method)) if kind == "patches" else None


def _shares(
    runs: Runs, method: str, channel: str, kind: str, band: str, *, corner: bool = False
) -> dict[int, float]:
    side = "truth" if method == "truth" else "prediction"
    found = {}
    for seed, record in runs.items():
        one = profile(record, channel, kind, side)
        shares = (one.to_corner if corner else one).shares
        if shares is not None:
            found[seed] = shares[band]
    return found


def unanswered(every: Sequence[Cell], profile_name: str) -> list[Cell]:
    """Return empty cells for published ids that no cell answers yet."""
    ids = [f"claims.mid_frequency_attenuation_{end}" for end in ("min", "max")]
    ids += ["claims.mid_band_share_cnn", "claims.high_band_share_ppn"]
    ids += ["claims.high_band_share_truth"]
    there = {found.id for found in every}
    return [cell(key, "", "", "", {}, {}, profile_name) for key in ids if key not in there]


def cell(
    key: str | None,
    method: str,
    metric: str,
    how: str,
    values: Mapping[int, float],
    runs: Mapping[int, Sequence[Record]],
    profile_name: str,
    unit: str = "1",
) -> Cell:
    """Make a cell from values by seed, judged where a published id is given."""
    published = _paper()[key] if key else None
    numbers = list(values.values())
    mean = statistics.fmean(numbers) if numbers else None
    sd = statistics.stdev(numbers) if len(numbers) > 1 else None
    judged = None
    if published and numbers:
        judged = compare.verdict(
            published, mean, sd, len(numbers), column_gap=None, profile=profile_name
        )
    return Cell(
        key,
        "clean",
        "sound",
        method,
        metric,
        published and published.value,
        published and published.sd,
        mean,
        sd,
        len(numbers),
        judged and judged.to_dict(),
        tuple(paired.name(record) for seed in runs for record in runs[seed]),
        published.unit if published else unit,
        how,
    )


@functools.cache
def _paper() -> dict[str, compare.Published]:
    # parsing the file takes longer than all the rest
    return compare.load_paper()


def attention(runs: Runs) -> dict[str, tuple[np.ndarray, np.ndarray]]:
    """Return the relative attention mass by layer: radius over Nyquist, and its mean.

    Over heads and seeds; 1 is what uniform attention gives. Empty without such layers.
    """
    found = [r["results"].get("attention") for r in runs.values()]
    found = [entry for entry in found if entry]
    if not found:
        return {}
    radius = np.array(found[0]["radius_px"]) / WINDOW_NYQUIST_PX
    return {
        layer: (
            radius,
            np.mean([head["relative"] for e in found for head in e["layers"][layer]], axis=0),
        )
        for layer in found[0]["layers"]
    }


#: Radius of the detector's edge.
WINDOW_NYQUIST_PX = 16


def attention_rows(records: Mapping[str, Runs]) -> list[dict[str, str]]:
    """Return rows of attention mass by band, relative to the band's share of pixels."""
    rows = []
    for method, runs in records.items():
        found = [r["results"].get("attention") for _, r in sorted(runs.items())]
        found = [entry for entry in found if entry]
        for layer in found[0]["layers"] if found else ():
            for head in range(len(found[0]["layers"][layer])):
                row = {"method": method, "layer": layer, "head": str(head + 1)}
                row["n"] = str(len(found))
                for band, values in _relative(found, layer, head).items():
                    sd = f" ± {statistics.stdev(values):.2f}" if len(values) > 1 else ""
                    row[band] = f"{statistics.fmean(values):.2f}{sd}"
                rows.append(row)
    return rows


def attention_said(records: Mapping[str, Runs]) -> list[str]:
    """Say for each method in how many heads the middle band is preferred to all others."""
    lines = []
    for method, runs in records.items():
        found = [r["results"].get("attention") for _, r in sorted(runs.items())]
        found = [entry for entry in found if entry]
        heads = [
            {band: statistics.fmean(v) for band, v in _relative(found, layer, head).items()}
            for layer in (found[0]["layers"] if found else ())
            for head in range(len(found[0]["layers"][layer]))
        ]
        if heads:
            first = sum(max(head, key=head.get) == "mid" for head in heads)
            lines.append(
                f"- {method}: the middle band has the largest relative mass in {first} of "
                f"{len(heads)} heads"
            )
    return lines


def _relative(found: Sequence[Mapping[str, Any]], layer: str, head: int) -> dict[str, list]:
    return {
        band: [e["layers"][layer][head]["bands"][band] / e["bands"][band] for e in found]
        for band in (*spectrum.BANDS, "corner")
    }
