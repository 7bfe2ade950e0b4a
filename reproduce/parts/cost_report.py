"""Figure 10's numbers as cells, rows and panels."""

from __future__ import annotations

import statistics
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from reproduce import compare, figures
from reproduce.parts import panels
from reproduce.parts.network_cost import LONG_RUN_EPOCHS, Counts, Effort
from reproduce.tables import Cell

if TYPE_CHECKING:
    from matplotlib.axes import Axes

    from reproduce.exhibit import Context

HOW = {
    "size_mib": "all parameters, BatchNorm statistics included, at 4 bytes each",
    "gflops": "TensorFlow profiler: one inference at 32 x 32 px, a multiply-add is 2 operations",
    "epochs": "first epoch with a validation loss within 1 % of the run's best",
    "seconds": "median of an epoch, the first left out",
}
UNITS = {
    "size_mib": "MiB",
    "gflops": "GFLOP",
    "epochs": "epochs",
    "seconds": "s",
    "peak_mib": "MiB",
}

#: Metrics that the paper gives.
PUBLISHED = ("size_mib", "gflops", "epochs")


def cells(
    name: str, row: str | None, counted: Counts, spent: Sequence[Effort], profile: str
) -> list[Cell]:
    """Return the numbers of one network, with the published ones where there are any.

    Parameters
    ----------
    name : str
    row : str or None
        Published row.
    counted : Counts
    spent : sequence of Effort
        One a seed; empty without a record.
    profile : str
    """
    epochs = [float(effort.converged) for effort in spent]
    runs = tuple(effort.run for effort in spent)
    ours = {
        "size_mib": (counted.mib, None, None),
        "gflops": (counted.gflops, None, None),
        "epochs": (
            statistics.fmean(epochs) if epochs else None,
            statistics.stdev(epochs) if len(epochs) > 1 else None,
            len(epochs),
        ),
    }
    if spent:
        seconds = [effort.seconds for effort in spent]
        ours["seconds"] = (statistics.median(seconds), None, len(spent))
        peaks = [effort.peak_mib for effort in spent if effort.peak_mib is not None]
        if peaks:
            ours["peak_mib"] = (max(peaks), None, len(peaks))
    return [_cell(name, row, metric, *ours[metric], runs, spent, profile) for metric in ours]


def _cell(
    name: str,
    row: str | None,
    metric: str,
    mean: float | None,
    sd: float | None,
    n: int | None,
    runs: tuple[str, ...],
    spent: Sequence[Effort],
    profile: str,
) -> Cell:
    published = (
        compare.load_paper()[f"fig10.{row}.{metric}"] if row and metric in PUBLISHED else None
    )
    judged = None
    if published is not None and mean is not None:
        judged = compare.verdict(published, mean, sd, n, column_gap=None, profile=profile)
        if judged is not None and metric == "epochs" and published.value is not None:
            judged = _of_long_runs(judged, spent)
    how = HOW.get(metric, "")
    if metric == "peak_mib":
        how = f"largest {'memory on the GPU' if spent[0].on_gpu else 'resident memory'} of the runs"
    return Cell(
        id=published.id if published else None,
        condition="",
        block="" if n is None else "sound",
        method=name,
        metric=metric,
        published=published.value if published else None,
        published_sd=published.sd if published else None,
        ours=mean,
        ours_sd=sd,
        n=n,
        verdict=judged and judged.to_dict(),
        runs=() if n is None else runs,
        unit=UNITS[metric],
        how=how,
    )


def _of_long_runs(judged: Any, spent: Sequence[Effort]) -> Any:
    """Take the verdict back where a training was too short to show convergence."""
    shortest = min(effort.epochs for effort in spent)
    if shortest >= LONG_RUN_EPOCHS:
        return judged
    reason = f"needs {LONG_RUN_EPOCHS} epochs, the run has {shortest}"
    return compare.Verdict(compare.CANNOT, None, None, reason)


