"""Which runs are missing, and how long they will take."""

from __future__ import annotations

import itertools
import json
import math
import os
import statistics
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from ppn_tf import data
from reproduce.options import ROOT, Session
from reproduce.runs import RunStore
from reproduce.specification import RunSpec

#: Peak of a Tesla T4 in float32 [FLOP/s] (its data sheet), the share of it that a training
#: step is taken to sustain, and the forward passes that a step is worth.
T4_PEAK_FLOPS = 8.1e12
T4_SHARE = 0.25
STEP_FORWARDS = 3
BATCH_SIZE = 32

#: Records that come with the repository.
COMMITTED = ROOT / "results" / "runs"

#: Patches that train where a specification names no number (rows 0-47).
TRAIN_PATCHES = len(data.TRAIN_ROWS) * 61


def store_of(session: Session) -> RunStore:
    """Return the run store of a session."""
    return RunStore(
        session.out / "runs",
        session.device_name,
        session.deterministic,
        session.tensorboard,
        session.devices,
        session.own_backend,
    )


def missing(specs: Sequence[RunSpec], store: RunStore, retrain: bool) -> list[RunSpec]:
    """Return the runs to train or to evaluate again: all of them with `retrain`."""
    return [spec for spec in specs if retrain or store.current(spec) is None]


def steps(spec: RunSpec) -> int:
    """Return the number of training steps of a run."""
    # 5 % validate
    patches = spec.epoch_patches or 0.95 * (spec.train_size or TRAIN_PATCHES)
    return spec.training.epochs * math.ceil(patches / spec.training.batch_size)


def measured_steps(session: Session) -> dict[str, float]:
    """Return seconds per step on the session's device: its own runs, else the paper's."""
    own = session.out / "runs"
    # a profile's folder lies in that of the paper profile
    paper = () if session.profile == "paper" else (session.out.parent / "runs",)
    # an output folder of one's own starts empty: the committed records tell the time then
    folders = (COMMITTED, *paper, own)
    found: dict[str, float] = {}
    # by default the folder is that of the committed records: read once
    for folder in dict.fromkeys(folders):
        found |= step_seconds(folder, session.device_name)
    return found


def network(model: str, options: Iterable[Sequence[Any]] = ()) -> str:
    """Return the name of a form of a network: without its Non-Local branch a step is cheap."""
    return ", ".join([model, *(f"{name}={value}" for name, value in sorted(options))])


def seconds_of(spec: RunSpec, seconds: Mapping[str, float]) -> float | None:
    """Return the seconds of a run's step, None where nothing like it was measured.

    Those of the network's usual form stand in for a form that was not measured.
    """
    return seconds.get(network(spec.model, spec.options), seconds.get(spec.model))


def step_seconds(folder: Path, device: str) -> dict[str, float]:
    """Return measured seconds per step by `network`: records of this device, else speed.json.

    Records of the backend in use count alone where a network has any.

    Parameters
    ----------
    folder : Path
        ``results/runs``.
    device : str
        Name of the device.
    """
    found: dict[str, dict[str, list[float]]] = {}
    # hidden ones are files that a killed process left unfinished
    for path in sorted(folder.glob("*/[!.]*.json")):
        try:
            record = json.loads(path.read_text(encoding="utf-8"))
            seconds = [epoch["seconds"] for epoch in record["cost"]["epochs"]]
            if seconds and record["environment"]["device"] == device:
                spec = record["spec"]
                patches = spec.get("epoch_patches") or record["results"]["train_patches"]
                per_epoch = math.ceil(patches / spec["training"]["batch_size"])
                name = network(spec["model"], spec.get("options", {}).items())
                backend = record["environment"].get("backend", "")
                # the first epoch holds the compilation
                step = statistics.median(seconds) / per_epoch
                found.setdefault(name, {}).setdefault(backend, []).append(step)
        except (OSError, ValueError, KeyError, TypeError):
            continue
    mine = os.environ.get("KERAS_BACKEND", "tensorflow")
    measured = {
        name: statistics.median(each.get(mine) or itertools.chain(*each.values()))
        for name, each in found.items()
    }
    return _speed_record(folder.parent, device) | measured


