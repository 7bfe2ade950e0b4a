"""Independent tasks on a dask.distributed cluster (extra ``cluster``).

The cluster is there already: started by hand, by dask-jobqueue (SLURM, PBS) or on
Kubernetes; all that is needed is the scheduler's address. Tasks are begun longest first.
Dask gives the task of a lost worker to another one; where the scheduler itself is lost,
`outcomes` waits for it and submits again what it has no answer for.
"""

from __future__ import annotations

import asyncio
import concurrent.futures
import contextlib
import dataclasses
import sys
import time
import uuid
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

from tqdm import tqdm

from ppn_tf.errors import ClusterError, OptionError

#: Resources that a worker may state, of which a task takes one: a GPU, or a place for a task.
RESOURCES = ("GPU", "RUN")

#: How often a task is begun again whose process died, or whose worker raised an error.
RETRIES = 3

#: How long to wait for a scheduler that was there and is gone, or for a first worker [s].
PATIENCE_S = 600.0
_CONNECT_S = 10.0
_POLL_S = 1.0


@dataclasses.dataclass(frozen=True)
class Task:
    """One call on a worker.

    Attributes
    ----------
    name : str
        Unique among the tasks; it is shown in the dashboard.
    arguments : tuple
        For the function; small, since it travels with the task.
    expected_s : float
        Expected duration [s]; tasks are begun longest first.
    """

    name: str
    arguments: tuple[Any, ...]
    expected_s: float = 1.0


class SchedulerLostError(Exception):
    """The connection to the scheduler broke; caught in `outcomes`."""


def outcomes(
    address: str,
    function: Callable[..., Any],
    tasks: Sequence[Task],
    *,
    gpu: bool = False,
    label: str = "tasks",
    patience_s: float = PATIENCE_S,
) -> Iterator[tuple[Task, Any]]:
    """Call `function` for every task on the workers; give each answer as it arrives, once.

    Parameters
    ----------
    address : str
        Of the scheduler, such as ``tcp://HOST:8786``.
    function : callable
        Importable on the workers; called with a task's arguments.
    tasks : sequence of Task
    gpu : bool
        Whether a task takes one ``GPU`` where workers state such a resource.
    label : str
        What the tasks are, for the progress bar on standard error.
    patience_s : float
        How long to wait for a lost scheduler [s].

    Yields
    ------
    (Task, value or Exception)
        The function's answer, or what it raised in the last of its tries.

    Raises
    ------
    ClusterError
        If there is no scheduler at the address, no worker comes, or the scheduler is lost
        for longer than `patience_s`.
    OptionError
        If dask.distributed is not installed.
    """
    waiting = {task.name: task for task in sorted(tasks, key=lambda task: -task.expected_s)}
    if len(waiting) < len(tasks):
        raise OptionError("every task needs a name of its own, received one twice")
    with _Progress(tasks, label) as progress:
        first = True
        while waiting:
            with connect(address, _CONNECT_S if first else patience_s) as client:
                if first:
                    _say(f"dashboard of {address}: {dashboard(client)}")
                first = False
                try:
                    for name, answer in _answers(client, function, waiting, gpu, patience_s):
                        task = waiting.pop(name)
                        progress.advance(task)
                        yield task, answer
                except SchedulerLostError:
                    _say(
                        f"the scheduler {address} is lost: waiting up to {patience_s:.0f} s for "
                        f"it, then {len(waiting)} {label} are submitted again"
                    )


@contextlib.contextmanager
def connect(address: str, patience_s: float = _CONNECT_S) -> Iterator[Any]:
    """Connect to a scheduler.

    Parameters
    ----------
    address : str
    patience_s : float
        How long to try [s].

    Yields
    ------
    distributed.Client

    Raises
    ------
    ClusterError
        If no scheduler answers.
    OptionError
        If dask.distributed is not installed, or the address is malformed.
    """
    distributed = _distributed()
    end = time.monotonic() + patience_s
    limit_s = min(_CONNECT_S, patience_s)
    while True:
        try:
            client = distributed.Client(address, timeout=limit_s, set_as_default=False)
            break
        except ValueError as error:
            raise OptionError(
                f"--scheduler expects tcp://HOST:PORT, received {address!r}: {error}"
            ) from error
        except OSError as error:
            if time.monotonic() >= end:
                raise ClusterError(
                    f"no scheduler answers at {address}: start one with 'dask scheduler', and "
                    "workers with 'dask worker ADDRESS --nthreads 1'"
                ) from error
            time.sleep(_POLL_S)
    try:
        yield client
    finally:
        # a scheduler that is gone must not hide what happened
        with contextlib.suppress(Exception):
            client.close(timeout=_CONNECT_S)


