"""Patches with a phase of their own each become one field."""

import numpy as np
import pytest
import scipy.optimize
import scipy.sparse

from ppn_tf import stitching, synchronising
from ppn_tf.errors import DataError, OptionError
from ppn_tf.phase import align


def test_random_turns_are_found_again():
    rows, cols = np.indices((40, 48)) / 40
    field = (0.8 + 0.2 * np.sin(9 * rows)) * np.exp(2j * np.sin(5 * cols + 3 * rows))
    rng = np.random.default_rng(0)
    grid = np.stack(np.meshgrid(range(0, 25, 6), range(0, 33, 8), indexing="ij"), -1)
    positions = grid.reshape(-1, 2)
    patches = stitching.extract(field, positions, 16)
    turned = patches * np.exp(1j * rng.uniform(-np.pi, np.pi, len(patches)))[:, None, None]
    weights = stitching.weights(16)
    found, turns = synchronising.stitch(turned, positions, field.shape, weights=weights)
    np.testing.assert_array_equal(
        found.coverage, stitching.stitch(patches, positions, field.shape, weights=weights).coverage
    )
    aligned = align(found.field, field, scale=False, region=found.coverage).field
    # consistent patches: the first pass is exact but for rounding
    np.testing.assert_allclose(aligned[found.coverage], field[found.coverage], atol=1e-9)
    assert turns.shape == (len(patches),)


def test_noisy_patches_agree_better_than_unturned_ones():
    rng = np.random.default_rng(1)
    field = np.exp(1j * np.cumsum(rng.normal(0, 0.1, (32, 32)), axis=1))
    positions = np.array([[0, 0], [0, 8], [0, 16], [8, 4], [16, 0], [16, 16], [8, 12]])
    patches = stitching.extract(field, positions, 16)
    patches = patches + 0.3 * (rng.normal(size=patches.shape) + 1j * rng.normal(size=patches.shape))
    turned = patches * np.exp(1j * rng.uniform(-3, 3, len(patches)))[:, None, None]
    weights = stitching.weights(16)
    found, _ = synchronising.stitch(turned, positions, field.shape, weights=weights)
    best = stitching.stitch(patches, positions, field.shape, weights=weights)
    inside = found.coverage

    def error(values):
        away = align(values, field, region=inside).field - field
        return np.linalg.norm(away[inside])

    # measured: within 3 % of patches that were never turned
    assert error(found.field) < 1.15 * error(best.field)


def test_each_patch_agrees_with_the_field_of_all():
    """The condition of the maximum: no patch would turn to the field that all make."""
    rng = np.random.default_rng(2)
    field = np.exp(1j * np.cumsum(rng.normal(0, 0.1, (48, 48)), axis=0))
    positions = rng.integers(0, 33, (40, 2))
    patches = stitching.extract(field, positions, 16)
    patches = patches + 0.5 * (rng.normal(size=patches.shape) + 1j * rng.normal(size=patches.shape))
    weights = stitching.weights(16)
    found, turns = synchronising.stitch(patches, positions, field.shape, weights=weights)
    windows = stitching.extract(found.field, positions, 16)
    turned = patches * np.exp(1j * turns)[:, None, None]
    away = np.angle((weights * np.conj(turned) * windows).sum(axis=(1, 2)))
    # rounds end at 1e-6; measured 9e-7
    assert np.abs(away).max() < 5e-6


def test_parts_that_do_not_overlap_are_counted():
    patches = np.exp(1j * np.arange(4.0))[:, None, None] * np.ones((4, 8, 8))
    corners = np.array([[0, 0], [0.4, 4.4], [30, 30], [34, 30]])
    weights = np.ones((8, 8))
    turns, island = synchronising.turns_rad(patches, corners, weights)
    assert len(set(island[:2])) == len(set(island[2:])) == 1 and set(island) == {0, 1}
    phases = np.arange(4.0) + turns
    assert phases[0] == pytest.approx(phases[1], abs=1e-9)
    assert phases[2] == pytest.approx(phases[3], abs=1e-9)
    field, islands = synchronising.turned_field(patches, corners, (42, 38), weights)
    assert islands == 2
    inside = np.isfinite(field)
    # complex64: measured 6e-8
    np.testing.assert_allclose(np.abs(field[inside]), 1, atol=1e-6)
    assert np.angle(field[inside].sum()) == pytest.approx(0, abs=1e-6)
    assert not inside[20, 20]
    turns, island = synchronising.turns_rad(patches[:1], corners[:1], weights)
    assert turns.tolist() == [0.0] and island.tolist() == [0]
    with pytest.raises(DataError, match=r"received shapes \(4, 8, 8\) and \(3, 2\)"):
        synchronising.turns_rad(patches, corners[:3], weights)


def grid(rows, cols, noise_rad, seed):
    """Links of unit size between neighbours on a grid, wrong by a normal phase each."""
    number = np.arange(rows * cols).reshape(rows, cols)
    pairs = np.concatenate(
        [
            np.stack([number[:, :-1].ravel(), number[:, 1:].ravel()], axis=1),
            np.stack([number[:-1].ravel(), number[1:].ravel()], axis=1),
        ]
    )
    draws = np.random.default_rng(seed)
    values = np.exp(1j * noise_rad * draws.standard_normal(len(pairs)))
    upper = scipy.sparse.csr_matrix((values, pairs.T), (number.size, number.size))
    # in units in which every number is the truth
    return (upper + upper.conj().T + 4 * scipy.sparse.eye(number.size)).tocsr()


def energy(overlaps, found):
    return np.vdot(found, overlaps @ found).real


@pytest.mark.parametrize("seed", range(4))
def test_a_wide_scan_neither_bends_nor_winds(seed):
    """As good as what is best near the truth, where one tree of links ends whole turns off."""
    overlaps = grid(16, 80, 0.3, seed)
    found, island = synchronising.directions(overlaps)
    assert not island.any() and np.allclose(np.abs(found), 1)
    near = synchronising._settled(overlaps, np.ones(len(found), complex), 50)
    assert energy(overlaps, found) >= energy(overlaps, near) * (1 - 1e-12)
    # a maximum: each agrees with the pull of its neighbours; measured at most 4e-13 rad
    pull = overlaps @ found
    assert np.abs(np.angle(pull * np.conj(found))).max() < 1e-6


def test_the_best_of_few_is_found():
    """Against a general search from many starts."""
    overlaps = grid(3, 3, 1.0, 0)
    found, _ = synchronising.directions(overlaps)
    draws = np.random.default_rng(1)
    best = min(
        scipy.optimize.minimize(
            lambda turns: -energy(overlaps, np.exp(1j * turns)), draws.uniform(-3, 3, 9)
        ).fun
        for _ in range(20)
    )
    # the search stops at 1e-5 of the gradient: measured 2e-15
    assert energy(overlaps, found) == pytest.approx(-best, rel=1e-8)


def test_rounds():
    with pytest.raises(OptionError, match="rounds must be at least 1, received 0"):
        synchronising.stitch(
            np.ones((1, 4, 4), complex),
            np.zeros((1, 2), int),
            (4, 4),
            weights=np.ones((4, 4)),
            rounds=0,
        )
