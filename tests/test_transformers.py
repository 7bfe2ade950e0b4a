"""The three transformer baselines and their layers: counts, numerics, files, gradients, JAX."""

import math
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from seeded import seeded_weights

keras = pytest.importorskip("keras")

from keras import ops  # noqa: E402
from scipy import special  # noqa: E402

from ppn_tf import complexity, models  # noqa: E402
from ppn_tf.errors import OptionError  # noqa: E402
from ppn_tf.layers import segformer as layers  # noqa: E402
from ppn_tf.models import transunet  # noqa: E402

NAMES = ("ptychoformer", "segformer", "transunet")

#: (trainable, total, operations) at 32 px.
COUNTS = {
    "ptychoformer": (18_070_400, 18_071_168, 746_483_968),
    "segformer": (3_711_522, 3_712_034, 211_191_616),
    "transunet": (5_715_842, 5_717_314, 136_776_272),
}

needs_tensorflow = pytest.mark.skipif(
    keras.backend.backend() != "tensorflow", reason="uses TensorFlow's tape or profiler"
)


@pytest.fixture(scope="module")
def built():
    """The three models at 32 px with weights that matter."""
    return {name: seeded_weights(models.create(name)) for name in NAMES}


def patterns(count=2, side=32):
    return np.random.default_rng(side).random((count, side, side, 1), dtype=np.float32)


def outputs_of(model, x, training=False):
    return {key: ops.convert_to_numpy(value) for key, value in model(x, training=training).items()}


# --- networks ---


@pytest.mark.parametrize("name", NAMES)
def test_counts(built, name):
    counts = complexity.parameter_counts(built[name])
    assert (counts.trainable, counts.total) == COUNTS[name][:2]


@needs_tensorflow
@pytest.mark.parametrize(
    "name", [pytest.param("ptychoformer", marks=pytest.mark.long), "segformer", "transunet"]
)
def test_operations(built, name):
    assert complexity.flops(built[name]) == COUNTS[name][2]


@pytest.mark.parametrize("name", NAMES)
def test_outputs_at_32_px(built, name):
    found = outputs_of(built[name], patterns())
    assert {key: value.shape for key, value in found.items()} == {
        "amplitude": (2, 32, 32, 1),
        "phase": (2, 32, 32, 1),
    }
    lowest = -1.0 if name == "ptychoformer" else 0.0  # tanh, sigmoid
    assert 0.0 < found["amplitude"].min() < found["amplitude"].max() < 1.0
    assert lowest < found["phase"].min() < found["phase"].max() < 1.0
    for value in found.values():
        # images differ from each other, and pixels too
        assert np.abs(value[0] - value[1]).max() > 1e-3
        assert value.std() > 1e-3


@pytest.mark.parametrize("name", NAMES)
def test_64_px_change_neither_names_nor_counts_but_of_positions(built, name):
    model = models.create(name, (64, 64, 1))
    positions = 12 * transunet.HIDDEN if name == "transunet" else 0  # 16 tokens, not 4
    assert model.count_params() == COUNTS[name][1] + positions
    assert [layer.name for layer in model.layers] == [layer.name for layer in built[name].layers]
    for value in outputs_of(model, patterns(1, 64)).values():
        assert value.shape == (1, 64, 64, 1)


@pytest.mark.parametrize("name", NAMES)
def test_side_multiple(name):
    assert models.spec(name).side_multiple == 16
    with pytest.raises(OptionError, match="multiples of 16 px, received 40 x 32 px"):
        models.create(name, (40, 32, 1))


@pytest.mark.parametrize("name", NAMES)
def test_save_and_load_give_equal_outputs(built, name, tmp_path):
    model = built[name]
    model.save(tmp_path / "model.keras")
    loaded = keras.saving.load_model(tmp_path / "model.keras", safe_mode=True)
    x = patterns()
    expected, received = outputs_of(model, x), outputs_of(loaded, x)
    for key in expected:
        np.testing.assert_array_equal(received[key], expected[key])


@needs_tensorflow
@pytest.mark.parametrize("name", NAMES)
def test_every_weight_gets_a_finite_gradient(built, name):
    import tensorflow as tf

    model, x = built[name], tf.constant(patterns())
    with tf.GradientTape() as tape:
        outputs = model(x, training=False)
        loss = sum(tf.reduce_mean(tf.square(value - 0.3)) for value in outputs.values())
    gradients = tape.gradient(loss, [weight.value for weight in model.trainable_weights])
    for weight, gradient in zip(model.trainable_weights, gradients, strict=True):
        assert gradient is not None, weight.path
        assert np.isfinite(gradient.numpy()).all(), weight.path
        # a softmax ignores what shifts all its logits alike: rounding alone is left
        if not weight.path.endswith("key/bias"):
            assert np.any(gradient.numpy()), weight.path


