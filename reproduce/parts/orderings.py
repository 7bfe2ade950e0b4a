"""Is one method above another, seed by seed: claims that name no value."""

from __future__ import annotations

import statistics as stdlib_statistics
from collections.abc import Mapping

import numpy as np

from ppn_tf import statistics
from reproduce import compare
from reproduce.tables import UNITS, Cell

#: Metric value of each seed.
Values = Mapping[int, float]


def value_cell(
    values: Values, method: str, block: str, metric: str, runs: Mapping[int, str]
) -> Cell:
    """Return mean and spread of one method and metric, which no published number answers.

    Parameters
    ----------
    values : mapping
        Seed to value.
    method, block, metric : str
    runs : mapping
        Seed to hash of the run.
    """
    found = [values[seed] for seed in sorted(values)]
    return Cell(
        id=None,
        condition="",
        block=block,
        method=method,
        metric=metric,
        published=None,
        published_sd=None,
        ours=stdlib_statistics.fmean(found) if found else None,
        ours_sd=stdlib_statistics.stdev(found) if len(found) > 1 else None,
        n=len(found),
        verdict=None,
        runs=tuple(runs[seed] for seed in sorted(values)),
        unit=UNITS[metric],
    )


def ordering_cell(
    better: tuple[str, Values], worse: tuple[str, Values], block: str, metric: str, profile: str
) -> Cell:
    """Test that a method is better than another, as a sentence of the paper has it.

    Parameters
    ----------
    better, worse : (str, mapping)
        Method, and its value of each seed; seeds that both have are paired.
    block, metric : str
    profile : str
        Only ``"paper"`` gives a verdict.

    Returns
    -------
    Cell
        Its value is the mean of better minus worse. *Same ordering*: the paired 95 %
        interval excludes 0 on the published side; *differs*: on the other; *cannot be
        checked (spread)*: it includes 0; *cannot be checked*: fewer than two seeds.
    """
    seeds = sorted(set(better[1]) & set(worse[1]))
    differences = [better[1][seed] - worse[1][seed] for seed in seeds]
    sign = -1 if metric.startswith("mse") else 1
    return Cell(
        id=None,
        condition="",
        block=block,
        method=f"{better[0]} - {worse[0]}",
        metric=metric,
        published=None,
        published_sd=None,
        ours=stdlib_statistics.fmean(differences) if seeds else None,
        ours_sd=stdlib_statistics.stdev(differences) if len(seeds) > 1 else None,
        n=len(seeds),
        verdict=_verdict(better, worse, seeds, sign) if profile == "paper" and seeds else None,
        runs=(),
        unit=UNITS[metric],
        how=f"mean over seeds of {better[0]} minus {worse[0]}",
    )


def _verdict(
    better: tuple[str, Values], worse: tuple[str, Values], seeds: list[int], sign: int
) -> dict[str, object]:
    provisional = len(seeds) < compare.SEEDS
    if len(seeds) < 2:
        reason = "one seed gives no interval"
        return compare.Verdict(compare.CANNOT, None, None, reason, provisional).to_dict()
    table = np.array([[better[1][seed], worse[1][seed]] for seed in seeds])
    (pair,) = statistics.pairwise_paired(table, [better[0], worse[0]])
    status = {
        "same": compare.SAME_ORDERING,
        "reversed": compare.DIFFERS,
        "open": compare.CANNOT_SPREAD,
    }[compare.ordering_verdict(pair.ci95, sign)]
    low, high = pair.ci95
    reason = f"paired 95 % interval {low:.4g} to {high:.4g}, published: {'+' if sign > 0 else '-'}"
    return compare.Verdict(status, None, None, reason, provisional).to_dict()


def claim_line(claim: str, cells: list[Cell]) -> str:
    """Count the verdicts of the comparisons behind one sentence, in Markdown."""
    judged = [cell.verdict["status"] for cell in cells if cell.verdict]
    if not judged:
        return f"- {claim}: no verdict (no records of the paper profile)"
    counts = ", ".join(
        f"{judged.count(status)} {status}" for status in compare.STATUSES if status in judged
    )
    provisional = any(cell.verdict["provisional"] for cell in cells if cell.verdict)
    return f"- {claim}: {counts}, of {len(cells)} comparisons" + (
        "; provisional (fewer than 5 seeds)" if provisional else ""
    )
