"""Edge widths, contrast and seams of images whose values are known by construction."""

import math

import numpy as np
import pytest
import scipy.special

from ppn_tf import sharpness
from ppn_tf.errors import DataError


def step(size=64, edge=32):
    return np.broadcast_to((np.arange(size) >= edge).astype(float), (size, size))


def blurred(sigma_px, size=64, edge=32):
    """The step as a Gaussian of `sigma_px` blurs it, exactly."""
    x = np.arange(size) - (edge - 0.5)
    profile = 0.5 * (1 + scipy.special.erf(x / (sigma_px * math.sqrt(2))))
    return np.broadcast_to(profile, (size, size))


# linear interpolation widens narrow edges: measured +0.16, +0.21, +0.04 px
@pytest.mark.parametrize(("sigma_px", "tolerance"), [(1.0, 0.17), (1.5, 0.22), (2.0, 0.05)])
@pytest.mark.parametrize("sign", [1, -1])
@pytest.mark.parametrize("turned", [False, True])
def test_a_blurred_step_has_2_563_sigma(sigma_px, tolerance, sign, turned):
    truth, image = step(), blurred(sigma_px)
    if turned:
        truth, image = truth.T, image.T
    # own levels and contrast do not matter: half the height, another offset
    found = sharpness.edge_width(0.2 + sign * 0.5 * image, sign * truth)
    assert found.prediction_px == pytest.approx(2.563 * sigma_px, abs=tolerance)
    assert found.truth_px == pytest.approx(0.8)
    assert (found.profiles, found.lost) == (64, 0.0)


def test_a_ramp_by_hand():
    # 0, 1/4, 2/4, 3/4, 1 over 4 px: 10 to 90 % are 0.8 of it
    ramp = np.clip((np.arange(64) - 30) / 4, 0, 1)
    found = sharpness.edge_width(np.broadcast_to(ramp, (64, 64)), step())
    assert found.prediction_px == pytest.approx(3.2)


def test_profiles_end_in_the_middle_of_bars():
    bars = np.zeros((40, 80))
    for start in (20, 38, 56):
        bars[5:35, start : start + 9] = 1.0
    found = sharpness.edge_width(bars, bars)
    # six edges along columns of 30 px; the ends of the bars are 9 px long: 6 more edges
    assert found.profiles == 6 * 30 + 6 * 9
    assert found.prediction_px == pytest.approx(0.8)
    thin = np.zeros((40, 80))
    thin[5:35, 20:26] = 1.0  # 3 px to its middle are too few, and its ends are short
    assert sharpness.edge_width(thin, thin) == sharpness.EdgeWidth(None, None, 0, None)


def test_an_edge_that_is_not_predicted_is_lost_not_sharp():
    flat = sharpness.edge_width(np.full((64, 64), 0.5), step())
    assert flat == sharpness.EdgeWidth(None, pytest.approx(0.8), 64, 1.0)
    half = np.array(step())
    half[:16] = 0.5
    assert sharpness.edge_width(half, step()).lost == 0.25
    # the wrong way round is no edge either
    assert sharpness.edge_width(-step(), step()).lost == 1.0


def test_edges_do_not_cross_images_of_a_stack():
    flat = np.stack([np.zeros((32, 32)), np.ones((32, 32))])
    assert sharpness.edge_width(flat, flat).profiles == 0
    pair = np.stack([step(32, 16), step(32, 16)])
    assert sharpness.edge_width(pair, pair).profiles == 64


def test_slopes_and_short_or_wavy_edges_are_no_straight_edges():
    slope = np.broadcast_to(np.arange(64) / 63, (64, 64))
    assert sharpness.edge_width(slope, slope).profiles == 0
    wavy = np.array([np.roll(step(64, 32)[0], i % 2) for i in range(64)])[:, 8:56]
    assert sharpness.edge_width(wavy, wavy).profiles == 0


def test_contrast_by_hand():
    truth = step(32, 16)
    bright = truth > 0.5
    assert sharpness.contrast(truth, truth, bright) == 1.0
    assert sharpness.contrast(0.3 + 0.4 * truth, truth, bright) == pytest.approx(0.4)
    # true differences 1 and 0.5, predicted 0.8 and 0.1: (0.8 + 0.05) / 1.25
    stack, ours = np.stack([truth, 0.5 * truth]), np.stack([0.8 * truth, 0.1 * truth])
    masks = np.stack([bright, bright])
    assert sharpness.contrast(ours, stack, masks) == pytest.approx(0.68)


