"""Pieces of a field: sums of patches over boxes, whose phases may be turned to each other.

Patches whose phase counts from a zero of their own are turned to each other within a chunk.
Chunks are then known up to a constant each, and a long one of few rows bends: errors of
turns add up along it. So a chunk leaves pieces of `TILE_WINDOWS` windows a side, and all
pieces of a scan are turned to each other where they overlap, as patches are
(`ppn_tf.synchronising`). Nothing in here imports Keras.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Sequence

import numpy as np
import scipy.sparse

from ppn_tf import synchronising
from ppn_tf.field_sum import FieldSum

#: Side of a piece, in windows: a smaller one bends less, a larger one takes less room.
TILE_WINDOWS = 8


@dataclasses.dataclass(frozen=True, eq=False)
class Piece:
    """Sums over a box of the field.

    Attributes
    ----------
    totals : (channels, rows, cols) float64
        Of amplitude and phase [rad]; or, to be turned, of amplitude, real and imaginary part.
    weight_sum : (rows, cols) float64
    origin : (int, int)
        Row and column of the box's first pixel on the field.
    """

    totals: np.ndarray
    weight_sum: np.ndarray
    origin: tuple[int, int]

    @classmethod
    def of(
        cls,
        patches: np.ndarray,
        corners_px: np.ndarray,
        weights: np.ndarray,
        shape: tuple[int, int],
    ) -> Piece:
        """Add patches up over the box that they cover.

        Parameters
        ----------
        patches : (N, channels, h, w) real
        corners_px : (N, 2) float (row, col)
            On the field.
        weights : (h, w) float
        shape : (int, int)
            Rows and columns of the field.

        Raises
        ------
        DataError
            As `FieldSum.add`; windows that leave the field are refused.
        """
        low = np.maximum(np.floor(corners_px.min(axis=0)), 0).astype(int)
        high = np.minimum(np.ceil(corners_px.max(axis=0)) + weights.shape, shape).astype(int)
        rows, cols = np.maximum(high - low, 0).tolist()
        total = FieldSum((rows, cols), weights, patches.shape[1])
        total.add(patches, corners_px - low)
        return cls(total.totals, total.weight_sum, (int(low[0]), int(low[1])))

    @property
    def needs_turn(self) -> bool:
        """Whether its phase counts from a zero of its own."""
        return len(self.totals) == 3

    @property
    def ends(self) -> tuple[int, int]:
        """Row and column after the box's last pixel."""
        rows, cols = self.weight_sum.shape
        return self.origin[0] + rows, self.origin[1] + cols

    def within(self, top: int, bottom: int) -> Piece:
        """Return a copy of what lies in some rows of the field."""
        row = self.origin[0]
        kept = slice(max(top - row, 0), max(bottom - row, 0))
        totals, weight_sum = self.totals[:, kept].copy(), self.weight_sum[kept].copy()
        return Piece(totals, weight_sum, (max(row, top), self.origin[1]))

    def turned(self, turn: complex) -> Piece:
        """Return the piece, its complex values if it has some times a number of modulus 1."""
        if not self.needs_turn:
            return self
        amplitude, real, imaginary = self.totals
        values = (real + 1j * imaginary) * turn
        return dataclasses.replace(self, totals=np.stack([amplitude, values.real, values.imag]))

    def add_to(self, totals: np.ndarray, weight_sum: np.ndarray, top: int) -> None:
        """Add it to sums over rows of the field, (channels, rows, cols), the first being `top`."""
        (row, col), (bottom, right) = self.origin, self.ends
        box = (slice(row - top, bottom - top), slice(col, right))
        totals[(slice(None), *box)] += self.totals
        weight_sum[box] += self.weight_sum


