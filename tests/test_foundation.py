"""Atomic files, random streams, scaling, devices: what everything stands on."""

import errno
import os
import stat
import subprocess
import sys

import numpy as np
import pytest

from ppn_tf import devices, files, seeding
from ppn_tf.errors import DataError, DeviceError, OptionError, RecordError
from ppn_tf.scaling import Scaling

# --- files ---


def test_text_and_json_round_trip(tmp_path):
    files.write_json(tmp_path / "new" / "deep" / "a.json", {"b": [1, 2.5, None], "a": "µm"})
    text = (tmp_path / "new" / "deep" / "a.json").read_text(encoding="utf-8")
    assert text == '{\n "a": "µm",\n "b": [\n  1,\n  2.5,\n  null\n ]\n}\n'
    assert [path.name for path in (tmp_path / "new" / "deep").iterdir()] == ["a.json"]


def test_json_refuses_nan_and_leaves_nothing(tmp_path):
    with pytest.raises(ValueError, match="not JSON compliant"):
        files.write_json(tmp_path / "a.json", {"psnr": float("nan")})
    assert list(tmp_path.iterdir()) == []


def test_permissions_follow_the_umask(tmp_path):
    before = os.umask(0o027)
    try:
        files.write_text(tmp_path / "a.txt", "text")
    finally:
        os.umask(before)
    assert stat.S_IMODE((tmp_path / "a.txt").stat().st_mode) == 0o640


def test_temporary_file_keeps_the_ending(tmp_path):
    with files.replacing(tmp_path / "model.keras") as temporary:
        assert temporary.suffix == ".keras"
        assert temporary.parent == tmp_path
        assert temporary.name.startswith(".")
        temporary.write_bytes(b"new")
        assert not (tmp_path / "model.keras").exists()
    assert (tmp_path / "model.keras").read_bytes() == b"new"


def full_disk(*_args, **_kwargs):
    raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


def test_full_disk_leaves_the_old_file(tmp_path, monkeypatch):
    path = tmp_path / "record.json"
    files.write_text(path, "old")
    message = (
        "could not write .*record.json: No space left on device; nothing was changed. Free space "
        "or choose another folder, then run the command again"
    )
    monkeypatch.setattr(os, "fsync", full_disk)
    with pytest.raises(RecordError, match=message):
        files.write_text(path, "new")
    monkeypatch.undo()
    with pytest.raises(RecordError, match=message), files.replacing(path) as temporary:
        temporary.write_text("half of the new")
        full_disk()
    assert path.read_text() == "old"
    assert [item.name for item in tmp_path.iterdir()] == ["record.json"]


