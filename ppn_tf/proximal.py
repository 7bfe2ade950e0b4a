"""Eq. (3) of the paper minimised: data, gradient sparsity and probe proximity.

The objective is that of `ppn_tf.objective` with the amplitude data term, for any number
of probe modes. Alternating proximal steps (Bolte, Sabach and Teboulle, Math. Program.
146 (2014) 459, DOI 10.1007/s10107-013-0701-9) with inertia that restarts where it points
back from the step (O'Donoghue and Candes, Found. Comput. Math. 15 (2015) 715, DOI
10.1007/s10208-013-9150-3, gradient scheme). A step of the object is the exact minimiser of
a quadratic bound on the data term, since ``(|F| - s)^2 <= |F - s F_k / |F_k||^2`` with
equality at ``F = F_k``, plus the sparsity term; no step size is to be chosen. The sparsity
step is solved in its dual (Chambolle, J. Math. Imaging Vis. 20 (2004) 89, DOI
10.1023/B:JMIV.0000011325.36760.1e).
"""

from __future__ import annotations

import dataclasses
from typing import Final

import numpy as np
import scipy.fft

from ppn_tf.data.forward import checked_positions, extract_patches
from ppn_tf.objective import Objective, Weights
from ppn_tf.stitching import accumulate

#: Steps on the dual of the sparsity term in each iteration.
DUAL_STEPS: Final = 20

#: Least curvature, as a share of the largest: pixels that little light reaches move slowly.
CURVATURE_FLOOR: Final = 0.05

_BATCH: Final = 32
_AXES: Final = (-2, -1)


@dataclasses.dataclass(frozen=True, eq=False)
class Problem:
    """What stays the same.

    Attributes
    ----------
    patterns : (N, H, W) real
        Counts, zero frequency at the centre pixel.
    positions_px : (N, 2) integer
        Row and column of the top-left corners.
    initial_probe : (M, H, W) complex
        P_0 of the proximity term.
    dead_pixels : (H, W) bool or None
    weights : Weights
        With ``data="amplitude"``.
    """

    patterns: np.ndarray
    positions_px: np.ndarray
    initial_probe: np.ndarray
    dead_pixels: np.ndarray | None
    weights: Weights


@dataclasses.dataclass(frozen=True, eq=False)
class State:
    """Where a minimisation is.

    Attributes
    ----------
    object, object_before : (rows, cols) complex
        Now, and one iteration ago.
    probe, probe_before : (M, H, W) complex
    momentum : float
        Of the inertia; 1 is none.
    errors : (iterations,) float64
        R-factor of each iteration, from before its step: where inertia has carried object
        and probe, which is not quite where they were left.
    objectives : (iterations,) float64
        Value of the objective at the same place; empty for ePIE.
    """

    object: np.ndarray
    object_before: np.ndarray
    probe: np.ndarray
    probe_before: np.ndarray
    momentum: float
    errors: np.ndarray
    objectives: np.ndarray

    @property
    def iterations(self) -> int:
        """Iterations done."""
        return len(self.errors)


def begin(obj: np.ndarray, probe: np.ndarray) -> State:
    """Return the state before the first iteration."""
    return State(obj, obj, probe, probe, 1.0, np.empty(0), np.empty(0))


def weights(
    patterns: np.ndarray,
    probe: np.ndarray,
    object_shape: tuple[int, ...],
    sparsity: float,
    proximity: float,
    dead_pixels: np.ndarray | None = None,
) -> Weights:
    """Turn relative weights into those of the objective.

    Parameters
    ----------
    patterns : (N, H, W) real
    probe : (M, H, W) complex
    object_shape : (int, int)
    sparsity : float
        1 makes the sparsity term change as fast with the object's step between two
        pixels as the data term changes with the object, at an average pixel and a
        change of 1: steps well below `sparsity` are smoothed.
    proximity : float
        1 weighs a change of the probe as the data term does.
    dead_pixels : (H, W) bool, optional
        Detector pixels that may hold anything.

    Returns
    -------
    Weights
    """
    # by Parseval the data term's curvature in an object pixel is twice the counts it gets
    living = patterns if dead_pixels is None else patterns[:, ~np.asarray(dead_pixels)]
    counts = float(np.nansum(living, dtype=np.float64))
    curvature = 2 * counts / float(np.prod(object_shape))
    pixels = probe.shape[-2] * probe.shape[-1]
    return Weights(sparsity * curvature, proximity * len(patterns) * pixels, data="amplitude")


