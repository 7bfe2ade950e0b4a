"""Patches whose phase is known up to a constant each, stitched to one field.

A pattern does not hold the global phase of its own window, so that a network can only
give each patch a phase of its own zero. Where patches overlap, the constants follow from
each other: each patch is turned to the field that all of them make, again and again,
which maximises the sum of ``|overlap|`` of patches and field.
"""

from __future__ import annotations

import numpy as np

from ppn_tf import stitching
from ppn_tf.errors import OptionError

#: Largest turn of a patch in the last round, below which nothing moves any more [rad].
SETTLED_RAD = 1e-6


def stitch(
    patches: np.ndarray,
    positions_px: np.ndarray,
    field_shape: tuple[int, int],
    *,
    weights: np.ndarray,
    rounds: int = 200,
) -> tuple[stitching.StitchedField, np.ndarray]:
    """Turn patches to each other and return their weighted mean.

    Parameters
    ----------
    patches : (N, h, w) complex
    positions_px : (N, 2) integer (row, col)
        Top-left pixels.
    field_shape : (int, int)
    weights : (h, w) float
        Positive; see `ppn_tf.stitching.weights`.
    rounds : int
        Most rounds, at least 1.

    Returns
    -------
    field : StitchedField
        Its own global phase is arbitrary.
    turns_rad : (N,) float64
        Added to the phase of each patch.

    Raises
    ------
    OptionError
        For less than one round.
    DataError
        As `ppn_tf.stitching.stitch`.
    """
    if rounds < 1:
        raise OptionError(f"rounds must be at least 1, received {rounds}")
    turns = _first_turns(patches, positions_px, field_shape, weights)
    for _ in range(rounds):
        found = _turned(patches, turns, positions_px, field_shape, weights)
        # pixels outside all patches are NaN, and no patch looks at them
        windows = stitching.extract(found.field, positions_px, patches.shape[1:])
        overlap = (weights * np.conj(patches) * windows).sum(axis=(1, 2))
        new = np.angle(overlap)
        moved = np.angle(np.exp(1j * (new - turns)))
        turns = new
        if np.abs(moved - moved.mean()).max() < SETTLED_RAD:
            break
    return _turned(patches, turns, positions_px, field_shape, weights), turns


def _turned(
    patches: np.ndarray,
    turns_rad: np.ndarray,
    positions_px: np.ndarray,
    field_shape: tuple[int, int],
    weights: np.ndarray,
) -> stitching.StitchedField:
    turned = patches * np.exp(1j * turns_rad)[:, None, None]
    return stitching.stitch(turned, positions_px, field_shape, weights=weights)


def _first_turns(
    patches: np.ndarray,
    positions_px: np.ndarray,
    field_shape: tuple[int, int],
    weights: np.ndarray,
) -> np.ndarray:
    """Lay patches down one by one, each turned to those that lie there, the nearest first.

    A start far from the answer would leave domains of different phase.
    """
    height, width = patches.shape[1:]
    total = np.zeros(field_shape, np.complex128)
    turns = np.zeros(len(patches))
    middle = positions_px.mean(axis=0)
    left = list(range(len(patches)))
    current = min(left, key=lambda i: float(((positions_px[i] - middle) ** 2).sum()))
    laid: list[int] = []
    while left:
        row, col = positions_px[current]
        window = total[row : row + height, col : col + width]
        overlap = (weights * np.conj(patches[current]) * window).sum()
        turns[current] = float(np.angle(overlap)) if overlap else 0.0
        window += weights * patches[current] * np.exp(1j * turns[current])
        left.remove(current)
        laid.append(current)
        if left:
            away = ((positions_px[left][:, None] - positions_px[laid]) ** 2).sum(axis=-1)
            current = left[int(away.min(axis=1).argmin())]
    return turns
