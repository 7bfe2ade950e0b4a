"""Eq. (3) against values worked out by hand, its gradient against differences."""

import numpy as np
import pytest

from ppn_tf.data import forward
from ppn_tf.errors import DataError, OptionError
from ppn_tf.objective import Weights, gradient, objective

POSITIONS = np.array([[0, 0], [0, 1]])


def worked():
    """2 x 3 px object, 2 x 2 px probe of ones: far fields by hand.

    Window 0 is [[1, 1], [1, 1]]: its transform is 4 at zero frequency, else 0.
    Window 1 is [[1, 2j], [1, 1]]: 3 + 2j at zero frequency, else 1 - 2j or its negative:
    intensities 13 and three times 5.
    """
    obj = np.array([[1, 1, 2j], [1, 1, 1]], complex)
    return obj, np.ones((2, 2), complex)


def test_value_by_hand():
    obj, probe = worked()
    patterns = np.zeros((2, 2, 2))
    # zero frequency lies at the pixel (1, 1)
    patterns[0, 1, 1] = 10.0
    patterns[1] = [[5, 4], [5, 13]]
    found = objective(
        obj,
        probe,
        patterns,
        POSITIONS,
        initial_probe=probe + 3j,
        weights=Weights(sparsity=0.5, proximity=0.25),
    )
    # (16 - 10)^2, and one pixel off by 1
    assert found.data == pytest.approx(36 + 1, rel=1e-12)
    # differences: down 0, 0, |1 - 2j|; along row 0: 0, |2j - 1|; along row 1: 0, 0
    assert found.sparsity == pytest.approx(0.5 * 2 * np.sqrt(5), rel=1e-12)
    # four pixels, each 3 away
    assert found.proximity == pytest.approx(0.25 * 4 * 9, rel=1e-12)
    assert found.total == pytest.approx(37 + np.sqrt(5) + 9, rel=1e-12)
    amplitude = objective(obj, probe, patterns, POSITIONS, weights=Weights(data="amplitude"))
    expected = (4 - np.sqrt(10)) ** 2 + (np.sqrt(5) - 2) ** 2
    assert amplitude.total == pytest.approx(expected, rel=1e-12)


def test_truth_costs_nothing():
    obj, probe = worked()
    patterns = forward.diffraction(obj, probe, POSITIONS)
    assert objective(obj, probe, patterns, POSITIONS).total == pytest.approx(0, abs=1e-24)


@pytest.mark.parametrize("data", ["intensity", "amplitude"])
def test_gradient_against_differences(data):
    rng = np.random.default_rng(5)

    def draw(*shape):
        return rng.normal(size=shape) + 1j * rng.normal(size=shape)

    obj, probe, start = draw(7, 8), draw(4, 4), draw(4, 4)
    positions = np.array([[0, 0], [3, 4], [1, 2]])
    patterns = 20 * rng.random((3, 4, 4))
    options = {"initial_probe": start, "weights": Weights(0.3, 0.7, data)}
    by_object, by_probe = gradient(obj, probe, patterns, positions, **options)
    step_object, step_probe = draw(7, 8), draw(4, 4)

    def along(h):
        moved = (obj + h * step_object, probe + h * step_probe)
        return objective(*moved, patterns, positions, **options).total

    slope = np.vdot(by_object, step_object).real + np.vdot(by_probe, step_probe).real
    # central differences: error of order h^2 = 1e-10; measured 4e-9
    assert (along(1e-5) - along(-1e-5)) / 2e-5 == pytest.approx(slope, rel=1e-7)


def test_refusals():
    obj, probe = worked()
    patterns = np.zeros((2, 2, 2))
    with pytest.raises(DataError, match=r"shape \(N, H, H\) = \(2, 2, 2\)"):
        objective(obj, probe, patterns[:1], POSITIONS)
    with pytest.raises(DataError, match="finite counts of at least 0"):
        objective(obj, probe, patterns - 1, POSITIONS)
    with pytest.raises(DataError, match=r"probe's shape \(2, 2\).*received None"):
        objective(obj, probe, patterns, POSITIONS, weights=Weights(proximity=1))
    with pytest.raises(OptionError, match="sparsity must be at least 0, received -1"):
        Weights(sparsity=-1)
    with pytest.raises(OptionError, match="unknown data term 'log': expected one of intensity"):
        Weights(data="log")
