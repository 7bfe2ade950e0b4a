"""npz archives within the budget of a scan: headers before arrays, and no pickled object."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from ppn_tf import npzfile
from ppn_tf.data.formats import memory


def rows(path: Path) -> list[tuple[str, tuple[int, ...], str]]:
    """List names, shapes and types from the headers; no array is read.

    Raises
    ------
    DataError
        If the file does not exist, is no npz file, or holds pickled objects.
    """
    return [(item.name, item.shape, str(item.dtype)) for item in npzfile.headers(path)]


def load(path: Path, budget: memory.Budget, factor: int = 1) -> dict[str, np.ndarray]:
    """Read all arrays, once their sizes are allowed for.

    Parameters
    ----------
    path : Path
    budget : Budget
    factor : int
        Copies of them that will be made, this one included.

    Raises
    ------
    DataError
        As `rows`, or if the sizes are above the limit.
    """

    def allow(header: npzfile.Header) -> None:
        budget.take(header.shape, factor * header.dtype.itemsize, f"{path}:{header.name}")

    return npzfile.read(path, allow=allow)
