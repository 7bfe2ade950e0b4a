"""Refinement: Eq. (3) against the independent objective, starts, checkpoints."""

import dataclasses

import numpy as np
import pytest

from ppn_tf import data, objective, proximal, refinement
from ppn_tf.errors import DataError, OptionError, RecordError
from ppn_tf.phase import align
from ppn_tf.probe_modes import initial_modes

SIDE_PX = 16


def sample(side=40):
    rows, cols = np.indices((side, side)) / side
    blocks = np.where((rows > 0.4) & (cols < 0.6), 0.6, 1.0)
    obj = blocks * np.exp(0.8j * ((rows + 0.3 * cols) > 0.7))
    return obj, data.stand_in_probe(SIDE_PX).astype(np.complex128)


def make(step_px=4, start=None):
    obj, probe = sample()
    positions = data.raster(obj.shape, SIDE_PX, step_px).positions_px
    patterns = data.simulate(obj, probe, positions)
    start = np.ones_like(obj) if start is None else start
    return obj, refinement.Task(patterns, positions, start, probe[None])


def problem(task, sparsity=0.0, proximity=0.0):
    weights = objective.Weights(sparsity, proximity, "amplitude")
    return proximal.Problem(task.patterns, task.positions_px, task.probe, task.dead_pixels, weights)


def distance(found, truth):
    inside = np.zeros(truth.shape, bool)
    inside[8:-8, 8:-8] = True
    field = align(found, truth, region=inside).field
    return np.linalg.norm((field - truth)[inside]) / np.linalg.norm(truth[inside])


def test_terms_are_those_of_the_objective():
    _, task = make()
    rng = np.random.default_rng(0)
    obj = task.object + 0.1 * rng.normal(size=task.object.shape)
    probe = task.probe * 1.1
    weights = objective.Weights(3.0, 0.5, "amplitude")
    mine = proximal.terms(dataclasses.replace(problem(task), weights=weights), obj, probe)
    theirs = objective.objective(
        obj,
        probe[0],
        task.patterns,
        task.positions_px,
        initial_probe=task.probe[0],
        weights=weights,
    )
    # double precision: measured 2e-16
    for name in ("data", "sparsity", "proximity"):
        assert getattr(mine, name) == pytest.approx(getattr(theirs, name), rel=1e-12)


def test_a_step_of_the_object_follows_the_gradient():
    _, task = make()
    found = proximal.minimise(
        problem(task), proximal.begin(task.object, task.probe), 1, update_probe=False
    )
    slope, _ = objective.gradient(
        task.object,
        task.probe[0],
        task.patterns,
        task.positions_px,
        weights=objective.Weights(data="amplitude"),
    )
    light = np.zeros(task.object.shape)
    for row, col in task.positions_px:
        light[row : row + SIDE_PX, col : col + SIDE_PX] += np.abs(task.probe[0]) ** 2
    curvature = np.maximum(light, proximal.CURVATURE_FLOOR * light.max())
    expected = task.object - slope / (2 * SIDE_PX**2 * curvature)
    np.testing.assert_allclose(found.object, expected, rtol=0, atol=1e-12)


def test_the_sparsity_step_has_the_solution_of_two_pixels():
    """By hand: min (x1 - 1)^2 / 2 + x2^2 / 2 + w |x2 - x1| moves both by w, at most to 1/2."""
    field = np.array([[1.0 + 0j, 0.0]])
    for weight, ends in ((0.2, (0.8, 0.2)), (0.7, (0.5, 0.5))):
        for turned in (False, True):
            pair = field.T if turned else field
            found = proximal._sparse(pair, weight, np.ones(pair.shape))
            # 20 dual steps: measured 9e-4
            np.testing.assert_allclose(found, np.reshape(ends, pair.shape), atol=1e-3)
        # a heavier metric moves less: 1/4 of it
        found = proximal._sparse(field, weight, np.full((1, 2), 4.0))
        np.testing.assert_allclose(found, [(1 - weight / 4, weight / 4)], atol=1e-3)


