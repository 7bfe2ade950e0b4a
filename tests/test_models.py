"""The registry, the two forms of PPN, what their Non-Local branch sees, files."""

import numpy as np
import pytest
from seeded import seeded_weights

keras = pytest.importorskip("keras")

from ppn_tf import complexity, inference, models  # noqa: E402
from ppn_tf.errors import OptionError  # noqa: E402
from ppn_tf.layers.poca import PolarCoordinateAttention  # noqa: E402
from ppn_tf.scaling import Scaling  # noqa: E402

needs_tensorflow = pytest.mark.skipif(
    keras.backend.backend() != "tensorflow", reason="the profiler is TensorFlow's"
)

#: (trainable, total) at 32 px with the defaults; a new network belongs here.
COUNTS = {
    "ppn": (543_334, 544_230),
    "ppn-released": (1_602_828, 1_603_724),
    "ptychonn": (1_154_210, 1_154_210),
    "ptynet": (324_452, 324_452),
    "dpi": (14_965_102, 14_978_420),
    "ptychoformer": (18_070_400, 18_071_168),
    "segformer": (3_711_522, 3_712_034),
    "transunet": (5_715_842, 5_717_314),
}
#: Totals of the ablations of Table II and of the repair.
VARIANTS = [
    ("ppn-released", {"nonlocal_attention": None}, 1_575_138),
    # MHSA is PoCA without the two numbers of each centre
    ("ppn-released", {"nonlocal_attention": "mhsa"}, 1_603_720),
    ("ppn-released", {"decoder": "dense"}, 5_318_026),
    ("ppn-released", {"stem": "conv3", "residual": True}, 1_606_886),
    ("ppn", {"nonlocal_attention": "mhsa"}, 544_226),
    # by hand: without stem (320), two blocks of 4226 + 8544, LayerNorm 64; fusion 32 -> 128
    ("ppn", {"nonlocal_attention": None}, 544_230 - 320 - 2 * (4_226 + 8_480) - 64 - 32 * 128),
]
SCALING = Scaling("log1p", (0.0, 10.0), (0.25, 0.75), (-1.5, 0.5))
#: Smallest side that every network takes.
SIDE = 16


def patterns(side, count=2):
    return np.random.default_rng(side).random((count, side, side, 1), dtype=np.float32)


def outputs_of(model, x):
    return {
        key: keras.ops.convert_to_numpy(value) for key, value in model(x, training=False).items()
    }


def test_every_model_has_an_entry():
    assert set(models.available()) == set(COUNTS)
    for name in models.available():
        spec = models.spec(name)
        assert spec.name == name
        assert spec.description
        assert spec.side_multiple in (8, 16)


@pytest.mark.parametrize("name", models.available())
def test_counts_and_outputs(name):
    model = models.create(name)
    counts = complexity.parameter_counts(model)
    assert (counts.trainable, counts.total) == COUNTS[name]
    assert model.name == name
    assert {key: tuple(out.shape) for key, out in model.output.items()} == {
        "amplitude": (None, 32, 32, 1),
        "phase": (None, 32, 32, 1),
    }


@pytest.mark.parametrize(("name", "options", "total"), VARIANTS)
def test_counts_of_variants(name, options, total):
    assert models.create(name, **options).count_params() == total


def test_published_size_of_the_release():
    assert f"{complexity.parameter_counts(models.create('ppn-released')).mib:.2f}" == "6.12"


@pytest.mark.parametrize(("name", "side"), [("ppn", 64), ("ppn-released", 32)])
def test_forward_pass(name, side):
    model = seeded_weights(models.create(name, (side, side, 1)))
    for out in outputs_of(model, patterns(side, 1)).values():
        assert out.shape == (1, side, side, 1)
        assert out.dtype == np.float32
        assert 0.0 < out.min() < out.max() < 1.0  # sigmoid
        assert out.std() > 1e-3


def test_oblong_patterns():
    model = models.create("ppn", (16, 24, 1))
    assert outputs_of(model, np.zeros((1, 16, 24, 1), "float32"))["phase"].shape == (1, 16, 24, 1)


