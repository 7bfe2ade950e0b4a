import numpy as np
import pytest

from ppn_tf.data import forward, objects, probes, scan
from ppn_tf.errors import DataError, OptionError

POSITIONS = np.array([[0, 0], [3, 5], [3, 5], [8, 12], [1, 7]], dtype=np.int32)


def _complex(shape, seed):
    draws = np.random.default_rng(seed)
    return draws.normal(size=shape) + 1j * draws.normal(size=shape)


@pytest.fixture
def obj():
    return _complex((16, 20), 1)


@pytest.fixture
def probe():
    return _complex((8, 8), 2)


def test_exit_waves_against_a_loop(obj, probe):
    waves = forward.exit_waves(obj, probe, POSITIONS)
    expected = [obj[r : r + 8, c : c + 8] * probe for r, c in POSITIONS]
    np.testing.assert_array_equal(waves, expected)
    assert waves.dtype == np.complex128
    single = forward.exit_waves(obj.astype("c8"), probe.astype("c8"), POSITIONS)
    assert single.dtype == np.complex64


def test_far_field_against_the_sum(probe):
    # F(k) = sum_x psi(x) exp(-2 pi i k x / 8) with k = 0 at pixel (4, 4)
    x = np.arange(8)
    kernel = np.exp(-2j * np.pi * np.outer(x - 4, x) / 8)
    # largest value about 20, double precision: measured 2e-14
    np.testing.assert_allclose(
        forward.far_field(probe[None])[0], kernel @ probe @ kernel.T, atol=1e-12
    )


def test_zero_frequency_is_the_centre_pixel():
    flat = np.ones((1, 32, 32), dtype=np.complex64)
    pattern = np.abs(forward.far_field(flat)[0]) ** 2
    assert np.unravel_index(pattern.argmax(), pattern.shape) == (16, 16)
    assert pattern[16, 16] == 32.0**4


def test_a_ramp_moves_the_peak_to_its_side():
    # exp(2 pi i (2 row - 3 col) / 32) is a wave towards row 16 + 2, column 16 - 3
    rows, cols = np.indices((32, 32))
    wave = np.exp(2j * np.pi * (2 * rows - 3 * cols) / 32)
    pattern = np.abs(forward.far_field(wave[None])[0])
    assert np.unravel_index(pattern.argmax(), pattern.shape) == (18, 13)


def test_parseval(obj, probe):
    waves = forward.exit_waves(obj, probe, POSITIONS)
    energy = np.sum(np.abs(forward.far_field(waves)) ** 2)
    assert energy == pytest.approx(64 * np.sum(np.abs(waves) ** 2), rel=1e-12)


@pytest.mark.parametrize("side", [8, 7])
def test_far_field_adjoint(side):
    # <F a, b> = <a, F* b>; double precision, measured 6e-16 relative
    a, b = _complex((3, side, side), 3), _complex((3, side, side), 4)
    left = np.vdot(forward.far_field(a), b)
    assert left == pytest.approx(np.vdot(a, forward.far_field_adjoint(b)), rel=1e-12)


def test_exit_waves_adjoint_with_a_complex_probe(obj, probe):
    waves = _complex((5, 8, 8), 5)
    left = np.vdot(forward.exit_waves(obj, probe, POSITIONS), waves)
    right = np.vdot(obj, forward.exit_waves_adjoint(waves, probe, POSITIONS, obj.shape))
    assert left == pytest.approx(right, rel=1e-12)  # measured 1e-16 relative


def test_exit_waves_adjoint_adds_where_windows_meet(probe):
    waves = np.ones((2, 8, 8), dtype=complex)
    field = forward.exit_waves_adjoint(waves, probe, np.array([[2, 3], [2, 3]]), (16, 20))
    expected = np.zeros((16, 20), dtype=complex)
    expected[2:10, 3:11] = 2 * probe.conj()
    np.testing.assert_allclose(field, expected, rtol=1e-15)


def test_exit_waves_adjoint_refuses_other_shapes(probe):
    with pytest.raises(DataError, match=r"= \(5, 8, 8\) of positions and probe, received \(4, 8"):
        forward.exit_waves_adjoint(np.ones((4, 8, 8)), probe, POSITIONS, (16, 20))


def test_diffraction_against_numpy(obj, probe):
    expected = [
        np.abs(np.fft.fftshift(np.fft.fft2(obj[r : r + 8, c : c + 8] * probe))) ** 2
        for r, c in POSITIONS
    ]
    np.testing.assert_allclose(forward.diffraction(obj, probe, POSITIONS), expected, rtol=1e-9)


