"""The weighted sums behind a stitched field, added to chunk by chunk.

Nothing in here imports Keras. A patch at a fractional position is shared between the four
whole-pixel positions around it, with bilinear weights, as ptychodus does it; at whole
pixels this is `ppn_tf.stitching.stitch`.
"""

from __future__ import annotations

import itertools

import numpy as np

from ppn_tf import stitching
from ppn_tf.errors import DataError

#: Positions nearer to a whole pixel than this count as whole: rounding of metres to pixels.
_WHOLE_PX = 1e-6


class FieldSum:
    """Sums of patches times weights, and of the weights, over a grid.

    Sums of parts of a scan add up (`add_sum`), in any order, to those of the whole scan.

    Parameters
    ----------
    shape : (int, int)
        Rows and columns of the grid [px].
    weights : (h, w) float
        Positive weight of each pixel of a patch, see `ppn_tf.stitching.weights`.
    channels : int
        Pictures that a patch holds, such as amplitude and phase.
    """

    def __init__(self, shape: tuple[int, int], weights: np.ndarray, channels: int = 1) -> None:
        weights = np.asarray(weights, dtype=np.float64)
        if weights.ndim != 2 or not (np.isfinite(weights).all() and weights.min() > 0):
            raise DataError(
                f"weights must be (h, w), finite and above 0, received shape {weights.shape}"
            )
        self.shape = (int(shape[0]), int(shape[1]))
        self.weights = weights
        self.totals = np.zeros((channels, *self.shape))
        self.weight_sum = np.zeros(self.shape)

    def add(self, patches: np.ndarray, corners_px: np.ndarray) -> None:
        """Add patches.

        Parameters
        ----------
        patches : (N, channels, h, w) real
        corners_px : (N, 2) float
            Row and column of each patch's top-left corner; windows may leave the grid
            by less than a pixel, where the outermost row or column is dropped.

        Raises
        ------
        DataError
            For shapes that do not belong together, NaN, or windows outside the grid.
        """
        patches, corners = np.asarray(patches), np.asarray(corners_px, dtype=np.float64)
        expected = (len(corners), len(self.totals), *self.weights.shape)
        if corners.shape != (len(patches), 2) or patches.shape != expected:
            raise DataError(
                f"expected patches (N, {', '.join(map(str, expected[1:]))}) and positions (N, 2) "
                f"with one N, received shapes {patches.shape} and {corners.shape}"
            )
        if len(patches) == 0:
            return
        self._check_inside(corners)
        near = np.round(corners)
        corners = np.where(np.abs(corners - near) < _WHOLE_PX, near, corners)
        first = np.floor(corners).astype(np.int64)
        # one more row and column, for the part that reaches into the next pixel
        origin = first.min(axis=0)
        box = tuple((first.max(axis=0) - origin + self.weights.shape + 1).tolist())
        parts = self._accumulated(patches, corners - first, first - origin, box)
        self._put(parts, origin)

    def add_sum(self, other: FieldSum) -> None:
        """Add the sums of another part of the same scan.

        Raises
        ------
        DataError
            If it belongs to another grid.
        """
        if other.totals.shape != self.totals.shape:
            raise DataError(
                f"sums of shape {self.totals.shape} and {other.totals.shape} do not add up"
            )
        self.totals += other.totals
        self.weight_sum += other.weight_sum

    @property
    def coverage(self) -> np.ndarray:
        """(rows, cols) bool, True where at least one patch lies."""
        return self.weight_sum > 0

    def fields(self) -> np.ndarray:
        """Return the weighted means, (channels, rows, cols) float64; NaN without a patch."""
        found = np.full(self.totals.shape, np.nan)
        np.divide(self.totals, self.weight_sum, out=found, where=self.coverage[None])
        return found

    def _check_inside(self, corners: np.ndarray) -> None:
        ends = corners + self.weights.shape
        outside = ~((corners > -1) & (ends < np.array(self.shape) + 1)).all(axis=1)
        if outside.any():
            index = int(np.argmax(outside))
            raise DataError(
                f"{int(outside.sum())} of {len(corners)} patches of {self.weights.shape[0]} x "
                f"{self.weights.shape[1]} px leave the grid of {self.shape[0]} x {self.shape[1]} "
                f"px; the first is number {index} at (row, col) = {tuple(corners[index].tolist())}"
            )

    def _accumulated(
        self,
        patches: np.ndarray,
        fraction: np.ndarray,
        first: np.ndarray,
        box: tuple[int, int],
    ) -> np.ndarray:
        """Return the totals of each channel and the sum of weights within `box`."""
        parts = np.zeros((len(self.totals) + 1, *box))
        for shift in itertools.product((0, 1), (0, 1)):
            share = np.where(shift, fraction, 1 - fraction).prod(axis=1)
            used = share > 0
            if not used.any():
                continue
            weights = share[used, None, None] * self.weights
            corners = first[used] + shift
            for channel in range(len(self.totals)):
                values = patches[used, channel] * weights
                parts[channel] += stitching.accumulate(values, corners, box)
            parts[-1] += stitching.accumulate(weights, corners, box)
        return parts

    def _put(self, parts: np.ndarray, origin: np.ndarray) -> None:
        """Add the box at `origin`, less what lies beyond the grid (under a pixel)."""
        low = np.maximum(origin, 0)
        high = np.minimum(origin + parts.shape[1:], self.shape)
        target = tuple(slice(a, b) for a, b in zip(low, high, strict=True))
        source = tuple(slice(a, b) for a, b in zip(low - origin, high - origin, strict=True))
        self.totals[(slice(None), *target)] += parts[(slice(0, -1), *source)]
        self.weight_sum[target] += parts[(-1, *source)]
