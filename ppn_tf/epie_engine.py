"""The inner loops of `ppn_tf.epie`: a plain NumPy loop and a compiled one.

Both go through the patterns in a given order, one after the other, since every
update starts from the object that the one before has left. Arrays are in the
detector's FFT order here (zero frequency at pixel (0, 0)), so that no pass shifts.
"""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Callable
from typing import Any, Protocol

import numpy as np
import scipy.fft

from ppn_tf import subpixel
from ppn_tf.errors import OptionError

#: Calculated moduli up to this many rounding units of the largest measured one are rounding
#: errors: they have no phase that a measured modulus could be given.
ROUNDING_UNITS = 16

TINY = 1e-30


@dataclasses.dataclass(frozen=True, eq=False)
class Problem:
    """What stays the same during a reconstruction.

    Attributes
    ----------
    moduli : (N, H, W) float
        Square roots of the patterns, in FFT order, 0 at dead pixels.
    positions_px : (N, 2) int32
        Row and column of the top-left corners.
    alive : (H, W) bool or None
        False at dead pixels, in FFT order; None if there are none.
    alpha, beta : float
        Update constants of object and probe.
    offsets_px : (N, 2) float or None
        What the positions lack to the true ones; None where they are whole.
    """

    moduli: np.ndarray
    positions_px: np.ndarray
    alive: np.ndarray | None
    alpha: float
    beta: float
    offsets_px: np.ndarray | None = None

    @property
    def floor(self) -> float:
        """Calculated moduli up to this are left as they are."""
        unit = float(np.finfo(self.moduli.dtype).eps)
        return ROUNDING_UNITS * unit * float(self.moduli.max())


class Engine(Protocol):
    """One of the two inner loops, with its own copy of object and probe."""

    def run(self, order: np.ndarray, update_probe: bool) -> np.ndarray:
        """Visit the patterns in `order`.

        Parameters
        ----------
        order : (n,) int32
            Indices of patterns; at most the capacity that the engine was made for.
        update_probe : bool

        Returns
        -------
        (n,) float64
            For each visit the sum over living pixels of the difference between
            calculated and measured modulus, before the update.
        """

    def fetch(self) -> tuple[np.ndarray, np.ndarray]:
        """Return the object (rows, cols) and the probe (M, H, W)."""

    def set_probe(self, probe: np.ndarray) -> None:
        """Replace the probe (M, H, W)."""


class PythonLoop:
    """The plain loop: one pattern at a time, in NumPy.

    Parameters
    ----------
    problem : Problem
    obj : (rows, cols) complex
    probe : (M, H, W) complex
    """

    def __init__(self, problem: Problem, obj: np.ndarray, probe: np.ndarray) -> None:
        self._problem = problem
        # once: it looks at all patterns
        self._floor = problem.floor
        self._object = obj.copy()
        self.set_probe(probe.copy())

    def run(self, order: np.ndarray, update_probe: bool) -> np.ndarray:
        """As in `Engine`."""
        return np.array([self._visit(index, update_probe) for index in order], dtype=np.float64)

    def fetch(self) -> tuple[np.ndarray, np.ndarray]:
        """As in `Engine`."""
        return self._object.copy(), self._probe.copy()

    def set_probe(self, probe: np.ndarray) -> None:
        """As in `Engine`."""
        self._probe = probe.astype(self._object.dtype, copy=False)
        self._conjugate = np.conj(self._probe)
        if self._problem.offsets_px is not None:
            self._spectrum = scipy.fft.fft2(self._probe)
        light = (self._probe.real**2 + self._probe.imag**2).sum(axis=0).max()
        self._gain = self._problem.alpha / max(float(light), TINY)

    def _visit(self, index: int, update_probe: bool) -> float:
        problem, probe, conjugate, ramp = self._problem, self._probe, self._conjugate, None
        if problem.offsets_px is not None:
            ramp = subpixel.ramps(problem.offsets_px[index], probe.shape[1:])
            ramp = ramp.astype(probe.dtype)
            probe = scipy.fft.ifft2(self._spectrum * ramp)
            conjugate = np.conj(probe)
        row, col = problem.positions_px[index]
        height, width = probe.shape[1:]
        window = self._object[row : row + height, col : col + width]
        waves = probe * window
        fields = scipy.fft.fft2(waves)
        modulus = np.sqrt((fields.real**2 + fields.imag**2).sum(axis=0))
        measured = problem.moduli[index]
        difference = np.abs(modulus - measured)
        correctable = modulus > self._floor
        if problem.alive is not None:
            correctable &= problem.alive
            difference = difference[problem.alive]
        ratio = np.divide(measured, modulus, out=np.ones_like(modulus), where=correctable)
        change = scipy.fft.ifft2(fields * ratio) - waves
        step = (conjugate * change).sum(axis=0) * self._gain
        if update_probe:
            density = max(float((window.real**2 + window.imag**2).max()), TINY)
            add = np.conj(window) * change * (problem.beta / density)
            if ramp is not None:
                add = scipy.fft.ifft2(scipy.fft.fft2(add) * np.conj(ramp))
            self.set_probe(self._probe + add)
        window += step
        return float(difference.sum(dtype=np.float64))