def test_released_statistics(data_dir):
    """Maximum, mean, median and counts a pattern of the release's own simulation."""
    positions = scan.raster((512, 512)).positions_px
    patterns = forward.simulate(objects.load_object().complex, probes.load_probe(), positions)
    assert patterns.shape == (3721, 32, 32)
    assert patterns.dtype == np.float32
    assert patterns.max() == pytest.approx(3.94e4, rel=2e-3)
    assert patterns.mean(dtype=float) == pytest.approx(49.7, abs=0.05)
    assert np.median(patterns) == pytest.approx(0.0165, abs=5e-5)
    assert patterns.sum(axis=(1, 2), dtype=float).mean() == pytest.approx(5.09e4, rel=1e-3)
    # single precision against double: largest difference 0.012 of 3.9e4
    double = forward.diffraction(
        objects.load_object().complex.astype("c16"),
        probes.load_probe().astype("c16"),
        positions,
    )
    np.testing.assert_allclose(patterns, double, rtol=1e-3, atol=2e-5)


@pytest.fixture(scope="module")
def scanned():
    obj = objects.load_object("stand-in").complex[:128, :128]
    return obj, probes.stand_in_probe(), scan.raster((128, 128)).positions_px


def test_noise_free_is_the_intensity_itself(scanned):
    np.testing.assert_array_equal(forward.simulate(*scanned), forward.diffraction(*scanned))


def test_simulation_repeats_with_its_seed(scanned):
    first = forward.simulate(*scanned, noise="reference", seed=3)
    np.testing.assert_array_equal(first, forward.simulate(*scanned, noise="reference", seed=3))
    assert (first != forward.simulate(*scanned, noise="reference", seed=4)).any()
    assert first.dtype == np.float32
    assert first.min() == 0


@pytest.mark.parametrize(("noise", "photons"), [("low-dose", 5e3), ("high-dose", 5e5)])
def test_dose(scanned, noise, photons):
    model = forward.NOISE_MODELS[noise]
    assert (model.photons_per_pattern, model.poisson, model.readout_sd_photons) == (
        photons,
        True,
        1,
    )
    expected = forward.NoiseModel("dose", photons, False, 0.0)
    totals = forward.simulate(*scanned, noise=expected).sum(axis=(1, 2), dtype=float)
    assert totals.mean() == pytest.approx(photons, rel=1e-6)  # float32 sums: 1e-8


def test_poisson_has_the_variance_of_its_mean(scanned):
    rate = forward.simulate(*scanned, noise=forward.NoiseModel("rate", 5e4, False, 0.0))
    counts = forward.simulate(*scanned, noise="poisson-only")
    assert (counts == np.rint(counts)).all()
    bright = rate > 20
    score = (counts - rate)[bright] / np.sqrt(rate[bright])
    # 1.6e4 pixels; over four seeds the mean was within 0.013 and the variance within 0.015
    assert score.mean() == pytest.approx(0, abs=0.04)
    assert score.var() == pytest.approx(1, abs=0.06)


def test_gaussian_readout_is_clipped_at_zero(scanned):
    rate = forward.simulate(*scanned, noise=forward.NoiseModel("rate", 5e4, False, 0.0))
    counts = forward.simulate(*scanned, noise="gaussian-only")
    error = (counts - rate)[rate > 10]
    assert error.mean() == pytest.approx(0, abs=0.04)  # 1.8e4 pixels, four seeds: within 0.023
    assert error.std() == pytest.approx(1, abs=0.03)
    dark = rate < 1e-3
    # a clipped standard normal has the mean 1 / sqrt(2 pi)
    assert counts[dark].mean() == pytest.approx(0.3989, abs=0.03)
    assert (counts[dark] == 0).mean() == pytest.approx(0.5, abs=0.03)


def test_readout_does_not_change_the_photons(scanned):
    poisson = forward.simulate(*scanned, noise="poisson-only", seed=1)
    both = forward.simulate(*scanned, noise="reference", seed=1)
    readout = (both - poisson)[both > 0]
    assert np.abs(readout).max() < 6  # six standard deviations: the same photons underneath


