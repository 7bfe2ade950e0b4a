"""Numbers of the text that records answer: percentages, orderings, tests."""

from __future__ import annotations

import dataclasses
import statistics as stdlib_statistics
from collections.abc import Mapping, Sequence
from typing import Any

from ppn_tf import statistics
from reproduce import compare, paired, tables
from reproduce.experiments import Block
from reproduce.tables import METRICS, Cell, Record

#: Records of one block and condition: method, then seed.
Records = Mapping[str, Mapping[int, Record]]

#: From `compare.load_paper`, read once for all numbers.
Paper = Mapping[str, compare.Published]

CNNS = compare.CNNS

#: Both forms of PPN answer for the paper's PPN.
PPN = ("ppn", "ppn-released")

SIGNIFICANT = 0.05
_NO_RECORD = "no record yet"


@dataclasses.dataclass(frozen=True)
class Percent:
    """A published percentage between two methods.

    Attributes
    ----------
    id, metric : str
    a, b : str
        Methods, with ``{ppn}`` for a form of PPN.
    sign : int
        -1 for a percentage by which `a` is lower than `b`, 1 for one by which it is higher.
    """

    id: str
    metric: str
    a: str
    b: str
    sign: int


#: Section IV-B2 and the abstract of the first version: from the runs of Table I.
COMPARISON = (
    Percent("claims.mse_amp_vs_ptychonn_percent", "mse_amp", "{ppn}", "ptychonn", -1),
    Percent("claims.psnr_amp_vs_ptychonn_percent", "psnr_amp", "{ppn}", "ptychonn", 1),
    Percent("claims.v1_psnr_percent", "psnr_amp", "{ppn}", "dpi", 1),
    Percent("claims.v1_ssim_percent", "ssim_amp", "{ppn}", "ptychonn", 1),
)

#: Section IV-F: from the runs of Table II.
ABLATION = tuple(
    Percent(f"claims.{name}_{metric}_drop_percent", metric, "{ppn}" + option, "{ppn}", -1)
    for name, option in (
        ("mhsa", "[nonlocal_attention=mhsa]"),
        ("without_decoder", "[decoder=dense]"),
    )
    for metric in ("psnr_amp", "ssim_amp")
)

#: The two percentages that are said to be similar when noisy.
SIMILAR = COMPARISON[:2]


def percent(
    paper: Paper,
    records: Records,
    wanted: Percent,
    ppn: str,
    block: Block,
    condition: str,
    profile: str,
) -> Cell:
    """Compare a percentage between two methods with the published one.

    The value is that of the means over the seeds that both methods have, as the paper
    computes it; its spread is that of the same percentage in single seeds.
    """
    pair = (wanted.a.format(ppn=ppn), wanted.b.format(ppn=ppn))
    table = tables.seed_table(records, pair, block, wanted.metric)
    single = [wanted.sign * 100 * (a / b - 1) for a, b in table]
    ours = spread = None
    if single:
        means = [stdlib_statistics.fmean(column) for column in table.T]
        ours = wanted.sign * 100 * (means[0] / means[1] - 1)
        spread = stdlib_statistics.stdev(single) if len(single) > 1 else None
    # the percentage is published for the noise-free half alone
    published = paper[wanted.id] if condition == "clean" else None
    verdict = _judged(published, ours, spread, len(single), profile)
    if verdict and len(table) > 1:
        (found,) = statistics.pairwise_paired(table, pair)
        verdict = compare.with_ordering(verdict, compare.ordering_verdict(found.ci95, wanted.sign))
    direction = "1 - a / b" if wanted.sign < 0 else "a / b - 1"
    return Cell(
        published and published.id,
        condition,
        block.name,
        pair[0],
        f"{wanted.metric} percent",
        published and published.value,
        None,
        ours,
        spread,
        len(single),
        verdict and verdict.to_dict(),
        _names(records, pair),
        "%",
        f"100 ({direction}), a = mean {wanted.metric} of {pair[0]}, b = that of {pair[1]}, "
        "over their common seeds; spread of the same over single seeds",
    )


