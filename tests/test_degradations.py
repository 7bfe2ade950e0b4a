"""Controlled errors, against values computed by hand."""

import numpy as np
import pytest

from ppn_tf import degradations
from ppn_tf.errors import DataError, OptionError


def test_degradations_by_hand():
    rng = np.random.default_rng(0)
    patches = np.arange(9.0).reshape(1, 3, 3)
    moved = degradations.shift(patches, 1, -1)
    # down by one: the first row repeats; left by one: the last column repeats
    np.testing.assert_array_equal(moved[0], [[1, 2, 2], [1, 2, 2], [4, 5, 5]])
    flat = np.zeros((50, 8, 8))
    np.testing.assert_allclose(degradations.blur(flat + 0.3, 2.0), 0.3, rtol=1e-12)
    offset = degradations.patch_offset(flat, 0.15, rng)
    assert np.ptp(offset, axis=(1, 2)).max() == 0
    assert 0.10 < offset[:, 0, 0].std() < 0.20  # 50 draws of sd 0.15: +- 3 standard errors
    assert np.mean(degradations.smooth_error(flat, 0.1, 2.0, rng) ** 2) == pytest.approx(0.01)
    assert degradations.white_noise(flat, 0.1, rng).std() == pytest.approx(0.1, rel=0.06)


def test_a_blur_has_its_width_and_stays_in_its_patch():
    points = np.zeros((2, 41, 41))
    points[0, 20, 20] = 1.0
    found = degradations.blur(points, 1.5)
    assert not found[1].any()
    away = np.arange(41) - 20.0
    for axis in (0, 1):
        profile = found[0].sum(axis=axis)
        # sampled and cut at 4 sigma: measured 2.2495
        assert (profile * away**2).sum() == pytest.approx(1.5**2, rel=0.01)


def test_a_smooth_error_is_correlated_in_a_patch_and_not_between():
    rng = np.random.default_rng(2)
    error = degradations.smooth_error(np.zeros((300, 32, 32)), 1.0, 2.0, rng)
    for axis in (1, 2):
        for lag in (1, 2, 4):
            found = (error * np.roll(error, lag, axis=axis)).mean()
            # white noise through a Gaussian: exp(-lag^2 / 4 sigma^2); measured within 0.005
            assert found == pytest.approx(np.exp(-(lag**2) / 16), abs=0.05)
    assert abs((error[1:] * error[:-1]).mean()) < 0.05


def test_low_rank_keeps_what_lies_in_the_span_and_nothing_else():
    rng = np.random.default_rng(1)
    basis = np.linalg.qr(rng.standard_normal((16, 3)))[0].T.reshape(3, 4, 4)
    train = np.tensordot(rng.standard_normal((40, 2)) * [3.0, 1.0], basis[:2], 1) + 0.5
    inside = np.tensordot(rng.standard_normal((5, 2)), basis[:2], 1) + 0.5
    np.testing.assert_allclose(degradations.low_rank(inside, train, 2), inside, atol=1e-10)
    outside = inside + basis[2]
    np.testing.assert_allclose(degradations.low_rank(outside, train, 2), inside, atol=1e-10)


def test_degradations_refuse_what_they_cannot_use():
    with pytest.raises(DataError, match=r"expected finite patches \(N, H, W\), received shape"):
        degradations.blur(np.zeros((4, 4)), 1.0)
    with pytest.raises(OptionError, match="sigma_px must not be negative, received -1"):
        degradations.blur(np.zeros((1, 4, 4)), -1)
    with pytest.raises(OptionError, match="modes must be from 1 to 16, received 17"):
        degradations.low_rank(np.zeros((1, 4, 4)), np.zeros((1, 4, 4)), 17)
    with pytest.raises(DataError, match=r"must have one size, received \(4, 4\) and \(5, 4\)"):
        degradations.low_rank(np.zeros((1, 4, 4)), np.zeros((1, 5, 4)), 1)
