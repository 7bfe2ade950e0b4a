"""Table I: four methods, noise-free and noisy, next to the published values.

Claim      PPN beats PtychoNN, PtyNet and DPI in MSE, PSNR and SSIM of amplitude and
           phase, significantly so (repeated-measures ANOVA, paired t-tests with
           Bonferroni correction); the three CNNs do not differ (section IV-B2).
Command    python reproduce/table1.py
Written    results/table1.{csv,json,md,tex}; runs in results/runs

Records that are there are used; what is missing is trained, the most informative runs
first, and the table is written again after every run. Interrupt it at any time.
``--add-model package.module:function`` adds a row for a network of your own.
"""

from __future__ import annotations

import dataclasses
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from reproduce.exhibit import Context, Exhibit, Output, run
from reproduce.options import run_script

#: Method to its published row; both forms of PPN answer for the paper's PPN.
METHODS = {
    "ptychonn": "ptychonn",
    "ptynet": "ptynet",
    "dpi": "dpi",
    "ppn": "ppn",
    "ppn-released": "ppn",
}
CNNS = ("ptychonn", "ptynet", "dpi")


def grid(profile: Any, object_name: str, seeds: int | None) -> Any:
    """Return the runs of Table I."""
    from reproduce import experiments

    return experiments.table1(profile, object_name, seeds, profile.selected)


def make(here: Context) -> Output:
    """Compare every block with the published table."""
    from ppn_tf import trivial
    from reproduce import compare, experiments, render, tables

    every: list[tables.Cell] = []
    tested: list[dict[str, Any]] = []
    added = [network.name for network in here.session.added]
    methods = METHODS | dict.fromkeys([*added, *(f"trivial:{n}" for n in trivial.available())])
    for name, condition in here.grid:
        block = here.profile.block(name)
        records = tables.by_method(here.found(name, condition))
        found = tables.cells(records, methods, block, condition, here.profile.name)
        every += [_held_out(cell) for cell in found]
        for ppn in ("ppn", "ppn-released"):
            tested += tables.tests(records, (*CNNS, ppn), CNNS, block, condition)
        # families of their own: they leave the corrections of the paper's comparisons alone
        for network in added:
            tested += tables.tests(
                records, (*CNNS, "ppn", network), (*CNNS, network), block, condition
            )
    rows = render.layout(every)
    body = "\n".join(
        [
            render.aligned(compare.markdown_table(rows)),
            *render.legend(experiments.BLOCKS),
            _about(here.profile.selected),
            "- noisy: our noise model `reference` (Poisson at 5e4 photons a pattern and Gaussian "
            "readout of 1 photon), in training and test; the paper's level is not published",
            "- PtyNet's epochs are not stated in the paper: 45, as for PtychoNN",
            *render.backends(every),
            "",
            *render.statistics_text(tested),
        ]
    )
    return Output(body, every, rows, extra={"statistics": tested})


def _held_out(cell: Any) -> Any:
    """Take the verdict from the rows that chose the block."""
    from reproduce import experiments
    from reproduce.parts import audit_protocol

    chose = cell.method in audit_protocol.CHOOSING and cell.condition == "clean"
    if cell.block == experiments.SELECTED and chose:
        return dataclasses.replace(cell, verdict=None)
    return cell


def _about(selected: Any) -> str:
    """Say what the fourth block is."""
    from reproduce import render

    if selected is None:
        return (
            "- selected: chosen by the audit from the clean PtychoNN and PtyNet rows; "
            "not chosen yet"
        )
    return (
        f"- selected: {render.describe(selected)}; those two rows chose it and get no verdict "
        "from it"
    )


EXHIBIT = Exhibit("table1", "Table I", grid, make, refresh=True)


def main(argv: Sequence[str] | None = None) -> None:
    """Train what is missing and write Table I."""
    run(EXHIBIT, __doc__, argv)


if __name__ == "__main__":
    run_script(main)
