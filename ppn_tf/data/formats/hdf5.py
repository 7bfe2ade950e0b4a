"""HDF5 as the formats need it: no way out of the file, no allocation before a check."""

from __future__ import annotations

import contextlib
import importlib
import importlib.util
import math
import posixpath
from collections.abc import Collection, Iterator
from pathlib import Path
from typing import Any, BinaryIO, Final

import h5py
import numpy as np

from ppn_tf.data.formats import heaps
from ppn_tf.data.formats.memory import FILTERS, Budget
from ppn_tf.errors import DataError, PpnError

#: Groups inside groups that are looked into.
_MAX_DEPTH: Final = 32
#: Soft links that one path may follow.
_MAX_LINKS: Final = 16
#: Largest attribute, and largest single text or number [bytes].
_SMALL: Final = 1 << 20
#: What h5py raises on damaged files.
_LIBRARY: Final = (
    OSError,
    ValueError,
    KeyError,
    TypeError,
    RuntimeError,
    OverflowError,
    MemoryError,
    SystemError,
    NotImplementedError,
)


@contextlib.contextmanager
def opened(path: Path) -> Iterator[h5py.File]:
    """Open a file to read.

    Raises
    ------
    DataError
        If it does not exist or is no HDF5 file, has a heap that the library would never
        leave, or a value in it cannot be read.
    """
    if not path.is_file():
        raise DataError(f"{path} does not exist: check the path")
    try:
        with h5py.File(path, "r") as file:
            heaps.check(path, file.id.get_create_plist().get_sizes()[1])
            yield file
    except PpnError:
        raise
    except _LIBRARY as error:
        raise DataError(
            f"{path} cannot be read as HDF5 ({type(error).__name__}: {error}): it may be damaged"
        ) from error


def find(file: h5py.File, path: str) -> h5py.Group | h5py.Dataset | None:
    """Return the group or dataset at an absolute path, or None.

    Soft links are followed inside the file.

    Raises
    ------
    DataError
        At an external link, a circle of soft links, and a dataset whose values lie in
        another file (virtual or external storage).
    """
    parts, done, links = _parts(path), "/", 0
    node: Any = file
    while parts:
        name = parts.pop(0)
        if not isinstance(node, h5py.Group):
            return None
        link = node.get(name, getlink=True)
        here = posixpath.join(done, name)
        if link is None:
            return None
        if isinstance(link, h5py.ExternalLink):
            raise DataError(
                f"{file.filename}: key {here!r} is an external link to {link.filename!r}, which "
                "is not followed: copy the data into one file (h5repack, h5copy)"
            )
        if isinstance(link, h5py.SoftLink):
            links += 1
            if links > _MAX_LINKS:
                raise DataError(f"{file.filename}: key {path!r}: soft links go in a circle")
            parts = _parts(posixpath.join(done, link.path)) + parts
            node, done = file, "/"
            continue
        node, done = node[name], here
    if isinstance(node, h5py.Dataset):
        _check_storage(file, node)
    return node


def dataset(file: h5py.File, path: str) -> h5py.Dataset | None:
    """Return the dataset at a path, or None where there is none."""
    node = find(file, path)
    return node if isinstance(node, h5py.Dataset) else None


def has(file: h5py.File, name: str) -> bool:
    """Tell whether the root holds a name, without following what it links to."""
    return file.get(name, getlink=True) is not None


def first(file: h5py.File, paths: tuple[str, ...], what: str) -> h5py.Dataset:
    """Return the first of several datasets that exists.

    Raises
    ------
    DataError
        If none exists; the keys of the file are listed.
    """
    for path in paths:
        found = dataset(file, path)
        if found is not None:
            return found
    raise DataError(
        f"{file.filename} lacks {what}: expected one of {', '.join(paths)}, received the keys "
        f"{', '.join(row[0] for row in rows(file, 40)) or '(none)'}"
    )


