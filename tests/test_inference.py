"""From counts to patches: padding of the last batch, physical values, refusals."""

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
