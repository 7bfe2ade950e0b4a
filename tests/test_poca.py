"""PoCA against its definition: N x N radial and angular matrices, in float64."""

import json

import numpy as np
import pytest

keras = pytest.importorskip("keras")

from ppn_tf.errors import OptionError  # noqa: E402
from ppn_tf.layers import PixelSelfAttention, PolarCoordinateAttention  # noqa: E402
from ppn_tf.layers.attention import widened  # noqa: E402

needs_tensorflow = pytest.mark.skipif(
    keras.backend.backend() != "tensorflow", reason="uses TensorFlow's gradient tape"
)
HEADS, WIDTH = 2, 8


def images(side, channels=3, count=1, dtype="float32"):
    return np.random.default_rng(side).standard_normal((count, side, side, channels)).astype(dtype)


def make(side, *, center=(0.0, 0.0), channels=3, seed=0, cls=PolarCoordinateAttention, **options):
    """A built layer with known weights of order 1, so that the logits matter."""
    layer = cls(HEADS, WIDTH, **options)
    layer.build((None, side, side, channels))
    rng = np.random.default_rng(seed)
    weights = [rng.normal(0.0, w.shape[0] ** -0.5, w.shape) for w in layer.get_weights()]
    if cls is PolarCoordinateAttention:
        places = [index for index, w in enumerate(layer.weights) if w.name == "center"]
        assert len(places) == 1
        weights[places[0]] = np.array(center)
    layer.set_weights(weights)
    return layer


def reference(x, kernels, center, radial):
    """Softmax((Q K^T / sqrt d) * W_radial * W_angular) V, from the definition, float64.

    `kernels` are kernel and bias of the joint projection, then of the output's.
    """
    import tensorflow as tf

    batch, height, width, _ = x.shape
    tokens, d_k = height * width, WIDTH // HEADS
    joint = tf.reshape(x @ kernels[0] + kernels[1], (batch, tokens, 3, HEADS, d_k))
    query, key, value = (tf.transpose(joint[:, :, i], (0, 2, 1, 3)) for i in range(3))
    rows, cols = np.indices((height, width), dtype="float64").reshape(2, -1)
    d_row = rows - (height / 2 + center[0] * height)
    d_col = cols - (width / 2 + center[1] * width)
    # the pixel at the centre: angle 0 as atan2(0, 0) has it, and no gradient
    here = d_row**2 + d_col**2 < 1e-12
    angle = tf.atan2(d_row, tf.where(here, tf.ones_like(d_col), d_col))
    angle = tf.where(here, tf.zeros_like(angle), angle)
    radius = tf.sqrt(tf.where(here, tf.ones_like(d_row), d_row**2 + d_col**2))
    radius = tf.where(here, tf.zeros_like(radius), radius)
    largest = np.hypot(height / 2, width / 2)
    if radial == "paper":
        rho = tf.math.log(1.0 + radius) / np.log(1.0 + largest)
    else:
        rho = tf.math.log(radius + 1e-6) / np.log(largest)
    w_radial = tf.tile((1.0 / (1.0 + rho))[None, :], (tokens, 1))  # of the key alone
    w_angular = tf.cos(angle[:, None] - angle[None, :])
    logits = query @ tf.transpose(key, (0, 1, 3, 2)) / np.sqrt(d_k) * w_radial * w_angular
    out = tf.transpose(tf.nn.softmax(logits) @ value, (0, 2, 1, 3))
    return tf.reshape(out, (batch, height, width, WIDTH)) @ kernels[2] + kernels[3]


def kernels_of(layer):
    dense = (layer.projection, layer.output_projection)
    return [weight for part in dense for weight in (part.kernel, part.bias)]


def distance(received, expected):
    return np.linalg.norm(received - expected) / np.linalg.norm(expected)


