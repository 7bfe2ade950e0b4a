"""Measured scans of the Hard X-ray Nanoprobe (26-ID) at the Advanced Photon Source.

Two public files: scan 247 (a disc of 481 points, 128 x 128 px detector, with positions
and a probe to start from, no object), and scan 20191008_39 of the paper and of
PtychoNN (161 x 161 points, 64 x 64 px detector, with the object patches that their
authors reconstructed).
"""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any, Final

import numpy as np

from ppn_tf import npzfile
from ppn_tf.data import sources
from ppn_tf.data.dataset import Dataset
from ppn_tf.errors import DataError
from ppn_tf.files import sha256

#: Public files, by their path below the data directory.
SCAN_247: Final = "nanoprobe26id/scan247.npz"
SCAN_39: Final = (
    "ptychonn/20191008_39_diff_reduced.npz",
    "ptychonn/20191008_39_amp_pha_10nm_full.npy",
)

#: Scan 20191008_39: steps of 30 nm on object pixels of 10 nm (section IV-A2).
SCAN_39_STEP_PX: Final = 3
#: The patches are twice as wide as the window that is kept.
_SCAN_39_BIN: Final = 2


@dataclasses.dataclass(frozen=True, eq=False)
class MeasuredScan:
    """Patterns as a detector gave them, without an object.

    Attributes
    ----------
    name : str
    patterns : (N, H, W) float32
        Counts, zero frequency at the centre pixel ``(H // 2, W // 2)``.
    positions_px : (N, 2) float64
        Row and column of each window's top-left corner [object px], as measured; the
        smallest of each axis is 0.
    probe : (M, H, W) complex64
        Modes of the probe to start from, at an arbitrary scale.
    dead_pixels : (H, W) bool
        True where the detector never counted anything.
    provenance : dict
        File and sha256.
    """

    name: str
    patterns: np.ndarray
    positions_px: np.ndarray
    probe: np.ndarray
    dead_pixels: np.ndarray
    provenance: dict[str, Any]


def load_scan247(path: Path | str | None = None, *, positions: str = "scan_true") -> MeasuredScan:
    """Read scan 247, or a file of the same layout.

    Parameters
    ----------
    path : Path or str, optional
        An npz file with ``data`` (N, H, H) counts with zero frequency at the corner,
        ``scan_true`` and ``scan_nominal`` (N, 2) (row, col) [px] and ``probe``
        (1, 1, M, H, H). By default the public file, checked by its sha256.
    positions : {"scan_true", "scan_nominal"}
        Corrected positions, or those that were asked of the stage.

    Returns
    -------
    MeasuredScan

    Raises
    ------
    SourceMissingError, SourceError
        If the public file is not there, or not the expected file.
    DataError
        For a file that is no npz, lacks a key, or has arrays of other shapes or
        with NaN; the key is named.
    """
    if positions not in ("scan_true", "scan_nominal"):
        raise DataError(f"positions: expected scan_true or scan_nominal, received {positions!r}")
    path = sources.fetch(SCAN_247) if path is None else Path(path)
    arrays = _read(path, ("data", positions, "probe"))
    counts, corners, probe = arrays["data"], arrays[positions], arrays["probe"]
    if counts.ndim != 3 or counts.shape[1] != counts.shape[2] or not np.isrealobj(counts):
        raise _unfit(path, "data", "real (N, H, H)", counts)
    if corners.shape != (len(counts), 2) or not np.isrealobj(corners):
        raise _unfit(path, positions, f"real {(len(counts), 2)}", corners)
    if probe.shape[:2] != (1, 1) or probe.shape[3:] != counts.shape[1:] or probe.ndim != 5:
        raise _unfit(path, "probe", f"complex (1, 1, M, {counts.shape[1]}, same)", probe)
    if not np.iscomplexobj(probe):
        raise _unfit(path, "probe", "complex values", probe)
    for key, values in arrays.items():
        if not np.isfinite(values).all():
            raise DataError(f"{path}: key {key!r} holds NaN or infinite values")
    patterns = np.fft.fftshift(counts, axes=(1, 2)).astype(np.float32)
    corners = corners.astype(np.float64)
    return MeasuredScan(
        "scan-247",
        patterns,
        corners - corners.min(axis=0),
        probe[0, 0].astype(np.complex64),
        (patterns == 0).all(axis=0),
        {"file": path.name, "sha256": sha256(path), "positions": positions},
    )