#: Together they take every value of every option; the baselines, which have none, are
#: saved and loaded in test_baselines.py.
SAVED = [
    ("ppn", "poca", "conv", "auto", {}),
    ("ppn", "mhsa", "dense", "plain", {}),
    ("ppn", None, "conv", "block", {}),
    ("ppn", "poca", "dense", "fused", {}),
    *(
        ("ppn", f"poca-{less}", "conv", "block", {})
        for less in ("fixed", "no-radial", "no-angular")
    ),
    ("ppn-released", "poca-no-radial", "conv", "block", {}),
    ("ppn-released", "poca-no-angular", "conv", "plain", {}),
    ("ppn-released", "poca", "conv", "auto", {"stem": "tile", "residual": False}),
    ("ppn-released", "mhsa", "dense", "plain", {"stem": "conv3", "residual": True}),
    ("ppn-released", None, "conv", "block", {}),
    ("ppn-released", "poca", "conv", "fused", {"stem": "conv3", "residual": True}),
]
CASES = [
    (name, {"nonlocal_attention": kind, "decoder": decoder, "attention_implementation": how} | more)
    for name, kind, decoder, how, more in SAVED
]


def test_the_cases_take_every_value_of_every_option():
    for name in models.available():
        for option, values in models.spec(name).options.items():
            taken = {more[option] for case, more in CASES if case == name and option in more}
            assert taken == set(values), f"{name}: {option}"


@pytest.mark.parametrize(("name", "options"), CASES, ids=str)
def test_saved_and_loaded_models_are_equal(name, options, tmp_path):
    model = seeded_weights(models.create(name, (SIDE, SIDE, 1), scaling=SCALING, **options))
    model.save(tmp_path / "model.keras")
    loaded = keras.saving.load_model(tmp_path / "model.keras", safe_mode=True)
    x = 1e4 * patterns(SIDE)
    expected, received = outputs_of(model, x), outputs_of(loaded, x)
    assert list(received) == ["amplitude", "phase"]
    for key in expected:
        np.testing.assert_array_equal(received[key], expected[key])
    assert loaded.count_params() == model.count_params()


def test_scaling_travels_in_the_file_and_is_no_weight(tmp_path):
    options = {"nonlocal_attention": None}  # quicker, and all the same to the scaling
    model = seeded_weights(models.create("ppn", (SIDE, SIDE, 1), scaling=SCALING, **options))
    bare = seeded_weights(models.create("ppn", (SIDE, SIDE, 1), **options))
    model.save(tmp_path / "model.keras")
    loaded = keras.saving.load_model(tmp_path / "model.keras", safe_mode=True)
    for each in (model, bare, loaded):
        each.compile(jit_compile=False)
    assert model.count_params() == bare.count_params()
    counts = 1e4 * patterns(SIDE)[..., 0]
    scaled = np.log1p(counts) / 10.0
    on_unit_scale = inference.predict(bare, scaled)
    physical = inference.infer(model, counts)
    # float32 rounding, before a network of slope about 1; measured 4e-7
    np.testing.assert_allclose(physical.amplitude, 0.25 + 0.5 * on_unit_scale.amplitude, atol=1e-5)
    np.testing.assert_allclose(physical.phase, -1.5 + 2.0 * on_unit_scale.phase, atol=2e-5)
    again = inference.infer(loaded, counts)
    np.testing.assert_array_equal(again.amplitude, physical.amplitude)
    np.testing.assert_array_equal(again.phase, physical.phase)


# --- what the Non-Local branch sees ---


def branch_spread(name, layer_name, **options):
    """Spread of a layer's output over images, as a share of its mean size."""
    model = seeded_weights(models.create(name, **options))
    part = keras.Model(model.input, model.get_layer(layer_name).output)
    features = keras.ops.convert_to_numpy(part(patterns(32, 4), training=False))
    return features.std(axis=0).mean() / np.abs(features).mean()


def test_released_branch_is_blind():
    """LayerNorm over three equal channels returns its offset, whatever the pixel holds."""
    # rounding alone, enlarged by 1 / sqrt(epsilon) = 1000; measured 5e-6
    assert branch_spread("ppn-released", "nonlocal_pool") < 1e-4


