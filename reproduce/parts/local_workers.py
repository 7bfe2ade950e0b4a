"""A Dask cluster on this machine: a scheduler and workers of one thread, a process each."""

from __future__ import annotations

import contextlib
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

from ppn_tf import cluster
from ppn_tf.errors import ClusterError
from reproduce.options import ROOT

#: How long processes have to start, on a loaded machine too [s].
_START_S = 120.0
_POLL_S = 0.05

#: Libraries below the backend take one thread each, as the backend does.
_ONE_THREAD = dict.fromkeys(("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"), "1")


@contextlib.contextmanager
def started(workers: int) -> Iterator[tuple[str, list[int]]]:
    """Start a scheduler and workers; end them afterwards.

    Parameters
    ----------
    workers : int
        Their number, at least 1.

    Yields
    ------
    (str, list of int)
        Address, and the process numbers: the scheduler's, then the workers'.

    Raises
    ------
    ClusterError
        If they do not start.
    """
    with tempfile.TemporaryDirectory(prefix="ppn-tf-") as name, contextlib.ExitStack() as stack:
        folder = Path(name)
        contact = folder / "scheduler.json"
        common = ["--scheduler-file", str(contact), "--no-dashboard"]
        scheduler = _process(
            stack, folder / "0.log", "dask_scheduler", [*common, "--host", "127.0.0.1", "--port=0"]
        )
        address = _address(contact, scheduler, folder / "0.log")
        words = [*common, "--nthreads=1", "--no-nanny", "--local-directory", name]
        processes = [
            _process(stack, folder / f"{number}.log", "dask_worker", words)
            for number in range(1, workers + 1)
        ]
        with cluster.connect(address, _START_S) as client:
            try:
                client.wait_for_workers(workers, timeout=_START_S)
            except TimeoutError as error:
                raise _failed(folder / "1.log") from error
        yield address, [process.pid for process in (scheduler, *processes)]


def _process(
    stack: contextlib.ExitStack, log: Path, name: str, words: Sequence[str]
) -> subprocess.Popen[bytes]:
    path = os.pathsep.join(filter(None, [str(ROOT), os.environ.get("PYTHONPATH")]))
    with log.open("wb") as stream:
        process = subprocess.Popen(
            [sys.executable, "-m", f"distributed.cli.{name}", *words],
            stdout=stream,
            stderr=subprocess.STDOUT,
            env=os.environ | _ONE_THREAD | {"PYTHONPATH": path},
        )
    stack.callback(process.wait)
    stack.callback(process.kill)
    return process


def _address(contact: Path, scheduler: subprocess.Popen[bytes], log: Path) -> str:
    """Return the scheduler's address as soon as it has written it."""
    end = time.monotonic() + _START_S
    while scheduler.poll() is None and time.monotonic() < end:
        # it may be there and not yet whole
        with contextlib.suppress(OSError, ValueError, KeyError):
            return str(json.loads(contact.read_text(encoding="utf-8"))["address"])
        time.sleep(_POLL_S)
    raise _failed(log)


def _failed(log: Path) -> ClusterError:
    said = log.read_text(encoding="utf-8", errors="replace")[-2000:]
    return ClusterError(
        f"scheduler and workers did not start within {_START_S:.0f} s: expected dask.distributed "
        f"to work on this machine, received: {said or 'no message'}"
    )
