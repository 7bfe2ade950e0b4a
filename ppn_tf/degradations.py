"""Controlled errors of known kind, to learn what a quality metric responds to.

Every function takes a stack of patches (N, H, W) and returns a degraded copy in float64,
not clipped. Randomness comes from a generator that the caller gives.
"""

from __future__ import annotations

import numpy as np
from scipy.ndimage import gaussian_filter

from ppn_tf.errors import DataError, OptionError


def blur(patches: np.ndarray, sigma_px: float) -> np.ndarray:
    """Blur every patch by itself with a Gaussian; border pixels are repeated outwards.

    Parameters
    ----------
    patches : (N, H, W) float
    sigma_px : float
        Standard deviation of the Gaussian [px].

    Raises
    ------
    DataError
        For anything but a stack of finite patches.
    OptionError
        For a negative width.
    """
    if sigma_px < 0:
        raise OptionError(f"sigma_px must not be negative, received {sigma_px}")
    return gaussian_filter(_stack(patches), (0.0, sigma_px, sigma_px), mode="nearest")


def shift(patches: np.ndarray, rows_px: int, cols_px: int) -> np.ndarray:
    """Move the content of every patch down and right; border pixels are repeated inwards.

    Parameters
    ----------
    patches : (N, H, W) float
    rows_px, cols_px : int
        Displacement [px].

    Raises
    ------
    DataError
        For anything but a stack of finite patches.
    """
    values = _stack(patches)
    height, width = values.shape[1:]
    rows = np.clip(np.arange(height) - rows_px, 0, height - 1)
    cols = np.clip(np.arange(width) - cols_px, 0, width - 1)
    return values[:, rows[:, None], cols]


def white_noise(patches: np.ndarray, sd: float, rng: np.random.Generator) -> np.ndarray:
    """Add independent Gaussian noise of standard deviation `sd` to every pixel.

    Raises
    ------
    DataError
        For anything but a stack of finite patches.
    """
    values = _stack(patches)
    return values + sd * rng.standard_normal(values.shape)


def smooth_error(
    patches: np.ndarray, sd: float, correlation_px: float, rng: np.random.Generator
) -> np.ndarray:
    """Add a smooth random field to every patch, independent from patch to patch.

    Parameters
    ----------
    patches : (N, H, W) float
    sd : float
        Root mean square of the fields, exactly, over the whole stack.
    correlation_px : float
        Standard deviation of the Gaussian that smooths white noise [px].
    rng : numpy.random.Generator

    Raises
    ------
    DataError
        For anything but a stack of finite patches.
    """
    values = _stack(patches)
    noise = rng.standard_normal(values.shape)
    smooth = gaussian_filter(noise, (0.0, correlation_px, correlation_px), mode="wrap")
    return values + smooth * (sd / np.sqrt(np.mean(smooth**2)))


def patch_offset(patches: np.ndarray, sd: float, rng: np.random.Generator) -> np.ndarray:
    """Add one Gaussian constant of standard deviation `sd` to every patch.

    Raises
    ------
    DataError
        For anything but a stack of finite patches.
    """
    values = _stack(patches)
    return values + sd * rng.standard_normal((len(values), 1, 1))


def low_rank(patches: np.ndarray, training: np.ndarray, modes: int) -> np.ndarray:
    """Project patches on the mean and the first principal components of others.

    Parameters
    ----------
    patches : (N, H, W) float
    training : (M, H, W) float
        Patches that mean and components are taken from.
    modes : int
        Number of components kept.

    Raises
    ------
    DataError
        For patches of different sizes or not finite.
    OptionError
        For more components than a patch has pixels, or fewer than one.
    """
    values, others = _stack(patches), _stack(training)
    if values.shape[1:] != others.shape[1:]:
        raise DataError(
            f"patches and training must have one size, received {values.shape[1:]} and "
            f"{others.shape[1:]}"
        )
    pixels = values[0].size
    if not 1 <= modes <= pixels:
        raise OptionError(f"modes must be from 1 to {pixels}, received {modes}")
    mean = others.mean(axis=0)
    centered = (others - mean).reshape(len(others), pixels)
    # eigh sorts ascending: the strongest components stand last
    _, vectors = np.linalg.eigh(centered.T @ centered)
    basis = vectors[:, -modes:]
    flat = (values - mean).reshape(len(values), pixels)
    return mean + (flat @ basis @ basis.T).reshape(values.shape)


def _stack(patches: np.ndarray) -> np.ndarray:
    values = np.asarray(patches, dtype=np.float64)
    if values.ndim != 3 or 0 in values.shape or not np.isfinite(values).all():
        raise DataError(f"expected finite patches (N, H, W), received shape {values.shape}")
    return values
