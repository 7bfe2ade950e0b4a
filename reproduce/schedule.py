"""Which runs are missing, how long they will take, and training them."""

from __future__ import annotations

import concurrent.futures
import json
import math
import multiprocessing
import os
import statistics
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from tqdm import tqdm

from ppn_tf import data
from reproduce.options import Session
from reproduce.runs import RunStore
from reproduce.specification import RunSpec

#: Patches that train where a specification names no number (rows 0-47).
TRAIN_PATCHES = len(data.TRAIN_ROWS) * 61


def store_of(session: Session) -> RunStore:
    """Return the run store of a session."""
    return RunStore(
        session.out / "runs", session.device_name, session.deterministic, session.tensorboard
    )


def missing(specs: Sequence[RunSpec], store: RunStore, retrain: bool) -> list[RunSpec]:
    """Return the runs without a record, or all of them where they are to be retrained."""
    return [spec for spec in specs if retrain or store.find(spec) is None]


def steps(spec: RunSpec) -> int:
    """Return the number of training steps of a run."""
    patches = spec.train_size or TRAIN_PATCHES
    # 5 % validate
    return spec.training.epochs * math.ceil(0.95 * patches / spec.training.batch_size)


def step_seconds(folder: Path, device: str) -> dict[str, float]:
    """Return measured seconds per step by model: records of this device, else speed.json.

    Parameters
    ----------
    folder : Path
        ``results/runs``.
    device : str
        Name of the device.
    """
    found: dict[str, list[float]] = {}
    for path in sorted(folder.glob("*/*.json")):
        try:
            record = json.loads(path.read_text(encoding="utf-8"))
            seconds = [epoch["seconds"] for epoch in record["cost"]["epochs"]]
            if seconds and record["environment"]["device"] == device:
                per_epoch = math.ceil(record["results"]["train_patches"] / 32)
                model = record["spec"]["model"]
                # the first epoch holds the compilation
                found.setdefault(model, []).append(statistics.median(seconds) / per_epoch)
        except (OSError, ValueError, KeyError, TypeError):
            continue
    measured = {model: statistics.median(values) for model, values in found.items()}
    return _speed_record(folder.parent) | measured


def _speed_record(folder: Path) -> dict[str, float]:
    try:
        record = json.loads((folder / "speed.json").read_text(encoding="utf-8"))
        return {row["model"]: row["train_step_s"] for row in record["models"]}
    except (OSError, ValueError, KeyError, TypeError):
        return {}


def estimate(specs: Sequence[RunSpec], seconds: dict[str, float]) -> str:
    """Say how many runs are missing and how long they will take."""
    networks = [spec for spec in specs if spec.trivial is None]
    if not networks:
        return f"{len(specs)} runs to do, all of them trivial predictors (seconds each)"
    unknown = sorted({spec.model for spec in networks if spec.model not in seconds})
    known = sum(steps(spec) * seconds[spec.model] for spec in networks if spec.model in seconds)
    text = f"{len(networks)} trainings to do, about {duration(known)} in all"
    if unknown:
        text += f", not counting {', '.join(unknown)} (no measured step here)"
    return text


def plan(specs: Sequence[RunSpec], seconds: dict[str, float]) -> str:
    """List runs, a line each, in the order in which they would be made."""
    lines = []
    for spec in specs:
        step = seconds.get(spec.model)
        time = "seconds" if spec.trivial else "?" if step is None else duration(steps(spec) * step)
        lines.append(f"{spec.hash}  {time:>8}  {spec.label}")
    return "\n".join(lines)


def duration(seconds: float) -> str:
    """Return a time in the unit that fits."""
    for limit, unit, size in ((120, "s", 1), (7200, "min", 60), (172800, "h", 3600)):
        if seconds < limit:
            return f"{seconds / size:.0f} {unit}"
    return f"{seconds / 86400:.1f} days"


def run_all(
    specs: Sequence[RunSpec], session: Session, finished: Callable[[], Any] | None = None
) -> None:
    """Make runs in the given order, `session.jobs` side by side.

    Parameters
    ----------
    specs : sequence of RunSpec
    session : Session
    finished : callable, optional
        Called after every finished run, to refresh what is written.
    """
    if session.jobs == 1:
        store = store_of(session)
        for number, spec in enumerate(specs, start=1):
            print(f"[{number}/{len(specs)}] {spec.label}", file=sys.stderr)
            store.ensure(spec, retrain=session.retrain)
            if finished:
                finished()
        return
    threads = max(1, (os.cpu_count() or 1) // session.jobs)
    # spawn: a forked TensorFlow hangs
    context = multiprocessing.get_context("spawn")
    with concurrent.futures.ProcessPoolExecutor(session.jobs, mp_context=context) as pool:
        waiting = [pool.submit(_job, spec, session, threads) for spec in specs]
        try:
            done = concurrent.futures.as_completed(waiting)
            for future in tqdm(done, total=len(waiting), desc="runs", unit="run"):
                future.result()
                if finished:
                    finished()
        except BaseException:
            pool.shutdown(wait=False, cancel_futures=True)
            for process in multiprocessing.active_children():
                process.terminate()
            raise


def _job(spec: RunSpec, session: Session, threads: int) -> None:
    from ppn_tf.devices import select_device, set_threads

    set_threads(threads)
    select_device(session.device)
    store_of(session).ensure(spec, retrain=session.retrain, progress=False)
