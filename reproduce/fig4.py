"""Fig. 4: power spectra along the diagonal, and where attention goes.

Claim      PPN's power spectrum follows the truth's; the CNNs attenuate middle frequencies
           2.1 to 3.7 times more; PoCA preferentially weights mid-frequency correlations
           (section IV-B3).
Command    python reproduce/fig4.py
Written    results/fig4.{csv,json,md,png,pdf}

Bands as in the paper: 0-1/3, 1/3-2/3 and 2/3-1 of Nyquist, here that of an image axis (the
diagonal goes on to 1.41). ``--add-model`` adds a network of your own.
"""

from __future__ import annotations

import math
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from reproduce.exhibit import Context, Exhibit, Output, run
from reproduce.options import run_script

if TYPE_CHECKING:
    from matplotlib.axes import Axes

    from reproduce.tables import Cell

METHODS = ("ppn", "ppn-released", "ptychonn", "ptynet", "dpi")
KEY = ("sound", "clean")
CHANNELS = ("amplitude", "phase")

#: Lines of the attention layers, from the input on.
LINES = ("-", "--", "-.", ":")


def grid(profile: Any, object_name: str, seeds: int | None) -> Any:
    """Return the networks of Table I, sound block, noise-free."""
    from reproduce import experiments

    table = experiments.table1(profile, object_name, seeds)
    return {KEY: [spec for spec in table[KEY] if spec.trivial is None]}


def make(here: Context) -> Output:
    """Compare bands and draw the profiles."""
    from reproduce import compare, render, tables
    from reproduce.parts import bands

    found = tables.by_method(here.found(*KEY))
    records = {m: found[m] for m in (*METHODS, *found) if m in found}
    every = bands.attenuation_cells(records, CHANNELS, here.profile.name)
    every += bands.share_cells(records, CHANNELS, here.profile.name) if records else []
    every += bands.unanswered(every, here.profile.name)
    if not records:
        return Output("No record yet: nothing to compare or draw.", every)
    names = draw(here, records)
    missing = [method for method in METHODS if method not in records]
    lines = [f"No record yet of {', '.join(missing)}.", ""] if missing else []
    lines += ["## Energy by band", ""]
    lines += [render.aligned(compare.markdown_table(rows(every, records)))]
    lines += ["## Attenuation of the middle band, CNNs against PPN", ""]
    lines += [*attenuation_text(every), *nearest_text(every)]
    lines += ["", "## Attention mass by key radius", ""]
    table = bands.attention_rows(records)
    if table:
        lines += [render.aligned(compare.markdown_table(table))]
        lines += ["Softmax weight that the keys of a band receive, mean over queries and test"]
        lines += ["patterns, relative to the band's share of the detector's pixels: 1 is uniform."]
        lines += ["", *bands.attention_said(records)]
    else:
        lines += ["No record with attention measured yet: it is part of evaluation version 2."]
    return Output("\n".join([*lines, "", *HOW]), every, figures=names)


HOW = (
    "- patches: mean spectrum of the patches of region gap, which share no pixel with training; "
    "field: stitched region lower-right, Hann window. The mean of every image is removed",
    "- shares are of the diagonal profile; the rest lies beyond Nyquist (1 to 1.41)",
    "- the paper does not say whether its Nyquist is that of an image axis or the end of the "
    "diagonal, its corner. The first, fixed before any run, is judged; '(corner)' has the other, "
    "with bands 1.41 times as wide",
    "- floor: median power beyond Nyquist, over the truth's: above 1 the prediction has more "
    "there than the truth",
    "- a ratio above 1 says that PPN has more power in the middle band than the CNN, not that it "
    "is nearer to the truth: see the truth's share",
    "- the paper does not say whether its numbers are of amplitude or phase: both are compared",
)


