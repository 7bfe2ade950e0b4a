"""Fig. 5: all methods trained and compared on measured diffraction (section IV-C).

Claim      On real data PPN consistently outperforms the other models across all metrics
           (PSNR, SSIM, MSE; amplitude and phase). No values are printed.
Command    python reproduce/fig5.py
Written    results/fig5.{csv,json,md,png,pdf}; runs in results/runs

Data: the paper's scan 20191008_39 where its two files are on this computer, else scan
247 of the same beamline. Labels of scan 247 are our own mixed-state ePIE: every score
compares a network with ePIE, not with the truth. The test block is the far end of the
scan; patches that share a pixel with it are not trained on.
"""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from reproduce.exhibit import Context, Exhibit, Output, Record, run
from reproduce.options import run_script

if TYPE_CHECKING:
    import numpy as np

    from reproduce.parts.stitched import Region

METHODS = ("ppn", "ppn-released", "ptychonn", "ptynet", "dpi")
CNNS = ("ptychonn", "ptynet", "dpi")
KEY = ("measured",)

ABSENT = (
    "The paper's scan 20191008_39 (161 x 161 points) was not found: its two files, 930 MB, are "
    'not downloaded by this script. To get them: `python -c "from ppn_tf import data; '
    'from ppn_tf.data.nanoprobe import SCAN_39; [data.fetch(name) for name in SCAN_39]"`, or '
    "place them at `ptychonn/20191008_39_diff_reduced.npz` and "
    "`ptychonn/20191008_39_amp_pha_10nm_full.npy` below PPN_TF_DATA."
)
USED = {
    "scan-39": (
        "Data: the paper's scan 20191008_39, 161 x 161 points, with the patches that its authors "
        "published. Detector: 64 px summed over 2 x 2 px, so that the window shrinks to the "
        "central 32 x 32 px of each patch (10 nm a pixel, as published)."
    ),
    "scan-247": (
        "Data: scan 247 of the same beamline (26-ID), 481 points over a disc. Labels: three-mode "
        "ePIE with free probe on the corrected positions. Detector: 128 px summed over 4 x 4 px. "
        "Cropping was no choice: the central 32 px hold 0.2 % of the counts, inside the shadow of "
        "the zone plate's stop. The label is averaged over 2 x 2 px, as a complex field, so that "
        "32 px show the central 64 px of the window, with 94 % of the probe's energy; 32 px of "
        "full resolution would show 28 %. The binned pattern so has half the samples along each "
        "axis that a probe of this width asks for."
    ),
}


def grid(profile: Any, object_name: str, seeds: int | None) -> Any:
    """Return the runs on measured data; none where no scan is on this computer."""
    from ppn_tf import trivial
    from reproduce import experiments
    from reproduce.parts import real

    name = real.object_name(profile.name)
    if name is None:
        return {}
    models = (*METHODS, *(f"trivial:{found}" for found in trivial.available()))
    return {
        KEY: [
            experiments.run_spec(
                model, seed, profile, name, real.PATCHES, epochs=real.epochs(model, name)
            )
            for seed in range(experiments.seed_count("fig5", profile, seeds))
            for model in models
        ]
    }


