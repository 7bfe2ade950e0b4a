"""Networks made to harm: refused before Keras imports, runs or allocates anything."""

import json
import zipfile

import pytest

keras = pytest.importorskip("keras")

from ppn_tf import kerasfile  # noqa: E402
from ppn_tf.errors import DataError  # noqa: E402


@pytest.fixture(scope="module")
def network(tmp_path_factory):
    """A file with a small network of Keras' own layers."""
    path = tmp_path_factory.mktemp("network") / "a.keras"
    inputs = keras.Input((4, 4, 1))
    x = keras.layers.Conv2D(2, 3, padding="same", activation="relu", name="conv")(inputs)
    keras.Model(inputs, x + 1.0).save(path)
    return path


def rewritten(network, path, change=None, **members):
    """Copy a file with a changed configuration, and other members."""
    with zipfile.ZipFile(network) as archive:
        content = {item.filename: archive.read(item) for item in archive.infolist()}
    if change is not None:
        config = json.loads(content["config.json"])
        change(
            config,
            next(
                layer
                for layer in config["config"]["layers"]
                if layer["config"].get("name") == "conv"
            ),
        )
        content["config.json"] = json.dumps(config)
    content |= members
    with zipfile.ZipFile(path, "w") as archive:
        for name, value in content.items():
            archive.writestr(name, value)
    return path


def test_an_honest_network_is_loaded_and_draws_nothing(network):
    import random

    random.seed(1)
    before = random.getstate()
    kerasfile._check_build(network, kerasfile.LIMIT_BYTES)
    assert random.getstate() == before
    loaded = kerasfile.load(network)
    assert loaded.count_params() == 3 * 3 * 2 + 2
    with pytest.raises(DataError, match="expected at most 20"):  # twice 10, for HDF5
        kerasfile.load(network, limit_bytes=10)


@pytest.mark.parametrize(
    ("module", "name"),
    [
        ("os", "system"),
        ("subprocess", "Popen"),
        ("ppn_tf.files", "replacing"),
        ("keras.utils", "get_file"),
        ("keras.src.utils.file_utils", "get_file"),
        ("keras.models", "load_model"),
        ("keras.layers", "Lambda"),
        ("keras.layers", "TFSMLayer"),
        ("keras.layers", "StringLookup"),
        ("builtins", "exec"),
        ("keras.layers.../os", "system"),
    ],
)
def test_classes_that_are_not_taken_from_a_file(network, tmp_path, tried, module, name):
    def change(_config, layer):
        layer |= {"module": module, "class_name": name, "registered_name": name}

    path = rewritten(network, tmp_path / "b.keras", change)
    with pytest.raises(DataError, match="config.json names .*, which is not loaded from a file"):
        kerasfile.load(path)
    tried("untrusted", f"{module}.{name} in .keras", refused=1)


def test_functions_that_are_not_taken_from_a_file(network, tmp_path, tried):
    def change(_config, layer):
        function = {"module": "keras.utils", "class_name": "function", "config": "get_file"}
        layer["config"]["activation"] = function | {"registered_name": "get_file"}

    with pytest.raises(DataError, match="names keras.utils.function, which is not loaded"):
        kerasfile.load(rewritten(network, tmp_path / "b.keras", change))
    tried("untrusted", "keras.utils.get_file as activation", refused=1)


@pytest.mark.parametrize("members", [{"../../out.txt": "x"}, {"assets/words.txt": "x"}])
def test_members_that_do_not_belong_there(network, tmp_path, tried, members):
    with pytest.raises(DataError, match="expected the members config.json, metadata.json, model"):
        kerasfile.load(rewritten(network, tmp_path / "b.keras", **members))
    assert [path.name for path in tmp_path.iterdir()] == ["b.keras"]
    tried("untrusted", f"member {next(iter(members))}", refused=1)


def test_a_network_that_would_not_fit_into_memory(network, tmp_path, tried):
    def wide(_config, layer):
        layer["config"]["filters"] = 10**12

    with pytest.raises(DataError, match=r"declares a network of \d+ bytes: expected at most"):
        kerasfile.load(rewritten(network, tmp_path / "b.keras", wide))

    def large(config, _layer):
        config["config"]["layers"][0]["config"]["batch_shape"] = [None, 10**6, 10**6, 1]

    with pytest.raises(DataError, match="declares the batch_shape .*: expected sides up to 16384"):
        kerasfile.load(rewritten(network, tmp_path / "b.keras", large))
    for what in ("weights", "inputs"):
        tried("untrusted", f"{what} above the limit", refused=1)


def test_weights_that_lie_in_another_file(network, tmp_path, tried):
    import h5py

    with h5py.File(tmp_path / "w.h5", "w") as file:
        file["layers"] = h5py.ExternalLink("/etc/passwd", "/")
    content = (tmp_path / "w.h5").read_bytes()
    path = rewritten(network, tmp_path / "b.keras", **{kerasfile.WEIGHTS: content})
    with pytest.raises(DataError, match="model.weights.h5: key 'layers' is a link, which is not"):
        kerasfile.load(path)
    tried("untrusted", "weights in another file", refused=1)


@keras.saving.register_keras_serializable("somebody")
class Own(keras.layers.Layer):
    """A layer that this process has registered."""

    def call(self, inputs):
        return inputs


def test_a_registered_layer_is_loaded(tmp_path):
    inputs = keras.Input((2,))
    keras.Model(inputs, Own()(inputs)).save(tmp_path / "own.keras")
    assert isinstance(kerasfile.load(tmp_path / "own.keras").layers[1], Own)