def significance(paper: Paper, tested: Sequence[Mapping[str, Any]], profile: str) -> list[Cell]:
    """Return the largest p of the analyses of variance, per block, condition and PPN."""
    published = paper["claims.anova_p_max"]
    found = []
    for (block, condition, ppn), entries in grouped(tested).items():
        usable = [entry for entry in entries if "anova" in entry]
        values = [entry["anova"]["p_gg"] for entry in usable]
        ours = None if not values or None in values else max(values)
        n = min((entry["seeds"] for entry in usable), default=0)
        judged = _judged(published, ours, 0.0, n, profile)
        found.append(
            Cell(
                published.id,
                condition,
                block,
                ppn,
                "p",
                published.value,
                None,
                ours,
                None,
                n,
                judged and judged.to_dict(),
                (),
                "1",
                "largest Greenhouse-Geisser p of the repeated-measures ANOVA over "
                f"{len(METRICS)} metrics; subjects are seeds",
            )
        )
    return found


def statements(tested: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """Answer the statements on significance with counts, per block, condition and PPN.

    Returns
    -------
    list of dict
        ``says``, ``condition``, ``block``, ``method``, ``seeds`` and ``ours``.
    """
    found = []
    for (block, condition, ppn), entries in grouped(tested).items():
        usable = [entry for entry in entries if "pairs" in entry]
        seeds = min((pair["n"] for entry in usable for pair in entry["pairs"]), default=0)
        answers = (
            ("PPN is significantly better than every CNN in every metric", _better(usable, ppn)),
            ("the three CNNs do not differ significantly", _alike(usable)),
        )
        found += [
            {
                "says": says,
                "condition": condition,
                "block": block,
                "method": ppn,
                "seeds": seeds,
                "ours": answer if usable else _NO_RECORD + ": needs 2 common seeds of two methods",
            }
            for says, answer in answers
        ]
    return found


def grouped(
    tested: Sequence[Mapping[str, Any]],
) -> dict[tuple[str, str, str], list[Mapping[str, Any]]]:
    """Arrange the tests by block, condition and form of PPN."""
    groups: dict[tuple[str, str, str], list[Mapping[str, Any]]] = {}
    for entry in tested:
        key = (entry["block"], entry["condition"], entry["methods"][-1])
        groups.setdefault(key, []).append(entry)
    return groups


def _better(entries: Sequence[Mapping[str, Any]], ppn: str) -> str:
    counts = {"better": 0, "worse": 0}
    total = 0
    for entry in entries:
        wanted = 1 if entry["metric"].startswith("mse") else -1
        for pair in entry["pairs"]:
            # pairs are (CNN, PPN), in the order of the methods
            if pair["b"] != ppn:
                continue
            total += 1
            if pair["p_bonferroni"] < SIGNIFICANT:
                better = pair["mean_difference"] * wanted > 0
                counts["better" if better else "worse"] += 1
    return (
        f"significantly better in {counts['better']}, significantly worse in "
        f"{counts['worse']} of {total} comparisons (Bonferroni)"
    )


def _alike(entries: Sequence[Mapping[str, Any]]) -> str:
    pairs = [
        pair for entry in entries for pair in entry["pairs"] if {pair["a"], pair["b"]} <= set(CNNS)
    ]
    differ = sum(pair["p_bonferroni"] < SIGNIFICANT for pair in pairs)
    equal = sum(pair["equivalent"] for entry in entries for pair in entry["equivalence"])
    return (
        f"{differ} of {len(pairs)} comparisons differ significantly (Bonferroni); "
        f"{equal} are equivalent (TOST, margin half the published lead of PPN)"
    )


def _judged(
    published: compare.Published | None,
    ours: float | None,
    spread: float | None,
    n: int | None,
    profile: str,
) -> compare.Verdict | None:
    if published is None or ours is None:
        return None
    return compare.verdict(published, ours, spread, n, column_gap=None, profile=profile)


def _names(records: Records, methods: Sequence[str]) -> tuple[str, ...]:
    rows = paired.rows(records, methods).values()
    return tuple(paired.name(row[place]) for place in range(len(methods)) for row in rows)
