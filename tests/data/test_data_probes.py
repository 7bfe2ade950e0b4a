import numpy as np
import pytest

from ppn_tf.data import probes
from ppn_tf.errors import OptionError


def _radius_of_energy(probe, share):
    rows, cols = np.indices(probe.shape) - (probe.shape[0] - 1) / 2
    radius = np.hypot(rows, cols).ravel()
    order = np.argsort(radius)
    energy = np.cumsum(np.abs(probe.ravel()[order]) ** 2)
    return radius[order][np.searchsorted(energy, share * energy[-1])]


def test_paper_probe(data_dir):
    probe = probes.load_probe("ltem")
    assert probe.shape == (32, 32)
    assert probe.dtype == np.complex64
    # known from the release: 62.2, and 50 % and 90 % of the energy within 12.6 and 18.2 px
    assert np.sum(np.abs(probe) ** 2) == pytest.approx(62.2, abs=0.05)
    assert _radius_of_energy(probe, 0.5) == pytest.approx(12.6, abs=0.05)
    assert _radius_of_energy(probe, 0.9) == pytest.approx(18.2, abs=0.05)


def test_paper_probe_is_the_block_mean(data_dir):
    fine = np.load(data_dir / "probe" / "pxy_probe1000.npy", allow_pickle=False)
    probe = probes.load_probe()
    for row, col in ((0, 0), (13, 20), (31, 31)):
        expected = fine[4 * row : 4 * row + 4, 4 * col : 4 * col + 4].sum() / 16
        assert probe[row, col] == pytest.approx(expected, abs=1e-7)  # complex64 of 0.3: 3e-8


def test_stand_in_probe_is_like_the_paper_probe():
    probe = probes.load_probe("stand-in")
    assert probe.shape == (32, 32)
    assert probe.dtype == np.complex64
    assert np.sum(np.abs(probe) ** 2) == pytest.approx(62.2, abs=1e-3)  # float32 sum: 1e-5
    assert 12 < _radius_of_energy(probe, 0.5) < 13.2
    assert 17.5 < _radius_of_energy(probe, 0.9) < 19
    # the paper's probe sends 0.616 of its energy to zero frequency
    far = np.abs(np.fft.fft2(probe)) ** 2
    assert 0.5 < far[0, 0] / far.sum() < 0.75
    # circular: unchanged by a quarter turn and by mirrors (rounding 1e-8)
    np.testing.assert_allclose(probe, np.rot90(probe), atol=1e-6)
    np.testing.assert_allclose(probe, probe[::-1], atol=1e-6)


@pytest.mark.parametrize("size_px", [16, 64])
def test_stand_in_probe_at_other_sizes(size_px):
    probe = probes.stand_in_probe(size_px)
    assert probe.shape == (size_px, size_px)
    assert np.sum(np.abs(probe) ** 2) == pytest.approx(62.2, abs=1e-3)


@pytest.mark.parametrize("size_px", [7, 33, 0])
def test_stand_in_probe_refuses_bad_sizes(size_px):
    with pytest.raises(OptionError, match=f"even number of at least 8, received {size_px}"):
        probes.stand_in_probe(size_px)


def test_unknown_probe():
    with pytest.raises(OptionError, match="unknown probe 'x': expected one of ltem, stand-in"):
        probes.load_probe("x")
