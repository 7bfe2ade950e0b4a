"""Losses against hand-computed values, scikit-image and TensorFlow; saving; JAX."""

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from skimage.metrics import structural_similarity

keras = pytest.importorskip("keras")

from ppn_tf import affine, losses, training  # noqa: E402
from ppn_tf.errors import DataError, OptionError  # noqa: E402
from reproduce.specification import RunSpec  # noqa: E402

NAMES = ("mse", "mae", "huber", "huber:0.1", "npcc", "nssim", "combined:0.9", "combined:0.2")

#: Of the package's own making, each form once: what JAX is asked for.
OWN = ("huber:0.1", "npcc", "combined:0.9")

on_tensorflow = pytest.mark.skipif(
    keras.backend.backend() != "tensorflow", reason="starts from TensorFlow"
)


def images(seed, count=3, side=32):
    """Smooth images on the [0, 1] scale, (count, side, side, 1)."""
    rng = np.random.default_rng(seed)
    rows, cols = np.indices((side, side)) / side
    waves = rng.uniform(2, 9, (4, count, 1, 1))
    values = np.sin(waves[0] * rows + waves[1]) * np.cos(waves[2] * cols + waves[3])
    noisy = 0.5 + 0.4 * values + 0.05 * rng.standard_normal((count, side, side))
    return np.clip(noisy, 0, 1).astype("float32")[..., None]


def value(text, truth, prediction):
    loss = losses.create(text)
    loss = keras.losses.MeanSquaredError() if loss == "mse" else loss
    loss = keras.losses.MeanAbsoluteError() if loss == "mae" else loss
    return float(loss(truth, prediction))


def small(values):
    return np.array(values, "float32").reshape(1, 2, 2, 1)


def test_values_computed_by_hand():
    truth, prediction = small([0, 0, 1, 1]), small([0.05, 0.5, 1, 0.2])
    # errors 0.05, 0.5, 0, -0.8
    assert value("mse", truth, prediction) == pytest.approx((0.0025 + 0.25 + 0.64) / 4)
    assert value("mae", truth, prediction) == pytest.approx(1.35 / 4)
    # quadratic 0.05^2 / 2; linear 0.1 * 0.5 - 0.005 and 0.1 * 0.8 - 0.005
    expected = (0.00125 + 0.045 + 0.075) / 4
    assert value("huber:0.1", truth, prediction) == pytest.approx(expected)
    # deviations -0.5 -0.5 0.5 0.5 and -0.3875 0.0625 0.5625 -0.2375: products sum to 0.325,
    # squares to 1 and 0.526875
    expected = -0.325 / np.sqrt(1 * 0.526875)
    assert value("npcc", truth, prediction) == pytest.approx(expected, rel=1e-5)


def test_huber_of_one_is_half_the_mse_on_the_target_scale():
    truth, prediction = images(0), images(1)
    mse = value("mse", truth, prediction)
    assert value("huber", truth, prediction) == pytest.approx(mse / 2, rel=1e-6)
    # not so beyond the target scale
    assert value("huber", truth, prediction + 2) < 0.9 * value("mse", truth, prediction + 2) / 2


def test_npcc_is_the_mean_over_images():
    truth, prediction = images(0), images(1)
    pairs = zip(truth.reshape(3, -1), prediction.reshape(3, -1), strict=True)
    each = [np.corrcoef(a, b)[0, 1] for a, b in pairs]
    # float32 against float64: 1e-7; epsilon moves it by 1e-7
    assert value("npcc", truth, prediction) == pytest.approx(-np.mean(each), abs=1e-6)
    # per batch, which it is not, the number is another one
    whole = np.corrcoef(truth.ravel(), prediction.ravel())[0, 1]
    assert abs(np.mean(each) - whole) > 0.01


def reference_ssim(truth, prediction):
    return structural_similarity(
        truth[..., 0].astype(float),
        prediction[..., 0].astype(float),
        data_range=1.0,
        gaussian_weights=True,
        sigma=1.5,
        use_sample_covariance=False,
    )


def test_nssim_is_one_minus_ssim_of_scikit_image():
    truth, prediction = images(0), images(1)
    expected = 1 - np.mean([reference_ssim(*p) for p in zip(truth, prediction, strict=True)])
    assert 0.2 < expected < 1.8
    # float32: measured spread 3e-7
    assert value("nssim", truth, prediction) == pytest.approx(expected, abs=2e-6)
    assert value("nssim", truth, truth) == pytest.approx(0, abs=1e-6)


