"""The three CNN baselines: shapes, sizes, numerics against SciPy, both backends."""

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

keras = pytest.importorskip("keras")

from scipy.signal import correlate2d  # noqa: E402

from ppn_tf.errors import OptionError  # noqa: E402
from ppn_tf.models import dpi, ptychonn, ptynet  # noqa: E402

MODULES = {"ptychonn": ptychonn, "ptynet": ptynet, "dpi": dpi}
#: (trainable, total): total of PtyNet and DPI as the published 1.24 and 57.14 MiB.
COUNTS = {
    "ptychonn": (1_154_210, 1_154_210),
    "ptynet": (324_452, 324_452),
    "dpi": (14_965_102, 14_978_420),
}


needs_tensorflow = pytest.mark.skipif(
    keras.backend.backend() != "tensorflow", reason="compares with TensorFlow, or uses its tape"
)


def make(name, side=32):
    keras.utils.set_random_seed(0)
    inputs = keras.Input((side, side, 1), name="pattern")
    amplitude, phase = MODULES[name].build(inputs)
    return keras.Model(inputs, {"amplitude": amplitude, "phase": phase}, name=name)


def patterns(count=2, side=32):
    return np.random.default_rng(1).random((count, side, side, 1), dtype=np.float32)


def outputs_of(model, x, training=False):
    return {
        key: keras.ops.convert_to_numpy(value) for key, value in model(x, training=training).items()
    }


@pytest.fixture(scope="module")
def models():
    """The three models; DPI with BatchNorm weights and statistics that matter."""
    result = {name: make(name) for name in MODULES}
    rng = np.random.default_rng(4)
    for layer in result["dpi"].layers:
        if isinstance(layer, keras.layers.BatchNormalization):
            shape = layer.gamma.shape
            scales = [rng.uniform(0.5, 1.5, shape) for _ in range(2)]
            shifts = [rng.normal(0.0, 0.1, shape) for _ in range(2)]
            layer.set_weights([scales[0], shifts[0], shifts[1], scales[1]])
    return result


@pytest.mark.parametrize("name", MODULES)
def test_counts_and_outputs(models, name):
    model = models[name]
    trainable = sum(int(np.prod(weight.shape)) for weight in model.trainable_weights)
    assert (trainable, model.count_params()) == COUNTS[name]
    outputs = outputs_of(model, patterns())
    assert {key: value.shape for key, value in outputs.items()} == {
        "amplitude": (2, 32, 32, 1),
        "phase": (2, 32, 32, 1),
    }
    assert not np.array_equal(outputs["amplitude"], outputs["phase"])


@pytest.mark.parametrize(("name", "side"), [("ptychonn", 24), ("ptynet", 40), ("dpi", 16)])
def test_other_sizes_change_neither_counts_nor_names(models, name, side):
    spec = MODULES[name].SPEC
    assert spec.name == name
    assert side % spec.side_multiple == 0
    model = make(name, side)
    assert model.count_params() == COUNTS[name][1]
    for output in model.output.values():
        assert tuple(output.shape) == (None, side, side, 1)
    # names are stable: they do not depend on what was built before
    assert [item.name for item in model.layers] == [item.name for item in models[name].layers]


@pytest.mark.parametrize("name", MODULES)
def test_save_and_load_give_equal_outputs(models, name, tmp_path):
    model = models[name]
    model.save(tmp_path / "model.keras")
    loaded = keras.saving.load_model(tmp_path / "model.keras", safe_mode=True)
    x = patterns()
    expected, received = outputs_of(model, x), outputs_of(loaded, x)
    for key in expected:
        np.testing.assert_array_equal(received[key], expected[key])


@needs_tensorflow
@pytest.mark.parametrize("name", MODULES)
def test_every_weight_gets_a_finite_gradient(models, name):
    import tensorflow as tf

    model = models[name]
    with tf.GradientTape() as tape:
        outputs = model(patterns(), training=True)
        loss = sum(tf.reduce_mean(tf.square(value - 0.5)) for value in outputs.values())
    gradients = tape.gradient(loss, [weight.value for weight in model.trainable_weights])
    normalised = biases_before_norm(model)
    for weight, gradient in zip(model.trainable_weights, gradients, strict=True):
        assert gradient is not None, weight.path
        assert np.isfinite(gradient.numpy()).all(), weight.path
        # in front of BatchNorm a bias is subtracted again: rounding alone may leave exactly 0
        if weight.path.split("/")[-2:] not in normalised:
            assert np.any(gradient.numpy()), weight.path