def make(here: Context) -> Output:
    """Score patches and the stitched block, test the ordering, draw one seed."""
    from reproduce import compare, render, tables
    from reproduce.parts import orderings, real

    records = tables.by_method(here.found(*KEY))
    every, claims = [], []
    for block in (real.PATCHES, real.FIELD):
        for metric in tables.METRICS:
            values = {m: _values(runs, block, metric) for m, runs in records.items()}
            hashes = {m: {s: r["hash"] for s, r in runs.items()} for m, runs in records.items()}
            every += [
                orderings.value_cell(values[m], m, block.name, metric, hashes[m]) for m in records
            ]
            claims += [
                orderings.ordering_cell(
                    *tables.pair_values(records, (ours, cnn), block, metric),
                    block.name,
                    metric,
                    here.profile.name,
                )
                for ours in METHODS[:2]
                for cnn in CNNS
            ]
    lines = about(here, records)
    for block in (real.PATCHES, real.FIELD):
        if records:
            rows = table([cell for cell in every if cell.block == block.name])
            heading = f"## Test block, {block.why}"
            lines += [heading, "", render.aligned(compare.markdown_table(rows))]
    lines += ["## PPN consistently outperforms the other models across all metrics", ""]
    lines += [
        orderings.claim_line(
            f"{ours}, {block.name}",
            [c for c in claims if c.block == block.name and c.method.startswith(f"{ours} - ")],
        )
        for ours in METHODS[:2]
        for block in (real.PATCHES, real.FIELD)
    ]
    names = draw(here) if records else ()
    return Output("\n".join(lines), [*every, *claims], figures=names, about=scan_of(here)[1])


def _values(runs: Mapping[int, Record], block: Any, metric: str) -> dict[int, float]:
    from reproduce import tables

    return {seed: tables.value(record, block, metric) for seed, record in runs.items()}


def scan_of(here: Context) -> tuple[str, str]:
    """Return the name of the measured scan, empty if there is none, and its title."""
    names = {spec.object_name for specs in here.grid.values() for spec in specs}
    scan = next(iter(names), "").partition("/")[0]
    return scan, {
        "": "no measured data found",
        "scan-39": "measured data, the paper's scan (26-ID, 20191008_39)",
        "scan-247": "measured data, scan 247 (not the paper's)",
    }[scan]


def about(here: Context, records: Mapping[str, Mapping[int, Record]]) -> list[str]:
    """Say which data these are, how they were split, and what is missing."""
    from reproduce.parts import real

    scan, _ = scan_of(here)
    lines = [] if scan == "scan-39" else [ABSENT, ""]
    if not scan:
        return [*lines, "Scan 247 was not found either: nothing to train on or to draw.", ""]
    lines += [USED[scan], ""]
    missing = [method for method in METHODS if method not in records]
    if missing:
        lines += [f"No record yet: {', '.join(missing)}.", ""]
    if not records:
        return lines
    record = next(iter(next(iter(records.values())).values()))
    split, label = record["results"]["split"], record["data"].get("label")
    lines += [
        f"Split in space: {split['train']} patches to train on (5 % of them for validation), "
        f"{split['test']} in the test block, {split['gap']} left out because they share pixels "
        f"with it; pixels shared by training and test: {split['shared_pixels']}.",
        "",
    ]
    if label:
        lines += [
            f"Labels: {label['iterations']} iterations, R-factor {label['first_error']:.4f} to "
            f"{label['last_error']:.4f} (label {label['hash']}). Phase ramp and global phase are "
            "removed, the median amplitude is 1.",
            "",
        ]
    if label and here.profile.epochs is None:
        lines += [
            f"Epochs: {real.EPOCH_FACTOR[scan]} times those of the paper, which gives as many "
            "steps of the optimiser as on the chart.",
            "",
        ]
    return lines


def table(cells: Sequence[Any]) -> list[dict[str, str]]:
    """Arrange cells as a row per method."""
    from reproduce import tables

    rows: dict[str, dict[str, str]] = {}
    for cell in cells:
        row = rows.setdefault(cell.method, {"method": cell.method, "n": str(cell.n)})
        row[tables.HEADINGS[cell.metric]] = cell.text
    return list(rows.values())


