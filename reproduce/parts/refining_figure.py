"""The figure of refinement: iterations against overlap, and two convergence curves."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from reproduce import figures
from reproduce.parts import panels
from reproduce.parts.refining_report import (
    ERROR_LEVEL,
    MEASURES,
    OBJECTIVES,
    R_LEVEL,
    Found,
    label,
    median_crossing,
)

#: Overlap whose convergence is drawn: where a flat start has most trouble, and others do not.
CURVE_OVERLAP = 0.50

#: Where 0 iterations are drawn on the logarithmic axis.
_ZERO = 0.45

_FLAT = {
    "flat": {"color": "#000000", "marker": "x", "linestyle": "--"},
    "flat-scaled": {"color": "#777777", "marker": "+", "linestyle": "--"},
}


def style(start: str) -> dict[str, Any]:
    """Return how a start is drawn."""
    return (figures.style(start) | _FLAT.get(start, {})) | {"label": label(start)}


def draw(here: Any, found: Found) -> tuple[str, ...]:
    """Draw a row per objective: iterations to R, to the object's error, and its curves."""
    import matplotlib.pyplot as plt

    with figures.styled():
        figure, axes = plt.subplots(2, 3, figsize=(figures.PAGE_IN, 4.6))
        for row, (objective, title) in zip(axes, OBJECTIVES.items(), strict=True):
            for axis, (measure, level) in zip(
                row, (("r", R_LEVEL), ("error", ERROR_LEVEL)), strict=False
            ):
                _crossings(axis, found, objective, measure, level)
                axis.set_ylabel(f"{title}: iterations")
                axis.set_title(f"to {MEASURES[measure]}", loc="left")
            _curves(row[2], found, objective)
        handles, labels = axes[0, 0].get_legend_handles_labels()
        figure.legend(handles, labels, loc="outside upper center", ncols=len(labels))
        return figures.save(figure, here.session.out, "refine", notes=panels.notes(here))


def _starts(found: Found) -> list[str]:
    return list(dict.fromkeys(start for start, _, _ in found))


def _crossings(axis: Any, found: Found, objective: str, measure: str, level: str) -> None:
    last = next(iter(found.values()))["settings"]["iterations"]
    never = 1.4 * last
    for start in _starts(found):
        points = sorted(
            (overlap, median_crossing(record, measure, level))
            for (name, how, overlap), record in found.items()
            if name == start and how == objective
        )
        # 0 iterations have no place on a logarithmic axis
        heights = [never if value is None else max(value, _ZERO) for _, value in points]
        axis.plot([100 * overlap for overlap, _ in points], heights, **style(start))
    axis.axhline(1.18 * last, color="0.7", lw=0.6)
    axis.set(yscale="log", ylim=(_ZERO / 1.2, 1.7 * last), xlabel="overlap (%)")
    ticks = [_ZERO, *(n for n in (1, 3, 10, 30, 100) if n < last), never]
    axis.set_yticks(ticks, ["0", *(f"{n}" for n in ticks[1:-1]), f"> {last}"])
    axis.minorticks_off()


def _curves(axis: Any, found: Found, objective: str) -> None:
    overlaps = sorted({overlap for _, _, overlap in found})
    overlap = min(overlaps, key=lambda one: abs(one - CURVE_OVERLAP))
    for start in _starts(found):
        record = found.get((start, objective, overlap))
        if record is None:
            continue
        results = record["results"]
        iterations: Sequence[int] = results["iterations"]
        line = style(start) | {"marker": "none"}
        axis.plot(iterations, results["error_curve"], **line)
    axis.set(yscale="log", xlabel="iteration", ylabel="error of the object")
    axis.set_xscale("symlog", linthresh=1)
    axis.set_xlim(left=0)
    last = max(next(iter(found.values()))["results"]["iterations"])
    ticks = [0, *(n for n in (1, 10, 100) if n <= last)]
    axis.set_xticks(ticks, [str(n) for n in ticks])
    axis.set_title(f"{100 * overlap:.0f} % overlap", loc="left")
