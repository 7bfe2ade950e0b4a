"""HDF5 as the formats need it: no way out of the file, no allocation before a check."""

from __future__ import annotations

import contextlib
import posixpath
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

import h5py
import numpy as np

from ppn_tf.data.formats.memory import Budget
from ppn_tf.errors import DataError

#: Soft links that one path may follow.
_MAX_LINKS: Final = 16


@contextlib.contextmanager
def opened(path: Path) -> Iterator[h5py.File]:
    """Open a file to read.

    Raises
    ------
    DataError
        If it does not exist or is no HDF5 file, or a value in it cannot be read.
    """
    if not path.is_file():
        raise DataError(f"{path} does not exist: check the path")
    try:
        with h5py.File(path, "r") as file:
            yield file
    except OSError as error:
        raise DataError(f"{path} cannot be read as HDF5 ({error})") from error


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
    return source[()]


def number(node: h5py.Dataset | None) -> float | None:
    """Return the value of a dataset that holds one number; None stays None."""
    if node is None:
        return None
    if node.size != 1 or node.dtype.kind not in "iuf":
        raise DataError(
            f"{node.file.filename}: key {node.name!r}: expected one number, received "
            f"{node.dtype} {node.shape}"
        )
    return float(np.asarray(node[()]).reshape(()))


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
                if depth < 32 and isinstance(node, h5py.Group):
                    walk(node, here, depth + 1)

    walk(file, "/", 0)
    return found


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
    creation = node.id.get_create_plist()
    for index in range(creation.get_nfilters()):
        code, _, _, label = creation.get_filter(index)
        if not h5py.h5z.filter_avail(code):
            raise DataError(
                f"{file.filename}: {node.name!r} is compressed with filter {code} "
                f"({text(label)}), which is not installed: pip install hdf5plugin and import it"
            )