def both(layer, x, radial):
    """Output and gradients (input, projections, centre) of the layer and of the reference."""
    import tensorflow as tf

    upstream = np.random.default_rng(9).standard_normal((*x.shape[:3], WIDTH))
    found = []
    inputs = tf.constant(x)
    weights = [weight.value for weight in (*kernels_of(layer), layer.center)]
    with tf.GradientTape() as tape:
        tape.watch(inputs)
        out = layer(inputs)
        loss = tf.reduce_sum(out * tf.cast(upstream, out.dtype))
    found.append((out, *tape.gradient(loss, [inputs, *weights])))
    inputs = tf.constant(x, tf.float64)
    weights = [tf.constant(w.numpy().astype("float64")) for w in weights]
    with tf.GradientTape() as tape:
        tape.watch([inputs, *weights])
        out = reference(inputs, weights[:4], weights[4], radial)
        loss = tf.reduce_sum(out * upstream)
    found.append((out, *tape.gradient(loss, [inputs, *weights])))
    names = ("output", "input", "kernel", "bias", "output kernel", "output bias", "center")
    return {n: (a.numpy(), b.numpy()) for n, a, b in zip(names, *found, strict=True)}


CENTERS = {"on a pixel": (0.0, 0.0), "on another pixel": (0.25, -0.125), "off": (0.013, -0.171)}


@needs_tensorflow
@pytest.mark.parametrize("implementation", ["plain", "block", "fused"])
@pytest.mark.parametrize("radial", ["paper", "released"])
@pytest.mark.parametrize("center", CENTERS.values(), ids=CENTERS)
def test_against_the_definition(center, radial, implementation):
    layer = make(8, center=center, radial=radial, implementation=implementation)
    for name, (received, expected) in both(layer, images(8, count=2), radial).items():
        assert np.isfinite(received).all(), name
        assert np.any(received), name
        # measured: outputs 1.0e-7, gradients 9.4e-7 (the centre's sum cancels most)
        limit = 1e-5 if name == "output" else 2e-4
        assert distance(received, expected) <= limit, name


@needs_tensorflow
@pytest.mark.parametrize("radial", ["paper", "released"])
@pytest.mark.parametrize("center", CENTERS.values(), ids=CENTERS)
def test_against_the_definition_in_double_precision(center, radial):
    layer = make(8, center=center, radial=radial, implementation="block", dtype="float64")
    for name, (received, expected) in both(layer, images(8, dtype="float64"), radial).items():
        assert received.dtype == np.float64
        # measured: at most 2.1e-15
        assert distance(received, expected) <= 1e-9, name


@needs_tensorflow
@pytest.mark.parametrize("radial", ["paper", "released"])
def test_full_size_with_the_initial_centre(radial):
    """32 px: the initial centre is the brightest pixel exactly."""
    layer = make(32, radial=radial)
    for name, (received, expected) in both(layer, images(32), radial).items():
        limit = 1e-5 if name == "output" else 2e-4
        # measured: outputs 6e-8, gradients 9.7e-7
        assert distance(received, expected) <= limit, name
        if name == "center":
            assert np.isfinite(received).all()
            assert np.abs(received).min() > 0.0


@needs_tensorflow
def test_centre_gradient_against_finite_differences():
    import tensorflow as tf

    x = images(8, dtype="float64")
    layer = make(8, center=CENTERS["off"], dtype="float64")
    with tf.GradientTape() as tape:
        loss = tf.reduce_sum(layer(x) ** 2)
    gradient = tape.gradient(loss, layer.center.value).numpy()
    step = 1e-6
    for axis in range(2):
        ends = []
        for sign in (1, -1):
            moved = np.array(CENTERS["off"])
            moved[axis] += sign * step
            ends.append(float(tf.reduce_sum(make(8, center=moved, dtype="float64")(x) ** 2)))
        # error of the central difference: measured 2e-9
        assert gradient[axis] == pytest.approx((ends[0] - ends[1]) / (2 * step), rel=1e-6)


