"""Train many runs in turn, side by side or on a cluster; one that fails stops no other."""

from __future__ import annotations

import concurrent.futures
import multiprocessing
import multiprocessing.connection
import os
import sys
import threading
from collections.abc import Iterator, Sequence
from typing import Any

from tqdm import tqdm

from reproduce import schedule
from reproduce.options import Session, threads_per_run
from reproduce.specification import RunSpec


def outcomes(
    specs: Sequence[RunSpec], session: Session
) -> Iterator[tuple[RunSpec, Exception | None]]:
    """Make runs, `session.jobs` at a time or on its cluster; say of each whether it failed.

    Parameters
    ----------
    specs : sequence of RunSpec
        In the order in which they are begun.
    session : Session

    Yields
    ------
    (RunSpec, Exception or None)
        As each run ends.
    """
    if session.scheduler:
        from reproduce import cluster

        return cluster.outcomes(specs, session)
    return _side_by_side(specs, session) if session.jobs > 1 else _in_turn(specs, session)


def _in_turn(
    specs: Sequence[RunSpec], session: Session
) -> Iterator[tuple[RunSpec, Exception | None]]:
    store = schedule.store_of(session)
    for number, spec in enumerate(specs, start=1):
        print(f"[{number}/{len(specs)}] {spec.label}", file=sys.stderr)
        failed = None
        try:
            store.ensure(spec, retrain=session.retrain)
        except Exception as error:
            failed = error
        _tidy()
        yield spec, failed


def _side_by_side(
    specs: Sequence[RunSpec], session: Session
) -> Iterator[tuple[RunSpec, Exception | None]]:
    threads = threads_per_run(session.jobs, session.deterministic)
    # spawn: a forked TensorFlow hangs
    context = multiprocessing.get_context("spawn")
    with concurrent.futures.ProcessPoolExecutor(
        session.jobs,
        mp_context=context,
        initializer=_begin,
        initargs=(context.Value("i", 0), threads),
    ) as pool:
        waiting = {pool.submit(_one, spec, session): spec for spec in specs}
        try:
            done = concurrent.futures.as_completed(waiting)
            for future in tqdm(done, total=len(waiting), desc="runs", unit="run"):
                failed = future.exception()
                if failed is not None and not isinstance(failed, Exception):
                    raise failed
                yield waiting[future], failed
        except BaseException:
            pool.shutdown(wait=False, cancel_futures=True)
            for process in multiprocessing.active_children():
                process.terminate()
            raise


def _begin(begun: Any, threads: int | None) -> None:
    """Prepare a worker: its end, and the processors that are its own."""
    from ppn_tf.devices import set_threads

    _end_with_parent()
    with begun.get_lock():
        worker = begun.value
        begun.value += 1
    set_threads(threads, worker)


def _end_with_parent() -> None:
    """Let this process end when the one that started it is killed.

    It would otherwise train on, hold the lock of its run, and never be told to stop.
    """
    parent = multiprocessing.parent_process()

    def watch() -> None:
        multiprocessing.connection.wait([parent.sentinel])
        os._exit(1)

    if parent is not None:
        threading.Thread(target=watch, daemon=True).start()


def _one(spec: RunSpec, session: Session) -> None:
    from ppn_tf.devices import select_device

    select_device(session.device, session.devices)
    try:
        schedule.store_of(session).ensure(spec, retrain=session.retrain, progress=False)
    finally:
        _tidy()


def _tidy() -> None:
    """Let the memory of a run go: hundreds follow one another in a process."""
    # Keras must not be imported before the device is chosen
    from ppn_tf import tracing

    tracing.clear()
