import numpy as np
import pytest

from ppn_tf import spectrum
from ppn_tf.errors import DataError, OptionError


def cosine(size, row_cycles, col_cycles):
    rows, cols = np.mgrid[:size, :size] / size
    return np.cos(2 * np.pi * (row_cycles * rows + col_cycles * cols))


@pytest.mark.parametrize("shape", [(32, 32), (15, 20)])
def test_parseval(shape):
    random = np.random.default_rng(0)
    image = random.normal(size=shape) + 1j * random.normal(size=shape)
    # measured: 2e-16; the default of approx is 1e-6
    assert spectrum.power_spectrum(image).sum() == pytest.approx(np.sum(np.abs(image) ** 2))


def test_zero_frequency_lies_at_the_centre_pixel():
    psd = spectrum.power_spectrum(np.full((8, 7), 2.0))
    assert psd[4, 3] == pytest.approx(4.0 * 56)
    psd[4, 3] = 0
    assert psd.max() < 1e-25
    assert spectrum.power_spectrum(np.full((8, 7), 2.0), remove_mean=True).max() < 1e-25


def test_a_cosine_is_two_points():
    psd = spectrum.power_spectrum(cosine(32, 3, 5))
    # amplitude 1: mean square 1/2 over 1024 pixels, half of it at either sign
    assert psd[16 + 3, 16 + 5] == pytest.approx(256.0)
    assert psd[16 - 3, 16 - 5] == pytest.approx(256.0)
    assert psd.sum() == pytest.approx(512.0)


@pytest.mark.parametrize(
    ("cycles", "band"), [((0, 4), "low"), ((0, 8), "mid"), ((7, 7), "mid"), ((12, 0), "high")]
)
def test_a_cosine_lands_in_its_band(cycles, band):
    energies = spectrum.band_energies(spectrum.power_spectrum(cosine(32, *cycles)))
    expected = dict.fromkeys(("low", "mid", "high"), 0.0) | {band: 1.0}
    assert energies == pytest.approx(expected, abs=1e-12)


def test_band_edges_belong_to_the_upper_band():
    # 8 of 24 Nyquist steps is one third, 16 two thirds, 24 Nyquist itself
    for cycles, band in ((8, "mid"), (16, "high"), (24, "high")):
        energies = spectrum.band_energies(spectrum.power_spectrum(cosine(48, 0, cycles)))
        assert energies[band] == pytest.approx(1.0)


def test_corners_beyond_nyquist_belong_to_no_axis_band():
    psd = spectrum.power_spectrum(cosine(32, 14, 14))
    assert sum(spectrum.band_energies(psd).values()) == pytest.approx(0.0, abs=1e-12)
    assert spectrum.band_energies(psd, nyquist="corner")["high"] == pytest.approx(1.0)


def test_white_noise_fills_the_bands_by_their_area():
    noise = np.random.default_rng(1).normal(size=(200, 32, 32))
    energies = spectrum.band_energies(spectrum.mean_power_spectrum(noise))
    # rings of pi/4 (r2^2 - r1^2) of the square; measured: 0.01 in the high band, where the
    # pixel of +Nyquist is missing
    for name, (low, high) in spectrum.BANDS.items():
        assert energies[name] == pytest.approx(np.pi / 4 * (high**2 - low**2), abs=0.02)


@pytest.mark.parametrize("size", [8, 9])
def test_diagonal_profile(size):
    centre = size // 2
    psd = np.zeros((size, size))
    psd[centre, centre] = 10
    psd[centre + 1, centre + 1], psd[centre - 1, centre - 1] = 4, 6
    psd[0, 0] = 7
    frequency, power = spectrum.diagonal_profile(psd)
    assert frequency[1] == pytest.approx(np.sqrt(2) * 2 / size)
    # an even size has its Nyquist pixel on one side only
    last = 7.0 if size % 2 == 0 else 3.5
    assert power == pytest.approx([10, 5, 0, 0, last])
    corner, _ = spectrum.diagonal_profile(psd, nyquist="corner")
    assert corner == pytest.approx(2 * np.arange(5) / size)


def test_profile_bands_by_hand():
    energies = spectrum.profile_band_energies([0, 0.5, 0.9, 1.2], [5.0, 3.0, 1.0, 1.0])
    assert energies == pytest.approx({"low": 0.5, "mid": 0.3, "high": 0.1})
    with pytest.raises(DataError, match=r"received \(2,\) and \(3,\)"):
        spectrum.profile_band_energies([0, 1], [1, 2, 3])


