"""Table II: PPN without its Non-Local branch, with plain attention, without its decoder.

Claim      Every part of PPN is needed: leaving the Non-Local Coherence Branch out ("w/o
           NLB"), ordinary attention in it ("w/ MinN") and fully connected layers for the
           decoder ("w/o D") all score below the full network (section IV-F).
Command    python reproduce/table2.py
Written    results/table2.{csv,json,md,tex}; runs in results/runs

Three forms answer: PPN as the text describes it, as the authors released it, and the
release with its Non-Local branch repaired.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from reproduce.exhibit import Context, Exhibit, Output, run
from reproduce.options import run_script

if TYPE_CHECKING:
    from reproduce.tables import Cell

#: Form of PPN to network and options. The repair feeds the Non-Local branch a 3x3
#: convolution and adds shortcuts, so that its LayerNorm no longer sees equal channels.
FORMS: dict[str, tuple[str, dict[str, Any]]] = {
    "ppn": ("ppn", {}),
    "ppn-released": ("ppn-released", {}),
    "ppn-released repaired": ("ppn-released", {"stem": "conv3", "residual": True}),
}

#: Published row to our name of it and the options that make it.
VARIANTS: dict[str, tuple[str, dict[str, Any]]] = {
    "full": ("full", {}),
    "without-nlb": ("w/o NLB", {"nonlocal_attention": None}),
    "mhsa": ("w/ MinN (MHSA in NLB)", {"nonlocal_attention": "mhsa"}),
    "without-decoder": ("w/o D (fully connected)", {"decoder": "dense"}),
}

#: What the profiles that are no reproduction train: form to rows.
REDUCED: dict[str, dict[str, tuple[str, ...]]] = {
    "smoke": {"ppn": ("without-nlb",)},
    "quick": {"ppn": tuple(VARIANTS), "ppn-released": ("without-nlb",)},
}

NOTES = (
    "- ppn: section III-B; ppn-released: the authors' code; ppn-released repaired: the same with a "
    "3x3 convolution before the Non-Local branch and shortcuts in it, nothing else changed",
    "- The released Non-Local branch gets the pattern as three identical channels and normalises "
    "over them. LayerNorm then returns its offset, whatever the pixel holds: up to rounding the "
    "branch gives the fusion the same values for every pattern. So in the rows of ppn-released the "
    'full network, "w/o NLB" and "w/ MinN" can differ by a learned constant and by the noise of '
    "training alone; "
    "the equivalence tests below say whether they do. The repaired rows have a branch that sees "
    "the pattern, at almost the same size",
    '- Without the branch its repair has no place: "w/o NLB" of ppn-released and of its repaired '
    "form are one network and share their runs",
    "- The paper gives no spread for this table: that of Table I's PPN row takes its place",
)


def row(form: str, variant: str) -> str:
    """Return the name of a row."""
    return f"{form}: {VARIANTS[variant][0]}"


def options(form: str, variant: str) -> dict[str, Any]:
    """Return the network's options of a row."""
    chosen = VARIANTS[variant][1]
    if variant == "without-nlb":
        return chosen
    return FORMS[form][1] | chosen


def grid(profile: Any, object_name: str, seeds: int | None) -> Any:
    """Return the runs of Table II by block, condition, form and row."""
    from reproduce import experiments

    count = experiments.seed_count("table2", profile, seeds)
    rows = REDUCED.get(profile.name, dict.fromkeys(FORMS, tuple(VARIANTS)))
    return {
        (name, "clean", form, variant): [
            experiments.run_spec(
                FORMS[form][0],
                seed,
                profile,
                object_name,
                experiments.block(name),
                options=options(form, variant),
            )
            for seed in range(count)
        ]
        for name in profile.blocks
        for form, variants in rows.items()
        for variant in variants
    }


def make(here: Context) -> Output:
    """Compare every form and block with the published table."""
    from reproduce import compare, experiments, render, tables

    every: list[tables.Cell] = []
    tested: list[dict[str, Any]] = []
    parameters: dict[str, str] = {}
    forms = list(dict.fromkeys(form for _, _, form, _ in here.grid))
    for block in here.blocks():
        for form in forms:
            methods = {row(form, variant): variant for variant in VARIANTS}
            records = {
                method: {
                    spec.seed: record
                    for spec, record in here.found(block.name, "clean", form, variant)
                }
                for method, variant in methods.items()
            }
            versus = tables.Comparison("table2", "full", row(form, "full"), tables.SHORT)
            profile = here.profile.name
            every += tables.cells(records, methods, block, "clean", profile, versus)
            names = tuple(methods)
            tested += tables.tests(records, names, names, block, "clean", tables.SHORT)
            parameters |= _parameters(records)
    rows = render.layout(every)
    body = "\n".join(
        [
            render.aligned(compare.markdown_table(rows)),
            *render.legend(experiments.BLOCKS),
            *NOTES,
            *_missing(every),
            "",
            *_parameters_text(parameters),
            *_statistics_text(tested, forms),
        ]
    )
    return Output(body, every, rows, extra={"statistics": tested})


def _parameters(records: dict[str, dict[int, dict[str, Any]]]) -> dict[str, str]:
    found = {method: next(iter(runs.values()), None) for method, runs in records.items()}
    return {
        method: f"{record['results']['parameters']:,}"
        for method, record in found.items()
        if record is not None
    }


def _parameters_text(parameters: dict[str, str]) -> list[str]:
    counted = [f"{method} {count}" for method, count in parameters.items()]
    return [f"Parameters: {'; '.join(counted)}.", ""] if counted else []


def _missing(every: Sequence[Cell]) -> list[str]:
    without = dict.fromkeys(f"{cell.method} ({cell.block})" for cell in every if not cell.n)
    return [f"- Without a record so far: {', '.join(without)}"] if without else []


def _statistics_text(tested: Sequence[dict[str, Any]], forms: Sequence[str]) -> list[str]:
    """Name the form, where a table of methods names its last method."""
    from reproduce import render

    lines = render.statistics_text(tested)
    for form in forms:
        last = row(form, "without-decoder")
        lines = [line.replace(f", {last}, ", f", {form}, ") for line in lines]
        lines = [line.replace(f"{form}: ", "") for line in lines]
    return lines


EXHIBIT = Exhibit("table2", "Table II", grid, make, refresh=True)


def main(argv: Sequence[str] | None = None) -> None:
    """Train what is missing and write Table II."""
    run(EXHIBIT, __doc__, argv)


if __name__ == "__main__":
    run_script(main)
