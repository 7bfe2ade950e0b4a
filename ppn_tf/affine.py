"""Affine ambiguity of images: what a loss sees of a wrong gain and offset, and removing it."""

from __future__ import annotations

import keras
import numpy as np
from keras import ops

from ppn_tf import losses
from ppn_tf.errors import DataError

__all__ = ["remove", "response"]


def response(text: str, images: np.ndarray, gain: float, offset: float) -> float:
    """Return the loss of ``gain * images + offset`` where `images` are the targets.

    What a loss sees of a wrong brightness or contrast in an otherwise perfect prediction
    (section V-B). With gain 0 it is the loss of one constant value.

    Parameters
    ----------
    text : str
        Name of a loss, see `ppn_tf.losses.create`.
    images : (N, H, W) or (N, H, W, 1) float
        Targets on the [0, 1] scale.
    gain, offset : float
        Of the affine change; not clipped.

    Returns
    -------
    float
        Mean over the images.

    Raises
    ------
    DataError
        For arrays that are not stacks of finite images.
    OptionError
        For an unknown loss.
    """
    images = _stack("images", images).astype(np.float32)
    changed = np.float32(gain) * images + np.float32(offset)
    loss = losses.create(text)
    values = (keras.losses.get(loss) if isinstance(loss, str) else loss.call)(images, changed)
    return float(np.mean(ops.convert_to_numpy(values), dtype=np.float64))


def remove(prediction: np.ndarray, truth: np.ndarray) -> np.ndarray:
    """Return each image of `prediction` with the gain and offset that fit `truth` best.

    What is left of an error when the affine ambiguity is removed, by least squares for each
    image. The truth enters: this explains an error, it is no reconstruction.

    Parameters
    ----------
    prediction, truth : (N, H, W) or (N, H, W, 1) float
        Arrays of one shape.

    Returns
    -------
    (N, H, W, 1) float64
        The mean of the truth where a predicted image is constant.

    Raises
    ------
    DataError
        For arrays of different shapes, or that are not stacks of finite images.
    """
    x = _stack("prediction", prediction).astype(np.float64)
    y = _stack("truth", truth).astype(np.float64)
    if x.shape != y.shape:
        raise DataError(
            f"prediction and truth must have one shape, received {x.shape} and {y.shape}"
        )
    mean = y.mean(axis=(1, 2, 3), keepdims=True)
    x = x - x.mean(axis=(1, 2, 3), keepdims=True)
    variance = np.mean(x**2, axis=(1, 2, 3), keepdims=True)
    covariance = np.mean(x * (y - mean), axis=(1, 2, 3), keepdims=True)
    # a constant image has no gain: 0 / 0 becomes 0
    return mean + x * covariance / np.where(variance > 0, variance, 1.0)


def _stack(name: str, values: np.ndarray) -> np.ndarray:
    """Return (N, H, W, 1) from (N, H, W) or (N, H, W, 1)."""
    values = np.asarray(values)
    values = values[..., None] if values.ndim == 3 else values
    if values.ndim != 4 or values.shape[-1] != 1 or not values.size:
        raise DataError(f"{name} must be (N, H, W) or (N, H, W, 1), received {values.shape}")
    if not np.isfinite(values).all():
        raise DataError(f"{name} has NaN or infinite values: cut uncovered pixels away first")
    return values
