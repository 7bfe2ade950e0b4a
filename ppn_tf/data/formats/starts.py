"""The object of a product or an own npz file as the start of a refinement of a scan.

The two need not share a grid: the object lies where the file's own positions put it, and
is shifted, and resampled where its pixels are of another size, onto the grid of the scan.
"""

from __future__ import annotations

import dataclasses
from pathlib import Path

import numpy as np
import scipy.ndimage

from ppn_tf.data.formats import hdf5, memory, npz, ptychodus
from ppn_tf.data.formats.scan import Geometry, Scan
from ppn_tf.errors import DataError

#: Positions of both files agree to this, rounding of whole pixels included [scan px].
AGREEMENT_PX = 1.5
#: Pixel sizes that differ by less count as equal.
_SAME_PIXEL = 1e-3


@dataclasses.dataclass(frozen=True, eq=False)
class Start:
    """An object on its own grid.

    Attributes
    ----------
    field : (rows, cols) complex64
        NaN where nothing is known.
    centres_px : (N, 2) float64
        Row and column of the windows' centres on the field's grid; the first pixel
        reaches from 0 to 1.
    pixel_m : (float, float) or None
        Height and width of its pixels [m].
    probe : (M, H, W) complex64 or None
    """

    field: np.ndarray
    centres_px: np.ndarray
    pixel_m: tuple[float, float] | None
    probe: np.ndarray | None


def read(path: Path | str) -> Start:
    """Read a product (HDF5), or an own npz file that holds an object.

    Raises
    ------
    DataError
        If the file cannot be used, or holds no object.
    """
    path = Path(path)
    if not path.is_file():
        raise DataError(f"{path} does not exist: check the path of the start")
    with path.open("rb") as stream:
        zipped = stream.read(4) == b"PK\x03\x04"
    return _of_npz(path) if zipped else _of_product(path)


def corners_px(scan: Scan) -> np.ndarray:
    """Return the corners of a scan's windows on the grid of `grid`, (N, 2) float64."""
    lowest = np.floor(scan.positions_px.min(axis=0) + 0.5)
    return scan.positions_px - lowest


def grid(scan: Scan) -> tuple[np.ndarray, tuple[int, int]]:
    """Return the corners as whole pixels, (N, 2) int64, and the shape that the scan covers."""
    whole = np.round(corners_px(scan)).astype(np.int64)
    rows, cols = whole.max(axis=0) + scan.window_px
    return whole, (int(rows), int(cols))


def place(start: Start, scan: Scan) -> tuple[np.ndarray, np.ndarray]:
    """Bring a start onto the grid of a scan.

    Parameters
    ----------
    start : Start
    scan : Scan

    Returns
    -------
    field : (rows, cols) complex64
        As large as the windows of the scan reach; NaN where the start holds nothing.
    corners_px : (N, 2) int64
        Top-left corners of the scan's windows on it, rounded to whole pixels.

    Raises
    ------
    DataError
        If the positions of the two do not belong together.
    """
    whole, shape = grid(scan)
    centres = corners_px(scan) + np.array(scan.window_px) / 2
    return onto(start, centres, scan.object_pixel_m, shape), whole


def onto(
    start: Start,
    centres_px: np.ndarray,
    pixel_m: tuple[float, float] | None,
    shape: tuple[int, int],
) -> np.ndarray:
    """Bring a start onto another grid on which the same positions are known.

    Parameters
    ----------
    start : Start
    centres_px : (N, 2) float64
        Centres of the windows on the other grid.
    pixel_m : (float, float), optional
        Pixel of that grid [m].
    shape : (int, int)

    Returns
    -------
    (rows, cols) complex64
        NaN where the start holds nothing.

    Raises
    ------
    DataError
        If the positions of the two do not belong together.
    """
    count = len(centres_px)
    if len(start.centres_px) != count:
        raise DataError(
            f"the start was made from {len(start.centres_px)} positions, the scan has {count}: "
            "expected a reconstruction of this scan"
        )
    ratio = np.ones(2)
    if start.pixel_m is not None and pixel_m is not None:
        ratio = np.array(pixel_m) / np.array(start.pixel_m)
    offsets = start.centres_px - centres_px * ratio
    offset = offsets.mean(axis=0)
    worst = float((np.abs(offsets - offset) / ratio).max())
    if worst > AGREEMENT_PX:
        raise DataError(
            f"the positions of the start differ from those of the scan by up to {worst:.3g} px "
            f"(start pixel {start.pixel_m} m, scan pixel {pixel_m} m): expected a "
            "reconstruction of this scan; where a pixel size is missing, state --object-pixel-m "
            "to the command that reads the scan"
        )
    if np.abs(ratio - 1).max() < _SAME_PIXEL:
        return _shifted(start.field, np.round(offset).astype(np.int64), shape)
    return _resampled(start.field, ratio, offset, shape)


