"""Scans in the files of other programs: one module per format, one `Scan` between them.

Conventions that differ (zero frequency, sign, order, origin, units) are converted as
docs/conventions.md states; where a file leaves one open, the reader asks for a flag by its
name. Nothing in here imports Keras.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from types import MappingProxyType
from typing import Any

from ppn_tf.data.formats import archive, cxi, hdf5, located, npz, ptychodus, ptyd
from ppn_tf.data.formats.located import Located
from ppn_tf.data.formats.memory import MEMORY_LIMIT_GIB, Budget
from ppn_tf.data.formats.scan import Geometry, Scan
from ppn_tf.errors import DataError, OptionError

__all__ = [
    "LOCATORS",
    "READERS",
    "WRITERS",
    "Geometry",
    "Located",
    "Scan",
    "detect",
    "flags",
    "locate",
    "read",
    "tree",
    "write",
]

#: Reader of each format.
READERS: Mapping[str, Callable[..., Scan]] = MappingProxyType(
    {
        npz.FORMAT: npz.read,
        ptychodus.FORMAT: ptychodus.read,
        cxi.FORMAT: cxi.read,
        ptyd.FORMAT: ptyd.read,
    }
)
#: What finds a scan of each format whose patterns may stay in the file.
LOCATORS: Mapping[str, Callable[..., Located]] = MappingProxyType(
    {ptychodus.FORMAT: located.of_pair, cxi.FORMAT: located.of_cxi}
)
#: Writer of each format that is written.
WRITERS: Mapping[str, Callable[..., None]] = MappingProxyType(
    {npz.FORMAT: npz.write, ptychodus.FORMAT: ptychodus.write}
)
#: Largest number of rows of `tree`.
_MAX_ROWS = 10_000


def read(
    path: Path | str,
    *,
    format: str | None = None,
    energy_eV: float | None = None,
    distance_m: float | None = None,
    detector_pixel_m: float | tuple[float, float] | None = None,
    object_pixel_m: float | tuple[float, float] | None = None,
    memory_limit_gib: float = MEMORY_LIMIT_GIB,
    allow_filters: Sequence[int] = (),
    **flags: Any,
) -> Scan:
    """Read a scan.

    Parameters
    ----------
    path : Path or str
    format : str, optional
        One of `READERS`; by default as `detect` finds.
    energy_eV, distance_m, detector_pixel_m, object_pixel_m : optional
        What the file does not state; where it does, both must agree. A single pixel
        size stands for height and width.
    memory_limit_gib : float
        Largest total size of the arrays that the file declares [GiB].
    allow_filters : sequence of int
        Numbers of HDF5 filters that may be used beside gzip, shuffle, fletcher32 and lzf.
        They are foreign code: for files that you trust.
    **flags
        What else the format leaves open: see `flags` and the reader of the format.

    Returns
    -------
    Scan

    Raises
    ------
    OptionError
        If the file leaves something open (the flag is named), or for an unknown
        format or flag.
    DataError
        If the file cannot be used.
    """
    path = Path(path)
    reader = _chosen(READERS, path, format, flags)
    pixels = (detector_pixel_m, object_pixel_m)
    known = Geometry(energy_eV, distance_m, *pixels)  # type: ignore[arg-type]
    return reader(path, known, Budget(memory_limit_gib, allow_filters), **flags)


def locate(
    path: Path | str,
    *,
    format: str | None = None,
    energy_eV: float | None = None,
    distance_m: float | None = None,
    detector_pixel_m: float | tuple[float, float] | None = None,
    object_pixel_m: float | tuple[float, float] | None = None,
    memory_limit_gib: float = MEMORY_LIMIT_GIB,
    allow_filters: Sequence[int] = (),
    **flags: Any,
) -> Located:
    """Find a scan's patterns and positions, and leave the patterns in the file.

    Parameters
    ----------
    path : Path or str
    format : str, optional
        One of `LOCATORS`; by default as `detect` finds.
    energy_eV, distance_m, detector_pixel_m, object_pixel_m : optional
    memory_limit_gib, allow_filters, **flags
        As for `read`; the limit is that of positions and mask.

    Returns
    -------
    Located

    Raises
    ------
    OptionError, DataError
        As `read`; and for a format whose patterns are no data set of one file.
    """
    path = Path(path)
    locator = _chosen(LOCATORS, path, format, flags)
    pixels = (detector_pixel_m, object_pixel_m)
    known = Geometry(energy_eV, distance_m, *pixels)  # type: ignore[arg-type]
    return locator(path, known, Budget(memory_limit_gib, allow_filters), **flags)


def write(path: Path | str, scan: Scan, *, format: str | None = None, **flags: Any) -> None:
    """Write a scan, whole or not at all.

    Parameters
    ----------
    path : Path or str
    scan : Scan
    format : {"npz", "ptychodus"}, optional
        By default by the ending: .npz, or .h5 and .hdf5 for a ptychodus product.
    **flags
        See the writer of the format.

    Raises
    ------
    OptionError
        For an unknown format, ending or flag.
    DataError
        If the scan lacks what the format must have.
    RecordError
        If the file cannot be written.
    """
    path = Path(path)
    by_ending = {".npz": npz.FORMAT, ".h5": ptychodus.FORMAT, ".hdf5": ptychodus.FORMAT}
    name = by_ending.get(path.suffix.lower()) if format is None else format
    if name is None:
        raise OptionError(
            f"{path}: expected the ending {', '.join(by_ending)}, received {path.suffix!r}: pass "
            "format"
        )
    writer = _named(WRITERS, name)
    _check_flags(writer, name, flags)
    writer(path, scan, **flags)


def flags(format: str) -> dict[str, Any]:
    """Return the flags that a format's reader takes beside the common ones, with defaults."""
    return _flags_of(_named(READERS, format))