def rows(every: Sequence[Cell], records: Mapping[str, Any]) -> list[dict[str, str]]:
    """Return a row per kind, channel and method: shares, and the floor."""
    from reproduce.parts import bands

    first = next(iter(next(iter(records.values())).values()))
    table = []
    for kind in bands.KINDS:
        for channel in CHANNELS:
            true_floor = bands.profile(first, channel, kind, "truth").floor
            for method in ("truth", *records):
                row = {"of": kind, "channel": channel, "method": method}
                for band in bands.spectrum.BANDS:
                    metric = f"{band} share {channel} {kind}"
                    one = next(c for c in every if (c.method, c.metric) == (method, metric))
                    row["n"] = "" if method == "truth" else str(one.n)
                    row[f"{band} (%)"] = percent(one)
                runs = records.get(method, {}).values()
                floors = [bands.profile(r, channel, kind).floor / true_floor for r in runs]
                row["floor"] = f"{sum(floors) / len(floors):.3g}" if floors else "1"
                table.append(row)
    return table


def percent(cell: Cell) -> str:
    """Return mean and spread of a share in percent."""
    if cell.ours is None:
        return ""
    spread = "" if cell.ours_sd is None else f" ± {100 * cell.ours_sd:.2g}"
    return f"{100 * cell.ours:.3g}{spread}"


def attenuation_text(every: Sequence[Cell]) -> list[str]:
    """Return a line per reading: smallest and largest ratio, next to the paper's."""
    from reproduce.parts import bands

    lines = ["Published: 2.1 to 3.7. 'share' is judged, of single patches alone.", ""]
    lines += [f"- {name}: {how}" for name, how in bands.READINGS.items()]
    lines.append("")
    pairs: dict[tuple[str, str], list[Cell]] = {}
    for cell in every:
        end, _, rest = cell.metric.partition(" ")
        if end in ("min", "max"):
            pairs.setdefault((cell.method, rest), []).append(cell)
    for (method, rest), (low, high) in pairs.items():
        if low.ours is None:
            continue
        verdicts = [cell.verdict["text"] for cell in (low, high) if cell.verdict]
        lines.append(
            f"- {method}, {rest}: {low.ours:.2f} to {high.ours:.2f} "
            f"({low.how.rpartition(': ')[2]}, {high.how.rpartition(': ')[2]}), n {low.n}"
            + (f"; {' / '.join(verdicts)}" if verdicts else "")
        )
    if len(lines) == 3 + len(bands.READINGS):
        lines.append("- needs a common seed of PPN and all three CNNs")
    return lines


def nearest_text(every: Sequence[Cell]) -> list[str]:
    """Return a line per kind and channel: the middle band of every method over the truth's."""
    lines = ["", "Share of the middle band over the truth's: 1 is right, above 1 is too much.", ""]
    shares: dict[str, dict[str, float]] = {}
    for cell in every:
        band, _, rest = cell.metric.partition(" share ")
        if band == "mid" and cell.ours:
            shares.setdefault(rest, {})[cell.method] = cell.ours
    for rest, found in shares.items():
        true = found.pop("truth", None)
        if true is None or not found:
            continue
        ratios = {method: share / true for method, share in found.items()}
        nearest = min(ratios, key=lambda method: abs(math.log(ratios[method])))
        told = ", ".join(f"{method} {value:.2f}" for method, value in ratios.items())
        lines.append(f"- {rest}: {told}; nearest: {nearest}")
    return lines


def draw(here: Context, records: Mapping[str, Any]) -> tuple[str, ...]:
    """Draw profiles of patches and field, and attention mass by radius."""
    import matplotlib.pyplot as plt

    from reproduce import figures
    from reproduce.parts import bands, panels

    with figures.styled():
        figure, axes = plt.subplots(2, 3, figsize=(figures.PAGE_IN, 4.6))
        names = {"patches": "mean over patches", "field": "stitched field"}
        for row, kind in enumerate(bands.KINDS):
            for col, channel in enumerate(CHANNELS):
                ax = axes[row, col]
                profiles(ax, records, channel, kind)
                ax.set_title(f"({'abcd'[2 * row + col]}) {channel}, {names[kind]}")
        drawn = attention_panels(axes[:, 2], records)
        handles, labels = axes[0, 0].get_legend_handles_labels()
        figure.legend(handles, labels, loc="outside upper center", ncols=len(labels))
        return figures.save(figure, here.session.out, "fig4", [*panels.notes(here), *drawn])


