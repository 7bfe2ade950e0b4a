"""Which patches train and which test, and what the two share.

All regions are those of the paper's 61 x 61 raster. A patch is 32 px wide and
the step 8 px, so that patches of neighbouring rows share pixels: what a region
shares with training is computed here, from the true positions.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping
from types import MappingProxyType

import numpy as np

from ppn_tf.data.dataset import Dataset
from ppn_tf.errors import DataError, OptionError
from ppn_tf.seeding import generator

#: The raster that the regions are defined on.
GRID_SHAPE = (61, 61)
#: Raster rows whose patches train, all columns: 48 x 61 = 2928 patches.
TRAIN_ROWS = range(0, 48)

_TEST = range(48, 61)
_ALL = range(0, 61)
#: Raster rows and columns of each test region; "gap" is computed, see `region_indices`.
REGIONS: Mapping[str, tuple[range, range]] = MappingProxyType(
    {
        "lower-left": (_TEST, range(0, 13)),
        "lower-right": (_TEST, range(48, 61)),
        "rows": (_TEST, _ALL),
        "first-release": (range(13, 61), range(13, 61)),
        "gap": (_TEST, _ALL),
    }
)


@dataclasses.dataclass(frozen=True)
class SharedPixels:
    """What a test region shares with training.

    Attributes
    ----------
    patch_pixels_shared_fraction : float
        Share of the pixels of the region's patches, counted patch by patch,
        that some training patch covers too.
    field_pixels_shared_fraction : float
        Share of the object's pixels that the region covers, each counted
        once, that some training patch covers too.
    patches_in_training : int
        Patches of the region that are training patches themselves.
    """

    patch_pixels_shared_fraction: float
    field_pixels_shared_fraction: float
    patches_in_training: int


def train_indices(dataset: Dataset) -> np.ndarray:
    """Return the indices of the training patches, (2928,) int64, ascending.

    Raises
    ------
    DataError
        If the data set is not on the 61 x 61 raster.
    """
    _check_grid(dataset)
    return _block(TRAIN_ROWS, _ALL)


def region_indices(dataset: Dataset, region: str) -> np.ndarray:
    """Return the indices of the patches of a test region.

    Parameters
    ----------
    dataset : Dataset
        On the 61 x 61 raster.
    region : str
        One of `REGIONS`. ``"lower-left"`` is the test area of the authors'
        release, ``"first-release"`` that of its first public version;
        ``"gap"`` is ``"rows"`` less every patch that shares a pixel with a
        training patch, computed from the true positions so that jitter counts.

    Returns
    -------
    (n,) int64
        Ascending.

    Raises
    ------
    OptionError
        For an unknown region.
    DataError
        If the data set is not on the 61 x 61 raster.
    """
    _check_region(region)
    _check_grid(dataset)
    indices = _block(*REGIONS[region])
    if region == "gap":
        covered = _coverage(dataset, train_indices(dataset))
        indices = indices[_pixels_in(covered, dataset, indices) == 0]
    return indices


def split_validation(
    indices: np.ndarray, seed: int, fraction: float = 0.05
) -> tuple[np.ndarray, np.ndarray]:
    """Shuffle and hold out the last part for validation.

    Parameters
    ----------
    indices : (n,) integer
        Training patches.
    seed : int
        Seed of the run.
    fraction : float
        Share held out, above 0 and below 1. As in Keras the training part is
        rounded down: 2928 patches give 2781 and 147.

    Returns
    -------
    (train, validation) : two arrays
        In the shuffled order.

    Raises
    ------
    OptionError
        If a part would be empty.
    """
    indices = np.asarray(indices)
    kept = int(math.floor(len(indices) * (1.0 - fraction)))
    if not 0 < fraction < 1 or not 0 < kept < len(indices):
        raise OptionError(
            f"a validation share of {fraction} of {len(indices)} patches leaves a part empty: "
            "expected a fraction between 0 and 1 and at least 2 patches"
        )
    shuffled = generator(seed, "validation").permutation(indices)
    return shuffled[:kept], shuffled[kept:]


def subsample(indices: np.ndarray, count: int, seed: int) -> np.ndarray:
    """Draw `count` of the indices without replacement, for reduced training sets.

    With one seed smaller draws are parts of larger ones, so that training
    sizes are compared on nested sets.

    Parameters
    ----------
    indices : (n,) integer
        Patches to draw from.
    count : int
        How many, from 1 to n.
    seed : int
        Seed of the run.

    Returns
    -------
    (count,) array
        Ascending where `indices` are.

    Raises
    ------
    OptionError
        If `count` is below 1 or above n.
    """
    indices = np.asarray(indices)
    if not 1 <= count <= len(indices):
        raise OptionError(
            f"count must be from 1 to the {len(indices)} patches there are, received {count}"
        )
    # a part of its own of the validation stream: the split stays as it is at full size
    order = generator(seed, "validation", 1).permutation(len(indices))
    return indices[np.sort(order[:count])]


def shared_pixels(dataset: Dataset, region: str) -> SharedPixels:
    """Measure what a test region shares with the training patches.

    Parameters
    ----------
    dataset : Dataset
        On the 61 x 61 raster.
    region : str
        One of `REGIONS`.

    Returns
    -------
    SharedPixels

    Raises
    ------
    OptionError, DataError
        As `region_indices` does; DataError also for a region without patches,
        which a large jitter can make of ``"gap"``.
    """
    indices = region_indices(dataset, region)
    if indices.size == 0:
        raise DataError(f"the region {region!r} holds no patch at these positions")
    training = train_indices(dataset)
    covered = _coverage(dataset, training)
    field = _coverage(dataset, indices)
    pixels = indices.size * math.prod(dataset.patterns.shape[1:])
    return SharedPixels(
        float(_pixels_in(covered, dataset, indices).sum() / pixels),
        float((covered & field).sum() / field.sum()),
        int(np.isin(indices, training).sum()),
    )


def _block(rows: range, cols: range) -> np.ndarray:
    index = np.arange(GRID_SHAPE[0] * GRID_SHAPE[1]).reshape(GRID_SHAPE)
    return index[rows.start : rows.stop, cols.start : cols.stop].ravel()


def _check_region(region: str) -> None:
    if region not in REGIONS:
        raise OptionError(f"unknown region {region!r}: expected one of {', '.join(REGIONS)}")


def _check_grid(dataset: Dataset) -> None:
    if dataset.grid_shape != GRID_SHAPE:
        raise DataError(
            f"the paper's split is defined on a raster of {GRID_SHAPE[0]} x {GRID_SHAPE[1]}, "
            f"received grid_shape {dataset.grid_shape}: use a step of 8 px on 512 px, take the "
            "split before a subset, or choose indices of your own"
        )


def _corners(dataset: Dataset, indices: np.ndarray) -> tuple[np.ndarray, ...]:
    top, left = dataset.positions_px[indices].astype(np.int64).T
    height, width = dataset.patterns.shape[1:]
    return top, left, top + height, left + width


def _coverage(dataset: Dataset, indices: np.ndarray) -> np.ndarray:
    """Mask of the object's pixels that at least one of the patches covers."""
    rows, cols = dataset.object_shape
    top, left, bottom, right = _corners(dataset, indices)
    # a rectangle is four corner marks, summed up along both axes
    marks = np.zeros((rows + 1, cols + 1), dtype=np.int64)
    np.add.at(marks, (top, left), 1)
    np.add.at(marks, (bottom, right), 1)
    np.add.at(marks, (top, right), -1)
    np.add.at(marks, (bottom, left), -1)
    return marks.cumsum(axis=0).cumsum(axis=1)[:rows, :cols] > 0


def _pixels_in(mask: np.ndarray, dataset: Dataset, indices: np.ndarray) -> np.ndarray:
    """Count the pixels of each patch that lie in the mask, by a summed-area table."""
    table = np.pad(mask.astype(np.int64).cumsum(axis=0).cumsum(axis=1), ((1, 0), (1, 0)))
    top, left, bottom, right = _corners(dataset, indices)
    return table[bottom, right] - table[top, right] - table[bottom, left] + table[top, left]
