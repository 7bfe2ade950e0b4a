"""Numbers of Fig. 7: training size, overlap of the test scan, and what the tests say."""

from __future__ import annotations

import functools
import statistics as stdlib_statistics
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from ppn_tf import statistics
from reproduce import compare, paired, tables
from reproduce.experiments import Block

Record = dict[str, Any]
#: Seed to record.
Runs = Mapping[int, Record]

#: Overlaps of section IV-E2, as records name them.
OVERLAPS = ("0.00", "0.25", "0.50", "0.75")
PSNR = ("psnr_amp", "psnr_phase")

#: How patches of the overlap experiment are scored: record's key to its name.
SCORED = {"per-image": "patches", "field": "stitched field"}

#: Methods that a published claim speaks of, to its name in the id.
CLAIMED = {"ppn": "ppn", "ppn-released": "ppn", "ptychonn": "ptychonn"}


#: Read once: every number asks for it.
_paper = functools.cache(compare.load_paper)


def overlap_value(record: Record, overlap: str, convention: str, metric: str) -> float:
    """Return one score of the overlap experiment; SSIM in percent."""
    channel, key, factor = tables.METRICS[metric]
    return factor * record["results"]["overlap"][overlap][channel][convention][key]


def with_overlap(runs: Runs) -> dict[int, Record]:
    """Return the runs whose evaluation was full; smoke and quick leave overlaps out."""
    return {seed: record for seed, record in runs.items() if "overlap" in record["results"]}


def overlap_table(runs: Runs, convention: str, metric: str) -> np.ndarray:
    """Return (seeds, overlaps) scores, seeds ascending."""
    return np.array(
        [
            [overlap_value(runs[seed], overlap, convention, metric) for overlap in OVERLAPS]
            for seed in sorted(runs)
        ]
    ).reshape(-1, len(OVERLAPS))


def overlap_statistics(runs: Runs, method: str, convention: str, metric: str) -> dict[str, Any]:
    """Test whether a score depends on the overlap of the test scan.

    The paper's one-way ANOVA takes the four overlaps for independent groups; the same
    models are tested at all of them, so that the design calls for the repeated-measures
    one. Neither can show equality: for that there is a TOST for each of the six pairs,
    with half the published gap of Table I from PPN to the best CNN for its margin, fixed
    before any run. All six must hold, so no correction is needed (intersection-union).

    Parameters
    ----------
    runs : mapping of int to record
        With overlaps, see `with_overlap`.
    method, convention, metric : str

    Returns
    -------
    dict
        ``skipped`` says why there are no statistics.
    """
    table = overlap_table(runs, convention, metric)
    entry: dict[str, Any] = {
        "method": method,
        "scored": SCORED[convention],
        "metric": metric,
        "seeds": len(table),
        "means": [float(value) for value in table.mean(axis=0)] if len(table) else None,
    }
    if len(table) < 2:
        entry["skipped"] = f"these tests need at least 2 seeds, there are {len(table)}"
        return entry
    groups = dict(zip(OVERLAPS, table.T, strict=True))
    margin = compare.column_gap(_paper(), "clean", metric) / 2
    pairs = [(a, b) for index, a in enumerate(OVERLAPS) for b in OVERLAPS[index + 1 :]]
    equivalence = [
        {"a": a, "b": b} | statistics.equivalence(groups[a], groups[b], margin=margin).to_dict()
        for a, b in pairs
    ]
    return entry | {
        "one_way": statistics.oneway_anova(groups).to_dict(),
        "repeated_measures": statistics.repeated_measures_anova(table, OVERLAPS).to_dict(),
        "margin": margin,
        "equivalence": equivalence,
        "equivalent": all(pair["equivalent"] for pair in equivalence),
    }


def drops(small: Runs, full: Runs, block: Block, metric: str) -> dict[int, float]:
    """Return by how many percent a score falls from the full training set to a small one.

    100 (1 - small / full) on the seeds that both have on one backend.
    """
    both = paired.rows({"small": small, "full": full}, ("small", "full"))
    return {
        seed: 100 * (1 - tables.value(few, block, metric) / tables.value(all_, block, metric))
        for seed, (few, all_) in both.items()
    }


