"""npz files that may be damaged or hostile: every size is checked before it is allocated."""

from __future__ import annotations

import dataclasses
import math
import zipfile
from collections.abc import Callable, Collection, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any

import numpy as np

from ppn_tf.errors import DataError, PpnError

#: Largest total of the arrays of a file that no other limit is given for [bytes].
LIMIT_BYTES = 8 << 30
#: Members of a file; more are a mistake, or made to waste time.
MAX_MEMBERS = 4096
#: Types of which an array may be: numbers, and texts of a fixed length.
_KINDS = "biufcU"
#: bzip2 and lzma may ask for much more memory than they give data.
_COMPRESSIONS = (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED)
_READERS = {
    (1, 0): np.lib.format.read_array_header_1_0,
    (2, 0): np.lib.format.read_array_header_2_0,
}


@dataclasses.dataclass(frozen=True)
class Header:
    """One array of a file, before it is read.

    Attributes
    ----------
    name : str
        Key, without ``.npy``.
    shape : tuple of int
    dtype : numpy.dtype
    """

    name: str
    shape: tuple[int, ...]
    dtype: np.dtype[Any]

    @property
    def size_bytes(self) -> int:
        """Size of the array that the header declares."""
        return math.prod(self.shape) * self.dtype.itemsize


def headers(path: Path | str) -> list[Header]:
    """List the arrays of a file without reading one.

    Raises
    ------
    DataError
        If the file does not exist, is no npz file, holds pickled objects, or declares
        an array of another size than it holds.
    """
    path = Path(path)
    with _opened(path) as archive:
        found = []
        for member in _members(path, archive):
            with archive.open(member) as stream:
                found.append(_header(path, member, stream)[0])
        return found


def read(
    path: Path | str,
    keys: Collection[str] | None = None,
    *,
    allow: Callable[[Header], None] | None = None,
) -> dict[str, np.ndarray]:
    """Read arrays, once their sizes are allowed for.

    Parameters
    ----------
    path : Path or str
    keys : collection of str, optional
        Those to read, all of which must be there; every array by default.
    allow : callable, optional
        Called with the header of every array that will be read, before any is; raises
        to refuse it. By default all arrays together may take `LIMIT_BYTES`.

    Returns
    -------
    dict of str to numpy.ndarray

    Raises
    ------
    DataError
        As `headers`; for a key that is missing; or above the limit.
    """
    path = Path(path)
    with _opened(path) as archive:
        found = {}
        for member in _members(path, archive):
            with archive.open(member) as stream:
                header = _header(path, member, stream)[0]
                found[header.name] = (member, header)
        missing = [key for key in keys or () if key not in found]
        if missing:
            raise DataError(
                f"{path} lacks the keys {', '.join(missing)}, received the keys "
                f"{', '.join(list(found)[:40]) or '(none)'}"
            )
        wanted = {key: found[key] for key in (found if keys is None else keys)}
        _allow(path, [header for _, header in wanted.values()], allow)
        return {key: _array(path, archive, *pair) for key, pair in wanted.items()}


@contextmanager
def _opened(path: Path) -> Iterator[zipfile.ZipFile]:
    if not path.is_file():
        raise DataError(f"{path} does not exist: check the path")
    try:
        with zipfile.ZipFile(path) as archive:
            yield archive
    except PpnError:
        raise
    # zipfile, zlib, struct, tokenize and ast all raise errors of their own on such files
    except Exception as error:
        raise DataError(
            f"{path} cannot be read as npz ({type(error).__name__}: {error}): it may be truncated"
        ) from error


def _members(path: Path, archive: zipfile.ZipFile) -> list[zipfile.ZipInfo]:
    members = archive.infolist()
    if len(members) > MAX_MEMBERS:
        raise DataError(f"{path}: expected at most {MAX_MEMBERS} arrays, received {len(members)}")
    for member in members:
        if member.compress_type not in _COMPRESSIONS:
            raise DataError(
                f"{path}: {member.filename!r} is compressed by method {member.compress_type}: "
                "expected stored or deflated, as NumPy writes"
            )
    return [member for member in members if member.filename.endswith(".npy")]


def _header(path: Path, member: zipfile.ZipInfo, stream: IO[bytes]) -> tuple[Header, bool]:
    """Read the header that a member begins with; tell also whether columns come first."""
    name = member.filename[:-4]
    version = np.lib.format.read_magic(stream)
    if version not in _READERS:
        raise DataError(f"{path}: key {name!r}: npy version {version} is not known")
    shape, columns_first, dtype = _READERS[version](stream)
    if dtype.hasobject:
        raise DataError(
            f"{path}: key {name!r} holds pickled objects, which can run code: save it again as "
            "numbers"
        )
    header = Header(name, tuple(shape), dtype)
    if dtype.kind not in _KINDS or any(side < 0 for side in shape):
        raise DataError(
            f"{path}: key {name!r}: expected numbers or text, received {dtype} {header.shape}"
        )
    # an empty text has no size, and could be declared in any number
    held = member.file_size - stream.tell()
    if header.size_bytes != held or (dtype.itemsize == 0 and math.prod(shape) > 1):
        raise DataError(
            f"{path}: key {name!r} declares {dtype} {header.shape}, {header.size_bytes} bytes, "
            f"and holds {held}: it is truncated, or was changed"
        )
    return header, columns_first


def _allow(path: Path, wanted: list[Header], allow: Callable[[Header], None] | None) -> None:
    if allow is not None:
        for header in wanted:
            allow(header)
        return
    total = sum(header.size_bytes for header in wanted)
    if total > LIMIT_BYTES:
        raise DataError(f"{path} declares arrays of {total} bytes: expected at most {LIMIT_BYTES}")


def _array(
    path: Path, archive: zipfile.ZipFile, member: zipfile.ZipInfo, header: Header
) -> np.ndarray:
    with archive.open(member) as stream:
        columns_first = _header(path, member, stream)[1]
        array = np.empty(header.shape, header.dtype, order="F" if columns_first else "C")
        # of an array of columns first, the transpose lies in memory in the order of the file
        flat = (array.T if columns_first else array).reshape(-1).view(np.uint8)
        received = _fill(stream, flat) if header.size_bytes else 0
    if received != header.size_bytes:
        raise DataError(
            f"{path}: key {header.name!r} declares {header.size_bytes} bytes and holds {received}: "
            "it is truncated"
        )
    return array


def _fill(stream: IO[bytes], target: np.ndarray) -> int:
    """Read into bytes until they are full or the stream ends; return how many were read."""
    done = 0
    while done < len(target):
        block = stream.read(min(len(target) - done, 1 << 20))
        if not block:
            break
        target[done : done + len(block)] = np.frombuffer(block, np.uint8)
        done += len(block)
    return done
