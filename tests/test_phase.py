"""Global factor, ramp and unwrapping."""

import re

import numpy as np
import pytest

from ppn_tf.errors import DataError
from ppn_tf.phase import align, unwrap


@pytest.fixture
def truth():
    rng = np.random.default_rng(3)
    rows, cols = np.indices((40, 48))
    phase = 0.6 * np.sin(rows / 5) + 0.5 * np.cos(cols / 7)
    return (0.7 + 0.3 * rng.random(phase.shape)) * np.exp(1j * phase)


def test_the_factor_is_found(truth):
    factor = 0.4 * np.exp(2.1j)
    aligned = align(truth / factor, truth)
    assert aligned.factor == pytest.approx(factor, rel=1e-12)
    assert aligned.ramp_rad_per_px == (0.0, 0.0)
    np.testing.assert_allclose(aligned.field, truth, rtol=0, atol=1e-12)


def test_without_scale_the_amplitude_stays(truth):
    aligned = align(2 * truth * np.exp(-1j), truth, scale=False)
    assert abs(aligned.factor) == pytest.approx(1, rel=1e-12)
    np.testing.assert_allclose(aligned.field, 2 * truth, rtol=0, atol=1e-12)


@pytest.mark.parametrize("slopes", [(0.0137, -0.021), (1.3, 0.2), (-0.4, 2.9)])
def test_a_ramp_is_removed(truth, slopes):
    rows, cols = np.indices(truth.shape)
    tilted = 1.7j * truth * np.exp(-1j * (slopes[0] * rows + slopes[1] * cols))
    aligned = align(tilted, truth, ramp=True)
    # measured: 2e-9 rad/px; 48 px wide, so below 1e-6 rad across
    np.testing.assert_allclose(aligned.ramp_rad_per_px, slopes, rtol=0, atol=2e-8)
    np.testing.assert_allclose(aligned.field, truth, rtol=0, atol=1e-6)


def test_pixels_outside_the_region_decide_nothing(truth):
    region = np.zeros(truth.shape, bool)
    region[5:30, 8:40] = True
    spoilt = np.where(region, truth * 1j, np.nan)
    assert align(spoilt, truth, region=region).factor == pytest.approx(-1j, rel=1e-12)


def test_refusals(truth):
    with pytest.raises(DataError, match=re.escape("received (40, 48) and (48, 40)")):
        align(truth, truth.T)
    with pytest.raises(DataError, match=re.escape("received (40, 48) with 0")):
        align(truth, truth, region=np.zeros(truth.shape, bool))
    with pytest.raises(DataError, match="finite within the region"):
        align(np.where(np.arange(48) == 3, np.nan, truth), truth)
    with pytest.raises(DataError, match="nothing to align"):
        align(np.zeros_like(truth), truth)
    with pytest.raises(DataError, match="received float64"):
        unwrap(truth.real)
    with pytest.raises(DataError, match="received complex128"):
        unwrap(truth[0])


def test_unwrapping_recovers_a_long_slope():
    rows, cols = np.indices((32, 60))
    phase = 0.31 * cols - 0.12 * rows - 5
    found = unwrap(np.exp(1j * phase))
    offset = found - phase
    turns = np.round(offset.mean() / (2 * np.pi))
    np.testing.assert_allclose(offset, 2 * np.pi * turns, rtol=0, atol=1e-9)
    near = unwrap(np.exp(1j * phase), near_rad=float(np.median(phase)) + 2.9)
    np.testing.assert_allclose(near, phase, rtol=0, atol=1e-9)
