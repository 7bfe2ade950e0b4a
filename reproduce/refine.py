"""Refinement: how many iterations a network's object saves, against a flat start.

Claim      None of the paper's, which compares network and ePIE and does not join them.
           Here the network's stitched object is where the iterations start, under ePIE and
           under Eq. (3) of the paper.
Command    python reproduce/refine.py
Written    results/refine.{json,md,png,pdf}; measurements in results/refine

The chart, noise-free, known probe, overlaps from 30 to 75 %, on rows that no network was
trained on; and scan 247, where reproduce/real_probe.py has trained a network for it.
Measurements that are there are used; --retrain measures again.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from reproduce.exhibit import Context, Exhibit, Output, run
from reproduce.options import run_script

#: Networks of Table I that are starts.
NETWORKS = ("ppn", "ptychonn", "ptynet")
KEY = ("sound", "clean")

#: Objective to its weight of gradient sparsity.
OBJECTIVES = {"epie": 0.0, "eq3": 1e-3}

#: Profile to overlaps, iterations and repeats.
EXTENT = {
    "smoke": ((0.30, 0.60), 3, 2),
    "quick": ((0.30, 0.40, 0.50, 0.60, 0.70, 0.75), 30, 2),
    "paper": ((0.30, 0.40, 0.50, 0.60, 0.70, 0.75), 200, 3),
}


def grid(profile: Any, object_name: str, seeds: int | None) -> Any:
    """Return the runs of Table I, sound block, noise-free, of the first seed.

    One network of each kind: the repeats are over the order of ePIE's visits.
    """
    from reproduce import experiments

    runs = experiments.table1(profile, object_name, seeds)[KEY]
    return {KEY: [spec for spec in runs if spec.seed == 0 and spec.model in NETWORKS]}


def starts(here: Context) -> dict[str, tuple[str, Path | None]]:
    """Return the starts there are: name to (hash of the run, file of the weights)."""
    from reproduce.parts import refining

    found: dict[str, tuple[str, Path | None]] = {name: ("", None) for name in refining.FLAT}
    for spec in here.grid[KEY]:
        path = here.store.beside(spec, "keras")
        if path.exists():
            found[spec.method] = (spec.hash, path)
    return found


def measured(here: Context) -> dict[tuple[str, str, float], dict[str, Any]]:
    """Return measurements by (start, objective, overlap); make those that are missing."""
    from tqdm import tqdm

    from reproduce.parts import iterative, refining

    session = here.session
    overlaps, iterations, repeats = EXTENT[here.profile.name]
    scans: dict[float, Any] = {}
    networks: dict[Path, Any] = {}
    fields: dict[tuple[str, float], Any] = {}
    weights_of = starts(here)

    def make(wanted: refining.Measurement) -> dict[str, Any]:
        if wanted.overlap not in scans:
            scaling = iterative.target_scaling(session.object_name)
            scans[wanted.overlap] = iterative.overlap_scan(
                session.object_name, wanted.overlap, scaling
            )
        path = weights_of[wanted.start][1]
        if path is not None and path not in networks:
            from ppn_tf import kerasfile

            networks[path] = kerasfile.load(path)
        scan, key = scans[wanted.overlap], (wanted.start, wanted.overlap)
        if key not in fields:
            fields[key] = refining.start_field(scan, networks.get(path), wanted.start)
        return refining.measure(wanted, scan, fields[key])

    jobs = [
        refining.Measurement(
            session.object_name, overlap, name, weights, objective, sparsity, iterations, repeats
        )
        for overlap in overlaps
        for name, (weights, _) in weights_of.items()
        for objective, sparsity in OBJECTIVES.items()
    ]
    found = {}
    for wanted in tqdm(jobs, desc="refine", unit="start", leave=False, disable=not session.train):
        record = iterative.ensure(
            wanted,
            session.out / "refine",
            make if session.train else None,
            here.store.environment(),
            session.retrain and session.train,
        )
        if record is not None:
            found[wanted.start, wanted.objective, wanted.overlap] = record
    return found


def make(here: Context) -> Output:
    """Tabulate the first iterations that reach a level; draw them and the curves."""
    from reproduce.parts import refining_figure
    from reproduce.parts import refining_report as report

    chart = measured(here)
    names = refining_figure.draw(here, chart) if chart else ()
    body = "\n".join([report.body(here, chart, NETWORKS), "", *measured_scan(here)])
    extra = {"measurements": report.document(chart)}
    return Output(body, figures=names, extra=extra, about="networks as starts of ePIE and Eq. (3)")


def measured_scan(here: Context) -> list[str]:
    """Say how refinement goes on scan 247, from the record of reproduce/real_probe.py."""
    from reproduce import real_probe

    record, _ = real_probe.recorded(here)
    lines = ["## Scan 247, measured", ""]
    if record is None:
        return [*lines, "No record yet: `python reproduce/real_probe.py` makes it.", ""]
    return [
        *lines,
        "Networks trained for this probe on drawn objects (reproduce/real_probe.py). Networks of "
        "Fig. 5 are no starts here: they are trained on ePIE's object of the same scan.",
        "",
        *real_probe.refinement_lines(record),
    ]


EXHIBIT = Exhibit("refine", "Refinement", grid, make)


def main(argv: Sequence[str] | None = None) -> None:
    """Measure what is missing and write the exhibit."""
    run(EXHIBIT, __doc__, argv)


if __name__ == "__main__":
    run_script(main)
