"""Order and coordinates that ptychodus uses, and nothing else in this package does.

ptychodus stacks a patch's channels phase first, as PtychoNN does, and places a patch by
its centre. Here amplitude comes first and positions are top-left corners; the two meet in
this module. NumPy only.
"""

from __future__ import annotations

import numpy as np

from ppn_tf.errors import DataError


def stacked(amplitude: np.ndarray, phase_rad: np.ndarray) -> np.ndarray:
    """Return patches phase first.

    Parameters
    ----------
    amplitude, phase_rad : (N, H, W) float
        Object amplitude, and phase [rad].

    Returns
    -------
    (N, 2, H, W) float32
    """
    return np.stack([phase_rad, amplitude], axis=1).astype(np.float32, copy=False)


def split(patches: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return amplitude and phase [rad], (N, H, W) each, of patches that are phase first.

    Raises
    ------
    DataError
        For another shape than (N, 2, H, W), or complex values.
    """
    patches = np.asarray(patches)
    if patches.ndim != 4 or patches.shape[1] != 2 or np.iscomplexobj(patches):
        raise DataError(
            "patches must be real (N, 2, H, W), phase first, received "
            f"{patches.dtype} {patches.shape}"
        )
    return patches[:, 1], patches[:, 0]


def corners_px(centres_px: np.ndarray, window_px: tuple[int, int]) -> np.ndarray:
    """Return top-left corners of windows from their centres.

    Parameters
    ----------
    centres_px : (N, 2) float
        Row and column of each window's centre, counted from the outer edge of the
        object's first pixel: a window that fills an object of 32 px has its centre at 16.
    window_px : (int, int)
        Height and width.

    Returns
    -------
    (N, 2) float64

    Raises
    ------
    DataError
        For another shape, or NaN.
    """
    centres = np.asarray(centres_px, dtype=np.float64)
    if centres.ndim != 2 or centres.shape[1] != 2 or not np.isfinite(centres).all():
        raise DataError(
            f"centres_px must be finite (N, 2) (row, col), received shape {centres.shape}"
        )
    return centres - np.asarray(window_px) / 2


def centres_px(corners: np.ndarray, window_px: tuple[int, int]) -> np.ndarray:
    """Return the centres of windows from their top-left corners; undoes `corners_px`."""
    return np.asarray(corners, dtype=np.float64) + np.asarray(window_px) / 2
