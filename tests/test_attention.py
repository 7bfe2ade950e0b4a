"""Exact attention: every implementation against a plain N x N reference in float64."""

import numpy as np
import pytest

keras = pytest.importorskip("keras")

from ppn_tf.errors import OptionError  # noqa: E402
from ppn_tf.layers import PolarCoordinateAttention, attention, blockwise  # noqa: E402

needs_tensorflow = pytest.mark.skipif(
    keras.backend.backend() != "tensorflow", reason="uses TensorFlow's gradient tape"
)
NAMES = ("query", "key", "value")
SCALE = 0.3
PROGRAMS = blockwise.programs


@pytest.fixture(autouse=True)
def _one_program(monkeypatch):
    """One program whatever the machine: blocks are as the tests count them."""
    monkeypatch.setattr(blockwise, "programs", lambda: 1)


def arrays(tokens, width=8, value_width=8, slices=3, dtype="float32"):
    """Queries, keys, values and an upstream gradient; logits reach about 10."""
    rng = np.random.default_rng(tokens)
    query, key = (2.0 * rng.standard_normal((slices, tokens, width)) for _ in range(2))
    value, upstream = (rng.standard_normal((slices, tokens, value_width)) for _ in range(2))
    return tuple(x.astype(dtype) for x in (query, key, value, upstream))


def reference(query, key, value, upstream, scale=SCALE):
    """Attention and its gradients with the whole N x N matrix, float64."""
    query, key, value, upstream = (x.astype("float64") for x in (query, key, value, upstream))
    logits = scale * np.einsum("gid,gjd->gij", query, key)
    weights = np.exp(logits - logits.max(axis=-1, keepdims=True))
    weights /= weights.sum(axis=-1, keepdims=True)
    d_weights = np.einsum("gid,gjd->gij", upstream, value)
    inner = (weights * d_weights).sum(axis=-1, keepdims=True)
    d_logits = scale * weights * (d_weights - inner)
    return (
        np.einsum("gij,gjd->gid", weights, value),
        np.einsum("gij,gjd->gid", d_logits, key),
        np.einsum("gij,gid->gjd", d_logits, query),
        np.einsum("gij,gid->gjd", weights, upstream),
    )


def attended(query, key, value, upstream, implementation, factors=()):
    """Output and gradients of `attend`, compiled as in a training."""
    import tensorflow as tf

    @tf.function
    def run(upstream, *given):
        with tf.GradientTape() as tape:
            tape.watch(given)
            out = attention.attend(
                *given[:3],
                scale=SCALE,
                implementation=implementation,
                modulation=given[3:] or None,
            )
        return out, *tape.gradient(out, given, output_gradients=upstream)

    return [x.numpy() for x in run(*map(tf.constant, (upstream, query, key, value, *factors)))]


def distance(received, expected):
    """Norm of the difference over the norm of the reference."""
    return np.linalg.norm(received - expected) / np.linalg.norm(expected)


@needs_tensorflow
@pytest.mark.parametrize("implementation", ["plain", "block", "fused"])
@pytest.mark.parametrize(
    ("tokens", "value_width", "block_elements"),
    [
        (64, 8, None),
        (63, 5, None),  # other widths of the values, no power of two
        (64, 8, 64 * 16),  # four blocks of 16 queries
        (90, 3, 90 * 20),  # five blocks of 18
        (61, 8, 61 * 20),  # four blocks of 16, the last one padded; 13 of 5 backwards
        (61, 8, 61),  # one query per block
    ],
)
def test_values_and_gradients(monkeypatch, implementation, tokens, value_width, block_elements):
    if block_elements is not None:
        if implementation != "block":
            pytest.skip("only block has blocks")
        monkeypatch.setattr(attention, "BLOCK_ELEMENTS", block_elements)
        assert blockwise.block_rows(tokens, tokens, block_elements) < tokens
    given = arrays(tokens, value_width=value_width)
    out, *gradients = attended(*given, implementation)
    expected, *expected_gradients = reference(*given)
    # measured: at most 3.1e-7
    assert distance(out, expected) <= 1e-5
    for name, gradient, wanted in zip(NAMES, gradients, expected_gradients, strict=True):
        # measured: at most 5.9e-7
        assert distance(gradient, wanted) <= 2e-4, name


def modulated_reference(query, key, value, upstream, left, right):
    """Modulated attention and its five gradients by their formulas, float64."""
    double = [x.astype("float64") for x in (query, key, value, upstream, left, right)]
    query, key, value, upstream, left, right = double
    modulation = left @ right.T
    products = SCALE * np.einsum("gid,gjd->gij", query, key)
    logits = products * modulation
    weights = np.exp(logits - logits.max(axis=-1, keepdims=True))
    weights /= weights.sum(axis=-1, keepdims=True)
    d_weights = np.einsum("gid,gjd->gij", upstream, value)
    d_logits = weights * (d_weights - (weights * d_weights).sum(axis=-1, keepdims=True))
    d_modulation = (d_logits * products).sum(axis=0)
    return (
        np.einsum("gij,gjd->gid", weights, value),
        SCALE * np.einsum("gij,gjd->gid", d_logits * modulation, key),
        SCALE * np.einsum("gij,gid->gjd", d_logits * modulation, query),
        np.einsum("gij,gid->gjd", weights, upstream),
        d_modulation @ right,
        d_modulation.T @ left,
    )


