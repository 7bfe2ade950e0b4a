"""A scan whose patterns stay in their file: what a scan too long for memory needs."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import numpy as np

from ppn_tf.data.formats import hdf5, memory, ptychodus
from ppn_tf.data.formats.scan import Geometry
from ppn_tf.errors import DataError


@dataclasses.dataclass(frozen=True, eq=False)
class Located:
    """A scan whose patterns stay in their file.

    Attributes
    ----------
    path : Path
    key : str
        Data set of the patterns.
    corners_px : (N, 2) float64
        Row and column of each window's corner; the smallest of each axis is 0.
    window_px : (int, int)
    positions_m : (N, 2) float64
        Centres of the windows, (y, x), as the product has them.
    object_pixel_m : (float, float)
    mask : (H, W) bool or None
        True where the detector is valid; None where it is so everywhere.
    """

    path: Path
    key: str
    corners_px: np.ndarray
    window_px: tuple[int, int]
    positions_m: np.ndarray
    object_pixel_m: tuple[float, float]
    mask: np.ndarray | None


def locate(
    path: Path,
    known: Geometry,
    budget: memory.Budget,
    *,
    product: Path | str | None = None,
    patterns: Path | str | None = None,
) -> Located:
    """Find patterns and positions of the pair, and read no pattern.

    Parameters
    ----------
    path, known, budget, product, patterns
        As for `ppn_tf.data.formats.ptychodus.read`.

    Raises
    ------
    DataError
        As `read` does; and for frames that are not in the order of the positions.
    OptionError
        If a file of the pair is missing, or a pixel size is.
    """
    pattern_path, product_path = ptychodus.pair(path, product, patterns)
    with hdf5.opened(pattern_path) as file:
        source = hdf5.first(file, ptychodus.PATTERNS, "patterns")
        key, shape = source.name, source.shape
        valid = hdf5.dataset(file, ptychodus.MASK)
        mask = None if valid is None else hdf5.array(valid, budget).astype(bool)
    if len(shape) != 3 or (mask is not None and mask.shape != shape[1:]):
        raise DataError(
            f"{pattern_path}: expected patterns (N, H, W) and a mask (H, W) if any, received "
            f"{shape} and {None if mask is None else mask.shape}"
        )
    # a stand-in that has the shape and no memory
    counts = np.broadcast_to(np.float32(0), shape)
    found = ptychodus.read_product(product_path, known, budget, counts, None, False)
    if found["frames"] is not None:
        raise DataError(
            f"{product_path}: {ptychodus.INDEXES[1:]} changes the order of the patterns: write "
            "them in the order of the positions, or read the scan whole"
        )
    if mask is not None and mask.all():
        # nothing to apply to every chunk
        mask = None
    corners = found["positions_px"] - found["positions_px"].min(axis=0)
    positions_m, pixel_m = found["positions_m"], found["object_pixel_m"]
    return Located(pattern_path, key, corners, shape[1:], positions_m, pixel_m, mask)