def load_scan39(
    patterns_path: Path | str | None = None, labels_path: Path | str | None = None
) -> Dataset:
    """Read scan 20191008_39 with the object patches that its authors published.

    Parameters
    ----------
    patterns_path : Path or str, optional
        npz file with ``arr_0`` (rows, cols, 64, 64): counts as PtychoNN reduced them
        (detector cropped and resized, values below 3 set to 0). By default the public
        file, which is not downloaded here (`ppn_tf.data.fetch` does).
    labels_path : Path or str, optional
        npy file, (rows, cols, 64, 64) complex: the object in each window, 10 nm a pixel.

    Returns
    -------
    Dataset
        32 x 32 px: patterns summed over 2 x 2 px of the detector, which halves the
        window; so the central 32 x 32 px of each patch, pixels of 10 nm as published,
        phase by `numpy.angle` as PtychoNN takes it. Positions are a raster of 3 px.

    Raises
    ------
    SourceMissingError, SourceError
        If a public file is not there, or not the expected file.
    DataError
        For other keys, shapes or types, and where neighbouring patches do not agree
        when laid 3 px apart in that order.
    """
    paths = [
        Path(given) if given is not None else sources.fetch(name, download=False)
        for given, name in zip((patterns_path, labels_path), SCAN_39, strict=True)
    ]
    counts, field = _published(*paths)
    grid, side = counts.shape[:2], 64 // _SCAN_39_BIN
    start = (64 - side) // 2
    centre = np.asarray(field[:, :, start : start + side, start : start + side])
    centre = centre.reshape(-1, side, side)
    rows, cols = np.indices(grid).reshape(2, -1) * SCAN_39_STEP_PX
    return Dataset(
        patterns=bin_patterns(counts.reshape(-1, 64, 64), side),
        amplitude=np.abs(centre),
        phase=np.angle(centre),
        positions_px=np.stack([rows, cols], axis=1),
        grid_shape=grid,
        object_shape=tuple(SCAN_39_STEP_PX * (count - 1) + side for count in grid),
        provenance={
            "name": "scan-39",
            "sources": {path.name: f"sha256:{sha256(path)}" for path in paths},
            "detector": "summed over 2 x 2 px; central 32 x 32 px of each patch, 10 nm a pixel",
        },
    )


def bin_patterns(
    patterns: np.ndarray, side_px: int, dead_pixels: np.ndarray | None = None
) -> np.ndarray:
    """Sum patterns over square blocks of detector pixels.

    Parameters
    ----------
    patterns : (N, H, H) real
        Counts.
    side_px : int
        Side after binning; divides H.
    dead_pixels : (H, H) bool, optional
        True where the detector does not count: a block holds the mean of its living
        pixels times their full number. A block without a living pixel is refused.

    Returns
    -------
    (N, side_px, side_px) float32

    Raises
    ------
    DataError
        For a side that does not divide H, other shapes, or a dead block.
    """
    patterns = np.asarray(patterns)
    if patterns.ndim != 3 or patterns.shape[1] != patterns.shape[2]:
        raise DataError(f"patterns must be (N, H, H), received shape {patterns.shape}")
    side = patterns.shape[1]
    if side_px < 1 or side % side_px:
        raise DataError(f"a side of {side_px} px does not divide the detector's {side} px")
    block = side // side_px
    alive = np.ones((side, side), bool) if dead_pixels is None else ~np.asarray(dead_pixels)
    if alive.shape != (side, side):
        raise DataError(f"dead_pixels must be {(side, side)}, received {alive.shape}")

    def blocks(values: np.ndarray) -> np.ndarray:
        split = values.reshape(len(values), side_px, block, side_px, block)
        return split.sum(axis=(2, 4), dtype=np.float64)

    living = blocks(alive[None])
    if (living == 0).any():
        raise DataError("a block of the detector has no living pixel: choose a smaller binning")
    total = blocks(np.where(alive, patterns, 0))
    return (total * (block**2 / living)).astype(np.float32)


def _published(counts_path: Path, field_path: Path) -> tuple[np.ndarray, np.ndarray]:
    counts = _read(counts_path, ("arr_0",))["arr_0"]
    try:
        # 850 MB, of which a quarter is used
        field = np.load(field_path, mmap_mode="r", allow_pickle=False)
    except (OSError, ValueError, EOFError) as error:
        raise DataError(f"{field_path} cannot be read as npy ({error})") from error
    if counts.ndim != 4 or counts.shape[2:] != (64, 64) or not np.isrealobj(counts):
        raise _unfit(counts_path, "arr_0", "real (rows, cols, 64, 64)", counts)
    if field.shape != counts.shape or not np.iscomplexobj(field):
        raise _unfit(field_path, "(the array)", f"complex {counts.shape}", field)
    _check_arrangement(field_path, field)
    return counts, field


def _check_arrangement(path: Path, field: np.ndarray) -> None:
    """Refuse patches that fit together no better when laid 3 px apart than unmoved."""
    step = SCAN_39_STEP_PX
    row, col = (count // 2 for count in field.shape[:2])
    if min(field.shape[:2]) < 2:
        raise DataError(f"{path}: expected at least 2 x 2 points, received {field.shape[:2]}")
    here = np.asarray(field[row, col])
    pairs = (
        ("row", here, np.asarray(field[row - 1, col])),
        ("column", here.T, np.asarray(field[row, col - 1]).T),
    )
    for name, patch, before in pairs:
        # the patch starts `step` pixels later, so the one before it holds its start
        moved = np.abs(patch[:-step] - before[step:]).mean()
        unmoved = np.abs(patch - before).mean()
        if moved > unmoved:
            raise DataError(
                f"{path}: patches of neighbouring {name}s differ by {moved:.3g} when laid {step} "
                f"px apart and by {unmoved:.3g} unmoved: is the order of the axes (row, col, y, x)?"
            )


def _read(path: Path, keys: tuple[str, ...]) -> dict[str, np.ndarray]:
    return npzfile.read(path, keys)


def _unfit(path: Path, key: str, expected: str, values: np.ndarray) -> DataError:
    return DataError(
        f"{path}: key {key!r}: expected {expected}, received {values.dtype} {values.shape}"
    )
