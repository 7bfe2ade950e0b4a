"""What Fig. 8 rests on: ePIE's measurements and PPN's records, by overlap."""

from __future__ import annotations

import dataclasses
import statistics
from collections.abc import Mapping
from typing import Any

from reproduce import paired

#: SSIM below which a difference is no gain: the rule that says where ePIE has converged.
GAIN = 0.01

#: Ways to run ePIE: key of its seconds, and its name.
ENGINES = {"python_s": "ePIE, Python loop", "compiled_s": "ePIE, compiled"}

CHANNEL = "amplitude"


@dataclasses.dataclass(frozen=True)
class Series:
    """Values over repeats or seeds."""

    values: tuple[float, ...]

    @property
    def mean(self) -> float:
        """Arithmetic mean."""
        return statistics.fmean(self.values)

    @property
    def variance(self) -> float | None:
        """Sample variance; None for one value."""
        return statistics.variance(self.values) if len(self.values) > 1 else None

    @property
    def sd(self) -> float | None:
        """Sample standard deviation; None for one value."""
        return None if self.variance is None else self.variance**0.5

    def to_dict(self) -> dict[str, Any]:
        """Return plain values for JSON."""
        return {"mean": self.mean, "variance": self.variance, "n": len(self.values)}


@dataclasses.dataclass(frozen=True)
class Facts:
    """What Fig. 8 shows, by overlap.

    Attributes
    ----------
    epie : mapping
        Overlap to the measurement's record.
    ppn : mapping
        (block, model, overlap, channel) to SSIM over seeds.
    runs : mapping
        (block, model) to hashes.
    """

    epie: Mapping[float, dict[str, Any]]
    ppn: Mapping[tuple[str, str, float, str], Series]
    runs: Mapping[tuple[str, str], tuple[str, ...]]

    @property
    def networks(self) -> tuple[str, ...]:
        """Networks that were timed."""
        first = next(iter(self.epie.values()), None)
        return tuple(first["cost"]["networks"]) if first else ()

    def epie_ssim(self, overlap: float, channel: str = CHANNEL) -> Series:
        """SSIM of ePIE over repeats, each with an order of its own."""
        scores = self.epie[overlap]["results"]["scores"]
        return Series(tuple(score[channel]["ssim"] for score in scores))

    def seconds(self, overlap: float, engine: str) -> Series:
        """Seconds of ePIE over repeats."""
        return Series(tuple(self.epie[overlap]["cost"][engine]))

    def network_seconds(self, overlap: float, model: str) -> Series:
        """Seconds of a network over repeats."""
        return Series(tuple(self.epie[overlap]["cost"]["networks"][model]["seconds"]))

    def converged_at(self, overlap: float) -> int | None:
        """First point of the curve from which SSIM stays within `GAIN` of its end.

        None where the last point alone does: the curve has not settled.
        """
        points = self.epie[overlap]["results"]["curve"]
        end = points[-1][CHANNEL]
        away = [i for i, point in enumerate(points) if abs(point[CHANNEL] - end) > GAIN]
        first = away[-1] + 1 if away else 0
        return points[first]["iterations"] if first < len(points) - 1 else None

    def enough_overlap(self) -> float | None:
        """Smallest overlap from which no larger one gains more than `GAIN`."""
        scores = {overlap: self.epie_ssim(overlap).mean for overlap in sorted(self.epie)}
        enough = [o for o, s in scores.items() if max(scores.values()) - s <= GAIN]
        return min(enough, default=None)

    def to_dict(self) -> dict[str, Any]:
        """Return plain values for JSON."""
        return {
            "epie": {f"{overlap:.2f}": record for overlap, record in self.epie.items()},
            "epie_ssim": {
                f"{overlap:.2f}/{channel}": self.epie_ssim(overlap, channel).to_dict()
                for overlap in self.epie
                for channel in ("amplitude", "phase")
            },
            "seconds": {
                f"{overlap:.2f}": {e: self.seconds(overlap, e).to_dict() for e in ENGINES}
                | {m: self.network_seconds(overlap, m).to_dict() for m in self.networks}
                for overlap in self.epie
            },
            "ppn_ssim": {
                f"{block}/{model}/{overlap:.2f}/{channel}": series.to_dict()
                for (block, model, overlap, channel), series in self.ppn.items()
            },
        }


def facts(
    epie: Mapping[float, dict[str, Any]],
    ppn: Mapping[tuple[str, str], Mapping[str, Mapping[int, dict[str, Any]]]],
) -> Facts:
    """Collect measurements and records; records without scores by overlap are left out."""
    scores: dict[tuple[str, str, float, str], Series] = {}
    runs = {}
    for (block, _), by_model in ppn.items():
        for model, by_seed in by_model.items():
            held = [r for _, r in sorted(by_seed.items()) if "overlap" in r["results"]]
            runs[block, model] = tuple(paired.name(record) for record in held)
            for overlap in epie if held else ():
                entries = [record["results"]["overlap"][f"{overlap:.2f}"] for record in held]
                for channel in ("amplitude", "phase"):
                    values = tuple(entry[channel]["field"]["ssim"] for entry in entries)
                    scores[block, model, overlap, channel] = Series(values)
    return Facts(epie, scores, runs)


def acquisition(found: Facts) -> list[tuple[str, float, str]]:
    """Return the readings of "acquisition efficiency" from 90 to 30 % overlap."""
    readings = [
        ("exact steps", (0.7 / 0.1) ** 2, "(22.4 / 3.2)^2"),
        ("whole-pixel steps", (22 / 3) ** 2, "(22 / 3)^2, the released rule of steps"),
    ]
    if {0.30, 0.90} <= set(found.epie):
        many, few = (found.epie[overlap]["results"]["patterns"] for overlap in (0.90, 0.30))
        readings.append(("points of our scans", many / few, f"{many} / {few} points, 128 x 128 px"))
    return readings