def test_nssim_follows_the_data_range():
    truth, prediction = images(0), images(1)
    loss = losses.NSSIM(data_range=255.0)
    assert float(loss(255 * truth, 255 * prediction)) == pytest.approx(
        value("nssim", truth, prediction), abs=1e-5
    )


def test_nssim_where_window_and_image_are_equal():
    truth, prediction = images(0, side=11), images(1, side=11)
    expected = 1 - np.mean([reference_ssim(*p) for p in zip(truth, prediction, strict=True)])
    assert value("nssim", truth, prediction) == pytest.approx(expected, abs=2e-6)
    with pytest.raises(DataError, match=r"window of 11 px .* received shape \(3, 10, 10, 1\)"):
        value("nssim", images(0, side=10), images(1, side=10))


@pytest.mark.parametrize("weight", [0.2, 0.9])
def test_combined_is_the_weighted_sum(weight):
    truth, prediction = images(0), images(1)
    parts = [value(name, truth, prediction) for name in ("nssim", "mse")]
    expected = weight * parts[0] + (1 - weight) * parts[1]
    assert value(f"combined:{weight}", truth, prediction) == pytest.approx(expected, rel=1e-6)


def test_images_need_four_dimensions():
    with pytest.raises(DataError, match=r"y_true must have shape \(batch, .*received \(3, 32"):
        value("npcc", images(0)[..., 0], images(1))


@on_tensorflow
@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("case", ["prediction", "truth", "both", "equal"])
def test_constant_images_give_finite_values_and_gradients(name, case):
    import tensorflow as tf

    truth, prediction = images(0), images(1)
    if case in ("truth", "both"):
        truth = np.full_like(truth, 0.0)
    if case in ("prediction", "both"):
        prediction = np.full_like(prediction, 0.3)
    if case == "equal":
        prediction = truth
    x = tf.constant(prediction)
    loss = keras.losses.get(losses.create(name))
    with tf.GradientTape() as tape:
        tape.watch(x)
        result = tf.reduce_mean(loss(truth, x))
    gradient = tape.gradient(result, x).numpy()
    assert np.isfinite(result.numpy())
    assert np.isfinite(gradient).all()
    # 1e4 / 1024 pixels a patch for NPCC, by its epsilon
    assert np.abs(gradient).max() < 100
    if name == "npcc" and case in ("truth", "both"):
        assert not gradient.any()


@on_tensorflow
@pytest.mark.parametrize("name", NAMES)
def test_gradient_is_that_of_the_value(name):
    import tensorflow as tf

    truth, prediction = images(0, 2, 16), images(1, 2, 16)
    direction = np.random.default_rng(2).standard_normal(truth.shape)
    # in double precision, so that a difference of two values tells
    loss = losses.create(name)
    functions = {"mse": keras.losses.mean_squared_error, "mae": keras.losses.mean_absolute_error}
    function = functions[loss] if isinstance(loss, str) else loss.call
    truth = tf.constant(truth, "float64")

    def along(step):
        return tf.reduce_mean(function(truth, tf.constant(prediction + step * direction)))

    x = tf.constant(prediction, "float64")
    with tf.GradientTape() as tape:
        tape.watch(x)
        result = tf.reduce_mean(function(truth, x))
    slope = np.sum(tape.gradient(result, x).numpy() * direction)
    numeric = (along(1e-6) - along(-1e-6)).numpy() / 2e-6
    # central difference; measured spread 3e-8
    assert slope == pytest.approx(numeric, rel=1e-5, abs=1e-8)


def test_names_give_what_they_say():
    assert losses.create("mse") == "mse"
    assert losses.create("mae") == "mae"
    assert losses.create("huber").delta == 1.0
    assert losses.create("huber:0.1").delta == 0.1
    assert losses.create("combined:0.8").nssim_weight == 0.8
    assert isinstance(losses.create("npcc"), losses.NPCC)
    assert isinstance(losses.create("nssim"), losses.NSSIM)
    assert losses.available() == [
        "mse",
        "mae",
        "huber",
        "npcc",
        "nssim",
        "huber:DELTA",
        "combined:WEIGHT",
    ]