@needs_tensorflow
def test_fixed_centre_has_no_gradient_but_counts():
    import tensorflow as tf

    layers = [make(8, learn_center=learn) for learn in (True, False)]
    with tf.GradientTape(persistent=True) as tape:
        losses = [tf.reduce_sum(layer(images(8)) ** 2) for layer in layers]
    learned, fixed = (
        tape.gradient(loss, layer.center.value) for loss, layer in zip(losses, layers, strict=True)
    )
    assert np.any(learned.numpy())
    assert fixed is None
    assert losses[0].numpy() == losses[1].numpy()
    assert layers[0].count_params() == layers[1].count_params()
    assert [w.name for w in layers[1].trainable_weights].count("center") == 1


def test_released_radial_weights():
    """Values of the authors' code at 32 px (measured there), about pixel (16, 16)."""
    layer = make(32, radial="released")
    weights = keras.ops.convert_to_numpy(layer.polar_weights(32, 32)[0]).reshape(32, 32)
    for pixels, expected in {1: 1.0, 2: 0.818, 4: 0.692, 8: 0.600}.items():
        ring = [weights[16 + pixels, 16], weights[16, 16 - pixels], weights[16 - pixels, 16]]
        np.testing.assert_allclose(ring, expected, atol=5e-4)  # three printed digits
    assert weights[0, 0] == pytest.approx(0.5, abs=1e-6)
    assert weights[16, 16] == pytest.approx(-0.292, abs=5e-4)


def test_paper_radial_weights_have_no_pole():
    """w falls from 1 at the centre to 1/2 in the corner; no pixel near it is singular."""
    layer = make(32)
    weights = keras.ops.convert_to_numpy(layer.polar_weights(32, 32)[0]).reshape(32, 32)
    assert weights[16, 16] == 1.0
    assert weights[0, 0] == pytest.approx(0.5, abs=1e-6)
    by_hand = 1.0 / (1.0 + np.log(1.0 + 8.0) / np.log(1.0 + np.hypot(16.0, 16.0)))
    assert weights[16, 24] == pytest.approx(by_hand, abs=1e-6)
    radii = np.linspace(0.0, 22.6, 2001).astype("float32")
    along = keras.ops.convert_to_numpy(layer.radial_weight(radii, 32, 32))
    assert (np.diff(along) < 0).all()
    assert along.min() > 0.5 - 1e-6


def test_directions_are_unit_vectors_and_row_before_column():
    _, cosine, sine = (
        keras.ops.convert_to_numpy(x).reshape(32, 32) for x in make(32).polar_weights(32, 32)
    )
    # float32 rounding; measured 2.4e-7
    np.testing.assert_allclose(cosine**2 + sine**2, 1.0, atol=1e-6)
    assert (cosine[16, 16], sine[16, 16]) == (1.0, 0.0)
    assert (cosine[16, 20], sine[16, 20]) == (1.0, 0.0)
    assert (cosine[20, 16], sine[20, 16]) == (0.0, 1.0)


def test_the_centre_moves_by_shares_of_rows_and_columns():
    layer = make(16, center=(0.25, -0.125))
    weights = keras.ops.convert_to_numpy(layer.polar_weights(16, 32)[0]).reshape(16, 32)
    # rows: 8 + 4; columns: 16 - 4
    assert np.unravel_index(weights.argmax(), weights.shape) == (12, 12)


def test_radial_weight_belongs_to_the_key():
    """Doubling keeps a query's length and scales a key's by w."""
    layer = make(8)
    rng = np.random.default_rng(3)
    query, key = (rng.standard_normal((1, HEADS, 64, 4)).astype("float32") for _ in range(2))
    doubled = map(keras.ops.convert_to_numpy, widened(query, key, layer.modulation(8, 8)))
    weight = keras.ops.convert_to_numpy(layer.polar_weights(8, 8)[0])
    lengths = [np.linalg.norm(x, axis=-1) for x in (*doubled, query, key)]
    # float32 rounding; measured 5e-7
    np.testing.assert_allclose(lengths[0], lengths[2], rtol=1e-5)
    np.testing.assert_allclose(lengths[1], lengths[3] * weight, rtol=1e-5)


