"""Scans with partially coherent light: the patterns of all probe modes add up."""

from __future__ import annotations

import numpy as np

from ppn_tf.data import forward
from ppn_tf.errors import DataError


def simulate_modes(
    obj: np.ndarray,
    modes: np.ndarray,
    positions_px: np.ndarray,
    noise: str | forward.NoiseModel = "none",
    seed: int = 0,
) -> np.ndarray:
    """Simulate the patterns of a scan with a probe of one or more modes.

    Parameters
    ----------
    obj : (rows, cols) complex
    modes : (M, H, H) complex
    positions_px, noise, seed
        As for `ppn_tf.data.forward.simulate`.

    Returns
    -------
    (N, H, H) float32
        Counts.

    Raises
    ------
    DataError
        For modes of another rank, and as `ppn_tf.data.forward.exit_waves`.
    """
    modes = np.asarray(modes)
    if modes.ndim != 3 or len(modes) == 0:
        raise DataError(f"probe modes must be (M, H, H), received shape {modes.shape}")
    intensity = forward.diffraction(obj, modes[0], positions_px)
    for mode in modes[1:]:
        intensity = intensity + forward.diffraction(obj, mode, positions_px)
    return forward.detected(intensity, noise, seed)
