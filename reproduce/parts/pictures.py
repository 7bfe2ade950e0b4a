"""Which part of a picture to enlarge, and its limits: decided by the truth alone."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from matplotlib.axes import Axes

#: Colour of the boxes, as in the paper.
BOX = "#E4002B"

#: Rows and columns of a rectangle.
Box = tuple[slice, slice]


def limits(truth: np.ndarray) -> tuple[float, float]:
    """Return the limits of a picture: all but the outermost percent of the truth at each end."""
    low, high = np.nanpercentile(truth, (1, 99))
    return float(low), float(high) if high > low else float(low) + 1.0


def mark(axes: Axes, box: Box) -> None:
    """Draw the border of a rectangle."""
    from matplotlib.patches import Rectangle

    rows, cols = box
    corner = (cols.start - 0.5, rows.start - 0.5)
    size = (cols.stop - cols.start, rows.stop - rows.start)
    axes.add_patch(Rectangle(corner, *size, fill=False, edgecolor=BOX, linewidth=0.8))


def finest(truth: np.ndarray, side_px: int) -> Box:
    """Return the square in which a picture has most detail: largest mean squared gradient.

    Parameters
    ----------
    truth : (rows, cols) float
        NaN where there is nothing; the square has none.
    side_px : int
        At most the shorter side.
    """
    side_px = min(side_px, *truth.shape)
    gradient = np.gradient(truth)
    detail = gradient[0] ** 2 + gradient[1] ** 2
    table = np.pad(np.where(np.isnan(detail), -1e9, detail).cumsum(0).cumsum(1), ((1, 0), (1, 0)))
    n = side_px
    sums = table[n:, n:] - table[:-n, n:] - table[n:, :-n] + table[:-n, :-n]
    row, col = np.unravel_index(int(sums.argmax()), sums.shape)
    return slice(int(row), int(row) + n), slice(int(col), int(col) + n)
