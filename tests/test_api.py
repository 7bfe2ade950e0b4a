"""The library for other programs: order, coordinates, threads, trained networks."""

import dataclasses
import json
import subprocess
import sys
import threading
from pathlib import Path

import numpy as np
import pytest

import ppn_tf
from ppn_tf import data, stitching
from ppn_tf.adapters import ptychodus
from ppn_tf.errors import DataError, OptionError, RecordError
from ppn_tf.field_sum import FieldSum

ROOT = Path(__file__).resolve().parents[1]
RUN = ROOT / "results" / "runs" / "8beb67866e9b84f2"


@pytest.fixture(scope="module")
def network():
    return ppn_tf.load_model("ppn-ltem")


def test_importing_the_api_imports_no_keras():
    code = (
        "import sys, ppn_tf, ppn_tf.api\n"
        "ppn_tf.stitch, ppn_tf.infer, dir(ppn_tf)\n"
        "assert not {'keras', 'tensorflow', 'jax'} & set(sys.modules)\n"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    with pytest.raises(AttributeError, match="no_such"):
        ppn_tf.no_such  # noqa: B018


def test_trained_network_is_that_of_the_record(network, data_dir):
    """The kept predictions of the run, made by the code that trained it."""
    record = json.loads((RUN / "tensorflow.json").read_text())
    entry = ppn_tf.models.trained("ppn-ltem")
    assert (entry.record, record["spec"]["model"]) == (record["hash"], "ppn")
    assert network.count_params() == record["results"]["parameters"]
    scan = data.load("ltem")
    train = data.split_validation(data.train_indices(scan), 0)[0]
    # the mean of float32 sums
    assert scan.patterns[train].sum(axis=(1, 2)).mean() == pytest.approx(
        entry.counts_per_pattern, rel=1e-4
    )
    with np.load(RUN / "tensorflow.npz") as kept:
        places = {tuple(place): i for i, place in enumerate(scan.positions_px.tolist())}
        chosen = [places[tuple(place)] for place in kept["positions_px"][:8].tolist()]
        unit = {name: kept[name][:8].astype(np.float32) for name in ("amplitude", "phase")}
    patches = ppn_tf.infer(scan.patterns[chosen], network, batch_size=4)
    assert patches.shape == (8, 2, 32, 32)
    assert patches.dtype == np.float32
    scaling = record["results"]["scaling"]
    for channel, name in enumerate(("phase", "amplitude")):
        low, high = scaling["phase_range_rad" if name == "phase" else "amplitude_range"]
        # kept as float16: half a unit in the last place of values up to 1 is 2.4e-4
        expected = low + unit[name] * (high - low)
        np.testing.assert_allclose(patches[:, channel], expected, atol=1e-3)


def test_unknown_and_damaged_trained_networks(monkeypatch):
    with pytest.raises(OptionError, match="unknown trained model 'ppn': expected one of ppn-ltem"):
        ppn_tf.load_model("ppn")
    from ppn_tf.models import trained_models

    other = dataclasses.replace(trained_models.trained("ppn-ltem"), sha256="0" * 64)
    monkeypatch.setattr(trained_models, "TRAINED", {"ppn-ltem": other, "gone": other})
    with pytest.raises(RecordError, match="expected sha256 0000.*received 6096858d"):
        ppn_tf.load_model("ppn-ltem")
    with pytest.raises(RecordError, match="weights of 'gone' are missing"):
        ppn_tf.load_model("gone")


def test_files_of_networks(tmp_path, network):
    path = tmp_path / "again.keras"
    ppn_tf.save_model(path, network)
    again = ppn_tf.load_model(path)
    for mine, theirs in zip(network.get_weights(), again.get_weights(), strict=True):
        np.testing.assert_array_equal(mine, theirs)
    with pytest.raises(RecordError, match="expected the ending .keras, received '.h5'"):
        ppn_tf.save_model(tmp_path / "again.h5", network)
    with pytest.raises(RecordError, match="does not exist"):
        ppn_tf.load_model(tmp_path / "missing.keras")
    path.write_bytes(b"no zip archive")
    with pytest.raises(RecordError, match="expected a .keras file"):
        ppn_tf.load_model(path)


def test_a_file_with_code_in_it_is_refused(tmp_path):
    import keras

    inputs = keras.Input((2,))
    code = keras.layers.Lambda(lambda x: x + 1, output_shape=(2,))
    path = tmp_path / "code.keras"
    keras.Model(inputs, code(inputs)).save(path)
    with pytest.raises(RecordError, match="cannot be loaded"):
        ppn_tf.load_model(path)


def test_threads_give_what_one_thread_gives():
    """A network that was never called, from four threads at once."""
    network = ppn_tf.load_model("ppn-ltem")
    patterns = np.random.default_rng(0).poisson(50, (8, 32, 32)).astype(np.float32)
    found = [None] * 4

    def work(index):
        found[index] = ppn_tf.infer(patterns[2 * index : 2 * index + 2], network, batch_size=2)

    threads = [threading.Thread(target=work, args=(index,)) for index in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    expected = ppn_tf.infer(patterns, network, batch_size=2)
    np.testing.assert_array_equal(np.concatenate(found), expected)


def test_stitch_places_patches_by_their_centres():
    """An F cut at whole pixels comes back exactly; the corner of a patch is its centre - 2."""
    field = np.ones((9, 8), np.complex64)
    field[1:8, 2] = field[1, 2:6] = field[4, 2:5] = 0.6 * np.exp(0.8j)
    corners = np.array([(row, col) for row in (0, 2, 5) for col in (0, 2, 4)])
    cut = stitching.extract(field, corners, 4)
    patches = np.stack([np.angle(cut), np.abs(cut)], axis=1)
    found = ppn_tf.stitch(patches, corners + 2.0, (9, 8))
    # float32 rounding
    np.testing.assert_allclose(found, field, atol=1e-6)
    np.testing.assert_array_equal(
        ptychodus.centres_px(ptychodus.corners_px(corners, (4, 4)), (4, 4)), corners
    )


def test_stitch_turns_patches_to_each_other():
    rng = np.random.default_rng(0)
    field = (0.5 + rng.random((12, 12))) * np.exp(2j * rng.random((12, 12)))
    corners = np.array([(row, col) for row in (0, 3, 6) for col in (0, 3, 6)])
    cut = stitching.extract(field, corners, 6) * np.exp(5j * rng.random(9))[:, None, None]
    patches = np.stack([np.angle(cut), np.abs(cut)], axis=1)
    found = ppn_tf.stitch(patches, corners + 3.0, (12, 12), turn=True)
    mean = field.mean()
    # float32 rounding
    np.testing.assert_allclose(found, field * np.conj(mean) / abs(mean), atol=1e-6)
    apart = ppn_tf.stitch(patches, corners + 3.0, (12, 12))
    assert np.abs(apart - found).max() > 0.1


def test_stitch_leaves_nan_where_no_patch_lies():
    patch = np.stack([np.zeros((1, 2, 2)), np.ones((1, 2, 2))], axis=1)
    found = ppn_tf.stitch(patch, np.array([[1.0, 1.0]]), (2, 3))
    assert np.isnan(found[:, 2]).all()
    np.testing.assert_array_equal(found[:, :2], 1)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ((np.ones((2, 3, 4, 4)), np.ones((2, 2)) * 2, (8, 8)), "phase first"),
        ((np.ones((2, 2, 4, 4)), np.ones((2, 3)), (8, 8)), "centres_px must be finite"),
        ((np.ones((2, 2, 4, 4)), np.ones((3, 2)) * 2, (8, 8)), "one N"),
        ((np.ones((2, 2, 4, 4)), np.full((2, 2), 7.5), (8, 8)), "leave the grid of 8 x 8"),
        ((np.full((2, 2, 4, 4), np.nan), np.ones((2, 2)) * 2, (8, 8)), "NaN"),
        ((np.ones((2, 2, 4, 4)), np.ones((2, 2)) * 2, (8, 8), np.zeros((4, 4))), "above 0"),
    ],
)
def test_stitch_refuses(arguments, message):
    for turn in (False, True):
        with pytest.raises(DataError, match=message):
            ppn_tf.stitch(*arguments, turn=turn)