def detect(path: Path | str) -> str:
    """Return the format of a file from its content, never from its name.

    Raises
    ------
    DataError
        If it is none of `READERS`; the keys that were found are listed.
    """
    path = Path(path)
    if _is_npz(path):
        return npz.FORMAT
    with hdf5.opened(path) as file:
        for module in (ptychodus, cxi, ptyd):
            if module.matches(file):
                return module.FORMAT
        keys = ", ".join(row[0] for row in hdf5.rows(file, 40)) or "(none)"
    raise DataError(
        f"{path}: expected the keys of one of {', '.join(READERS)}, received the keys {keys}"
    )


def tree(path: Path | str) -> list[tuple[str, tuple[int, ...] | None, str]]:
    """List what a file holds, without reading an array or following a link.

    Returns
    -------
    list of (name, shape, type)
        Shape is None for groups and links.

    Raises
    ------
    DataError
        If the file is neither npz nor HDF5.
    """
    path = Path(path)
    if _is_npz(path):
        return list(archive.rows(path))
    with hdf5.opened(path) as file:
        return hdf5.rows(file, _MAX_ROWS)


def _is_npz(path: Path) -> bool:
    if not path.is_file():
        raise DataError(f"{path} does not exist: check the path")
    with path.open("rb") as stream:
        return stream.read(4) == b"PK\x03\x04"


def _chosen(
    table: Mapping[str, Callable[..., Any]],
    path: Path,
    format: str | None,
    flags: Mapping[str, Any],
) -> Callable[..., Any]:
    """Return what a table has for a file, its flags checked."""
    name = detect(path) if format is None else format
    if name in READERS and name not in table:
        raise OptionError(
            f"{path}: the patterns of format {name} do not lie in one data set that can be read "
            f"range by range: expected {' or '.join(table)} (`formats.write` makes a pair)"
        )
    found = _named(table, name)
    _check_flags(found, name, flags)
    return found


def _named(table: Mapping[str, Callable[..., Any]], name: str) -> Callable[..., Any]:
    if name not in table:
        raise OptionError(f"format: expected one of {', '.join(table)}, received {name!r}")
    return table[name]


def _flags_of(function: Callable[..., Any]) -> dict[str, Any]:
    parameters = inspect.signature(function).parameters.values()
    return {item.name: item.default for item in parameters if item.kind is item.KEYWORD_ONLY}


def _check_flags(function: Callable[..., Any], name: str, given: Mapping[str, Any]) -> None:
    known = _flags_of(function)
    unknown = [flag for flag in given if flag not in known]
    if unknown:
        raise OptionError(
            f"format {name} takes no flag {', '.join(unknown)}: expected {', '.join(known)}"
        )
    for flag, value in given.items():
        if isinstance(known[flag], bool) and not isinstance(value, bool):
            raise OptionError(f"{flag}: expected true or false, received {value!r}")
