"""Probe modes for partially coherent light: scale, a start, and orthogonality.

Thibault and Menzel, Nature 494 (2013) 68, DOI 10.1038/nature11806.
"""

from __future__ import annotations

import numpy as np

from ppn_tf.errors import DataError, OptionError


def scale_probe(probe: np.ndarray, patterns: np.ndarray) -> np.ndarray:
    """Scale a probe so that an empty object gives the mean counts of the patterns.

    Parameters
    ----------
    probe : (H, W) or (M, H, W) complex
    patterns : (N, H, W) real
        Finite counts.

    Returns
    -------
    array of the probe's shape and dtype
        ``sum |P|^2 H W`` is the mean of the patterns' total counts (Parseval).

    Raises
    ------
    DataError
        For a probe of zeros, or patterns without counts.
    """
    probe = np.asarray(probe)
    energy = float((np.abs(probe.astype(np.complex128)) ** 2).sum())
    counts = float(np.asarray(patterns, dtype=np.float64).sum(axis=(-2, -1)).mean())
    if not (energy > 0 and np.isfinite(energy) and counts > 0 and np.isfinite(counts)):
        raise DataError(
            f"a probe of energy {energy} cannot be scaled to {counts} counts a pattern: both must "
            "be finite and above 0"
        )
    pixels = probe.shape[-2] * probe.shape[-1]
    return (probe * np.sqrt(counts / pixels / energy)).astype(probe.dtype)


def initial_modes(probe: np.ndarray, count: int, share: float = 0.05) -> np.ndarray:
    """Start modes from one probe: itself, and itself times polynomials.

    The further modes are the probe times x, y, x^2, xy, y^2, ... about its centre of
    mass (the Gauss-Hermite idea), made orthogonal.

    Parameters
    ----------
    probe : (H, W) complex
    count : int
        Number of modes M, at least 1.
    share : float
        Share of the energy in each further mode; ``share * (count - 1)`` below 1.

    Returns
    -------
    (M, H, W) array of the probe's dtype, orthogonal, of the probe's total energy

    Raises
    ------
    DataError
        For a probe that is not (H, W).
    OptionError
        For a count below 1 or shares that leave the first mode nothing.
    """
    probe = np.asarray(probe)
    if probe.ndim != 2:
        raise DataError(f"the probe must be (H, W), received shape {probe.shape}")
    if count < 1 or not 0 < share * max(count - 1, 0.5) < 1:
        raise OptionError(
            f"count must be at least 1 and share * (count - 1) between 0 and 1, received "
            f"count {count}, share {share}"
        )
    wide = probe.astype(np.complex128)
    density = np.abs(wide) ** 2
    energy = density.sum()
    axes = np.indices(probe.shape).astype(np.float64)
    y, x = (axis - (axis * density).sum() / energy for axis in axes)
    orders = [(n - k, k) for n in range(count) for k in range(n + 1)][:count]
    basis = np.stack([(wide * x**i * y**j).ravel() for i, j in orders], axis=1)
    # Gram-Schmidt, so that the first mode stays the probe
    modes = np.linalg.qr(basis)[0].T
    modes *= np.exp(1j * np.angle(np.vdot(modes[0], wide.ravel())))
    weights = np.full(count, share)
    weights[0] = 1 - share * (count - 1)
    scaled = modes * np.sqrt(weights * energy)[:, None]
    return scaled.reshape(count, *probe.shape).astype(probe.dtype)


def orthogonalise(probe: np.ndarray) -> np.ndarray:
    """Make modes orthogonal, the brightest first, without changing what they light.

    Parameters
    ----------
    probe : (M, H, W) complex

    Returns
    -------
    (M, H, W) array of the same dtype
        ``sum_m P_m(x) conj(P_m(y))``, and so every pattern, stays as it is.

    Raises
    ------
    DataError
        For another rank.
    """
    probe = np.asarray(probe)
    if probe.ndim != 3:
        raise DataError(f"the modes must be (M, H, W), received shape {probe.shape}")
    flat = probe.reshape(len(probe), -1).astype(np.complex128)
    _, vectors = np.linalg.eigh(flat @ flat.conj().T)
    # a unitary mixture of modes lights the same; eigh sorts upwards
    return (vectors[:, ::-1].conj().T @ flat).reshape(probe.shape).astype(probe.dtype)
