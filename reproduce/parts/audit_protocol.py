"""The protocol search: which protocol comes nearest to the published CNN rows.

A combination is an input transform, a jitter, a test region and a metric convention. The
first two decide a training, the others how it is scored. The rule of the choice is fixed
before the runs are there: of all combinations the one nearest to the published noise-free
rows of PtychoNN and PtyNet, and of these alone.
"""

from __future__ import annotations

import dataclasses
import itertools
import math
import statistics
from collections.abc import Mapping, Sequence
from typing import Any

from ppn_tf.errors import DataError
from reproduce import compare
from reproduce.experiments import Block

TRANSFORMS = ("linear", "log1p")
JITTERS_PX = (0, 3)
REGIONS = ("lower-left", "lower-right", "rows", "first-release", "gap")
CONVENTIONS = ("flattened", "per-image", "field")
SEEDS = 3

#: Published rows that choose; every other row is held out from the choice.
CHOOSING = ("ptychonn", "ptynet")

#: Network of the search to its options and published row.
NETWORKS: dict[str, tuple[dict[str, Any], str]] = {
    "ptychonn": ({}, "table1.clean.ptychonn"),
    "ptynet": ({}, "table1.clean.ptynet"),
    "ppn": ({"nonlocal_attention": None}, "table2.without-nlb"),
}

#: What a network of the search is called where it is not the whole one.
TITLES = {"ppn": "ppn, no NLB"}

METRICS = ("mse_amp", "mse_phase", "psnr_amp", "psnr_phase", "ssim_amp", "ssim_phase")
FAMILIES = ("mse", "psnr", "ssim")


def title(network: str) -> str:
    """Return the name of a network in tables and figures."""
    return TITLES.get(network, network)


def combinations() -> list[Block]:
    """Return every combination, as protocol blocks."""
    product = itertools.product(TRANSFORMS, JITTERS_PX, REGIONS, CONVENTIONS)
    return [
        Block(f"{t}, {j} px, {r}, {c}", "protocol search", t, j, r, c) for t, j, r, c in product
    ]


@dataclasses.dataclass(frozen=True)
class Distance:
    """How far one network under one combination is from its published row.

    Attributes
    ----------
    by_metric : dict of str to float
        (ours - published) in units of the column's published gap from PPN to the best
        CNN; signed.
    seeds : int
    """

    by_metric: dict[str, float]
    seeds: int

    @property
    def total(self) -> float:
        """Root mean square over all metrics."""
        return _rms(self.by_metric.values())

    def family(self, name: str) -> float | None:
        """Root mean square over amplitude and phase of one metric; None if not published."""
        values = [v for metric, v in self.by_metric.items() if metric.startswith(name)]
        return _rms(values) if values else None


def distance(
    values: Sequence[Mapping[str, float]],
    row: str,
    paper: Mapping[str, compare.Published],
    gaps: Mapping[str, float],
) -> Distance:
    """Compare the mean over seeds with a published row, metric by metric.

    Parameters
    ----------
    values : sequence of mappings
        One per seed: metric to value, in published units.
    row : str
        Beginning of the published ids, such as ``"table1.clean.ptynet"``.
    paper : mapping
    gaps : mapping
        Metric to the unit of its distance.

    Raises
    ------
    DataError
        Without a seed.
    """
    if not values:
        raise DataError(f"{row}: expected at least one seed, received none")
    ids = {metric: f"{row}.{metric}" for metric in METRICS if f"{row}.{metric}" in paper}
    found = {
        metric: (statistics.fmean(one[metric] for one in values) - paper[name].value) / gaps[metric]
        for metric, name in ids.items()
    }
    return Distance(found, len(values))


@dataclasses.dataclass(frozen=True)
class Selection:
    """The outcome of the rule.

    Attributes
    ----------
    complete, total : int
        Combinations with all their runs, and all combinations.
    block : str or None
        The chosen one; None until all are complete.
    distance, runner_up_distance : float or None
        Root mean square over both rows and all metrics, of the nearest and of the next.
    runner_up : str or None
    seeds : tuple of int
        Seeds that every combination has, and that chose.
    """

    complete: int
    total: int
    block: str | None = None
    distance: float | None = None
    runner_up: str | None = None
    runner_up_distance: float | None = None
    seeds: tuple[int, ...] = ()

    @property
    def provisional(self) -> bool:
        """Whether fewer seeds chose than the search plans."""
        return len(self.seeds) < SEEDS

    @property
    def text(self) -> str:
        """The outcome in a sentence."""
        if self.block is None:
            return f"not chosen: {self.complete} of {self.total} combinations have runs"
        named = ", ".join(map(str, self.seeds))
        return (
            f"{self.block}, at a distance of {self.distance:.2f}; next is {self.runner_up} "
            f"at {self.runner_up_distance:.2f}; chosen on the seed{'s' * (len(self.seeds) > 1)} "
            f"{named} that all combinations have"
            + (f" (provisional: fewer than {SEEDS})" if self.provisional else "")
        )

    def to_dict(self) -> dict[str, Any]:
        """Return plain values; with a choice also the parts of the block."""
        found = dataclasses.asdict(self) | {
            "seeds": list(self.seeds),
            "provisional": self.provisional,
        }
        chosen = {one.name: one for one in combinations()}.get(self.block)
        if chosen is not None:
            parts = dataclasses.asdict(chosen)
            found |= {k: parts[k] for k in ("transform", "jitter_px", "region", "convention")}
        return found


