"""From records to cells, verdicts and statistics of a table of methods."""

from __future__ import annotations

import csv
import dataclasses
import io
import itertools
import statistics as stdlib_statistics
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

from ppn_tf import statistics
from reproduce import compare, paired
from reproduce.experiments import Block
from reproduce.specification import RunSpec

Record = dict[str, Any]

#: Metric of a column to (channel, key in a score, factor to the published unit).
METRICS = {
    "mse_amp": ("amplitude", "mse", 1.0),
    "psnr_amp": ("amplitude", "psnr_db", 1.0),
    "ssim_amp": ("amplitude", "ssim", 100.0),
    "mse_phase": ("phase", "mse", 1.0),
    "psnr_phase": ("phase", "psnr_db", 1.0),
    "ssim_phase": ("phase", "ssim", 100.0),
}

#: Format of each metric, with the published number of digits.
FORMATS = {name: ".4f" if name.startswith("mse") else ".2f" for name in METRICS}

HEADINGS = {
    "mse_amp": "MSE amp",
    "psnr_amp": "PSNR amp (dB)",
    "ssim_amp": "SSIM amp (%)",
    "mse_phase": "MSE phase",
    "psnr_phase": "PSNR phase (dB)",
    "ssim_phase": "SSIM phase (%)",
}

#: Letter of a verdict in a printed cell.
LETTERS = {
    compare.REPRODUCED: "R",
    compare.SAME_ORDERING: "O",
    compare.DIFFERS: "D",
    compare.CANNOT: "?",
    compare.CANNOT_SPREAD: "S",
}
LEGEND = (
    "R reproduced, O same ordering, D differs, S cannot be checked (spread), "
    "? cannot be checked (its published value is missing, or another published number contradicts "
    "it), * provisional (fewer than 5 seeds)"
)


#: Unit of each metric.
UNITS = {name: {"m": "1", "p": "dB", "s": "%"}[name[0]] for name in METRICS}

#: Metrics of Tables II to IV.
SHORT = tuple(name for name in METRICS if not name.startswith("mse"))


@dataclasses.dataclass(frozen=True)
class Comparison:
    """The published table that methods are compared with.

    Attributes
    ----------
    table : str
        ``"table1"`` to ``"table4"``.
    reference : str
        Published row that the others are ordered against.
    ours : str
        Our method of that row.
    metrics : tuple of str
        Columns.
    """

    table: str = "table1"
    reference: str = "ppn"
    ours: str = "ppn"
    metrics: tuple[str, ...] = tuple(METRICS)

    def id(self, condition: str, row: str, metric: str) -> str:
        """Return the id of a published number."""
        middle = f".{condition}" if self.table == "table1" else ""
        return f"{self.table}{middle}.{row}.{metric}"


TABLE1 = Comparison()


@dataclasses.dataclass(frozen=True)
class Cell:
    """One compared number.

    Attributes
    ----------
    id : str or None
        Published number that it is compared with; None where there is none.
    condition, block, method, metric : str
        Empty where they do not apply.
    published, published_sd : float or None
    ours, ours_sd : float or None
        Mean and sample standard deviation over seeds; sd None below 2 seeds.
    n : int or None
        Number of seeds; None for numbers that depend on no seed.
    verdict : dict or None
    runs : tuple of str
        Names of the runs' records, see `reproduce.paired.name`.
    unit : str
        Unit of `published` and `ours`.
    how : str
        How ours was obtained, for numbers that are no plain mean of a metric.
    """

    id: str | None
    condition: str
    block: str
    method: str
    metric: str
    published: float | None
    published_sd: float | None
    ours: float | None
    ours_sd: float | None
    n: int | None
    verdict: dict[str, Any] | None
    runs: tuple[str, ...]
    unit: str = ""
    how: str = ""

    @property
    def difference(self) -> float | None:
        """Ours minus published."""
        return None if None in (self.ours, self.published) else self.ours - self.published

    @property
    def text(self) -> str:
        """Mean, spread and verdict as they are printed."""
        if self.ours is None:
            return "-"
        form = FORMATS.get(self.metric, ".4g")
        text = f"{self.ours:{form}}"
        if self.ours_sd is not None:
            text += f" ± {self.ours_sd:{form}}"
        if self.verdict:
            text += f" {LETTERS[self.verdict['status']]}"
            text += "*" if self.verdict["provisional"] else ""
        return text

    def to_dict(self) -> dict[str, Any]:
        """Return plain values, the difference included."""
        return dataclasses.asdict(self) | {
            "runs": list(self.runs),
            "difference": self.difference,
        }


