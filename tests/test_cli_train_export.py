"""The commands train and export: a kill in between, the export as its user runs it."""

import importlib.util
import json
import signal
import subprocess
import sys
import time

import by_hand
import keras
import numpy as np
import pytest
from commands import answer, call, refused

from ppn_tf import api, exporting, inference, models, training
from ppn_tf.data import formats
from ppn_tf.errors import OptionError
from ppn_tf.models.spec import ModelSpec
from ppn_tf.scaling import Scaling


def small(inputs):
    """A network of two numbers a pixel, so that training takes seconds."""
    x = keras.layers.Conv2D(4, 3, padding="same", activation="relu")(inputs)
    return tuple(keras.layers.Conv2D(1, 1, activation="sigmoid")(x) for _ in range(2))


@pytest.fixture
def registered(monkeypatch):
    spec = ModelSpec("small", 8, small)
    monkeypatch.setattr(models, "_SPECS", {**models._SPECS, "small": spec})


@pytest.fixture
def scan(tmp_path):
    path = tmp_path / "scan.npz"
    formats.write(path, by_hand.scan(object=by_hand.expected().astype(np.complex64)))
    return path


def train(scan, out, *words):
    return ("train", scan, "-o", out, "--network", "small", "--batch-size", 8, *words)


def test_train_on_a_scan_with_its_object(registered, scan, tmp_path, capsys):
    out = tmp_path / "own.keras"
    values = answer(capsys, *train(scan, out, "--epochs", 2))
    told = "2 windows of a corner; 4 that overlap them or leave the object are not used"
    # 30 windows, of which 4 overlap those of the corner
    assert (values["pairs"], values["epochs"], values["window_px"]) == (26, 2, [8, 8])
    assert values["files"] == [str(out), str(out) + ".json"]
    scaling = inference.scaling_of(api.load_model(out))
    assert scaling.transform == "log1p"
    # the ranges of the training part
    ends = (by_hand.picture().min(), by_hand.picture().max())
    assert scaling.amplitude_range == pytest.approx(ends, abs=0.02)
    record = json.loads((tmp_path / "own.keras.json").read_text())
    assert len(record["history"]) == 2
    assert values["held_out"] == record["settings"]["held_out"] == told
    assert sorted(path.name for path in tmp_path.iterdir()) == [
        "own.keras",
        "own.keras.json",
        "scan.npz",
    ]


def test_train_on_simulations_with_the_probe(registered, tmp_path, capsys):
    formats.write(tmp_path / "bare.npz", by_hand.scan())
    simulated = ("--epochs", 1, "--simulate", 40, "--phase-range", -2, 0)
    for zero, low in (("light", -1.7), ("object", -1.9)):
        out = tmp_path / f"{zero}.keras"
        words = train(tmp_path / "bare.npz", out, *simulated, "--phase-zero", zero)
        values = answer(capsys, *words)
        assert (values["pairs"], values["held_out"]) == (40, "2 windows of objects of their own")
        scaling = inference.scaling_of(api.load_model(out))
        assert scaling.phase_zero == zero
        # the object's phases begin at -2; the light sees about -1
        ends = scaling.phase_range_rad
        assert ends[0] >= -2
        assert (ends[0] < low) == (zero == "object")
        assert (ends[1] > 0.5) == (zero == "light")
        record = json.loads((tmp_path / f"{zero}.keras.json").read_text())
        assert record["settings"]["phase_zero"] == zero


def test_train_with_the_probe_of_another_file(registered, scan, tmp_path, capsys):
    formats.write(tmp_path / "bare.npz", by_hand.scan(probe=None))
    out, words = tmp_path / "own.keras", ("--epochs", 1, "--simulate", 9)
    answer(capsys, *train(tmp_path / "bare.npz", out, "--probe", scan, *words))
    assert json.loads((tmp_path / "own.keras.json").read_text())["settings"]["probe"] == "scan.npz"
    np.save(tmp_path / "small.npy", np.ones((4, 4), np.complex64))
    message = refused(
        capsys, *train(scan, tmp_path / "b.keras", "--probe", tmp_path / "small.npy", *words)
    )
    assert "needs a probe of 8 x 8 px, received 4 x 4 px" in message


