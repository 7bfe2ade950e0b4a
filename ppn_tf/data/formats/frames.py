"""Patterns that stay in their file."""

from __future__ import annotations

from collections.abc import Sequence

import h5py
import numpy as np

from ppn_tf.data.formats import hdf5, memory
from ppn_tf.errors import DataError


class Frames:
    """Patterns (N, H, W) in an open HDF5 file, of which a range is read at a time.

    Parameters
    ----------
    node : h5py.Dataset
        Real, (N, H, W), or a raster (R, C, H, W) that is read row by row.
    zero_frequency : {"centre", "corner"}
        Where it lies in the file; ranges have it at ``(H // 2, W // 2)``.
    allow_filters : sequence of int
        As for `ppn_tf.data.formats.read`.

    Raises
    ------
    DataError
        For another shape, complex values, or a filter that is not allowed.
    """

    def __init__(
        self,
        node: h5py.Dataset,
        zero_frequency: str = "centre",
        allow_filters: Sequence[int] = (),
    ) -> None:
        if node.ndim not in (3, 4) or node.dtype.kind not in "biuf" or 0 in node.shape:
            raise DataError(
                f"{node.file.filename}: key {node.name!r}: expected real patterns (N, H, W) or "
                f"(R, C, H, W), received {node.dtype} {node.shape}"
            )
        hdf5.check_storage(node, memory.Budget(allow_filters=allow_filters))
        memory.choice("zero_frequency", zero_frequency, ("centre", "corner"))
        self._node, self._zero_frequency = node, zero_frequency

    @property
    def shape(self) -> tuple[int, int, int]:
        """N, H and W."""
        *scan, rows, cols = self._node.shape
        return int(np.prod(scan)), rows, cols

    def __getitem__(self, wanted: slice) -> np.ndarray:
        """Return a range of patterns, (n, H, W), as the file has them."""
        start, stop, _ = wanted.indices(self.shape[0])
        if self._node.ndim == 3:
            values = self._node[start:stop]
        else:
            across = self._node.shape[1]
            first = start // across
            rows = self._node[first : -(-stop // across)].reshape(-1, *self.shape[1:])
            values = rows[start - first * across : stop - first * across]
        return memory.centred(values, self._zero_frequency)