@pytest.mark.parametrize("turn", [lambda x: np.rot90(x, axes=(1, 2)), lambda x: x[:, :, ::-1]])
def test_turning_the_image_about_the_centre_turns_the_output(turn):
    """Weights depend on radii and differences of angles only.

    So a quarter turn or a mirror image about the centre, of a grid that it maps onto
    itself, commutes with the layer. On an even grid the exact middle, (side - 1) / 2,
    lies between the pixels, so that no pixel has an arbitrary angle.
    """
    x = images(8, dtype="float64")
    middle = make(8, center=(-0.5 / 8, -0.5 / 8), dtype="float64")
    expected = turn(keras.ops.convert_to_numpy(middle(x)))
    received = keras.ops.convert_to_numpy(middle(turn(x).copy()))
    # float64 rounding; measured 3e-16
    np.testing.assert_allclose(received, expected, atol=1e-12)
    # about pixel (4, 4) the same grid is lopsided, and the property is gone
    corner = make(8, dtype="float64")
    moved = keras.ops.convert_to_numpy(corner(turn(x).copy()))
    assert np.abs(moved - turn(keras.ops.convert_to_numpy(corner(x)))).max() > 1e-2


def test_plain_self_attention_knows_no_positions():
    """MHSA over pixels commutes with any permutation of the pixels; PoCA does not."""
    x = images(8, dtype="float64")
    order = np.random.default_rng(5).permutation(64)
    mixed = x.reshape(1, 64, 3)[:, order].reshape(x.shape)
    for cls, commutes in ((PixelSelfAttention, True), (PolarCoordinateAttention, False)):
        layer = make(8, cls=cls, dtype="float64")
        out, out_mixed = (
            keras.ops.convert_to_numpy(layer(value)).reshape(64, WIDTH) for value in (x, mixed)
        )
        # measured 2e-15 for MHSA, 0.3 for PoCA
        assert np.allclose(out_mixed, out[order], atol=1e-12) is commutes


@pytest.mark.parametrize(("channels", "count"), [(3, 1442), (32, 4226)])
def test_counts_as_in_the_release(channels, count):
    layer = PolarCoordinateAttention(2, 32, radial="released", learn_center=False)
    layer.build((None, 32, 32, channels))
    assert layer.count_params() == count
    assert layer.center.name == "center"
    assert tuple(layer.center.shape) == (2,)
    assert not keras.ops.convert_to_numpy(layer.center).any()


@pytest.mark.parametrize("cls", [PixelSelfAttention, PolarCoordinateAttention])
def test_config_round_trip_build_symbolic_and_eager(cls):
    options = {"radial": "released", "learn_center": False}
    layer = cls(
        2,
        WIDTH,
        implementation="block",
        name="attention",
        **(options if cls is PolarCoordinateAttention else {}),
    )
    config = json.loads(json.dumps(layer.get_config()))
    again = cls.from_config(config)
    assert again.get_config() == layer.get_config()
    assert set(dir(again)) == set(dir(layer))
    assert keras.saving.get_registered_name(cls) == f"ppn_tf>{cls.__name__}"
    symbolic = layer(keras.KerasTensor((None, 4, 6, 3)))
    assert symbolic.shape == layer.compute_output_shape((None, 4, 6, 3)) == (None, 4, 6, WIDTH)
    eager = layer(np.zeros((2, 4, 6, 3), "float32"))
    assert tuple(eager.shape) == (2, 4, 6, WIDTH)
    assert len(layer.weights) == (5 if cls is PolarCoordinateAttention else 4)