def test_field_sum_is_the_stitched_mean_at_whole_pixels():
    draws = np.random.default_rng(1)
    patches = draws.normal(size=(20, 2, 5, 6))
    corners = draws.integers(0, [20, 30], (20, 2))
    weights = stitching.weights((5, 6))
    total, part = FieldSum((25, 36), weights, 2), FieldSum((25, 36), weights, 2)
    total.add(patches[:7], corners[:7])
    part.add(patches[7:], corners[7:] + 1e-9)
    total.add_sum(part)
    for channel in range(2):
        expected = stitching.stitch(patches[:, channel], corners, (25, 36), weights=weights)
        # sums of 20 in another order
        np.testing.assert_allclose(total.fields()[channel], expected.field, atol=1e-12)
    np.testing.assert_array_equal(total.coverage, expected.coverage)
    with pytest.raises(DataError, match="do not add up"):
        total.add_sum(FieldSum((25, 35), weights, 2))


def test_field_sum_shares_a_patch_between_pixels():
    """By hand: a patch of one pixel at (0.25, 0.5) on a 2 x 2 grid."""
    total = FieldSum((2, 2), np.ones((1, 1)))
    total.add(np.full((1, 1, 1, 1), 8.0), np.array([[0.25, 0.5]]))
    np.testing.assert_allclose(total.weight_sum, [[0.375, 0.375], [0.125, 0.125]])
    np.testing.assert_allclose(total.fields()[0], 8.0)