def rows(every: Sequence[Cell], spent: Mapping[str, Sequence[Effort]]) -> list[dict[str, str]]:
    """Return a row a network: published and ours of every metric, and the device."""
    by_name = {(cell.method, cell.metric): cell for cell in every}
    found = []
    for name in dict.fromkeys(cell.method for cell in every):
        row = {"network": name}
        for metric, heading in (
            ("size_mib", "MiB"),
            ("gflops", "GFLOP"),
            ("epochs", "epochs"),
        ):
            cell = by_name[name, metric]
            row[f"{heading}, paper"] = "-" if cell.published is None else f"{cell.published:g}"
            row[f"{heading}, ours"] = cell.text
        runs = spent.get(name, ())
        row["of epochs"] = str(min(effort.epochs for effort in runs)) if runs else "-"
        for metric, heading in (("seconds", "s an epoch"), ("peak_mib", "peak MiB")):
            row[heading] = by_name[name, metric].text if runs else "-"
        row["device"] = ", ".join(sorted({effort.device for effort in runs})) or "-"
        found.append(row)
    return found


def short_runs(spent: Mapping[str, Sequence[Effort]]) -> dict[str, int]:
    """Return the networks whose runs are too short to show convergence, and their epochs."""
    fewest = {name: min(effort.epochs for effort in runs) for name, runs in spent.items()}
    return {name: epochs for name, epochs in fewest.items() if epochs < LONG_RUN_EPOCHS}


def shorter_text(short: Mapping[str, int]) -> list[str]:
    """Name the networks without a long run, in Markdown."""
    if not short:
        return []
    found = ", ".join(f"{name} ({epochs})" for name, epochs in short.items())
    return [
        f"- Shorter than {LONG_RUN_EPOCHS} epochs so far, so that convergence may be cut off and "
        f"gets no verdict: {found}"
    ]


def draw(here: Context, every: Sequence[Cell], short: Mapping[str, int]) -> tuple[str, ...]:
    """Draw ours and the published value of each network, a panel a metric."""
    import matplotlib.pyplot as plt

    names = list(dict.fromkeys(cell.method for cell in every))
    titles = {
        "size_mib": "parameters (MiB)",
        "gflops": "operations (GFLOP)",
        "epochs": "epochs to convergence",
    }
    with figures.styled():
        figure, axes = plt.subplots(
            1, 3, figsize=(figures.PAGE_IN, 0.6 + 0.24 * len(names)), sharey=True
        )
        for ax, (metric, title) in zip(axes, titles.items(), strict=True):
            for place, cell in enumerate(cell for cell in every if cell.metric == metric):
                ax.axhline(place, color="0.9", linewidth=0.5, zorder=0)
                _mark(ax, cell, place, figures.style(cell.method)["color"], cell.method in short)
            ax.set_xlabel(title)
            if metric == "epochs":
                ax.set_xlim(0, 1.05 * max(ax.get_xlim()[1], 1))
            else:
                ax.set_xscale("log")
                low, high = ax.get_xlim()
                ax.set_xlim(low / 1.3, high * 1.3)
                ax.xaxis.set_major_formatter("{x:g}")
        axes[0].set_yticks(range(len(names)), [figures.NAMES.get(name, name) for name in names])
        axes[0].invert_yaxis()
        about = "dots: counted or measured here; bars: published"
        if short:
            about += f"; open dots: runs of fewer than {LONG_RUN_EPOCHS} epochs"
        return figures.save(figure, here.session.out, "fig10", [about, *panels.notes(here)])


def _mark(ax: Axes, cell: Cell, place: int, color: str, is_short: bool) -> None:
    if cell.ours is not None:
        is_open = is_short and cell.metric == "epochs"
        ax.plot(cell.ours, place, "o", color=color, mfc="white" if is_open else color, markersize=5)
    if cell.published is not None:
        ax.plot(cell.published, place, "|", color="black", markersize=11, zorder=3)