def array(source: h5py.Dataset, budget: Budget) -> np.ndarray:
    """Read a dataset of numbers, once its size is allowed for."""
    if source.dtype.kind not in "biufc" or source.shape is None:
        raise DataError(
            f"{source.file.filename}: key {source.name!r}: expected numbers, received "
            f"{source.dtype} {source.shape}"
        )
    budget.take(source.shape, source.dtype.itemsize, f"{source.file.filename}:{source.name}")
    check_storage(source, budget)
    return source[()]


def check_storage(source: h5py.Dataset, budget: Budget) -> None:
    """Refuse a dataset that only foreign code unpacks, or whose chunks are too large.

    Raises
    ------
    DataError
        With what to allow or to install.
    """
    _check_filters(source, budget.filters)
    _check_chunks(source, budget)


def number(node: h5py.Dataset | None) -> float | None:
    """Return the value of a dataset that holds one number; None stays None."""
    if node is None:
        return None
    if node.size != 1 or node.dtype.kind not in "iuf":
        raise DataError(
            f"{node.file.filename}: key {node.name!r}: expected one number, received "
            f"{node.dtype} {node.shape}"
        )
    return float(np.asarray(small(node)).reshape(()))


def small(node: h5py.Dataset) -> Any:
    """Return the value of a dataset that holds one number or one text.

    Raises
    ------
    DataError
        If it is large: that is refused before it is read.
    """
    size = node.id.get_storage_size()
    kind = h5py.check_string_dtype(node.dtype)
    if node.size is None or node.size > 64 or max(size, node.dtype.itemsize) > _SMALL:
        raise DataError(
            f"{node.file.filename}: key {node.name!r}: expected one number or text, received "
            f"{node.dtype} {node.shape}"
        )
    if node.dtype.kind == "O" and kind is None:
        raise DataError(f"{node.file.filename}: key {node.name!r}: {node.dtype} is not read")
    _check_filters(node, FILTERS)
    _check_chunks(node, Budget(1.0))
    longest = heaps.longest(node)
    if longest > _SMALL:
        raise DataError(
            f"{node.file.filename}: key {node.name!r}: expected a short text, received one of "
            f"{longest} bytes"
        )
    return node[()]


def attribute(node: h5py.Group | h5py.Dataset, key: str) -> Any:
    """Return a small attribute, or None where there is none.

    Raises
    ------
    DataError
        If it is large, or holds references or mixed types: that is refused before it is read.
    """
    if key not in node.attrs:
        return None
    found = node.attrs.get_id(key)
    count = math.prod(found.shape) if found.shape is not None else 0
    mixed = found.dtype.kind in "OV" and h5py.check_string_dtype(found.dtype) is None
    if mixed or count * max(found.dtype.itemsize, 1) > _SMALL:
        raise DataError(
            f"{node.file.filename}: attribute {key!r} of {node.name!r}: expected a number or a "
            f"text, received {found.dtype} {found.shape}"
        )
    return node.attrs[key]


def text(value: Any) -> str:
    """Return a string of an attribute or a dataset's value as str."""
    if isinstance(value, np.ndarray) and value.size == 1:
        value = value.reshape(-1)[0]
    return value.decode("utf-8", "replace") if isinstance(value, bytes) else str(value)


def rows(file: h5py.File, limit: int) -> list[tuple[str, tuple[int, ...] | None, str]]:
    """List names, shapes and types, without following links.

    Parameters
    ----------
    file : h5py.File
    limit : int
        Largest number of rows.

    Returns
    -------
    list of (name, shape or None, type)
        The type of a group is "group", of a link "link to ...".
    """
    found: list[tuple[str, tuple[int, ...] | None, str]] = []

    def walk(group: h5py.Group, prefix: str, depth: int) -> None:
        for name in group:
            if len(found) >= limit:
                return
            link, here = group.get(name, getlink=True), posixpath.join(prefix, name)
            if isinstance(link, h5py.ExternalLink):
                found.append((here, None, f"link to {link.filename}:{link.path}"))
            elif isinstance(link, h5py.SoftLink):
                found.append((here, None, f"link to {link.path}"))
            elif isinstance(node := group[name], h5py.Dataset):
                found.append((here, node.shape, str(node.dtype)))
            else:
                found.append((here, None, "group"))
                # hard links can make circles
                if depth < _MAX_DEPTH and isinstance(node, h5py.Group):
                    walk(node, here, depth + 1)

    walk(file, "/", 0)
    return found


