"""From counts to patches: padding of the last batch, physical values, refusals."""

from pathlib import Path

import numpy as np
import pytest

keras = pytest.importorskip("keras")

from ppn_tf import inference  # noqa: E402
from ppn_tf.errors import DataError, OptionError  # noqa: E402
from ppn_tf.layers import PatternScaling, TargetScaling  # noqa: E402


def make(scaled=True):
    """A network by hand: amplitude = x / 10, phase = 1 - x / 10, at 4 x 6 px."""
    inputs = keras.Input((4, 6, 1))
    x = PatternScaling("linear", 0.0, 10.0, name="pattern_scaling")(inputs)
    y = keras.layers.Rescaling(-1.0, offset=1.0)(x)
    if scaled:
        x = TargetScaling(0.5, 1.5, name="amplitude_scaling")(x)
        y = TargetScaling(-2.0, 2.0, unit="rad", name="phase_scaling")(y)
    return keras.Model(inputs, {"amplitude": x, "phase": y}, name="by-hand")


@pytest.fixture(scope="module")
def model():
    return make()


def counts(number, dtype="float32"):
    return np.random.default_rng(number).integers(0, 11, (number, 4, 6)).astype(dtype)


@pytest.mark.parametrize("batch_size", [1, 3, 7, 32])
def test_every_batch_size_gives_all_patches_in_order(model, batch_size):
    patterns = counts(7)
    found = inference.predict(model, patterns, batch_size=batch_size)
    for values, expected in ((found.amplitude, patterns / 10), (found.phase, 1 - patterns / 10)):
        assert values.shape == (7, 4, 6)
        assert values.dtype == np.float32
        # float32 rounding
        np.testing.assert_allclose(values, expected, atol=1e-6)


def test_one_shape_for_all_batches(monkeypatch):
    """A last batch of another shape would be compiled again."""
    network = make()
    shapes = []
    original = network.predict_on_batch

    def watched(batch):
        shapes.append(batch.shape)
        return original(batch)

    monkeypatch.setattr(network, "predict_on_batch", watched)
    inference.predict(network, counts(7), batch_size=3)
    assert shapes == [(3, 4, 6, 1)] * 3


class Source:
    """Like an HDF5 dataset: no array until it is sliced; remembers what was read."""

    def __init__(self, values):
        self.values, self.read = values, []
        self.shape, self.dtype = values.shape, values.dtype

    def __len__(self):
        return len(self.values)

    def __getitem__(self, key):
        self.read.append((key.start, key.stop))
        return self.values[key]


def test_a_stream_reads_one_batch_ahead(model):
    source = Source(counts(10))
    parts = inference.stream(model, source, batch_size=3)
    assert source.read == []
    start, first = next(parts)
    assert start == 0 and len(first.amplitude) == 3
    rest = list(parts)
    assert source.read == [(0, 3), (3, 6), (6, 9), (9, 12)]
    assert [start for start, _ in rest] == [3, 6, 9]
    found = np.concatenate([first.phase, *(part.phase for _, part in rest)])
    np.testing.assert_allclose(found, 1 - counts(10) / 10, atol=1e-6)


def test_from_an_hdf5_file(model, tmp_path):
    import h5py

    with h5py.File(tmp_path / "scan.h5", "w") as file:
        data = file.create_dataset("dp", data=counts(8, "uint16"), chunks=(1, 4, 6))
        found = inference.predict(model, data, batch_size=5)
    np.testing.assert_array_equal(
        found.amplitude, inference.predict(model, counts(8), batch_size=5).amplitude
    )


def test_a_wrong_value_is_named_by_its_place_in_the_file(model):
    patterns = counts(9)
    patterns[7, 1, 2] = np.nan
    with pytest.raises(DataError, match=r"received nan at \(pattern, row, col\) = \(7, 1, 2\)"):
        inference.predict(model, patterns, batch_size=3)


