"""Audit: what decides the published numbers, and what the released code does.

Claim      Where paper and authors' release disagree, or a printed number cannot be right,
           it is shown by computation: a finding, its evidence, its test.
Command    python reproduce/audit.py --no-train   (what the records there are can tell)
           python reproduce/audit.py              (trains the protocol search first)
           python reproduce/audit.py --measure NAME   (makes a record of results/audit)
Written    results/audit.{json,md}, results/audit-*.{png,pdf}; runs in results/runs,
           measurements in results/audit

Measurements on networks are short trainings, kept as small records and read from them.
The protocol search trains PtychoNN, PtyNet and PPN without its Non-Local branch under two
input transforms and two jitters, with 3 seeds; until PtychoNN and PtyNet have a seed under
each of them no block is selected. Every form of the attention is trained in the sound block
with 5 seeds; meanwhile a pilot answers as far as it can.
"""

from __future__ import annotations

import importlib
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from reproduce.exhibit import Context, Exhibit, Output, produce
from reproduce.options import Session, parser, prepare, run_script

#: Measurement to the module that plans it.
MEASURED = {
    "branch": "audit_branch",
    "leaks": "audit_leaks",
    "noise": "audit_dose",
    "shift": "audit_shift",
    "fields": "audit_fields",
    "poca": "audit_pilot",
}

#: Measurements that read trained networks below the folder of the outputs.
WITH_NETWORKS = ("noise", "fields")

#: What the profiles that are no reproduction train, with the input of the sound block.
REDUCED = {"smoke": ("ptynet",), "quick": ("ptychonn", "ptynet", "ppn")}
SOUND = ("log1p", 0)

#: Entry of the grid with the forms of the attention.
POCA = ("poca", "sound")

#: Networks whose runs of Table I say what each region scores; read, not trained.
READ = ("ppn", "ptychonn", "ptynet")

#: Noise models whose size on the input is told.
NOISE = ("low-dose", "reference", "high-dose")


def grid(profile: Any, object_name: str, seeds: int | None) -> Any:
    """Return the runs of the protocol search, and of every form of the attention."""
    from reproduce import experiments
    from reproduce.parts import audit_pilot, audit_protocol

    reduced = REDUCED.get(profile.name)
    trainings = {(one.transform, one.jitter_px): one for one in audit_protocol.combinations()}
    if reduced:
        trainings = {SOUND: trainings[SOUND]}
    count = seeds or (1 if reduced else audit_protocol.SEEDS)

    def runs(block: Any, networks: Any, count: int) -> list[Any]:
        return [
            experiments.run_spec(model, seed, profile, object_name, block, options=options)
            for seed in range(count)
            for model, options in networks
        ]

    networks = [
        (model, audit_protocol.NETWORKS[model][0]) for model in reduced or audit_protocol.NETWORKS
    ]
    found = {
        (key[0], f"{key[1]} px"): runs(block, networks, count) for key, block in trainings.items()
    }
    if not reduced:
        count = seeds or experiments.SEEDS["audit"]
        forms = audit_pilot.FORMS.values()
        found[POCA] = runs(experiments.block("sound"), forms, count)
    return found


def make(here: Context) -> Output:
    """Measure, read the records there are, and tell."""
    from ppn_tf import data
    from reproduce.parts import audit_finding, audit_polar

    dataset = data.load(here.session.object_name, allow_stand_in=True)
    polar = audit_polar.measure()
    measured, findings = _network(here, dataset, polar)
    distances, search = _search(here)
    scored, data_findings = _data(here, dataset)
    findings = [search, *findings, *data_findings]
    chosen = search.measured["selection"]["block"]
    figures = _figures(here, measured, polar, (distances, chosen), scored)
    return Output(
        audit_finding.markdown(findings),
        figures=figures,
        extra={
            "selected": search.measured["selection"] if here.profile.name == "paper" else None,
            "findings": {one.key: one.to_dict() for one in findings},
        },
    )


def _search(here: Context) -> tuple[Mapping[str, Any], Any]:
    from reproduce import tables
    from reproduce.parts import audit_protocol, audit_protocol_text

    records = {
        (key[0], int(key[1].split()[0])): tables.by_method(
            here.found(*key), key=lambda spec: spec.name
        )
        for key in here.grid
        if key != POCA
    }
    seeds = audit_protocol.common_seeds(records)
    # a choice compares like with like: the seeds that every combination has
    distances = audit_protocol.measure(audit_protocol.only(records, seeds) if seeds else records)
    wanted = [one.name for one in audit_protocol.combinations()]
    selection = audit_protocol.select(distances, wanted, seeds)
    others = audit_protocol.alternatives(records, seeds)
    return distances, audit_protocol_text.protocol(distances, selection, others)


def _network(here: Context, dataset: Any, polar: Any) -> tuple[Any, list[Any]]:
    import keras

    from ppn_tf import data
    from reproduce import compare
    from reproduce.parts import (
        arithmetic,
        audit_branch,
        audit_data,
        audit_measured_text,
        audit_records,
        audit_text,
    )

    record = _measured(here, "branch")
    # minutes on two CPU cores
    measured = (
        audit_branch.assemble(audit_records.results(record))
        if record
        else audit_branch.measure(dataset)
    )
    # the profiler that counts operations is TensorFlow's
    counted = audit_branch.operations() if keras.backend.backend() == "tensorflow" else None
    train = data.train_indices(dataset)
    shares = {
        name: audit_data.dc_share(dataset, dataset.fit_scaling(train, name))
        for name in ("linear", "log1p")
    }
    findings = [
        audit_text.branch(measured, counted),
        audit_text.centre(measured, _paths(here)),
        audit_measured_text.shift(_measured(here, "shift")),
        audit_text.radial_weight(polar, shares, measured["dc_attention"]),
        audit_text.parameters(audit_branch.parameters()),
        audit_text.consistency(arithmetic.findings(compare.load_paper())),
    ]
    return measured, findings


