"""From raw counts to patches, with a network that knows its own scaling."""

from __future__ import annotations

import dataclasses
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import keras
import numpy as np
from tqdm import tqdm

from ppn_tf import tracing
from ppn_tf.errors import DataError, OptionError
from ppn_tf.scaling import Scaling

#: A Keras model prepares its compiled step at its first call, and on JAX keeps its state
#: aside during every call: neither may happen twice at once.
_ONE_AT_A_TIME = threading.Lock()


@dataclasses.dataclass(frozen=True)
class Patches:
    """Reconstructed patches.

    Attributes
    ----------
    amplitude, phase : (N, H, W) float32
        On the [0, 1] target scale from `predict`; object amplitude and radians from
        `infer`.
    """

    amplitude: np.ndarray
    phase: np.ndarray


def check_patterns(patterns: np.ndarray, side_px: tuple[int, int]) -> np.ndarray:
    """Return `patterns` as (N, H, W, 1) float32, or refuse them.

    Parameters
    ----------
    patterns : (N, H, W) or (N, H, W, 1) array
        Raw counts.
    side_px : (int, int)
        Height and width that the network takes.

    Raises
    ------
    DataError
        For another rank or size, NaN, infinite or negative counts, or no pattern.
    """
    patterns = np.asarray(patterns)
    _check_shape(patterns, side_px)
    return _checked(patterns, 0)


def _check_shape(patterns: Any, side_px: tuple[int, int]) -> None:
    shape = tuple(patterns.shape)
    if len(shape) == 3:
        shape = (*shape, 1)
    if len(shape) != 4 or shape[-1] != 1 or shape[0] == 0:
        raise DataError(
            "patterns must be (N, H, W) with N of at least 1, received shape "
            f"{shape}, dtype {patterns.dtype}"
        )
    if shape[1:3] != tuple(side_px):
        raise DataError(
            f"the network takes patterns of {side_px[0]} x {side_px[1]} px, received "
            f"{shape[1]} x {shape[2]} px: crop or bin them first"
        )


def _checked(patterns: np.ndarray, first: int) -> np.ndarray:
    """Return patterns, the first of which has the index `first`, as (n, H, W, 1) float32."""
    if patterns.ndim == 3:
        patterns = patterns[..., None]
    bad = ~np.isfinite(patterns) | (patterns < 0)
    if bad.any():
        index = tuple(int(i) for i in np.argwhere(bad)[0][:3])
        raise DataError(
            f"patterns must be finite counts of at least 0, received {patterns[(*index, 0)]} at "
            f"(pattern, row, col) = {(index[0] + first, *index[1:])}, {int(bad.sum())} such "
            "values: mask or repair them"
        )
    return patterns.astype(np.float32, copy=False)


def stream(
    model: keras.Model, patterns: Any, *, batch_size: int = 32, label: str | None = None
) -> Iterator[tuple[int, Patches]]:
    """Run the network batch by batch, in memory that does not grow with the patterns.

    The next batch is read and checked while the network works on the one before. All
    batches have one shape, so that the network is compiled once.

    Parameters
    ----------
    model : keras.Model
        From `ppn_tf.models.create`.
    patterns : (N, H, W) or (N, H, W, 1) array or h5py.Dataset
        Raw counts; of a dataset of an open file, a batch at a time is read.
    batch_size : int
        Patterns per step.
    label : str, optional
        Shows a progress bar of this name on standard error.

    Returns
    -------
    iterator of (int, Patches)
        Index of the first pattern of a batch, and its patches on the [0, 1] target
        scale.

    Raises
    ------
    DataError
        For patterns that the network cannot take, see `check_patterns`; for a wrong
        value, when its batch is reached.
    OptionError
        For a batch size below 1.
    """
    if not hasattr(patterns, "shape"):
        patterns = np.asarray(patterns)
    _check_shape(patterns, model.input_shape[1:3])
    if batch_size < 1:
        raise OptionError(f"batch_size must be at least 1, received {batch_size}")
    return _batches(model, patterns, min(batch_size, len(patterns)), label)


def _batches(
    model: keras.Model, patterns: Any, batch_size: int, label: str | None
) -> Iterator[tuple[int, Patches]]:
    def read(start: int) -> tuple[int, np.ndarray]:
        batch = _checked(np.asarray(patterns[start : start + batch_size]), start)
        missing = batch_size - len(batch)
        if missing:
            # one shape for all batches: a second one would be compiled again
            batch = np.concatenate([batch, np.repeat(batch[-1:], missing, axis=0)])
        return batch_size - missing, batch

    starts = range(0, len(patterns), batch_size)
    with ThreadPoolExecutor(1, "patterns") as reader:
        waiting = reader.submit(read, 0)
        for start in tqdm(starts, desc=label, disable=label is None, unit="batch", leave=False):
            count, batch = waiting.result()
            if start + batch_size < len(patterns):
                waiting = reader.submit(read, start + batch_size)
            with _ONE_AT_A_TIME, tracing.graphs_released():
                out = model.predict_on_batch(batch)
            parts = (out[name][:count, ..., 0] for name in ("amplitude", "phase"))
            yield start, Patches(*(np.asarray(part, dtype=np.float32) for part in parts))


def predict(
    model: keras.Model, patterns: Any, *, batch_size: int = 32, label: str | None = None
) -> Patches:
    """Run the network on all patterns; the result is on the [0, 1] target scale.

    Parameters and errors are those of `stream`. Beside the result, memory for two
    batches is used.

    Returns
    -------
    Patches
    """
    found = None
    for start, part in stream(model, patterns, batch_size=batch_size, label=label):
        if found is None:
            shape = (len(patterns), *part.amplitude.shape[1:])
            found = Patches(np.empty(shape, np.float32), np.empty(shape, np.float32))
        for name in ("amplitude", "phase"):
            values = getattr(part, name)
            getattr(found, name)[start : start + len(values)] = values
    return found


def infer(
    model: keras.Model, patterns: Any, *, batch_size: int = 32, label: str | None = None
) -> Patches:
    """Reconstruct raw counts to object amplitude and phase in radians.

    Parameters, results and errors as for `predict`; the physical ranges come from the
    model's own configuration.

    Raises
    ------
    OptionError
        If the network was created without a scaling.
    """
    scaling_of(model)
    scaled = predict(model, patterns, batch_size=batch_size, label=label)
    amplitude, phase = (model.get_layer(f"{name}_scaling") for name in ("amplitude", "phase"))
    return Patches(amplitude.to_physical(scaled.amplitude), phase.to_physical(scaled.phase))


def scaling_of(model: keras.Model) -> Scaling:
    """Return the scaling that a network carries.

    Raises
    ------
    OptionError
        If the network was created without one.
    """
    wanted = [f"{name}_scaling" for name in ("pattern", "amplitude", "phase")]
    layers = {layer.name: layer for layer in model.layers}
    if not set(wanted) <= set(layers):
        raise OptionError(
            f"model {model.name!r} holds no physical scaling: create it with scaling=..., or "
            "use predict for values on the [0, 1] scale"
        )
    pattern, amplitude, phase = (layers[name] for name in wanted)
    ranges = [(layer.low, layer.high) for layer in (pattern, amplitude, phase)]
    return Scaling(pattern.transform, *ranges, phase.zero)
