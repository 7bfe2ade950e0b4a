import numpy as np
import pytest

from ppn_tf import trivial
from ppn_tf.errors import DataError, OptionError


@pytest.fixture
def parts():
    """A linear world with noise: train, validation and test of patterns and targets."""
    random = np.random.default_rng(0)
    maps = random.normal(size=(2, 16, 16)) / 4
    inputs = random.random((60, 4, 4))
    targets = [(inputs.reshape(60, -1) @ m).reshape(60, 4, 4) + 0.3 for m in maps]
    noisy = [t + random.normal(0, 0.02, t.shape) for t in targets]
    split = [slice(0, 40), slice(40, 50), slice(50, 60)]
    arguments = [inputs[split[0]], noisy[0][split[0]], noisy[1][split[0]]]
    arguments += [inputs[split[1]], noisy[0][split[1]], noisy[1][split[1]], inputs[split[2]]]
    return arguments, [t[split[2]] for t in targets]


@pytest.mark.parametrize("name", trivial.available())
def test_common_form(parts, name):
    arguments, _ = parts
    plain = trivial.predict(name, *arguments)
    channel = trivial.predict(name, *[values[..., None] for values in arguments])
    for values, same in zip(plain, channel, strict=True):
        assert values.shape == (10, 4, 4)
        assert values.dtype == np.float32
        assert np.array_equal(values, same)


def test_constant_and_mean_image(parts):
    arguments, _ = parts
    amplitude, phase = trivial.predict("constant", *arguments)
    assert amplitude == pytest.approx(np.full((10, 4, 4), arguments[1].mean()))
    assert phase == pytest.approx(np.full((10, 4, 4), arguments[2].mean()))
    amplitude, phase = trivial.predict("mean-image", *arguments)
    assert amplitude[3] == pytest.approx(arguments[1].mean(axis=0))
    assert phase[9] == pytest.approx(arguments[2].mean(axis=0))


def test_nearest_against_all_distances(parts, monkeypatch):
    arguments, _ = parts
    train, test = arguments[0], arguments[-1]
    distances = np.linalg.norm(test[:, None] - train[None], axis=(2, 3))
    assert np.array_equal(trivial.nearest(train, test), distances.argmin(axis=1))
    monkeypatch.setattr(trivial, "_BATCH_VALUES", 100)
    assert np.array_equal(trivial.nearest(train, test), distances.argmin(axis=1))
    # every training pattern is nearest to itself, even far from the origin
    assert np.array_equal(trivial.nearest(train + 1e3, train + 1e3), np.arange(40))
    amplitude, _ = trivial.predict("nearest", *arguments)
    assert np.array_equal(amplitude, arguments[1][distances.argmin(axis=1)].astype(np.float32))


@pytest.mark.parametrize("count", [8, 40])
def test_ridge_solves_the_normal_equations(parts, count):
    # 8 patterns of 16 pixels take the dual form, 40 the primal one
    arguments, _ = parts
    inputs, targets = arguments[0][:count], arguments[1][:count]
    fit = trivial.ridge(inputs, targets, 0.05)
    x, y = inputs.reshape(count, -1), targets.reshape(count, -1)
    x, y = x - x.mean(axis=0), y - y.mean(axis=0)
    expected = np.linalg.solve(x.T @ x + 0.05 * np.eye(16), x.T @ y)
    # measured: 4e-15
    np.testing.assert_allclose(fit.coefficients, expected, atol=1e-11)
    assert fit(inputs).shape == (count, 4, 4)
    # a penalty beyond all eigenvalues leaves the mean image
    heavy = trivial.ridge(inputs, targets, 1e12)
    np.testing.assert_allclose(heavy(arguments[-1])[0], targets.mean(axis=0), atol=1e-9)


def test_ridge_finds_a_linear_world_and_the_others_do_not(parts):
    arguments, truth = parts
    errors = {
        name: np.mean((trivial.predict(name, *arguments)[0] - truth[0]) ** 2)
        for name in trivial.available()
    }
    # measured: 4.6e-4, against 0.087 for the best of the others
    assert errors["ridge"] < 1e-3
    assert errors["ridge"] < 0.1 * min(
        errors[name] for name in ("constant", "mean-image", "nearest")
    )
    assert errors["mean-image"] < errors["constant"]


def test_ridge_takes_the_penalty_that_validates_best(parts):
    arguments, _ = parts
    inputs, amplitude, _, validation, truth = arguments[:5]
    scale = np.sum((inputs - inputs.mean(axis=0)) ** 2) / 16
    fits = [trivial.ridge(inputs, amplitude, share * scale) for share in trivial.RELATIVE_PENALTIES]
    best = min(fits, key=lambda fit: np.mean((fit(validation) - truth) ** 2))
    expected = best(arguments[-1])
    # float32 output
    np.testing.assert_allclose(trivial.predict("ridge", *arguments)[0], expected, atol=1e-6)


def test_constant_inputs_give_the_mean_image(parts):
    arguments, _ = parts
    for index in (0, 3, 6):
        arguments[index] = np.ones_like(arguments[index])
    predicted = trivial.predict("ridge", *arguments)[0]
    np.testing.assert_allclose(predicted[0], arguments[1].mean(axis=0), atol=1e-6)


def test_only_ridge_needs_a_validation_part(parts):
    arguments, _ = parts
    arguments[3] = arguments[4] = arguments[5] = np.zeros((0, 4, 4))
    trivial.predict("nearest", *arguments)
    with pytest.raises(DataError, match=r"validation_inputs must be .* received \(0, 4, 4\)"):
        trivial.predict("ridge", *arguments)


def test_refusals(parts):
    arguments, _ = parts
    with pytest.raises(OptionError, match="unknown predictor 'median': expected one of constant, "):
        trivial.predict("median", *arguments)
    with pytest.raises(OptionError, match="alpha must be a positive number, received 0"):
        trivial.ridge(arguments[0], arguments[1], 0)
    with pytest.raises(DataError, match="train_targets must have one patch for each of 40"):
        trivial.ridge(arguments[0], arguments[1][:9], 1.0)
    with pytest.raises(DataError, match=r"16 pixels as in training, received shape \(40, 2, 4\)"):
        trivial.ridge(arguments[0], arguments[1], 1.0)(arguments[0][:, :2])
    with pytest.raises(DataError, match=r"patches of \(4, 4\) as train_inputs, received \(10, 2"):
        trivial.nearest(arguments[0], arguments[-1][:, :2])
    with pytest.raises(DataError, match="train_targets has NaN"):
        trivial.constant(np.full((2, 3, 3), np.nan))
    with pytest.raises(DataError, match=r"train_targets must be \(N, H, W\).*received \(3, 3\)"):
        trivial.mean_image(np.zeros((3, 3)))