def test_proximity_weighs_against_the_light_by_hand():
    """At a solution nothing pulls: the probe is drawn to where it came from, pixel by pixel."""
    obj, task = make()
    first = 1.2 * task.probe
    posed = dataclasses.replace(problem(task, proximity=3e4), initial_probe=first)
    state = proximal.begin(obj, task.probe)
    found = proximal.minimise(posed, state, 1)
    light = sum(
        np.abs(obj[row : row + SIDE_PX, col : col + SIDE_PX]) ** 2 for row, col in task.positions_px
    )
    # unnormalised transform: the data term's curvature is SIDE_PX^2 times the light
    held = 3e4 / SIDE_PX**2
    wanted = (light * task.probe + held * first) / (light + held)
    # float32 patterns: measured 6e-10 of the largest
    np.testing.assert_allclose(found.probe, wanted, atol=1e-7 * np.abs(wanted).max())


def test_inertia_that_points_back_is_dropped():
    obj, task = make()
    forwards = proximal.minimise(problem(task), proximal.begin(task.object, task.probe), 1, False)
    assert forwards.momentum == pytest.approx((1 + 5**0.5) / 2)
    # from the solution any push leads away, and the step back
    away = dataclasses.replace(
        proximal.begin(obj, task.probe), object_before=obj - 0.1, momentum=9.0
    )
    back = proximal.minimise(problem(task), away, 1, False)
    assert np.abs(back.object - obj).max() > 0
    assert back.momentum == 1.0


@pytest.mark.parametrize("proximity", [0.0, 1e4])
def test_eq3_falls_to_a_stationary_point(proximity):
    _, task = make()
    rng = np.random.default_rng(1)
    wrong = task.probe * np.exp(0.2j * rng.normal(size=task.probe.shape))
    task = dataclasses.replace(task, probe=wrong)
    posed = problem(task, proximity=proximity)
    found = proximal.minimise(posed, proximal.begin(task.object, task.probe), 60)
    assert found.objectives[-1] < 0.2 * found.objectives[0]
    by_object, by_probe = objective.gradient(
        found.object,
        found.probe[0],
        task.patterns,
        task.positions_px,
        initial_probe=wrong[0],
        weights=posed.weights,
    )
    first, first_probe = objective.gradient(
        task.object,
        task.probe[0],
        task.patterns,
        task.positions_px,
        initial_probe=wrong[0],
        weights=posed.weights,
    )
    # measured: 3 % and less after 60 iterations
    assert np.linalg.norm(by_object) < 0.1 * np.linalg.norm(first)
    assert np.linalg.norm(by_probe) < 0.1 * np.linalg.norm(first_probe)


def test_proximity_keeps_the_probe():
    _, task = make()
    task = dataclasses.replace(task, probe=1.05 * task.probe)
    moved = []
    for proximity in (0.0, 1e12):
        posed = problem(task, proximity=proximity)
        found = proximal.minimise(posed, proximal.begin(task.object, task.probe), 3)
        moved.append(np.linalg.norm(found.probe - task.probe))
    assert moved[1] < 1e-4 * moved[0]


def test_sparsity_helps_a_sharp_object():
    obj, task = make(step_px=8)
    plain, sparse = (
        refinement.refine(
            task,
            refinement.Options(
                iterations=100, objective="eq3", update_probe=False, sparsity=weight
            ),
        )
        for weight in (0.0, 3e-3)
    )
    found = distance(plain.object, obj), distance(sparse.object, obj)
    assert found[1] < 0.5 * found[0], found


def test_modes_and_dead_pixels():
    obj, task = make()
    modes = initial_modes(task.probe[0], 2)
    windows = data.forward.extract_patches(obj, (SIDE_PX, SIDE_PX), task.positions_px)
    far = np.fft.fftshift(np.fft.fft2(windows[:, None] * modes), axes=(2, 3))
    patterns = (np.abs(far) ** 2).sum(axis=1)
    dead = np.zeros((SIDE_PX, SIDE_PX), bool)
    dead[5, 9] = True
    patterns[:, dead] = np.nan
    task = refinement.Task(patterns, task.positions_px, obj, modes, dead)
    assert refinement.r_factor(task) < 1e-12
    flat = dataclasses.replace(task, object=np.ones_like(obj))
    for name in refinement.OBJECTIVES:
        options = refinement.Options(iterations=40, objective=name, update_probe=False, sparsity=0)
        found = refinement.refine(flat, options, engine="numpy")
        assert found.errors[-1] < 0.1 * found.errors[0], name


