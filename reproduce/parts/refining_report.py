"""What the exhibit on refinement says of its measurements."""

from __future__ import annotations

import statistics
from collections.abc import Mapping, Sequence
from typing import Any

from reproduce import compare, figures, render

#: (start, objective, overlap) to its record.
Found = Mapping[tuple[str, str, float], Mapping[str, Any]]

#: Levels that the tables show: of the R-factor, and of the object's error.
R_LEVEL, ERROR_LEVEL = "0.05", "0.1"

OBJECTIVES = {"epie": "ePIE", "eq3": "Eq. (3)"}
FLAT_NAMES = {"flat": "flat (ones)", "flat-scaled": "flat, scaled to the data"}

#: What the measures are, in words.
MEASURES = {
    "r": f"R <= {R_LEVEL}",
    "error": f"error of the object <= {ERROR_LEVEL}",
}


def label(start: str) -> str:
    """Return the name of a start for people."""
    return FLAT_NAMES.get(start, figures.NAMES.get(start, start))


def crossings(record: Mapping[str, Any], measure: str, level: str) -> list[int | None]:
    """Return the first iteration of each repeat that reaches a level."""
    return record["results"][f"{measure}_first"][level]


def median_crossing(record: Mapping[str, Any], measure: str, level: str) -> float | None:
    """Return the median over repeats, None where half or more never reach the level."""
    found = crossings(record, measure, level)
    last = record["settings"]["iterations"]
    # not reached counts as later than all that were
    middle = statistics.median(last + 1 if one is None else one for one in found)
    return None if middle > last else middle


def text_of(record: Mapping[str, Any], measure: str, level: str) -> str:
    """Print the median and the range over repeats."""
    found, last = crossings(record, measure, level), record["settings"]["iterations"]
    texts = [f"> {last}" if one is None else str(one) for one in found]
    middle = median_crossing(record, measure, level)
    median = f"> {last}" if middle is None else f"{middle:g}"
    ordered = sorted(zip([last + 1 if one is None else one for one in found], texts, strict=True))
    low, high = ordered[0][1], ordered[-1][1]
    return median if low == high else f"{median} ({low} to {high})"


def body(here: Any, found: Found, networks: Sequence[str]) -> str:
    """Return the Markdown text."""
    if not found:
        return "No measurement yet."
    lines = [*about(here, found, networks)]
    for objective, title in _objectives(found).items():
        for measure, (level, why) in {
            "r": (R_LEVEL, MEASURES["r"]),
            "error": (ERROR_LEVEL, MEASURES["error"]),
        }.items():
            lines += [f"## {title}: iterations to {why}", ""]
            lines += [
                render.aligned(compare.markdown_table(rows(found, objective, measure, level)))
            ]
        lines += [f"## {title}: error of the object at the start and after all iterations", ""]
        lines += [render.aligned(compare.markdown_table(ends(found, objective)))]
    lines += ["## Which start is best", "", *ranking(found), "", *costs(found)]
    return "\n".join(lines)


def about(here: Any, found: Found, networks: Sequence[str]) -> list[str]:
    """Say what was measured, and what is missing."""
    one = next(iter(found.values()))
    used = {start for start, _, _ in found}
    lines = [
        f"Noise-free scans of the chart's test rows, known probe, "
        f"{one['settings']['iterations']} iterations. ePIE: median, and range where they differ, "
        f"over {one['settings']['repeats']} orders of the visits; one trained network of each "
        "kind (seed 0), so that the spread between trainings is not in these numbers. Eq. (3): "
        "known probe, proximal steps, one pass over all patterns an iteration, weight of gradient "
        f"sparsity {max(r['settings']['sparsity'] for r in found.values()):g}; the chart has "
        "sharp edges and flat parts, which that term favours. 0: the start itself is there.",
        "",
        "R: sum of |calculated - measured modulus| over the sum of the measured, all patterns, "
        "after the iteration; scored after each of the first 20 iterations and every fifth from "
        "there. Error of the object: |c O - T| / |T| over the scanned area, with "
        "the complex number c that fits best: global phase and scale are taken out, a ramp "
        "cannot occur with a known probe. A small R does not prove a small error: at low overlap "
        "several objects explain the patterns.",
        "",
    ]
    missing = [name for name in networks if name not in used]
    if missing:
        lines += [f"No weights on this computer: {', '.join(missing)}.", ""]
    return lines