def test_efficiency_multiplies_the_rate(scanned):
    full = forward.simulate(*scanned, noise=forward.NoiseModel("a", 1e4, False, 0.0))
    half = forward.simulate(
        *scanned, noise=forward.NoiseModel("b", 1e4, False, 0.0, efficiency=0.5)
    )
    np.testing.assert_allclose(half, full / 2, rtol=1e-6)


def test_partial_coherence_blurs_and_keeps_the_energy(scanned):
    sharp = forward.simulate(*scanned)
    model = forward.NoiseModel("c", None, False, 0.0, coherence=0.4)
    mixed = forward.simulate(*scanned, noise=model)
    # the kernel sums to 1 and wraps: float32 rounding only, measured 4e-7
    np.testing.assert_allclose(mixed.sum(axis=(1, 2)), sharp.sum(axis=(1, 2)), rtol=5e-6)
    # independent: circular convolution with the normalised kernel, radius 4 px, by FFT
    tap = np.exp(-0.5 * np.arange(-4, 5) ** 2)
    kernel = np.zeros((32, 32))
    index = np.arange(-4, 5) % 32
    kernel[np.ix_(index, index)] = np.outer(tap, tap) / tap.sum() ** 2
    blurred = np.fft.ifft2(np.fft.fft2(sharp[7].astype(float)) * np.fft.fft2(kernel)).real
    np.testing.assert_allclose(
        mixed[7], 0.4 * sharp[7] + 0.6 * blurred, rtol=1e-5, atol=1e-5 * sharp[7].max()
    )


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"photons_per_pattern": 0}, "photons_per_pattern must be above 0 or None, received 0"),
        ({"readout_sd_photons": -1}, "readout_sd_photons must be at least 0, received -1"),
        ({"coherence": 1.1}, "coherence must be from 0 to 1, received 1.1"),
        ({"efficiency": 0}, "efficiency must be above 0 and at most 1, received 0"),
    ],
)
def test_impossible_noise(options, message):
    values = {"photons_per_pattern": 1e4, "poisson": True, "readout_sd_photons": 1.0}
    with pytest.raises(OptionError, match=message):
        forward.NoiseModel("x", **{**values, **options})


def test_unknown_noise_lists_the_known(scanned):
    with pytest.raises(OptionError, match="unknown noise model 'x': expected one of none, refer"):
        forward.simulate(*scanned, noise="x")


def test_dark_object_cannot_be_scaled(probe):
    with pytest.raises(DataError, match="no light reaches the detector"):
        forward.simulate(np.zeros((16, 20), "c8"), probe, POSITIONS, "reference")


def test_probe_larger_than_the_object(probe):
    with pytest.raises(DataError, match="window of 8 x 8 px is larger than the object of 6 x 20"):
        forward.exit_waves(np.ones((6, 20), "c8"), probe, POSITIONS)


def test_probe_that_is_not_square(obj):
    with pytest.raises(DataError, match=r"probe must be a square .* received shape \(8, 6\)"):
        forward.exit_waves(obj, np.ones((8, 6), "c8"), POSITIONS)


def test_probe_that_is_real(obj):
    with pytest.raises(DataError, match="probe must be complex, received float64"):
        forward.exit_waves(obj, np.ones((8, 8)), POSITIONS)


def test_positions_outside_name_the_first(obj, probe):
    bad = np.array([[0, 0], [9, 3], [-1, 0]])
    message = r"position 1 is outside .* row 0 to 8 and column 0 to 12, received \(9, 3\) \(2 of 3"
    with pytest.raises(DataError, match=message):
        forward.exit_waves(obj, probe, bad)


@pytest.mark.parametrize(
    ("positions", "message"),
    [
        (np.zeros((3, 3), int), r"shape \(N, 2\) with N of at least 1, received \(3, 3\)"),
        (np.zeros((0, 2), int), r"received \(0, 2\)"),
        (np.zeros((3, 2)), "integer dtype, received float64: round the positions"),
    ],
)
def test_positions_of_the_wrong_kind(obj, probe, positions, message):
    with pytest.raises(DataError, match=message):
        forward.exit_waves(obj, probe, positions)


def test_nan_in_object_or_probe(obj, probe):
    obj[4, 6] = np.nan
    with pytest.raises(DataError, match=r"the object must be finite.*row 4, column 6 \(1 such"):
        forward.exit_waves(obj, probe, POSITIONS)
    obj[4, 6] = 1
    probe[1, 2] = np.inf
    with pytest.raises(DataError, match="the probe must be finite.*row 1, column 2"):
        forward.exit_waves(obj, probe, POSITIONS)