@needs_tensorflow
@pytest.mark.parametrize("implementation", ["plain", "block", "fused"])
@pytest.mark.parametrize("width", [1, 2, 3])
@pytest.mark.parametrize("size", [1.0, 10.0])
def test_modulation(monkeypatch, implementation, width, size):
    """Four blocks of 16 queries, 13 of 5 backwards, the last one padded; with and without
    the row's maximum."""
    monkeypatch.setattr(attention, "BLOCK_ELEMENTS", 61 * 20)
    given = arrays(61)
    rng = np.random.default_rng(width)
    factors = [size * rng.uniform(-0.5, 0.5, (61, width)).astype("float32") for _ in range(2)]
    left, right = factors
    longest = [
        (np.linalg.norm(x, axis=-1) * np.linalg.norm(factor, axis=-1)).max()
        for x, factor in zip(given, factors, strict=False)
    ]
    assert (SCALE * np.prod(longest) > blockwise.SAFE_LOGIT) == (size > 1)
    received = attended(*given, implementation, factors)
    names = ("output", *NAMES, "left", "right")
    for name, found, wanted in zip(
        names, received, modulated_reference(*given, left, right), strict=True
    ):
        # logits up to 10: measured 4.4e-7; up to several hundred: 1.0e-5
        assert distance(found, wanted) <= 1e-4, name


@needs_tensorflow
def test_a_query_s_factor_does_not_leak_into_another_block(monkeypatch):
    """Queries of one block alone have an upstream gradient: only their factors get one."""
    monkeypatch.setattr(attention, "BLOCK_ELEMENTS", 4 * 60 * 15)
    query, key, value, upstream = arrays(60)
    upstream[:, 15:] = 0.0
    factors = [np.random.default_rng(k).uniform(-0.5, 0.5, (60, 2)).astype("f4") for k in (0, 1)]
    *_, left, _ = attended(query, key, value, upstream, "block", factors)
    assert np.abs(left[:15]).min() > 0 and not left[15:].any()


@needs_tensorflow
@pytest.mark.parametrize("implementation", ["plain", "block"])
def test_double_precision(monkeypatch, implementation):
    monkeypatch.setattr(attention, "BLOCK_ELEMENTS", 40 * 10)
    given = arrays(40, value_width=6, dtype="float64")
    for received, expected in zip(attended(*given, implementation), reference(*given), strict=True):
        assert received.dtype == np.float64
        # measured: at most 1e-15
        assert distance(received, expected) <= 1e-9


@needs_tensorflow
@pytest.mark.parametrize("implementation", ["plain", "block", "fused"])
def test_large_logits_stay_finite(implementation):
    """Logits of several hundred overflow exp without the row's maximum."""
    query, key, value, upstream = arrays(32)
    given = (40.0 * query, key, value, upstream)
    expected = reference(*given)
    assert np.abs(np.einsum("gid,gjd->gij", given[0], given[1])).max() * SCALE > 300
    for received, wanted in zip(attended(*given, implementation), expected, strict=True):
        assert np.isfinite(received).all()
        # rounding of logits of 1e3 is 6e-5; measured 2.1e-5
        assert distance(received, wanted) <= 2e-3


@needs_tensorflow
@pytest.mark.parametrize("implementation", ["plain", "block", "fused"])
def test_half_precision_in_and_out(implementation):
    given = arrays(64, dtype="float16")
    received = attended(*given, implementation)
    for value, expected in zip(received, reference(*given), strict=True):
        assert value.dtype == np.float16
        # float16 keeps 11 bits (5e-4); measured at most 2.4e-3
        assert distance(value.astype("float64"), expected) <= 1e-2


def test_half_precision_softmax_is_not_half():
    """A logit of 64 x 64 x 64 would be infinite in float16; the block form stays exact."""
    query = np.full((1, 4, 64), 64.0, "float16")
    key = query * np.array([1.0, 0.5, 0.25, 0.125], "float16")[:, None]
    assert float(np.finfo("float16").max) < 64**3
    value = np.eye(4, dtype="float16")[None]
    out = attention.attend(query, key, value, scale=1.0, implementation="block")
    np.testing.assert_array_equal(keras.ops.convert_to_numpy(out)[0, :, 0], 1.0)


@pytest.mark.parametrize("implementation", ["plain", "block", "fused"])
def test_by_hand(implementation):
    """Two tokens: equal logits average, a logit of ln 3 weighs three to one."""
    query = np.array([[[0.0, 0.0], [1.0, 0.0]]], "float32")
    key = np.array([[[np.log(3.0), 5.0], [0.0, 7.0]]], "float32")
    value = np.array([[[4.0, 0.0], [0.0, 8.0]]], "float32")
    out = attention.attend(query, key, value, scale=1.0, implementation=implementation)
    # float32 rounding of numbers up to 4; measured 0 to 2.4e-7
    np.testing.assert_allclose(
        keras.ops.convert_to_numpy(out)[0], [[2.0, 4.0], [3.0, 2.0]], atol=2e-6
    )


