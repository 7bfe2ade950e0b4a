import numpy as np
import pytest

from ppn_tf.data import objects, sources
from ppn_tf.errors import DataError, OptionError, SourceError

OWN = ("stand-in", "siemens-star", "spiral", "camera", "coins")


@pytest.fixture
def nothing(monkeypatch, tmp_path):
    """No data directory, no cache, no network."""
    monkeypatch.delenv(sources.DATA_VARIABLE, raising=False)
    monkeypatch.setenv(sources.OFFLINE_VARIABLE, "1")
    monkeypatch.setattr(sources, "cache_directory", lambda: tmp_path)
    return tmp_path


@pytest.mark.parametrize("name", OWN)
def test_own_objects_need_no_file_and_share_the_ranges(name, nothing):
    obj = objects.load_object(name)
    assert obj.name == name
    assert obj.amplitude.shape == obj.phase_rad.shape == (512, 512)
    assert obj.amplitude.dtype == obj.phase_rad.dtype == np.float32
    assert set(np.unique(obj.amplitude)) == {0.5, 1.0}
    # float32 rounding of 1.8 is 1.2e-7
    np.testing.assert_allclose(
        [obj.phase_rad.min(), obj.phase_rad.max()], [-1.7651935, -0.9649948], atol=2e-7
    )
    assert obj.provenance


@pytest.mark.parametrize("name", OWN)
def test_own_objects_are_the_same_every_time(name):
    first, second = objects.load_object(name), objects.load_object(name)
    np.testing.assert_array_equal(first.complex, second.complex)
    assert first.amplitude is not second.amplitude


def test_stand_in_is_a_chart_with_two_kinds_of_phase():
    obj = objects.load_object("stand-in")
    film = obj.amplitude == 0.5
    # the paper's chart covers 25 % of its field; this one 21 %
    assert 0.15 < film.mean() < 0.3
    # electrostatic: the film is more negative on average; magnetic: both sides vary
    assert obj.phase_rad[film].mean() < obj.phase_rad[~film].mean() - 0.05
    assert obj.phase_rad[film].std() > 0.05
    assert obj.phase_rad[~film].std() > 0.02


def test_stand_in_elements_are_three_bars_of_one_to_five():
    film = objects.load_object("stand-in").amplitude == 0.5
    # the first element: 10 px bars, horizontal at column 22, vertical at column 94, from row 20
    across = np.r_[np.ones(10), np.zeros(10), np.ones(10), np.zeros(10), np.ones(10)]
    np.testing.assert_array_equal(film[20:70, 22:72], np.repeat(across[:, None], 50, axis=1) == 1)
    np.testing.assert_array_equal(film[20:70, 94:144], np.repeat(across[None], 50, axis=0) == 1)
    # a column through a horizontal element of the smallest bars, 3 px
    start = 488 - 10 * 3 - 10
    lengths = np.flatnonzero(np.diff(np.pad(film[200:225, start + 5].astype(int), 1)))
    assert np.diff(lengths).tolist() == [3, 3, 3, 3, 3]


def test_magnetic_phase_of_a_stripe_is_a_ramp_across_it():
    # a long stripe magnetised along its length has a phase that is linear across its width
    # and flat outside: the projected potential of a sheet of flux
    moments = np.zeros((2, 128, 128))
    moments[1, 54:74, :] = 1.0
    phase = objects._magnetic_phase(moments)[:, 64]
    inside = np.diff(phase[57:71])
    # the stripe ends with the field, so neither is exact: slopes inside measured to spread by
    # 7 %, the return flux outside to be at most 15 % of them
    assert np.ptp(inside) < 0.1 * abs(inside.mean())
    assert abs(np.diff(phase[:50])).max() < 0.2 * abs(inside.mean())


def test_complex_has_amplitude_and_phase():
    obj = objects.load_object("spiral")
    assert obj.complex.dtype == np.complex64
    # complex64: 6e-8 relative in modulus, 1.2e-7 rad
    np.testing.assert_allclose(np.abs(obj.complex), obj.amplitude, rtol=2e-7)
    np.testing.assert_allclose(np.angle(obj.complex), obj.phase_rad, atol=3e-7)


def test_siemens_star_has_its_spokes():
    amplitude = objects.load_object("siemens-star").amplitude
    angle = np.linspace(0, 2 * np.pi, 7200, endpoint=False)
    rows, cols = (np.rint(255.5 + 200 * part(angle)).astype(int) for part in (np.sin, np.cos))
    ring = amplitude[rows, cols] > 0.75
    assert np.count_nonzero(ring & ~np.roll(ring, 1)) == 36


def test_ltem_is_mapped_as_in_the_release(data_dir):
    obj = objects.load_object("ltem")
    assert set(np.unique(obj.amplitude)) == {0.5, 1.0}
    # 2.648376 and 7.449568 rad in the file
    np.testing.assert_allclose(
        [obj.phase_rad.max(), obj.phase_rad.min()],
        [-(2.648376 + np.pi) / 6, -(7.449568 + np.pi) / 6],
        atol=3e-7,  # float32 rounding
    )
    assert obj.provenance["ltem/design_amp.tiff"].startswith("sha256:7e4f53ed")


def test_unknown_object_lists_the_known():
    with pytest.raises(OptionError, match="unknown object 'auto': expected one of ltem, stand-in"):
        objects.load_object("auto")
    assert objects.available_objects() == (
        "ltem",
        "stand-in",
        "siemens-star",
        "spiral",
        "camera",
        "coins",
    )


def test_stand_in_takes_the_place_of_missing_files_only(nothing):
    obj, stand_in = objects.load_object_or_stand_in("ltem")
    assert (obj.name, stand_in) == ("stand-in", True)
    obj, stand_in = objects.load_object_or_stand_in("spiral")
    assert (obj.name, stand_in) == ("spiral", False)
    (nothing / "ltem").mkdir()
    (nothing / "ltem" / "design_amp.tiff").write_bytes(b"cut short")
    with pytest.raises(SourceError, match="expected 1050108 bytes, received 9"):
        objects.load_object_or_stand_in("ltem")


@pytest.mark.parametrize(
    ("amplitude", "phase_rad", "message"),
    [
        (np.ones((4, 4, 1)), np.ones((4, 4)), r"'x': amplitude must be a real image \(H, W\)"),
        (np.ones((4, 4)), np.ones((4, 5)), r"agree in shape, received \(4, 4\) and \(4, 5\)"),
        (np.ones((4, 4)), np.full((4, 4), 1j), "phase_rad must be a real image"),
        (-np.ones((4, 4)), np.ones((4, 4)), "must not be negative, received a minimum of -1.0"),
    ],
)
def test_bad_objects_are_refused(amplitude, phase_rad, message):
    with pytest.raises(DataError, match=message):
        objects.ComplexObject("x", amplitude, phase_rad)


def test_nan_is_named_with_its_place():
    phase_rad = np.zeros((4, 4))
    phase_rad[2, 3] = np.nan
    with pytest.raises(
        DataError, match="phase_rad must be finite, received nan at row 2, column 3"
    ):
        objects.ComplexObject("x", np.ones((4, 4)), phase_rad)
