"""Ranges of patterns from an open file."""

import h5py
import numpy as np
import pytest

from ppn_tf.data import formats
from ppn_tf.data.formats.frames import Frames
from ppn_tf.errors import DataError, OptionError

VALUES = np.arange(3 * 4 * 6 * 5, dtype=np.uint16).reshape(12, 6, 5)


@pytest.mark.parametrize("raster", [False, True])
@pytest.mark.parametrize("zero", ["centre", "corner"])
def test_ranges_are_those_of_the_whole(tmp_path, raster, zero):
    with h5py.File(tmp_path / "a.h5", "w") as file:
        file["dp"] = VALUES.reshape(3, 4, 6, 5) if raster else VALUES
        found = Frames(file["dp"], zero)
        whole = VALUES if zero == "centre" else np.fft.fftshift(VALUES, axes=(1, 2))
        assert found.shape == (12, 6, 5)
        for start, stop in ((0, 12), (0, 3), (3, 5), (4, 8), (7, 12), (11, 20), (5, 5)):
            np.testing.assert_array_equal(found[start:stop], whole[start:stop])


@pytest.mark.parametrize(
    "values", [np.zeros((4, 4)), np.zeros((2, 4, 4), complex), np.zeros((0, 4, 4))]
)
def test_what_is_no_stack_of_patterns_is_refused(tmp_path, values):
    with h5py.File(tmp_path / "a.h5", "w") as file:
        file["dp"] = values
        with pytest.raises(DataError, match="key '/dp': expected real patterns"):
            Frames(file["dp"])
    with h5py.File(tmp_path / "b.h5", "w") as file:
        file["dp"] = VALUES
        with pytest.raises(OptionError, match="zero_frequency: expected one of centre, corner"):
            Frames(file["dp"], "middle")


def test_a_format_of_many_parts_cannot_stay_in_its_file(tmp_path):
    np.savez(tmp_path / "a.npz", patterns=VALUES)
    with pytest.raises(OptionError, match="patterns of format npz do not lie in one data set"):
        formats.locate(tmp_path / "a.npz")
