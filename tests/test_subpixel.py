"""Positions between pixels: the probe is moved there, in both engines, and back."""

import numpy as np
import pytest

from ppn_tf import data, epie, refinement, subpixel
from ppn_tf.errors import DataError, OptionError
from ppn_tf.phase import align

SIDE_PX = 16


def sum_of_waves(rows, cols):
    """A periodic field that its 16 pixels resolve, at any points."""
    draws, total = np.random.default_rng(0), 0
    for _ in range(12):
        f, g = draws.integers(-7, 8, 2)
        wave = np.exp(2j * np.pi * (f * rows[:, None] + g * cols) / SIDE_PX)
        total = total + (draws.normal() + 1j * draws.normal()) * wave
    return total


def test_a_wave_between_pixels_is_exact():
    axis = np.arange(SIDE_PX)
    wave = sum_of_waves(axis, axis)
    offsets = np.array([[0.3, -0.45], [-1.0, 0.0], [0.0, 0.0]])
    found = subpixel.moved(wave[None], offsets)
    assert found.shape == (3, 1, SIDE_PX, SIDE_PX)
    for (down, right), mine in zip(offsets, found[:, 0], strict=True):
        # down and right: what lay at x lies at x + offset; measured 4e-14
        np.testing.assert_allclose(mine, sum_of_waves(axis - down, axis - right), atol=1e-12)
    np.testing.assert_allclose(found[1, 0], np.roll(wave, -1, axis=0), atol=1e-12)
    assert subpixel.moved(wave[None].astype(np.complex64), offsets).dtype == np.complex64


def test_the_adjoint_moves_back():
    draws = np.random.default_rng(1)
    one, other = draws.normal(size=(2, 1, 15, 16, 2)) @ (1, 1j)
    offsets = np.array([[0.4, -0.2]])
    forth, back = subpixel.moved(one, offsets)[0], subpixel.moved(other, -offsets)[0]
    # an even side has one frequency without a partner: its ramp is unitary too
    assert np.vdot(other, forth) == pytest.approx(np.vdot(back, one), abs=1e-12)


def scan(modes=1):
    """A chart of two levels, scanned at real positions; patterns by brute force."""
    rows, cols = np.indices((48, 48)) / 48
    blocks = np.where((rows > 0.4) & (cols < 0.6), 0.6, 1.0)
    obj = blocks * np.exp(0.8j * ((rows + 0.3 * cols) > 0.7))
    probe = data.stand_in_probe(SIDE_PX).astype(np.complex128)[None]
    if modes == 2:
        probe = np.concatenate([probe, 0.3 * probe * np.linspace(-1, 1, SIDE_PX)])
    grid = np.stack(np.meshgrid(*[np.arange(0, 33, 4.0)] * 2, indexing="ij"), -1).reshape(-1, 2)
    true = np.clip(grid + np.random.default_rng(2).uniform(-1.5, 1.5, grid.shape), 0, 32)
    whole = np.round(true).astype(np.int64)
    frequency = np.fft.fftfreq(SIDE_PX)
    patterns = np.empty((len(grid), SIDE_PX, SIDE_PX))
    for index, ((row, col), (down, right)) in enumerate(zip(whole, true - whole, strict=True)):
        ramp = np.exp(-2j * np.pi * (frequency[:, None] * down + frequency * right))
        waves = np.fft.ifft2(np.fft.fft2(probe) * ramp)
        window = obj[row : row + SIDE_PX, col : col + SIDE_PX]
        light = (np.abs(np.fft.fft2(waves * window)) ** 2).sum(axis=0)
        patterns[index] = np.fft.fftshift(light)
    return obj, probe, whole, true - whole, patterns


def distance(found, truth):
    inside = np.zeros(truth.shape, bool)
    inside[8:-8, 8:-8] = True
    field = align(found, truth, ramp=True, region=inside).field
    return np.linalg.norm((field - truth)[inside]) / np.linalg.norm(truth[inside])


@pytest.mark.parametrize("modes", [1, 2])
def test_moduli_are_those_of_the_moved_probe(modes):
    obj, probe, whole, offsets, patterns = scan(modes)
    task = refinement.Task(patterns, whole, obj, probe, None, offsets)
    # double precision: measured 6e-16; rounded positions 0.026 and 0.029
    assert refinement.r_factor(task) < 1e-12
    assert refinement.r_factor(refinement.Task(patterns, whole, obj, probe)) > 0.02