@pytest.mark.parametrize(
    ("queries", "keys", "limit", "rows"),
    [
        (1024, 1024, 2**20, 1024),
        (4096, 4096, 2**20, 256),
        (1600, 1600, 2**20, 534),  # three blocks, two queries of padding
        (61, 61, 61 * 60, 31),
        (1024, 64, 2**14, 256),
        (7, 7, 3, 1),
    ],
)
def test_blocks_keep_the_limit_with_little_padding(queries, keys, limit, rows):
    found = blockwise.block_rows(queries, keys, limit)
    assert found == rows
    assert rows == 1 or rows * keys <= limit
    assert -queries % rows < -(-queries // rows)


@needs_tensorflow
@pytest.mark.parametrize("size", [0.99, 1.01])
def test_with_and_without_the_maximum(size):
    """Just below the limit no maximum is searched, just above it is: both are exact."""
    query, key, value, upstream = arrays(48)
    longest = [np.sqrt((x.astype("float64") ** 2).sum(-1).max()) for x in (query, key)]
    query = query * (size * blockwise.SAFE_LOGIT / SCALE / np.prod(longest)).astype("float32")
    given = (query, key, value, upstream)
    for received, wanted in zip(attended(*given, "block"), reference(*given), strict=True):
        # rounding of logits of 60 is 4e-6
        assert distance(received, wanted) <= 1e-4


@needs_tensorflow
@pytest.mark.parametrize("slices", [1, 3, 7])
@pytest.mark.parametrize("known", [True, False], ids=["static", "dynamic"])
def test_slices_are_dealt_to_programs(monkeypatch, slices, known):
    """Three programs: of no more than there are slices, of one each, of 2, 2 and 3."""
    import tensorflow as tf

    monkeypatch.setattr(blockwise, "programs", lambda: 3)
    *given, upstream = arrays(37, slices=slices)
    left, right = np.random.default_rng(0).uniform(-1.0, 1.0, (2, 37, 2)).astype("float32")

    @tf.function(input_signature=[tf.TensorSpec((slices if known else None, 37, 8))] * 3)
    def output(query, key, value):
        out = attention.attend(
            query, key, value, scale=SCALE, implementation="block", modulation=(left, right)
        )
        assert out.shape == (slices if known else None, 37, 8)
        return out

    @tf.function
    def gradients(*given):
        with tf.GradientTape() as tape:
            tape.watch(given)
            out = output(*given)
        return tape.gradient(out, given, output_gradients=upstream)

    given = tuple(map(tf.constant, given))
    received = output(*given), *gradients(*given)
    wanted = modulated_reference(*(x.numpy() for x in given), upstream, left, right)
    for found, expected in zip(received, wanted, strict=False):
        # logits up to 10: measured 6.7e-7
        assert distance(found.numpy(), expected) <= 1e-4


@needs_tensorflow
@pytest.mark.parametrize(
    ("threads", "processors", "gpus", "number"),
    [
        (1, 8, [], 1),
        (3, 8, [], 3),
        (0, 8, [], 8),  # as many as there are
        (0, 64, [], blockwise.MAX_PROGRAMS),
        (3, 8, ["GPU:0"], 1),
    ],
)
def test_programs_follow_the_threads(monkeypatch, threads, processors, gpus, number):
    import tensorflow as tf

    monkeypatch.setattr(tf.config.threading, "get_inter_op_parallelism_threads", lambda: threads)
    monkeypatch.setattr(tf.config, "get_visible_devices", lambda kind: gpus)
    monkeypatch.setattr(blockwise, "_cores", lambda: processors)
    assert PROGRAMS() == number


@needs_tensorflow
def test_a_saved_model_takes_any_batch(tmp_path):
    import tensorflow as tf

    inputs = keras.Input((6, 6, 3))
    layer = PolarCoordinateAttention(2, 4, implementation="block")
    network = keras.Model(inputs, layer(inputs))
    network.export(tmp_path / "saved", format="tf_saved_model", verbose=False)
    loaded = tf.saved_model.load(str(tmp_path / "saved"))
    for batch in (1, 3):
        x = np.random.default_rng(batch).random((batch, 6, 6, 3), dtype=np.float32)
        # float32 rounding
        np.testing.assert_allclose(loaded.serve(x), network(x), rtol=0, atol=1e-6)


def test_auto_is_plain_for_few_tokens_and_memory_bounded_for_many():
    assert attention.choose("auto", attention.PLAIN_TOKENS) == "plain"
    assert attention.choose("auto", attention.PLAIN_TOKENS + 1) in ("block", "fused")
    assert attention.choose("fused", 4) == "fused"


def test_unknown_implementation():
    message = "unknown attention implementation 'flash': expected one of auto, plain, block, fused"
    with pytest.raises(OptionError, match=message):
        attention.attend(*arrays(4)[:3], scale=1.0, implementation="flash")