@pytest.mark.parametrize(
    ("name", "layer_name", "options"),
    [
        ("ppn-released", "nonlocal_pool", {"stem": "conv3", "residual": True}),
        ("ppn", "nonlocal_norm", {}),
    ],
)
def test_repaired_and_described_branches_see(name, layer_name, options):
    # measured 0.028 (pooled over 8 x 8 px) and 0.18
    assert branch_spread(name, layer_name, **options) > 1e-2


def test_the_released_network_does_not_depend_on_its_branch_input():
    """The whole graph, with the branch's input replaced by another image's."""
    model = seeded_weights(models.create("ppn-released"))
    pooled = keras.Model(model.input, model.get_layer("nonlocal_pool").output)
    x = patterns(32, 2)
    first, second = keras.ops.convert_to_numpy(pooled(x, training=False))
    np.testing.assert_allclose(first, second, rtol=1e-3, atol=1e-5)
    local = keras.Model(model.input, model.get_layer("local_map").output)
    first, second = keras.ops.convert_to_numpy(local(x, training=False))
    assert np.abs(first - second).max() > 0.1


# --- operations ---


@needs_tensorflow
def test_operations():
    """Published: 0.382 G, measured on the release as 381,955,554.

    The plain form multiplies the logits by explicit N x N weights, as the release does.
    The release computes its polar coordinates once, outside the graph; ours follow a
    weight: 13 operations a pixel and 4 for the place of the centre, in each of two
    layers. That leaves 34 operations of bookkeeping.
    """
    ours = complexity.flops(models.create("ppn-released", attention_implementation="plain"))
    assert f"{ours / 1e9:.3f}" == "0.382"
    pixels, layers = 1024, 2
    assert ours - layers * (13 * pixels + 4) == 381_955_554 - 34


@needs_tensorflow
@pytest.mark.parametrize("name", ["ppn", "ppn-released"])
def test_plain_and_block_attention_make_one_network(name):
    x = patterns(32)
    plain, block = (
        outputs_of(at_the_initial_centre(models.create(name, attention_implementation=kind)), x)
        for kind in ("plain", "block")
    )
    for key in plain:
        # float32 rounding; measured 2e-7 of a sigmoid's output
        np.testing.assert_allclose(block[key], plain[key], atol=1e-5)


def at_the_initial_centre(model):
    for layer in seeded_weights(model).layers:
        if isinstance(layer, PolarCoordinateAttention):
            layer.center.assign([0.0, 0.0])
    return model


# --- refusals ---


@pytest.mark.parametrize(
    ("name", "shape", "options", "message"),
    [
        ("unet", (32, 32, 1), {}, "unknown model 'unet': expected one of ppn, ppn-released, pty"),
        ("ppn", (32, 32, 1), {"stem": "tile"}, "model 'ppn' has no option 'stem': its options ar"),
        (
            "ptynet",
            (32, 32, 1),
            {"width": 2},
            "model 'ptynet' has no option 'width': its options are none",
        ),
        (
            "ppn",
            (32, 32, 1),
            {"decoder": "fc"},
            "option 'decoder' of model 'ppn' must be one of 'conv', 'dense', received 'fc'",
        ),
        ("ppn", (36, 32, 1), {}, "multiples of 8 px, received 36 x 32 px: crop or bin"),
        ("dpi", (8, 8, 1), {}, "multiples of 16 px, received 8 x 8 px"),
        ("ppn", (0, 32, 1), {}, "multiples of 8 px, received 0 x 32 px"),
        ("ppn-released", (128, 128, 1), {}, "sides of at most 64 px, received 128 x 128 px"),
        ("ppn", (32, 32), {}, r"input_shape must be \(height, width, 1\), received \(32, 32\)"),
        ("ppn", (32, 32, 3), {}, r"input_shape must be \(height, width, 1\), received \(32, 32, 3"),
    ],
)
def test_refusals(name, shape, options, message):
    with pytest.raises(OptionError, match=message):
        models.create(name, shape, **options)


def test_models_do_not_share_state():
    first, second = models.create("ppn", (SIDE, SIDE, 1)), models.create("ppn", (SIDE, SIDE, 1))
    assert [layer.name for layer in first.layers] == [layer.name for layer in second.layers]
    assert not {id(w) for w in first.weights} & {id(w) for w in second.weights}