def test_what_differs_in_training(built):
    """Stochastic depth and dropout draw anew; TransUNet has neither, BatchNorm apart."""
    x = patterns(4)
    for name in ("segformer", "transunet"):
        model = built[name]
        weights = model.get_weights()
        first, second = (outputs_of(model, x, training=True)["phase"] for _ in range(2))
        model.set_weights(weights)
        if name == "segformer":
            assert not np.array_equal(first, second)
        if name == "transunet":
            # batch statistics: rounding of parallel sums; measured 0
            np.testing.assert_allclose(first, second, atol=1e-6)
        expected = outputs_of(model, x)["phase"]
        np.testing.assert_array_equal(outputs_of(model, x)["phase"], expected)


@pytest.mark.parametrize(
    ("name", "kind", "expected"),
    [
        ("ptychoformer", keras.layers.BatchNormalization, {(0.9, 1e-5)}),
        ("segformer", keras.layers.BatchNormalization, {(0.9, 1e-5)}),
        ("transunet", keras.layers.BatchNormalization, {(0.9, 1e-5)}),
        ("ptychoformer", keras.layers.LayerNormalization, {1e-5}),
        ("segformer", keras.layers.LayerNormalization, {1e-5, 1e-6}),
        ("transunet", keras.layers.LayerNormalization, {1e-6}),
        ("transunet", keras.layers.GroupNormalization, {1e-5, 1e-6}),
    ],
)
def test_normalisation_settings(built, name, kind, expected):
    found = [layer for layer in built[name].layers if isinstance(layer, kind)]
    if kind is keras.layers.BatchNormalization:
        assert {(layer.momentum, layer.epsilon) for layer in found} == expected
    else:
        assert {layer.epsilon for layer in found} == expected


def test_drop_rates_rise_linearly_over_all_blocks(built):
    drops = [x for x in built["ptychoformer"].layers if isinstance(x, layers.StochasticDepth)]
    assert [x.rate for x in drops] == pytest.approx([0.1 * i / 15 for i in range(16)])
    assert {x.mode for x in drops} == {"batch"}
    drops = [x for x in built["segformer"].layers if isinstance(x, layers.StochasticDepth)]
    assert [x.rate for x in drops] == pytest.approx([0.1 * i / 7 for i in range(8) for _ in "12"])
    assert {x.mode for x in drops} == {"sample"}


def test_initial_weights_follow_the_originals():
    keras.utils.set_random_seed(1)
    model = models.create("ptychoformer", (16, 16, 1))
    for path, limit in {
        "encoder2_1_mlp_depthwise": math.sqrt(6 / 9),
        "encoder2_1_mlp_1": math.sqrt(6 / 128),
        "decoder_up": 1 / math.sqrt(9 * 128),
    }.items():
        kernel = model.get_layer(path).get_weights()[0]
        # the largest of over 4000 uniform draws
        assert 0.99 * limit < np.abs(kernel).max() <= limit
    attention = model.get_layer("encoder2_1_attention")
    limits = (math.sqrt(6 / (4 * 128)), math.sqrt(6 / (2 * 128)))
    for part, limit in zip((attention.query, attention.output_projection), limits, strict=True):
        assert 0.99 * limit < np.abs(ops.convert_to_numpy(part.kernel)).max() <= limit
    query, key = (ops.convert_to_numpy(x.kernel) for x in (attention.query, attention.key))
    assert not np.array_equal(query, key)


# --- layers ---


def test_stochastic_depth_drops_whole_samples_and_keeps_the_mean():
    layer = layers.StochasticDepth(0.25, "sample", seed=3)
    x = np.ones((4000, 2, 3), "float32")
    kept = ops.convert_to_numpy(layer(x, training=True))
    assert set(np.unique(kept)) == {np.float32(0), np.float32(1 / 0.75)}
    np.testing.assert_array_equal(kept, np.broadcast_to(kept[:, :1, :1], kept.shape))
    # standard error of the mean: sqrt(0.25 / 0.75 / 4000) = 0.009
    assert kept.mean() == pytest.approx(1.0, abs=0.04)
    np.testing.assert_array_equal(ops.convert_to_numpy(layer(x, training=False)), x)
    np.testing.assert_array_equal(ops.convert_to_numpy(layer(x)), x)


