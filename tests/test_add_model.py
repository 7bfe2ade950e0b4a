"""A developer's own network: found, checked, trained and given its row like any other."""

import dataclasses
import json
import pickle
import re
import sys
from pathlib import Path

import numpy as np
import pytest

keras = pytest.importorskip("keras")

from ppn_tf import models  # noqa: E402
from ppn_tf.errors import OptionError  # noqa: E402
from ppn_tf.scaling import Scaling  # noqa: E402
from ppn_tf.training import TrainingConfig  # noqa: E402
from reproduce import added, exhibit, experiments, fig7, runs, table1  # noqa: E402
from reproduce.exhibit import Context  # noqa: E402
from reproduce.options import Session  # noqa: E402
from reproduce.specification import RunSpec  # noqa: E402

ROOT = Path(added.__file__).resolve().parents[1]
SCALING = Scaling("log1p", (0.0, 10.0), (0.5, 1.0), (-1.8, -0.9))

#: As the README shows it.
EXAMPLE = """\
import keras


def build(inputs):
    x = inputs
    for filters in (16, 32, 32):
        x = keras.layers.Conv2D(filters, 3, padding="same", activation="relu")(x)
    amplitude = keras.layers.Conv2D(1, 3, padding="same", activation="sigmoid")(x)
    phase = keras.layers.Conv2D(1, 3, padding="same", activation="sigmoid")(x)
    return amplitude, phase
"""
#: 3 x 3 kernels: 1 -> 16 -> 32 -> 32, and twice 32 -> 1.
EXAMPLE_PARAMETERS = 160 + 4640 + 9248 + 2 * 289

