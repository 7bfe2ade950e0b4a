"""The streaming loop: any chunk, any array that slices, sums that add up."""

import by_hand
import h5py
import numpy as np
import pytest

from ppn_tf import reconstruction, stitching
from ppn_tf.detector import Fit
from ppn_tf.errors import DataError, OptionError
from ppn_tf.field_sum import FieldSum


@pytest.fixture(scope="module")
def model():
    return by_hand.network()


def empty():
    return FieldSum((24, 28), stitching.weights(8), 2)


@pytest.mark.parametrize("chunk", [1, 7, 1000])
def test_every_chunk_gives_the_object(model, chunk):
    scan = by_hand.scan()
    total = reconstruction.reconstruct(
        model, scan.patterns, scan.positions_px, empty(), chunk=chunk, batch_size=4
    )
    found = reconstruction.complex_object(total)
    # float32 rounding
    np.testing.assert_allclose(found, by_hand.expected(), atol=1e-6)


def test_patches_of_their_own_zero_are_turned():
    """The patches agree already: nothing but the mean phase is taken out."""
    model, scan = by_hand.network(zero="light"), by_hand.scan()
    assert reconstruction.needs_turns(model)
    found, islands = reconstruction.reconstruct_turned(
        model, scan.patterns, scan.positions_px, (24, 28), stitching.weights(8), chunk=7
    )
    mean = by_hand.expected().mean()
    # float32 rounding: measured 2e-7
    np.testing.assert_allclose(found, by_hand.expected() * np.conj(mean) / abs(mean), atol=1e-5)
    assert islands == 1


def test_frames_of_a_file_are_read_chunk_by_chunk(model, tmp_path):
    """An HDF5 data set, in two parts as two workers would take it."""
    scan = by_hand.scan()
    with h5py.File(tmp_path / "dp.h5", "w") as file:
        file["dp"] = scan.patterns.astype(np.uint16)
    reads = []

    class Watched:
        def __init__(self, frames):
            self.frames, self.shape = frames, frames.shape

        def __getitem__(self, key):
            reads.append((key.start, key.stop))
            return self.frames[key]

    with h5py.File(tmp_path / "dp.h5") as file:
        whole = reconstruction.reconstruct(
            model, Watched(file["dp"]), scan.positions_px, empty(), chunk=16
        )
        parts = [empty(), empty()]
        for part, frames in zip(parts, (slice(0, 11), slice(11, None)), strict=True):
            reconstruction.reconstruct(
                model, file["dp"][frames], scan.positions_px[frames], part, chunk=4
            )
    assert reads == [(0, 16), (16, 30)]
    parts[0].add_sum(parts[1])
    # sums in another order
    np.testing.assert_allclose(parts[0].fields(), whole.fields(), atol=1e-12)


def test_counts_are_cropped_binned_and_scaled(model):
    """Each detector pixel of 8 is a block of 2: with half the counts, all is as before."""
    scan = by_hand.scan()
    fine = np.repeat(np.repeat(scan.patterns, 2, axis=1), 2, axis=2)
    fine = np.pad(fine, ((0, 0), (3, 3), (5, 5)))
    total = reconstruction.reconstruct(
        model, fine, scan.positions_px, empty(), fit=Fit((16, 16), 2, counts_factor=0.25)
    )
    np.testing.assert_allclose(reconstruction.complex_object(total), by_hand.expected(), atol=1e-6)


def test_the_bar_counts_patterns_on_standard_error(model, capsys):
    scan = by_hand.scan()
    reconstruction.reconstruct(
        model, scan.patterns, scan.positions_px, empty(), label="reconstruct"
    )
    captured = capsys.readouterr()
    assert captured.out == ""
    assert "reconstruct: 100%" in captured.err
    assert "30/30" in captured.err


def test_refusals(model):
    scan = by_hand.scan()
    with pytest.raises(OptionError, match="chunk and batch_size must be at least 1"):
        reconstruction.reconstruct(model, scan.patterns, scan.positions_px, empty(), chunk=0)
    with pytest.raises(DataError, match="30 patterns and 29 positions"):
        reconstruction.reconstruct(model, scan.patterns, scan.positions_px[1:], empty())
    with pytest.raises(DataError, match="takes patterns of 8 x 8 px, received 6 x 8"):
        reconstruction.reconstruct(model, scan.patterns[:, :6], scan.positions_px, empty())


def test_brightest_pixel_of_training(model):
    assert reconstruction.brightest_known(model) == 200