def test_stochastic_depth_of_a_batch_draws_once():
    layer = layers.StochasticDepth(0.5, "batch", seed=5)
    x = np.ones((8, 2), "float32")
    drawn = [ops.convert_to_numpy(layer(x, training=True)) for _ in range(20)]
    assert all(len(np.unique(y)) == 1 for y in drawn)
    assert {float(y[0, 0]) for y in drawn} == {0.0, 2.0}


def test_stochastic_depth_of_rate_zero_is_the_identity():
    layer = layers.StochasticDepth(0.0)
    x = np.ones((3, 2), "float32")
    np.testing.assert_array_equal(ops.convert_to_numpy(layer(x, training=True)), x)
    assert layer.weights == []


def test_layers_come_back_from_their_configuration():
    for layer in (
        layers.StochasticDepth(0.1, "batch", seed=2, name="drop"),
        layers.BicubicUpsampling(4, name="up"),
        layers.CrossAttention(2, "he_uniform", keras.initializers.TruncatedNormal(stddev=0.02)),
        transunet.StandardizedConv2D(4, 3, strides=2, use_bias=False),
    ):
        again = keras.saving.deserialize_keras_object(keras.saving.serialize_keras_object(layer))
        assert type(again) is type(layer)
        assert again.get_config() == layer.get_config()


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: layers.StochasticDepth(1.0), r"rate must be in \[0, 1\), received 1.0"),
        (lambda: layers.StochasticDepth(0.1, "row"), "mode must be one of sample, batch, received"),
        (lambda: layers.BicubicUpsampling(0), "factor must be at least 1, received 0"),
        (
            lambda: layers.CrossAttention(3)(np.zeros((1, 4, 8)), np.zeros((1, 2, 8))),
            r"must divide the channels, received num_heads=3, shape \(1, 4, 8\)",
        ),
    ],
)
def test_refusals(make, message):
    with pytest.raises(OptionError, match=message):
        make()


def test_cubic_matrix_by_hand():
    """Magnification 2: distances 1.25, 0.25, 0.75, 1.75 of the kernel with a = -0.75."""
    expected = np.array([-0.10546875, 0.87890625, 0.26171875, -0.03515625])
    matrix = layers.cubic_matrix(6, 2)
    np.testing.assert_allclose(matrix[5, 1:5], expected)  # position 2.25
    np.testing.assert_allclose(matrix[6, 1:5], expected[::-1])  # position 2.75
    # the first pixel, at -0.25: pixels beyond the border repeat pixel 0
    np.testing.assert_allclose(matrix[0, :3], [1 - expected[0], expected[0], 0.0])
    np.testing.assert_allclose(matrix.sum(axis=1), 1.0, rtol=1e-6)
    np.testing.assert_array_equal(layers.cubic_matrix(5, 1), np.eye(5))


def test_bicubic_upsampling_is_separable_and_keeps_the_orientation():
    image = np.random.default_rng(0).random((2, 3, 4, 5)).astype("float32")
    layer = layers.BicubicUpsampling(2)
    received = ops.convert_to_numpy(layer(image))
    rows, cols = layers.cubic_matrix(3, 2), layers.cubic_matrix(4, 2)
    for channel in range(5):
        expected = rows @ image[1, ..., channel] @ cols.T
        # float32 rounding; measured 1e-7
        np.testing.assert_allclose(received[1, ..., channel], expected, atol=1e-6)
    assert layer.compute_output_shape((None, 3, 4, 5)) == (None, 6, 8, 5)


def test_cross_attention_against_numpy():
    rng = np.random.default_rng(2)
    layer = layers.CrossAttention(2)
    queries = rng.standard_normal((2, 5, 6)).astype("float32")
    keys = rng.standard_normal((2, 3, 6)).astype("float32")
    layer.build(queries.shape, keys.shape)
    weights = [rng.standard_normal(w.shape) for w in layer.get_weights()]
    layer.set_weights(weights)
    (wq, bq), (wk, bk), (wv, bv), (wo, bo) = zip(weights[::2], weights[1::2], strict=True)
    q, k, v = queries @ wq + bq, keys @ wk + bk, keys @ wv + bv
    heads = []
    for part in (slice(0, 3), slice(3, 6)):
        logits = np.einsum("bnd,bmd->bnm", q[..., part], k[..., part]) / math.sqrt(3)
        heads.append(special.softmax(logits, axis=-1) @ v[..., part])
    expected = np.concatenate(heads, axis=-1) @ wo + bo
    received = ops.convert_to_numpy(layer(queries, keys))
    # float32 against float64; measured 4e-6 of values up to 9
    np.testing.assert_allclose(received, expected, atol=5e-5)


