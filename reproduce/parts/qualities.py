"""Edge width, contrast and seams of Fig. 3, from records to numbers and rows."""

from __future__ import annotations

import statistics
from collections.abc import Mapping, Sequence
from typing import Any

from reproduce import paired
from reproduce.tables import Cell

Record = dict[str, Any]

#: Name to (heading, path below a channel of ``results["sharpness"]``, unit, formula).
QUALITIES: dict[str, tuple[str, tuple[str, ...], str, str]] = {
    "edge_field": (
        "edge, stitched (px)",
        ("field", "edge", "prediction_px"),
        "px",
        "median 10-90 % width across straight edges of the truth, stitched field",
    ),
    "edge_patches": (
        "edge, scan point (px)",
        ("patches", "edge", "prediction_px"),
        "px",
        "the same in single patches",
    ),
    "lost_field": (
        "edges lost, stitched (%)",
        ("field", "edge", "lost"),
        "1",
        "share of the edge profiles without a rise of 10 % of the true one, stitched field",
    ),
    "lost_patches": (
        "edges lost, scan point (%)",
        ("patches", "edge", "lost"),
        "1",
        "the same in single patches",
    ),
    "contrast_field": (
        "contrast, stitched",
        ("field", "contrast"),
        "1",
        "difference of the medians over bright and dark pixels, relative to the truth's",
    ),
    "contrast_patches": (
        "contrast, scan point",
        ("patches", "contrast"),
        "1",
        "the same over single patches, by least squares",
    ),
    "seams": (
        "seams",
        ("seams", "prediction"),
        "1",
        "mean squared step across borders of patches over that elsewhere, stitched field",
    ),
    "seams_clear": (
        "seams, clear of edges",
        ("seams", "clear"),
        "1",
        "the same of prediction minus truth, without pixels within 4 px of an edge of the truth",
    ),
}

#: What the truth itself has, where that is measured.
_TRUE = {
    "edge_field": ("field", "edge", "truth_px"),
    "edge_patches": ("patches", "edge", "truth_px"),
    "seams": ("seams", "truth"),
}
_TRUE_VALUES = {
    "lost_field": 0.0,
    "lost_patches": 0.0,
    "contrast_field": 1.0,
    "contrast_patches": 1.0,
}

#: Qualities that section IV-B claims, edges and contrast of single scan points (IV-B1) and
#: seams of the stitched field (IV-B2), and the value that is best; and the stitched field's.
CLAIMED = {
    "edge_patches": ("edge definition at scan points: narrower edges", 0.0),
    "contrast_patches": ("contrast at scan points closer to the truth", 1.0),
    "seams_clear": ("minimal boundary artifacts: less energy on seams, clear of edges", 0.0),
    "edge_field": ("not claimed, edges of the stitched field: narrower", 0.0),
    "contrast_field": ("not claimed, contrast of the stitched field: closer to the truth", 1.0),
}


def value(record: Record, channel: str, name: str) -> float | None:
    """Return one quality of one run; None where it has none, or an older evaluation."""
    return _at(record, channel, QUALITIES[name][1])


def _at(record: Record, channel: str, path: Sequence[str]) -> float | None:
    found = record["results"].get("sharpness")
    for key in (channel, *path):
        if found is None:
            return None
        found = found[key]
    return found


def measured(records: Mapping[int, Record], channel: str, name: str) -> dict[int, float]:
    """Return a quality by seed."""
    values = {seed: value(record, channel, name) for seed, record in sorted(records.items())}
    return {seed: found for seed, found in values.items() if found is not None}


def cells(
    records: Mapping[str, Mapping[int, Record]], methods: Sequence[str], channels: Sequence[str]
) -> list[Cell]:
    """Return one cell per method, channel and quality; the paper prints none of them."""
    found = []
    for method in methods:
        runs = records.get(method, {})
        for channel in channels:
            for name, (_, _, unit, how) in QUALITIES.items():
                by_seed = measured(runs, channel, name)
                values = list(by_seed.values())
                found.append(
                    Cell(
                        None,
                        "clean",
                        "sound",
                        method,
                        f"{name} {channel}",
                        None,
                        None,
                        statistics.fmean(values) if values else None,
                        statistics.stdev(values) if len(values) > 1 else None,
                        len(values),
                        None,
                        tuple(paired.name(runs[seed]) for seed in by_seed),
                        unit,
                        how,
                    )
                )
    return found


def rows(
    every: Sequence[Cell],
    records: Mapping[str, Mapping[int, Record]],
    methods: Sequence[str],
    channel: str,
) -> list[dict[str, str]]:
    """Return the rows of one channel's table, the truth's first."""
    first = next((r for runs in records.values() for r in runs.values()), None)
    truth = {"method": "ground truth", "n": ""}
    for name, (heading, *_) in QUALITIES.items():
        true = _TRUE_VALUES.get(name)
        if first is not None and name in _TRUE:
            true = _at(first, channel, _TRUE[name])
        truth[heading] = "" if true is None else _text(name, true)
    table = [truth]
    for method in methods:
        own = {c.metric: c for c in every if c.method == method}
        counts = {own[f"{name} {channel}"].n for name in QUALITIES}
        if max(counts):
            row = {"method": method, "n": str(max(counts))}
            for name, (heading, *_) in QUALITIES.items():
                cell = own[f"{name} {channel}"]
                row[heading] = "" if cell.ours is None else _text(name, cell.ours, cell.ours_sd)
            table.append(row)
    return table


def _text(name: str, mean: float, sd: float | None = None) -> str:
    factor, form = (100.0, ".1f") if name.startswith("lost") else (1.0, ".2f")
    text = f"{factor * mean:{form}}"
    return text if sd is None else f"{text} ± {factor * sd:{form}}"


def said(
    records: Mapping[str, Mapping[int, Record]],
    ours: str,
    others: Sequence[str],
    channels: Sequence[str],
) -> list[str]:
    """Return a line per claim of section IV-B: in how many seeds `ours` is the best.

    Only seeds that all methods have on one backend count, and only those of `others` that
    have records.
    """
    rivals = [method for method in others if records.get(method)]
    shared = paired.rows(records, (ours, *rivals)) if rivals else {}
    lines = []
    for name, (claim, best) in CLAIMED.items():
        for channel in channels:
            each = [[value(record, channel, name) for record in row] for row in shared.values()]
            usable = [values for values in each if None not in values]
            away = [[abs(number - best) for number in values] for values in usable]
            if away:
                wins = sum(own < min(theirs) for own, *theirs in away)
                lines.append(
                    f"- {claim}, {channel}: {ours} is better than all of {', '.join(rivals)} in "
                    f"{wins} of {len(away)} seeds"
                )
    return lines
