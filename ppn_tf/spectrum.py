"""Spatial-frequency content of images: power spectra, bands, ring correlation.

Spectra have their zero frequency at the centre pixel (H//2, W//2). Radial
frequencies are relative: 1 is the Nyquist frequency of an image axis (0.5
cycles per pixel), so that the corner of a spectrum lies at sqrt(2). The paper
says "normalized radial distance" without saying to what; with
``nyquist="corner"`` the end of the diagonal is 1 instead.
"""

from __future__ import annotations

import numpy as np

from ppn_tf.errors import DataError, OptionError

WINDOWS = ("hann",)
NYQUIST = ("axis", "corner")

#: Bands of section IV-B3, as fractions of Nyquist.
BANDS = {"low": (0.0, 1.0 / 3.0), "mid": (1.0 / 3.0, 2.0 / 3.0), "high": (2.0 / 3.0, 1.0)}

#: Keeps a frequency that lies on a band edge in the upper band despite rounding.
_EDGE = 1e-9


def power_spectrum(
    image: np.ndarray, *, remove_mean: bool = False, window: str | None = None
) -> np.ndarray:
    """Return the two-dimensional power spectrum of an image or of each of many.

    ``|F(image)|^2 / (H W)``: its sum equals the sum of ``|image|^2``
    (Parseval). A window is scaled to a mean square of 1, so that the power of
    a stationary texture keeps its size.

    Parameters
    ----------
    image : (..., H, W) float or complex
    remove_mean : bool
        Subtract each image's own mean first.
    window : {None, "hann"}
        Taper against the cross that the image border draws.

    Returns
    -------
    (..., H, W) float64
        Squared units of the image, zero frequency at (H//2, W//2).

    Raises
    ------
    DataError
        For fewer than two axes, an empty array, NaN or infinity.
    OptionError
        For an unknown window.
    """
    image = _images(image)
    if remove_mean:
        image = image - image.mean(axis=(-2, -1), keepdims=True)
    if window is not None:
        if window not in WINDOWS:
            raise OptionError(
                f"unknown window {window!r}: expected None or one of {', '.join(WINDOWS)}"
            )
        taper = np.outer(_hann(image.shape[-2]), _hann(image.shape[-1]))
        image = image * (taper / np.sqrt(np.mean(taper**2)))
    transform = np.fft.fft2(image, norm="ortho")
    return np.fft.fftshift(np.abs(transform) ** 2, axes=(-2, -1))


def mean_power_spectrum(
    patches: np.ndarray, *, remove_mean: bool = False, window: str | None = None
) -> np.ndarray:
    """Return the mean of the power spectra of many patches.

    Parameters
    ----------
    patches : (N, H, W) or (N, H, W, 1) float or complex
    remove_mean, window
        As in `power_spectrum`.

    Returns
    -------
    (H, W) float64

    Raises
    ------
    DataError, OptionError
        As in `power_spectrum`, and for arrays that are not stacks.
    """
    patches = np.asarray(patches)
    if patches.ndim == 4 and patches.shape[-1] == 1:
        patches = patches[..., 0]
    if patches.ndim != 3:
        raise DataError(f"expected patches of shape (N, H, W), received {patches.shape}")
    return power_spectrum(patches, remove_mean=remove_mean, window=window).mean(axis=0)