def draw(here: Context) -> tuple[str, ...]:
    """Draw the test block of the first seed: a row per method, zooms and errors beside it."""
    import matplotlib.pyplot as plt

    from reproduce import figures
    from reproduce.parts import panels, pictures

    shown = regions(here)
    if len(shown) < 2:
        return ()
    truth = shown.pop("truth")
    height, width = truth.fields["phase"].shape
    box = pictures.finest(truth.fields["phase"], min(40, height, width))
    ratios = [width / height, width / height, 1.0] * 2
    with figures.styled():
        tall = figures.PAGE_IN / sum(ratios) * (len(shown) + 1) * 1.05 + 0.75
        figure, axes = plt.subplots(
            len(shown) + 1, 6, figsize=(figures.PAGE_IN, tall), width_ratios=ratios, squeeze=False
        )
        for start, channel in ((0, "amplitude"), (3, "phase")):
            picture = truth.fields[channel]
            limits = pictures.limits(picture)
            _row(axes[0, start : start + 3], picture, None, box, limits)
            for row, region in zip(axes[1:], shown.values(), strict=True):
                drawn = _row(row[start : start + 3], region.fields[channel], picture, box, limits)
            labels = (f"{channel}\n(target scale)", "error", "zoom")
            panels.titles(axes[0, start : start + 3], labels)
            axes[0, start + 1].axis("off")
            for column, image in ((start, drawn[0]), (start + 1, drawn[1])):
                bar = figure.colorbar(
                    image, ax=list(axes[:, column]), location="bottom", aspect=14, pad=0.02
                )
                bar.ax.tick_params(labelsize=6)
                bar.outline.set_linewidth(0.4)
        names = ["label", *(figures.NAMES.get(method, method) for method in shown)]
        for row, name in zip(axes, names, strict=True):
            row[0].set_ylabel(name, fontsize=7)
        return figures.save(figure, here.session.out, "fig5", notes(here))


def _row(
    axes: Sequence[Any],
    picture: np.ndarray,
    truth: np.ndarray | None,
    box: Any,
    limits: tuple[float, float],
) -> tuple[Any, Any]:
    from reproduce.parts import panels, pictures

    options = {"cmap": "gray", "vmin": limits[0], "vmax": limits[1]}
    image = panels.draw(axes[0], picture, **options)
    pictures.mark(axes[0], box)
    panels.draw(axes[2], picture[box], **options)
    axes[2].set_anchor("W")
    if truth is None:
        return image, None
    limit = limits[1] - limits[0]
    error = panels.draw(axes[1], picture - truth, cmap="RdBu_r", vmin=-limit, vmax=limit)
    return image, error


def regions(here: Context) -> dict[str, Region]:
    """Return the kept predictions of the lowest seed by method, and their label as "truth"."""
    import numpy as np

    from ppn_tf import npzfile
    from reproduce.parts import stitched
    from reproduce.parts.real import CHANNELS

    pairs = [(spec, record) for spec, record in here.found(*KEY) if spec.trivial is None]
    seed = min((spec.seed for spec, _ in pairs), default=0)
    found: dict[str, Any] = {}
    for spec, _ in pairs:
        path = here.store.path(spec, "npz")
        if spec.seed != seed or not path.exists():
            continue
        kept = npzfile.read(path)
        for name, prefix in (("truth", "target_"), (spec.method, "")):
            patches = {c: kept[prefix + c].astype(np.float64) for c in CHANNELS}
            found.setdefault(name, stitched.region(patches, kept["positions_px"]))
    return found


def notes(here: Context) -> list[str]:
    """Say below the figure what it shows."""
    name = next(spec.object_name for specs in here.grid.values() for spec in specs)
    scan = name.partition("/")[0]
    lines = [
        "scan 20191008_39 of the paper"
        if scan == "scan-39"
        else "scan 247, not the paper's scan; label: our ePIE"
    ]
    if here.profile.name != "paper":
        lines.append(f"profile {here.profile.name}: not the paper's protocol")
    return lines


EXHIBIT = Exhibit("fig5", "Fig. 5 (measured data)", grid, make)


def main(argv: Sequence[str] | None = None) -> None:
    """Train what is missing and make Fig. 5."""
    run(EXHIBIT, __doc__, argv)


if __name__ == "__main__":
    run_script(main)
