"""Waves moved by fractions of a pixel, through their spectrum.

A probe at a position between pixels is the probe on the grid, moved. The move is that of
the trigonometric interpolation: exact for what the grid resolves, and unitary, so that its
adjoint moves back.
"""

from __future__ import annotations

import numpy as np
import scipy.fft

from ppn_tf.errors import DataError

_AXES = (-2, -1)

#: Smaller offsets than this change no pattern that has counts [px].
NEGLIGIBLE_PX = 1e-3


def checked(offsets_px: np.ndarray | None, count: int) -> np.ndarray | None:
    """Return offsets as (N, 2) float64, None where all are negligible.

    Raises
    ------
    DataError
        For another shape, or values that are not finite and at most 1 px.
    """
    if offsets_px is None:
        return None
    offsets = np.asarray(offsets_px, dtype=np.float64)
    if offsets.shape != (count, 2) or not (np.abs(offsets) <= 1).all():
        raise DataError(
            f"offsets_px must be finite, of shape {(count, 2)} and at most 1 px, received shape "
            f"{offsets.shape}: what is whole belongs to positions_px"
        )
    return offsets if np.abs(offsets).max() > NEGLIGIBLE_PX else None


def ramps(offsets_px: np.ndarray, window_px: tuple[int, int]) -> np.ndarray:
    """Return what a spectrum in FFT order is multiplied with, (..., H, W) complex128.

    Parameters
    ----------
    offsets_px : (..., 2) float
        Down and right.
    window_px : (int, int)
    """
    rows, cols = (
        np.exp(-2j * np.pi * np.multiply.outer(offsets_px[..., axis], scipy.fft.fftfreq(side)))
        for axis, side in enumerate(window_px)
    )
    return rows[..., :, None] * cols[..., None, :]


def moved(waves: np.ndarray, offsets_px: np.ndarray) -> np.ndarray:
    """Return waves (M, H, W) at each of N offsets, (N, M, H, W) of the same dtype."""
    window = (waves.shape[-2], waves.shape[-1])
    spectra = scipy.fft.fft2(waves, axes=_AXES) * ramps(offsets_px, window)[:, None]
    return scipy.fft.ifft2(spectra, axes=_AXES).astype(waves.dtype, copy=False)