def _speed_record(folder: Path, device: str) -> dict[str, float]:
    try:
        record = json.loads((folder / "speed.json").read_text(encoding="utf-8"))
        rows = [row for row in record["models"] if row["device"] == device]
        return {row["model"]: row["train_step_s"] for row in rows}
    except (OSError, ValueError, KeyError, TypeError):
        return {}


def t4_step_seconds(folder: Path) -> dict[str, float]:
    """Estimate seconds per step by model on a T4-class GPU, by arithmetic alone.

    A step of 32 patterns is taken as three forward passes at a quarter of the card's
    peak; evaluation and start-up are left out.

    Parameters
    ----------
    folder : Path
        ``results``, with ``fig10.json``; without it nothing is known.
    """
    try:
        cells = json.loads((folder / "fig10.json").read_text(encoding="utf-8"))["cells"]
        gflops = {
            cell["method"]: cell["ours"]
            for cell in cells
            if cell["metric"] == "gflops" and cell["ours"] is not None
        }
    except (OSError, ValueError, KeyError, TypeError):
        return {}
    rate = T4_SHARE * T4_PEAK_FLOPS
    return {
        model: STEP_FORWARDS * BATCH_SIZE * value * 1e9 / rate for model, value in gflops.items()
    }


def estimate(specs: Sequence[RunSpec], seconds: dict[str, float]) -> str:
    """Say how many runs are missing and how long they will take."""
    networks = [spec for spec in specs if spec.trivial is None]
    if not networks:
        return f"{len(specs)} runs to do, all of them trivial predictors (seconds each)"
    each = [(spec, seconds_of(spec, seconds)) for spec in networks]
    unknown = sorted({spec.name for spec, step in each if step is None})
    known = [steps(spec) * step for spec, step in each if step is not None]
    text = f"{len(networks)} training{'s' if len(networks) > 1 else ''} to do"
    if not known:
        return f"{text}, for a time unknown: no measured step of {', '.join(unknown)} here"
    text += f", about {duration(sum(known))} in all"
    if unknown:
        text += f", not counting {', '.join(unknown)} (no measured step here)"
    return text


def forecast(specs: Sequence[RunSpec], session: Session) -> str:
    """Say how long runs will take here and, where a step is not measured here, elsewhere.

    A computer that has made no record yet learns at least what others needed.
    """
    known_here = measured_steps(session)
    lines = [estimate(specs, known_here)]
    if any(spec.trivial is None and seconds_of(spec, known_here) is None for spec in specs):
        folders = {COMMITTED, store_of(session).folder}
        others = [measured_elsewhere(folder, session.device_name) for folder in folders]
        lines += [
            f"On {device}, by its records: {estimate(specs, known)}"
            for found in others
            for device, known in found.items()
        ]
    return "\n".join(lines)


def measured_elsewhere(folder: Path, device: str) -> dict[str, dict[str, float]]:
    """Return seconds per step by model for every other device that made a record."""
    models: dict[str, set[str]] = {}
    # hidden ones are files that a killed process left unfinished
    for path in sorted(folder.glob("*/[!.]*.json")):
        try:
            record = json.loads(path.read_text(encoding="utf-8"))
            maker, spec = record["environment"]["device"], record["spec"]
            model = network(spec["model"], spec.get("options", {}).items())
        except (OSError, ValueError, KeyError, TypeError):
            continue
        if maker != device:
            models.setdefault(maker, set()).add(model)
    found = {}
    for name, own in sorted(models.items()):
        # what speed.json knows was measured on one device only, perhaps another
        every = step_seconds(folder, name)
        known = {model: seconds for model, seconds in every.items() if model in own}
        if known:
            found[name] = known
    return found


def plan(specs: Sequence[RunSpec], seconds: dict[str, float]) -> str:
    """List runs, a line each, in the order in which they would be made."""
    lines = []
    for spec in specs:
        step = seconds_of(spec, seconds)
        time = "seconds" if spec.trivial else "?" if step is None else duration(steps(spec) * step)
        lines.append(f"{spec.hash}  {time:>8}  {spec.label}")
    return "\n".join(lines)


def duration(seconds: float) -> str:
    """Return a time in the unit that fits."""
    for limit, unit, size in ((120, "s", 1), (7200, "min", 60), (172800, "h", 3600)):
        if seconds < limit:
            return f"{seconds / size:.0f} {unit}"
    return f"{seconds / 86400:.1f} days"
