"""Parameter and operation counts against hand counts and the published figures."""

import pytest

keras = pytest.importorskip("keras")

from ppn_tf import complexity  # noqa: E402
from ppn_tf.errors import DataError, OptionError  # noqa: E402
from ppn_tf.models import dpi, ptychonn, ptynet  # noqa: E402

needs_tensorflow = pytest.mark.skipif(
    keras.backend.backend() != "tensorflow", reason="the profiler is TensorFlow's"
)


def make(module):
    inputs = keras.Input((32, 32, 1))
    return keras.Model(inputs, module.build(inputs))


def test_parameter_counts_by_hand():
    inputs = keras.Input((8, 8, 3))
    x = keras.layers.Conv2D(5, 3)(inputs)  # 5 * 27 + 5
    x = keras.layers.BatchNormalization()(x)  # 10 trainable, 10 statistics
    x = keras.layers.Dropout(0.5)(x)  # its random state is no parameter
    counts = complexity.parameter_counts(keras.Model(inputs, x))
    assert counts == complexity.ParameterCounts(150, 10, 160, 160 * 4 / 2**20)


def test_frozen_weights_are_not_trainable():
    model = keras.Sequential([keras.Input((4,)), keras.layers.Dense(3)])
    model.layers[0].trainable = False
    counts = complexity.parameter_counts(model)
    assert (counts.trainable, counts.non_trainable, counts.total) == (0, 15, 15)


def test_unbuilt_model_is_refused():
    model = keras.Sequential([keras.layers.Dense(3)], name="open")
    with pytest.raises(DataError, match="model 'open' is not built"):
        complexity.parameter_counts(model)


@needs_tensorflow
def test_flops_of_a_dense_layer_by_hand(capfd):
    model = keras.Sequential([keras.Input((7,)), keras.layers.Dense(5)])
    # 7 multiplications and additions for each of 5 outputs, then 5 biases
    assert complexity.flops(model) == 2 * 7 * 5 + 5
    assert capfd.readouterr().out == ""


@needs_tensorflow
@pytest.mark.parametrize(
    ("module", "operations", "published"),
    [
        # the paper gives MiB of PtyNet and DPI, and GFLOP of DPI
        (ptychonn, 152_995_852, (None, None)),
        (ptynet, 28_110_336, ("1.24", None)),
        (dpi, 1_048_841_234, ("57.14", "1.049")),
    ],
    ids=["ptychonn", "ptynet", "dpi"],
)
def test_published_counts(module, operations, published):
    model = make(module)
    assert complexity.flops(model) == operations
    mib, gflop = published
    if mib:
        assert f"{complexity.parameter_counts(model).mib:.2f}" == mib
    if gflop:
        assert f"{operations / 1e9:.3f}" == gflop


def test_ptynet_operations_by_hand():
    """The constant above, from layer shapes: (positions, kernel, in / groups, out)."""
    convolutions = [
        (32**2, 9, 1, 16),
        (16**2, 9, 16, 16),
        (16**2, 9, 16, 16),
        (8**2, 9, 16, 32),
        (8**2, 9, 32, 64),
        (4**2, 9, 64, 128),
        (4**2, 9, 128, 64),
        (4**2, 9, 32, 64),
        (4**2, 16, 64, 32),  # transposed: positions of the input
        (8**2, 9, 64, 64),
        (8**2, 9, 32, 64),
        (8**2, 16, 64, 32),
        (16**2, 9, 64, 16),
        (16**2, 9, 8, 2),
        (16**2, 16, 2, 1),
    ]
    products = sum(2 * positions * k * i * o for positions, k, i, o in convolutions)
    # the two grouped 64-channel convolutions have no bias
    biases = (
        32**2 * 16
        + 16**2 * 32
        + 8**2 * 96
        + 4**2 * 128  # encoder
        + 4**2 * 64
        + 8**2 * 64
        + 8**2 * 64
        + 16**2 * 64
        + 16**2 * 18
        + 32**2 * 2  # decoder
    )
    clipping = 2 * 32**2 * 2  # hard tanh: a minimum and a maximum
    assert products + biases + clipping == 28_110_336


@needs_tensorflow
def test_open_sizes_and_hidden_functions_are_refused():
    inputs = keras.Input((None, None, 1))
    model = keras.Model(inputs, keras.layers.Conv2D(1, 3)(inputs), name="open")
    with pytest.raises(DataError, match=r"model 'open': flops needs one input of fixed size"):
        complexity.flops(model)
    inputs = keras.Input((8, 8, 4))
    grouped = keras.layers.Conv2D(4, 3, groups=2)(inputs)
    with pytest.raises(DataError, match="model 'grouped': 1 calls of compiled functions hide"):
        complexity.flops(keras.Model(inputs, grouped, name="grouped"))


def test_other_backends_are_told_what_to_do(monkeypatch):
    model = keras.Sequential([keras.Input((7,)), keras.layers.Dense(5)])
    monkeypatch.setattr(keras.backend, "backend", lambda: "jax")
    assert complexity.parameter_counts(model).total == 40
    message = "received 'jax'; set KERAS_BACKEND=tensorflow before Python starts"
    with pytest.raises(OptionError, match=message):
        complexity.flops(model)