def _data(here: Context, dataset: Any) -> tuple[list[Any], list[Any]]:
    from ppn_tf import data
    from reproduce.parts import audit_data, audit_data_text, audit_measured_text, audit_speed

    name = here.session.object_name
    jittered = data.load(name, jitter_px=3, allow_stand_in=True)
    shared = audit_data.leaks({0: dataset, 3: jittered})
    scored = audit_data.ssim_conventions(dataset)
    findings = [
        audit_data_text.leaks(
            shared, audit_data.against_gap(_table1(here)), _measured(here, "leaks")
        ),
        audit_data_text.flattened_ssim(scored),
        audit_data_text.stitching(audit_data.released_stitching(dataset)),
        audit_data_text.noise(audit_data.noise(name, NOISE), _measured(here, "noise")),
        audit_data_text.speed(audit_data.positions_at(0.3), audit_speed.measured(here.session.out)),
        audit_measured_text.fields(_measured(here, "fields")),
        audit_measured_text.poca(_measured(here, "poca"), _full_trainings(here)),
    ]
    return scored, findings


def _measured(here: Context, name: str) -> dict[str, Any] | None:
    """Return the record of a measurement, if it is there."""
    from reproduce.parts import audit_records

    planned = importlib.import_module(f"reproduce.parts.{MEASURED[name]}")
    settings = planned.settings(here.session.object_name)
    return audit_records.read(here.session.out, name, settings)


def _full_trainings(here: Context) -> dict[str, dict[str, float]]:
    """Return the scores of full trainings in the sound block, by form of the attention."""
    from reproduce.parts import audit_pilot

    found = here.found(*POCA)
    return audit_pilot.from_records(
        [(audit_pilot.name_of(spec.model, spec.options), spec.seed, r) for spec, r in found]
    )


def _table1(here: Context) -> dict[str, list[Any]]:
    """Return Table I's noise-free records of the sound block, which it alone trains."""
    from reproduce import experiments

    block = experiments.block("sound")
    found: dict[str, list[Any]] = {}
    for model in READ:
        for seed in range(here.profile.seeds["clean"]):
            spec = experiments.run_spec(model, seed, here.profile, here.session.object_name, block)
            record = here.store.find(spec)
            if record is not None:
                found.setdefault(model, []).append(record)
    return found


def _paths(here: Context) -> dict[str, Any]:
    from reproduce.parts import audit_branch

    return {
        record["hash"]: audit_branch.center_path(record) for record in _table1(here).get("ppn", [])
    }


def _figures(here: Context, measured: Any, polar: Any, search: Any, scored: Any) -> list[str]:
    from reproduce.parts import audit_figure, audit_measured_figure

    out = here.session.out
    notes = ["stand-in object"] if here.session.object_name == "stand-in" else []
    short = (
        []
        if here.profile.name == "paper"
        else [f"profile {here.profile.name}: not the paper's protocol"]
    )
    return [
        *audit_figure.network(out, measured, polar, notes),
        *audit_figure.ssim(out, scored, notes),
        *audit_measured_figure.draw(
            out, {one: _measured(here, one) for one in ("shift", "fields", "poca")}, notes
        ),
        *audit_figure.search(out, search[0], [*notes, *short], search[1]),
    ]


EXHIBIT = Exhibit("audit", "Audit of the paper and its release", grid, make)


def main(argv: Sequence[str] | None = None) -> None:
    """Make the measurements that are asked for; train what is missing and write the audit."""
    options = parser(__doc__)
    options.add_argument(
        "--measure",
        action="append",
        default=[],
        choices=(*MEASURED, "all"),
        help="make a record of results/audit, going on where it was interrupted; "
        "--retrain makes all of them anew",
    )
    options.add_argument("--pairs", type=int, help="paired seeds of the measurement, if it has any")
    arguments = options.parse_args(argv)
    session = prepare(arguments)
    print(session.headline)
    for name in MEASURED:
        if {name, "all"} & set(arguments.measure) or (session.retrain and session.train):
            measure(name, session, arguments.pairs)
    if not arguments.measure:
        produce(EXHIBIT, session)


def measure(name: str, session: Session, seeds: int | None = None) -> None:
    """Make one record of results/audit."""
    from ppn_tf import data
    from reproduce.parts import audit_records

    dataset = data.load(session.object_name, allow_stand_in=True)
    more = {} if seeds is None else {"seeds": seeds}
    if name in WITH_NETWORKS:
        more["folder"] = session.out
    plan = importlib.import_module(f"reproduce.parts.{MEASURED[name]}").plan(
        session.object_name, dataset, **more
    )
    audit_records.measure(plan, session.out, session.device_name, again=session.retrain)
    print(f"written: {audit_records.path(session.out, name)}")


if __name__ == "__main__":
    run_script(main)