def diagonal_profile(psd: np.ndarray, *, nyquist: str = "axis") -> tuple[np.ndarray, np.ndarray]:
    """Return the diagonal cross-section of a power spectrum, as in Fig. 4.

    Half the main diagonal, from the zero frequency outwards; the two halves
    are averaged (they are equal for a real image).

    Parameters
    ----------
    psd : (N, N) float
        Zero frequency at (N//2, N//2).
    nyquist : {"axis", "corner"}
        What a frequency of 1 means; see the module docstring.

    Returns
    -------
    frequency : (N//2 + 1,) float64
        Radial frequency over Nyquist. For odd N it has (N + 1) / 2 elements.
    power : float64, of the same shape

    Raises
    ------
    DataError
        If the spectrum is not square, or not finite and non-negative.
    OptionError
        For an unknown `nyquist`.
    """
    psd = _spectrum(psd)
    size = len(psd)
    if psd.shape != (size, size):
        raise DataError(f"a diagonal needs a square spectrum, received shape {psd.shape}")
    diagonal = np.diagonal(psd)
    steps = np.abs(np.arange(size) - size // 2)
    power = np.bincount(steps, diagonal) / np.bincount(steps)
    radial = np.sqrt(2.0) * np.arange(len(power)) / size
    return radial / _unit(nyquist), power


def band_energies(psd: np.ndarray, *, nyquist: str = "axis") -> dict[str, float]:
    """Return the share of the energy in the paper's three bands.

    The shares are of the whole spectrum as given, zero frequency included
    (use ``remove_mean=True`` to leave it out) and so are the corners beyond
    the axis Nyquist frequency: the three add up to 1 at most.

    Parameters
    ----------
    psd : (H, W) float
        Zero frequency at (H//2, W//2).
    nyquist : {"axis", "corner"}
        What a frequency of 1 means; see the module docstring.

    Returns
    -------
    dict of str to float
        ``{"low": [0, 1/3), "mid": [1/3, 2/3), "high": [2/3, 1]}``.

    Raises
    ------
    DataError
        For a spectrum that is not (H, W), not finite, negative or zero.
    OptionError
        For an unknown `nyquist`.
    """
    psd = _spectrum(psd)
    rows, cols = (np.fft.fftshift(np.fft.fftfreq(size)) for size in psd.shape)
    return _bands(np.hypot(rows[:, None], cols) / _unit(nyquist), psd)


def profile_band_energies(frequency: np.ndarray, power: np.ndarray) -> dict[str, float]:
    """Return the share of a one-dimensional profile in the paper's three bands.

    Parameters
    ----------
    frequency, power : (K,) float
        As from `diagonal_profile`.

    Returns
    -------
    dict of str to float
        As from `band_energies`, with the sum of the profile as the whole.

    Raises
    ------
    DataError
        For different shapes, or a profile that is negative, not finite or zero.
    """
    frequency, power = np.asarray(frequency, np.float64), np.asarray(power, np.float64)
    if frequency.shape != power.shape or power.ndim != 1:
        raise DataError(
            f"frequency and power must be (K,) alike, received {frequency.shape} and {power.shape}"
        )
    return _bands(frequency, _spectrum(power[None])[0])


def fourier_ring_correlation(a: np.ndarray, b: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return the correlation of two images over rings of spatial frequency.

    Parameters
    ----------
    a, b : (N, N) float or complex
        Square images of one shape. Taper them first if their borders differ.

    Returns
    -------
    frequency : (N//2 + 1,) float64
        Ring radius over the axis Nyquist frequency; rings are one frequency
        step (1/N cycles per pixel) wide.
    correlation : (N//2 + 1,) float64
        Real part, in [-1, 1]; 0 for a ring without power in either image.

    Raises
    ------
    DataError
        If the images are not square, of different shapes, or not finite.

    References
    ----------
    .. [1] W. O. Saxton and W. Baumeister, J. Microsc. 127, 127 (1982),
       doi:10.1111/j.1365-2818.1982.tb00405.x
    """
    a, b = _images(a), _images(b)
    if a.shape != b.shape or a.ndim != 2 or a.shape[0] != a.shape[1]:
        raise DataError(f"expected two square images alike, received {a.shape} and {b.shape}")
    size = len(a)
    steps = np.fft.fftfreq(size, 1.0 / size)
    ring = np.rint(np.hypot(steps[:, None], steps)).astype(np.int64).ravel()
    left, right = (np.fft.fft2(values, norm="ortho").ravel() for values in (a, b))
    cross = np.bincount(ring, (left * right.conj()).real)
    power = np.bincount(ring, np.abs(left) ** 2) * np.bincount(ring, np.abs(right) ** 2)
    correlation = np.divide(cross, np.sqrt(power), out=np.zeros_like(cross), where=power > 0)
    kept = size // 2 + 1
    return 2.0 * np.arange(kept) / size, np.clip(correlation[:kept], -1.0, 1.0)


def widest_band(
    frequency: np.ndarray, correlation: np.ndarray, level: float = 0.5
) -> tuple[float, float] | None:
    """Return the first and last frequency of the longest run of rings at or above a level.

    The mean (frequency 0) is left out. The first crossing alone would hide what a field
    holds beyond low frequencies that it lacks.

    Parameters
    ----------
    frequency, correlation : (K,) float
        From `fourier_ring_correlation`.
    level : float

    Returns
    -------
    (float, float) or None
        None where no ring reaches the level.
    """
    above = np.concatenate([[False], np.asarray(correlation)[1:] >= level, [False]])
    steps = np.diff(above.astype(int))
    starts, ends = np.flatnonzero(steps == 1) + 1, np.flatnonzero(steps == -1)
    if not len(starts):
        return None
    longest = int(np.argmax(ends - starts))
    return float(frequency[starts[longest]]), float(frequency[ends[longest]])


def _bands(frequency: np.ndarray, power: np.ndarray) -> dict[str, float]:
    total = power.sum()
    if total == 0:
        raise DataError("the spectrum is zero everywhere: shares of its energy have no meaning")
    shares = {}
    for name, (low, high) in BANDS.items():
        # the last band includes its upper end
        upper = high + _EDGE if high == 1.0 else high - _EDGE
        inside = (frequency >= low - _EDGE) & (frequency < upper)
        shares[name] = float(power[inside].sum() / total)
    return shares


def _unit(nyquist: str) -> float:
    """Cycles per pixel of the frequency that counts as 1."""
    if nyquist not in NYQUIST:
        raise OptionError(f"unknown nyquist {nyquist!r}: expected one of {', '.join(NYQUIST)}")
    return 0.5 if nyquist == "axis" else float(np.sqrt(0.5))


def _hann(size: int) -> np.ndarray:
    # periodic and without a zero at the border, so that size 1 works too
    return np.sin(np.pi * (np.arange(size) + 0.5) / size) ** 2


def _images(image: np.ndarray) -> np.ndarray:
    image = np.asarray(image)
    image = image.astype(np.complex128 if np.iscomplexobj(image) else np.float64)
    if image.ndim < 2 or image.size == 0:
        raise DataError(f"expected an image (H, W) or a stack of them, received {image.shape}")
    if not np.isfinite(image).all():
        raise DataError("the image has NaN or infinite values: cut uncovered pixels away first")
    return image


def _spectrum(psd: np.ndarray) -> np.ndarray:
    psd = np.asarray(psd, dtype=np.float64)
    if psd.ndim != 2 or psd.size == 0:
        raise DataError(f"expected a power spectrum (H, W), received shape {psd.shape}")
    if not (np.isfinite(psd).all() and psd.min() >= 0):
        raise DataError("a power spectrum must be finite and non-negative")
    return psd
