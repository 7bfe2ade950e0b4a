"""Table I: four methods, noise-free and noisy, next to the published values.

Claim      PPN beats PtychoNN, PtyNet and DPI in MSE, PSNR and SSIM of amplitude and
           phase, significantly so (repeated-measures ANOVA, paired t-tests with
           Bonferroni correction); the three CNNs do not differ (section IV-B2).
Command    python reproduce/table1.py
Written    results/table1.{csv,json,md,tex}; runs in results/runs

Records that are there are used; what is missing is trained, the most informative runs
first, and the table is written again after every run. Interrupt it at any time.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from reproduce.options import Session, parser, prepare, run_script

#: Method to its published row; both forms of PPN answer for the paper's PPN.
METHODS = {
    "ptychonn": "ptychonn",
    "ptynet": "ptynet",
    "dpi": "dpi",
    "ppn": "ppn",
    "ppn-released": "ppn",
}
CNNS = ("ptychonn", "ptynet", "dpi")


def main(argv: Sequence[str] | None = None) -> None:
    """Train what is missing and write Table I."""
    session = prepare(parser(__doc__).parse_args(argv))
    from reproduce import experiments, schedule

    profile = experiments.PROFILES[session.profile]
    print(session.headline)
    print(f"Profile {profile.name}: {profile.note}")
    grid = experiments.table1(profile, session.object_name, session.seeds)
    store = schedule.store_of(session)
    wanted = experiments.most_informative_first(grid)
    to_do = schedule.missing(wanted, store, session.retrain)
    seconds = schedule.step_seconds(store.folder, session.device_name)
    if session.plan:
        print(schedule.plan(to_do, seconds))
        print(schedule.estimate(to_do, seconds))
        return
    if to_do and session.train:
        if len(to_do) < len(wanted):
            print(write(session, grid, store))
        print(schedule.estimate(to_do, seconds), file=sys.stderr)
        schedule.run_all(to_do, session, lambda: write(session, grid, store))
    print(write(session, grid, store))


def write(session: Session, grid: dict[tuple[str, str], list[Any]], store: Any) -> str:
    """Write all outputs from the records there are; return the table for the screen."""
    from ppn_tf import trivial
    from ppn_tf.files import write_json, write_text
    from reproduce import compare, experiments, render, tables

    every: list[tables.Cell] = []
    tested: list[dict[str, Any]] = []
    environments: dict[str, Any] = {}
    methods = METHODS | {f"trivial:{name}": None for name in trivial.available()}
    for (name, condition), specs in grid.items():
        block = experiments.block(name)
        found = [(spec, record) for spec in specs if (record := store.find(spec))]
        environments |= {record["hash"]: record["environment"] for _, record in found}
        records = tables.by_method(found)
        every += tables.cells(records, methods, block, condition, session.profile)
        for ppn in ("ppn", "ppn-released"):
            tested += tables.tests(records, (*CNNS, ppn), CNNS, block, condition)
    rows = render.layout(every)
    markdown = "\n".join(
        [
            f"# Table I, {session.headline}",
            "",
            f"Profile {session.profile}: {experiments.PROFILES[session.profile].note}.",
            "",
            render.aligned(compare.markdown_table(rows)),
            f"Mean ± standard deviation over n seeds. {tables.LEGEND}.",
            "",
            *(f"- {block.name}: {render.describe(block)}" for block in experiments.BLOCKS),
            "- selected: chosen by the audit from the clean PtychoNN and PtyNet rows; "
            "not chosen yet",
            "- noisy: our noise model `reference` (Poisson at 5e4 photons a pattern and Gaussian "
            "readout of 1 photon), in training and test; the paper's level is not published",
            "- PtyNet's epochs are not stated in the paper: 45, as for PtychoNN",
            "",
            *render.statistics_text(tested),
        ]
    )
    out = session.out
    document = {
        "exhibit": "table1",
        "about": session.headline,
        "profile": session.profile,
        "cells": [cell.to_dict() for cell in every],
        "statistics": tested,
        "environments": environments,
    }
    write_json(out / "table1.json", document)
    write_text(out / "table1.csv", f"# {session.headline}\n" + tables.csv_text(every))
    write_text(out / "table1.md", markdown)
    write_text(out / "table1.tex", f"% {session.headline}\n" + compare.latex_table(rows))
    return f"{markdown}\nwritten: {out}/table1.csv, .json, .md, .tex"


if __name__ == "__main__":
    run_script(main)
