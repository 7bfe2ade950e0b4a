"""Figure 10: size, operations, epochs to convergence, time and memory of the networks.

Claim      PPN has 6.12 MB of parameters and 0.382 GFLOP, between PtyNet and DPI and far
           below PtychoFormer, and converges in 30 epochs (section V-A).
Command    python reproduce/fig10.py
           python reproduce/fig10.py --no-train    (sizes and operations, no training)
Written    results/fig10.{csv,json,md}, results/fig10.{png,pdf}; runs in results/runs

Sizes and operations are counted and need no record. Convergence needs runs of 100 epochs;
until they are there, the shorter runs of Tables I and III stand in, without a verdict.
``--add-model package.module:function`` adds a network of your own.
"""

from __future__ import annotations

import dataclasses
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from reproduce.exhibit import Context, Exhibit, Output, run
from reproduce.options import run_script

if TYPE_CHECKING:
    from reproduce.parts.network_cost import Counts, Effort

#: Network to its published row; both forms of PPN answer for the paper's PPN.
METHODS: dict[str, str | None] = {
    "ppn-released": "ppn",
    "ppn": "ppn",
    "ptychonn": "ptychonn",
    "ptynet": "ptynet",
    "dpi": "dpi",
    "ptychoformer": "ptychoformer",
    "segformer": None,
    "transunet": None,
}

#: What the profiles that are no reproduction train.
REDUCED = {"smoke": ("ptynet",), "quick": ("ppn", "ptychonn", "ptynet")}

#: Epochs of the smoke profile: one has no convergence.
SMOKE_EPOCHS = 2

#: The key of the grid.
KEY = ("sound", "clean")


def grid(profile: Any, object_name: str, seeds: int | None) -> Any:
    """Return the runs that look for convergence."""
    from reproduce import experiments
    from reproduce.parts.network_cost import LONG_RUN_EPOCHS

    networks = [*REDUCED.get(profile.name, METHODS), *(added.model for added in profile.added)]
    specs = [
        experiments.run_spec(
            model, seed, profile, object_name, experiments.block("sound"), epochs=LONG_RUN_EPOCHS
        )
        for seed in range(experiments.seed_count("fig10", profile, seeds))
        for model in networks
    ]
    if profile.name == "smoke":
        specs = [
            dataclasses.replace(
                spec, training=dataclasses.replace(spec.training, epochs=SMOKE_EPOCHS)
            )
            for spec in specs
        ]
    return {KEY: specs}


def make(here: Context) -> Output:
    """Count, read the records there are, and draw."""
    from reproduce import compare, render, tables
    from reproduce.parts import cost_report, network_cost

    names = {model: model for model in METHODS}
    names |= {network.model: network.name for network in here.session.added}
    counted = {name: network_cost.counts(model) for model, name in names.items()}
    spent = _efforts(here, names)
    every = [
        cell
        for name in counted
        for cell in cost_report.cells(
            name, METHODS.get(name), counted[name], spent.get(name, []), here.profile.name
        )
    ]
    short = cost_report.short_runs(spent)
    body = "\n".join(
        [
            render.aligned(compare.markdown_table(cost_report.rows(every, spent))),
            f"{tables.LEGEND}.",
            "",
            *_notes(),
            *cost_report.shorter_text(short),
            *_missing(counted, spent),
        ]
    )
    extra = {"parameters": {name: found.parameters for name, found in counted.items()}}
    return Output(body, every, figures=cost_report.draw(here, every, short), extra=extra)


def _efforts(here: Context, names: Mapping[str, str]) -> dict[str, list[Effort]]:
    """Return what trainings took by network, seed by seed: long runs, else a shorter one."""
    from reproduce import experiments
    from reproduce.parts import network_cost

    found: dict[str, list[Effort]] = {}
    for spec, record in here.found(*KEY):
        found.setdefault(spec.name, []).append(network_cost.effort(record))
    block = experiments.block("sound")
    for model, name in names.items():
        if name in found or model.startswith("custom:"):
            continue
        # not in the grid: these runs belong to the tables, which alone train them
        spec = experiments.run_spec(model, 0, here.profile, here.session.object_name, block)
        record = here.store.find(spec)
        if record is not None:
            found[name] = [network_cost.effort(record)]
    return found


def _notes() -> list[str]:
    from reproduce.parts.cost_report import HOW

    return [
        f"- size: {HOW['size_mib']}, in MiB; the paper's MB are these MiB",
        f"- operations: {HOW['gflops']}. They are a number of operations, not operations a second. "
        "The profiler sees no resizing, no einsum and no error function, and counts attention in "
        "its plain form",
        f"- epochs: {HOW['epochs']} of 100 epochs, on the sound block, noise-free; validation is "
        "5 % of the training patches. The paper does not say by what rule its epochs were found",
        "- PtychoFormer takes one pattern, not 9 neighbours as its original; SegFormer-style and "
        "TransUNet-style are of our choice in size, since the paper gives none. The standardised "
        "kernels of TransUNet-style are counted, though they could be computed once",
        "- time and memory compare networks on one device alone; memory on a CPU is that of the "
        "whole process, where earlier runs of the same process count too",
    ]


def _missing(counted: Mapping[str, Counts], spent: Mapping[str, Sequence[Effort]]) -> list[str]:
    found = []
    without = [name for name in counted if name not in spent]
    if without:
        found.append(f"- Without a record so far: {', '.join(without)}")
    if any(numbers.gflops is None for numbers in counted.values()):
        found.append("- Operations are counted on the TensorFlow backend alone")
    return found


EXHIBIT = Exhibit("fig10", "Fig. 10", grid, make)


def main(argv: Sequence[str] | None = None) -> None:
    """Train what is missing and write Figure 10."""
    run(EXHIBIT, __doc__, argv)


if __name__ == "__main__":
    run_script(main)