def turned(
    amplitude: np.ndarray,
    phase_rad: np.ndarray,
    corners_px: np.ndarray,
    weights: np.ndarray,
    shape: tuple[int, int],
) -> list[Piece]:
    """Turn the patches of a chunk to each other and return its pieces.

    Parameters
    ----------
    amplitude, phase_rad : (N, h, w) float
    corners_px, weights, shape
        See `Piece.of`.

    Raises
    ------
    DataError
        As `Piece.of` and `ppn_tf.synchronising.turns_rad`.
    """
    patches = amplitude * np.exp(1j * phase_rad)
    turns, island = synchronising.turns_rad(patches, corners_px, weights)
    patches = patches * np.exp(1j * turns)[:, None, None]
    values = np.stack([amplitude, patches.real, patches.imag], axis=1)
    tile = np.floor(corners_px / (TILE_WINDOWS * np.array(weights.shape))).astype(int)
    kinds, which = np.unique(np.column_stack([island, tile]), axis=0, return_inverse=True)
    members = (which.ravel() == kind for kind in range(len(kinds)))
    return [Piece.of(values[one], corners_px[one], weights, shape) for one in members]


def turns(bands: Iterable[Sequence[tuple[int, Piece]]], count: int) -> tuple[np.ndarray, int]:
    """Return what each piece is multiplied by, so that all agree best.

    Parameters
    ----------
    bands : iterable of sequences of (int, Piece)
        What lies of the pieces in each of the bands that make up the field, with the
        number of the piece.
    count : int
        Pieces in all.

    Returns
    -------
    turns : (count,) complex128
        Of modulus 1; the mean phase of the field is then 0.
    islands : int
        Groups of pieces without an overlap between them.
    """
    upper = scipy.sparse.csr_matrix((count, count), dtype=np.complex128)
    mean = np.zeros(count, np.complex128)
    for band in filter(None, bands):
        numbers = np.array([number for number, _ in band], dtype=int)
        pieces = [piece for _, piece in band]
        shared, sums = _shared(pieces)
        mean[numbers] += sums
        rows, cols, products = (np.array(x) for x in zip(*_products(pieces, shared), strict=True))
        places = (numbers[rows], numbers[cols])
        upper += scipy.sparse.csr_matrix((products, places), shape=(count, count))
    overlaps = upper + scipy.sparse.triu(upper, 1).conj().T
    found, island = synchronising.directions(overlaps.tocsr())
    return found * np.exp(-1j * np.angle((found * mean).sum())), int(island.max()) + 1


def _shared(pieces: Sequence[Piece]) -> tuple[list[np.ndarray], np.ndarray]:
    """Return pieces times their share of the field, and what each adds to its sum."""
    low = np.min([piece.origin for piece in pieces], axis=0)
    high = np.max([piece.ends for piece in pieces], axis=0)
    weight = np.zeros(high - low)
    boxes = [
        tuple(slice(a, b) for a, b in zip(piece.origin - low, piece.ends - low, strict=True))
        for piece in pieces
    ]
    for piece, box in zip(pieces, boxes, strict=True):
        weight[box] += piece.weight_sum
    share = np.divide(1, np.sqrt(weight), out=np.zeros_like(weight), where=weight > 0)
    shared = [
        (piece.totals[1] + 1j * piece.totals[2]) * share[box]
        for piece, box in zip(pieces, boxes, strict=True)
    ]
    sums = [(one * share[box]).sum() for one, box in zip(shared, boxes, strict=True)]
    return shared, np.array(sums)


def _products(
    pieces: Sequence[Piece], shared: Sequence[np.ndarray]
) -> list[tuple[int, int, complex]]:
    """Return row, column and value of the upper triangle of `C`, of the pieces that overlap."""
    first = np.array([piece.origin for piece in pieces]).reshape(-1, 2)
    last = np.array([piece.ends for piece in pieces]).reshape(-1, 2)
    found = []
    for one in range(len(pieces)):
        low, high = np.maximum(first, first[one]), np.minimum(last, last[one])
        overlap = (high > low).all(axis=1)
        for other in (np.flatnonzero(overlap[one:]) + one).tolist():
            a, b = (
                _cut(shared[k], low[other] - first[k], high[other] - first[k]) for k in (one, other)
            )
            found.append((one, other, complex(np.vdot(a, b))))
    return found


def _cut(values: np.ndarray, low: np.ndarray, high: np.ndarray) -> np.ndarray:
    return values[low[0] : high[0], low[1] : high[1]]
