"""Global heaps of HDF5 files, where texts of variable length lie.

The HDF5 library walks through the objects of a heap by their declared sizes. A free part of
declared size 0 keeps it in one place for ever, inside C, where nothing stops it.
"""

from __future__ import annotations

import mmap
from collections.abc import Iterator
from pathlib import Path
from typing import Final

import h5py

from ppn_tf.errors import DataError

#: Larger files are not searched: they would be read as a whole, only to be opened [bytes].
SEARCHED_BYTES: Final = 1 << 28

_SIGNATURE: Final = b"GCOL\x01\x00\x00\x00"


def check(path: Path, length_bytes: int) -> None:
    """Refuse a file with a heap that the library would never leave.

    Parameters
    ----------
    path : Path
        An HDF5 file; one larger than `SEARCHED_BYTES` is not searched.
    length_bytes : int
        Size of lengths in the file, see ``h5py.h5p.PropFCID.get_sizes``.

    Raises
    ------
    DataError
        If a free part of a heap declares the size 0.

    Notes
    -----
    HDF5 file format specification, section III.E, "Global Heap".
    """
    if not 0 < path.stat().st_size <= SEARCHED_BYTES:
        return
    with (
        path.open("rb") as stream,
        mmap.mmap(stream.fileno(), 0, access=mmap.ACCESS_READ) as content,
    ):
        start = content.find(_SIGNATURE)
        while start >= 0:
            if any(step == 0 for step in _steps(content, start, length_bytes)):
                raise DataError(
                    f"{path}: the global heap at byte {start} has a part of size 0, which the HDF5 "
                    "library would never leave: the file is damaged"
                )
            start = content.find(_SIGNATURE, start + 1)


def longest(node: h5py.Dataset) -> int:
    """Return the length that the longest text of a small dataset declares [bytes].

    The library makes room for it before it looks whether the text is there.

    Parameters
    ----------
    node : h5py.Dataset
        Of texts of variable length; others, and those that do not lie in one piece in the
        file, give 0.
    """
    at = node.id.get_offset()
    if node.dtype.kind != "O" or at is None or node.size is None:
        return 0
    address_bytes = node.file.id.get_create_plist().get_sizes()[0]
    # each has its length, the address of its heap, and its number there
    each = 4 + address_bytes + 4
    with Path(node.file.filename).open("rb") as stream:
        stream.seek(at)
        held = stream.read(each * node.size)
    return max(
        (int.from_bytes(held[i : i + 4], "little") for i in range(0, len(held), each)), default=0
    )


def _steps(content: mmap.mmap, start: int, length_bytes: int) -> Iterator[int]:
    """Yield how far the library goes from each object of a heap to the next; 0 ends it."""
    header = len(_SIGNATURE) + length_bytes
    at = start + header
    size = int.from_bytes(content[at - length_bytes : at], "little")
    end = min(start + size, len(content))
    while at + header <= end:
        index = int.from_bytes(content[at : at + 2], "little")
        held = int.from_bytes(content[at + 8 : at + header], "little")
        # object 0 is the free part, and counts its own header
        step = header + (held + 7) // 8 * 8 if index else held
        yield step
        if step == 0:
            return
        at += step
