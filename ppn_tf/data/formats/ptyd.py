"""Files of ptypy (.ptyd). Read only.

Positions are (row, col) of the probe in metres, energy is in keV, and the place of zero
frequency is ``meta/center``. See docs/conventions.md.
"""

from __future__ import annotations

from pathlib import Path
from typing import Final

import h5py
import numpy as np

from ppn_tf.data.formats import hdf5, memory
from ppn_tf.data.formats.scan import Geometry, Scan, corners_px
from ppn_tf.errors import DataError

FORMAT: Final = "ptyd"
#: Groups that may hold the geometry, in the order that they are looked at.
_GROUPS: Final = ("meta", "info")


def matches(file: h5py.File) -> bool:
    """Tell whether a file is of ptypy, by its keys."""
    return hdf5.has(file, "chunks")


def read(
    path: Path,
    known: Geometry,
    budget: memory.Budget,
    *,
    zero_frequency: str | None = None,
    zero_masked: bool = False,
) -> Scan:
    """Read a scan.

    Parameters
    ----------
    path : Path
    known : Geometry
        What the caller states; must agree with the file.
    budget : Budget
    zero_frequency : {"centre", "corner"}, optional
        Asked for where the file has no ``center``; must agree with it otherwise.
    zero_masked : bool
        Set the pixels that the mask excludes to 0.

    Returns
    -------
    Scan

    Raises
    ------
    OptionError
        If the file does not say where zero frequency lies, or lacks what the object
        pixel needs.
    DataError
    """
    with hdf5.opened(path) as file:
        _check_propagation(file)
        values, positions_m, weights = _chunks(file, budget)
        window = (values.shape[1], values.shape[2])
        place = _zero_frequency(file, window, zero_frequency)
        geometry = known.joined(_geometry(file), str(path)).completed(window)
        weights = _weight2d(file, budget) if weights is None else weights
    counts = memory.counts(values, place, f"{path}: key 'data'")
    mask = None if weights is None else memory.centred(weights, place)
    return Scan(
        patterns=memory.zeroed(counts, mask, zero_masked),
        positions_px=corners_px(positions_m, geometry, window, str(path)),
        positions_m=positions_m,
        mask=mask,
        **vars(geometry),
        provenance=memory.origin(path, FORMAT, zero_frequency=place),
    )


def _chunks(
    file: h5py.File, budget: memory.Budget
) -> tuple[np.ndarray, np.ndarray, np.ndarray | None]:
    """Return data (N, H, W), positions (N, 2) and the mask, or None, in order of indices."""
    group = hdf5.find(file, "/chunks")
    if not isinstance(group, h5py.Group) or not len(group):
        raise DataError(f"{file.filename}: expected a group 'chunks' with frames, received none")
    names = list(group)
    if not all(name.isdecimal() for name in names):
        raise DataError(f"{file.filename}: chunks: expected integers as names, received {names}")
    parts = [_chunk(file, f"/chunks/{name}", budget) for name in sorted(names, key=int)]
    frames, positions, indices, masks = zip(*parts, strict=True)
    if len({item.shape[1:] for item in frames}) > 1:
        raise DataError(f"{file.filename}: chunks have patterns of different shapes")
    values, positions_m = np.concatenate(frames), np.concatenate(positions).astype(np.float64)
    present = [mask for mask in masks if mask is not None]
    if any((mask != present[0]).any() for mask in present):
        raise DataError(f"{file.filename}: chunks have different weights: one mask is expected")
    if all(item is not None for item in indices):
        order = np.concatenate(indices)
        if order.shape != (len(values),) or len(np.unique(order)) != len(order):
            raise DataError(f"{file.filename}: chunks: indices repeat, or are not one a frame")
        if (np.diff(order) < 0).any():
            ranks = np.argsort(order)
            values, positions_m = values[ranks], positions_m[ranks]
    return values, positions_m, present[0] if present else None


