"""Damaged global heaps, which the HDF5 library itself would never leave."""

import h5py
import pytest

from ppn_tf.data.formats import hdf5, heaps
from ppn_tf.errors import DataError

TEXT = "a text of variable length"


@pytest.fixture
def path(tmp_path):
    path = tmp_path / "texts.h5"
    with h5py.File(path, "w") as file:
        file.attrs["comments"] = TEXT
        file["name"] = TEXT
    return path


def free_part(content):
    """Return where the size of the heap's free part stands."""
    at = content.index(b"GCOL") + 16
    while int.from_bytes(content[at : at + 2], "little"):
        at += 16 + (int.from_bytes(content[at + 8 : at + 16], "little") + 7) // 8 * 8
    return at + 8


def test_a_whole_file_is_read(path):
    with hdf5.opened(path) as file:
        assert file.attrs["comments"] == TEXT


def test_a_part_of_size_0_is_refused_before_the_library_meets_it(path):
    content = bytearray(path.read_bytes())
    at = free_part(content)
    # it ends where the heap does
    assert at - 8 + int.from_bytes(content[at : at + 8], "little") == content.index(b"GCOL") + 4096
    content[at : at + 8] = bytes(8)
    path.write_bytes(content)
    with (
        pytest.raises(DataError, match=r"global heap at byte \d+ has a part of size 0"),
        hdf5.opened(path),
    ):
        pass


def test_large_files_are_not_searched(path, monkeypatch):
    content = bytearray(path.read_bytes())
    at = free_part(content)
    content[at : at + 8] = bytes(8)
    path.write_bytes(content)
    monkeypatch.setattr(heaps, "SEARCHED_BYTES", 100)
    heaps.check(path, 8)


def test_the_signature_alone_is_no_heap(tmp_path):
    path = tmp_path / "any"
    path.write_bytes(b"GCOL" * 9 + b"GCOL\x01\x00\x00\x00")
    heaps.check(path, 8)


def test_a_text_that_declares_more_than_it_holds_is_not_given_the_room(path):
    with h5py.File(path) as file:
        at = file["name"].id.get_offset()
        assert heaps.longest(file["name"]) == len(TEXT)
    content = bytearray(path.read_bytes())
    content[at : at + 4] = (3 << 28).to_bytes(4, "little")
    path.write_bytes(content)
    with (
        pytest.raises(DataError, match="key '/name': expected a short text, received one of 8053"),
        hdf5.opened(path) as file,
    ):
        hdf5.small(file["name"])


def test_numbers_have_no_length(tmp_path):
    with h5py.File(tmp_path / "numbers.h5", "w") as file:
        file["one"] = 1.5
        assert heaps.longest(file["one"]) == 0
        assert hdf5.small(file["one"]) == 1.5