def test_contrast_needs_both_levels():
    truth = step(32, 31)  # 1 of 32 columns is bright: below 5 %
    assert sharpness.contrast(truth, truth, truth > 0.5) is None
    assert sharpness.contrast(truth, np.zeros((32, 32)), step(32, 16) > 0.5) is None


def test_seams_lie_at_the_borders_of_patches():
    positions = np.array([[0, 0], [0, 4], [2, 0]])
    rows, cols = sharpness.seams(positions, 6, (8, 10))
    assert rows.shape == (7, 10)
    assert cols.shape == (8, 9)
    # the patch at (0, 4) starts right of column 3; the other two end right of column 5
    expected = np.zeros((8, 9), bool)
    expected[0:6, 3] = True
    expected[0:8, 5] = True
    np.testing.assert_array_equal(cols, expected)
    expected = np.zeros((7, 10), bool)
    expected[1, 0:6] = True  # top of the third
    expected[5, 0:10] = True  # bottom of the first two
    np.testing.assert_array_equal(rows, expected)


def test_seam_energy_by_hand():
    borders = np.zeros((3, 4), bool), np.zeros((4, 3), bool)
    borders[1][:, 1] = True
    image = np.zeros((4, 4))
    image[:, 2:] = 2.0  # a step of 2 along the seam, of 1 along one other column
    image[:, 3:] = 3.0
    # seam: 4 squares of 4; elsewhere: 4 of 1 among 8 + 12 values
    assert sharpness.seam_energy(image, borders) == pytest.approx(4 / (4 / 20))
    assert sharpness.seam_energy(np.zeros((4, 4)), borders) is None
    noise = np.random.default_rng(0).normal(size=(400, 400))
    lines = sharpness.seams(np.array([[0, 0], [100, 200], [200, 100]]), 100, (400, 400))
    # white noise knows no seams; measured 1.001, over five more seeds 0.93 to 1.08
    assert sharpness.seam_energy(noise, lines) == pytest.approx(1.0, abs=0.15)


def test_seams_clear_of_edges():
    truth = np.zeros((40, 40))
    truth[:, 20:] = 1.0
    near = sharpness.near_edges(truth)
    # the edge runs between columns 19 and 20: four pixels to either side
    expected = np.zeros((40, 40), bool)
    expected[:, 16:24] = True
    np.testing.assert_array_equal(near, expected)
    np.testing.assert_array_equal(sharpness.near_edges(truth.T), expected.T)
    borders = sharpness.seams(np.array([[0, 0], [0, 20], [0, 30]]), 10, (40, 40))
    noise = np.random.default_rng(0).normal(scale=0.01, size=(40, 40))
    # the edge lies on a seam: without it only noise is left
    assert sharpness.seam_energy(truth + noise, borders) > 10
    clear = sharpness.seam_energy(truth + noise, borders, near)
    by_hand = []
    for axis, lines in enumerate(borders):
        squares = np.diff(noise, axis=axis) ** 2
        kept = np.ones_like(lines)
        kept[:, 15 if axis else 16 : 24] = False
        by_hand.append((squares[kept & lines], squares[kept & ~lines]))
    on, off = (np.concatenate(parts).mean() for parts in zip(*by_hand, strict=True))
    assert clear == pytest.approx(on / off)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (
            lambda: sharpness.edge_width(np.zeros((4, 4)), np.zeros((4, 5))),
            r"alike, received shapes \(4, 4\) and \(4, 5\)",
        ),
        (
            lambda: sharpness.contrast(np.full((4, 4), np.nan), np.zeros((4, 4)), np.zeros((4, 4))),
            "prediction has NaN or infinite values: cut uncovered pixels away first",
        ),
        (
            lambda: sharpness.seam_energy(np.zeros((4, 4)), (np.zeros((4, 4)), np.zeros((4, 3)))),
            r"steps of shape \(3, 4\), received borders of shape \(4, 4\)",
        ),
    ],
)
def test_refusals(call, message):
    with pytest.raises(DataError, match=message):
        call()
