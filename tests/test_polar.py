"""Polar maps and profiles of images that are functions of radius or angle alone."""

import numpy as np
import pytest

from ppn_tf import polar
from ppn_tf.errors import DataError


def coordinates(side=33, center=(16, 16)):
    rows, cols = np.indices((side, side))
    return rows - center[0], cols - center[1]


def test_a_function_of_the_radius_is_constant_along_circles():
    rows, cols = coordinates()
    values, radius, angle = polar.polar_map(np.hypot(rows, cols))
    assert values.shape == (17, 180)
    assert angle[45] == pytest.approx(np.pi / 2)
    # bilinear interpolation of a cone: worst beside its tip
    np.testing.assert_allclose(values[4:], np.broadcast_to(radius[4:, None], (13, 180)), atol=0.04)


def test_angles_run_from_right_to_down():
    rows, cols = coordinates()
    for image, at in ((cols, 0), (rows, 45), (-cols, 90), (-rows, 135)):
        values, radius, _ = polar.polar_map(image)
        # a plane is interpolated exactly
        np.testing.assert_allclose(values[:, at], radius, atol=1e-9)


def test_outside_the_image_is_nan():
    values, *_ = polar.polar_map(np.ones((9, 9)), radii=6)
    assert np.isnan(values[5]).sum() > 0
    assert np.isfinite(values[:5]).all()
    even, *_ = polar.polar_map(np.ones((8, 8)))
    assert even.shape[0] == 4  # the centre is pixel 4, three pixels from the far border


def test_radial_profile_by_hand():
    radius, mean = polar.radial_profile(np.arange(9.0).reshape(3, 3))
    # centre 4; the ring of 1 px holds all others (the diagonal rounds to 1), whose mean is 4
    np.testing.assert_array_equal(radius, [0, 1])
    np.testing.assert_array_equal(mean, [4, 4])
    _, corner = polar.radial_profile(np.arange(9.0).reshape(3, 3), (0, 0))
    np.testing.assert_allclose(corner, [0, (1 + 3 + 4) / 3, (2 + 5 + 6 + 7) / 4, 8])


def test_angular_profile_of_a_sector():
    rows, cols = coordinates(65, (32, 32))
    image = (np.abs(np.arctan2(rows, cols)) < np.pi / 4).astype(float)
    angle, mean = polar.angular_profile(image, (10, 20))
    # a pixel at 10 px spans 0.1 rad
    inside = np.abs((angle + np.pi) % (2 * np.pi) - np.pi) < np.pi / 4 - 0.15
    outside = np.abs((angle + np.pi) % (2 * np.pi) - np.pi) > np.pi / 4 + 0.15
    np.testing.assert_allclose(mean[inside], 1)
    np.testing.assert_allclose(mean[outside], 0)


def test_refusals():
    with pytest.raises(DataError, match=r"expected a finite image \(H, W\), received shape \(3,\)"):
        polar.polar_map(np.zeros(3))
    with pytest.raises(DataError, match="circles reach to 4 px inside the image"):
        polar.angular_profile(np.zeros((9, 9)), (7, 9))