def cell(
    key: str | None,
    method: str,
    metric: str,
    values: Sequence[float],
    *,
    profile: str,
    runs: Sequence[Record] = (),
    unit: str = "",
    how: str = "",
    counted: bool = True,
) -> tables.Cell:
    """Return a number of this exhibit beside the published one.

    Parameters
    ----------
    key : str or None
        Published number.
    method, metric : str
    values : sequence of float
        One per seed; their mean is the number.
    profile : str
    runs : sequence of record
    unit, how : str
        The unit is the published one where there is a key.
    counted : bool
        False for a number that depends on no seed.
    """
    published = _paper()[key] if key else None
    ours = stdlib_statistics.fmean(values) if len(values) else None
    sd = stdlib_statistics.stdev(values) if len(values) > 1 else None
    n = len(values) if counted else None
    judged = None
    if published and ours is not None:
        judged = compare.verdict(published, ours, sd, n, column_gap=None, profile=profile)
    return tables.Cell(
        key,
        "",
        "sound",
        method,
        metric,
        published.value if published else None,
        published.sd if published else None,
        ours,
        sd,
        n,
        judged and judged.to_dict(),
        tuple(paired.name(record) for record in runs),
        published.unit if published else unit,
        how,
    )


def size_cells(
    method: str, arm: str, size: int, runs: Runs, block: Block, profile: str
) -> list[tables.Cell]:
    """Return PSNR of both channels at one training size."""
    chosen = [runs[seed] for seed in sorted(runs)]
    return [
        cell(
            None,
            method,
            metric,
            [tables.value(record, block, metric) for record in chosen],
            profile=profile,
            runs=chosen,
            unit=tables.UNITS[metric],
            how=f"{size} training patches, {arm}; mean over seeds",
        )
        for metric in PSNR
    ]


def drop_cells(
    method: str, arm: str, sizes: Mapping[int, Runs], block: Block, profile: str
) -> list[tables.Cell]:
    """Return the drop from the largest to the smallest training size in percent.

    The equal-epochs arm is the paper's: it alone answers the published numbers.
    """
    small, full = sizes[min(sizes)], sizes[max(sizes)]
    found = []
    for metric in PSNR:
        by_seed = drops(small, full, block, metric)
        claimed = arm == "equal epochs" and method in CLAIMED
        runs = [record for seed in by_seed for record in (small[seed], full[seed])]
        found.append(
            cell(
                f"claims.{CLAIMED[method]}_{metric}_drop_percent" if claimed else None,
                method,
                f"{metric} drop",
                list(by_seed.values()),
                profile=profile,
                runs=runs,
                unit="%",
                how=f"100 (1 - PSNR at 50 patches / PSNR at 2928), {arm}, mean over common seeds",
            )
        )
    return found


def overlap_cells(method: str, runs: Runs, profile: str) -> list[tables.Cell]:
    """Return the published range of PPN over the overlaps, and the one-way ANOVA's p."""
    chosen = [runs[seed] for seed in sorted(runs)]
    found = []
    for metric, factor in (("psnr_amp", 1.0), ("ssim_amp", 0.01)):
        table = factor * overlap_table(runs, "per-image", metric)
        means = table.mean(axis=0) if len(table) else None
        for name, pick in (("min", np.argmin), ("max", np.argmax)):
            column = [] if means is None else [float(value) for value in table[:, pick(means)]]
            found.append(
                cell(
                    f"claims.overlap_{metric}_{name}",
                    method,
                    f"{metric} {name}",
                    column,
                    profile=profile,
                    runs=chosen,
                    how=f"{name} over the overlaps of the mean over seeds; 100 training patches, "
                    "unstitched patches",
                )
            )
    tested = overlap_statistics(runs, method, "per-image", "psnr_amp")
    p = [tested["one_way"]["p"]] if "one_way" in tested else []
    found.append(
        cell(
            "claims.overlap_anova_p",
            method,
            "one-way ANOVA p",
            p,
            profile=profile,
            runs=chosen,
            how="one-way ANOVA of PSNR amp over four overlaps, one value per seed, unstitched",
            counted=False,
        )
    )
    return found


def setting_cells(small: Runs, hundred: Runs, profile: str) -> list[tables.Cell]:
    """Return the settings that the paper states, as they were here."""
    settings = (
        ("claims.small_training_patches", [50.0] if small else [], "smallest training set"),
        ("claims.initialisations", [float(len(small))] if small else [], "seeds at 50 patches"),
        ("claims.overlap_training_patches", [100.0] if hundred else [], "training set of Fig. 7b"),
    )
    return [
        cell(key, "ppn", "setting", values, profile=profile, how=how, counted=False)
        for key, values, how in settings
    ]
