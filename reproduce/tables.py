"""From records to cells, verdicts and statistics of a table of methods."""

from __future__ import annotations

import csv
import dataclasses
import io
import statistics as stdlib_statistics
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from ppn_tf import statistics
from reproduce import compare
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
    "? cannot be checked, * provisional (fewer than 5 seeds)"
)


@dataclasses.dataclass(frozen=True)
class Cell:
    """One compared number.

    Attributes
    ----------
    id : str or None
        Published number that it is compared with; None for trivial rows.
    condition, block, method, metric : str
    published, published_sd : float or None
    ours, ours_sd : float or None
        Mean and sample standard deviation over seeds; sd None below 2 seeds.
    n : int
        Number of seeds.
    verdict : dict or None
    runs : tuple of str
        Hashes of the runs.
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
    n: int
    verdict: dict[str, Any] | None
    runs: tuple[str, ...]

    @property
    def difference(self) -> float | None:
        """Ours minus published."""
        return None if None in (self.ours, self.published) else self.ours - self.published

    @property
    def text(self) -> str:
        """Mean, spread and verdict as they are printed."""
        if self.ours is None:
            return "-"
        form = FORMATS[self.metric]
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


def by_method(found: Sequence[tuple[RunSpec, Record]]) -> dict[str, dict[int, Record]]:
    """Arrange records as method, seed."""
    arranged: dict[str, dict[int, Record]] = {}
    for spec, record in found:
        arranged.setdefault(spec.model, {})[spec.seed] = record
    return arranged


def seed_table(
    records: Mapping[str, Mapping[int, Record]], methods: Sequence[str], block: Block, metric: str
) -> np.ndarray:
    """Return (seeds, methods) values of the seeds that all methods have."""
    common = set.intersection(*(set(records.get(method, {})) for method in methods))
    return np.array(
        [
            [value(records[method][seed], block, metric) for method in methods]
            for seed in sorted(common)
        ]
    ).reshape(-1, len(methods))


def cells(
    records: Mapping[str, Mapping[int, Record]],
    methods: Mapping[str, str | None],
    block: Block,
    condition: str,
    profile: str,
) -> list[Cell]:
    """Compare every method and metric of one block with the published value.

    Parameters
    ----------
    records : mapping
        From `by_method`.
    methods : mapping
        Method to its published name in Table I, None where there is none.
    block : Block
    condition : str
        ``"clean"`` or ``"noisy"``.
    profile : str

    Returns
    -------
    list of Cell
    """
    paper = compare.load_paper()
    return [
        _cell(records, paper, method, published, metric, block, condition, profile)
        for method, published in methods.items()
        for metric in METRICS
    ]


def _cell(
    records: Mapping[str, Mapping[int, Record]],
    paper: Mapping[str, compare.Published],
    method: str,
    published_name: str | None,
    metric: str,
    block: Block,
    condition: str,
    profile: str,
) -> Cell:
    runs = records.get(method, {})
    values = [value(runs[seed], block, metric) for seed in sorted(runs)]
    mean = stdlib_statistics.fmean(values) if values else None
    sd = stdlib_statistics.stdev(values) if len(values) > 1 else None
    published = None
    judged = None
    if published_name is not None:
        published = paper[f"table1.{condition}.{published_name}.{metric}"]
        if values:
            gap = compare.column_gap(paper, condition, metric)
            judged = compare.verdict(
                published, mean, sd, len(values), column_gap=gap, profile=profile
            )
            other = _ordering_partner(paper, published_name, condition, metric)
            judged = compare.with_ordering(
                judged, _ordering(records, paper, method, other, published, block, metric)
            )
    return Cell(
        published and published.id,
        condition,
        block.name,
        method,
        metric,
        published and published.value,
        published and published.sd,
        mean,
        sd,
        len(values),
        judged and judged.to_dict(),
        tuple(runs[seed]["hash"] for seed in sorted(runs)),
    )


def _ordering_partner(
    paper: Mapping[str, compare.Published], name: str, condition: str, metric: str
) -> str:
    """Return the method that an ordering is taken against: PPN, or for PPN the best CNN."""
    if name != "ppn":
        return "ppn"
    published = {cnn: paper[f"table1.{condition}.{cnn}.{metric}"].value for cnn in compare.CNNS}
    best = min if metric.startswith("mse") else max
    return best(published, key=published.get)


def _ordering(
    records: Mapping[str, Mapping[int, Record]],
    paper: Mapping[str, compare.Published],
    method: str,
    other: str,
    published: compare.Published,
    block: Block,
    metric: str,
) -> str:
    ppn, cnn = (other, method) if other == "ppn" else (method, other)
    table = seed_table(records, (ppn, cnn), block, metric)
    if len(table) < 2:
        return "none"
    (pair,) = statistics.pairwise_paired(table, (ppn, cnn))
    prefix = f"table1.{published.condition}"
    sign = compare.published_sign(paper, f"{prefix}.ppn.{metric}", f"{prefix}.{cnn}.{metric}")
    return compare.ordering_verdict(pair.ci95, sign)


def tests(
    records: Mapping[str, Mapping[int, Record]],
    methods: Sequence[str],
    cnns: Sequence[str],
    block: Block,
    condition: str,
) -> list[dict[str, Any]]:
    """Return the statistics of every metric: ANOVA, pairs, equivalence of the CNNs.

    The margin of equivalence is half the column's published gap from PPN to the best
    CNN, fixed before any run: less than that could not explain the published advantage.

    Returns
    -------
    list of dict
        One per metric; ``skipped`` says why there are no statistics.
    """
    paper = compare.load_paper()
    found = []
    for metric in METRICS:
        table = seed_table(records, methods, block, metric)
        entry: dict[str, Any] = {
            "condition": condition,
            "block": block.name,
            "metric": metric,
            "methods": list(methods),
            "seeds": len(table),
        }
        if len(table) < 2:
            entry["skipped"] = f"paired statistics need at least 2 seeds, there are {len(table)}"
        else:
            margin = compare.column_gap(paper, condition, metric) / 2
            pairs = statistics.pairwise_paired(table, methods)
            entry |= {
                "anova": statistics.repeated_measures_anova(table, methods).to_dict(),
                "pairs": [pair.to_dict() for pair in pairs],
                "equivalence": [
                    {"a": a, "b": b}
                    | statistics.equivalence(
                        table[:, methods.index(a)], table[:, methods.index(b)], margin=margin
                    ).to_dict()
                    for index, a in enumerate(cnns)
                    for b in cnns[index + 1 :]
                ],
            }
        found.append(entry)
    return found


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
