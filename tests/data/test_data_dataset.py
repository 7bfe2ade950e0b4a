import dataclasses
import subprocess
import sys

import numpy as np
import pytest

from ppn_tf import data
from ppn_tf.data import forward, sources
from ppn_tf.errors import DataError, OptionError, RecordError, SourceMissingError


@pytest.fixture(scope="module")
def small():
    """A 9 x 9 raster over a corner of the stand-in chart, with jitter."""
    whole = data.load_object("stand-in")
    part = data.ComplexObject("part", whole.amplitude[:96, :96], whole.phase_rad[:96, :96])
    return data.make(part, data.stand_in_probe(), jitter_px=2, seed=4, name="small")


@pytest.fixture
def nothing(monkeypatch, tmp_path):
    monkeypatch.delenv(sources.DATA_VARIABLE, raising=False)
    monkeypatch.setenv(sources.OFFLINE_VARIABLE, "1")
    monkeypatch.setattr(sources, "cache_directory", lambda: tmp_path)


def test_patches_are_cut_at_the_true_positions(small):
    whole = data.load_object("stand-in")
    assert len(small) == 81
    assert small.grid_shape == (9, 9)
    assert small.object_shape == (96, 96)
    assert (small.positions_px % 8).any()  # jitter moved them
    for i in (0, 40, 80):
        row, col = small.positions_px[i]
        window = np.s_[row : row + 32, col : col + 32]
        np.testing.assert_array_equal(small.amplitude[i], whole.amplitude[window])
        np.testing.assert_array_equal(small.phase[i], whole.phase_rad[window])
        wave = small.amplitude[i] * np.exp(1j * small.phase[i]) * data.stand_in_probe()
        expected = np.abs(np.fft.fftshift(np.fft.fft2(wave))) ** 2
        # complex64 against complex128: measured 3e-7 of the maximum
        np.testing.assert_allclose(small.patterns[i], expected, atol=1e-5 * expected.max())


def test_provenance_says_everything(small):
    assert small.provenance == {
        "name": "small",
        "object": "part",
        "stand_in": False,
        "sources": {},
        "step_px": 8.0,
        "jitter_px": 2,
        "noise": dataclasses.asdict(forward.NOISE_MODELS["none"]),
        "seed": 4,
    }


def test_load_the_paper_data(data_dir):
    loaded = data.load("ltem")
    assert len(loaded) == 3721
    assert loaded.grid_shape == (61, 61)
    assert loaded.provenance["probe"] == "ltem"
    assert loaded.provenance["stand_in"] is False
    assert set(loaded.provenance["sources"]) == {
        "ltem/design_amp.tiff",
        "ltem/design_tphi.tiff",
        "probe/pxy_probe1000.npy",
    }
    assert loaded.patterns.dtype == loaded.amplitude.dtype == loaded.phase.dtype == np.float32


def test_load_by_overlap():
    assert data.load("stand-in", overlap=0.3).provenance["step_px"] == 22.4
    assert data.load("stand-in", overlap=0.3, rule="released").provenance["step_px"] == 22.0
    assert data.load("stand-in", overlap=0.0).grid_shape == (16, 16)


def test_load_refuses_two_steps():
    with pytest.raises(OptionError, match="received step_px=4.0 and overlap=0.5"):
        data.load("stand-in", step_px=4.0, overlap=0.5)
    with pytest.raises(OptionError, match="unknown step rule 'x'"):
        data.load("stand-in", rule="x")


def test_load_needs_no_file_for_the_stand_in(nothing):
    loaded = data.load("stand-in", step_px=48)
    assert loaded.provenance["stand_in"] is True
    assert loaded.provenance["probe"] == "stand-in"


def test_curved_samples_take_the_probe_that_is_there(nothing):
    assert data.load("spiral", step_px=48).provenance["probe"] == "stand-in"


def test_missing_files_are_said_unless_the_stand_in_is_allowed(nothing):
    with pytest.raises(SourceMissingError, match="ltem/design_amp.tiff was not found"):
        data.load("ltem")
    loaded = data.load("ltem", step_px=48, allow_stand_in=True)
    assert loaded.provenance["stand_in"] is True
    assert loaded.provenance["name"] == "ltem"
    assert loaded.provenance["object"] == "stand-in"


def test_available_and_unknown():
    names = data.available()
    assert names[:2] == ["ltem", "stand-in"]
    with pytest.raises(OptionError, match="unknown object 'auto'"):
        data.load("auto")


def test_subset_keeps_the_order_and_drops_the_grid(small):
    part = small.subset(np.array([5, 3]))
    assert part.grid_shape is None
    assert part.object_shape == small.object_shape
    np.testing.assert_array_equal(part.patterns, small.patterns[[5, 3]])
    np.testing.assert_array_equal(part.positions_px, small.positions_px[[5, 3]])


@pytest.mark.parametrize(
    ("indices", "message"),
    [
        ([81], "indices must be from 0 to 80, received 81"),
        ([-1], "indices must be from 0 to 80, received -1"),
        ([], r"at least one whole number, received float64 \(0,\)"),
        (np.ones(81, bool), "received bool"),
    ],
)
def test_subset_refuses_bad_indices(small, indices, message):
    with pytest.raises(DataError, match=message):
        small.subset(indices)