def value(record: Record, block: Block, metric: str) -> float:
    """Return one metric of one run under a block's region and convention."""
    channel, key, factor = METRICS[metric]
    return factor * record["results"]["regions"][block.region][channel][block.convention][key]


def by_method(
    found: Sequence[tuple[RunSpec, Record]],
    key: Callable[[RunSpec], str] = lambda spec: spec.method,
) -> dict[str, dict[int, Record]]:
    """Arrange records as method, seed; `key` names the method of a run."""
    arranged: dict[str, dict[int, Record]] = {}
    for spec, record in found:
        arranged.setdefault(key(spec), {})[spec.seed] = record
    return arranged


def seed_table(
    records: Mapping[str, Mapping[int, Record]], methods: Sequence[str], block: Block, metric: str
) -> np.ndarray:
    """Return (seeds, methods) values of the seeds that all methods have on one backend."""
    return np.array(
        [
            [value(record, block, metric) for record in row]
            for row in paired.rows(records, methods).values()
        ]
    ).reshape(-1, len(methods))


def pair_values(
    records: Mapping[str, Mapping[int, Record]],
    pair: tuple[str, str],
    block: Block,
    metric: str,
) -> list[tuple[str, dict[int, float]]]:
    """Return each of two methods with its values by seed, for seeds both have on one backend."""
    both = zip(pair, paired.pair(records, pair), strict=True)
    return [
        (method, {seed: value(run, block, metric) for seed, run in runs.items()})
        for method, runs in both
    ]


def cells(
    records: Mapping[str, Mapping[int, Record]],
    methods: Mapping[str, str | None],
    block: Block,
    condition: str,
    profile: str,
    comparison: Comparison = TABLE1,
) -> list[Cell]:
    """Compare every method and metric of one block with the published value.

    Parameters
    ----------
    records : mapping
        From `by_method`.
    methods : mapping
        Method to its published row, None where there is none.
    block : Block
    condition : str
        ``"clean"`` or ``"noisy"``.
    profile : str
    comparison : Comparison

    Returns
    -------
    list of Cell
    """
    judge = _Judge(records, compare.load_paper(), methods, block, condition, profile, comparison)
    return [
        judge.cell(method, row, metric)
        for method, row in methods.items()
        for metric in comparison.metrics
    ]


@dataclasses.dataclass(frozen=True)
class _Judge:
    """What all cells of one call of `cells` share."""

    records: Mapping[str, Mapping[int, Record]]
    paper: Mapping[str, compare.Published]
    methods: Mapping[str, str | None]
    block: Block
    condition: str
    profile: str
    comparison: Comparison

    def cell(self, method: str, row: str | None, metric: str) -> Cell:
        """Compare one number."""
        runs = self.records.get(method, {})
        values = [value(runs[seed], self.block, metric) for seed in sorted(runs)]
        mean = stdlib_statistics.fmean(values) if values else None
        sd = stdlib_statistics.stdev(values) if len(values) > 1 else None
        published = row and self.paper[self.comparison.id(self.condition, row, metric)]
        judged = None
        if published and values:
            gap = compare.column_gap(self.paper, self.condition, metric)
            judged = compare.verdict(
                published, mean, sd, len(values), column_gap=gap, profile=self.profile
            )
            judged = compare.with_ordering(judged, self.ordering(method, row, metric))
        return Cell(
            published.id if published else None,
            self.condition,
            self.block.name,
            method,
            metric,
            published.value if published else None,
            published.sd if published else None,
            mean,
            sd,
            len(values),
            judged and judged.to_dict(),
            tuple(paired.name(runs[seed]) for seed in sorted(runs)),
            UNITS[metric],
        )

    def ordering(self, method: str, row: str, metric: str) -> str:
        """Compare the sign of (reference - row) with the published one, on paired seeds.

        The reference itself is ordered against the best of the other published rows.
        """
        rows = {name: own for own, name in self.methods.items() if name not in (None, row)}
        other = self.comparison.reference
        if row == other:
            best = min if metric.startswith("mse") else max
            published = {name: self._published(name, metric) for name in rows}
            known = {name: number for name, number in published.items() if number is not None}
            if not known:
                return "none"
            other = best(known, key=known.get)
            pair, ids = (method, rows[other]), (row, other)
        else:
            pair, ids = (self.comparison.ours, method), (other, row)
        table = seed_table(self.records, pair, self.block, metric)
        if len(table) < 2 or None in (self._published(name, metric) for name in ids):
            return "none"
        (found,) = statistics.pairwise_paired(table, pair)
        names = (self.comparison.id(self.condition, name, metric) for name in ids)
        return compare.ordering_verdict(found.ci95, compare.published_sign(self.paper, *names))

    def _published(self, row: str, metric: str) -> float | None:
        return self.paper[self.comparison.id(self.condition, row, metric)].value


