"""Runs on a Dask cluster: each a task of its own, in a fresh process of a worker.

Used by ``--scheduler``; a worker calls this module with a job on its standard input. Where
the workers see the folder of the outputs, the run store there holds every record once, as
with ``--jobs``. Where they do not, the finished run is sent back and written here.
"""

from __future__ import annotations

import contextlib
import dataclasses
import json
import os
import sys
import traceback
import uuid
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ppn_tf import cluster, fresh_process
from ppn_tf.errors import ClusterError
from reproduce.options import ROOT, Session

if TYPE_CHECKING:  # it imports Keras, which must not happen before the device is chosen
    from reproduce.specification import RunSpec

#: What the process of a run leaves in its folder.
ANSWER = "answer.json"
RUNS = "runs"

#: Expected time of a run of which no step was measured, and of a trivial predictor [s].
UNKNOWN_S = 600.0
TRIVIAL_S = 10.0


def outcomes(
    specs: Sequence[RunSpec], session: Session
) -> Iterator[tuple[RunSpec, Exception | None]]:
    """Make runs on the cluster of the session, the longest first.

    Parameters
    ----------
    specs : sequence of RunSpec
    session : Session

    Yields
    ------
    (RunSpec, Exception or None)
        As each run ends.
    """
    from reproduce import schedule

    store = schedule.store_of(session)
    seconds = schedule.measured_steps(session)
    by_name = {spec.hash: spec for spec in specs}
    with _marked(store.folder) as mark:
        tasks = [
            cluster.Task(spec.hash, _arguments(spec, session, mark), _expected_s(spec, seconds))
            for spec in specs
        ]
        answers = cluster.outcomes(
            session.scheduler,
            fresh_process.run,
            tasks,
            gpu=session.device != "cpu",
            label="runs",
        )
        for task, answer in answers:
            spec = by_name[task.name]
            failed = answer
            if not isinstance(answer, Exception):
                failed = _received(spec, answer, session)
            yield spec, failed


def _arguments(spec: RunSpec, session: Session, mark: Path) -> tuple[Any, ...]:
    """Return the arguments of `ppn_tf.fresh_process.run` for a run."""
    import keras

    job = {
        "spec": dataclasses.asdict(spec),
        "hash": spec.hash,
        "runs": str(mark.parent.resolve()),
        "mark": mark.name,
        "cwd": str(Path.cwd()),
        "device": session.device,
        "devices": session.devices,
        "deterministic": session.deterministic,
        "tensorboard": session.tensorboard,
        "retrain": session.retrain,
    }
    environment = {"KERAS_BACKEND": keras.backend.backend()}
    if os.environ.get("PPN_TF_DATA"):
        environment["PPN_TF_DATA"] = str(Path(os.environ["PPN_TF_DATA"]).resolve())
    return "reproduce.cluster", job, str(ROOT), environment


def main() -> None:
    """In the process of a run: read the job, make the run, write the answer."""
    work = json.loads(sys.stdin.readline())
    folder = Path(sys.argv[1])
    fresh_process.follow_parent()
    try:
        _make_here(work, folder)
    except Exception as error:
        # the same everywhere, so that it is no use to try again on another worker
        answer = {
            "error": f"{type(error).__name__}: {error}",
            "traceback": traceback.format_exc(),
        }
    else:
        answer = {"error": None}
    (folder / ANSWER).write_text(json.dumps(answer), encoding="utf-8")
    sys.stdout.flush()
    # a waiting thread holds the pipe, and nothing is left to do
    os._exit(0)


def _make_here(work: Mapping[str, Any], folder: Path) -> None:
    from ppn_tf.devices import select_device, set_threads
    from ppn_tf.training import TrainingConfig
    from reproduce.runs import RunStore
    from reproduce.specification import RunSpec

    values = dict(work["spec"])
    values["training"] = TrainingConfig(**values["training"])
    values["options"] = tuple((name, value) for name, value in values["options"])
    spec = RunSpec(**values)
    if spec.hash != work["hash"]:
        raise ClusterError(
            f"expected the run {work['hash']}, received {spec.hash} on the worker: it has "
            "another version of this package; install the same one"
        )
    if Path(work["cwd"]).is_dir():
        # where networks of --add-model may lie
        os.chdir(work["cwd"])
    set_threads(1 if work["deterministic"] else work["threads"])
    device_name = select_device(work["device"], work["devices"])
    shared = Path(work["runs"], work["mark"]).exists()
    store = RunStore(
        Path(work["runs"]) if shared else folder / RUNS,
        device_name,
        work["deterministic"],
        work["tensorboard"] and shared,
        work["devices"],
    )
    store.ensure(spec, retrain=work["retrain"], progress=False)


def _received(spec: RunSpec, files: Mapping[str, bytes], session: Session) -> Exception | None:
    """Take over a run that was made without a shared folder; return what failed."""
    from reproduce import schedule

    answer = json.loads(files[ANSWER])
    if answer["error"] is not None:
        return ClusterError(f"on a worker, {answer['error']}\n{answer['traceback']}")
    sent = {
        Path(name).name: content
        for name, content in files.items()
        if name.startswith(f"{RUNS}/{spec.hash}/")
    }
    if sent:
        try:
            schedule.store_of(session).receive(spec, sent, replace=session.retrain)
        except Exception as error:
            return error
    return None


@contextlib.contextmanager
def _marked(folder: Path) -> Iterator[Path]:
    """Lay down a file by which workers see whether they share the folder."""
    folder.mkdir(parents=True, exist_ok=True)
    mark = folder / f".cluster-{uuid.uuid4().hex}"
    mark.touch()
    try:
        yield mark
    finally:
        mark.unlink(missing_ok=True)


def _expected_s(spec: RunSpec, seconds: Mapping[str, float]) -> float:
    from reproduce import schedule

    if spec.trivial is not None:
        return TRIVIAL_S
    step = schedule.seconds_of(spec, seconds)
    return UNKNOWN_S if step is None else TRIVIAL_S + schedule.steps(spec) * step


if __name__ == "__main__":
    main()
