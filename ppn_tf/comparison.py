"""Compare two reconstructions of one scan: scores on the scanned area, FRC.

What patterns leave open (global phase, on request scale and ramp) is taken out first.
"""

from __future__ import annotations

import dataclasses

import numpy as np
import scipy.spatial

from ppn_tf import metrics, phase, spectrum
from ppn_tf.errors import DataError, OptionError

#: What is taken out before the comparison.
ALIGNMENTS = ("none", "phase", "scale", "ramp")
#: A pixel is scanned if a window's centre is nearer than so many steps of the scan.
_REACH_STEPS = 1.5


@dataclasses.dataclass(frozen=True, eq=False)
class Comparison:
    """Two fields on one grid, cut to the area that both know.

    Attributes
    ----------
    found, reference : (rows, cols) complex128
        `found` is aligned.
    box : (slice, slice)
        Of the grid.
    scores : dict
        ``amplitude`` and ``phase``: ``psnr_db``, ``ssim`` and the ``data_range`` of both;
        ``relative_error`` of the complex field.
    frequency, frc : (n,) float64
        Over the axis Nyquist frequency, and the Fourier ring correlation of the fields.
    """

    found: np.ndarray
    reference: np.ndarray
    box: tuple[slice, slice]
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
    alignment : {"none", "phase", "scale", "ramp"}
        What is taken out: nothing, the global phase, also the amplitude's scale, also a
        phase ramp (free probe).

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
    known = np.isfinite(found) & np.isfinite(reference)
    box = inner_box(known & scanned(centres_px, known.shape))
    ours, theirs = found[box].astype(np.complex128), reference[box].astype(np.complex128)
    if alignment != "none":
        ours = phase.align(
            ours, theirs, scale=alignment in ("scale", "ramp"), ramp=alignment == "ramp"
        ).field
    frequency, frc = _frc(ours, theirs)
    true_phase = phase.unwrap(theirs)
    scores: dict[str, object] = {
        "amplitude": _scores(np.abs(ours), np.abs(theirs), "amplitude"),
        "phase": _scores(true_phase + np.angle(ours * np.conj(theirs)), true_phase, "phase"),
        "relative_error": float(np.linalg.norm(ours - theirs) / np.linalg.norm(theirs)),
        "frc_band": spectrum.widest_band(frequency, frc),
    }
    return Comparison(ours, theirs, box, scores, frequency, frc)


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