def totals(
    distances: Mapping[str, Mapping[str, Distance]],
    networks: Sequence[str] = CHOOSING,
    metrics: Sequence[str] = METRICS,
) -> dict[str, float]:
    """Return the distance of every combination that has all the networks.

    Parameters
    ----------
    distances : mapping
        Combination to network to its distance.
    networks, metrics : sequence of str
        What counts.
    """
    return {
        name: _rms(
            value
            for model in networks
            for metric, value in found[model].by_metric.items()
            if metric in metrics
        )
        for name, found in distances.items()
        if all(model in found for model in networks)
    }


def select(
    distances: Mapping[str, Mapping[str, Distance]],
    wanted: Sequence[str],
    seeds: Sequence[int] = tuple(range(SEEDS)),
) -> Selection:
    """Choose the combination nearest to the published rows of `CHOOSING`.

    Parameters
    ----------
    distances : mapping
        Combination to network to its distance; networks outside `CHOOSING` are ignored.
    wanted : sequence of str
        All combinations.
    seeds : sequence of int
        Seeds that every network of a combination must have.

    Returns
    -------
    Selection
        Without a choice until every combination has all its runs: a choice among
        those that happen to be there would not be the rule's.
    """
    ready = {
        name: found
        for name, found in distances.items()
        if name in wanted
        and seeds
        and all(model in found and found[model].seeds >= len(seeds) for model in CHOOSING)
    }
    if len(ready) < len(wanted) or len(wanted) < 2:
        return Selection(len(ready), len(wanted))
    ranked = totals(ready)
    first, second = sorted(ranked, key=ranked.get)[:2]
    return Selection(
        len(ready), len(wanted), first, ranked[first], second, ranked[second], tuple(seeds)
    )


Records = Mapping[tuple[str, int], Mapping[str, Mapping[int, dict[str, Any]]]]


def common_seeds(records: Records) -> tuple[int, ...]:
    """Return the seeds that both choosing networks have under every input and jitter."""
    every = [
        set(records.get(training, {}).get(model, {}))
        for training in itertools.product(TRANSFORMS, JITTERS_PX)
        for model in CHOOSING
    ]
    return tuple(sorted(set.intersection(*every)))


def only(records: Records, seeds: Sequence[int]) -> dict[tuple[str, int], Any]:
    """Return the records with the given seeds alone of the networks that choose."""
    return {
        training: {
            model: {s: r for s, r in by_seed.items() if model not in CHOOSING or s in seeds}
            for model, by_seed in by_model.items()
        }
        for training, by_model in records.items()
    }


def alternatives(records: Records, seeds: Sequence[int]) -> list[dict[str, Any]]:
    """Return what each seed, each network and each metric would choose by itself.

    Returns
    -------
    list of dict
        ``by``, ``block``, ``distance``; empty without common seeds.
    """
    if not seeds:
        return []
    together = measure(only(records, seeds))
    ways = {f"seed {s} alone": totals(measure(only(records, [s]))) for s in seeds}
    ways |= {f"{model} alone": totals(together, [model]) for model in CHOOSING}
    ways |= {
        f"{family.upper()} alone": totals(
            together, metrics=[m for m in METRICS if m.startswith(family)]
        )
        for family in FAMILIES
    }
    found = []
    for way, ranked in ways.items():
        first = min(ranked, key=ranked.get)
        found.append({"by": way, "block": first, "distance": ranked[first]})
    return found


@dataclasses.dataclass(frozen=True)
class Reach:
    """Which published cells of the choosing rows can be met, within the column's gap.

    Attributes
    ----------
    cells : int
        Cells of both rows.
    by_some : int
        Cells that some combination meets.
    most : int
        Cells that one combination meets at once, at most.
    best : str
        That combination.
    """

    cells: int
    by_some: int
    most: int
    best: str


def reach(distances: Mapping[str, Mapping[str, Distance]]) -> Reach | None:
    """Count the published cells that come within one published gap; None without runs."""
    met = {
        name: {
            (model, metric)
            for model in CHOOSING
            for metric, value in found[model].by_metric.items()
            if abs(value) <= 1
        }
        for name, found in distances.items()
        if all(model in found for model in CHOOSING)
    }
    if not met:
        return None
    best = max(met, key=lambda name: len(met[name]))
    cells = sum(len(distances[best][model].by_metric) for model in CHOOSING)
    return Reach(cells, len(set().union(*met.values())), len(met[best]), best)


def measure(records: Records) -> dict[str, dict[str, Distance]]:
    """Return the distance of every network under every combination that has a run.

    Parameters
    ----------
    records : mapping
        (transform, jitter) to network to seed to record.
    """
    from reproduce import tables

    paper = compare.load_paper()
    gaps = {metric: compare.column_gap(paper, "clean", metric) for metric in METRICS}
    found: dict[str, dict[str, Distance]] = {}
    for block in combinations():
        for model, by_seed in records.get((block.transform, block.jitter_px), {}).items():
            held = [r for r in by_seed.values() if block.region in r["results"]["regions"]]
            values = [{m: tables.value(r, block, m) for m in METRICS} for r in held]
            if values:
                row = NETWORKS[model][1]
                found.setdefault(block.name, {})[model] = distance(values, row, paper, gaps)
    return found


def _rms(values: Any) -> float:
    squares = [value**2 for value in values]
    return math.sqrt(sum(squares) / len(squares))
