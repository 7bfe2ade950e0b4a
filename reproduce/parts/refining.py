"""Iterations from a start to a given error, measured once and kept.

A measurement is ``<out>/refine/<hash>.json``: one overlap, one start, one objective. The
scans are the noise-free ones of Fig. 8, on rows that no network was trained on; the probe
is known. Of the object's error the global phase and scale are taken out, which patterns do
not fix as firmly; a ramp cannot occur with a known probe.
"""

from __future__ import annotations

import dataclasses
import os
import time
from collections.abc import Callable
from typing import Any, ClassVar

import numpy as np

from ppn_tf import epie, phase, proximal, refinement, stitching
from ppn_tf.inference import infer
from reproduce import evaluate
from reproduce.parts.iterative import Scan
from reproduce.parts.kept import Kept

#: Levels whose first iteration is noted: of the R-factor, and of the object's error.
R_LEVELS = (0.2, 0.1, 0.05, 0.02, 0.01)
ERROR_LEVELS = (0.3, 0.2, 0.15, 0.1, 0.05, 0.02)

#: Starts that take no network.
FLAT = ("flat", "flat-scaled")

#: Iterations that are scored: so many at the start, then every so many.
_ALL, _EVERY = 20, 5


@dataclasses.dataclass(frozen=True)
class Measurement(Kept):
    """What is measured.

    Attributes
    ----------
    object_name : str
    overlap : float
        Shared fraction of the window's width.
    start : str
        Of `FLAT`, or a network's name.
    weights : str
        Hash of the run that trained it; empty for a flat start.
    objective : str
        Of `ppn_tf.refinement.OBJECTIVES`.
    sparsity : float
        Weight of eq3; 0 for ePIE.
    iterations, repeats : int
        Repeats differ in the order of ePIE's visits; eq3 has no order.
    """

    VERSION: ClassVar[int] = 1

    object_name: str
    overlap: float
    start: str
    weights: str
    objective: str
    sparsity: float
    iterations: int
    repeats: int


def start_field(scan: Scan, network: Any | None, name: str) -> tuple[np.ndarray, float]:
    """Return a start on the whole object, and the seconds that it took.

    A network's amplitude and phase are stitched channel by channel, as in every other
    exhibit; what no window covers becomes their mean.
    """
    if network is None:
        field = np.ones(scan.truth.shape, np.complex64)
        scale = refinement.fitted_scale(task_of(scan, field)) if name == "flat-scaled" else 1.0
        return (scale * field).astype(np.complex64), 0.0
    dataset, weights = scan.dataset, stitching.weights(evaluate.WINDOW_PX)

    def stitched() -> np.ndarray:
        patches = infer(network, dataset.patterns)
        amplitude, phase_rad = (
            stitching.stitch(part, dataset.positions_px, scan.truth.shape, weights=weights).field
            for part in (patches.amplitude, patches.phase)
        )
        return refinement.filled(amplitude * np.exp(1j * phase_rad))

    stitched()  # compiles
    began = time.perf_counter()
    field = stitched()
    return field, time.perf_counter() - began


def task_of(scan: Scan, field: np.ndarray) -> refinement.Task:
    """Pose the refinement of a field with the known probe."""
    dataset = scan.dataset
    return refinement.Task(dataset.patterns, dataset.positions_px, field, scan.probe[None])


def object_error(scan: Scan, field: np.ndarray) -> float:
    """Return ``|c O - T| / |T|`` over the scanned area, with the complex c that fits best."""
    truth = scan.truth[scan.box]
    away = phase.align(field[scan.box], truth).field - truth
    return float(np.linalg.norm(away) / np.linalg.norm(truth))


def marks(iterations: int) -> list[int]:
    """Return the iterations that are scored: all of the first, then every fifth, the last."""
    every = range(iterations + 1)
    return [k for k in every if k <= _ALL or k % _EVERY == 0 or k == iterations]


def trace(
    task: refinement.Task,
    wanted: Measurement,
    error_of: Callable[[np.ndarray], float],
    seed: int,
    engine: str = "compiled",
) -> np.ndarray:
    """Return R-factor and object error of the start and after the iterations of `marks`.

    Returns
    -------
    (marks, 2) float64
    """
    scores = [(refinement.r_factor(task), error_of(task.object))]
    state = proximal.begin(task.object, task.probe)
    relative = (wanted.sparsity, 0.0, task.dead_pixels)
    weights = proximal.weights(task.patterns, task.probe, task.object.shape, *relative)
    problem = proximal.Problem(
        task.patterns, task.positions_px, task.probe, task.dead_pixels, weights
    )
    done = 0
    for mark in marks(wanted.iterations)[1:]:
        if wanted.objective == "eq3":
            state = proximal.minimise(problem, state, mark - done, update_probe=False)
            task = dataclasses.replace(task, object=state.object)
        else:
            found = epie.reconstruct(
                task.patterns,
                task.positions_px,
                task.probe,
                iterations=mark - done,
                initial_object=task.object,
                update_probe=False,
                seed=seed,
                first_iteration=done,
                engine=engine,
            )
            task = dataclasses.replace(task, object=found.object)
        done = mark
        scores.append((refinement.r_factor(task), error_of(task.object)))
    return np.array(scores)


def measure(
    wanted: Measurement, scan: Scan, start: tuple[np.ndarray, float], engine: str = "compiled"
) -> dict[str, Any]:
    """Follow one start under one objective.

    Parameters
    ----------
    wanted : Measurement
    scan : Scan
    start : (field, seconds)
        From `start_field`.
    engine : str
        Of ePIE.

    Returns
    -------
    dict
        ``results``: the curve of the first repeat, and for each level the first
        iteration of every repeat that reaches it, None where none does. ``cost``: seconds
        of the start (network and stitching), and of an iteration, scoring included.
    """
    field, seconds = start
    task = task_of(scan, field)
    load = os.getloadavg()[0]
    repeats = wanted.repeats if wanted.objective == "epie" else 1
    began = time.perf_counter()
    traces = [
        trace(task, wanted, lambda found: object_error(scan, found), seed, engine)
        for seed in range(repeats)
    ]
    each = (time.perf_counter() - began) / (repeats * wanted.iterations)
    return {
        "results": summary(traces, marks(wanted.iterations)) | {"patterns": len(scan.dataset)},
        "cost": {
            "start_s": round(seconds, 4),
            "iteration_s": round(each, 5),
            "load_average": [load, os.getloadavg()[0]],
        },
    }


def summary(traces: list[np.ndarray], at: list[int]) -> dict[str, Any]:
    """Reduce traces, (marks, 2) each, to what is kept; `at` holds their iterations."""
    found: dict[str, Any] = {"iterations": at}
    for column, (name, levels) in enumerate((("r", R_LEVELS), ("error", ERROR_LEVELS))):
        found[f"{name}_curve"] = [_short(value) for value in traces[0][:, column]]
        found[f"{name}_first"] = {
            f"{level:g}": [first(one[:, column], at, level) for one in traces] for level in levels
        }
        found[f"{name}_end"] = [_short(one[-1, column]) for one in traces]
    return found


def first(values: np.ndarray, at: list[int], level: float) -> int | None:
    """Return the first scored iteration whose value is at most `level`, or None."""
    reached = np.flatnonzero(values <= level)
    return at[reached[0]] if len(reached) else None


def _short(value: float) -> float:
    return float(f"{value:.4g}")
