"""Table III: PPN against TransUNet, SegFormer and PtychoFormer, noise-free.

Claim      PPN outperforms all three, and PtychoFormer is comparable to the
           SegFormer-inspired model, whose structure is similar (section IV-G).
Command    python reproduce/table3.py
Written    results/table3.{csv,json,md,tex}; runs in results/runs

The values of Table III are missing from the available text: no number can be compared.
What its sentences say of them is tested on ours, seed by seed.
"""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from reproduce.exhibit import Context, Exhibit, Output, run
from reproduce.options import run_script

if TYPE_CHECKING:
    from reproduce.experiments import Block
    from reproduce.tables import Cell

#: Method to its published row; both forms of PPN answer for the paper's PPN.
METHODS = {
    "transunet": "transunet",
    "segformer": "segformer",
    "ptychoformer": "ptychoformer",
    "ppn": "ppn",
    "ppn-released": "ppn",
}
FORMS = ("ppn", "ppn-released")
BASELINES = ("transunet", "segformer", "ptychoformer")

#: The two that the paper calls comparable.
SIMILAR = ("ptychoformer", "segformer")

#: What the profiles that are no reproduction train.
REDUCED = {"smoke": ("segformer", "ppn"), "quick": (*BASELINES, "ppn")}

NOTES = (
    "- transunet and segformer are our choice in size, since the paper gives none: TransUNet "
    "scaled down to 32 x 32 px, and SegFormer-B0 with a first stride of 2 in place of 4",
    "- ptychoformer is its release with one pattern as input in place of 9 neighbours, which are "
    "its main idea",
    "- Epochs: 30, as the paper has for PPN and PtychoFormer; those of the other two are not given",
)


def grid(profile: Any, object_name: str, seeds: int | None) -> Any:
    """Return the runs of Table III; those of PPN are Table I's."""
    from reproduce import experiments

    count = experiments.seed_count("table3", profile, seeds)
    return {
        (name, "clean"): [
            experiments.run_spec(model, seed, profile, object_name, experiments.block(name))
            for seed in range(count)
            for model in REDUCED.get(profile.name, METHODS)
        ]
        for name in profile.blocks
    }


def make(here: Context) -> Output:
    """Print ours by block, and test what the text says of the order."""
    from reproduce import compare, experiments, render, tables
    from reproduce.parts import orderings

    every: list[Cell] = []
    ordered: list[Cell] = []
    comparable: list[Cell] = []
    tested: list[dict[str, Any]] = []
    versus = tables.Comparison("table3", "ppn", "ppn", tables.SHORT)
    for block in here.blocks():
        records = tables.by_method(here.found(block.name, "clean"))
        every += tables.cells(records, METHODS, block, "clean", here.profile.name, versus)
        ordered += _orderings(records, block, here.profile.name)
        similar = []
        for form in FORMS:
            entries = tables.tests(
                records, (*BASELINES, form), SIMILAR, block, "clean", tables.SHORT
            )
            tested += entries
            similar = similar or entries
        # the same for both forms of PPN, which take no part in it
        comparable += [_comparable(entry, here.profile.name) for entry in similar]
    rows = render.layout(every)
    claims = [
        orderings.claim_line(
            f"{form} outperforms {', '.join(BASELINES)}",
            [cell for cell in ordered if cell.method.startswith(f"{form} - ") and cell.n],
        )
        for form in FORMS
    ]
    claims.append(
        orderings.claim_line(
            f"{SIMILAR[0]} is comparable to {SIMILAR[1]} (equivalent within half the gap that "
            "Table I publishes from PPN to the best CNN)",
            [cell for cell in comparable if cell.n],
        )
    )
    body = "\n".join(
        [
            render.aligned(compare.markdown_table(rows)) if rows else "No record so far.\n",
            *render.legend(experiments.BLOCKS),
            *NOTES,
            *_missing(every),
            "",
            "## What the text says of the order",
            "",
            *claims,
            "",
            *_pair_table([*ordered, *comparable]),
            *render.statistics_text(tested),
        ]
    )
    return Output(body, [*every, *ordered, *comparable], rows, extra={"statistics": tested})


def _orderings(records: Mapping[str, Mapping[int, Any]], block: Block, profile: str) -> list[Cell]:
    """Test each form of PPN against each baseline, metric by metric."""
    from reproduce import tables
    from reproduce.parts import orderings

    return [
        orderings.ordering_cell(
            *tables.pair_values(records, (form, other), block, metric), block.name, metric, profile
        )
        for form in FORMS
        for other in BASELINES
        for metric in tables.SHORT
    ]


def _comparable(entry: Mapping[str, Any], profile: str) -> Cell:
    """Make a number of one equivalence test: the mean difference, judged by its margin.

    *Reproduced*: equivalent, p < 0.05 in both one-sided tests; *differs*: the 90 % interval
    lies beyond the margin; *cannot be checked (spread)*: neither.
    """
    from reproduce import compare, tables

    found = (entry.get("equivalence") or [None])[0]
    judged = None
    if found is not None and profile == "paper":
        low, high = found["ci90"]
        margin = found["margin"]
        beyond = low > margin or high < -margin
        status = compare.DIFFERS if beyond else compare.CANNOT_SPREAD
        if found["equivalent"]:
            status = compare.REPRODUCED
        reason = f"90 % interval {low:.4g} to {high:.4g}, margin {margin:.4g}"
        provisional = found["n"] < compare.SEEDS
        mean = found["mean_difference"]
        judged = compare.Verdict(status, margin, mean, reason, provisional).to_dict()
    return tables.Cell(
        id=None,
        condition="",
        block=entry["block"],
        method=f"{SIMILAR[0]} - {SIMILAR[1]}",
        metric=entry["metric"],
        published=None,
        published_sd=None,
        ours=found and found["mean_difference"],
        ours_sd=None,
        n=found["n"] if found else 0,
        verdict=judged,
        runs=(),
        unit=tables.UNITS[entry["metric"]],
        how="mean over seeds of the difference; equivalence by two one-sided t-tests",
    )


def _pair_table(cells: Sequence[Cell]) -> list[str]:
    """Print mean differences with their verdicts, a row a block and pair."""
    from reproduce import compare, render, tables

    rows: dict[tuple[str, str], dict[str, str]] = {}
    for cell in cells:
        if cell.n:
            row = rows.setdefault(
                (cell.block, cell.method),
                {"block": cell.block, "difference": cell.method, "n": str(cell.n)},
            )
            row[tables.HEADINGS[cell.metric]] = cell.text
    if not rows:
        return []
    columns = ["block", "difference", "n", *(tables.HEADINGS[name] for name in tables.SHORT)]
    return [render.aligned(compare.markdown_table(list(rows.values()), columns))]


def _missing(every: Sequence[Cell]) -> list[str]:
    without = dict.fromkeys(f"{cell.method} ({cell.block})" for cell in every if not cell.n)
    return [f"- Without a record so far: {', '.join(without)}"] if without else []


EXHIBIT = Exhibit("table3", "Table III", grid, make, refresh=True)


def main(argv: Sequence[str] | None = None) -> None:
    """Train what is missing and write Table III."""
    run(EXHIBIT, __doc__, argv)


if __name__ == "__main__":
    run_script(main)
