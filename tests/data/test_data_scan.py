import numpy as np
import pytest

from ppn_tf.data import scan
from ppn_tf.errors import OptionError


def test_paper_raster():
    raster = scan.raster((512, 512))
    assert raster.grid_shape == (61, 61)
    assert raster.positions_px.shape == (3721, 2)
    assert raster.positions_px.dtype == np.int32
    rows, cols = raster.positions_px.reshape(61, 61, 2).transpose(2, 0, 1)
    np.testing.assert_array_equal(rows, np.repeat(np.arange(0, 481, 8)[:, None], 61, axis=1))
    np.testing.assert_array_equal(cols, rows.T)


def test_oblong_object_is_row_major():
    raster = scan.raster((20, 30), window_px=10, step_px=5)
    assert raster.grid_shape == (3, 5)
    assert raster.positions_px[:6].tolist() == [[0, 0], [0, 5], [0, 10], [0, 15], [0, 20], [5, 0]]


def test_fractional_step_is_rounded_position_by_position():
    raster = scan.raster((48, 48), window_px=32, step_px=3.2)
    assert raster.positions_px[:6, 1].tolist() == [0, 3, 6, 10, 13, 16]


def test_jitter_is_seeded_bounded_and_inside():
    still = scan.raster((512, 512)).positions_px
    moved = scan.raster((512, 512), jitter_px=3, seed=5).positions_px
    shift = moved - still
    assert set(np.unique(shift)) == set(range(-3, 4))
    assert moved.min() >= 0
    assert moved.max() <= 480
    np.testing.assert_array_equal(moved, scan.raster((512, 512), jitter_px=3, seed=5).positions_px)
    assert (moved != scan.raster((512, 512), jitter_px=3, seed=6).positions_px).any()
    # away from the border uniform on seven values: 1/7 with a standard error of 0.0042
    inner = shift.reshape(61, 61, 2)[1:-1, 1:-1].ravel()
    np.testing.assert_allclose(np.bincount(inner + 3) / inner.size, 1 / 7, atol=0.02)


@pytest.mark.parametrize(
    ("overlap", "exact", "released"),
    [
        (0.0, 32.0, 32),
        (0.25, 24.0, 24),
        (0.3, 22.4, 22),
        (0.5, 16.0, 16),
        (0.6, 12.8, 12),
        (0.75, 8.0, 8),
        (0.9, 3.2, 3),
    ],
)
def test_overlap_to_step(overlap, exact, released):
    assert scan.step_from_overlap(32, overlap) == exact
    assert scan.step_from_overlap(32, overlap, rule="released") == released


@pytest.mark.parametrize("overlap", [1.0, 1.5, -0.1, float("nan")])
def test_impossible_overlap(overlap):
    with pytest.raises(OptionError, match="overlap must be at least 0 and below 1"):
        scan.step_from_overlap(32, overlap)


def test_overlap_with_a_step_below_a_pixel():
    with pytest.raises(OptionError, match="means a step of 0.64 px: expected a step of at least"):
        scan.step_from_overlap(32, 0.98)


def test_unknown_rule():
    with pytest.raises(OptionError, match="unknown step rule 'x': expected one of exact, released"):
        scan.step_from_overlap(32, 0.5, rule="x")


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"window_px": 65}, "expected at most 64 for an object of 64 x 64, received 65"),
        ({"step_px": 0.5}, "step_px must be at least 1 pixel, received 0.5"),
        ({"step_px": float("nan")}, "step_px must be at least 1 pixel, received nan"),
        ({"jitter_px": -1}, "jitter_px must be an integer of at least 0, received -1"),
        ({"jitter_px": 1.5}, "jitter_px must be an integer of at least 0, received 1.5"),
    ],
)
def test_impossible_rasters(options, message):
    with pytest.raises(OptionError, match=message):
        scan.raster((64, 64), **options)
