"""npz archives: headers before arrays, and no pickled object."""

from __future__ import annotations

import zipfile
from pathlib import Path

import numpy as np

from ppn_tf.data.formats import memory
from ppn_tf.errors import DataError


def rows(path: Path) -> list[tuple[str, tuple[int, ...], str]]:
    """List names, shapes and types from the headers; no array is read.

    Raises
    ------
    DataError
        If the file does not exist, is no npz file, or holds pickled objects.
    """
    if not path.is_file():
        raise DataError(f"{path} does not exist: check the path")
    found = []
    try:
        with zipfile.ZipFile(path) as archive:
            for name in archive.namelist():
                if not name.endswith(".npy"):
                    continue
                with archive.open(name) as stream:
                    version = np.lib.format.read_magic(stream)
                    header = {
                        (1, 0): np.lib.format.read_array_header_1_0,
                        (2, 0): np.lib.format.read_array_header_2_0,
                    }[version](stream)
                if header[2].hasobject:
                    raise DataError(
                        f"{path}: key {name[:-4]!r} holds pickled objects, which can run code: "
                        "save it again as numbers"
                    )
                found.append((name[:-4], tuple(header[0]), str(header[2])))
    except (OSError, ValueError, EOFError, KeyError, zipfile.BadZipFile) as error:
        if isinstance(error, DataError):
            raise
        raise DataError(f"{path} cannot be read as npz ({error})") from error
    return found


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
    for name, shape, dtype in rows(path):
        budget.take(shape, factor * np.dtype(dtype).itemsize, f"{path}:{name}")
    try:
        with np.load(path, allow_pickle=False) as archive:
            return {key: archive[key] for key in archive.files}
    except (OSError, ValueError, EOFError, zipfile.BadZipFile) as error:
        raise DataError(f"{path} cannot be read as npz ({error})") from error
