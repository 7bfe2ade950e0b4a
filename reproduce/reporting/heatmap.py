"""How far our Table I records lie from the published rows, under every protocol."""

from __future__ import annotations

import dataclasses
import statistics
from collections.abc import Iterable, Mapping, Sequence

from reproduce import compare
from reproduce.compare import Published
from reproduce.reporting.documents import Document, Run

#: Table I's methods and the published row of each.
ROWS = {
    "ptychonn": "ptychonn",
    "ptynet": "ptynet",
    "dpi": "dpi",
    "ppn": "ppn",
    "ppn-released": "ppn",
}

#: Metric of a column to channel, key and factor of a score.
_SCORES = {
    f"{short}_{name}": (channel, key, factor)
    for name, channel in (("amp", "amplitude"), ("phase", "phase"))
    for short, key, factor in (("mse", "mse", 1.0), ("psnr", "psnr_db", 1.0), ("ssim", "ssim", 100))
}


@dataclasses.dataclass(frozen=True)
class Heatmap:
    """Distances of the runs of one input transform, jitter and half of Table I.

    Attributes
    ----------
    title : str
    methods : tuple of str
    seeds : dict of str to int
        Runs by method.
    rows : list of (region, convention, {method: distance})
        A distance is the mean over the six metrics of |ours - published| in units of
        the column's published gap from PPN to the best CNN; ours is the mean over seeds.
    """

    title: str
    methods: tuple[str, ...]
    seeds: dict[str, int]
    rows: list[tuple[str, str, dict[str, float]]]


def heatmaps(
    documents: Sequence[Document], runs: Iterable[Run], paper: Mapping[str, Published]
) -> list[Heatmap]:
    """Return the heatmaps of all runs that Table I rests on."""
    wanted = {
        name.partition("/")[0]
        for document in documents
        if document.exhibit == "table1"
        for cell in document.cells
        if cell.get("id")
        for name in cell.get("runs", ())
    }
    groups: dict[tuple[str, str, int], dict[str, list[Run]]] = {}
    for run in runs:
        if run.hash in wanted and run.model in ROWS:
            condition = "clean" if run.noise == "none" else "noisy"
            methods = groups.setdefault((condition, run.transform, run.jitter_px), {})
            methods.setdefault(run.model, []).append(run)
    return [_heatmap(key, groups[key], paper) for key in sorted(groups)]


def _heatmap(
    key: tuple[str, str, int],
    by_method: Mapping[str, list[Run]],
    paper: Mapping[str, Published],
) -> Heatmap:
    condition, transform, jitter_px = key
    methods = tuple(name for name in ROWS if name in by_method)
    combinations = dict.fromkeys(
        (region, convention)
        for own in by_method.values()
        for run in own
        for region, channels in run.regions.items()
        for convention in channels["amplitude"]
    )
    rows = []
    for region, convention in sorted(combinations):
        distances = {
            name: distance(by_method[name], region, convention, condition, paper)
            for name in methods
        }
        known = {name: value for name, value in distances.items() if value is not None}
        rows.append((region, convention, known))
    noise = "noise-free" if condition == "clean" else "noisy"
    return Heatmap(
        f"{noise}, input {transform}, jitter {jitter_px} px",
        methods,
        {name: len(by_method[name]) for name in methods},
        rows,
    )


def distance(
    runs: Sequence[Run],
    region: str,
    convention: str,
    condition: str,
    paper: Mapping[str, Published],
) -> float | None:
    """Return the distance of a method's runs to its published row, None without a score.

    Parameters
    ----------
    runs : sequence of Run
        Of one method.
    region, convention : str
    condition : {"clean", "noisy"}
    paper : mapping of str to Published

    Returns
    -------
    float or None
        Mean over the six metrics of |mean over runs - published| / column gap.
    """
    parts = []
    for metric, (channel, key, factor) in _SCORES.items():
        scores = [run.regions.get(region, {}).get(channel, {}).get(convention) for run in runs]
        values = [factor * score[key] for score in scores if score]
        if not values:
            return None
        published = paper[f"table1.{condition}.{ROWS[runs[0].model]}.{metric}"].value
        gap = compare.column_gap(paper, condition, metric)
        parts.append(abs(statistics.fmean(values) - published) / gap)
    return statistics.fmean(parts)
