"""Pairs to train on: windows of an object, simulations with a probe."""

import numpy as np
import pytest

from ppn_tf import data, fitting, pairs
from ppn_tf.data import forward
from ppn_tf.data.formats import Scan
from ppn_tf.data.modes import simulate_modes
from ppn_tf.data.random_objects import random_object
from ppn_tf.detector import Fit
from ppn_tf.errors import DataError, OptionError


def a_scan(side=16, with_object=True, modes=1):
    drawn = random_object((48, 48), seed=1)
    corners = data.raster((48, 48), side, 8.0).positions_px
    probe = np.stack([data.stand_in_probe(side)] * modes) / np.sqrt(modes)
    return Scan(
        patterns=simulate_modes(drawn.complex, probe, corners),
        positions_px=corners.astype(np.float64),
        probe=probe.astype(np.complex64),
        object=drawn.complex if with_object else None,
    ), drawn


#: The last of the 5 x 5 windows is held out; the three that overlap it are left out.
USED = np.delete(np.arange(25), [18, 19, 23])


def test_modes_add_up():
    one, _ = a_scan()
    two, _ = a_scan(modes=2)
    # float32 sums
    np.testing.assert_allclose(one.patterns, two.patterns, rtol=1e-4, atol=1e-2)
    with pytest.raises(DataError, match="modes must be"):
        simulate_modes(np.ones((9, 9), complex), np.ones((4, 4), complex), np.zeros((1, 2), int))


def test_pairs_of_a_scan_are_the_windows_of_its_object():
    scan, drawn = a_scan()
    found = pairs.of_scan(scan, Fit(), "object")
    assert found.phase_zero == "object"
    corners = scan.positions_px.astype(int)[USED]
    np.testing.assert_array_equal(found.held_out, USED == 24)
    # complex64 in between
    np.testing.assert_allclose(
        found.amplitude, forward.extract_patches(drawn.amplitude, (16, 16), corners), atol=1e-6
    )
    np.testing.assert_allclose(
        found.phase_rad, forward.extract_patches(drawn.phase_rad, (16, 16), corners), atol=1e-6
    )


def test_phases_count_from_the_mean_that_the_light_sees():
    scan, drawn = a_scan(modes=2)
    found = pairs.of_scan(scan, Fit())
    assert found.phase_zero == "light"
    light = (np.abs(scan.probe) ** 2).sum(axis=0)
    patches = found.amplitude * np.exp(1j * found.phase_rad)
    # complex64 in between; measured 4e-8
    assert np.abs(np.angle((patches * light).sum(axis=(1, 2)))).max() < 1e-6
    corners = scan.positions_px.astype(int)[USED]
    windows = forward.extract_patches(drawn.phase_rad, (16, 16), corners)
    away = found.phase_rad - windows
    np.testing.assert_allclose(away - away[:, :1, :1], 0, atol=1e-6)
    with pytest.raises(DataError, match="holds no probe: pass --probe FILE, or --phase-zero obj"):
        pairs.of_scan(Scan(scan.patterns, scan.positions_px, object=scan.object), Fit())


def test_cropping_averages_the_object_over_its_larger_pixels():
    scan, drawn = a_scan()
    found = pairs.of_scan(scan, Fit(crop_px=8), "object")
    assert found.patterns.shape == (len(USED), 8, 8)
    blocks = drawn.complex.reshape(24, 2, 24, 2).mean(axis=(1, 3))
    # complex64 in between: measured 1e-7
    np.testing.assert_allclose(found.amplitude[0], np.abs(blocks[:8, :8]), atol=1e-5)
    np.testing.assert_allclose(found.phase_rad[0], np.angle(blocks[:8, :8]), atol=1e-5)
    # binning: the middle of the window
    found = pairs.of_scan(scan, Fit(bin_px=2), "object")
    np.testing.assert_allclose(found.amplitude[0], drawn.amplitude[4:12, 4:12], atol=1e-6)
    # pixels of 4/3: a whole one and a third of the next
    found = pairs.of_scan(scan, Fit(crop_px=12), "object")
    first = drawn.complex[:2, :2] * np.outer([1, 1 / 3], [1, 1 / 3]) / (4 / 3) ** 2
    assert found.amplitude[0, 0, 0] == pytest.approx(abs(first.sum()), abs=1e-5)