class CompiledLoop:
    """The same loop, compiled whole on the active Keras backend.

    Parameters
    ----------
    problem, obj, probe
        As for `PythonLoop`.
    capacity : int
        Most visits in one call of `run`; whole batches.
    batch : int
        Positions whose updates are made at once, see `ppn_tf.epie_batches`.

    Raises
    ------
    OptionError
        For a Keras backend other than TensorFlow and JAX, and for complex128 on
        JAX without 64-bit numbers.
    """

    def __init__(
        self,
        problem: Problem,
        obj: np.ndarray,
        probe: np.ndarray,
        capacity: int,
        batch: int = 1,
    ) -> None:
        from keras import ops

        self._real = np.dtype(problem.moduli.dtype)
        _check_backend(self._real)
        self._capacity, self._batch = capacity, batch
        alive = np.ones((0, 0), bool) if problem.alive is None else problem.alive
        self._masked = problem.alive is not None
        self._between = problem.offsets_px is not None
        offsets = np.zeros((0, 2)) if problem.offsets_px is None else problem.offsets_px
        constants = (problem.moduli, problem.positions_px.astype(np.int32), alive)
        reals = (problem.alpha, problem.beta, problem.floor, offsets)
        self._constants = tuple(
            ops.convert_to_tensor(value)
            for value in (*constants, *(np.asarray(value, self._real) for value in reals))
        )
        self._state = tuple(map(ops.convert_to_tensor, (*self._parts(obj), *self._parts(probe))))

    def run(self, order: np.ndarray, update_probe: bool) -> np.ndarray:
        """As in `Engine`."""
        from keras import ops

        if self._batch > 1:
            from ppn_tf.epie_batches import padded_batches

            order = padded_batches(order, len(self._constants[1]), self._batch)
        padded = np.zeros(self._capacity, np.int32)
        padded[: len(order)] = order
        flags = update_probe, self._masked, self._between
        visit_all = _compiled(flags, self._real.name, self._capacity, self._batch, self.shapes)
        *state, misfits = visit_all(
            self._state,
            self._constants,
            ops.convert_to_tensor(padded),
            ops.convert_to_tensor(np.int32(len(order))),
        )
        self._state = tuple(state)
        return np.asarray(misfits, dtype=np.float64)[: len(order)][order >= 0]

    @property
    def shapes(self) -> tuple[tuple[int, ...], ...]:
        """Shapes of object, probe and patterns, for which the loop is compiled once."""
        return tuple(tuple(part.shape) for part in (*self._state[1:3], self._constants[0]))

    def fetch(self) -> tuple[np.ndarray, np.ndarray]:
        """As in `Engine`."""
        object_re, object_im, probe_re, probe_im = (np.asarray(part) for part in self._state)
        return object_re + 1j * object_im, probe_re + 1j * probe_im

    def set_probe(self, probe: np.ndarray) -> None:
        """As in `Engine`."""
        from keras import ops

        self._state = (*self._state[:2], *map(ops.convert_to_tensor, self._parts(probe)))

    def _parts(self, values: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        return values.real.astype(self._real), values.imag.astype(self._real)


def _check_backend(real: np.dtype) -> None:
    import keras

    backend = keras.backend.backend()
    if backend not in ("tensorflow", "jax"):
        raise OptionError(
            f"the compiled engine needs the Keras backend tensorflow or jax, received {backend}: "
            'set KERAS_BACKEND, or pass engine="numpy"'
        )
    if backend == "jax" and real == np.float64:
        import jax

        if not jax.config.jax_enable_x64:
            raise OptionError(
                "JAX computes in 32 bits unless jax_enable_x64 is set, received a complex128 "
                'probe or object: cast to complex64, set it, or pass engine="numpy"'
            )


@functools.lru_cache(maxsize=32)
def _compiled(
    flags: tuple[bool, bool, bool], real: str, capacity: int, batch: int, shapes: tuple
) -> Callable[..., Any]:
    """Return the compiled loop; one for each set of shapes, so that none is traced again."""
    import keras

    update_probe, masked, between = flags
    visit_all: Callable[..., Any] = functools.partial(_visit_all, between=between)
    if batch > 1:
        from ppn_tf.epie_batches import visit_batches

        visit_all = functools.partial(visit_batches, batch=batch)
    function = functools.partial(
        visit_all, update_probe=update_probe, masked=masked, real=real, capacity=capacity
    )
    if keras.backend.backend() == "jax":
        import jax

        return jax.jit(function)
    import tensorflow as tf

    # XLA updates the object in place; a plain graph copies it for every pattern
    return tf.function(function, jit_compile=True)


def _visit_all(
    state: tuple,
    constants: tuple,
    order: Any,
    count: Any,
    *,
    update_probe: bool,
    masked: bool,
    real: str,
    capacity: int,
    between: bool,
) -> tuple:
    """Visit ``order[:count]``; all complex values as (real, imaginary) pairs."""
    from keras import ops

    moduli, positions_px, alive, alpha, beta, floor, offsets_px = constants
    height, width = moduli.shape[1:]
    fixed_light = brightest(state[2], state[3])
    move = _mover(offsets_px, (height, width)) if between else _unmoved
    cut = _slicer()

    def visit(step: Any, carry: tuple) -> tuple:
        object_re, object_im, *probe, misfits = carry
        index = ops.take(order, step, axis=0)
        probe_re, probe_im = move(index, *probe, 1)
        row, col = ops.unstack(ops.take(positions_px, index, axis=0))
        window_re = cut(object_re, (row, col), (height, width))
        window_im = cut(object_im, (row, col), (height, width))
        waves = product(probe_re, probe_im, window_re, window_im)
        fields_re, fields_im = ops.fft2(waves)
        modulus = ops.sqrt(ops.sum(fields_re**2 + fields_im**2, axis=0))
        measured = ops.take(moduli, index, axis=0)
        difference = ops.abs(modulus - measured)
        correctable = modulus > floor
        if masked:
            correctable = ops.logical_and(correctable, alive)
            difference = ops.where(alive, difference, ops.zeros_like(difference))
        ratio = measured / ops.maximum(modulus, floor)
        ratio = ops.where(correctable, ratio, ops.ones_like(ratio))
        corrected = ops.ifft2((fields_re * ratio, fields_im * ratio))
        change_re, change_im = corrected[0] - waves[0], corrected[1] - waves[1]
        light = brightest(*probe) if update_probe else fixed_light
        step_re, step_im = product(probe_re, -probe_im, change_re, change_im)
        if update_probe:
            gain = beta / ops.maximum(ops.max(window_re**2 + window_im**2), TINY)
            add = move(index, *product(window_re, -window_im, change_re, change_im), -1)
            probe = [part + gain * more for part, more in zip(probe, add, strict=True)]
        new_re = window_re + alpha / light * ops.sum(step_re, axis=0)
        new_im = window_im + alpha / light * ops.sum(step_im, axis=0)
        misfit = ops.reshape(ops.sum(difference), (1,))
        return (
            ops.slice_update(object_re, (row, col), new_re),
            ops.slice_update(object_im, (row, col), new_im),
            *probe,
            ops.slice_update(misfits, (step,), misfit),
        )

    return ops.fori_loop(0, count, visit, (*state, ops.zeros((capacity,), real)))


def _unmoved(index: Any, wave_re: Any, wave_im: Any, sign: int) -> tuple[Any, Any]:
    """Stand in for `_mover` where positions are whole."""
    return wave_re, wave_im


def _mover(offsets_px: Any, window_px: tuple[int, int]) -> Callable[..., tuple[Any, Any]]:
    """Return what moves waves to the offset of a position, or back with -1: `ppn_tf.subpixel`."""
    from keras import ops

    rows, cols = (
        ops.cast(ops.convert_to_tensor(-2 * np.pi * scipy.fft.fftfreq(side)), offsets_px.dtype)
        for side in window_px
    )

    def move(index: Any, wave_re: Any, wave_im: Any, sign: int) -> tuple[Any, Any]:
        down, right = ops.unstack(sign * ops.take(offsets_px, index, axis=0))
        angle = ops.expand_dims(rows * down, 1) + ops.expand_dims(cols * right, 0)
        spectrum = ops.fft2((wave_re, wave_im))
        return ops.ifft2(product(*spectrum, ops.cos(angle), ops.sin(angle)))

    return move


def _slicer() -> Callable[[Any, tuple, tuple], Any]:
    """Return a slice from a computed start, with (values, start, shape)."""
    import keras
    from keras import ops

    if keras.backend.backend() != "tensorflow":
        return ops.slice
    from tensorflow.compiler.tf2xla.python import xla

    # tf.slice takes its start for a constant where it can: every order of visits would be
    # compiled anew. Keras takes slice_update from the same module
    return lambda values, start, shape: xla.dynamic_slice(values, start, shape)


def product(a_re: Any, a_im: Any, b_re: Any, b_im: Any) -> tuple[Any, Any]:
    """Return a product of complex values, as real and imaginary part."""
    return a_re * b_re - a_im * b_im, a_re * b_im + a_im * b_re


def brightest(probe_re: Any, probe_im: Any) -> Any:
    """Return the largest intensity of all modes together."""
    from keras import ops

    return ops.maximum(ops.max(ops.sum(probe_re**2 + probe_im**2, axis=0)), TINY)