def biases_before_norm(model):
    return [
        [item.name, "bias"]
        for item in model.layers
        if any(
            isinstance(node.operation, keras.layers.BatchNormalization)
            for node in item._outbound_nodes
        )
    ]


@pytest.mark.parametrize("name", MODULES)
def test_only_dpi_differs_in_training(models, name):
    x = patterns()
    first = outputs_of(models[name], x)["phase"]
    np.testing.assert_array_equal(outputs_of(models[name], x)["phase"], first)
    trained = [outputs_of(models[name], x, training=True)["phase"] for _ in range(2)]
    if name == "dpi":
        assert not np.array_equal(trained[0], trained[1])
    else:
        np.testing.assert_array_equal(trained[0], first)


def test_dpi_dropout_and_normalisation_settings(models):
    dropouts = [item for item in models["dpi"].layers if isinstance(item, keras.layers.Dropout)]
    # five encoder stages, four skips, four stages in each decoder
    assert len(dropouts) == 5 + 4 + 2 * 4
    assert {item.rate for item in dropouts} == {0.2}
    norms = [
        item for item in models["dpi"].layers if isinstance(item, keras.layers.BatchNormalization)
    ]
    assert {(item.momentum, item.epsilon) for item in norms} == {(0.99, 1e-3)}


def test_dpi_and_ptychonn_are_linear_and_ptynet_is_a_hard_tanh(models):
    x = patterns()
    for name, layer_names in {
        "ptychonn": ["amplitude", "phase"],
        "dpi": ["amplitude_conv2", "amplitude_shortcut", "phase_conv2", "phase_shortcut"],
        "ptynet": ["decoder3_up"],
    }.items():
        model = models[name]
        weights = model.get_weights()
        before = outputs_of(model, x)
        for layer_name in layer_names:
            layer = model.get_layer(layer_name)
            layer.set_weights([1000.0 * weight for weight in layer.get_weights()])
        after = outputs_of(model, x)
        model.set_weights(weights)
        for key in before:
            expected = 1000.0 * before[key]
            if name == "ptynet":
                expected = np.clip(expected, -1.0, 1.0)
                assert np.abs(after[key]).max() == 1.0
            # float32 rounding: largest measured difference 2.9e-7 of the largest value
            np.testing.assert_allclose(after[key], expected, atol=3e-6 * np.abs(expected).max())


def torch_grouped_transpose(x, kernel, bias, groups):
    """Stride 2, padding 1, by scattering: kernel (k, k, out / groups, in)."""
    side, channels = x.shape[0], x.shape[2]
    size, per_group = kernel.shape[0], kernel.shape[2]
    full = np.zeros((2 * side + size - 2, 2 * side + size - 2, per_group * groups))
    share = channels // groups
    for row in range(side):
        for column in range(side):
            for channel in range(channels):
                group = channel // share
                window = full[2 * row : 2 * row + size, 2 * column : 2 * column + size]
                window[..., group * per_group : (group + 1) * per_group] += (
                    x[row, column, channel] * kernel[..., channel]
                )
    return full[1:-1, 1:-1] + bias


def test_grouped_transpose_against_scatter():
    rng = np.random.default_rng(2)
    layer = ptynet.GroupedConv2DTranspose(6, 4, 2, groups=2)
    x = rng.standard_normal((1, 3, 3, 4)).astype("float32")
    layer.build(x.shape)
    assert tuple(layer.kernel.shape) == (4, 4, 3, 4)
    kernel = rng.standard_normal((4, 4, 3, 4)).astype("float32")
    bias = rng.standard_normal(6).astype("float32")
    layer.set_weights([kernel, bias])
    received = keras.ops.convert_to_numpy(layer(x))[0]
    expected = torch_grouped_transpose(x[0], kernel, bias, groups=2)
    assert received.shape == expected.shape == (6, 6, 6)
    # float32 against float64: measured 5e-7
    np.testing.assert_allclose(received, expected, atol=5e-6)