def shade(ax: Axes, end: float) -> None:
    """Shade the three bands and limit the frequency axis."""
    from reproduce.parts import bands

    for index, (name, (low, high)) in enumerate(bands.spectrum.BANDS.items()):
        ax.axvspan(low, high, color=str(0.97 - 0.05 * index), lw=0, zorder=0)
        ax.text(
            (low + high) / 2,
            0.985,
            name,
            transform=ax.get_xaxis_transform(),
            ha="center",
            va="top",
            fontsize=6,
            color="0.35",
        )
    ax.set_xlim(0, end)
    # room for the names above the curves
    ax.margins(y=0.1)


def profiles(ax: Axes, records: Mapping[str, Any], channel: str, kind: str) -> None:
    """Draw the truth's and every method's profile, the range over seeds behind it."""
    from reproduce import figures
    from reproduce.parts import bands

    first = next(iter(next(iter(records.values())).values()))
    true = bands.profile(first, channel, kind, "truth")
    # the mean is removed: nothing at zero frequency
    ax.semilogy(true.frequency[1:], true.power[1:], **figures.style("truth"), lw=1.4)
    marks = max(1, len(true.frequency) // 8)
    for number, (method, runs) in enumerate(records.items()):
        frequency, mean, low, high = bands.spread(runs, channel, kind)
        look = figures.style(method)
        # a field's profile is of many points, and rough: thinner, and few markers
        width = 1.2 if kind == "patches" else 0.7
        every = (number % marks, marks)
        ax.semilogy(frequency[1:], mean[1:], markevery=every, lw=width, **look)
        if len(runs) > 1:
            color = look["color"]
            ax.fill_between(frequency[1:], low[1:], high[1:], color=color, alpha=0.2, lw=0)
    shade(ax, float(true.frequency[-1]))
    ax.set_xlabel("frequency / Nyquist")
    ax.set_ylabel("power (target scale)$^2$")


def attention_panels(axes: Sequence[Axes], records: Mapping[str, Any]) -> list[str]:
    """Draw relative attention mass by key radius for both forms of PPN; return notes."""
    from reproduce import figures
    from reproduce.parts import bands

    for ax, method, letter in zip(axes, bands.PPN, "ef", strict=True):
        layers = bands.attention(records.get(method, {}))
        ax.set_title(f"({letter}) attention, {figures.style(method)['label']}")
        ax.set_xlabel("key radius / detector edge")
        ax.set_ylabel("mass / uniform")
        ax.axhline(1.0, color="0.5", lw=0.8, ls=":")
        for style, (layer, (radius, mass)) in zip(LINES, layers.items(), strict=False):
            color = figures.style(method)["color"]
            ax.plot(radius, mass, style, color=color, label=f"layer {layer.split('_')[1]}")
        if layers:
            ax.legend(loc="upper right", bbox_to_anchor=(1.0, 0.93))
        else:
            ax.text(0.5, 0.5, "no record yet", transform=ax.transAxes, ha="center", color="0.5")
        shade(ax, 22.6 / bands.WINDOW_NYQUIST_PX)
    return ["shaded: the range over seeds; dotted: uniform attention"]


EXHIBIT = Exhibit("fig4", "Fig. 4", grid, make)


def main(argv: Sequence[str] | None = None) -> None:
    """Train what is missing and write Fig. 4."""
    run(EXHIBIT, __doc__, argv)


if __name__ == "__main__":
    run_script(main)
