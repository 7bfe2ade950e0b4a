"""From raw counts to patches, with a network that knows its own scaling."""

from __future__ import annotations

import dataclasses
import threading

import keras
import numpy as np
from tqdm import tqdm

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
    if patterns.ndim == 3:
        patterns = patterns[..., None]
    if patterns.ndim != 4 or patterns.shape[-1] != 1 or len(patterns) == 0:
        raise DataError(
            "patterns must be (N, H, W) with N of at least 1, received shape "
            f"{patterns.shape}, dtype {patterns.dtype}"
        )
    if patterns.shape[1:3] != tuple(side_px):
        raise DataError(
            f"the network takes patterns of {side_px[0]} x {side_px[1]} px, received "
            f"{patterns.shape[1]} x {patterns.shape[2]} px: crop or bin them first"
        )
    bad = ~np.isfinite(patterns) | (patterns < 0)
    if bad.any():
        index = tuple(int(i) for i in np.argwhere(bad)[0][:3])
        raise DataError(
            f"patterns must be finite counts of at least 0, received {patterns[(*index, 0)]} at "
            f"(pattern, row, col) = {index}, {int(bad.sum())} such values: mask or repair them"
        )
    return patterns.astype(np.float32, copy=False)


def predict(
    model: keras.Model, patterns: np.ndarray, *, batch_size: int = 32, label: str | None = None
) -> Patches:
    """Run the network; the result is on the [0, 1] target scale.

    Parameters
    ----------
    model : keras.Model
        From `ppn_tf.models.create`.
    patterns : (N, H, W) or (N, H, W, 1) array
        Raw counts.
    batch_size : int
        Patterns per step.
    label : str, optional
        Shows a progress bar of this name on standard error.

    Returns
    -------
    Patches

    Raises
    ------
    DataError
        For patterns that the network cannot take, see `check_patterns`.
    """
    patterns = check_patterns(patterns, model.input_shape[1:3])
    if batch_size < 1:
        raise OptionError(f"batch_size must be at least 1, received {batch_size}")
    batch_size = min(batch_size, len(patterns))
    parts: dict[str, list[np.ndarray]] = {"amplitude": [], "phase": []}
    starts = range(0, len(patterns), batch_size)
    for start in tqdm(starts, desc=label, disable=label is None, unit="batch", leave=False):
        batch = patterns[start : start + batch_size]
        count = len(batch)
        if count < batch_size:
            # one shape for all batches: a second one would be compiled again
            batch = np.concatenate([batch, np.repeat(batch[-1:], batch_size - count, axis=0)])
        with _ONE_AT_A_TIME:
            out = model.predict_on_batch(batch)
        for name, values in parts.items():
            values.append(np.asarray(out[name], dtype=np.float32)[:count, ..., 0])
    return Patches(*(np.concatenate(parts[name]) for name in ("amplitude", "phase")))


def infer(
    model: keras.Model, patterns: np.ndarray, *, batch_size: int = 32, label: str | None = None
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
    return Scaling(pattern.transform, *ranges)