def test_offsets_lead_to_the_truth_and_rounding_does_not():
    obj, probe, whole, offsets, patterns = scan()
    known = {"iterations": 150, "update_probe": False, "object_shape": obj.shape}
    found = epie.reconstruct(patterns, whole, probe, offsets_px=offsets, **known)
    rounded = epie.reconstruct(patterns, whole, probe, **known)
    # measured: R 3e-7 and 0.048, distance 7e-8 and 0.028
    assert found.errors[-1] < 0.01 * rounded.errors[-1]
    assert distance(found.object, obj) < 0.01 * distance(rounded.object, obj)
    wrong = probe * np.exp(0.01j * (np.indices((SIDE_PX, SIDE_PX)) ** 2).sum(axis=0))
    free = {"iterations": 150, "object_shape": obj.shape, "beta": 0.5}
    found = epie.reconstruct(patterns, whole, wrong, offsets_px=offsets, **free)
    rounded = epie.reconstruct(patterns, whole, wrong, **free)
    # measured: 0.011 and 0.061
    assert found.errors[-1] < 0.3 * rounded.errors[-1]


@pytest.mark.parametrize("options", [{"update_probe": False}, {"beta": 0.5}])
@pytest.mark.parametrize("modes", [1, 2])
def test_engines_agree(options, modes):
    obj, probe, whole, offsets, patterns = scan(modes)
    given = {"iterations": 5, "object_shape": obj.shape, "offsets_px": offsets, **options}
    plain = epie.reconstruct(patterns, whole, probe, engine="numpy", **given)
    compiled = epie.reconstruct(patterns, whole, probe, **given)
    # double precision: measured 3e-12
    np.testing.assert_allclose(compiled.object, plain.object, atol=1e-11)
    np.testing.assert_allclose(compiled.probe, plain.probe, atol=1e-11)
    np.testing.assert_allclose(compiled.errors, plain.errors, rtol=1e-11)


def test_a_visit_between_pixels_by_hand():
    """One pattern: the formulas of ePIE at the moved probe, its change moved back."""
    draws = np.random.default_rng(0)
    probe = draws.normal(size=(4, 4)) + 1j * draws.normal(size=(4, 4))
    pattern, offset = 10 * draws.random((1, 4, 4)), np.array([[0.25, -0.4]])
    found = epie.reconstruct(
        pattern,
        np.array([[0, 0]]),
        probe,
        iterations=1,
        alpha=0.8,
        beta=0.3,
        engine="numpy",
        offsets_px=offset,
    )
    there = subpixel.moved(probe[None], offset)[0, 0]
    field = np.fft.fft2(there)
    measured = np.fft.ifftshift(np.sqrt(pattern[0]))
    change = np.fft.ifft2(measured * field / np.abs(field)) - there
    obj = 1 + 0.8 * there.conj() * change / np.max(np.abs(probe) ** 2)
    np.testing.assert_allclose(found.object, obj, atol=1e-12)
    back = subpixel.moved(change[None], -offset)[0, 0]
    np.testing.assert_allclose(found.probe, probe + 0.3 * back, atol=1e-12)


@pytest.mark.parametrize("engine", epie.ENGINES)
def test_whole_positions_are_as_before_bit_for_bit(engine):
    obj, probe, whole, _, patterns = scan()
    given = {"iterations": 3, "object_shape": obj.shape, "engine": engine}
    plain = epie.reconstruct(patterns, whole, probe, **given)
    near = np.full(whole.shape, 0.5 * subpixel.NEGLIGIBLE_PX)
    same = epie.reconstruct(patterns, whole, probe, offsets_px=near, **given)
    assert same.object.tobytes() == plain.object.tobytes()
    assert same.probe.tobytes() == plain.probe.tobytes()


def test_refusals():
    obj, probe, whole, offsets, patterns = scan()
    given = {"iterations": 1, "object_shape": obj.shape}
    for wrong in (offsets[:3], 3 * np.ones_like(offsets), offsets * np.nan):
        with pytest.raises(
            DataError, match=r"offsets_px must be finite, of shape \(81, 2\) and at"
        ):
            epie.reconstruct(patterns, whole, probe, offsets_px=wrong, **given)
    with pytest.raises(
        OptionError, match="a batch above 1 takes whole positions, received batch=4"
    ):
        epie.reconstruct(patterns, whole, probe, offsets_px=offsets, batch=4, **given)
    task = refinement.Task(patterns, whole, obj, probe, None, offsets)
    with pytest.raises(OptionError, match="eq3 takes whole positions: leave offsets_px out"):
        refinement.refine(task, refinement.Options(iterations=1, objective="eq3"))
