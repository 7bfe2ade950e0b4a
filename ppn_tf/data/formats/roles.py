"""Guesses about a file that is not understood yet: what each array may be, what is missing."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import MappingProxyType
from typing import Final

import numpy as np

from ppn_tf.data.formats import archive, hdf5, memory
from ppn_tf.data.formats.scan import Scan
from ppn_tf.errors import DataError

#: Role by the last part of a name; the first that fits. A guess, for the reader's eyes only.
_NAMES: Final = (
    ("mask", r"mask|valid_pixels|bad_pixels|weight2d|weights"),
    ("energy", r"energy|incident_beam_energy|wavelength"),
    ("distance", r"distance|zo|detector_object_distance_m"),
    ("pixel size", r"(x_|y_)?pixel_size|psize|dxd|.*pixel_m"),
    ("frame indexes", r"probe_position_indexes|indices|scan_index"),
    (
        "positions",
        r"probe_position_[xy]_m|translation|scan|scan_.*|[xy]coords(_start)?|positions.*|pp[XY]"
        r"|probe_positions_0|encoder",
    ),
    ("probe", r"probe|probeguess|illumination|entrancepupil.*"),
    ("object", r"object|objectguess|real|obj|transmission"),
)
_PATTERNS: Final = r"dp|diff3d|diffraction|reciprocal|patterns|data|ptychogram"
#: Frames that are looked at for a picture.
_LOOK: Final = 64

#: What a scan may lack, and what then is not possible.
LACKS: Final[Mapping[str, str]] = MappingProxyType(
    {
        "probe": "no R-factor, no refine, no ptychodus product, no training on simulations",
        "object": "nothing to train on or to compare with (a reconstruction gives one)",
        "mask": "all detector pixels count as valid",
        "energy_eV": "no ptychodus product: state --energy-ev",
        "distance_m": "no ptychodus product: state --distance-m",
        "object_pixel_m": "no ptychodus product: state --object-pixel-m or --detector-pixel-m",
    }
)

Row = tuple[str, tuple[int, ...] | None, str]


def guess(row: Row) -> str:
    """Return what an entry of `formats.tree` may be, or an empty text."""
    name, shape, kind = row
    if shape is None:
        return ""
    last = name.rstrip("/").rsplit("/", 1)[-1].lower()
    if len(shape) in (3, 4) and re.fullmatch(_PATTERNS, last) and not kind.startswith("complex"):
        return "patterns"
    for role, expression in _NAMES:
        if re.fullmatch(expression.lower(), last):
            return role
    frames = len(shape) == 3 and min(shape[1:]) > 7 and kind[:1] in "uif"
    return "patterns?" if frames else ""


def missing(scan: Scan) -> list[str]:
    """Return the fields of `LACKS` that a scan has not."""
    return [name for name in LACKS if getattr(scan, name) is None]


def raw_patterns(
    path: Path, rows: Sequence[Row], allow_filters: Sequence[int] = ()
) -> tuple[str, np.ndarray] | None:
    """Return name and first frames of the largest array that may be the patterns.

    As stored: neither moved nor turned. None where there is none.

    Raises
    ------
    DataError
        If it lies in another file, or needs a filter that is not allowed.
    """
    found = [row for row in rows if guess(row).startswith("patterns") and row[1]]
    if not found:
        return None
    name, shape, _ = max(found, key=lambda row: int(np.prod(row[1] or 0)))
    assert shape is not None
    if path.suffix == ".npz" or not name.startswith("/"):
        frames = archive.load(path, memory.Budget())[name]
    else:
        with hdf5.opened(path) as file:
            node = hdf5.dataset(file, name)
            if node is None:
                raise DataError(f"{path}: key {name!r} is not there")
            count = 1 if node.ndim == 4 else min(_LOOK, len(node))
            budget = memory.Budget(allow_filters=allow_filters)
            hdf5.check_storage(node, budget)
            budget.take((count, *node.shape[1:]), node.dtype.itemsize, f"{path}:{name}")
            # a raster of rows of frames: its first row
            frames = node[0] if node.ndim == 4 else node[:_LOOK]
    frames = frames.reshape(-1, *frames.shape[-2:])[:_LOOK]
    return name, np.asarray(frames, dtype=np.float32)