@pytest.mark.parametrize(
    "text, message",
    [
        ("rmse", "unknown loss 'rmse': expected one of mse, mae, huber, npcc, nssim, huber:DELTA"),
        ("mse:2", "unknown loss 'mse:2'"),
        ("combined", "unknown loss 'combined': .*combined:WEIGHT"),
        ("", "unknown loss ''"),
        ("huber:", "loss 'huber:': expected a number after 'huber'"),
        ("huber:x", "loss 'huber:x': expected a number"),
        ("huber:0", "delta must be positive and finite, received 0.0"),
        ("huber:nan", "delta must be positive and finite, received nan"),
        ("huber:1", "loss 'huber:1': write 'huber', so that one loss has one name"),
        ("huber:.10", "write 'huber:0.1'"),
        ("combined:0.90", "write 'combined:0.9'"),
        ("combined:1", "between 0 and 1, received 1.0: the losses at the ends are 'mse'"),
        ("combined:0", "between 0 and 1, received 0.0"),
    ],
)
def test_wrong_names_are_refused(text, message):
    with pytest.raises(OptionError, match=message):
        losses.create(text)
    with pytest.raises(OptionError, match=message):
        training.TrainingConfig(1, loss=text)


@pytest.mark.parametrize(
    "make, message",
    [
        (lambda: losses.NPCC(epsilon=0), "epsilon must be positive and finite, received 0"),
        (lambda: losses.NSSIM(data_range=-1), "data_range must be positive and finite"),
        (lambda: losses.NSSIM(sigma_px=0), "sigma_px must be positive and finite, received 0"),
        (lambda: losses.NSSIM(window_px=10), "window_px must be odd and at least 3, received 10"),
    ],
)
def test_unusable_options_are_refused(make, message):
    with pytest.raises(OptionError, match=message):
        make()


@pytest.mark.parametrize(
    "loss",
    [
        losses.Huber(0.1),
        losses.NPCC(1e-6),
        losses.NSSIM(2.0, 7, 1.0),
        losses.Combined(0.3),
    ],
    ids=lambda loss: loss.name,
)
def test_compiled_model_survives_saving(tmp_path, loss):
    inputs = keras.Input((32, 32, 1))
    outputs = {name: keras.layers.Conv2D(1, 1, name=name)(inputs) for name in ("amplitude", "b")}
    model = keras.Model(inputs, outputs)
    model.compile(optimizer="adam", loss={name: loss for name in outputs}, run_eagerly=True)
    data = images(0), {"amplitude": images(1), "b": images(2)}
    before = model.evaluate(*data, verbose=0, return_dict=True)
    model.save(tmp_path / "model.keras")
    loaded = keras.saving.load_model(tmp_path / "model.keras", safe_mode=True)
    loaded.run_eagerly = True  # graphs take longer to trace than the test to run
    assert loaded.evaluate(*data, verbose=0, return_dict=True) == before
    assert loaded.loss["amplitude"].get_config() == loss.get_config()
    # two losses, summed (Eq. 12)
    predicted = model.predict(data[0], verbose=0)
    expected = sum(float(loss(data[1][name], predicted[name])) for name in outputs)
    assert before["loss"] == pytest.approx(expected, rel=1e-5)


def test_a_loss_weighs_samples_as_keras_does():
    truth, prediction = images(0), images(1)
    for name in ("npcc", "nssim", "combined:0.9"):
        loss = losses.create(name)
        each = [float(loss(truth[i : i + 1], prediction[i : i + 1])) for i in range(3)]
        weighted = float(loss(truth, prediction, sample_weight=np.array([1.0, 0.0, 2.0])))
        assert weighted == pytest.approx((each[0] + 2 * each[2]) / 3, rel=1e-5)


def test_mse_trains_as_before_and_keeps_its_runs():
    model = keras.Sequential([keras.Input((32, 32, 1)), keras.layers.Conv2D(1, 1)])
    model = keras.Model(model.inputs, {"amplitude": model.outputs[0], "phase": model.outputs[0]})
    training._compile(model, training.TrainingConfig(1))
    assert model.loss == {"amplitude": "mse", "phase": "mse"}
    # name of a run in results/runs from before there were other losses
    assert RunSpec("ppn", 0, training.TrainingConfig(30)).hash == "8beb67866e9b84f2"
    training._compile(model, training.TrainingConfig(1, loss="combined:0.9"))
    assert {loss.nssim_weight for loss in model.loss.values()} == {0.9}