def test_mean_power_spectrum_is_the_mean():
    patches = np.random.default_rng(2).normal(size=(5, 8, 8, 1))
    expected = np.mean([spectrum.power_spectrum(patch[..., 0]) for patch in patches], axis=0)
    np.testing.assert_allclose(spectrum.mean_power_spectrum(patches), expected, rtol=1e-12)


def test_a_window_keeps_the_power_of_noise():
    noise = np.random.default_rng(3).normal(size=(100, 32, 32))
    plain = spectrum.mean_power_spectrum(noise).sum()
    tapered = spectrum.mean_power_spectrum(noise, window="hann").sum()
    # measured: 0.6 % with this seed
    assert tapered == pytest.approx(plain, rel=0.02)


def test_ring_correlation():
    random = np.random.default_rng(4)
    image = random.normal(size=(64, 64))
    frequency, correlation = spectrum.fourier_ring_correlation(image, 3.0 * image)
    assert frequency[0] == 0 and frequency[-1] == 1
    assert correlation == pytest.approx(np.ones(33))
    assert spectrum.fourier_ring_correlation(image, -image)[1] == pytest.approx(-np.ones(33))
    # independent images: 1/sqrt(pixels in the ring) is 0.07 at half Nyquist
    other = spectrum.fourier_ring_correlation(image, random.normal(size=(64, 64)))[1]
    assert np.abs(other[10:]).mean() < 0.15
    # equal below a cut, independent above it
    rows, cols = np.meshgrid(np.fft.fftfreq(64), np.fft.fftfreq(64), indexing="ij")
    low = np.hypot(rows, cols) < 0.2
    mixed = np.where(low, np.fft.fft2(image), np.fft.fft2(random.normal(size=(64, 64))))
    mixed = spectrum.fourier_ring_correlation(image, np.fft.ifft2(mixed).real)[1]
    assert mixed[:12] == pytest.approx(np.ones(12))
    assert np.abs(mixed[15:]).mean() < 0.15
    # a ring without power has no correlation, and no warning
    assert spectrum.fourier_ring_correlation(np.ones((8, 8)), np.ones((8, 8)))[1][0] == 1
    assert not spectrum.fourier_ring_correlation(np.zeros((8, 8)), np.ones((8, 8)))[1].any()


def test_a_ring_is_the_nearest_whole_radius():
    """By hand: a wave of 2 periods along both axes has a radius of 2.83, ring 3."""
    rows, cols = np.indices((16, 16)) / 16
    both, one, other = (
        f(4 * np.pi * x) for f, x in ((np.cos, rows + cols), (np.cos, rows), (np.sin, rows))
    )
    found = spectrum.fourier_ring_correlation(both + one, both + other)[1]
    assert found[[2, 3]] == pytest.approx([0, 1], abs=1e-12)


def test_refusals():
    with pytest.raises(DataError, match=r"stack of them, received \(3,\)"):
        spectrum.power_spectrum(np.zeros(3))
    with pytest.raises(DataError, match="NaN or infinite"):
        spectrum.power_spectrum(np.full((3, 3), np.nan))
    with pytest.raises(OptionError, match="unknown window 'box': expected None or one of hann"):
        spectrum.power_spectrum(np.zeros((3, 3)), window="box")
    with pytest.raises(DataError, match=r"shape \(N, H, W\), received \(3, 3\)"):
        spectrum.mean_power_spectrum(np.zeros((3, 3)))
    with pytest.raises(DataError, match=r"square spectrum, received shape \(3, 4\)"):
        spectrum.diagonal_profile(np.ones((3, 4)))
    with pytest.raises(OptionError, match="unknown nyquist 'radius': expected one of axis, corner"):
        spectrum.diagonal_profile(np.ones((4, 4)), nyquist="radius")
    with pytest.raises(DataError, match="zero everywhere"):
        spectrum.band_energies(np.zeros((4, 4)))
    with pytest.raises(DataError, match="finite and non-negative"):
        spectrum.band_energies(-np.ones((4, 4)))
    with pytest.raises(DataError, match=r"received \(4, 4\) and \(4, 5\)"):
        spectrum.fourier_ring_correlation(np.ones((4, 4)), np.ones((4, 5)))


def test_widest_band_is_the_longest_run_of_rings_without_the_mean():
    frequency = np.linspace(0, 1, 9)
    curve = np.array([1.0, 0.6, 0.2, 0.5, 0.9, 0.7, 0.4, 0.6, 0.6])
    assert spectrum.widest_band(frequency, curve) == (0.375, 0.625)
    assert spectrum.widest_band(frequency, curve, 0.95) is None
    assert spectrum.widest_band(frequency, np.ones(9)) == (0.125, 1.0)