def test_standardized_convolution_ignores_scale_and_offset_of_its_kernel():
    rng = np.random.default_rng(3)
    x = rng.standard_normal((1, 6, 6, 4)).astype("float32")
    ours = transunet.StandardizedConv2D(5, 3, use_bias=False)
    plain = keras.layers.Conv2D(5, 3, use_bias=False)
    kernel = rng.standard_normal((3, 3, 4, 5)).astype("float32")
    for layer in (ours, plain):
        layer.build(x.shape)
    flat = kernel.reshape(-1, 5)
    standard = (flat - flat.mean(axis=0)) / np.sqrt(flat.var(axis=0) + 1e-5)
    plain.set_weights([standard.reshape(kernel.shape)])
    expected = ops.convert_to_numpy(plain(x))
    for scale, offset in ((1.0, 0.0), (7.0, 3.0)):
        ours.set_weights([scale * kernel + offset])
        # float32 rounding and the epsilon; measured 1e-4 of values up to 20
        np.testing.assert_allclose(ops.convert_to_numpy(ours(x)), expected, atol=1e-3)


def test_strided_patches_pad_all_round():
    inputs = keras.Input((4, 4, 1))
    model = keras.Model(inputs, layers.padded_conv(inputs, 1, 3, 2, "c", use_bias=False))
    kernel = np.arange(9, dtype="float32").reshape(3, 3, 1, 1)
    model.set_weights([kernel])
    x = np.zeros((1, 4, 4, 1), "float32")
    x[0, 0, 0, 0] = 1.0
    # the first pixel meets the kernel's middle
    received = ops.convert_to_numpy(model(x))[0, ..., 0]
    np.testing.assert_array_equal(received, [[4.0, 0.0], [0.0, 0.0]])


# --- JAX ---

ON_JAX = """
import sys
import jax
import keras
import numpy as np
from ppn_tf import models
from ppn_tf.layers.segformer import StochasticDepth

# initial weights are overwritten; compiling their draws would take a while
uniform = jax.random.uniform
jax.random.uniform = lambda key, shape=(), dtype="float32", *_, **__: np.zeros(shape, dtype)
jax.random.normal = jax.random.truncated_normal = jax.random.uniform
stored = np.load(sys.argv[1], allow_pickle=False)
results = {"backend": keras.backend.backend()}
for name in sys.argv[3:]:
    model = models.create(name)
    model.set_weights([stored[f"{name}/{i}"] for i in range(len(model.weights))])
    trainable = [variable.value for variable in model.trainable_variables]
    others = [variable.value for variable in model.non_trainable_variables]

    @jax.jit
    def outputs(trainable, others, x):
        return model.stateless_call(trainable, others, x, training=False)[0]

    for key, value in outputs(trainable, others, stored["x"]).items():
        results[f"{name}/{key}"] = value
jax.random.uniform = uniform
layer = StochasticDepth(0.5, "sample", seed=1)
results["drop"] = layer(np.ones((64, 3), "float32"), training=True)
np.savez(sys.argv[2], **{key: np.asarray(value) for key, value in results.items()})
"""


@needs_tensorflow
@pytest.mark.parametrize(
    "names",
    [
        ("segformer",),
        # compiling PtychoFormer takes longer than all the rest
        pytest.param(("ptychoformer", "transunet"), marks=pytest.mark.long),
    ],
)
def test_jax_gives_the_same_outputs(built, names, tmp_path):
    """Same weights on both backends; one process for all models."""
    pytest.importorskip("jax")
    x = patterns()
    stored = {"x": x}
    for name, model in ((name, built[name]) for name in names):
        stored |= {f"{name}/{i}": weight for i, weight in enumerate(model.get_weights())}
    np.savez(tmp_path / "in.npz", **stored)
    subprocess.run(
        [sys.executable, "-c", ON_JAX, tmp_path / "in.npz", tmp_path / "out.npz", *names],
        env={
            **os.environ,
            "KERAS_BACKEND": "jax",
            "JAX_PLATFORMS": "cpu",
            # the comparison needs no speed; this shortens compilation
            "XLA_FLAGS": "--xla_backend_optimization_level=0",
        },
        cwd=Path(__file__).resolve().parents[1],
        check=True,
        timeout=600,
    )
    with np.load(tmp_path / "out.npz", allow_pickle=False) as archive:
        received = dict(archive)
    assert received.pop("backend") == "jax"
    # dropped or doubled, by the sample
    assert set(np.unique(received.pop("drop"))) == {0.0, 2.0}
    for name in names:
        for key, expected in outputs_of(built[name], x).items():
            # of a sigmoid's or tanh's output; measured spread: 1.3e-6
            np.testing.assert_allclose(received[f"{name}/{key}"], expected, rtol=0, atol=2e-5)
