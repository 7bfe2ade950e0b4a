"""Fig. 8: PPN against ePIE at overlaps from 30 to 90 %: SSIM and reconstruction time.

Claim      PPN keeps an SSIM of 0.86 to 0.92 at every overlap; ePIE falls from 0.95 at
           90 % to 0.12 at 30 %, and takes 852 times as long there, 1767 times at 60 %
           (section IV-E3).
Command    python reproduce/fig8.py
Written    results/fig8.{csv,json,md,png,pdf}; ePIE's measurements in results/epie

ePIE runs with the known probe and phase unwrapping, as the paper has it, once as a plain
Python loop over the patterns and once compiled, on the device that runs the networks.
Measurements that are there are used; --retrain measures again. --epie-only measures and
trains nothing: the networks are timed with the weights there are.
"""

from __future__ import annotations

import dataclasses
import functools
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from reproduce.exhibit import Context, Exhibit, Output, produce
from reproduce.options import parser, prepare, run_script

MODELS = ("ppn", "ppn-released")
#: Block whose trained networks are timed and drawn.
BLOCK = "sound"

#: Profile to overlaps, iterations and repeats.
EXTENT = {
    "smoke": ((0.30, 0.60), 3, 2),
    "quick": ((0.30, 0.40, 0.50, 0.60, 0.70, 0.80, 0.90), 30, 3),
    "paper": ((0.30, 0.40, 0.50, 0.60, 0.70, 0.80, 0.90), 200, 10),
}


def grid(profile: Any, object_name: str, seeds: int | None) -> Any:
    """Return the noise-free PPN runs of Table I, which hold scores at every overlap.

    The runs of smoke and quick hold none: those profiles measure ePIE and times alone.
    """
    from reproduce import experiments

    if profile.name != "paper":
        return {}
    return {
        (name, "clean"): [
            experiments.run_spec(model, seed, profile, object_name, experiments.block(name))
            for seed in range(seeds or profile.seeds["clean"])
            for model in MODELS
        ]
        for name in profile.blocks
    }


def measured(here: Context, measure: bool) -> dict[float, dict[str, Any]]:
    """Return ePIE's measurements by overlap; with `measure`, make those that are missing.

    Where nothing is measured, those of another device stand in for this one's.
    """
    from tqdm import tqdm

    from reproduce.parts import iterative

    session, found = here.session, {}
    overlaps, iterations, repeats = EXTENT[here.profile.name]
    again = session.retrain and measure
    folder = session.out / "epie"
    every = [
        iterative.Measurement(
            session.object_name, overlap, iterations, repeats, session.device_name
        )
        for overlap in overlaps
    ]
    if not measure:
        device = iterative.device_there(folder, every)
        every = [dataclasses.replace(one, device=device) for one in every]
    prepared: list[Any] = []

    def make(wanted: iterative.Measurement) -> dict[str, Any]:
        if not prepared:  # costs seconds, and a second call needs neither
            prepared.extend((networks(here), iterative.target_scaling(session.object_name)))
        return iterative.measure(wanted, *prepared)

    for wanted in tqdm(every, desc="ePIE", unit="overlap", leave=False):
        record = iterative.ensure(
            wanted, folder, make if measure else None, here.store.environment(), again
        )
        if record is not None:
            found[wanted.overlap] = record
    return found


def networks(here: Context) -> dict[str, tuple[Any, str]]:
    """Return the networks to time: trained where their weights are there."""
    from ppn_tf import models
    from reproduce import experiments, record_files

    found = {}
    for model in MODELS:
        spec = experiments.run_spec(
            model, 0, here.profile, here.session.object_name, experiments.block(BLOCK)
        )
        path = here.store.beside(spec, "keras")
        if path.exists():
            network = record_files.load_network(path, here.store.find(spec) or {})
            found[model] = (network, f"run {spec.hash}")
        else:
            found[model] = (models.create(model, (32, 32, 1)), "untrained")
    return found


def make(here: Context, measure: bool | None = None) -> Output:
    """Set PPN's recorded scores beside ePIE's, and times beside times.

    Parameters
    ----------
    here : Context
    measure : bool, optional
        Make measurements of ePIE that are missing; by default where runs are trained.
    """
    from reproduce import tables
    from reproduce.parts import iterative_facts, iterative_figure
    from reproduce.parts import iterative_report as report

    epie = measured(here, here.session.train if measure is None else measure)
    ppn = {
        (name, condition): tables.by_method(here.found(name, condition))
        for name, condition in here.grid
    }
    facts = iterative_facts.facts(epie, ppn)
    devices = [record["settings"]["device"] for record in epie.values()]
    device = devices[0] if devices else here.session.device_name
    cells = report.cells(facts, here.profile.name, device, BLOCK)
    figures: Sequence[str] = ()
    if epie:
        figures = iterative_figure.draw(here, facts, BLOCK)
    body = report.body(facts, cells, here.profile.name)
    extra = {"measurements": facts.to_dict(), "device": device}
    return Output(body, cells, report.rows(facts), figures, extra)


EXHIBIT = Exhibit("fig8", "Fig. 8", grid, make)


def main(argv: Sequence[str] | None = None) -> None:
    """Measure what is missing and write Fig. 8."""
    options = parser(__doc__)
    options.add_argument(
        "--epie-only", action="store_true", help="measure ePIE and times, train nothing"
    )
    arguments = options.parse_args(argv)
    session, exhibit = prepare(arguments), EXHIBIT
    if arguments.epie_only:
        session = dataclasses.replace(session, train=False)
        exhibit = dataclasses.replace(EXHIBIT, make=functools.partial(make, measure=True))
    print(session.headline)
    produce(exhibit, session)


if __name__ == "__main__":
    run_script(main)
