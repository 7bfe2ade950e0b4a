"""A split in space for scans of any shape: a test block that shares no pixel with training."""

from __future__ import annotations

import dataclasses

import numpy as np

from ppn_tf import stitching
from ppn_tf.data.dataset import Dataset
from ppn_tf.errors import DataError, OptionError


@dataclasses.dataclass(frozen=True, eq=False)
class BlockedSplit:
    """Indices of the patches of each part, ascending; together all patches.

    Attributes
    ----------
    train, test : (n,) int64
    gap : (n,) int64
        Patches outside the test block that share a pixel with it; used by neither.
    """

    train: np.ndarray
    test: np.ndarray
    gap: np.ndarray


def blocked_split(dataset: Dataset, test_fraction: float = 0.2, axis: int = 0) -> BlockedSplit:
    """Take the far end of a scan as test block, and leave out what overlaps it.

    Parameters
    ----------
    dataset : Dataset
        Any scan.
    test_fraction : float
        Least share of the patches in the test block, above 0 and below 1; patches at
        the position where it begins all belong to it.
    axis : {0, 1}
        Along rows or columns.

    Returns
    -------
    BlockedSplit
        No pixel of the object lies in a training patch and in a test patch: computed
        from the positions.

    Raises
    ------
    OptionError
        For a share or an axis outside its range.
    DataError
        If nothing is left to train on.
    """
    if not 0 < test_fraction < 1 or axis not in (0, 1):
        raise OptionError(
            "test_fraction must be between 0 and 1 and axis 0 or 1, received "
            f"{test_fraction} and {axis}"
        )
    along = dataset.positions_px[:, axis]
    count = max(1, int(np.ceil(len(along) * test_fraction - 1e-9)))
    in_test = along >= np.sort(along)[len(along) - count]
    test = np.flatnonzero(in_test)
    touches = shared_pixels_per_patch(dataset, test) > 0
    train, gap = np.flatnonzero(~touches), np.flatnonzero(touches & ~in_test)
    if len(train) == 0:
        raise DataError(
            f"every one of the {len(along)} patches shares pixels with the test block of "
            f"{len(test)}: choose a smaller test_fraction, or a scan larger than its windows"
        )
    return BlockedSplit(train, test, gap)


def shared_pixels_per_patch(dataset: Dataset, block: np.ndarray) -> np.ndarray:
    """Count the pixels of every patch that some patch of a block covers.

    Parameters
    ----------
    dataset : Dataset
    block : (n,) integer
        Indices of the block's patches.

    Returns
    -------
    (N,) int64
    """
    window = dataset.patterns.shape[1:]
    ones = np.broadcast_to(np.float32(1), (len(block), *window))
    covered = stitching.accumulate(ones, dataset.positions_px[block], dataset.object_shape) > 0
    # a summed-area table: four look-ups a patch
    table = np.pad(covered.astype(np.int64).cumsum(axis=0).cumsum(axis=1), ((1, 0), (1, 0)))
    top, left = dataset.positions_px.astype(np.int64).T
    bottom, right = top + window[0], left + window[1]
    return table[bottom, right] - table[top, right] - table[bottom, left] + table[top, left]
