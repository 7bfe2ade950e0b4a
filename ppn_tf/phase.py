"""What a reconstruction cannot know is taken out before it is compared with the truth.

Patterns do not change when the object is multiplied with a constant phase factor;
where the probe is free too, neither when the object is scaled against the probe, or
tilted by a phase ramp that the probe carries in reverse (up to a shift of the
patterns by whole pixels). A phase from `numpy.angle` is wrapped, as well.
"""

from __future__ import annotations

import dataclasses

import numpy as np
import scipy.fft
import scipy.optimize

from ppn_tf.errors import DataError


@dataclasses.dataclass(frozen=True, eq=False)
class Aligned:
    """A field without its ambiguities.

    Attributes
    ----------
    field : (rows, cols) complex128
        ``factor * exp(i (ramp[0] row + ramp[1] col))`` times the field passed.
    factor : complex
    ramp_rad_per_px : (float, float)
        Along rows and columns; (0, 0) unless asked for.
    """

    field: np.ndarray
    factor: complex
    ramp_rad_per_px: tuple[float, float]


def align(
    field: np.ndarray,
    reference: np.ndarray,
    *,
    scale: bool = True,
    ramp: bool = False,
    region: np.ndarray | None = None,
) -> Aligned:
    """Remove the global phase, and on request scale and ramp, against a reference.

    Parameters
    ----------
    field, reference : (rows, cols) complex
        Reconstruction and truth.
    scale : bool
        Take the factor that minimises the squared difference, amplitude included;
        False takes its phase alone.
    ramp : bool
        Remove a phase ramp too (free probe).
    region : (rows, cols) bool, optional
        Pixels that decide the factor and the ramp; all by default.

    Returns
    -------
    Aligned

    Raises
    ------
    DataError
        For different shapes, values that are not finite within the region, an empty
        region, or a field that is zero there or orthogonal to the reference.
    """
    field, reference = (np.asarray(part, dtype=np.complex128) for part in (field, reference))
    if field.ndim != 2 or field.shape != reference.shape:
        raise DataError(
            f"field and reference must have one shape (rows, cols), received {field.shape} and "
            f"{reference.shape}"
        )
    inside = np.ones(field.shape, bool) if region is None else np.asarray(region, dtype=bool)
    if inside.shape != field.shape or not inside.any():
        raise DataError(
            f"region must have the shape {field.shape} and at least one pixel, received "
            f"{inside.shape} with {int(inside.sum())}"
        )
    if not (np.isfinite(field[inside]).all() and np.isfinite(reference[inside]).all()):
        raise DataError("field and reference must be finite within the region")
    product = np.where(inside, reference * np.conj(field), 0)
    slopes = _ramp(product) if ramp else (0.0, 0.0)
    rows, cols = np.indices(field.shape)
    tilted = field * np.exp(1j * (slopes[0] * rows + slopes[1] * cols))
    overlap = np.vdot(tilted[inside], reference[inside])
    energy = float((np.abs(tilted[inside]) ** 2).sum())
    if energy == 0 or overlap == 0:
        raise DataError("the field is zero, or shares nothing with the reference: nothing to align")
    factor = complex(overlap / (energy if scale else abs(overlap)))
    return Aligned(factor * tilted, factor, slopes)


def unwrap(field: np.ndarray, near_rad: float | None = None) -> np.ndarray:
    """Return the continuous phase of a field.

    Herraez et al., Applied Optics 41 (2002) 7437, DOI 10.1364/AO.41.007437, as
    scikit-image has it.

    Parameters
    ----------
    field : (rows, cols) complex
    near_rad : float, optional
        Whole turns are added so that the median phase comes nearest to this; without
        it they are as the algorithm leaves them.

    Returns
    -------
    (rows, cols) float64 [rad]

    Raises
    ------
    DataError
        For another rank, a real field, or values that are not finite.
    """
    from skimage.restoration import unwrap_phase

    field = np.asarray(field)
    if field.ndim != 2 or not np.iscomplexobj(field) or not np.isfinite(field).all():
        raise DataError(
            f"unwrap takes a finite complex field (rows, cols), received {field.dtype} "
            f"{field.shape}"
        )
    # a fixed start: the order of equal reliabilities must not change from call to call
    phase_rad = unwrap_phase(np.angle(field.astype(np.complex128)), rng=0)
    if near_rad is not None:
        turns = np.round((near_rad - np.median(phase_rad)) / (2 * np.pi))
        phase_rad = phase_rad + 2 * np.pi * turns
    return phase_rad


def _ramp(product: np.ndarray) -> tuple[float, float]:
    """Return the slopes that maximise ``|sum product exp(-i slope . r)|``."""
    padded = [2 * side for side in product.shape]
    spectrum = np.abs(scipy.fft.fft2(product, s=padded))
    peak = np.unravel_index(int(spectrum.argmax()), spectrum.shape)
    start = [
        2 * np.pi * scipy.fft.fftfreq(side)[index] for side, index in zip(padded, peak, strict=True)
    ]
    rows, cols = (np.arange(side) for side in product.shape)
    total = np.abs(product).sum()

    def missed(slopes: np.ndarray) -> float:
        left = np.exp(-1j * slopes[0] * rows)
        return -abs(left @ product @ np.exp(-1j * slopes[1] * cols)) / total

    found = scipy.optimize.minimize(
        missed, start, method="Nelder-Mead", options={"xatol": 1e-9, "fatol": 1e-14}
    )
    return float(found.x[0]), float(found.x[1])