def minimise(
    problem: Problem,
    state: State,
    iterations: int,
    update_probe: bool = True,
    probe_start: int = 0,
    label: str | None = None,
) -> State:
    """Go on with a minimisation.

    Parameters
    ----------
    problem : Problem
    state : State
        From `begin`, or of an earlier call.
    iterations : int
        More iterations.
    update_probe : bool
    probe_start : int
        First iteration, counted from `begin`, that updates the probe.
    label : str, optional
        Shows a progress bar of this name on standard error.

    Returns
    -------
    State

    Raises
    ------
    DataError
        For positions that leave the object.
    """
    from tqdm import trange

    checked_positions(problem.positions_px, state.object.shape, problem.initial_probe.shape[1:])
    measured = _measured(problem)
    bar = trange(iterations, desc=label, disable=label is None)
    for _ in bar:
        moving = update_probe and state.iterations >= probe_start
        state = _step(problem, measured, state, moving)
        bar.set_postfix(R=f"{state.errors[-1]:.3g}")
    return state


def terms(problem: Problem, obj: np.ndarray, probe: np.ndarray) -> Objective:
    """Return the three terms at an object and a probe."""
    found = _sweep(problem, _measured(problem), obj, probe)
    return _objective(problem, found.data, obj, probe)


@dataclasses.dataclass(frozen=True, eq=False)
class _Sweep:
    """What one pass over the patterns gives: pulls are ``A^H (F - s F / |F|)``."""

    data: float
    misfit: float
    object_pull: np.ndarray
    probe_pull: np.ndarray


def _step(problem: Problem, measured: np.ndarray, state: State, moving: bool) -> State:
    after = (1 + np.sqrt(1 + 4 * state.momentum**2)) / 2
    push = float((state.momentum - 1) / after)
    obj = state.object + push * (state.object - state.object_before)
    probe = state.probe + push * (state.probe - state.probe_before) if moving else state.probe
    here = _sweep(problem, measured, obj, probe)
    value = _objective(problem, here.data, obj, probe).total
    curvature = _light(problem, obj.shape, probe)
    curvature = np.maximum(curvature, CURVATURE_FLOOR * curvature.max())
    moved = obj - here.object_pull / curvature
    if problem.weights.sparsity > 0:
        pixels = probe.shape[-2] * probe.shape[-1]
        moved = moved.astype(state.object.dtype)
        metric = (2 * pixels * curvature).astype(state.object.real.dtype)
        moved = _sparse(moved, problem.weights.sparsity, metric)
    moved = moved.astype(state.object.dtype)
    if moving:
        there = _sweep(problem, measured, moved, probe)
        probe = _probe_step(problem, moved, probe, there.probe_pull)
    # inertia that points back is dropped
    back = np.vdot(obj - moved, moved - state.object).real > 0
    return State(
        moved,
        state.object,
        probe.astype(state.probe.dtype),
        state.probe,
        1.0 if back else float(after),
        np.append(state.errors, here.misfit / measured.sum(dtype=np.float64)),
        np.append(state.objectives, value),
    )


def _sweep(problem: Problem, measured: np.ndarray, obj: np.ndarray, probe: np.ndarray) -> _Sweep:
    window, count = probe.shape[-2:], len(measured)
    alive = _alive(problem)
    data = misfit = 0.0
    object_pull = np.zeros(obj.shape, np.complex128)
    probe_pull = np.zeros(probe.shape, np.complex128)
    for start in range(0, count, _BATCH):
        positions = problem.positions_px[start : start + _BATCH]
        windows = extract_patches(obj, window, positions)[:, None]
        fields = scipy.fft.fft2(windows * probe, axes=_AXES)
        modulus = np.sqrt((fields.real**2 + fields.imag**2).sum(axis=1))
        residual = (modulus - measured[start : start + _BATCH]) * alive
        data += float((residual.astype(np.float64) ** 2).sum())
        misfit += float(np.abs(residual).sum(dtype=np.float64))
        share = np.divide(residual, modulus, out=np.zeros_like(residual), where=modulus > 0)
        pulls = scipy.fft.ifft2(fields * share[:, None], axes=_AXES)
        object_pull += accumulate((np.conj(probe) * pulls).sum(axis=1), positions, obj.shape)
        probe_pull += (np.conj(windows) * pulls).sum(axis=0)
    return _Sweep(data, misfit, object_pull, probe_pull)


