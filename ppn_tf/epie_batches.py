"""ePIE with the updates of several positions made at once, from the same object.

Where the windows of a batch overlap, their summed update is divided by the light that fell
on a pixel instead of the brightest light of one probe: with one position that is ePIE
itself, and with many no pixel is moved further than its windows ask for on average.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from ppn_tf.epie_engine import TINY, brightest, product


def padded_batches(order: np.ndarray, positions: int, batch: int) -> np.ndarray:
    """Return the visits of whole iterations, each filled up with -1 to whole batches.

    Parameters
    ----------
    order : (k * positions,) int32
        Of k iterations.
    positions : int
        Visits of an iteration.
    batch : int
    """
    visits = order.reshape(-1, positions)
    filled = np.full((len(visits), math.ceil(positions / batch) * batch), -1, np.int32)
    filled[:, :positions] = visits
    return filled.ravel()


def visit_batches(
    state: tuple,
    constants: tuple,
    order: Any,
    count: Any,
    *,
    update_probe: bool,
    masked: bool,
    real: str,
    capacity: int,
    batch: int,
) -> tuple:
    """Visit ``order[:count]`` in batches; all complex values as (real, imaginary) pairs.

    Arguments and result are those of the loop over single positions in
    `ppn_tf.epie_engine`; -1 in `order` stands for no position.
    """
    from keras import ops

    moduli, positions_px, alive, alpha, beta, floor, _ = constants
    shape = tuple(state[0].shape)
    rows, cols = np.indices(moduli.shape[1:])
    pixels = ops.convert_to_tensor(rows * shape[1] + cols, "int32")
    visits = ops.reshape(order, (capacity // batch, batch))

    def visit(step: Any, carry: tuple) -> tuple:
        object_re, object_im, probe_re, probe_im, misfits = carry
        index = ops.take(visits, step, axis=0)
        there = ops.reshape(ops.cast(index >= 0, real), (batch, 1, 1))
        index = ops.maximum(index, 0)
        corner = ops.take(positions_px, index, axis=0)
        flat = ops.reshape(corner[:, 0] * shape[1] + corner[:, 1], (batch, 1, 1)) + pixels
        window = tuple(
            ops.expand_dims(ops.take(ops.reshape(part, (-1,)), flat), 1)
            for part in (object_re, object_im)
        )
        waves = product(probe_re, probe_im, *window)
        measured = ops.take(moduli, index, axis=0)
        change, difference = _change(waves, measured, floor, alive if masked else None, there)
        light = _spread(flat, ops.sum(probe_re**2 + probe_im**2, axis=0) * there, shape)
        light = ops.maximum(light, brightest(probe_re, probe_im))
        step_re, step_im = (
            _spread(flat, ops.sum(part, axis=1), shape)
            for part in product(probe_re, -probe_im, *change)
        )
        if update_probe:
            density = ops.sum((window[0] ** 2 + window[1] ** 2)[:, 0] * there, axis=0)
            gain = beta / ops.maximum(ops.max(density), TINY)
            add_re, add_im = product(window[0], -window[1], *change)
            probe_re = probe_re + gain * ops.sum(add_re, axis=0)
            probe_im = probe_im + gain * ops.sum(add_im, axis=0)
        return (
            object_re + alpha * step_re / light,
            object_im + alpha * step_im / light,
            probe_re,
            probe_im,
            ops.slice_update(misfits, (step * batch,), difference),
        )

    return ops.fori_loop(0, count // batch, visit, (*state, ops.zeros((capacity,), real)))


def _change(
    waves: tuple[Any, Any], measured: Any, floor: Any, alive: Any, there: Any
) -> tuple[tuple[Any, Any], Any]:
    """Return what the measured moduli change in the waves (B, M, H, W), and the misfits (B,)."""
    from keras import ops

    fields_re, fields_im = ops.fft2(waves)
    modulus = ops.sqrt(ops.sum(fields_re**2 + fields_im**2, axis=1))
    difference = ops.abs(modulus - measured) * there
    correctable = modulus > floor
    if alive is not None:
        correctable = ops.logical_and(correctable, alive)
        difference = ops.where(alive, difference, ops.zeros_like(difference))
    ratio = measured / ops.maximum(modulus, floor)
    ratio = ops.expand_dims(ops.where(correctable, ratio, ops.ones_like(ratio)), 1)
    corrected = ops.ifft2((fields_re * ratio, fields_im * ratio))
    present = ops.expand_dims(there, 1)
    change_re, change_im = (
        (new - old) * present for new, old in zip(corrected, waves, strict=True)
    )
    return (change_re, change_im), ops.sum(difference, axis=(1, 2))


def _spread(flat: Any, values: Any, shape: tuple[int, int]) -> Any:
    """Add values (B, H, W) at their pixels of an object of zeros."""
    from keras import ops

    places, values = ops.reshape(flat, (-1, 1)), ops.reshape(values, (-1,))
    return ops.reshape(ops.scatter(places, values, (shape[0] * shape[1],)), shape)