def test_a_trained_network_with_either_attention():
    """A file written before the block-wise form was made again: same patches."""
    from ppn_tf import exporting, kerasfile, models

    path = Path(models.__file__).parent / "weights" / "ppn-ltem.keras"
    trained = kerasfile.load(path)
    plain = models.create(
        "ppn",
        trained.input_shape[1:],
        scaling=inference.scaling_of(trained),
        attention_implementation="plain",
    )
    plain.set_weights(trained.get_weights())
    patterns = 100 * np.random.default_rng(0).random((2, 32, 32), dtype=np.float32)
    found, expected = (inference.predict(network, patterns) for network in (trained, plain))
    again = exporting.portable(trained)
    layer = again.get_layer("nonlocal_1_attention")
    assert layer.implementation == "plain"
    # GELU by erf in place of erfc: 5.4e-7 seen
    phase = inference.predict(again, patterns).phase
    np.testing.assert_allclose(phase, expected.phase, rtol=0, atol=2e-6)
    for name in ("amplitude", "phase"):
        received, wanted = getattr(found, name), getattr(expected, name)
        assert np.ptp(wanted) > 0.01
        np.testing.assert_allclose(received, wanted, rtol=0, atol=1e-5)


def test_infer_gives_object_amplitude_and_radians(model):
    patterns = counts(5)
    found = inference.infer(model, patterns[..., None], batch_size=2)
    # float32 rounding
    np.testing.assert_allclose(found.amplitude, 0.5 + patterns / 10, atol=1e-6)
    np.testing.assert_allclose(found.phase, 2.0 - 4.0 * patterns / 10, atol=2e-6)


@pytest.mark.parametrize("dtype", ["uint16", "int32", "float64", "bool"])
def test_detector_dtypes(model, dtype):
    found = inference.predict(model, counts(2).astype(dtype))
    np.testing.assert_allclose(found.amplitude, counts(2).astype(dtype) / 10, atol=1e-6)


def test_the_bar_belongs_to_standard_error(model, capsys):
    inference.predict(model, counts(4), label="stitching patterns")
    captured = capsys.readouterr()
    assert captured.out == ""
    assert "stitching patterns" in captured.err
    inference.predict(model, counts(4))
    assert capsys.readouterr().err == ""


def spoiled(value):
    patterns = counts(3)
    patterns[1, 2, 3] = value
    return patterns


@pytest.mark.parametrize(
    ("patterns", "message"),
    [
        (np.zeros((4, 6)), r"must be \(N, H, W\) with N of at least 1, received shape \(4, 6\)"),
        (np.zeros((0, 4, 6)), r"received shape \(0, 4, 6, 1\), dtype float64"),
        (np.zeros((2, 4, 6, 3)), r"received shape \(2, 4, 6, 3\)"),
        (np.zeros((2, 6, 4)), "takes patterns of 4 x 6 px, received 6 x 4 px: crop or bin them"),
        (spoiled(np.nan), r"received nan at \(pattern, row, col\) = \(1, 2, 3\), 1 such values"),
        (spoiled(np.inf), r"received inf at \(pattern, row, col\) = \(1, 2, 3\)"),
        (spoiled(-1.0), r"received -1.0 at \(pattern, row, col\) = \(1, 2, 3\)"),
    ],
)
def test_refused_patterns(model, patterns, message):
    for function in (inference.predict, inference.infer):
        with pytest.raises(DataError, match=message):
            function(model, patterns)


def test_refused_options(model):
    with pytest.raises(OptionError, match="batch_size must be at least 1, received 0"):
        inference.predict(model, counts(2), batch_size=0)
    bare = make(scaled=False)
    with pytest.raises(OptionError, match="model 'by-hand' holds no physical scaling: create it"):
        inference.infer(bare, counts(2))
    with pytest.raises(OptionError, match="low must be below high, received low=1.0, high=1.0"):
        TargetScaling(1.0, 1.0)
    with pytest.raises(OptionError, match="unknown input transform 'sqrt': expected one of linear"):
        PatternScaling("sqrt", 0.0, 1.0)


@pytest.mark.parametrize("layer", [PatternScaling("log1p", 0.5, 9.0), TargetScaling(-1, 2, "rad")])
def test_scaling_layers_survive_their_configuration(layer):
    again = type(layer).from_config(layer.get_config())
    assert again.get_config() == layer.get_config()
    assert layer.compute_output_shape((None, 4, 4, 1)) == (None, 4, 4, 1)
    assert not layer.weights
    x = np.array([[0.5, 7.0]], "float32")
    expected = (np.log1p(x) - 0.5) / 8.5 if isinstance(layer, PatternScaling) else x
    # float32 rounding
    np.testing.assert_allclose(keras.ops.convert_to_numpy(again(x)), expected, rtol=1e-6)