def _probe_step(
    problem: Problem, obj: np.ndarray, probe: np.ndarray, pull: np.ndarray
) -> np.ndarray:
    """Minimise the bound and the proximity term, pixel by pixel."""
    windows = extract_patches(np.abs(obj) ** 2, probe.shape[-2:], problem.positions_px)
    density = windows.sum(axis=0, dtype=np.float64)
    density = np.maximum(density, CURVATURE_FLOOR * density.max())
    held = problem.weights.proximity / (probe.shape[-2] * probe.shape[-1])
    return (density * probe - pull + held * problem.initial_probe) / (density + held)


def _sparse(field: np.ndarray, weight: float, metric: np.ndarray) -> np.ndarray:
    """Minimise ``sum metric |x - field|^2 / 2 + weight (|diff_rows x| + |diff_cols x|)``."""
    step = float(metric.min()) / 8
    dual = [np.zeros_like(np.diff(field, axis=axis)) for axis in (0, 1)]
    ahead, momentum = dual, 1.0
    for _ in range(DUAL_STEPS):
        primal = field - _spread(ahead) / metric
        new = [_within(a + step * np.diff(primal, axis=i), weight) for i, a in enumerate(ahead)]
        after = (1 + np.sqrt(1 + 4 * momentum**2)) / 2
        push = float((momentum - 1) / after)
        ahead = [n + push * (n - old) for n, old in zip(new, dual, strict=True)]
        dual, momentum = new, after
    return field - _spread(dual) / metric


def _spread(dual: list[np.ndarray]) -> np.ndarray:
    """Apply the adjoint of the two forward differences."""
    padded = [
        np.pad(part, [(1, 1) if other == axis else (0, 0) for other in (0, 1)])
        for axis, part in enumerate(dual)
    ]
    return -np.diff(padded[0], axis=0) - np.diff(padded[1], axis=1)


def _within(values: np.ndarray, radius: float) -> np.ndarray:
    modulus = np.abs(values)
    return values * (radius / np.maximum(modulus, radius))


def _light(problem: Problem, shape: tuple[int, ...], probe: np.ndarray) -> np.ndarray:
    spot = (np.abs(probe) ** 2).sum(axis=0, dtype=np.float64)
    spots = np.broadcast_to(spot, (len(problem.positions_px), *spot.shape))
    return accumulate(spots, problem.positions_px, (shape[0], shape[1]))


def _objective(problem: Problem, data: float, obj: np.ndarray, probe: np.ndarray) -> Objective:
    steps = sum(float(np.abs(np.diff(obj, axis=axis)).sum(dtype=np.float64)) for axis in (0, 1))
    away = float((np.abs(probe - problem.initial_probe) ** 2).sum(dtype=np.float64))
    return Objective(data, problem.weights.sparsity * steps, problem.weights.proximity * away)


def _alive(problem: Problem) -> np.ndarray:
    if problem.dead_pixels is None:
        return np.ones(problem.patterns.shape[1:], bool)
    return scipy.fft.ifftshift(~problem.dead_pixels)


def _measured(problem: Problem) -> np.ndarray:
    """Return the measured moduli in FFT order, 0 at dead pixels."""
    counts = np.asarray(problem.patterns)
    if problem.dead_pixels is not None:
        counts = np.where(problem.dead_pixels, 0, counts)
    precise = problem.initial_probe.dtype == np.complex128
    counts = counts.astype(np.float64 if precise else np.float32)
    return scipy.fft.ifftshift(np.sqrt(counts), axes=_AXES)
