"""Seconds of a call, and the distance of two arrays: what `reproduce/speed.py` measures with."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable
from typing import Any

import numpy as np

#: A call is repeated until so many seconds are gone, between 3 and 9 times; one that takes
#: longer by itself is counted once.
REPEAT_S = 6.0


def timed(work: Callable[[], Any]) -> tuple[float, Any]:
    """Return the seconds of a call and what it returned."""
    started = time.perf_counter()
    found = work()
    return time.perf_counter() - started, found


def median_s(work: Callable[[], Any]) -> float:
    """Return the median seconds of a call, after one that is not counted."""
    return round(statistics.median(_repeated(work)), 5)


def best_s(work: Callable[[], Any]) -> float:
    """Return the least seconds of a call, after one that is not counted."""
    return round(min(_repeated(work)), 5)


def _repeated(work: Callable[[], Any]) -> list[float]:
    # one call of a large network may take a minute: noise of seconds is small beside it
    least = 3 if timed(work)[0] < REPEAT_S else 1
    seconds: list[float] = []
    while len(seconds) < least or (sum(seconds) < REPEAT_S and len(seconds) < 9):
        seconds.append(timed(work)[0])
    return seconds


def distance(found: np.ndarray, reference: np.ndarray) -> float:
    """Return the relative distance of an array from its reference, to three digits."""
    return float(f"{np.linalg.norm(found - reference) / np.linalg.norm(reference):.3g}")