def test_a_killed_training_goes_on(registered, scan, tmp_path, capsys, monkeypatch):
    """After an interrupt in the second epoch, the same command gives the same network."""
    whole, parts = tmp_path / "whole.keras", tmp_path / "parts.keras"
    answer(capsys, *train(scan, whole, "--epochs", 3))
    original = training.Checkpoint.on_epoch_end

    def stopped(checkpoint, epoch, logs=None):
        original(checkpoint, epoch, logs)
        if epoch == 1:
            raise KeyboardInterrupt

    with monkeypatch.context() as patched:
        patched.setattr(training.Checkpoint, "on_epoch_end", stopped)
        assert call(*train(scan, parts, "--epochs", 3)) == 130
    assert "the same command goes on" in capsys.readouterr().err
    assert not parts.exists()
    assert "is of another training: seed differ" in refused(
        capsys, *train(scan, parts, "--epochs", 3, "--seed", 1)
    )
    values = answer(capsys, *train(scan, parts, "--epochs", 3))
    assert values["epochs"] == 3
    weights = [api.load_model(path).get_weights() for path in (whole, parts)]
    for one, other in zip(*weights, strict=True):
        # float32: the order of sums may differ
        np.testing.assert_allclose(one, other, rtol=1e-5, atol=1e-6)


