import dataclasses

import numpy as np
import pytest

from ppn_tf.data import scan, splits
from ppn_tf.data.dataset import Dataset
from ppn_tf.errors import DataError, OptionError


def _dataset(jitter_px=0, seed=0, step_px=8.0):
    """A raster of the paper's geometry; the split reads nothing but positions."""
    raster = scan.raster((512, 512), 32, step_px, jitter_px, seed)
    ones = np.broadcast_to(np.float32(1), (len(raster.positions_px), 32, 32))
    return Dataset(ones, ones, ones, raster.positions_px, raster.grid_shape, (512, 512))


@pytest.fixture(scope="module")
def paper():
    return _dataset()


@pytest.fixture(scope="module")
def jittered():
    return _dataset(jitter_px=3, seed=1)


def test_training_rows(paper):
    indices = splits.train_indices(paper)
    assert len(indices) == 2928
    rows = indices // 61
    assert (rows.min(), rows.max()) == (0, 47)
    assert len(splits.TRAIN_ROWS) == 48


@pytest.mark.parametrize(
    ("region", "count", "rows", "cols"),
    [
        ("lower-left", 169, (48, 60), (0, 12)),
        ("lower-right", 169, (48, 60), (48, 60)),
        ("rows", 793, (48, 60), (0, 60)),
        ("first-release", 2304, (13, 60), (13, 60)),
        # training reaches pixel row 47 * 8 + 32 = 408 = 51 * 8
        ("gap", 610, (51, 60), (0, 60)),
    ],
)
def test_regions(paper, region, count, rows, cols):
    indices = splits.region_indices(paper, region)
    assert len(indices) == count
    assert (indices == np.sort(indices)).all()
    for part, ends in ((indices // 61, rows), (indices % 61, cols)):
        assert (part.min(), part.max()) == ends


@pytest.mark.parametrize(
    ("region", "patches", "field", "in_training"),
    [
        # 75 + 50 + 25 % of three of thirteen rows; 24 of 128 pixel rows
        ("lower-left", 1.5 / 13, 24 / 128, 0),
        ("lower-right", 1.5 / 13, 24 / 128, 0),
        ("rows", 1.5 / 13, 24 / 128, 0),
        # 35 of 48 rows train, three more share; pixel rows 104..408 of 104..512
        ("first-release", (35 + 1.5) / 48, 304 / 408, 1680),
        ("gap", 0.0, 0.0, 0),
    ],
)
def test_shared_pixels(paper, region, patches, field, in_training):
    shared = splits.shared_pixels(paper, region)
    # exact ratios of integers, so double rounding only
    assert shared.patch_pixels_shared_fraction == pytest.approx(patches, rel=1e-12)
    assert shared.field_pixels_shared_fraction == pytest.approx(field, rel=1e-12)
    assert shared.patches_in_training == in_training


def _mask(dataset, indices):
    mask = np.zeros(dataset.object_shape, bool)
    for row, col in dataset.positions_px[indices]:
        mask[row : row + 32, col : col + 32] = True
    return mask


def test_jittered_gap_and_shares_against_a_loop(jittered):
    training = _mask(jittered, splits.train_indices(jittered))
    rows = splits.region_indices(jittered, "rows")
    counts = np.array(
        [training[r : r + 32, c : c + 32].sum() for r, c in jittered.positions_px[rows]]
    )
    np.testing.assert_array_equal(splits.region_indices(jittered, "gap"), rows[counts == 0])
    assert 540 < (counts == 0).sum() < 610  # 552 to 565 for seven seeds
    shared = splits.shared_pixels(jittered, "rows")
    assert shared.patch_pixels_shared_fraction == pytest.approx(counts.sum() / (793 * 1024))
    field = _mask(jittered, rows)
    assert shared.field_pixels_shared_fraction == pytest.approx(
        (training & field).sum() / field.sum()
    )
    assert splits.shared_pixels(jittered, "gap").patch_pixels_shared_fraction == 0


def test_unknown_region_lists_the_known(paper):
    message = (
        "unknown region 'x': expected one of lower-left, lower-right, rows, first-release, gap"
    )
    for function in (splits.region_indices, splits.shared_pixels):
        with pytest.raises(OptionError, match=message):
            function(paper, "x")


def test_other_grids_are_refused(paper):
    with pytest.raises(DataError, match="raster of 61 x 61, received grid_shape None"):
        splits.train_indices(paper.subset(np.arange(10)))
    with pytest.raises(DataError, match=r"received grid_shape \(31, 31\)"):
        splits.region_indices(_dataset(step_px=16), "rows")


def test_region_without_patches(paper):
    # every position in one place: everything is shared
    stacked = dataclasses.replace(paper, positions_px=np.zeros_like(paper.positions_px))
    assert splits.region_indices(stacked, "gap").size == 0
    with pytest.raises(DataError, match="the region 'gap' holds no patch"):
        splits.shared_pixels(stacked, "gap")


def test_validation_is_the_last_five_per_cent(paper):
    indices = splits.train_indices(paper)
    train, validation = splits.split_validation(indices, seed=0)
    assert (len(train), len(validation)) == (2781, 147)
    np.testing.assert_array_equal(np.sort(np.r_[train, validation]), indices)
    again = splits.split_validation(indices, seed=0)
    np.testing.assert_array_equal(again[1], validation)
    assert set(splits.split_validation(indices, seed=1)[1]) != set(validation)


@pytest.mark.parametrize(("count", "fraction"), [(1, 0.05), (10, 0.0), (10, 1.0), (0, 0.05)])
def test_validation_that_leaves_a_part_empty(count, fraction):
    with pytest.raises(OptionError, match=f"share of {fraction} of {count} patches leaves a part"):
        splits.split_validation(np.arange(count), 0, fraction)


def test_subsamples_are_nested(paper):
    indices = splits.train_indices(paper)
    sets = [set(splits.subsample(indices, n, seed=2).tolist()) for n in (50, 100, 400)]
    assert [len(part) for part in sets] == [50, 100, 400]
    assert sets[0] < sets[1] < sets[2]
    assert set(splits.subsample(indices, 50, seed=3).tolist()) != sets[0]
    np.testing.assert_array_equal(splits.subsample(indices, 2928, seed=2), indices)


@pytest.mark.parametrize("count", [0, 11])
def test_subsample_of_impossible_size(count):
    with pytest.raises(OptionError, match=f"from 1 to the 10 patches there are, received {count}"):
        splits.subsample(np.arange(10), count, 0)