@pytest.mark.parametrize("value", [np.nan, np.inf, 2.0**32 - 1])
def test_dead_pixels_weigh_nothing(value):
    patterns = np.full((2, 2, 2), 3.0)
    dead = np.array([[False, False], [False, True]])
    patterns[:, dead] = value
    probe = np.ones((1, 2, 2), np.complex64)
    found = proximal.weights(patterns, probe, (3, 4), 0.5, 0.25, dead)
    # 18 counts in 12 object pixels: a curvature of 3; 2 patterns of 4 pixels
    assert found.sparsity == pytest.approx(0.5 * 3)
    assert found.proximity == pytest.approx(0.25 * 2 * 4)


def test_scale_and_holes():
    obj, task = make()
    truth = dataclasses.replace(task, object=obj)
    assert refinement.fitted_scale(truth) == pytest.approx(1, abs=1e-7)  # float32 patterns
    half = dataclasses.replace(task, object=0.5 * obj)
    assert refinement.fitted_scale(half) == pytest.approx(2, abs=1e-6)
    with pytest.raises(DataError, match="give no light"):
        refinement.fitted_scale(dataclasses.replace(task, object=0 * obj))
    holes = obj.copy()
    holes[:4] = np.nan
    closed = refinement.filled(holes)
    np.testing.assert_allclose(closed[:4], obj[4:].mean(), rtol=1e-6)
    for wrong in (np.ones((3, 3)), np.ones(3) + 0j):
        with pytest.raises(DataError, match="a start is a complex object"):
            refinement.filled(wrong)
    with pytest.raises(DataError, match="no finite pixel"):
        refinement.filled(np.full((3, 3), np.nan + 0j))


@pytest.mark.parametrize("name", refinement.OBJECTIVES)
def test_a_break_changes_nothing(name, tmp_path, monkeypatch):
    _, task = make(step_px=8)
    options = refinement.Options(iterations=25, objective=name, probe_start=12)
    whole = refinement.refine(task, options, engine="numpy")
    advance, calls = refinement._advance, []

    def interrupted(*arguments):
        calls.append(0)
        if len(calls) == 2:
            raise KeyboardInterrupt
        return advance(*arguments)

    path = tmp_path / "state.npz"
    monkeypatch.setattr(refinement, "_advance", interrupted)
    with pytest.raises(KeyboardInterrupt):
        refinement.refine(task, options, checkpoint=path, engine="numpy")
    other = dataclasses.replace(options, alpha=0.5)
    with pytest.raises(RecordError, match="of another scan, start or options"):
        refinement.refine(task, other, checkpoint=path, engine="numpy")
    again = refinement.refine(task, options, checkpoint=path, engine="numpy")
    assert len(calls) == 4  # one before the break, the broken one, two after it
    assert again.object.tobytes() == whole.object.tobytes()
    assert again.probe.tobytes() == whole.probe.tobytes()
    np.testing.assert_array_equal(again.errors, whole.errors)
    path.write_bytes(b"nothing")
    with pytest.raises(RecordError, match="cannot be read .* remove it"):
        refinement.refine(task, options, checkpoint=path, engine="numpy")


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"objective": "eq4"}, "unknown objective 'eq4': expected one of epie, eq3"),
        ({"iterations": 0}, "iterations must be a whole number of at least 1"),
        ({"sparsity": -1.0}, "sparsity must be at least 0"),
        ({"proximity": float("nan")}, "proximity must be at least 0"),
        ({"alpha": 3.0}, "alpha must be above 0 and at most 2"),
    ],
)
def test_wrong_options(wrong, message):
    with pytest.raises(OptionError, match=message):
        refinement.Options(**wrong)