def rows(found: Found, objective: str, measure: str, level: str) -> list[dict[str, str]]:
    """Return a row per start, a column per overlap."""
    return _rows(found, objective, lambda record: text_of(record, measure, level))


def ends(found: Found, objective: str) -> list[dict[str, str]]:
    """Return the object's error at the start and after the last iteration."""

    def text(record: Mapping[str, Any]) -> str:
        results = record["results"]
        last = statistics.median(results["error_end"])
        return f"{results['error_curve'][0]:.3f} to {last:.3f}"

    return _rows(found, objective, text)


def _rows(found: Found, objective: str, text: Any) -> list[dict[str, str]]:
    table: dict[str, dict[str, str]] = {}
    for (start, name, overlap), record in found.items():
        if name == objective:
            row = table.setdefault(start, {"start": label(start)})
            row[f"{100 * overlap:.0f} %"] = text(record)
    return list(table.values())


def ranking(found: Found) -> list[str]:
    """Say for each objective and measure which start is first, at how many overlaps."""
    lines = []
    for objective, title in _objectives(found).items():
        for measure, level in (("r", R_LEVEL), ("error", ERROR_LEVEL)):
            overlaps = sorted({o for _, name, o in found if name == objective})
            wins: dict[str, int] = {}
            for overlap in overlaps:
                for start in _best(found, objective, overlap, measure, level):
                    wins[start] = wins.get(start, 0) + 1
            if not wins:
                lines.append(f"- {title}, {MEASURES[measure]}: no start gets there.")
                continue
            ordered = sorted(wins.items(), key=lambda pair: -pair[1])
            texts = [f"{label(start)} at {count}" for start, count in ordered]
            lines.append(
                f"- {title}, {MEASURES[measure]}: first or equal first, of {len(overlaps)} "
                f"overlaps: {', '.join(texts)}."
            )
    return lines


def _objectives(found: Found) -> dict[str, str]:
    there = {objective for _, objective, _ in found}
    return {name: title for name, title in OBJECTIVES.items() if name in there}


def _best(found: Found, objective: str, overlap: float, measure: str, level: str) -> list[str]:
    medians = {
        start: median_crossing(record, measure, level)
        for (start, name, at), record in found.items()
        if name == objective and at == overlap
    }
    reached = {start: value for start, value in medians.items() if value is not None}
    least = min(reached.values(), default=None)
    return [start for start, value in reached.items() if value == least]


def costs(found: Found) -> list[str]:
    """Say what a start costs against an iteration."""
    overlap = max(o for _, _, o in found)
    seconds = {
        start: (record["cost"]["start_s"], record["cost"]["iteration_s"])
        for (start, objective, o), record in found.items()
        if objective == "epie" and o == overlap
    }
    device = next(iter(found.values()))["environment"]["device"]
    texts = [f"{label(start)} {own:.2f} s" for start, (own, _) in seconds.items() if own > 0]
    iteration = statistics.median(each for _, each in seconds.values())
    return [
        f"Time, {device}, {100 * overlap:.0f} % overlap: inference and "
        "stitching take "
        f"{', '.join(texts) or 'nothing, as no network is there'}; one iteration of ePIE "
        f"(compiled, scoring included) {1000 * iteration:.1f} ms. Fewer iterations are not less "
        "time where the network takes longer than the iterations that it saves.",
        "",
    ]


def document(found: Found) -> list[dict[str, Any]]:
    """Return the measurements as plain values for the JSON file."""
    return [
        {
            "start": start,
            "objective": objective,
            "overlap": overlap,
            "weights": record["settings"]["weights"],
            "results": record["results"],
            "cost": record["cost"],
            "environment": record["environment"],
        }
        for (start, objective, overlap), record in found.items()
    ]
