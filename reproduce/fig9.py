"""Fig. 9: ablation of PPN, reconstructed fields and cross-sections.

Claim      Without the Non-Local branch the phase loses structural coherence, with plain
           attention edges are poorer, without the decoder the image is blurred and its
           levels are off; the full network is best (section IV-F).
Command    python reproduce/fig9.py
Written    results/fig9.{csv,json,md,png,pdf}

The runs are those of Table II, network `ppn`. Images and sections are of seed 0, the
measured edge widths and contrasts of all seeds. The truth alone chooses the section: the
row with the most edges among those without training pixels.
"""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from reproduce.exhibit import Context, Exhibit, Output, run
from reproduce.options import run_script

if TYPE_CHECKING:
    from matplotlib.axes import Axes

    from reproduce.parts.stitched import Region

FORM = "ppn"

#: Row of Table II to its short name, colour and line; the full network has PPN's colour.
LOOKS = {
    "full": ("full", "#D55E00", "-"),
    "without-nlb": ("w/o NLB", "#332288", "--"),
    "mhsa": ("MHSA in NLB", "#44AA99", "-."),
    "without-decoder": ("w/o decoder", "#AA4499", (0, (1, 1))),
}


def grid(profile: Any, object_name: str, seeds: int | None) -> Any:
    """Return the runs of Table II for `FORM`, sound block."""
    from reproduce import table2

    whole = table2.grid(profile, object_name, seeds)
    return {key: specs for key, specs in whole.items() if key[:3] == ("sound", "clean", FORM)}


def make(here: Context) -> Output:
    """Draw seed 0; measure all seeds."""
    from reproduce import compare, render
    from reproduce.parts import qualities
    from reproduce.parts.stitched import CHANNELS

    records = {
        variant: {spec.seed: record for spec, record in here.found("sound", "clean", FORM, variant)}
        for variant in LOOKS
    }
    records = {variant: runs for variant, runs in records.items() if runs}
    every = qualities.cells(records, tuple(LOOKS), CHANNELS)
    if not records:
        return Output("No record yet: nothing to measure or draw.", every)
    shown, truth = regions(here)
    names = () if truth is None else draw(here, shown, truth)
    missing = [LOOKS[variant][0] for variant in LOOKS if variant not in shown]
    lines = [f"Not drawn, no predictions of seed 0 yet: {', '.join(missing)}.", ""]
    lines = lines if missing else []
    for channel in CHANNELS:
        table = compare.markdown_table(qualities.rows(every, records, tuple(LOOKS), channel))
        lines += [f"## {channel.capitalize()}", "", render.aligned(table)]
    others = [variant for variant in LOOKS if variant != "full"]
    lines += qualities.said(records, "full", others, CHANNELS)
    lines += ["", "Scores are in Table II; how these are measured, in Fig. 3."]
    return Output("\n".join(lines), every, figures=names)


def regions(here: Context) -> tuple[dict[str, Region], Region | None]:
    """Return the kept predictions of seed 0 by variant, and the truth."""
    from reproduce.parts import stitched

    found: dict[str, Region] = {}
    truth = None
    for variant in LOOKS:
        for spec, record in here.found("sound", "clean", FORM, variant):
            region = stitched.kept(here.store.beside(spec, "npz")) if spec.seed == 0 else None
            if region is not None:
                found[variant] = region
                truth = truth or stitched.truth(record, region)
    return found, truth


def draw(here: Context, shown: Mapping[str, Region], truth: Region) -> tuple[str, ...]:
    """Draw the stitched fields above, the cross-sections below."""
    import matplotlib.pyplot as plt

    from reproduce import figures
    from reproduce.parts import panels, stitched

    row = stitched.section(truth)
    columns = 1 + len(LOOKS)
    labels = ["ground truth", *(LOOKS[variant][0] for variant in LOOKS)]
    with figures.styled():
        figure = plt.figure(figsize=(figures.PAGE_IN, 6.4))
        above, below = figure.subfigures(2, 1, height_ratios=(2.7, 3.7))
        axes = above.subplots(2, columns)
        for pair, channel in zip(axes, stitched.CHANNELS, strict=True):
            images = [truth, *(shown.get(variant) for variant in LOOKS)]
            for ax, region in zip(pair, images, strict=True):
                if region is None:
                    ax.axis("off")
                    ax.text(0.5, 0.5, "no record yet", ha="center", color="0.5", fontsize=7)
                    continue
                drawn = panels.draw(ax, region.fields[channel], cmap="gray", vmin=0, vmax=1)
                ax.axhline(row, color="#56B4E9", lw=0.8, ls=":")
            pair[0].set_ylabel(channel)
            bar = above.colorbar(drawn, ax=list(pair), fraction=0.02, pad=0.01, ticks=(0, 0.5, 1))
            bar.outline.set_linewidth(0.4)
        panels.titles(axes[0], labels)
        sections = below.subplots(2, 1, sharex=True)
        for ax, channel in zip(sections, stitched.CHANNELS, strict=True):
            profiles(ax, shown, truth, channel, row)
        sections[-1].set_xlabel("column of the field (px)")
        handles, names = sections[0].get_legend_handles_labels()
        below.legend(handles, names, loc="outside upper center", ncols=len(names))
        about = f"dotted line: the section, row {row} of the stitched field; seed 0"
        return figures.save(figure, here.session.out, "fig9", [about, *panels.notes(here)])


def profiles(ax: Axes, shown: Mapping[str, Region], truth: Region, channel: str, row: int) -> None:
    """Draw one row of the truth and of every variant."""
    from reproduce import figures

    look = figures.style("truth")
    ax.plot(truth.fields[channel][row], color=look["color"], label=look["label"], lw=1.0)
    for variant, region in shown.items():
        label, color, line = LOOKS[variant]
        ax.plot(region.fields[channel][row], color=color, ls=line, label=label)
    ax.set_xlim(0, truth.fields[channel].shape[1] - 1)
    ax.set_ylim(-0.08, 1.08)
    ax.set_ylabel(f"{channel}\n(target scale)")


EXHIBIT = Exhibit("fig9", "Fig. 9", grid, make)


def main(argv: Sequence[str] | None = None) -> None:
    """Train what is missing and write Fig. 9."""
    run(EXHIBIT, __doc__, argv)


if __name__ == "__main__":
    run_script(main)