def test_field_sum_drops_what_lies_a_fraction_outside():
    total = FieldSum((2, 2), np.ones((2, 2)))
    total.add(np.full((1, 1, 2, 2), 3.0), np.array([[-0.5, 0.25]]))
    np.testing.assert_allclose(total.weight_sum, [[0.75, 1.0], [0.375, 0.5]])
    with pytest.raises(DataError, match="leave the grid"):
        total.add(np.zeros((1, 1, 2, 2)), np.array([[-1.0, 0.0]]))


def pairs(count):
    draws = np.random.default_rng(2)
    patterns = draws.poisson(20, (count, 16, 16)).astype(np.float32)
    phase_rad, amplitude = draws.uniform(-1, 1, (2, count, 16, 16))
    return patterns, np.stack([phase_rad, 1.5 + amplitude], axis=1)


def test_train_makes_a_network_that_infers():
    patterns, patches = pairs(8)
    options = {"epochs": 1, "batch_size": 4, "validation_fraction": 0.25}
    found = ppn_tf.train(patterns, patches, "ptychonn", **options)
    assert len(found.history) == 1
    assert ppn_tf.infer(patterns, found.model).shape == patches.shape
    with pytest.raises(DataError, match="patches must be"):
        ppn_tf.train(patterns[:3], patches)
    light = ppn_tf.train(patterns, patches, "ptychonn", **options, phase_zero="light").model
    assert ppn_tf.inference.scaling_of(light).phase_zero == "light"
    with pytest.raises(OptionError, match="from the light's zero, those of the pairs from the obj"):
        ppn_tf.train(patterns, patches, light, **options)


def test_train_goes_on_with_a_network_and_keeps_its_scaling():
    import keras

    from ppn_tf.layers import PatternScaling, TargetScaling

    inputs = keras.Input((16, 16, 1))
    x = PatternScaling("linear", 0.0, 50.0, name="pattern_scaling")(inputs)
    x = keras.layers.Conv2D(1, 1)(x)
    outputs = {
        name: TargetScaling(-3.0, 5.0, name=f"{name}_scaling")(x) for name in ("amplitude", "phase")
    }
    network = keras.Model(inputs, outputs)
    patterns, patches = pairs(8)
    before = [np.array(values) for values in network.get_weights()]
    found = ppn_tf.train(patterns, patches, network, epochs=2, validation_fraction=0.25)
    assert found.model is network
    assert not np.array_equal(before[0], network.get_weights()[0])
    assert ppn_tf.inference.scaling_of(network).phase_range_rad == (-3.0, 5.0)
