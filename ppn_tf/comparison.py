"""Compare two reconstructions of one scan: scores on the scanned area, FRC.

What patterns leave open (global phase, on request scale, ramp and shift) is taken out first.
"""

from __future__ import annotations

import dataclasses

import numpy as np
import scipy.ndimage
import scipy.spatial

from ppn_tf import metrics, phase, spectrum
from ppn_tf.errors import DataError, OptionError

#: What is taken out before the comparison.
ALIGNMENTS = ("none", "phase", "scale", "ramp", "shift")
#: A pixel is scanned if a window's centre is nearer than so many steps of the scan.
_REACH_STEPS = 1.5
#: A shift is found to 1 / 100 px, and again after it is taken out.
_SHIFT_UPSAMPLING = 100
_SHIFT_ROUNDS = 3
#: Pixels beside a hole that a cubic spline through it spoils.
_SPLINE_REACH_PX = 2


@dataclasses.dataclass(frozen=True, eq=False)
class Comparison:
    """Two fields on one grid, cut to the area that both know.

    Attributes
    ----------
    found, reference : (rows, cols) complex128
        `found` is aligned.
    box : (slice, slice)
        Of the grid.
    shift_px : (float, float)
        By how much `found` was moved along rows and columns; (0, 0) unless asked for.
    scores : dict
        ``amplitude`` and ``phase``: ``psnr_db``, ``ssim`` and the ``data_range`` of both;
        ``relative_error`` of the complex field.
    frequency, frc : (n,) float64
        Over the axis Nyquist frequency, and the Fourier ring correlation of the fields.
    """

    found: np.ndarray
    reference: np.ndarray
    box: tuple[slice, slice]
    shift_px: tuple[float, float]
    scores: dict[str, object]
    frequency: np.ndarray
    frc: np.ndarray


def compare(
    found: np.ndarray, reference: np.ndarray, centres_px: np.ndarray, alignment: str = "phase"
) -> Comparison:
    """Compare a field with a reference.

    Parameters
    ----------
    found, reference : (rows, cols) complex
        On one grid; NaN where nothing is known.
    centres_px : (N, 2) float
        Centres of the scan's windows, which say what was scanned.
    alignment : {"none", "phase", "scale", "ramp", "shift"}
        What is taken out: nothing, the global phase, also the amplitude's scale, also a
        phase ramp, also a shift (the last two: free probe).

    Returns
    -------
    Comparison

    Raises
    ------
    OptionError
        For another alignment.
    DataError
        If the two share no scanned area of at least 8 x 8 px, or the reference is plain.

    Notes
    -----
    The data range of a score is that of the reference within the box. Phase is compared
    as the reference's phase plus the angle between the two, so that no wrap counts.
    """
    if alignment not in ALIGNMENTS:
        raise OptionError(
            f"alignment: expected one of {', '.join(ALIGNMENTS)}, received {alignment!r}"
        )
    region = np.isfinite(reference) & scanned(centres_px, reference.shape)
    shift_px = (0.0, 0.0)
    if alignment == "shift":
        found, shift_px = _registered(found, reference, region)
    box = inner_box(np.isfinite(found) & region)
    ours, theirs = found[box].astype(np.complex128), reference[box].astype(np.complex128)
    if alignment != "none":
        ours = phase.align(
            ours, theirs, scale=alignment != "phase", ramp=alignment in ("ramp", "shift")
        ).field
    frequency, frc = _frc(ours, theirs)
    true_phase = phase.unwrap(theirs)
    scores: dict[str, object] = {
        "amplitude": _scores(np.abs(ours), np.abs(theirs), "amplitude"),
        "phase": _scores(true_phase + np.angle(ours * np.conj(theirs)), true_phase, "phase"),
        "relative_error": float(np.linalg.norm(ours - theirs) / np.linalg.norm(theirs)),
        "frc_band": spectrum.widest_band(frequency, frc),
    }
    return Comparison(ours, theirs, box, shift_px, scores, frequency, frc)


def scanned(centres_px: np.ndarray, shape: tuple[int, ...]) -> np.ndarray:
    """Return which pixels lie near a window's centre, (rows, cols) bool.

    Near is 1.5 times the median distance of a centre to its fourth neighbour.
    """
    tree = scipy.spatial.cKDTree(centres_px)
    if len(centres_px) < 2:
        raise DataError("expected at least two positions to know what was scanned, received one")
    # the fourth neighbour: one step on a raster, and no pair that lies close by chance elsewhere
    near = tree.query(centres_px, k=min(5, len(centres_px)))[0]
    step = float(np.median(near[:, -1]))
    pixels = np.stack(np.indices(shape), axis=-1).reshape(-1, 2) + 0.5
    return (tree.query(pixels)[0] <= _REACH_STEPS * step).reshape(shape)