def dashboard(client: Any) -> str:
    """Return the address of the Dask dashboard, or why there is none."""
    return client.dashboard_link or "none (the scheduler's machine lacks the package bokeh)"


def resource(workers: Mapping[str, Mapping[str, Any]], gpu: bool) -> str | None:
    """Return the resource that a task takes, None where no worker states one.

    Parameters
    ----------
    workers : mapping
        ``Client.scheduler_info()["workers"]``.
    gpu : bool
        Whether a GPU counts.
    """
    stated = {name for worker in workers.values() for name in worker["resources"]}
    for name in RESOURCES:
        if name in stated and (gpu or name != "GPU"):
            return name
    return None


def _answers(
    client: Any,
    function: Callable[..., Any],
    waiting: Mapping[str, Task],
    gpu: bool,
    patience_s: float,
) -> Iterator[tuple[str, Any]]:
    from distributed import as_completed

    workers = _workers(client, patience_s)
    taken = resource(workers, gpu)
    if taken is None and any(worker["nthreads"] > 1 for worker in workers.values()):
        _say(
            "note: workers with several threads take several tasks at a time; start them with "
            "--nthreads 1, or with --resources GPU=1 or RUN=1"
        )
    futures = {
        client.submit(
            function,
            *task.arguments,
            # a name of this call: an earlier one may have been interrupted
            key=f"{name}-{uuid.uuid4().hex[:8]}",
            pure=False,
            retries=RETRIES,
            resources=None if taken is None else {taken: 1},
            priority=len(waiting) - rank,
        ): name
        for rank, (name, task) in enumerate(list(waiting.items()))
    }
    try:
        for future in as_completed(futures, loop=client.loop):
            if future.status in ("cancelled", "lost"):
                raise SchedulerLostError
            answer = _answer(future)
            yield futures.pop(future), answer
            future.release()
    finally:
        with contextlib.suppress(Exception):
            client.cancel(list(futures), force=True)


def _answer(future: Any) -> Any:
    """Fetch what a task returned, or what it raised, from where it lies."""
    try:
        return future.exception() if future.status == "error" else future.result()
    except (OSError, asyncio.CancelledError, concurrent.futures.CancelledError) as error:
        # done, but the connection broke before the answer was here
        raise SchedulerLostError from error


def _workers(client: Any, patience_s: float) -> Mapping[str, Mapping[str, Any]]:
    """Return the workers as soon as there is one."""
    end, said = time.monotonic() + patience_s, False
    while True:
        workers = client.scheduler_info(n_workers=-1)["workers"]
        if workers:
            return workers
        if time.monotonic() >= end:
            raise ClusterError(
                f"the scheduler has no worker after {patience_s:.0f} s: start some with "
                "'dask worker ADDRESS --nthreads 1'"
            )
        if not said:
            _say("the scheduler has no worker yet: waiting for the first one")
            said = True
        time.sleep(_POLL_S)


class _Progress:
    """A bar over all tasks; the time left goes by their expected durations."""

    def __init__(self, tasks: Sequence[Task], label: str) -> None:
        self._all_s = sum(task.expected_s for task in tasks)
        self._done_s = 0.0
        self._start = time.monotonic()
        form = "{desc}: {n_fmt}/{total_fmt} |{bar}| {elapsed}{postfix}"
        self._bar = tqdm(total=len(tasks), desc=label, bar_format=form, dynamic_ncols=True)

    def __enter__(self) -> _Progress:
        return self

    def __exit__(self, *_: object) -> None:
        self._bar.close()

    def advance(self, task: Task) -> None:
        """Count a task that has ended."""
        self._done_s += task.expected_s
        elapsed = time.monotonic() - self._start
        if self._done_s > 0:
            left_s = elapsed * (self._all_s - self._done_s) / self._done_s
            self._bar.set_postfix_str(f"about {tqdm.format_interval(left_s)} left", refresh=False)
        self._bar.update(1)


def _distributed() -> Any:
    try:
        import distributed
    except ImportError as error:
        raise OptionError(
            "--scheduler needs dask.distributed: pip install 'ppn-tf[cluster]'"
        ) from error
    return distributed


def _say(text: str) -> None:
    tqdm.write(text, file=sys.stderr)