def test_pairs_of_a_scan_refuse():
    scan, _ = a_scan(with_object=False)
    with pytest.raises(DataError, match="no object to train on.*--simulate N"):
        pairs.of_scan(scan, Fit())
    with pytest.raises(OptionError, match="unknown phase_zero 'sky'.*object, light"):
        pairs.of_scan(scan, Fit(), "sky")


def test_simulation_has_the_counts_of_the_scan_and_its_own_truth():
    scan, _ = a_scan(with_object=False, modes=2)
    options = pairs.Simulation(300, (0.4, 0.9), (-0.5, 1.5), False, 5, "object")
    found = pairs.simulated(scan, Fit(), options)
    assert found.patterns.shape == (300, 16, 16)
    for values, (low, high) in ((found.amplitude, (0.4, 0.9)), (found.phase_rad, (-0.5, 1.5))):
        assert low <= values.min() < low + 0.1
        assert high - 0.1 < values.max() <= high + 1e-6
    measured = scan.patterns.sum(axis=(1, 2)).mean()
    # 2 objects, each at these counts
    assert found.patterns.sum(axis=(1, 2)).mean() == pytest.approx(measured, rel=1e-4)
    np.testing.assert_array_equal(found.patterns, pairs.simulated(scan, Fit(), options).patterns)
    # one pattern from its truth, the probe at its unknown scale
    wave = found.amplitude[7] * np.exp(1j * found.phase_rad[7]) * scan.probe[0]
    again = np.abs(forward.far_field(wave)) ** 2
    np.testing.assert_allclose(
        again / again.sum(), found.patterns[7] / found.patterns[7].sum(), atol=1e-4
    )


def test_held_out_objects_are_of_their_own(monkeypatch):
    scan, _ = a_scan(with_object=False)
    original, objects = pairs._of_one_object, []

    def noted(*arguments):
        objects.append(arguments[-2:])
        return original(*arguments)

    monkeypatch.setattr(pairs, "_of_one_object", noted)
    drawn = pairs.simulated(scan, Fit(), pairs.Simulation(600, poisson=False))
    assert objects == [(0, 256), (1, 256), (2, 58), (3, 30)]
    np.testing.assert_array_equal(np.flatnonzero(drawn.held_out), np.arange(570, 600))
    assert pairs.simulated(scan, Fit(), pairs.Simulation(2)).held_out.tolist() == [False, True]


def test_a_corner_of_a_scan_is_held_out():
    """By hand: a raster of 20 x 20 windows of 8 px, 4 px apart."""
    rows, cols = (axis.ravel() * 4.0 for axis in np.indices((20, 20)))
    corners = np.stack([rows, cols], axis=1)
    field = random_object((84, 84), seed=1).complex
    # a pattern that says where it is
    patterns = np.broadcast_to((rows * 100 + cols)[:, None, None] + 1, (400, 8, 8))
    scan = Scan(patterns.astype(np.float32), corners, object=field)
    found = pairs.of_scan(scan, Fit(), "object")
    places = np.stack(np.divmod(found.patterns[:, 0, 0].astype(int) - 1, 100), axis=1)
    held, kept = places[found.held_out], places[~found.held_out]
    # the 16 of the last four rows and columns, and the last 4 of the next 9, which are of the
    # last four rows and one column more; 5 x 6 windows are they and all that they overlap
    assert len(held) == 20
    np.testing.assert_array_equal(held.min(axis=0), [64, 60])
    assert len(kept) == 400 - 30
    assert np.abs(held[:, None] - kept[None]).max(axis=2).min() == 8
    few = corners.max(axis=1) < 8
    scan = Scan(scan.patterns[few], corners[few], object=field)
    found = pairs.of_scan(scan, Fit(), "object")
    assert (len(found), found.held_out) == (4, None)


