"""Files of networks from another version of Keras; hostile ones are in faults."""

import json
import zipfile

import numpy as np
import pytest

keras = pytest.importorskip("keras")

from ppn_tf import kerasfile  # noqa: E402


@pytest.fixture
def newer(tmp_path):
    """A file as newer versions of Keras write it."""
    inputs = keras.Input((4,), name="pattern")
    model = keras.Model(inputs, keras.layers.Dense(2, name="dense")(inputs))
    path = tmp_path / "network.keras"
    model.save(path)
    with zipfile.ZipFile(path) as archive:
        members = {name: archive.read(name) for name in archive.namelist()}
    config = json.loads(members["config.json"])
    dense = next(one for one in config["config"]["layers"] if one["name"] == "dense")
    dense["config"]["quantization_config"] = None
    dense["config"]["kernel_initializer"]["config"] |= {"input_axes": None, "output_axes": None}
    members["config.json"] = json.dumps(config).encode()
    with zipfile.ZipFile(path, "w") as archive:
        for name, content in members.items():
            archive.writestr(name, content)
    return path, model


def test_an_older_keras_loads_what_a_newer_one_wrote(newer, monkeypatch):
    path, model = newer
    seen = []
    load = keras.saving.load_model

    def spied(file, **options):
        with zipfile.ZipFile(file) as archive:
            config = archive.read("config.json")
        seen.append((file.name, b"quantization_config" in config, b"input_axes" in config))
        return load(file, **options)

    monkeypatch.setattr(keras.saving, "load_model", spied)
    monkeypatch.setattr(kerasfile, "_knows_newer", lambda: False)
    x = np.ones((1, 4), "float32")
    np.testing.assert_array_equal(np.asarray(kerasfile.load(path)(x)), np.asarray(model(x)))
    assert seen == [("network.keras", False, False)]


def test_a_network_saved_with_its_optimizer_is_loaded_bare(newer, tmp_path):
    _, model = newer
    model.compile("adam", loss="mse")
    x = np.ones((2, 4), "float32")
    model.train_on_batch(x, np.zeros((2, 2)))
    path = tmp_path / "trained.keras"
    model.save(path)
    loaded = kerasfile.load(path)
    assert getattr(loaded, "optimizer", None) is None
    np.testing.assert_array_equal(np.asarray(loaded(x)), np.asarray(model(x)))