def test_response_by_hand():
    truth = images(0)
    assert affine.response("mse", truth, 1, 0.1) == pytest.approx(0.01, rel=1e-5)
    assert affine.response("mae", truth, 1, -0.1) == pytest.approx(0.1, rel=1e-5)
    expected = np.mean((0.25 * truth.astype(float)) ** 2)
    assert affine.response("mse", truth[..., 0], 0.75, 0) == pytest.approx(expected)
    changed = 0.75 * truth + np.float32(0.1)
    for name in NAMES:
        assert affine.response(name, truth, 0.75, 0.1) == pytest.approx(
            value(name, truth, changed), rel=1e-5
        )


def test_npcc_is_invariant_and_the_others_are_not():
    truth = images(0)
    for gain, offset in ((0.5, 0.0), (1.0, 0.2), (0.5, 0.2), (2.0, -0.3)):
        # epsilon: 1e-8 over variances of some 1e-2; float32
        found = affine.response("npcc", truth, gain, offset)
        assert found == pytest.approx(-1, abs=1e-5)
        assert affine.response("nssim", truth, gain, offset) > 0.01
    assert affine.response("npcc", truth, -1.0, 1.0) == pytest.approx(1, abs=1e-5)
    assert affine.response("npcc", truth, 0.0, 0.5) == pytest.approx(0, abs=1e-5)


def test_response_refuses_what_is_no_stack():
    with pytest.raises(DataError, match=r"images must be \(N, H, W\) .* received \(32, 32\)"):
        affine.response("mse", images(0)[0, ..., 0], 1, 0)
    with pytest.raises(DataError, match="images has NaN or infinite values"):
        affine.response("mse", np.full((1, 32, 32), np.nan), 1, 0)


def test_remove_restores_gain_and_offset_of_every_image():
    truth = images(0)
    gains, offsets = np.array([2.0, -0.5, 1e-3]), np.array([0.1, 3.0, -1.0])
    changed = truth.astype(float) * gains[:, None, None, None] + offsets[:, None, None, None]
    np.testing.assert_allclose(affine.remove(changed, truth), truth, atol=1e-9)
    # least squares, as NumPy solves it
    other = images(1)
    slope, offset = np.polyfit(other[1].ravel().astype(float), truth[1].ravel(), 1)
    fitted = affine.remove(other[..., 0], truth[..., 0])
    np.testing.assert_allclose(fitted[1], slope * other[1] + offset, atol=1e-6)
    flat = affine.remove(np.full_like(truth, 0.3), truth)
    np.testing.assert_allclose(flat[2], truth[2].mean(dtype=float), rtol=1e-6)


def test_remove_refuses_different_shapes():
    with pytest.raises(DataError, match=r"one shape, received \(3, 32, 32, 1\) and \(2, 32"):
        affine.remove(images(0), images(0, 2))


ON_JAX = """
import sys
import jax
import keras
import numpy as np

sys.path[:0] = sys.argv[2:]
import test_losses as here
from ppn_tf import losses

assert keras.backend.backend() == "jax"
truth, results = here.images(0), {}
for name in here.OWN:
    loss = keras.losses.get(losses.create(name))
    function = jax.jit(jax.value_and_grad(lambda x: loss(truth, x).mean()))
    results[f"{name} value"], results[f"{name} gradient"] = function(here.images(1))
np.savez(sys.argv[1], **{key: np.asarray(value) for key, value in results.items()})
"""


@on_tensorflow
def test_jax_gives_the_same(tmp_path):
    import tensorflow as tf

    pytest.importorskip("jax")
    tests = Path(__file__).resolve().parent
    subprocess.run(
        [sys.executable, "-c", ON_JAX, tmp_path / "out.npz", tests, tests.parent],
        env={
            **os.environ,
            "KERAS_BACKEND": "jax",
            "JAX_PLATFORMS": "cpu",
            "XLA_FLAGS": "--xla_backend_optimization_level=0",
        },
        check=True,
        timeout=300,
    )
    with np.load(tmp_path / "out.npz", allow_pickle=False) as archive:
        received = dict(archive)
    assert len(received) == 2 * len(OWN)
    truth, x = images(0), tf.constant(images(1))
    for name in OWN:
        loss = keras.losses.get(losses.create(name))
        with tf.GradientTape() as tape:
            tape.watch(x)
            result = tf.reduce_mean(loss(truth, x))
        gradient = tape.gradient(result, x).numpy()
        # measured spread: 2e-7, and 1e-6 of the largest gradient
        assert received[f"{name} value"] == pytest.approx(result.numpy(), abs=2e-6), name
        np.testing.assert_allclose(
            received[f"{name} gradient"], gradient, rtol=0, atol=1e-5 * np.abs(gradient).max()
        )