def inner_box(region: np.ndarray) -> tuple[slice, slice]:
    """Return a box that lies wholly in a region: its bounding box, shrunk from the worst sides.

    Raises
    ------
    DataError
        If less than 8 x 8 px are left.
    """
    rows, cols = np.flatnonzero(region.any(axis=1)), np.flatnonzero(region.any(axis=0))
    if len(rows) and len(cols):
        top, bottom, left, right = rows[0], rows[-1] + 1, cols[0], cols[-1] + 1
        while bottom - top >= 8 and right - left >= 8:
            part = region[top:bottom, left:right]
            if part.all():
                return slice(int(top), int(bottom)), slice(int(left), int(right))
            # share of each side that is missing
            missing = [1 - side.mean() for side in (part[0], part[-1], part[:, 0], part[:, -1])]
            worst = int(np.argmax(missing))
            if missing[worst] == 0:
                break  # a hole inside: nothing to gain from the sides
            top, bottom = top + (worst == 0), bottom - (worst == 1)
            left, right = left + (worst == 2), right - (worst == 3)
    raise DataError(
        "the two reconstructions share no scanned area of 8 x 8 px without holes: are they of one "
        "scan?"
    )


def _registered(
    found: np.ndarray, reference: np.ndarray, region: np.ndarray
) -> tuple[np.ndarray, tuple[float, float]]:
    """Return `found` moved onto the reference, and by how many rows and columns.

    The peak of the cross-correlation, Guizar-Sicairos et al., Optics Letters 33 (2008) 156,
    DOI 10.1364/OL.33.000156, as scikit-image has it.
    """
    from skimage.registration import phase_cross_correlation

    total = np.zeros(2)
    moved = found
    for _ in range(_SHIFT_ROUNDS):
        box = inner_box(np.isfinite(moved) & region)
        aligned = phase.align(moved[box], reference[box], ramp=True)
        taper = np.outer(*(np.hanning(side + 2)[1:-1] for side in aligned.field.shape))
        ours, theirs = ((part - part.mean()) * taper for part in (aligned.field, reference[box]))
        step = phase_cross_correlation(
            theirs, ours, upsample_factor=_SHIFT_UPSAMPLING, normalization=None
        )[0]
        if not step.any():
            break
        total += step
        # a ramp would be lost between pixels
        rows, cols = np.indices(found.shape)
        slopes = aligned.ramp_rad_per_px
        found = found * np.exp(1j * (slopes[0] * rows + slopes[1] * cols))
        moved = _moved(found, total)
    return moved, (float(total[0]), float(total[1]))


def _moved(field: np.ndarray, shift_px: np.ndarray) -> np.ndarray:
    """Return a field moved between pixels, NaN where that needs what is not known."""
    if not shift_px.any():
        return field
    known = np.isfinite(field)
    filled = np.where(known, field, field[known].mean())
    there = scipy.ndimage.binary_erosion(known, iterations=_SPLINE_REACH_PX, border_value=1)
    inside = scipy.ndimage.shift(there.astype(float), shift_px, order=1) > 0.999
    moved = scipy.ndimage.shift(filled, shift_px, order=3, mode="nearest")
    return np.where(inside, moved, np.nan)


def _scores(ours: np.ndarray, theirs: np.ndarray, name: str) -> dict[str, float]:
    data_range = float(theirs.max() - theirs.min())
    if not data_range > 0:
        raise DataError(f"the reference's {name} is plain: there is no range to score against")
    found = metrics.psnr(ours, theirs, data_range=data_range)
    return {
        # equal fields: infinite, which JSON cannot hold
        "psnr_db": found if np.isfinite(found) else None,  # type: ignore[dict-item]
        "ssim": metrics.ssim(ours, theirs, data_range=data_range, convention="field"),
        "data_range": data_range,
    }


def _frc(ours: np.ndarray, theirs: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return the correlation of the middle squares, without their means, tapered."""
    side = min(ours.shape)
    start = [(have - side) // 2 for have in ours.shape]
    square = tuple(slice(first, first + side) for first in start)
    taper = np.hanning(side + 2)[1:-1]
    parts = []
    for field in (ours, theirs):
        cut = field[square]
        parts.append((cut - cut.mean()) * taper[:, None] * taper)
    return spectrum.fourier_ring_correlation(*parts)
