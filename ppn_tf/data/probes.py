"""Probes: the paper's own, and one that we compute where that file is missing."""

from __future__ import annotations

import numpy as np
import scipy.fft

from ppn_tf.data import sources
from ppn_tf.errors import DataError, OptionError

#: Public file of the paper's probe.
PROBE_FILE = "probe/pxy_probe1000.npy"
#: Names that `load_probe` knows.
PROBES = ("ltem", "stand-in")

#: Sum of |P|^2 of the paper's probe on 32 x 32 px.
PROBE_ENERGY = 62.2
_BLOCK_PX = 4

# Stand-in: radius of the pupil as a fraction of the Nyquist frequency, of its
# central stop as a fraction of the pupil, defocus phase at the pupil's edge on
# 32 px, and amplitude of the undiffracted beam against the focused one. Chosen
# once, so that half of the energy lies within 12.5 px (12.6 px for the paper's
# probe) and 0.68 of it goes to zero frequency (0.62).
_PUPIL_RADIUS = 0.3
_STOP_FRACTION = 0.5
_DEFOCUS_RAD = 10.4
_ZEROTH_ORDER = 1.5


def load_probe(name: str = "ltem") -> np.ndarray:
    """Return a probe on the 32 x 32 window of the paper.

    Parameters
    ----------
    name : str
        ``"ltem"``: the paper's probe, published with PtyNet on 128 x 128 px;
        real and imaginary part are averaged over blocks of 4 x 4 px, as in the
        authors' release. ``"stand-in"``: `stand_in_probe`.

    Returns
    -------
    (32, 32) complex64
        Sum of the squared modulus 62.2 (the release's own scale).

    Raises
    ------
    OptionError
        For an unknown name.
    SourceMissingError, SourceError
        If the file is not there, or is not the expected file.
    """
    if name == "stand-in":
        return stand_in_probe()
    if name != "ltem":
        raise OptionError(f"unknown probe {name!r}: expected one of {', '.join(PROBES)}")
    path = sources.fetch(PROBE_FILE)
    fine = np.load(path, allow_pickle=False)
    if fine.shape != (128, 128) or not np.iscomplexobj(fine):
        raise DataError(
            f"{path}: expected a complex array of shape (128, 128), received {fine.dtype} "
            f"{fine.shape}"
        )
    side = fine.shape[0] // _BLOCK_PX
    blocks = fine.reshape(side, _BLOCK_PX, side, _BLOCK_PX)
    return blocks.mean(axis=(1, 3)).astype(np.complex64)


def stand_in_probe(size_px: int = 32) -> np.ndarray:
    """Compute the defocused focus of a zone plate with a central stop.

    Parameters
    ----------
    size_px : int
        Side of the window, an even number of at least 8.

    Returns
    -------
    (size_px, size_px) complex64
        Symmetric about ``(size_px - 1) / 2``, sum of |P|^2 as for the
        paper's probe (62.2).

    Raises
    ------
    OptionError
        For a size that is odd or below 8.

    Notes
    -----
    The pupil is an annulus with a quadratic (defocus) phase; its Fourier
    transform is computed on four times the window and cropped, as a probe
    wider than the window is in an experiment. The undiffracted zeroth order of
    the zone plate is added as a plane wave in quadrature.
    """
    if size_px < 8 or size_px % 2:
        raise OptionError(f"size_px must be an even number of at least 8, received {size_px}")
    side = 4 * size_px
    axis = scipy.fft.fftfreq(side) / 0.5
    radius = np.hypot(axis[:, None], axis[None, :]) / _PUPIL_RADIUS
    pupil = ((radius <= 1) & (radius >= _STOP_FRACTION)).astype(np.float64)
    # the same picture at every window size needs a defocus that grows with it
    phase_rad = _DEFOCUS_RAD * (size_px / 32) * radius**2
    # the paper's probe is symmetric about the middle between the pixels: half a pixel back
    phase_rad = phase_rad + np.pi / 2 * (axis[:, None] + axis[None, :])
    wave = scipy.fft.fftshift(scipy.fft.ifft2(pupil * np.exp(1j * phase_rad)))
    start = side // 2 - size_px // 2
    window = wave[start : start + size_px, start : start + size_px]
    window = window / np.linalg.norm(window) - 1j * _ZEROTH_ORDER / size_px
    energy = np.sum(np.abs(window) ** 2)
    return (window * np.sqrt(PROBE_ENERGY / energy)).astype(np.complex64)