def _shifted(field: np.ndarray, offset: np.ndarray, shape: tuple[int, ...]) -> np.ndarray:
    placed = np.full(shape, np.nan, np.complex64)
    rows, cols = (
        (max(0, -move), min(side, have - move))
        for move, side, have in zip(offset.tolist(), shape, field.shape, strict=True)
    )
    target = (slice(*rows), slice(*cols))
    source = tuple(
        slice(ends[0] + move, ends[1] + move)
        for ends, move in zip((rows, cols), offset.tolist(), strict=True)
    )
    if rows[0] < rows[1] and cols[0] < cols[1]:
        placed[target] = field[source]
    return placed


def _resampled(
    field: np.ndarray, ratio: np.ndarray, offset: np.ndarray, shape: tuple[int, ...]
) -> np.ndarray:
    rows, cols = (
        (np.arange(side) + 0.5) * scale + move - 0.5
        for side, scale, move in zip(shape, ratio, offset, strict=True)
    )
    grid = np.meshgrid(rows, cols, indexing="ij")
    parts = [
        scipy.ndimage.map_coordinates(part, grid, order=1, cval=np.nan)
        for part in (field.real.astype(np.float64), field.imag.astype(np.float64))
    ]
    return (parts[0] + 1j * parts[1]).astype(np.complex64)


def _of_npz(path: Path) -> Start:
    scan = npz.read(path, Geometry(), memory.Budget())
    if scan.object is None:
        raise DataError(f"{path} holds no object to start from: expected the key 'object'")
    centres = scan.positions_px + np.array(scan.window_px) / 2
    return Start(scan.object, centres, scan.object_pixel_m, scan.probe)


def _of_product(path: Path) -> Start:
    budget = memory.Budget()
    with hdf5.opened(path) as file:
        node = hdf5.first(file, (ptychodus.OBJECT,), "an object to start from")
        pixel = _attributes(node, ("pixel_height_m", "pixel_width_m"))
        center = _attributes(node, ("center_y_m", "center_x_m"))
        values = hdf5.array(node, budget)
        y, x = (
            hdf5.array(hdf5.first(file, (key,), "positions"), budget)
            for key in (ptychodus.Y, ptychodus.X)
        )
        modes = hdf5.dataset(file, ptychodus.PROBE)
        probe = None
        if modes is not None and modes.size:
            probe = memory.modes(hdf5.array(modes, budget), f"{path}: key 'probe'")
    if values.ndim == 3 and len(values) == 1:
        values = values[0]
    if values.ndim != 2 or not np.iscomplexobj(values) or values.size == 0:
        raise DataError(
            f"{path}: key 'object': expected one complex layer (1, rows, cols) to start from, "
            f"received {values.dtype} {values.shape}"
        )
    if y.ndim != 1 or y.shape != x.shape:
        raise DataError(f"{path}: expected positions of one length, received {y.shape}, {x.shape}")
    centres_m = np.stack([y, x], axis=1).astype(np.float64)
    centres = (centres_m - center) / pixel + np.array(values.shape) / 2
    return Start(values.astype(np.complex64), centres, (pixel[0], pixel[1]), probe)


def _attributes(node: object, names: tuple[str, str]) -> tuple[float, float]:
    attributes = node.attrs  # type: ignore[attr-defined]
    missing = [name for name in names if name not in attributes]
    if missing:
        raise DataError(
            f"{node.file.filename}: key 'object' lacks the attributes {', '.join(missing)}: its "  # type: ignore[attr-defined]
            "place on the scan is not known"
        )
    first, second = (float(attributes[name]) for name in names)
    return first, second
