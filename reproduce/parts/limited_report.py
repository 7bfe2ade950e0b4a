"""Fig. 7 for people: its tables, its notes and its picture."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from reproduce import compare, figures, render, tables
from reproduce.exhibit import Context
from reproduce.experiments import block
from reproduce.parts import limited_data

#: Arm and size to method, seed, record.
AllRuns = Mapping[tuple[str, int], Mapping[str, Mapping[int, Any]]]

#: Method, metric, arm, and size or drop to its number.
SizeTable = dict[tuple[str, str, str, str], tables.Cell]

#: Momentum of BatchNorm in PPN (Keras' default) and steps of its smallest training.
_MOMENTUM, _STEPS = 0.99, 60

_AXES = {
    "psnr_amp": "amplitude PSNR (dB)",
    "psnr_phase": "phase PSNR (dB)",
    "ssim_amp": "amplitude SSIM",
    "ssim_phase": "phase SSIM",
}

NOTES = (
    "- Mean ± standard deviation over n seeds (in brackets). Tested on the patches of Table I's "
    "block sound: noise-free, log1p, region gap, unstitched.",
    "- One seed fixes the validation split, the subset that is drawn, the order of the batches and "
    "the initial weights. So the spread is that of data and weights together; the paper speaks "
    "of initialisations alone. Subsets are nested: the 50 patches of a seed are among its 100.",
    f"- equal epochs: the paper's protocol, every size with the epochs of Table I. 50 patches, 30 "
    f"epochs and batches of 32 are {_STEPS} steps, after which BatchNorm's running "
    f"statistics (momentum {_MOMENTUM}) still hold {100 * _MOMENTUM**_STEPS:.0f} % of their "
    "start. What falls then is the length of training as well as the data.",
    "- equal steps: each epoch repeats the small set until it has as many steps as an epoch on all "
    "2928 patches, so that optimiser, plateau rule and BatchNorm see equally long trainings and "
    "only the data differ.",
    "- Drop: 100 (1 - PSNR at 50 / PSNR at 2928) on the seeds that both have; a ratio of decibels, "
    "as in the paper.",
    "- Runs as long as a training on the full set have fewer seeds by default.",
)

OVERLAP_NOTES = (
    "The models of 100 training patches, scanned over the area of Fig. 3(c) (lower right, whose "
    "upper edge training patches can reach) at four overlaps. The same models are tested at every "
    "overlap, so a one-way ANOVA, which the paper uses, ignores the pairing; the repeated-measures "
    "one does not (p after Greenhouse-Geisser). Neither shows equality. Equivalent: all six pairs "
    "of overlaps pass a TOST whose margin is half the published gap of Table I from PPN to the "
    "best CNN."
)


def text(
    here: Context,
    table: SizeTable,
    every: Sequence[tables.Cell],
    tested: Sequence[Mapping[str, Any]],
) -> str:
    """Return the body of the exhibit.

    Parameters
    ----------
    here : Context
    table : SizeTable
        Panel a.
    every : sequence of Cell
        All numbers, those with an id are compared with the text.
    tested : sequence of mappings
        From `limited_data.overlap_statistics`.
    """
    return "\n".join(
        [
            "## (a) Size of the training set",
            "",
            _size_table(table),
            *NOTES,
            "",
            "## (b) Overlap of the test scan",
            "",
            *_overlap_text(tested),
            "## Against the text",
            "",
            _claims_table(every),
            f"{tables.LEGEND}.",
            *_missing(here),
        ]
    )


def _size_table(table: SizeTable) -> str:
    """Return one row a method, channel and arm, one column a size."""
    rows: dict[tuple[str, str, str], dict[str, str]] = {}
    for (method, metric, arm, column), cell in table.items():
        start = {"method": method, "metric": tables.HEADINGS[metric], "arm": arm}
        row = rows.setdefault((method, metric, arm), start)
        row[column] = f"{cell.text} ({cell.n})" if cell.n else ""
    filled = [row for row in rows.values() if any(list(row.values())[3:])]
    return render.aligned(compare.markdown_table(filled))


def _overlap_text(tested: Sequence[Mapping[str, Any]]) -> list[str]:
    if not tested:
        return ["No records: overlaps are evaluated in the profile paper, at 100 patches.", ""]
    rows = []
    for entry in tested:
        row = {
            "method": entry["method"],
            "metric": tables.HEADINGS[entry["metric"]],
            "scored": entry["scored"],
            "n": str(entry["seeds"]),
        }
        for overlap, mean in zip(limited_data.OVERLAPS, entry["means"], strict=True):
            row[f"{100 * float(overlap):.0f} %"] = f"{mean:.2f}"
        tests = "skipped" not in entry
        row["one-way p"] = f"{entry['one_way']['p']:.2g}" if tests else ""
        row["paired p"] = f"{entry['repeated_measures']['p_gg']:.2g}" if tests else ""
        row["equivalent"] = ("yes" if entry["equivalent"] else "no") if tests else ""
        rows.append(row)
    return [render.aligned(compare.markdown_table(rows)), OVERLAP_NOTES, ""]


def _claims_table(every: Sequence[tables.Cell]) -> str:
    rows = [
        {
            "id": cell.id,
            "method": cell.method,
            "published": "lost" if cell.published is None else f"{cell.published:g}",
            "ours": cell.text,
            "unit": cell.unit,
            "n": "" if cell.n is None else str(cell.n),
        }
        for cell in every
        if cell.id
    ]
    return render.aligned(compare.markdown_table(rows))


def _missing(here: Context) -> list[str]:
    lines = []
    for key, specs in here.grid.items():
        found = {spec.hash for spec, _ in here.found(*key)}
        counts: dict[str, int] = {}
        for spec in specs:
            counts[spec.method] = counts.get(spec.method, 0) + (spec.hash not in found)
        named = [f"{method} {count}" for method, count in counts.items() if count]
        if named:
            lines.append(
                f"- Runs without a record, {key[3]} patches, arm {key[2]}: {', '.join(named)}"
            )
    return ["", *lines] if lines else []


def figure(here: Context, runs: AllRuns, methods: Sequence[str]) -> tuple[str, ...]:
    """Draw panel a and, where there are overlaps, panel b; return the file names."""
    hundred = {m: limited_data.with_overlap(r) for m, r in runs.get(("epochs", 100), {}).items()}
    hundred = {method: records for method, records in hundred.items() if records}
    with figures.styled():
        import matplotlib.pyplot as plt

        lower = [["c", "c", "d", "d", "e", "e", "f", "f"]] if hundred else []
        page, axes = plt.subplot_mosaic(
            [["a", "a", "a", "a", "b", "b", "b", "b"], *lower],
            figsize=(figures.PAGE_IN, 4.6 if hundred else 2.7),
        )
        for name, metric in zip("ab", limited_data.PSNR, strict=True):
            _draw_sizes(axes[name], runs, methods, metric)
        axes["a"].set_title("(a) size of the training set", loc="left")
        if hundred:
            for name, metric in zip("cdef", _AXES, strict=True):
                _draw_overlap(axes[name], hundred, methods, metric)
            axes["c"].set_title("(b) overlap of the test scan, 100 training patches", loc="left")
        _legend(page, axes["a"], runs)
        return figures.save(page, here.session.out, "fig7", _notes(here))


def _notes(here: Context) -> list[str]:
    profile, session = here.profile, here.session
    notes = [] if profile.name == "paper" else [f"profile {profile.name}: not the paper's protocol"]
    return notes + (["stand-in object"] if session.object_name == "stand-in" else [])


def _draw_sizes(axes: Any, runs: AllRuns, methods: Sequence[str], metric: str) -> None:
    chosen, ticks = block("sound"), sorted({size for _, size in runs})
    for arm in dict.fromkeys(arm for arm, _ in runs):
        for index, method in enumerate(methods):
            points = []
            for size in ticks:
                # the full size belongs to both arms
                records = runs.get((arm, size), {}).get(method, {})
                values = [tables.value(record, chosen, metric) for record in records.values()]
                if values:
                    points.append((size, np.mean(values), np.std(values, ddof=1 % len(values))))
            if points:
                _errorbars(axes, points, method, index, len(methods), arm)
    axes.set_xscale("log")
    axes.set_xlim(ticks[0] / 1.3, ticks[-1] * 1.3)
    axes.set_xticks(ticks, [str(size) for size in ticks])
    axes.minorticks_off()
    axes.set_xlabel("training patches")
    axes.set_ylabel(_AXES[metric])


def _errorbars(
    axes: Any, points: Sequence[Any], method: str, index: int, count: int, arm: str
) -> None:
    style = figures.style(method)
    size, mean, spread = np.array(points).T
    # beside each other, so that the bars of several methods stay readable
    size = size * 1.02 ** (index - (count - 1) / 2)
    dashed = {"linestyle": "--", "markerfacecolor": "white"} if arm == "steps" else {}
    if arm == "steps":
        style = style | {"label": "_" + style["label"]}
    axes.errorbar(size, mean, spread, capsize=1.5, elinewidth=0.6, **style, **dashed)


def _draw_overlap(
    axes: Any, runs: Mapping[str, Mapping[int, Any]], methods: Sequence[str], metric: str
) -> None:
    factor = 0.01 if metric.startswith("ssim") else 1.0
    percent = 100 * np.array([float(overlap) for overlap in limited_data.OVERLAPS])
    for index, method in enumerate(methods):
        if method in runs:
            table = factor * limited_data.overlap_table(runs[method], "per-image", metric)
            spread = table.std(axis=0, ddof=1 % len(table))
            shift = 1.2 * (index - (len(methods) - 1) / 2)
            axes.errorbar(
                percent + shift,
                table.mean(axis=0),
                spread,
                capsize=1.5,
                elinewidth=0.6,
                **figures.style(method),
            )
    axes.set_xticks(percent)
    axes.set_xlabel("overlap (%)")
    axes.set_ylabel(_AXES[metric])


def _legend(page: Any, axes: Any, runs: AllRuns) -> None:
    from matplotlib.lines import Line2D

    handles, labels = axes.get_legend_handles_labels()
    if any(arm == "steps" for arm, _ in runs):
        for title, line in (("equal epochs", "-"), ("equal steps", "--")):
            handles.append(Line2D([], [], color="0.35", linestyle=line))
            labels.append(title)
    page.legend(handles, labels, loc="outside upper center", ncols=min(len(labels), 7))