@pytest.mark.parametrize(
    "held_out", [np.ones(4, bool), np.zeros(4, bool), np.array([True, False]), np.arange(4) // 2]
)
def test_held_out_is_some_and_not_all(held_out):
    values = np.ones((4, 8, 8), np.float32)
    with pytest.raises(DataError, match=r"held_out must be bool of shape \(4,\), True for some"):
        fitting.Pairs(values, values, values, held_out=held_out)


def test_what_is_held_out_is_not_trained_on(monkeypatch):
    patterns = np.broadcast_to(np.arange(20.0)[:, None, None], (20, 8, 8))
    ones = np.ones((20, 8, 8), np.float32) * np.linspace(0, 1, 8)
    held_out = np.arange(20) % 7 == 3
    seen = {}

    def noted(model, training, validation, config, **_):
        seen.update(kept=training.patterns, held=validation.patterns)
        return []

    monkeypatch.setattr(fitting.training, "train", noted)
    drawn = fitting.Pairs(patterns, ones, ones, held_out=held_out)
    fitting.fit(drawn, "ptynet", fitting.FitOptions(1))
    assert seen["held"][:, 0, 0, 0].tolist() == [3, 10, 17]
    assert seen["kept"][:, 0, 0, 0].tolist() == [i for i in range(20) if i not in (3, 10, 17)]


def test_simulation_treats_the_whole_detector_as_the_measured_one():
    scan, _ = a_scan(with_object=False)
    options = pairs.Simulation(8, poisson=False)
    whole = pairs.simulated(scan, Fit(), options)
    binned = pairs.simulated(scan, Fit(bin_px=2), options)
    sums = whole.patterns.reshape(8, 8, 2, 8, 2).sum(axis=(2, 4))
    # float32 sums: measured 1.4e-7; the windows are equal bit by bit
    np.testing.assert_allclose(binned.patterns, sums, rtol=1e-5)
    np.testing.assert_allclose(binned.amplitude, whole.amplitude[:, 4:12, 4:12], atol=1e-6)
    # the zero is that of the whole window
    np.testing.assert_allclose(binned.phase_rad, whole.phase_rad[:, 4:12, 4:12], atol=1e-6)


def test_phases_beyond_a_turn_are_not_wrapped():
    scan, _ = a_scan(with_object=False)
    ranges = {"phase_range_rad": (-9.0, 9.0), "poisson": False}
    light = pairs.simulated(scan, Fit(), pairs.Simulation(20, **ranges))
    own = pairs.simulated(scan, Fit(), pairs.Simulation(20, **ranges, phase_zero="object"))
    away = light.phase_rad - own.phase_rad
    # float32 at up to 9 rad: measured 1e-6
    np.testing.assert_allclose(away - away[:, :1, :1], 0, atol=1e-5)
    weights = (np.abs(scan.probe[0]) ** 2) / (np.abs(scan.probe[0]) ** 2).sum()
    # the mean that the light sees is the nearest zero
    assert np.abs((light.phase_rad * weights).sum(axis=(1, 2))).max() <= np.pi + 1e-5


def test_simulation_draws_photons_and_leaves_dead_pixels_dark():
    scan, _ = a_scan(with_object=False)
    mask = np.ones((16, 16), bool)
    mask[8, 8] = False
    scan = Scan(scan.patterns, scan.positions_px, probe=scan.probe, mask=mask)
    found = pairs.simulated(scan, Fit(), pairs.Simulation(4))
    np.testing.assert_array_equal(found.patterns, np.round(found.patterns))
    assert (found.patterns[:, 8, 8] == 0).all()


def test_simulation_refuses():
    scan, _ = a_scan(with_object=False)
    with pytest.raises(OptionError, match="at least 2 patterns"):
        pairs.Simulation(1)
    with pytest.raises(DataError, match="no probe"):
        bare = Scan(scan.patterns, scan.positions_px)
        pairs.simulated(bare, Fit(), pairs.Simulation(2))
    with pytest.raises(DataError, match="square windows"):
        pairs.simulated(scan, Fit(crop_px=(16, 8)), pairs.Simulation(2))
    for options, message in (
        ({"amplitude_range": (1.0, 0.5)}, "low < high"),
        ({"amplitude_range": (-0.1, 0.5)}, "at least 0"),
        ({"binary_share": 1.5}, "share from 0 to 1"),
    ):
        with pytest.raises(OptionError, match=message):
            random_object((8, 8), **options)
    with pytest.raises(OptionError, match="phase range: expected low < high"):
        pairs.Simulation(2, phase_range_rad=(1.0, 1.0))


def test_random_object_has_two_levels_in_half_of_its_area():
    drawn = random_object((128, 128), seed=0, edge_px=0.0)
    ends = np.isclose(drawn.amplitude, 0.5) | np.isclose(drawn.amplitude, 1.0)
    assert ends.mean() == pytest.approx(0.5, abs=0.02)
    soft = random_object((128, 128), seed=0)
    assert 0.5 <= soft.amplitude.min() < soft.amplitude.max() <= 1
    assert 0.1 < (soft.amplitude != drawn.amplitude).mean() < 0.5
    correlation = np.corrcoef(drawn.amplitude.ravel(), drawn.phase_rad.ravel())[0, 1]
    # 128 px of structures up to 32 px: a few independent areas
    assert abs(correlation) < 0.4