def tests(
    records: Mapping[str, Mapping[int, Record]],
    methods: Sequence[str],
    cnns: Sequence[str],
    block: Block,
    condition: str,
    metrics: Sequence[str] = tuple(METRICS),
) -> list[dict[str, Any]]:
    """Return the statistics of every metric: ANOVA, pairs, equivalence of `cnns`.

    The ANOVA takes the seeds that all methods share on one backend, each pair those that its
    two methods share; p of a pair is corrected for all pairs of methods.

    The margin of equivalence is half the column's published gap from PPN to the best
    CNN, fixed before any run: less than that could not explain the published advantage.

    Returns
    -------
    list of dict
        One per metric; ``skipped`` says why there are no statistics.
    """
    paper = compare.load_paper()
    found = []
    for metric in metrics:
        table = seed_table(records, methods, block, metric)
        entry: dict[str, Any] = {
            "condition": condition,
            "block": block.name,
            "metric": metric,
            "methods": list(methods),
            "seeds": len(table),
        }
        couples = list(itertools.combinations(methods, 2))
        shared = {pair: seed_table(records, pair, block, metric) for pair in couples}
        usable = {pair: both for pair, both in shared.items() if len(both) > 1}
        if not usable:
            entry["skipped"] = (
                "paired statistics need at least 2 seeds on one backend, there are "
                f"{max(map(len, shared.values()))}"
            )
        else:
            margin = compare.column_gap(paper, condition, metric) / 2
            entry |= _pair_tests(usable, cnns, len(couples), margin)
        if len(table) > 1:
            entry["anova"] = statistics.repeated_measures_anova(table, methods).to_dict()
        found.append(entry)
    return found


def _pair_tests(
    found: dict[tuple[str, str], np.ndarray], cnns: Sequence[str], family: int, margin: float
) -> dict[str, Any]:
    """Return the paired tests, each over all seeds that its two methods share."""
    # differences of the equivalence tests have the order of `cnns`
    ordered = found | {pair[::-1]: both[:, ::-1] for pair, both in found.items()}
    return {
        "pairs": [
            one.to_dict()
            for pair, both in found.items()
            for one in statistics.pairwise_paired(both, pair, family=family)
        ],
        "equivalence": [
            {"a": a, "b": b} | statistics.equivalence(*ordered[a, b].T, margin=margin).to_dict()
            for a, b in itertools.combinations(cnns, 2)
            if (a, b) in ordered
        ],
    }


def csv_text(all_cells: Sequence[Cell]) -> str:
    """Return cells as CSV, one number a line."""
    stream = io.StringIO()
    names = ["condition", "block", "method", "metric", "published", "published_sd", "ours"]
    names += ["ours_sd", "n", "difference", "verdict", "id"]
    writer = csv.DictWriter(stream, names, extrasaction="ignore", lineterminator="\n")
    writer.writeheader()
    for cell in all_cells:
        row = cell.to_dict()
        row["verdict"] = (cell.verdict or {}).get("text", "")
        writer.writerow(row)
    return stream.getvalue()
