"""Comparison of two reconstructions: what is taken out, what is scored, where."""

import numpy as np
import pytest

from ppn_tf import comparison
from ppn_tf.data.random_objects import random_object
from ppn_tf.errors import DataError, OptionError


@pytest.fixture(scope="module")
def field():
    return random_object((40, 44), seed=3, phase_range_rad=(-0.7, 0.7)).complex


def centres(shape=(40, 44), step=4):
    grid = np.stack(np.meshgrid(*(np.arange(8, side - 7, step) for side in shape), indexing="ij"))
    return grid.reshape(2, -1).T.astype(float)


def test_equal_fields(field):
    found = comparison.compare(field, field, centres(), "none")
    assert found.scores["amplitude"]["psnr_db"] is None
    assert found.scores["amplitude"]["ssim"] == pytest.approx(1)
    assert found.scores["relative_error"] == 0
    assert found.scores["frc_band"] == (found.frequency[1], found.frequency[-1])
    # 6 px, 1.5 steps, around centres at 8 ... 32 and 8 ... 36; corners are round
    rows, cols = found.box
    assert (rows.start, cols.start) >= (2, 2)
    assert found.reference.shape == (rows.stop - rows.start, cols.stop - cols.start)


def test_each_alignment_takes_out_what_it_says(field):
    rows, cols = np.indices(field.shape)
    turned = field * np.exp(1.1j)
    scaled = 0.5 * turned
    tilted = scaled * np.exp(1j * (0.05 * rows - 0.02 * cols))
    for name, changed, before in (
        ("phase", turned, "none"),
        ("scale", scaled, "phase"),
        ("ramp", tilted, "scale"),
    ):
        error = comparison.compare(changed, field, centres(), name).scores["relative_error"]
        # complex64; the ramp is found by a search
        assert error < 1e-4, name
        error = comparison.compare(changed, field, centres(), before).scores["relative_error"]
        assert error > 0.1, name


def test_a_shift_is_found_between_pixels():
    """A smooth field at moved points, tilted: cut out of the analytic one, not interpolated."""

    def at(rows, cols):
        angle = np.sin(rows / 5) * np.cos(cols / 4) + 0.5 * np.sin((rows + 2 * cols) / 9)
        return (1 + 0.3 * np.cos(rows / 6 - cols / 5)) * np.exp(1j * angle)

    rows, cols = np.indices((72, 80)).astype(float)
    reference = at(rows, cols)
    # what lies at (r, c) of the reference lies at (r - 1.4, c + 2.25) here
    moved = 0.8 * at(rows + 1.4, cols - 2.25) * np.exp(1j * (0.3 * rows - 0.2 * cols))
    found = comparison.compare(moved, reference, centres((72, 80)), "shift")
    # in steps of 1/100 px; measured 1e-12
    np.testing.assert_allclose(found.shift_px, (1.4, -2.25), atol=0.01)
    # measured 4e-4, and 8e-4 beside a hole; with the ramp alone 0.34
    assert found.scores["relative_error"] < 2e-3
    assert (
        comparison.compare(moved, reference, centres((72, 80)), "ramp").scores["relative_error"]
        > 0.3
    )
    holed = moved.copy()
    holed[:12] = np.nan
    found = comparison.compare(holed, reference, centres((72, 80)), "shift")
    assert found.box[0].start >= 12 + 1.4 + 2
    assert found.scores["relative_error"] < 2e-3


def test_what_lies_in_its_place_is_not_moved(field):
    found = comparison.compare(field, field, centres(), "shift")
    assert found.shift_px == (0.0, 0.0)
    assert found.scores["relative_error"] < 1e-6


def test_scores_by_hand(field):
    """A known error: PSNR is 20 log10(range / error)."""
    amplitude, angle = np.abs(field), np.angle(field)
    found = comparison.compare(
        (amplitude + 0.01) * np.exp(1j * (angle + 0.02)), field, centres(), "none"
    ).scores
    for name, error in (("amplitude", 0.01), ("phase", 0.02)):
        expected = 20 * np.log10(found[name]["data_range"] / error)
        # complex64 fields
        assert found[name]["psnr_db"] == pytest.approx(expected, abs=0.01)


def test_a_full_turn_of_phase_is_no_error(field):
    near_pi = field * np.exp(1j * (np.pi - 0.1))
    found = comparison.compare(near_pi * np.exp(0.05j), near_pi, centres(), "none").scores
    assert found["phase"]["psnr_db"] > 25


def test_noise_that_is_not_shared_lowers_the_frc(field):
    draws = np.random.default_rng(0)
    noisy = field + 0.3 * (draws.normal(size=field.shape) + 1j * draws.normal(size=field.shape))
    found = comparison.compare(noisy, field, centres(), "phase")
    low, high = found.scores["frc_band"]
    assert low == found.frequency[1] and high < 1
    assert len(found.frequency) == len(found.frc)


def test_a_common_mean_is_no_resolution():
    draws = np.random.default_rng(1)
    one, other = (5 + draws.normal(size=(40, 44, 2)) @ (1, 1j) for _ in range(2))
    found = comparison.compare(one, other, centres(), "none")
    # the taper spreads a mean into the first ring; measured 0.43, with the mean 0.999
    assert abs(found.frc[1]) < 0.6


def test_box_of_a_disc_lies_inside():
    rows, cols = np.indices((50, 60)) - np.array([25, 30]).reshape(2, 1, 1)
    disc = rows**2 + cols**2 < 20**2
    box = comparison.inner_box(disc)
    assert disc[box].all()
    # the inscribed square of a circle of radius 20 has a side of 28
    assert 22 <= box[0].stop - box[0].start <= 36


def test_refusals(field):
    with pytest.raises(OptionError, match="alignment: expected one of none"):
        comparison.compare(field, field, centres(), "all")
    with pytest.raises(DataError, match="share no scanned area"):
        comparison.compare(np.full_like(field, np.nan), field, centres())
    with pytest.raises(DataError, match="amplitude is plain"):
        comparison.compare(field, np.ones_like(field), centres())
    with pytest.raises(DataError, match="at least two positions"):
        comparison.compare(field, field, centres()[:1])
    holed = field.copy()
    holed[20, 20] = np.nan
    with pytest.raises(DataError, match="without holes"):
        comparison.compare(holed, field, centres())


def test_scanned_area_of_scattered_positions_has_no_holes():
    """Drawn at random, as on scan 247 many lie close to another: gaps are wider than they."""
    draws = np.random.default_rng(0)
    places = draws.uniform(20, 100, (120, 2))
    near = comparison.scanned(places, (120, 120))
    assert near[30:90, 30:90].all()
    assert not near[:5].any()
