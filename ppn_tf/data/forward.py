"""The forward model of ptychography: object, probe and positions to detector counts.

Conventions: positions are the (row, col) of a window's top-left corner; the
Fourier transform is unnormalised, and zero frequency lies at the centre pixel
``(H // 2, W // 2)`` of a pattern.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping
from types import MappingProxyType

import numpy as np
import scipy.fft
import scipy.ndimage

from ppn_tf.errors import DataError, OptionError
from ppn_tf.seeding import generator

#: Standard deviation of the blur that partial coherence stands for [px of the detector].
COHERENCE_BLUR_PX = 1.0
_AXES = (-2, -1)


@dataclasses.dataclass(frozen=True)
class NoiseModel:
    """How the ideal intensity becomes counts (Eq. (2) of the paper).

    Attributes
    ----------
    name : str
        Name for records.
    photons_per_pattern : float or None
        Dose: mean over the scan of the total expected counts of a pattern,
        before `efficiency`. None leaves the intensity at its raw scale.
    poisson : bool
        Whether counts are drawn from a Poisson distribution.
    readout_sd_photons : float
        Standard deviation of Gaussian readout noise [photons]; where it is not
        0, negative values are clipped to 0 as a detector reports them.
    coherence : float
        Coherence parameter c of Eq. (2), from 0 to 1.
    efficiency : float
        Detector efficiency, above 0 and at most 1; multiplies the rate.

    Notes
    -----
    Eq. (2) itself is lost in the text that we have; its symbols are explained.
    Our reading: ``I = c |F psi|^2 + (1 - c) G(|F psi|^2)`` with G a periodic
    Gaussian blur of 1 px standard deviation, which keeps the energy;
    ``counts = Poisson(efficiency * dose * I) + Normal(0, sd)``. Positional
    jitter belongs to the scan (`ppn_tf.data.scan.raster`).
    """

    name: str
    photons_per_pattern: float | None
    poisson: bool
    readout_sd_photons: float
    coherence: float = 1.0
    efficiency: float = 1.0

    def __post_init__(self) -> None:
        photons = self.photons_per_pattern
        if photons is not None and not (math.isfinite(photons) and photons > 0):
            raise OptionError(f"photons_per_pattern must be above 0 or None, received {photons}")
        if not (math.isfinite(self.readout_sd_photons) and self.readout_sd_photons >= 0):
            raise OptionError(
                f"readout_sd_photons must be at least 0, received {self.readout_sd_photons}"
            )
        if not 0 <= self.coherence <= 1:
            raise OptionError(f"coherence must be from 0 to 1, received {self.coherence}")
        if not 0 < self.efficiency <= 1:
            raise OptionError(
                f"efficiency must be above 0 and at most 1, received {self.efficiency}"
            )


#: Named noise models. The paper adds "Poisson and Gaussian noise" and states no
#: level; the release has noise switched off. "reference" is therefore ours:
#: 5.0e4 photons a pattern is about the raw scale of the release (5.1e4 counts a
#: pattern on its object and probe), so that the dose is what its numbers would
#: mean if read as photons, and 1 photon of readout noise is above the median
#: pixel (0.017) and far below the brightest (4e4), so that both kinds matter.
NOISE_MODELS: Mapping[str, NoiseModel] = MappingProxyType(
    {
        model.name: model
        for model in (
            NoiseModel("none", None, False, 0.0),
            NoiseModel("reference", 5.0e4, True, 1.0),
            NoiseModel("poisson-only", 5.0e4, True, 0.0),
            NoiseModel("gaussian-only", 5.0e4, False, 1.0),
            NoiseModel("low-dose", 5.0e3, True, 1.0),
            NoiseModel("high-dose", 5.0e5, True, 1.0),
        )
    }
)


def noise_model(noise: str | NoiseModel) -> NoiseModel:
    """Return a noise model by its name, or unchanged if it is one."""
    if isinstance(noise, NoiseModel):
        return noise
    if noise not in NOISE_MODELS:
        raise OptionError(
            f"unknown noise model {noise!r}: expected one of {', '.join(NOISE_MODELS)}, "
            "or a NoiseModel"
        )
    return NOISE_MODELS[noise]


def extract_patches(
    field: np.ndarray, window_px: tuple[int, int], positions_px: np.ndarray
) -> np.ndarray:
    """Copy the window at each position out of a field.

    Parameters
    ----------
    field : (rows, cols) array
        Any dtype; the patches keep it.
    window_px : (int, int)
        Height and width of the window.
    positions_px : (N, 2) integer
        Row and column of the top-left corners.

    Returns
    -------
    (N, H, W) array

    Raises
    ------
    DataError
        If a window does not fit, or a position lies outside.
    """
    rows, cols = checked_positions(positions_px, field.shape, window_px).T
    return np.lib.stride_tricks.sliding_window_view(field, window_px)[rows, cols]


def exit_waves(obj: np.ndarray, probe: np.ndarray, positions_px: np.ndarray) -> np.ndarray:
    """Multiply the object's windows with the probe (Eq. (1)).

    Parameters
    ----------
    obj : (rows, cols) complex
        Transmission of the object.
    probe : (H, H) complex
        Probe, a square not larger than the object.
    positions_px : (N, 2) integer
        Row and column of the top-left corners.

    Returns
    -------
    (N, H, H) complex64
        complex128 where `obj` or `probe` is.

    Raises
    ------
    DataError
        For arrays of the wrong rank, a probe that is not square or not
        complex or larger than the object, values that are not finite, or
        positions outside the object.
    """
    obj, probe = np.asarray(obj), np.asarray(probe)
    if obj.ndim != 2:
        raise DataError(f"the object must be an image (rows, cols), received shape {obj.shape}")
    check_probe(probe)
    _check_finite(obj, "object")
    _check_finite(probe, "probe")
    waves = extract_patches(obj, probe.shape, positions_px)
    return waves * probe


def exit_waves_adjoint(
    waves: np.ndarray,
    probe: np.ndarray,
    positions_px: np.ndarray,
    object_shape: tuple[int, int],
) -> np.ndarray:
    """Adjoint of `exit_waves` in the object: add ``conj(probe) * wave`` into place.

    Parameters
    ----------
    waves : (N, H, H) complex
        One wave per position.
    probe : (H, H) complex
        Probe.
    positions_px : (N, 2) integer
        Row and column of the top-left corners.
    object_shape : (int, int)
        Shape of the object.

    Returns
    -------
    object_shape complex128

    Raises
    ------
    DataError
        If the shapes disagree or a position lies outside the object.
    """
    probe = np.asarray(probe)
    check_probe(probe)
    rows, cols = checked_positions(positions_px, object_shape, probe.shape).T
    if waves.shape != (rows.size, *probe.shape):
        raise DataError(
            f"waves must have the shape (N, H, W) = {(rows.size, *probe.shape)} of positions and "
            f"probe, received {waves.shape}"
        )
    height, width = probe.shape
    window = np.arange(height)[:, None] * object_shape[1] + np.arange(width)
    index = ((rows.astype(np.int64) * object_shape[1] + cols)[:, None, None] + window).ravel()
    weights = (np.conj(probe) * waves).ravel()
    size = object_shape[0] * object_shape[1]
    real, imag = (np.bincount(index, part, size) for part in (weights.real, weights.imag))
    return (real + 1j * imag).reshape(object_shape)


def far_field(waves: np.ndarray) -> np.ndarray:
    """Propagate to the far field: unnormalised FFT, zero frequency at the centre pixel.

    Parameters
    ----------
    waves : (..., H, W) complex
        Exit waves.

    Returns
    -------
    (..., H, W) complex, of the same precision
    """
    return scipy.fft.fftshift(scipy.fft.fft2(waves, axes=_AXES, workers=-1), axes=_AXES)


def far_field_adjoint(fields: np.ndarray) -> np.ndarray:
    """Adjoint of `far_field`: its inverse times the number of pixels."""
    corner = scipy.fft.ifftshift(fields, axes=_AXES)
    return scipy.fft.ifft2(corner, axes=_AXES, norm="forward", workers=-1)


def diffraction(obj: np.ndarray, probe: np.ndarray, positions_px: np.ndarray) -> np.ndarray:
    """Ideal far-field intensity at every position.

    Parameters
    ----------
    obj, probe, positions_px
        As for `exit_waves`, which lists what it raises.

    Returns
    -------
    (N, H, H) float32
        ``|F(object window * probe)|^2`` at its raw scale (float64 for complex128 input).
    """
    fields = far_field(exit_waves(obj, probe, positions_px))
    return fields.real**2 + fields.imag**2


def simulate(
    obj: np.ndarray,
    probe: np.ndarray,
    positions_px: np.ndarray,
    noise: str | NoiseModel = "none",
    seed: int = 0,
) -> np.ndarray:
    """Simulate the patterns of a scan.

    Parameters
    ----------
    obj, probe, positions_px
        As for `exit_waves`.
    noise : str or NoiseModel
        One of `NOISE_MODELS` or a model of your own; ``"none"`` gives
        `diffraction` unchanged.
    seed : int
        Seed of the noise. Poisson and readout noise have a stream each, so
        that one stays the same where the other is switched off.

    Returns
    -------
    (N, H, H) float32
        Counts.

    Raises
    ------
    OptionError
        For an unknown noise model or a negative seed.
    DataError
        As for `exit_waves`, and for an object that is dark everywhere while a
        dose is asked for.
    """
    model = noise_model(noise)
    return detected(diffraction(obj, probe, positions_px), model, seed)


def detected(intensity: np.ndarray, noise: str | NoiseModel = "none", seed: int = 0) -> np.ndarray:
    """Turn ideal intensities (N, H, W) into counts; see `simulate`."""
    model = noise_model(noise)
    if model.coherence < 1:
        blurred = scipy.ndimage.gaussian_filter(
            intensity, (0, COHERENCE_BLUR_PX, COHERENCE_BLUR_PX), mode="wrap"
        )
        intensity = model.coherence * intensity + (1 - model.coherence) * blurred
    rate = model.efficiency * _dose_factor(intensity, model.photons_per_pattern)
    if rate != 1.0:
        intensity = intensity * rate
    if model.poisson:
        draws = generator(seed, "noise", 0)
        intensity = draws.poisson(intensity.astype(np.float64)).astype(np.float64)
    if model.readout_sd_photons > 0:
        draws = generator(seed, "noise", 1)
        readout = draws.normal(0.0, model.readout_sd_photons, intensity.shape)
        intensity = np.maximum(intensity + readout, 0.0)
    return intensity.astype(np.float32, copy=False)


def checked_positions(
    positions_px: np.ndarray, field_shape: tuple[int, ...], window_px: tuple[int, int]
) -> np.ndarray:
    """Return positions as (N, 2) integers that lie inside a field, or refuse them.

    Raises
    ------
    DataError
        For a wrong shape or dtype, no position at all, a window larger than
        the field, or a position outside; the first bad one is named.
    """
    positions = np.asarray(positions_px)
    if positions.ndim != 2 or positions.shape[1] != 2 or positions.shape[0] == 0:
        raise DataError(
            f"positions_px must have the shape (N, 2) with N of at least 1, received "
            f"{positions.shape}"
        )
    if not np.issubdtype(positions.dtype, np.integer):
        raise DataError(
            f"positions_px must be whole pixels of an integer dtype, received {positions.dtype}: "
            "round the positions before they are passed"
        )
    last = np.array(field_shape[:2]) - np.array(window_px)
    if (last < 0).any():
        raise DataError(
            f"the window of {window_px[0]} x {window_px[1]} px is larger than the object of "
            f"{field_shape[0]} x {field_shape[1]} px"
        )
    outside = ((positions < 0) | (positions > last)).any(axis=1)
    if outside.any():
        first = int(np.argmax(outside))
        raise DataError(
            f"position {first} is outside the object: expected row 0 to {last[0]} and column 0 to "
            f"{last[1]}, received {tuple(positions[first].tolist())} ({int(outside.sum())} of "
            f"{len(positions)} positions are outside)"
        )
    return positions


def check_probe(probe: np.ndarray) -> None:
    """Refuse a probe that is not a complex square, with `DataError`."""
    if probe.ndim != 2 or probe.shape[0] != probe.shape[1]:
        raise DataError(f"the probe must be a square (H, H), received shape {probe.shape}")
    if not np.iscomplexobj(probe):
        raise DataError(
            f"the probe must be complex, received {probe.dtype}: cast a real probe with "
            "probe.astype('complex64') if that is what you mean"
        )


def _check_finite(values: np.ndarray, name: str) -> None:
    bad = ~np.isfinite(values)
    if bad.any():
        row, col = np.argwhere(bad)[0]
        raise DataError(
            f"the {name} must be finite, received {values[row, col]} at row {row}, column {col} "
            f"({int(bad.sum())} such values)"
        )


def _dose_factor(intensity: np.ndarray, photons_per_pattern: float | None) -> float:
    if photons_per_pattern is None:
        return 1.0
    mean = float(intensity.sum(axis=_AXES, dtype=np.float64).mean())
    if mean <= 0:
        raise DataError(
            f"no light reaches the detector (mean counts {mean}), so it cannot be scaled to "
            f"{photons_per_pattern} photons a pattern: check object and probe"
        )
    return photons_per_pattern / mean