def test_a_training_killed_for_good_goes_on(scan, tmp_path):
    """SIGKILL after the first epoch, in a process of its own; the same words, and all is there."""
    out, checkpoint = tmp_path / "own.keras", tmp_path / "own.keras.checkpoint.npz"
    words = ["train", scan, "-o", out, "--network", "ptynet", "--batch-size", 2, "--epochs"]
    command = [sys.executable, "-m", "ppn_tf.cli", *map(str, words)]
    # epochs enough that the kill meets the middle of them
    with subprocess.Popen([*command, "2000"], stderr=subprocess.DEVNULL) as process:
        for _ in range(600):
            if checkpoint.exists() or process.poll() is not None:
                break
            time.sleep(0.1)
        process.send_signal(signal.SIGKILL)
    assert process.returncode == -signal.SIGKILL
    assert not out.exists()
    with np.load(checkpoint, allow_pickle=False) as kept:
        before = len(json.loads(str(kept["state"]))["epochs"])
    assert 1 <= before < 2000
    done = subprocess.run([*command, str(before + 1), "--json"], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["epochs"] == before + 1
    assert api.load_model(out).input_shape == (None, 8, 8, 1)
    # nothing of the killed process is left
    assert {path.name for path in tmp_path.iterdir()} == {out.name, f"{out.name}.json", scan.name}


def test_train_refuses(registered, scan, tmp_path, capsys):
    formats.write(tmp_path / "bare.npz", by_hand.scan(probe=None))
    out = tmp_path / "own.keras"
    for words, message in (
        (("train", scan, "-o", tmp_path / "own.h5"), "expects the ending .keras"),
        (("train", scan, "-o", out, "--network", "x"), "unknown model 'x'"),
        (train(tmp_path / "gone.h5", out), "does not exist"),
        (train(tmp_path / "bare.npz", out), "no object to train on"),
        (train(tmp_path / "bare.npz", out, "--simulate", 9), "no probe to simulate with"),
        (train(scan, out, "--simulate", 1), "at least 2 patterns"),
        (train(scan, out, "--epochs", 0), "epochs must be at least 1"),
        (train(scan, out, "--simulate", 9, "--amplitude-range", 1, 0), "low < high"),
        (train(scan, out, "--crop", 4), "multiples of 8 px"),
    ):
        assert message in refused(capsys, *words), words
        assert not list(tmp_path.glob("own.keras*")), words
    (tmp_path / "own.keras.checkpoint.npz").write_bytes(b"damaged")
    assert "cannot be read" in refused(capsys, *train(scan, out))


@pytest.fixture
def network(tmp_path):
    path = tmp_path / "by_hand.keras"
    by_hand.network().save(path)
    return path


def test_export_says_that_patches_are_to_be_turned(network, tmp_path, capsys):
    by_hand.network(zero="light").save(tmp_path / "light.keras")
    assert call("export", tmp_path / "light.keras", "-o", tmp_path / "light") == 0
    assert "turn patches to each other" in capsys.readouterr().out
    assert call("export", network, "-o", tmp_path / "object") == 0
    assert "turn patches" not in capsys.readouterr().out


def test_export_gives_physical_values_in_a_savedmodel(network, tmp_path, capsys):
    """By hand: 50 counts are amplitude 0.5 and 0.5 rad."""
    out = tmp_path / "saved"
    values = answer(capsys, "export", network, "-o", out)
    assert (values["format"], values["input_shape"]) == ("savedmodel", [8, 8, 1])
    assert (values["largest_difference"] < 1e-5, values["phase_zero"]) == (True, "object")
    found = exporting.run_exported(out, np.full((3, 8, 8), 50, np.float32))
    for name in ("amplitude", "phase"):
        np.testing.assert_allclose(found[name], 0.5, atol=1e-6)
        assert found[name].shape == (3, 8, 8)
    assert "pass --force" in refused(capsys, "export", network, "-o", out)
    assert call("export", network, "-o", out, "--force") == 0
    assert not [path for path in tmp_path.iterdir() if path.name.startswith(".saved")]


@pytest.mark.long
def test_export_never_replaces_a_folder_of_something_else(network, tmp_path, capsys):
    data = tmp_path / "mydata"
    data.mkdir()
    (data / "raw.txt").write_text("precious")
    message = refused(capsys, "export", network, "-o", data, "--force")
    assert "holds raw.txt, which is no part of a SavedModel: it is left alone" in message
    assert (data / "raw.txt").read_text() == "precious"


def test_export_of_a_network_with_weights(tmp_path, capsys):
    values = answer(capsys, "export", "ppn-ltem", "-o", tmp_path / "saved")
    # float32, in another order of operations: what the command itself allows
    assert values["largest_difference"] < 1e-3


def test_onnx_gets_no_log1p(tmp_path):
    """The same numbers by another operation."""
    network = models.create(
        "ptychonn", (16, 16, 1), scaling=Scaling("log1p", (0, 9), (0, 2), (-1, 1))
    )
    counts = np.random.default_rng(0).poisson(30, (2, 16, 16)).astype(np.float32)
    found = exporting.physical(exporting.portable(network))(counts[..., None])
    expected = inference.infer(network, counts)
    # float32
    np.testing.assert_allclose(found["phase"][..., 0], expected.phase, atol=1e-5)
    np.testing.assert_allclose(found["amplitude"][..., 0], expected.amplitude, atol=1e-5)


@pytest.mark.skipif(keras.backend.backend() != "tensorflow", reason="export needs TensorFlow")
def test_a_portable_network_has_operations_of_onnx_alone():
    import tensorflow as tf

    network = models.load("ppn-ltem")
    made = exporting.portable(network)
    graph = tf.function(made).get_concrete_function(tf.TensorSpec((1, 32, 32, 1))).graph
    found = {operation.type for operation in graph.get_operations()}
    # Log1p is there, of constants alone: the radii of PoCA
    assert "Erf" in found
    assert not found & {"Erfc", "XlaDynamicSlice", "While"}
    x = np.random.default_rng(0).random((2, 32, 32, 1), dtype=np.float32)
    for name, expected in network(x).items():
        # float32; at most 2.5e-6 over 4 inputs
        np.testing.assert_allclose(made(x)[name], expected, atol=1e-5)


def test_an_export_that_does_not_run_is_reported(network, tmp_path, capsys, monkeypatch):
    def broken(path, counts):
        raise RuntimeError("no such operation")

    monkeypatch.setattr(exporting, "run_exported", broken)
    message = refused(capsys, "export", network, "-o", tmp_path / "a")
    assert "cannot be run (RuntimeError: no such operation) and was removed" in message
    assert not (tmp_path / "a").exists()


@pytest.mark.parametrize("which", ["by hand", "ppn-ltem"])
def test_export_to_onnx(network, which, tmp_path, capsys):
    for name in (*exporting.ONNX_PACKAGES, "onnxruntime"):
        if importlib.util.find_spec(name) is None:
            pytest.skip(f"{name} is not installed: the extra 'onnx'")
    source = network if which == "by hand" else which
    values = answer(capsys, "export", source, "-o", tmp_path / "by_hand.onnx")
    assert values["format"] == "onnx"
    # float32; 1.3e-6 seen for ppn-ltem
    assert values["largest_difference"] < 1e-5


def test_export_refuses(network, tmp_path, capsys, monkeypatch):
    assert "a folder name without ending" in refused(
        capsys, "export", network, "-o", tmp_path / "a.h5"
    )
    assert "unknown trained model" in refused(capsys, "export", "x", "-o", tmp_path / "a")
    monkeypatch.setattr(exporting, "ONNX_PACKAGES", ("no_such_package",))
    assert "ONNX needs no_such_package: pip install 'ppn-tf[onnx]'" in refused(
        capsys, "export", network, "-o", tmp_path / "a.onnx"
    )
    inputs = keras.Input((8, 8, 1))
    outputs = keras.layers.Identity()(inputs)
    plain = keras.Model(inputs, {"amplitude": outputs, "phase": outputs})
    with pytest.raises(OptionError, match="holds no physical scaling"):
        exporting.export(plain, tmp_path / "a")
    monkeypatch.setattr(exporting.keras.backend, "backend", lambda: "jax")
    with pytest.raises(OptionError, match="needs the TensorFlow backend"):
        exporting.export(plain, tmp_path / "a")


def test_an_export_that_computes_something_else_is_reported(network, tmp_path, capsys, monkeypatch):
    wrong = {name: np.zeros((4, 8, 8), np.float32) for name in ("amplitude", "phase")}
    monkeypatch.setattr(exporting, "run_exported", lambda path, counts: wrong)
    message = refused(capsys, "export", network, "-o", tmp_path / "a")
    assert "differs from the network by" in message
