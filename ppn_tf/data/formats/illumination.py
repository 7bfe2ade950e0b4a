"""The probe of a scan's file by itself: simulations need it, and nothing else of the scan."""

from __future__ import annotations

from pathlib import Path
from typing import Final

import numpy as np

from ppn_tf.data.formats import archive, hdf5, memory, ptychodus
from ppn_tf.errors import DataError

#: Where a probe may lie in HDF5, and in npz.
HDF5_KEYS: Final = (ptychodus.PROBE, "/entry_1/instrument_1/source_1/illumination")
NPZ_KEYS: Final = ("probe", "probeGuess")


def read_probe(path: Path | str) -> np.ndarray:
    """Read the probe's modes.

    Parameters
    ----------
    path : Path or str
        A ptychodus product, a CXI file or any npz file that `ppn_tf.data.formats.read`
        knows; or an npy file with the probe alone.

    Returns
    -------
    (M, H, W) complex64

    Raises
    ------
    DataError
        If the file holds no probe; the keys that were looked for are named.
    """
    path = Path(path)
    if not path.is_file():
        raise DataError(f"{path} does not exist: check the path of the probe")
    with path.open("rb") as stream:
        start = stream.read(6)
    budget = memory.Budget()
    if start == b"\x93NUMPY":
        return memory.modes(read_npy(path), str(path))
    if start[:4] == b"PK\x03\x04":
        arrays = archive.load(path, budget)
        key = next((key for key in NPZ_KEYS if key in arrays), None)
        if key is None:
            raise DataError(
                f"{path} holds no probe: expected one of {', '.join(NPZ_KEYS)}, received the keys "
                f"{', '.join(arrays)}"
            )
        values = arrays[key]
        # the layout of scan 247 has two axes more
        values = values[0] if values.ndim == 5 and len(values) == 1 else values
        return memory.modes(values, f"{path}: key {key!r}")
    with hdf5.opened(path) as file:
        node = hdf5.first(file, HDF5_KEYS, "a probe")
        return memory.modes(hdf5.array(node, budget), f"{path}: key {node.name!r}")


def read_npy(path: Path) -> np.ndarray:
    """Read an npy file; its size is compared with its header before anything is allocated.

    Raises
    ------
    DataError
        If it cannot be read, or holds no numbers.
    """
    try:
        values = np.load(path, mmap_mode="r", allow_pickle=False)
    except (OSError, ValueError, EOFError, SyntaxError) as error:
        raise DataError(f"{path} cannot be read as npy ({error})") from error
    if values.dtype.kind not in "biufc":
        raise DataError(f"{path}: expected numbers, received {values.dtype}")
    return np.array(values)
