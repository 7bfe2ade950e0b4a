"""Figure 7: (a) size of the training set, (b) overlap of the test scan.

Claim      From 2928 to 50 training patches PPN loses 35 % of its amplitude PSNR and 15 %
           of its phase PSNR, PtychoNN about 70 % of both; with 100 training patches all
           methods are indifferent to the overlap of the test scan (section IV-E).
Command    python reproduce/fig7.py
Written    results/fig7.{csv,json,md}, results/fig7.{png,pdf}; runs in results/runs

``--add-model package.module:function`` adds a network of your own.
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

METHODS = ("ppn", "ppn-released", "ptychonn", "ptynet", "dpi")

#: Training patches; the last is the whole training set, whose runs are Table I's.
SIZES = (50, 100, 400, 2928)
FULL = SIZES[-1]
#: Training set of panel b.
OVERLAP_SIZE = 100

#: Arm: its name in print.
ARMS = {"epochs": "equal epochs", "steps": "equal steps"}

#: What the profiles that are no reproduction train: methods and sizes.
REDUCED = {
    "smoke": (("ptynet",), (50,)),
    "quick": (("ppn", "ptychonn", "ptynet"), (50, 100, 400)),
}


def grid(profile: Any, object_name: str, seeds: int | None) -> Any:
    """Return the runs by block, condition, arm and size.

    Runs as long as a training on the full set, which are the full size itself and the
    equal-steps arm, have fewer seeds.
    """
    from reproduce import experiments

    methods, sizes = REDUCED.get(profile.name, (METHODS, SIZES))
    networks = [(method, None) for method in methods]
    networks += [(added.model, added.epochs) for added in profile.added]
    short = experiments.seed_count("fig7", profile, seeds)
    long = experiments.seed_count("fig7-long", profile, seeds)
    found: Any = {}
    for arm in ARMS if profile.name == "paper" else ("epochs",):
        for size in sizes:
            if arm == "steps" and size == FULL:
                continue
            count = long if arm == "steps" or size == FULL else short
            found["sound", "clean", arm, str(size)] = [
                _spec(model, epochs, seed, size, arm, profile, object_name)
                for seed in range(count)
                for model, epochs in networks
            ]
    return found


def _spec(
    model: str,
    epochs: int | None,
    seed: int,
    size: int,
    arm: str,
    profile: Any,
    object_name: str,
) -> Any:
    from reproduce import experiments

    spec = experiments.run_spec(
        model,
        seed,
        profile,
        object_name,
        experiments.block("sound"),
        epochs=epochs,
        train_size=None if size == FULL else size,
    )
    # as many patches an epoch as the full set leaves to training, 5 % validate
    return dataclasses.replace(spec, epoch_patches=int(0.95 * FULL)) if arm == "steps" else spec


def make(here: Context) -> Output:
    """Compare sizes and overlaps with the text, and draw both panels."""
    from reproduce import experiments, tables
    from reproduce.parts import limited_data, limited_report

    block, profile = experiments.block("sound"), here.profile.name
    runs = _runs(here)
    every: list[tables.Cell] = []
    table: limited_report.SizeTable = {}
    tested: list[dict[str, Any]] = []
    methods = (*METHODS, *(network.name for network in here.session.added))
    for method in methods:
        for arm, title in ARMS.items():
            sizes = {size: runs.get((arm, size), {}).get(method, {}) for size in SIZES}
            for size, found in sizes.items():
                for cell in limited_data.size_cells(method, title, size, found, block, profile):
                    table[method, cell.metric, title, str(size)] = cell
            for cell in limited_data.drop_cells(method, title, sizes, block, profile):
                table[method, cell.metric.removesuffix(" drop"), title, "drop (%)"] = cell
        hundred = runs.get(("epochs", OVERLAP_SIZE), {}).get(method, {})
        hundred = limited_data.with_overlap(hundred)
        if limited_data.CLAIMED.get(method) == "ppn":
            every += limited_data.overlap_cells(method, hundred, profile)
        if hundred:
            tested += [
                limited_data.overlap_statistics(hundred, method, convention, metric)
                for convention in limited_data.SCORED
                for metric in tables.SHORT
            ]
    every = [*table.values(), *every]
    ppn = [runs.get(("epochs", size), {}).get("ppn", {}) for size in (SIZES[0], OVERLAP_SIZE)]
    every += limited_data.setting_cells(*ppn, profile)
    if not any(runs.values()):
        return Output("No record yet: nothing to draw.", every)
    body = limited_report.text(here, table, every, tested)
    figures = limited_report.figure(here, runs, methods)
    return Output(body, every, figures=figures, extra={"overlap": tested})


def _runs(here: Context) -> dict[tuple[str, int], dict[str, dict[int, Any]]]:
    """Return arm and size to method, seed, record; all that Table I has of the full size."""
    from reproduce import experiments, tables

    found = {
        (arm, int(size)): tables.by_method(here.found(block, condition, arm, size))
        for block, condition, arm, size in here.grid
    }
    count = experiments.seed_count("fig7", here.profile, here.session.seeds)
    for spec in here.grid.get(("sound", "clean", "epochs", str(FULL)), ()):
        if spec.seed == 0:
            more = [dataclasses.replace(spec, seed=seed) for seed in range(count)]
            pairs = [(other, here.store.find(other)) for other in more]
            found["epochs", FULL] |= tables.by_method([pair for pair in pairs if pair[1]])
    if any(arm == "steps" for arm, _ in found):
        # the full size belongs to both arms
        found["steps", FULL] = found.get(("epochs", FULL), {})
    return found


EXHIBIT = Exhibit("fig7", "Fig. 7", grid, make)


def main(argv: Sequence[str] | None = None) -> None:
    """Train what is missing and write Figure 7."""
    run(EXHIBIT, __doc__, argv)


if __name__ == "__main__":
    run_script(main)
