"""Crop and bin: zero frequency, counts, positions and probe stay what they were."""

import numpy as np
import pytest
import scipy.ndimage

from ppn_tf.data import forward
from ppn_tf.data.formats import Scan
from ppn_tf.detector import Fit, check_side, fitted, on_scan, placed
from ppn_tf.errors import DataError, OptionError


def test_crop_keeps_zero_frequency_at_the_centre():
    for side in (9, 12):
        pattern = np.zeros((1, side, 10), np.float32)
        pattern[0, side // 2, 5] = 7
        found = Fit(crop_px=(4, 6)).patterns(pattern)
        assert found.shape == (1, 4, 6)
        assert found[0, 2, 3] == 7


def test_bins_are_sums_and_keep_zero_frequency_at_the_centre():
    """By hand: rows of 8, blocks of 2."""
    pattern = np.arange(64, dtype=np.float32).reshape(1, 8, 8)
    found = Fit(bin_px=2, counts_factor=0.5).patterns(pattern)
    assert found[0, 0].tolist() == [(0 + 1 + 8 + 9) / 2, 13, 17, 21]
    assert found[0, 2, 2] == (36 + 37 + 44 + 45) / 2
    assert found.dtype == np.float32


def test_invalid_pixels_are_made_up_for_by_their_block():
    pattern = np.full((1, 4, 4), 3.0, np.float32)
    mask = np.ones((4, 4), bool)
    pattern[0, 0, 1] = 1e9
    mask[0, 1] = False
    mask[2:, 2:] = False
    fit = Fit(bin_px=2)
    np.testing.assert_allclose(fit.patterns(pattern, mask)[0], [[12, 12], [12, 0]])
    np.testing.assert_array_equal(fit.mask(mask), [[True, True], [True, False]])
    np.testing.assert_array_equal(Fit().patterns(pattern, mask)[0][~mask], 0)


@pytest.mark.parametrize(
    ("options", "detector", "message"),
    [
        ({"crop_px": 40}, (32, 64), "--crop 40 is larger than the detector of 32 x 64"),
        ({"bin_px": 3}, (32, 32), "--bin 3 needs sides that are multiples of 6"),
        ({"crop_px": 6, "bin_px": 2}, (32, 32), "multiples of 4 px, received 6 x 6"),
        ({"span_px": 33}, (32, 64), "--span 33 is larger than the window of 32 x 64"),
    ],
)
def test_sides_that_do_not_fit(options, detector, message):
    with pytest.raises(OptionError, match=message):
        Fit(**options).pixel_growth(detector)


def test_span_shows_a_part_of_the_window_whatever_became_of_the_patterns():
    """By hand: 16 px of the detector in blocks of 4, patches of the middle 8 object pixels."""
    fit = Fit(bin_px=4, span_px=8)
    assert fit.window_px((16, 16)) == (4, 4)
    np.testing.assert_array_equal(fit.pixel_growth((16, 16)), [2, 2])
    windows = np.arange(256.0).reshape(1, 16, 16)
    middle = windows[0, 4:12, 4:12].reshape(4, 2, 4, 2).mean(axis=(1, 3))
    np.testing.assert_allclose(fit.field(windows)[0], middle)
    # centre of the first window: 8 object pixels, 4 larger ones
    np.testing.assert_array_equal(fit.corners_px(np.array([[0, 6]]), (16, 16)), [[2, 5]])


def test_object_of_a_span_goes_back_to_the_pixels_of_the_scan():
    corners = np.array([[0.0, 0.0], [0.0, 12.0], [12.0, 0.0], [12.0, 12.0]])
    scan = Scan(np.ones((4, 16, 16), np.float32), corners, probe=np.ones((1, 16, 16), np.complex64))
    fit = Fit(bin_px=4, span_px=8)
    new, shape = placed(scan, fit)
    assert shape == (10, 10)
    np.testing.assert_array_equal(new, [[0, 0], [0, 6], [6, 0], [6, 6]])
    rows, cols = np.indices(shape)
    found = on_scan(scan, fit, (1 + 0.01 * rows + 0.02j * cols).astype(np.complex64), new)
    np.testing.assert_array_equal(found.positions_px, corners)
    assert found.object.shape == (28, 28)
    # the first patch begins 4 px into the first window; a ramp is resampled exactly inside
    rows, cols = (np.indices((28, 28)) - 4 + 0.5) / 2 - 0.5
    inside = (slice(5, 23), slice(5, 23))
    wanted = (1 + 0.01 * rows + 0.02j * cols)[inside]
    np.testing.assert_allclose(found.object[inside], wanted, atol=1e-6)
    assert np.isfinite(found.object).all()


@pytest.mark.parametrize(
    "options",
    [
        {"crop_px": 0},
        {"bin_px": 0},
        {"span_px": 0},
        {"counts_factor": -1.0},
        {"counts_factor": np.inf},
    ],
)
def test_values_out_of_range(options):
    with pytest.raises(OptionError, match="received"):
        Fit(**options)


def test_side_of_a_network_names_the_options():
    check_side(Fit(), (32, 32), (32, 32))
    with pytest.raises(DataError, match=r"pass --crop 32 \(.*\) or --bin 4"):
        check_side(Fit(), (128, 128), (32, 32))
    # of the detector, not of what is binned already
    with pytest.raises(DataError, match=r"64 x 64 px from .* 128 x 128 px: pass .* or --bin 4"):
        check_side(Fit(bin_px=2), (128, 128), (32, 32))
    with pytest.raises(DataError, match="pass --crop 32$"):
        check_side(Fit(), (100, 100), (32, 32))
    with pytest.raises(DataError, match="pass --crop 32 64$"):
        check_side(Fit(), (100, 100), (32, 64))


def smooth_probe(side):
    axis = np.arange(side) - side / 2
    spot = np.exp(-(axis[:, None] ** 2 + (axis - 1.5) ** 2) / (2 * 2.0**2))
    return (spot * np.exp(0.3j * axis)).astype(np.complex128)


def test_cropped_probe_gives_the_cropped_patterns():
    probe = smooth_probe(24)
    fit = Fit(crop_px=(16, 12), counts_factor=4.0)
    found = fit.probe(probe[None])[0]
    expected = fit.patterns(np.abs(forward.far_field(probe))[None] ** 2)[0]
    mine = np.abs(np.fft.fftshift(np.fft.fft2(found))) ** 2
    # complex64 against the brightest pixel
    np.testing.assert_allclose(mine, expected, atol=2e-6 * expected.max())


@pytest.mark.parametrize(("side", "crop"), [(32, 16), (33, 16), (32, 15), (33, 15)])
def test_cropped_probe_is_that_of_the_middle_of_its_pixels(side, crop):
    """By hand: both windows have one centre, pixels of the new one are side / crop wide."""

    def at(points):
        row, col = points[:, None] - side / 2, points - side / 2
        return np.exp(-((row + 1.5) ** 2 + (col - 1.5) ** 2) / 40 + 0.3j * col)

    probe = at(np.arange(side) + 0.5)
    wanted = at((np.arange(crop) + 0.5) * side / crop)
    found = Fit(crop_px=crop).probe(probe[None])[0]
    # at the scale of the cropped counts; the tail that cropping takes: measured 2.6e-4 to 3.8e-4
    np.testing.assert_allclose(found * (crop / side) ** 2, wanted, atol=1e-3)


def test_field_averages_over_larger_pixels():
    windows = np.arange(2 * 6 * 6).reshape(2, 6, 6) * (1 + 0.5j)
    blocks = windows.reshape(2, 3, 2, 3, 2).mean(axis=(2, 4))
    np.testing.assert_allclose(Fit(crop_px=3).field(windows), blocks)
    np.testing.assert_allclose(Fit(crop_px=4, bin_px=2).field(np.ones((1, 6, 6))), 1.0)
    # the middle 2 of 4 pixels of 1.5 px each: edges at 1.5, 3 and 4.5
    rows = np.broadcast_to(np.arange(6.0)[:, None], (1, 6, 6))
    np.testing.assert_allclose(
        Fit(crop_px=4, bin_px=2).field(rows)[0, :, 0], [(1 / 2 + 2) / 1.5, (3 + 4 / 2) / 1.5]
    )


def test_binned_probe_keeps_place_and_counts():
    probe = smooth_probe(32)
    found = Fit(bin_px=2).probe(probe[None])[0]
    # the spot lies within the smaller window to 1e-6 of its light
    before = (np.abs(np.fft.fft2(probe)) ** 2).sum()
    assert (np.abs(np.fft.fft2(found)) ** 2).sum() == pytest.approx(before, rel=1e-5)
    np.testing.assert_allclose(np.abs(found), 2 * np.abs(probe[8:24, 8:24]), atol=1e-6)


@pytest.mark.parametrize(("fit", "limit"), [(Fit(bin_px=2), 0.01), (Fit(bin_px=4), 0.05)])
def test_true_object_explains_binned_patterns(fit, limit):
    """A whole detector by brute force, summed in blocks, against the probe of the blocks."""
    side, rng = 64, np.random.default_rng(1)
    axis = np.arange(side) - side / 2
    spot = np.exp(-(axis[:, None] ** 2 + axis**2) / (2 * 1.5**2) + 0.2j * axis)
    noise = rng.normal(0, 3, (4, side, side))
    windows = np.exp(1j * scipy.ndimage.gaussian_filter(noise, (0, 2, 2)))
    counts = np.abs(forward.far_field(spot * windows)) ** 2
    binned = np.sqrt(fit.patterns(counts))
    modulus = np.abs(forward.far_field(fit.probe(spot[None])[0] * fit.field(windows)))
    # what a block sums is not its middle alone: measured 0.007 and 0.036; without the ramp
    # of the probe 0.08 and 0.24
    assert np.abs(modulus - binned).sum() / binned.sum() < limit


def a_scan(**more):
    positions = np.array([[0.0, 0.0], [0.0, 6.0], [3.0, 4.0]])
    return Scan(
        patterns=np.random.default_rng(0).poisson(5, (3, 16, 24)).astype(np.float32),
        positions_px=positions,
        energy_eV=9000.0,
        distance_m=1.5,
        detector_pixel_m=(5e-5, 6e-5),
        **more,
    )


def test_fitted_scan_keeps_metres_and_geometry():
    """`Scan` itself checks that energy, distance, sides and both pixel sizes fit."""
    scan = a_scan(mask=np.ones((16, 24), bool), probe=np.ones((2, 16, 24), np.complex64))
    found = fitted(scan, Fit(crop_px=(8, 16), bin_px=2))
    assert found.window_px == (4, 8)
    assert found.probe.shape == (2, 4, 8)
    np.testing.assert_allclose(found.detector_pixel_m, (1e-4, 1.2e-4))
    np.testing.assert_allclose(
        np.array(found.object_pixel_m) / scan.object_pixel_m, (16 / 8, 24 / 16)
    )
    np.testing.assert_allclose(found.positions_m, scan.positions_m)
    np.testing.assert_allclose(found.positions_px, scan.positions_px / (2, 1.5))
    assert found.provenance["fit"]["bin_px"] == 2


def test_results_lie_on_the_grid_of_the_object():
    scan = a_scan()
    corners, shape = placed(scan, Fit())
    np.testing.assert_array_equal(corners, scan.positions_px)
    assert shape == (19, 30)
    corners, shape = placed(scan, Fit(crop_px=(8, 12)))
    assert shape == (10, 15)
    # the centre of the first window, 8 and 12 old pixels from the edge, is 4 and 6 new ones
    np.testing.assert_allclose(corners[0] + (4, 6), (4, 6))
    known = a_scan(object=np.ones((40, 40), np.complex64))
    assert placed(known, Fit(crop_px=(8, 12)))[1] == (20, 20)
    np.testing.assert_allclose(placed(known, Fit(bin_px=2))[0][0], (4, 6))
