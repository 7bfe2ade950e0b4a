"""A module run in a process of its own, as a task of a Dask worker."""

from __future__ import annotations

import contextlib
import json
import os
import subprocess
import sys
import tempfile
import threading
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ppn_tf.cluster import RESOURCES
from ppn_tf.errors import ClusterError

_POLL_S = 1.0

#: Exit status of a process whose parent is gone.
_ORPHAN = 70


def run(
    module: str, job: Mapping[str, Any], root: str, environment: Mapping[str, str]
) -> dict[str, bytes]:
    """Run a module in a process of its own, and return the files that it leaves.

    On a worker: a training shares nothing with it then, neither random numbers, which
    Dask's own threads draw too, nor memory, nor the choice of a device; and a crash is an
    error, not a lost worker. If the worker dies, so does the process (see `follow_parent`).

    Parameters
    ----------
    module : str
        Run as ``python -m MODULE FOLDER`` with an empty folder to write to. It reads one
        line from its standard input: the job as JSON.
    job : mapping
        Plain values; ``threads`` is added: the processor threads that this task may use.
    root : str
        Folder from which the module is imported where the worker's own copy of this
        package does not have it.
    environment : mapping
        Variables of the process. The worker's own value goes before all but ``KERAS_BACKEND``,
        and a value that is an absolute path counts only where it exists.

    Returns
    -------
    dict of str to bytes
        File name (relative, with ``/``) to content.

    Raises
    ------
    ClusterError
        If the module is not there, or its process ends with an error status or a signal.
    """
    line = json.dumps({**job, "threads": task_threads()}) + "\n"
    with tempfile.TemporaryDirectory(prefix="ppn-tf-") as scratch:
        process = subprocess.Popen(
            [sys.executable, "-m", module, scratch],
            cwd=_folder_of(module, root),
            env=_environment(environment),
            stdin=subprocess.PIPE,
            # to the worker's log
            stdout=2,
        )
        try:
            process.stdin.write(line.encode())
            process.stdin.flush()
            status = _wait(process)
        finally:
            process.kill()
            process.wait()
            with contextlib.suppress(OSError):
                process.stdin.close()
        if status:
            how = f"by signal {-status}" if status < 0 else f"with status {status}"
            raise ClusterError(
                f"the process of {module} ended {how}: see the worker's log; signal 9 may mean "
                "that the machine had no memory left"
            )
        files = [path for path in sorted(Path(scratch).rglob("*")) if path.is_file()]
        return {path.relative_to(scratch).as_posix(): path.read_bytes() for path in files}


def task_threads() -> int:
    """Return the processor threads of one task: the worker's, shared by those it takes."""
    from distributed import get_worker

    state = get_worker().state
    places = [state.total_resources.get(name, 0) for name in RESOURCES]
    return max(1, int(state.nthreads // max(places))) if any(places) else 1


def _folder_of(module: str, root: str) -> str:
    own = Path(__file__).resolve().parents[1]
    for folder in (own, Path(root)):
        if folder.joinpath(*module.split(".")).with_suffix(".py").is_file():
            return str(folder)
    raise ClusterError(
        f"the worker has no module {module}, neither beside its ppn_tf in {own} nor in {root}: "
        "clone the repository there and install it with pip install -e"
    )


def _environment(wanted: Mapping[str, str]) -> dict[str, str]:
    given = {
        name: value
        for name, value in wanted.items()
        if (name == "KERAS_BACKEND" or name not in os.environ)
        and (not Path(value).is_absolute() or Path(value).exists())
    }
    return {**os.environ, **given}


def _wait(process: subprocess.Popen) -> int:
    """Return the exit status; -15 if nobody wants the answer any more."""
    from distributed import get_worker

    worker = get_worker()
    key = worker.get_current_task()
    while True:
        with contextlib.suppress(subprocess.TimeoutExpired):
            return process.wait(timeout=_POLL_S)
        task = worker.state.tasks.get(key)
        if task is None or task.state == "cancelled":
            return -15


def follow_parent() -> None:
    """End this process when the one that started it is gone: its end of the pipe closes."""

    def watch() -> None:
        # returns at the end of the pipe only
        sys.stdin.buffer.read()
        os._exit(_ORPHAN)

    threading.Thread(target=watch, daemon=True).start()