def _chunk(
    file: h5py.File, here: str, budget: memory.Budget
) -> tuple[np.ndarray, np.ndarray, np.ndarray | None, np.ndarray | None]:
    """Return data, positions, indices and mask of one chunk; the last two may be None."""
    source = hdf5.first(file, (f"{here}/data",), "patterns")
    # twice more: joined, and as float32
    budget.take(source.shape, source.dtype.itemsize + 4, f"{file.filename}:{here}/data")
    frames = hdf5.array(source, budget)
    positions = hdf5.array(hdf5.first(file, (f"{here}/positions",), "positions"), budget)
    if frames.ndim != 3 or positions.shape != (len(frames), 2):
        raise DataError(
            f"{file.filename}: {here}: expected data (M, H, W) and positions (M, 2), received "
            f"{frames.shape} and {positions.shape}"
        )
    order = hdf5.dataset(file, f"{here}/indices")
    weight = hdf5.dataset(file, f"{here}/weights")
    mask = None
    if weight is not None and weight.size:
        mask = _mask_of(file, hdf5.array(weight, budget), frames.shape)
    return frames, positions, None if order is None else hdf5.array(order, budget), mask


def _mask_of(file: h5py.File, values: np.ndarray, shape: tuple[int, ...]) -> np.ndarray:
    """Return the mask that all frames of a chunk share: weights above 0."""
    if values.shape not in (shape, shape[1:]):
        raise DataError(
            f"{file.filename}: weights: expected shape {shape} or {shape[1:]}, received "
            f"{values.shape}"
        )
    masks = values.reshape(-1, *shape[1:]) > 0
    if (masks != masks[0]).any():
        raise DataError(
            f"{file.filename}: weights differ between frames: one mask for the scan is expected"
        )
    return masks[0]


def _weight2d(file: h5py.File, budget: memory.Budget) -> np.ndarray | None:
    node = _entry(file, "weight2d")
    return None if node is None or not node.size else hdf5.array(node, budget) > 0


def _entry(file: h5py.File, key: str) -> h5py.Dataset | None:
    for group in _GROUPS:
        node = hdf5.dataset(file, f"/{group}/{key}")
        # ptypy stores None as an empty dataset or a string
        if node is not None and node.shape is not None and node.dtype.kind in "biuf":
            return node
    return None


def _check_propagation(file: h5py.File) -> None:
    for group in _GROUPS:
        node = hdf5.dataset(file, f"/{group}/propagation")
        if node is not None and (value := hdf5.text(hdf5.small(node))) != "farfield":
            raise DataError(f"{file.filename}: propagation: expected farfield, received {value!r}")


def _geometry(file: h5py.File) -> Geometry:
    energy = hdf5.number(_entry(file, "energy"))
    node = _entry(file, "psize")
    pixel = None if node is None or node.size not in (1, 2) else np.ravel(hdf5.small(node))
    return Geometry(
        None if energy is None else energy * 1e3,
        hdf5.number(_entry(file, "distance")),
        None if pixel is None else (float(pixel[0]), float(pixel[-1])),
    )


def _zero_frequency(file: h5py.File, window: tuple[int, int], given: str | None) -> str:
    found: str | None = None
    node = _entry(file, "center")
    if node is not None and node.size == 2:
        center = tuple(float(value) for value in np.ravel(hdf5.small(node)))
        middle = (window[0] // 2, window[1] // 2)
        found = {middle: "centre", (0, 0): "corner"}.get(center)  # type: ignore[call-overload]
        if found is None:
            raise DataError(
                f"{file.filename}: center: expected {middle} or (0, 0) for patterns of "
                f"{window[0]} x {window[1]} px, received {center}: crop the patterns around it "
                "(ptypy: auto_center and shape)"
            )
    else:
        words = (hdf5.dataset(file, f"/{group}/center") for group in _GROUPS)
        for word in (item for item in words if item is not None and item.shape is not None):
            found = {"fftshift": "centre", "fft": "corner"}.get(hdf5.text(hdf5.small(word)), found)
    memory.ask(file.filename, zero_frequency=(found or given, "centre or corner of the patterns"))
    if found and given and found != given:
        raise DataError(
            f"{file.filename}: zero_frequency: the file states {found}, received {given}: "
            "leave the flag out, or correct the file"
        )
    return str(found or given)
