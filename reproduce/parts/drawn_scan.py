"""A long scan for `reproduce/long_scan.py`: simulated row by row into an HDF5 file.

The object is the chart of 512 x 512 px over and over, so that a raster of any size fits and
no process holds more of it than the strip under one row. Nothing in here imports Keras.
"""

from __future__ import annotations

import contextlib
import functools
from pathlib import Path

import h5py
import numpy as np
from tqdm import tqdm

from ppn_tf import data
from ppn_tf.data import forward
from ppn_tf.errors import DataError
from ppn_tf.files import replacing
from ppn_tf.long_scan import LongScan
from ppn_tf.seeding import generator

#: Raised by hand when files hold something else: older ones are then made again.
VERSION = 1

#: Data sets of the file: counts (N, 32, 32) uint16, and rows and columns (N, 2) int32 [px].
PATTERNS, CORNERS = "/dp", "/corners_px"

STEP_PX = 8
JITTER_PX = 3

#: Poisson noise at the raw scale of object and probe, which networks are trained on.
NOISE = forward.NoiseModel("poisson at the raw scale", None, True, 0.0)


def made(path: Path, grid_shape: tuple[int, int]) -> LongScan:
    """Return a simulated scan; make its file where it is not there.

    Parameters
    ----------
    path : Path
    grid_shape : (int, int)
        Rows and columns of the raster. The first rows of two scans of as many columns are
        the same.

    Returns
    -------
    LongScan

    Raises
    ------
    SourceMissingError
        If the chart or the probe cannot be had.
    DataError
        For counts above what the file can hold.
    RecordError
        If the file cannot be written.
    """
    wanted = {"version": VERSION, "rows": grid_shape[0], "columns": grid_shape[1]}
    if _attributes(path) != wanted:
        _write(path, wanted)
    with h5py.File(path) as file:
        corners = file[CORNERS][:]
    return LongScan(path, PATTERNS, corners, field_shape(grid_shape))


def field_shape(grid_shape: tuple[int, int], window_px: int = 32) -> tuple[int, int]:
    """Return rows and columns of the field under a raster [px]."""
    rows, cols = ((count - 1) * STEP_PX + window_px + 2 * JITTER_PX for count in grid_shape)
    return rows, cols


def truth(top: int, bottom: int, columns: int) -> np.ndarray:
    """Return rows of the object.

    Parameters
    ----------
    top, bottom : int
        First row, and the row after the last [px].
    columns : int

    Returns
    -------
    (bottom - top, columns) complex64
    """
    chart = _chart()
    rows, cols = (np.arange(*ends) for ends in ((top, bottom), (0, columns)))
    return chart[np.ix_(rows % chart.shape[0], cols % chart.shape[1])]


@functools.lru_cache(maxsize=1)
def _chart() -> np.ndarray:
    return data.load_object("ltem").complex.astype(np.complex64)


def _attributes(path: Path) -> dict[str, int]:
    with contextlib.suppress(OSError, KeyError), h5py.File(path) as file:
        return {name: int(value) for name, value in file[PATTERNS].attrs.items()}
    return {}


def _write(path: Path, wanted: dict[str, int]) -> None:
    rows, columns = wanted["rows"], wanted["columns"]
    probe = data.load_probe("ltem").astype(np.complex64)
    side = probe.shape[0]
    width = field_shape((rows, columns), side)[1]
    grid = np.stack([np.full(columns, JITTER_PX), JITTER_PX + STEP_PX * np.arange(columns)], axis=1)
    with replacing(path) as temporary, h5py.File(temporary, "w") as file:
        counts = file.create_dataset(PATTERNS, (rows * columns, side, side), np.uint16)
        corners = file.create_dataset(CORNERS, (rows * columns, 2), np.int32)
        for row in tqdm(range(rows), desc="simulate", unit="row", leave=False):
            jitter = generator(0, "jitter", row).integers(
                -JITTER_PX, JITTER_PX, grid.shape, endpoint=True
            )
            here = slice(row * columns, (row + 1) * columns)
            top = row * STEP_PX
            corners[here] = grid + jitter + (top, 0)
            strip = truth(top, top + side + 2 * JITTER_PX, width)
            # the row is the seed of its noise
            found = forward.simulate(strip, probe, grid + jitter, NOISE, row)
            if found.max() > np.iinfo(np.uint16).max:
                raise DataError(
                    f"{path}: expected counts of at most 65535, received {found.max():.0f} in row "
                    f"{row}: store them as uint32"
                )
            counts[here] = found
        counts.attrs.update(wanted)