def total_bytes(source: BinaryIO, name: str) -> int:
    """Return the declared size of all datasets of a file of nothing but groups and numbers.

    Parameters
    ----------
    source : binary file
    name : str
        For the message.

    Raises
    ------
    DataError
        At any link but a hard one, at values in another file, and at datasets that are
        neither numbers nor short text.
    """
    try:
        with h5py.File(source, "r") as file:
            return sum(_sizes(file, name, 0))
    except PpnError:
        raise
    except _LIBRARY as error:
        raise DataError(
            f"{name} cannot be read as HDF5 ({type(error).__name__}: {error}): it may be damaged"
        ) from error


def _sizes(group: h5py.Group, name: str, depth: int) -> Iterator[int]:
    if depth > _MAX_DEPTH:
        raise DataError(f"{name}: groups nest deeper than {_MAX_DEPTH} levels")
    for key in group:
        if not isinstance(group.get(key, getlink=True), h5py.HardLink):
            raise DataError(f"{name}: key {key!r} is a link, which is not followed")
        node = group[key]
        if isinstance(node, h5py.Group):
            yield from _sizes(node, name, depth + 1)
            continue
        if not isinstance(node, h5py.Dataset) or node.shape is None:
            raise DataError(f"{name}: key {key!r} is neither a group nor numbers")
        _check_storage(node.file, node)
        _check_filters(node, FILTERS)
        if node.dtype.kind in "OV":
            small(node)
        yield node.size * node.dtype.itemsize


def _parts(path: str) -> list[str]:
    return [part for part in posixpath.normpath(path).split("/") if part not in ("", ".")]


def _check_storage(file: h5py.File, node: h5py.Dataset) -> None:
    names = [item[0] for item in node.external or ()]
    if node.is_virtual:
        names += [item.file_name for item in node.virtual_sources() if item.file_name != "."]
    if names:
        raise DataError(
            f"{file.filename}: the values of {node.name!r} lie in another file ({names[0]!r}), "
            "which is not followed: copy the data into one file (h5repack, h5copy)"
        )


def _check_filters(node: h5py.Dataset, allowed: Collection[int]) -> None:
    creation = node.id.get_create_plist()
    for index in range(creation.get_nfilters()):
        code, _, _, label = creation.get_filter(index)
        where = f"{node.file.filename}: {node.name!r} is compressed with filter {code}"
        # asked in this order: a filter that is asked for may be loaded from a plug-in
        if code not in allowed:
            raise DataError(
                f"{where} ({text(label)}), which is foreign code: pass allow_filters=({code},), on "
                f"the command line --allow-filter {code}, if the file is one that you trust"
            )
        # beamline detectors write bitshuffle and LZ4: importing the package registers them
        if not h5py.h5z.filter_avail(code) and importlib.util.find_spec("hdf5plugin"):
            importlib.import_module("hdf5plugin")
        if not h5py.h5z.filter_avail(code):
            raise DataError(
                f"{where} ({text(label)}), which is not installed: pip install hdf5plugin"
            )


def _check_chunks(node: h5py.Dataset, budget: Budget) -> None:
    """Refuse chunks larger than all that may be read: one is unpacked as a whole."""
    if node.chunks is not None:
        budget.check(node.chunks, node.dtype.itemsize, f"{node.file.filename}:{node.name} (chunk)")