WRONG = """
import keras

NUMBER = 3


def one(inputs):
    return inputs


def small(inputs):
    return keras.layers.AveragePooling2D(2)(inputs), inputs


def two_channels(inputs):
    return inputs, keras.layers.Concatenate()([inputs, inputs])


def names(inputs):
    return {"amp": inputs, "phase": inputs}


def lambdas(inputs):
    return keras.layers.Lambda(lambda x: x + 1)(inputs), inputs


class Twice(keras.layers.Layer):
    def call(self, x):
        return 2 * x


def unregistered(inputs):
    return Twice()(inputs), inputs
"""


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A folder with the example, `mynet`, and wrong ones."""
    path = tmp_path_factory.mktemp("developer")
    (path / "mynet.py").write_text(EXAMPLE)
    (path / "wrongnets.py").write_text(WRONG)
    return path


@pytest.fixture(autouse=True)
def in_folder(folder, monkeypatch):
    monkeypatch.chdir(folder)
    monkeypatch.setattr(sys, "path", [*sys.path])


def outputs_of(model, seed=0):
    counts = np.random.default_rng(seed).uniform(0, 9000, (2, 32, 32, 1)).astype("float32")
    return {name: np.asarray(v) for name, v in model(counts).items()}


# --- found and checked ---


def test_the_example_of_the_readme(capsys):
    (own,) = added.read(["mynet:build"], 30)
    assert (own.name, own.epochs, len(own.sha256)) == ("mynet:build", 30, 64)
    assert capsys.readouterr().out == "added: mynet:build, 14,626 parameters, 30 epochs\n"
    model = added.build(own.model, scaling=SCALING)
    assert model.count_params() == EXAMPLE_PARAMETERS == 14_626
    found = outputs_of(model)
    assert {name: v.shape for name, v in found.items()} == dict.fromkeys(
        ("amplitude", "phase"), (2, 32, 32, 1)
    )


def test_an_attention_of_ones_own_takes_the_place_of_poca(monkeypatch):
    monkeypatch.chdir(ROOT)
    (own,) = added.read(["examples.own_attention:build"], 30)
    model = added.build(own.model, scaling=SCALING)
    names = [f"nonlocal_{index}_attention" for index in (1, 2)]
    assert [type(model.get_layer(name)).__name__ for name in names] == ["DistanceAttention"] * 2
    # PoCA: four products of 32 x 32 with their offsets, and a centre; here one and a number
    poca, mine = 4 * (32 * 32 + 32) + 2, 32 * 32 + 32 + 1
    assert model.count_params() == 544_230 + 2 * (mine - poca)
    # brute force, pixel by pixel
    layer = model.get_layer(names[0])
    x = np.random.default_rng(0).normal(size=(1, 32, 32, 32)).astype(np.float32)
    values = x @ np.asarray(layer.values.kernel) + np.asarray(layer.values.bias)
    y, z = np.indices((32, 32))
    weights = np.exp(-np.hypot(y - 3, z - 7))
    wanted = (weights[..., None] * values[0]).sum(axis=(0, 1)) / weights.sum()
    # float32: measured 2e-7
    np.testing.assert_allclose(np.asarray(layer(x))[0, 3, 7], wanted, atol=1e-5)


def test_readme_shows_this_example():
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    blocks = re.findall(r"```python\n(.*?)```", readme, flags=re.DOTALL)
    assert EXAMPLE in blocks
    assert "--add-model mynet:build" in readme


def test_a_network_of_the_package_added_from_outside_is_the_same():
    """Scaling layers, outputs and counts are those that the registry gives."""
    (own,) = added.read(["ppn_tf.models.ptychonn:build"], 45)
    outside, inside = (
        added.build(own.model, scaling=SCALING),
        models.create("ptychonn", scaling=SCALING),
    )
    assert outside.count_params() == 1_154_210
    outside.set_weights(inside.get_weights())
    for name, values in outputs_of(inside).items():
        np.testing.assert_array_equal(outputs_of(outside)[name], values)
    names = ("pattern_scaling", "amplitude_scaling", "phase_scaling")
    for name in names:
        assert outside.get_layer(name).get_config() == inside.get_layer(name).get_config()


@pytest.mark.parametrize(
    ("source", "message"),
    [
        ("mynet", "expects package.module:function or a .keras file, received 'mynet'"),
        ("mynet.py:build:x", "expects package.module:function or a .keras file"),
        ("nonet:build", "nonet:build: no module 'nonet' in the current folder"),
        ("no.such.net:build", "no module 'no.such.net' in the current folder"),
        ("mynet.inner:build", "no module 'mynet.inner' in the current folder"),
        ("sys:exit", "no module 'sys' in the current folder"),
        ("mynet:make", "mynet:make: module 'mynet' has no function 'make'"),
        ("wrongnets:NUMBER", "module 'wrongnets' has no function 'NUMBER'"),
        ("none.keras", "there is no file none.keras"),
        (
            "wrongnets:one",
            r"expected two tensors \(amplitude, phase\), or a dict with these keys, received one "
            r"tensor of shape \(None, 32, 32, 1\)",
        ),
        (
            "wrongnets:small",
            r"expected amplitude of shape \(None, 32, 32, 1\), as the patterns, received "
            r"\(None, 16, 16, 1\)",
        ),
        ("wrongnets:two_channels", r"expected phase of shape .* received \(None, 32, 32, 2\)"),
        ("wrongnets:names", r"received a dict with the keys \['amp', 'phase'\]"),
        ("wrongnets:lambdas", "cannot be saved and loaded in safe mode: .* use no Lambda layer"),
        ("wrongnets:unregistered", "register layers of your own with keras.saving.register_keras"),
    ],
)
def test_what_does_not_fit_is_refused_before_training(source, message):
    with pytest.raises(OptionError, match=message):
        added.read([source], 30)


def test_epochs_and_names_are_checked():
    with pytest.raises(OptionError, match="--added-epochs expects at least 1, received 0"):
        added.read([], 0)
    with pytest.raises(OptionError, match="--add-model names 'mynet:build' more than once"):
        added.read(["mynet:build", "mynet:build"], 30)
    assert added.read([], 30) == ()


# --- .keras files ---


@pytest.fixture(scope="module")
def architecture(tmp_path_factory):
    """A file with a network whose every weight is 1."""
    inputs = keras.Input((32, 32, 1))
    x = keras.layers.Conv2D(3, 3, padding="same")(inputs)
    x = keras.layers.BatchNormalization()(x)
    model = keras.Model(inputs, [keras.layers.Conv2D(1, 1)(x) for _ in range(2)])
    model.set_weights([np.ones(w.shape) for w in model.get_weights()])
    path = tmp_path_factory.mktemp("files") / "own.keras"
    model.save(path)
    return path


def test_architecture_of_a_file_with_weights_of_each_seed(architecture):
    (own,) = added.read([str(architecture)], 5)
    assert own.name == "own.keras"
    kernels = []
    for seed in (1, 1, 2):
        keras.utils.set_random_seed(seed)
        model = added.build(own.model, scaling=SCALING)
        assert model.count_params() == 30 + 12 + 2 * 4
        kernels.append(model.get_weights()[0])
    np.testing.assert_array_equal(kernels[0], kernels[1])
    assert np.abs(kernels[0] - kernels[2]).max() > 0.01
    # nothing of the file's weights is left
    assert np.abs(kernels[0]).max() < 1.0


def test_run_does_not_depend_on_where_the_file_lies(architecture, tmp_path):
    moved = tmp_path / "own.keras"
    moved.write_bytes(architecture.read_bytes())
    first, second = (added.read([str(path)], 5)[0] for path in (architecture, moved))
    specs = [RunSpec(own.model, 0, TrainingConfig(5)) for own in (first, second)]
    assert specs[0].model != specs[1].model
    assert specs[0].hash == specs[1].hash
    assert specs[0].to_dict()["model"] == f"custom:own.keras@{first.sha256}"


def test_files_that_keras_refuses(tmp_path):
    broken, large = tmp_path / "broken.keras", tmp_path / "large.keras"
    broken.write_bytes(b"no archive")
    with pytest.raises(OptionError, match=r"broken.keras cannot be read as .keras \(BadZipFile"):
        added.read([str(broken)], 5)
    inputs = keras.Input((64, 64, 1))
    x = keras.layers.Conv2D(1, 1)(inputs)
    keras.Model(inputs, [x, x]).save(large)
    with pytest.raises(OptionError, match=r"does not take patterns of shape \(None, 32, 32, 1\)"):
        added.read([str(large)], 5)


# --- names of runs ---


def test_names_of_older_runs_stay():
    # a committed record: Table I, ppn, block sound, noise-free, seed 0
    assert RunSpec("ppn", 0, TrainingConfig(30)).hash == "8beb67866e9b84f2"
    assert "epoch_patches" not in RunSpec("ppn", 0, TrainingConfig(30)).to_dict()
    assert RunSpec("ppn", 0, TrainingConfig(30), epoch_patches=2781).hash != "8beb67866e9b84f2"


def test_changed_file_is_another_run(folder):
    path = folder / "changing.py"
    path.write_text(EXAMPLE)
    (own,) = added.read(["changing:build"], 30)
    spec = RunSpec(own.model, 0, TrainingConfig(30))
    assert spec.to_dict()["model"].endswith(own.sha256)
    assert (spec.name, spec.method) == ("changing:build", "changing:build")
    assert spec.label.startswith("changing:build, log1p, ")
    path.write_text(EXAMPLE.replace("16", "17"))
    # what is loaded goes on as it was
    assert added.build(own.model).count_params() == EXAMPLE_PARAMETERS
    # a process that starts later must not train other code under the same name
    added._load.cache_clear()
    with pytest.raises(OptionError, match="changing.py has changed since this command started"):
        added.build(own.model)
    later = dataclasses.replace(own, sha256=added._sha256(path))
    assert dataclasses.replace(spec, model=later.model).hash != spec.hash


# --- rows ---


def session_of(out, own):
    return Session("paper", None, "ltem", "cpu", "CPU (test)", out, added=own)


def test_session_travels_to_other_processes():
    session = session_of(Path("out"), added.read(["mynet:build"], 7))
    assert pickle.loads(pickle.dumps(session)) == session


class FakeStore:
    """Every run has 10 dB and a tenth per seed; the added network 2 dB more."""

    def find(self, spec):
        db = 10 + 2 * spec.custom + 0.1 * spec.seed + 0.01 * (len(spec.method) % 3)
        score = {"mse": 0.1, "psnr_db": db, "ssim": 0.5}
        forms = dict.fromkeys(("flattened", "per-image", "field"), score)
        region = {"amplitude": forms, "phase": forms}
        regions = dict.fromkeys(("rows", "lower-left", "gap"), region)
        return {"hash": spec.hash, "results": {"regions": regions}}


def test_table1_has_a_row_and_statistics_of_its_own(tmp_path):
    own = added.read(["mynet:build"], 12)
    session = session_of(tmp_path, own)
    profile = dataclasses.replace(experiments.PROFILES["paper"], added=own)
    grid = table1.grid(profile, "ltem", 2)
    specs = [s for s in grid["sound", "noisy"] if s.custom]
    assert [(s.seed, s.training.epochs, s.noise) for s in specs] == [
        (0, 12, "reference"),
        (1, 12, "reference"),
    ]
    plain = table1.grid(experiments.PROFILES["paper"], "ltem", 2)
    assert {s.hash for found in plain.values() for s in found} == {
        s.hash for found in grid.values() for s in found if not s.custom
    }
    sound = {("sound", "clean"): grid["sound", "clean"]}
    here = Context(session, experiments.PROFILES["paper"], FakeStore(), sound)
    output = table1.make(here)
    cells = [c for c in output.cells if c.method == "mynet:build"]
    assert len(cells) == 6
    assert {c.id for c in cells} == {None}
    assert next(c for c in cells if c.metric == "psnr_amp").ours == pytest.approx(12.07)
    assert "| noise-free | mynet:build " in output.body
    families = [entry["methods"] for entry in output.extra["statistics"]]
    assert ["ptychonn", "ptynet", "dpi", "ppn", "mynet:build"] in families
    # the paper's own comparisons keep their family, and with it their correction
    assert ["ptychonn", "ptynet", "dpi", "ppn"] in families
    line = next(s for s in output.body.splitlines() if "sound, mynet:build, psnr_amp" in s)
    assert "ppn - mynet:build" in line
    assert "equivalent: ptychonn = ptynet" in line


def test_the_session_brings_its_networks_into_the_grid(tmp_path):
    own = added.read(["mynet:build"], 12)
    here = exhibit.context(table1.EXHIBIT, session_of(tmp_path, own))
    assert {s.custom for s in here.grid["sound", "clean"]} == {True, False}
    plain = exhibit.context(table1.EXHIBIT, session_of(tmp_path, ()))
    assert {s.custom for s in plain.grid["sound", "clean"]} == {False}
    assert exhibit.command("fig4", "quick", own) == (
        "python reproduce/fig4.py --profile quick --add-model mynet:build"
    )


# --- trained ---


def test_equal_steps_repeat_the_training_patches():
    spec = RunSpec("ptynet", 0, TrainingConfig(1), train_size=5)
    indices = np.array([7, 3, 5])
    np.testing.assert_array_equal(runs._one_epoch(spec, indices), indices)
    longer = dataclasses.replace(spec, epoch_patches=7)
    np.testing.assert_array_equal(runs._one_epoch(longer, indices), [7, 3, 5, 7, 3, 5, 7])


def test_figure_7_trains_the_example_and_draws_it(tmp_path, monkeypatch, capsys):
    monkeypatch.delenv("PPN_TF_DATA", raising=False)
    monkeypatch.setenv("PPN_TF_OFFLINE", "1")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    # the added network alone
    monkeypatch.setattr(fig7, "REDUCED", {"smoke": ((), (50,))})
    words = ["--profile", "smoke", "--gpu", "cpu", "--add-model", "mynet:build"]
    fig7.main([*words, "--out", str(tmp_path)])
    out = tmp_path / "stand-in" / "smoke"
    document = json.loads((out / "fig7.json").read_text(encoding="utf-8"))
    (record,) = (json.loads(path.read_text()) for path in out.glob("runs/*/*.json"))
    assert record["results"]["parameters"] == EXAMPLE_PARAMETERS
    assert re.fullmatch(r"custom:mynet:build@[0-9a-f]{64}", record["spec"]["model"])
    assert (record["spec"]["train_size"], record["spec"]["training"]["epochs"]) == (50, 1)
    cell = next(c for c in document["cells"] if c["method"] == "mynet:build" and c["n"])
    score = record["results"]["regions"]["gap"]["amplitude"]["per-image"]
    assert cell["ours"] == pytest.approx(score["psnr_db"])
    assert (out / "fig7.png").is_file()
    assert "| mynet:build |" in capsys.readouterr().out