def test_one_pixel_of_the_grouped_transpose_by_hand():
    layer = ptynet.GroupedConv2DTranspose(2, 4, 2, groups=2)
    layer.build((1, 2, 2, 2))
    kernel = np.zeros((4, 4, 1, 2), "float32")
    kernel[..., 0, 0] = np.arange(16).reshape(4, 4)
    kernel[..., 0, 1] = 100.0
    layer.set_weights([kernel, np.array([0.0, 0.5], "float32")])
    x = np.zeros((1, 2, 2, 2), "float32")
    x[0, 0, 0, 0] = 1.0
    received = keras.ops.convert_to_numpy(layer(x))[0]
    # padding 1 cuts the first row and column of the scattered 4x4 kernel
    expected = [[5, 6, 7, 0], [9, 10, 11, 0], [13, 14, 15, 0], [0, 0, 0, 0]]
    np.testing.assert_array_equal(received[..., 0], expected)
    np.testing.assert_array_equal(received[..., 1], np.full((4, 4), 0.5))


def test_grouped_convolution_against_scipy_and_keras():
    rng = np.random.default_rng(3)
    x = rng.standard_normal((1, 5, 5, 4)).astype("float32")
    ours = ptynet.GroupedConv2D(6, 3, padding="same", groups=2)
    theirs = keras.layers.Conv2D(6, 3, padding="same", groups=2)
    for layer in (ours, theirs):
        layer.build(x.shape)
    kernel = rng.standard_normal((3, 3, 2, 6)).astype("float32")
    bias = rng.standard_normal(6).astype("float32")
    for layer in (ours, theirs):
        layer.set_weights([kernel, bias])
    expected = np.zeros((5, 5, 6)) + bias
    for output in range(6):
        for index in range(2):
            # output channels 0-2 see input channels 0-1, channels 3-5 see 2-3
            image = x[0, ..., index + 2 * (output // 3)]
            expected[..., output] += correlate2d(image, kernel[..., index, output], mode="same")
    for layer in (ours, theirs):
        received = keras.ops.convert_to_numpy(layer(x))[0]
        # float32 against float64: measured 1.2e-6
        np.testing.assert_allclose(received, expected, atol=1e-5)


def test_stride_two_convolution_pads_all_round():
    """The first pixel of a stride-2 convolution is the kernel's middle, as in PyTorch."""
    model = make("ptynet", 8)
    part = keras.Model(model.input, model.get_layer("encoder2").output)
    x = patterns(1, 8)
    rows = [model.get_layer(name).get_weights() for name in ("encoder1", "encoder2")]
    image = x[0].astype("float64")
    for (kernel, bias), stride in zip(rows, (1, 2), strict=True):
        result = np.stack(
            [
                sum(
                    correlate2d(image[..., i], kernel[..., i, o], mode="same")
                    for i in range(image.shape[-1])
                )
                for o in range(kernel.shape[-1])
            ],
            axis=-1,
        )
        result = result[::stride, ::stride] + bias
        image = np.where(result < 0, 0.2 * result, result) if stride == 1 else result
    # float32 against float64: measured 1e-7
    np.testing.assert_allclose(keras.ops.convert_to_numpy(part(x))[0], image, atol=1e-6)


def test_ptynet_starts_as_pytorch_does(models):
    for name, fan_in in {
        "encoder6": 9 * 64,
        "decoder1_grouped": 9 * 32,
        "decoder1_up": 16 * 32,
    }.items():
        limit = fan_in**-0.5
        for weights in models["ptynet"].get_layer(name).get_weights():
            largest = np.abs(weights).max()
            # the largest of n uniform draws lies about limit / n below the limit; the
            # smallest set has 64 draws
            assert 0.85 * limit < largest <= limit


def test_grouped_transpose_refuses_uneven_groups():
    with pytest.raises(OptionError, match="multiple of groups, received filters=3, groups=2"):
        ptynet.GroupedConv2DTranspose(3, 4, 2, groups=2)
    with pytest.raises(OptionError, match=r"received shape \(None, 4, 4, 5\), groups=2"):
        ptynet.GroupedConv2DTranspose(4, 4, 2, groups=2, name="up").build((None, 4, 4, 5))


ON_JAX = """
import sys
import jax
import keras
import numpy as np
from ppn_tf.models import dpi, ptychonn, ptynet

def zeros(key, shape=(), dtype="float32", minval=0, maxval=1):
    return np.zeros(shape, dtype)


# initial weights are overwritten below; compiling their draws would take half a minute
jax.random.uniform = zeros
stored = np.load(sys.argv[1], allow_pickle=False)
results = {"backend": keras.backend.backend()}
x = stored["x"]
for module in (ptychonn, ptynet, dpi):
    name = module.SPEC.name
    inputs = keras.Input(x.shape[1:])
    model = keras.Model(inputs, module.build(inputs))
    model.set_weights([stored[f"{name}/{i}"] for i in range(len(model.weights))])
    trainable = [variable.value for variable in model.trainable_variables]
    others = [variable.value for variable in model.non_trainable_variables]

    def loss(trainable, others, x):
        outputs = model.stateless_call(trainable, others, x, training=False)[0]
        return sum(((output - x) ** 2).mean() for output in outputs), outputs

    if name in sys.argv[3:]:
        function = jax.jit(jax.value_and_grad(loss, has_aux=True))
        (_, outputs), gradients = function(trainable, others, x)
        results |= {f"{name}/gradient{i}": value for i, value in enumerate(gradients)}
    else:
        _, outputs = jax.jit(loss)(trainable, others, x)
    results[f"{name}/amplitude"], results[f"{name}/phase"] = outputs
np.savez(sys.argv[2], **{key: np.asarray(value) for key, value in results.items()})
"""


def run_on_jax(models, x, differentiate, folder):
    stored = {"x": x}
    for name, model in models.items():
        stored |= {f"{name}/{i}": weight for i, weight in enumerate(model.get_weights())}
    np.savez(folder / "in.npz", **stored)
    subprocess.run(
        [sys.executable, "-c", ON_JAX, folder / "in.npz", folder / "out.npz", *differentiate],
        env={
            **os.environ,
            "KERAS_BACKEND": "jax",
            "JAX_PLATFORMS": "cpu",
            # the comparison needs no speed; this halves the time of compilation
            "XLA_FLAGS": "--xla_backend_optimization_level=0",
        },
        cwd=Path(__file__).resolve().parents[1],
        check=True,
        timeout=600,
    )
    return np.load(folder / "out.npz", allow_pickle=False)


def gradients_on_tensorflow(model, x):
    import tensorflow as tf

    with tf.GradientTape() as tape:
        outputs = model(x, training=False)
        loss = sum(tf.reduce_mean(tf.square(value - x)) for value in outputs.values())
    weights = [weight.value for weight in model.trainable_weights]
    return [gradient.numpy() for gradient in tape.gradient(loss, weights)]


@needs_tensorflow
@pytest.mark.parametrize(
    "differentiate",
    [
        ("ptychonn", "ptynet"),
        # compiling the gradient of DPI takes longer than all the rest
        pytest.param(("dpi",), marks=pytest.mark.long),
    ],
)
def test_jax_gives_the_same_outputs_and_gradients(models, differentiate, tmp_path):
    """Same weights on both backends; one process for all models."""
    pytest.importorskip("jax")
    x = patterns()
    received = run_on_jax(models, x, differentiate, tmp_path)
    assert received["backend"] == "jax"
    for name, model in models.items():
        for key, expected in outputs_of(model, x).items():
            # measured spread, as a share of the largest output: 2.2e-6
            atol = 2e-5 * np.abs(expected).max()
            np.testing.assert_allclose(received[f"{name}/{key}"], expected, rtol=0, atol=atol)
    for name in differentiate:
        for index, expected in enumerate(gradients_on_tensorflow(models[name], x)):
            # measured spread, as a share of the weight's largest gradient: 2.4e-6
            atol = 2e-5 * np.abs(expected).max()
            gradient = received[f"{name}/gradient{index}"]
            np.testing.assert_allclose(gradient, expected, rtol=0, atol=atol)