def test_scaling_is_fitted_to_the_given_patches_only(small):
    scaling = small.fit_scaling(np.array([2, 7]), "log1p")
    chosen = small.patterns[[2, 7]]
    expected = (np.log1p(float(chosen.min())), np.log1p(float(chosen.max())))
    assert scaling.input_range == pytest.approx(expected)
    assert scaling.phase_range_rad[0] == small.phase[[2, 7]].min()


@pytest.mark.parametrize("grid", [True, False])
def test_save_and_read_give_back_every_field(small, tmp_path, grid):
    original = small if grid else small.subset(np.arange(7))
    original.save(tmp_path / "scan.npz")
    back = data.Dataset.read(tmp_path / "scan.npz")
    for field in dataclasses.fields(data.Dataset):
        expected, received = getattr(original, field.name), getattr(back, field.name)
        if isinstance(expected, np.ndarray):
            np.testing.assert_array_equal(received, expected)
            assert received.dtype == expected.dtype
        else:
            assert received == expected
    assert [path.name for path in tmp_path.iterdir()] == ["scan.npz"]


def test_saved_bytes_repeat(small, tmp_path):
    small.save(tmp_path / "a.npz")
    small.save(tmp_path / "b.npz")
    assert (tmp_path / "a.npz").read_bytes() == (tmp_path / "b.npz").read_bytes()


def test_save_where_nothing_can_be_written(small, tmp_path):
    (tmp_path / "folder").write_text("not a folder")
    with pytest.raises(RecordError, match="could not write"):
        small.save(tmp_path / "folder" / "scan.npz")


def test_read_names_missing_keys(tmp_path):
    np.savez(tmp_path / "x.npz", patterns=np.ones((1, 2, 2)), diffraction=np.ones(1))
    with pytest.raises(DataError, match="lacks the keys amplitude, phase, .*patterns, diffraction"):
        data.Dataset.read(tmp_path / "x.npz")


def test_read_refuses_what_is_no_data_set(small, tmp_path):
    with pytest.raises(DataError, match="nowhere.npz does not exist"):
        data.Dataset.read(tmp_path / "nowhere.npz")
    (tmp_path / "text.npz").write_text("hello")
    with pytest.raises(DataError, match="text.npz cannot be read as npz"):
        data.Dataset.read(tmp_path / "text.npz")
    np.save(tmp_path / "array.npy", np.ones(3))
    with pytest.raises(DataError, match="array.npy cannot be read as npz"):
        data.Dataset.read(tmp_path / "array.npy")
    small.save(tmp_path / "whole.npz")
    content = (tmp_path / "whole.npz").read_bytes()
    (tmp_path / "cut.npz").write_bytes(content[: len(content) // 2])
    with pytest.raises(DataError, match="cut.npz cannot be read as npz"):
        data.Dataset.read(tmp_path / "cut.npz")


def test_read_refuses_another_format(small, tmp_path):
    small.save(tmp_path / "scan.npz")
    with np.load(tmp_path / "scan.npz") as archive:
        values = dict(archive)
    np.savez(tmp_path / "scan.npz", **{**values, "format": np.array("ppn_tf.dataset/9")})
    with pytest.raises(DataError, match="expected format ppn_tf.dataset/1, received ppn_tf.datas"):
        data.Dataset.read(tmp_path / "scan.npz")


def _values():
    return {
        "patterns": np.ones((6, 4, 4)),
        "amplitude": np.ones((6, 4, 4)),
        "phase": np.zeros((6, 4, 4)),
        "positions_px": np.zeros((6, 2), int),
        "grid_shape": (2, 3),
        "object_shape": (9, 9),
    }


def _with(array, index, value):
    array = array.copy()
    array[index] = value
    return array


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"patterns": np.ones((6, 4))}, r"patterns must have the shape \(N, H, W\)"),
        ({"amplitude": np.ones((5, 4, 4))}, r"amplitude must .* \(6, 4, 4\), received \(5, 4, 4\)"),
        ({"phase": np.ones((6, 4, 4), complex)}, "phase must be real, received complex128"),
        (
            {"patterns": _with(np.ones((6, 4, 4)), (2, 1, 3), np.nan)},
            r"patterns must be finite, received nan at index \(2, 1, 3\) \(1 such values\)",
        ),
        (
            {"patterns": _with(np.ones((6, 4, 4)), (2, 1, 3), -1)},
            r"patterns must not be negative, received -1.0 at index \(2, 1, 3\)",
        ),
        ({"positions_px": np.zeros((5, 2), int)}, "each of the 6 patterns, received 5"),
        ({"positions_px": np.full((6, 2), 6)}, "position 0 is outside the object"),
        ({"grid_shape": (2, 4)}, r"grid_shape \(2, 4\) does not hold the 6 patterns"),
        ({"object_shape": (9, 9, 1)}, "object_shape must be"),
    ],
)
def test_bad_data_sets_are_refused(change, message):
    data.Dataset(**_values())
    with pytest.raises(DataError, match=message):
        data.Dataset(**{**_values(), **change})


def test_make_refuses_a_real_probe():
    with pytest.raises(DataError, match="probe must be complex"):
        data.make(data.load_object("spiral"), np.ones((32, 32)))


def test_import_leaves_keras_alone():
    code = (
        "import sys, ppn_tf.data; "
        "print([name for name in ('keras', 'tensorflow', 'jax') if name in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