def test_one_training_step_moves_centre_and_projections():
    inputs = keras.Input((8, 8, 3))
    layer = PolarCoordinateAttention(HEADS, WIDTH)
    model = keras.Model(inputs, layer(inputs))
    before = {weight.path: keras.ops.convert_to_numpy(weight) for weight in layer.weights}
    model.compile(optimizer=keras.optimizers.Adam(1e-2), loss="mse")
    x = images(8, count=2)
    model.train_on_batch(x, np.ones((2, 8, 8, WIDTH), "float32"))
    for weight in layer.weights:
        assert np.any(keras.ops.convert_to_numpy(weight) != before[weight.path]), weight.path


@pytest.mark.parametrize("implementation", ["plain", "block", "fused"])
@pytest.mark.parametrize("policy", ["mixed_float16", "mixed_bfloat16"])
def test_mixed_precision(policy, implementation):
    layer = make(8, dtype=policy, implementation=implementation)
    exact = keras.ops.convert_to_numpy(make(8)(images(8)))
    out = layer(images(8))
    half = policy.removeprefix("mixed_")
    assert keras.backend.standardize_dtype(out.dtype) == half
    assert keras.backend.standardize_dtype(layer.center.dtype) == "float32"
    assert {keras.backend.standardize_dtype(w.dtype) for w in layer.weights} == {"float32"}
    received = keras.ops.convert_to_numpy(keras.ops.cast(out, "float32"))
    # 11 and 8 bits; measured at most 4.9e-3
    assert distance(received, exact) <= (1e-2 if half == "float16" else 6e-2)


@pytest.mark.parametrize(
    ("numbers", "options", "message"),
    [
        ((3, 32), {}, "must divide embed_dim, both positive, received num_heads=3, embed_dim=32"),
        ((0, 32), {}, "received num_heads=0, embed_dim=32"),
        ((2, 32), {"radial": "log"}, "unknown radial weight 'log': expected one of paper, rel"),
        ((2, 32), {"implementation": "flash"}, "unknown attention implementation 'flash'"),
    ],
)
def test_refused_options(numbers, options, message):
    with pytest.raises(OptionError, match=message):
        PolarCoordinateAttention(*numbers, **options)


@pytest.mark.parametrize("shape", [(None, 64, 3), (None, None, 8, 3), (None, 8, 8, 3, 1)])
def test_refused_input_shapes(shape):
    message = r"PolarCoordinateAttention expects inputs \(B, H, W, C\) with fixed H, W, C, received"
    with pytest.raises(OptionError, match=message):
        PolarCoordinateAttention(2, 8).build(shape)


@pytest.mark.parametrize("implementation", ["plain", "block", "fused"])
def test_without_both_weights_it_is_plain_self_attention(implementation):
    x = images(8)
    layer = make(8, radial="none", angular=False, implementation=implementation)
    plain = PixelSelfAttention(HEADS, WIDTH, implementation="plain")
    plain.build((None, 8, 8, 3))
    plain.set_weights([np.array(w) for w in layer.weights if w.name != "center"])
    # one part left out is another function
    less = [make(8, implementation=implementation, **part) for part in PARTS]
    outs = [np.asarray(one(x)) for one in (layer, plain, *less)]
    # float32: 3e-7 measured
    assert distance(outs[0], outs[1]) < 1e-5
    assert all(distance(out, outs[1]) > 1e-3 for out in outs[2:])


PARTS = [{}, {"radial": "none"}, {"angular": False}]


def test_the_part_left_out_is_the_one_named():
    layer = make(8, angular=False)
    weight, _, _ = layer.polar_weights(8, 8)
    query, key, _ = layer.heads(images(8))
    q, k = widened(query, key, layer.modulation(8, 8))
    np.testing.assert_array_equal(np.asarray(q), np.asarray(query))
    expected = np.asarray(key) * np.asarray(weight)[:, None]
    np.testing.assert_allclose(np.asarray(k), expected, rtol=1e-6)
    ones, _, _ = make(8, radial="none").polar_weights(8, 8)
    np.testing.assert_array_equal(np.asarray(ones), np.ones(64))
    again = type(layer).from_config(layer.get_config())
    assert (again.radial, again.angular) == ("paper", False)
