"""A scan whose patterns stay in their file: what a scan too long for memory needs."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import h5py
import numpy as np

from ppn_tf.data.formats import cxi, hdf5, memory, ptychodus
from ppn_tf.data.formats.frames import Frames
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
    zero_frequency : {"centre", "corner"}
        Where it lies in the patterns.
    corners_px : (N, 2) float64
        Row and column of each window's corner; the smallest of each axis is 0.
    window_px : (int, int)
    positions_m : (N, 2) float64
        Centres of the windows, (y, x), as the scan has them.
    object_pixel_m : (float, float)
    mask : (H, W) bool or None
        True where the detector is valid, zero frequency at the centre; None where it is so
        everywhere.
    allow_filters : tuple of int
        HDF5 filters that the patterns may need beside `ppn_tf.data.formats.memory.FILTERS`.
    """

    path: Path
    key: str
    zero_frequency: str
    corners_px: np.ndarray
    window_px: tuple[int, int]
    positions_m: np.ndarray
    object_pixel_m: tuple[float, float]
    mask: np.ndarray | None
    allow_filters: tuple[int, ...] = ()


def of_pair(
    path: Path,
    known: Geometry,
    budget: memory.Budget,
    *,
    product: Path | str | None = None,
    patterns: Path | str | None = None,
    zero_frequency: str = "centre",
) -> Located:
    """Find patterns and positions of a ptychodus pair, and read no pattern.

    Parameters
    ----------
    path, known, budget, product, patterns, zero_frequency
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
        key, shape = _patterns(file, ptychodus.PATTERNS, zero_frequency, budget)
        valid = hdf5.dataset(file, ptychodus.MASK)
        mask = None
        if valid is not None:
            mask = memory.centred(hdf5.array(valid, budget).astype(bool), zero_frequency)
    # before the product, whose errors would hide it
    mask = _checked(pattern_path, mask, shape)
    # a stand-in that has the shape and no memory
    counts = np.broadcast_to(np.float32(0), shape)
    found = ptychodus.read_product(product_path, known, budget, counts, None, False)
    if found["frames"] is not None:
        raise DataError(
            f"{product_path}: {ptychodus.INDEXES[1:]} changes the order of the patterns: write "
            "them in the order of the positions, or read the scan whole"
        )
    found["mask"] = mask
    return _located(pattern_path, key, zero_frequency, shape, found, budget)


def of_cxi(
    path: Path,
    known: Geometry,
    budget: memory.Budget,
    *,
    position_frame: str | None = None,
    position_axes: str | None = None,
    zero_frequency: str | None = None,
) -> Located:
    """Find patterns and positions of a CXI file, and read no pattern.

    Parameters
    ----------
    path, known, budget, position_frame, position_axes, zero_frequency
        As for `ppn_tf.data.formats.cxi.read`.

    Raises
    ------
    OptionError, DataError
        As `read` does.
    """
    stated = cxi.stated_flags(path, position_frame, position_axes, zero_frequency)
    with hdf5.opened(path) as file:
        key, shape = _patterns(file, cxi.DATA, stated["zero_frequency"], budget)
        found = cxi.read_around(file, known, budget, shape, **stated)
    found["mask"] = _checked(path, found["mask"], shape)
    return _located(path, key, stated["zero_frequency"], shape, found, budget)


def _patterns(
    file: h5py.File, keys: tuple[str, ...], zero_frequency: str, budget: memory.Budget
) -> tuple[str, tuple[int, int, int]]:
    """Return key and shape (N, H, W)."""
    node = hdf5.first(file, keys, "patterns")
    return node.name, Frames(node, zero_frequency, budget.filters).shape


def _located(
    path: Path,
    key: str,
    zero_frequency: str,
    shape: tuple[int, int, int],
    found: dict[str, Any],
    budget: memory.Budget,
) -> Located:
    corners = found["positions_px"]
    return Located(
        path,
        key,
        zero_frequency,
        corners - corners.min(axis=0),
        shape[1:],
        found["positions_m"],
        found["object_pixel_m"],
        found["mask"],
        budget.filters,
    )


def _checked(path: Path, mask: np.ndarray | None, shape: tuple[int, ...]) -> np.ndarray | None:
    """Return the mask; None where it excludes nothing, so that no chunk applies it."""
    if mask is None:
        return None
    if mask.shape != shape[1:]:
        raise DataError(
            f"{path}: expected patterns (N, H, W) and a mask (H, W) if any, received "
            f"{shape} and {mask.shape}"
        )
    return None if mask.all() else mask