def test_folder_that_cannot_be_made(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(RecordError, match="could not write .*file.*a.txt: (Not a dir|File exists)"):
        files.write_text(tmp_path / "file" / "a.txt", "text")


def test_other_errors_pass_and_clean_up(tmp_path):
    with pytest.raises(KeyError), files.replacing(tmp_path / "a.txt") as temporary:
        temporary.write_text("half")
        raise KeyError("a bug of the caller")
    assert list(tmp_path.iterdir()) == []


# --- seeds ---


def test_streams_are_independent_and_repeatable():
    def draw(*arguments):
        return seeding.generator(*arguments).random(4).tolist()

    draws = [draw(0, purpose) for purpose in seeding.STREAMS]
    # NumPy pads seeds with zeros: part 0 is the stream itself
    draws += [draw(1, "order"), draw(0, "order", 1), draw(0, "order", 2), draw(0, "order", 1, 1)]
    assert len({tuple(values) for values in draws}) == len(draws)
    assert draw(0, "order", 1) == draw(0, "order", 1)


def test_stream_numbers_are_append_only():
    assert list(seeding.STREAMS.items())[:6] == [
        ("jitter", 1),
        ("noise", 2),
        ("validation", 3),
        ("order", 4),
        ("weights", 5),
        ("object", 6),
    ]
    assert len(set(seeding.STREAMS.values())) == len(seeding.STREAMS)
    # NumPy's own rule for a list of seeds
    expected = np.random.default_rng([7, 4, 2]).random(3)
    np.testing.assert_array_equal(seeding.generator(7, "order", 2).random(3), expected)


def test_refused_seeds():
    with pytest.raises(OptionError, match="unknown random stream 'dropout': expected one of jitt"):
        seeding.generator(0, "dropout")
    with pytest.raises(OptionError, match="seed must be at least 0, received -1"):
        seeding.generator(-1, "order")


# --- scaling ---


def test_fit_by_hand():
    patterns = np.array([0.0, np.e**2 - 1.0])
    scaling = Scaling.fit(patterns, np.array([0.5, 1.0]), np.array([-1.0, 1.0]), "log1p")
    assert scaling.input_range == pytest.approx((0.0, 2.0), abs=1e-12)
    assert scaling.amplitude_range == (0.5, 1.0)
    assert scaling.phase_range_rad == (-1.0, 1.0)
    amplitude = scaling.target_amplitude(np.array([0.5, 0.625, 1.25]))
    np.testing.assert_array_equal(amplitude, np.array([0.0, 0.25, 1.5], "float32"))  # not clipped
    assert amplitude.dtype == np.float32
    np.testing.assert_array_equal(scaling.target_phase(np.array([0.0])), np.float32([0.5]))
    linear = Scaling.fit(patterns, np.array([0.5, 1.0]), np.array([-1.0, 1.0]), "linear")
    assert linear.input_range == (0.0, patterns[1])


def test_scaling_survives_json():
    scaling = Scaling("linear", (0, 10), (0.25, 0.75), (-1.5, 0.5))
    again = Scaling.from_dict({name: value for name, value in scaling.to_dict().items()})
    assert again == scaling
    lists = {n: list(v) if isinstance(v, tuple) else v for n, v in scaling.to_dict().items()}
    assert Scaling.from_dict(lists) == scaling


@pytest.mark.parametrize("ends", [(1.0, 1.0), (2.0, 1.0), (0.0, np.inf), (np.nan, 1.0)])
def test_refused_ranges(ends):
    with pytest.raises(DataError, match="amplitude_range must be two finite numbers, the first"):
        Scaling("linear", (0.0, 1.0), ends, (0.0, 1.0))


def test_refused_transforms():
    message = "unknown input transform 'sqrt': expected one of linear, log1p"
    with pytest.raises(OptionError, match=message):
        Scaling("sqrt", (0.0, 1.0), (0.0, 1.0), (0.0, 1.0))
    with pytest.raises(OptionError, match=message):
        Scaling.fit(np.zeros(2), np.zeros(2), np.zeros(2), "sqrt")


# --- devices ---


def test_cpu_and_auto():
    pytest.importorskip("keras")
    name = devices.select_device("cpu")
    assert name == f"CPU ({devices.processor()})"
    assert name.endswith(f", {os.cpu_count()} cores)")


def test_missing_gpu():
    keras = pytest.importorskip("keras")
    kind = "JAX" if keras.backend.backend() == "jax" else "TensorFlow"
    with pytest.raises(
        DeviceError,
        match=f"GPU 97 was asked for, but {kind} sees these GPUs: .*. "
        "Use --gpu cpu, or install the extra 'gpu' and a driver",
    ):
        devices.select_device("97")


@pytest.mark.parametrize("device", ["gpu", "-1", "", "0,1"])
def test_refused_devices(device):
    pytest.importorskip("keras")
    with pytest.raises(OptionError, match="--gpu expects a number, 'cpu' or 'auto', received"):
        devices.select_device(device)


@pytest.mark.parametrize(
    ("device", "gpus", "expected"),
    [
        ("cpu", ["a"], []),
        ("auto", [], []),
        ("auto", ["a", "b"], ["a"]),
        ("1", ["a", "b"], ["b"]),
    ],
)
def test_choice_of_the_gpu(device, gpus, expected):
    assert devices._wanted(device, 1, gpus, "TensorFlow") == expected


def test_threads():
    pytest.importorskip("keras")
    devices.set_threads(None)  # the backend's choice
    with pytest.raises(OptionError, match="number of threads must be at least 1, received 0"):
        devices.set_threads(0)


def test_workers_of_jax_get_processors_of_their_own(monkeypatch):
    keras = pytest.importorskip("keras")
    given = []
    monkeypatch.setattr(keras.backend, "backend", lambda: "jax")
    monkeypatch.setattr(devices.os, "sched_getaffinity", lambda pid: {2, 3, 5, 7, 8}, raising=False)
    monkeypatch.setattr(
        devices.os, "sched_setaffinity", lambda pid, own: given.append(own), raising=False
    )
    for worker in range(3):
        devices.set_threads(2, worker)
    # the third begins with the last one and goes on from the first
    assert given == [{2, 3}, {5, 7}, {8, 2}]


def test_versions_name_what_can_change_a_number():
    found = devices.versions()
    assert {"python", "numpy", "scipy", "scikit-image"} <= set(found)
    assert found["numpy"] == np.__version__


FAULTS = """
import resource
import numpy as np
from ppn_tf.devices import keep_freed_memory
if {keep} and not keep_freed_memory():
    print(-1)
else:
    for _ in range(20):
        np.ones(2**23)
    print(resource.getrusage(resource.RUSAGE_SELF).ru_minflt)
"""


def test_freed_memory_stays_in_the_process():
    """Twenty arrays of 64 MiB, one after the other, are paged in once."""
    faults = [
        int(
            subprocess.run(
                [sys.executable, "-c", FAULTS.format(keep=keep)],
                # huge pages, where there are any, would leave nothing to count
                env=os.environ | {"NUMPY_MADVISE_HUGEPAGE": "0"},
                capture_output=True,
                text=True,
                check=True,
            ).stdout
        )
        for keep in (False, True)
    ]
    if faults[1] == -1:
        pytest.skip("the C library is not glibc")
    # 20 x 16384 pages against 16384
    assert faults[1] < faults[0] / 2
