"""ePIE: convergence to the truth, two engines that agree, and every refusal."""

import os
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from ppn_tf import data, seeding
from ppn_tf.epie import reconstruct
from ppn_tf.epie_engine import CompiledLoop, Problem, _compiled
from ppn_tf.errors import DataError, OptionError
from ppn_tf.phase import align
from ppn_tf.probe_modes import initial_modes, orthogonalise, scale_probe

SIDE_PX = 16


def sample(side=48):
    """A complex object without symmetry, and the probe of a zone plate."""
    rows, cols = np.indices((side, side)) / side
    amplitude = 0.75 + 0.2 * np.sin(9 * rows + 2 * cols) * np.cos(14 * cols)
    phase = 0.8 * np.sin(11 * cols - 3 * rows) + 0.4 * np.cos(17 * rows)
    probe = data.stand_in_probe(SIDE_PX).astype(np.complex128)
    return amplitude * np.exp(1j * phase), probe


def scan(step_px=4):
    obj, probe = sample()
    positions = data.raster(obj.shape, SIDE_PX, step_px).positions_px
    return obj, probe, positions, data.simulate(obj, probe, positions)


def lit(obj):
    """The region that the probe lights well: not the border."""
    inside = np.zeros(obj.shape, bool)
    inside[8:-8, 8:-8] = True
    return inside


def distance(found, truth, **options):
    region = lit(truth)
    field = align(found, truth, region=region, **options).field
    return np.linalg.norm((field - truth)[region]) / np.linalg.norm(truth[region])


def test_known_probe_converges_to_the_truth_and_stays_bit_for_bit():
    obj, probe, positions, patterns = scan()
    before = probe.copy()
    result = reconstruct(patterns, positions, probe, iterations=100, update_probe=False)
    # measured: 4e-6 for the object, 1e-5 for the R-factor
    assert distance(result.object, obj, scale=False) < 1e-4
    assert result.errors.shape == (100,) and result.errors[-1] < 1e-4 < 0.3 < result.errors[0]
    assert result.probe.dtype == probe.dtype and result.probe.tobytes() == before.tobytes()
    assert result.probe is not probe and probe.tobytes() == before.tobytes()
    assert result.object.dtype == np.complex128 and result.object.shape == obj.shape
    assert not result.converged


def test_a_defocused_start_of_the_probe_is_mended():
    obj, probe, positions, patterns = scan()
    y, x = np.indices(probe.shape) - (SIDE_PX - 1) / 2
    start = probe * np.exp(0.01j * (x**2 + y**2))
    options = {"beta": 0.8, "probe_start": 2, "engine": "numpy"}
    result = reconstruct(patterns, positions, start, iterations=100, **options)
    # measured: R-factor 0.44 before, 0.008 after; the object 1.3 % off, 17 % with that probe
    assert result.errors[0] > 0.3 and result.errors[-1] < 0.02
    assert distance(result.object, obj, ramp=True) < 0.05
    fixed = reconstruct(
        patterns, positions, start, iterations=20, update_probe=False, engine="numpy"
    )
    assert distance(fixed.object, obj, ramp=True) > 0.1
    # measured: 0.10 of 1.77
    away = [align(values, probe, ramp=True).field - probe for values in (start, result.probe)]
    assert np.linalg.norm(away[1]) < 0.1 * np.linalg.norm(away[0])


CASES = {
    "fixed": {"update_probe": False, "alpha": 0.7},
    "free": {"beta": 0.6, "probe_start": 3},
    "modes": {"beta": 0.5, "orthogonalise_modes": True},
    "dead": {"update_probe": False},
}


def case(name):
    """Arguments of a reconstruction that both engines and both backends run."""
    obj, probe, positions, patterns = scan(step_px=8)
    arguments = {"iterations": 5, "seed": 5} | CASES[name]
    probe = probe.astype(np.complex64)
    if name == "modes":
        probe = initial_modes(probe, 2)
    if name == "dead":
        dead = np.zeros((SIDE_PX, SIDE_PX), bool)
        dead[3, 4] = dead[8, 8] = True
        patterns = np.where(dead, np.nan, patterns)
        arguments["dead_pixels"] = dead
    return (patterns, positions, probe), arguments


@pytest.mark.parametrize("name", CASES)
def test_engines_agree(name):
    values, arguments = case(name)
    compiled = reconstruct(*values, **arguments)
    plain = reconstruct(*values, **arguments, engine="numpy")
    assert compiled.object.dtype == plain.object.dtype == np.complex64
    # measured, complex64: at most 1.4e-4; where a field is near zero its phase is rounding
    np.testing.assert_allclose(compiled.object, plain.object, rtol=0, atol=1e-3)
    np.testing.assert_allclose(compiled.probe, plain.probe, rtol=0, atol=1e-3)
    # measured: 8e-6
    np.testing.assert_allclose(compiled.errors, plain.errors, rtol=1e-4)


def test_engines_agree_to_the_last_digits_in_double_precision():
    obj, probe, positions, patterns = scan(step_px=8)
    arguments = {"iterations": 12, "beta": 0.7}
    compiled = reconstruct(patterns, positions, probe, **arguments)
    plain = reconstruct(patterns, positions, probe, **arguments, engine="numpy")
    # measured: 2e-14
    np.testing.assert_allclose(compiled.object, plain.object, rtol=0, atol=1e-12)


def in_batches(patterns, positions, probe, iterations, batch, beta):
    """Two modes or one, in batches, from the formulas of the module and np.add.at."""
    obj = np.ones(positions.max(axis=0) + SIDE_PX, complex)
    probe, errors = probe.reshape(-1, SIDE_PX, SIDE_PX).copy(), []
    moduli = np.fft.ifftshift(np.sqrt(patterns.astype(float)), axes=(-2, -1))
    rows, cols = np.indices((SIDE_PX, SIDE_PX))
    for iteration in range(iterations):
        order = seeding.generator(0, "order", iteration).permutation(len(positions))
        misfit = 0.0
        for start in range(0, len(order), batch):
            light, step = np.zeros(obj.shape), np.zeros(obj.shape, complex)
            density, move = np.zeros(rows.shape), np.zeros(probe.shape, complex)
            for index in order[start : start + batch]:
                place = (rows + positions[index, 0], cols + positions[index, 1])
                waves = probe * obj[place]
                fields = np.fft.fft2(waves)
                modulus = np.sqrt((np.abs(fields) ** 2).sum(axis=0))
                misfit += np.abs(modulus - moduli[index]).sum()
                dark = modulus <= 16 * np.finfo(float).eps * moduli.max()
                ratio = np.where(dark, 1, moduli[index] / np.where(dark, 1, modulus))
                change = np.fft.ifft2(fields * ratio) - waves
                np.add.at(light, place, (np.abs(probe) ** 2).sum(axis=0))
                np.add.at(step, place, (probe.conj() * change).sum(axis=0))
                density += np.abs(obj[place]) ** 2
                move += obj[place].conj() * change
            obj = obj + step / np.maximum(light, (np.abs(probe) ** 2).sum(axis=0).max())
            probe = probe + beta * move / density.max()
        errors.append(misfit / moduli.sum())
    return obj, probe, errors


@pytest.mark.parametrize("modes", [1, 2])
def test_batches(modes):
    _, probe, positions, patterns = scan(step_px=8)
    probe = initial_modes(probe, modes)
    # 25 positions in batches of 7: the last one has 4
    found = reconstruct(patterns, positions, probe, iterations=3, batch=7, beta=0.5)
    obj, modes, errors = in_batches(patterns, positions, probe, 3, 7, 0.5)
    # complex128: rounding alone
    np.testing.assert_allclose(found.object, obj, rtol=0, atol=1e-10)
    np.testing.assert_allclose(found.probe.reshape(modes.shape), modes, rtol=0, atol=1e-9)
    np.testing.assert_allclose(found.errors, errors, rtol=1e-10)


def test_batches_converge_too():
    obj, probe, positions, patterns = scan()
    result = reconstruct(patterns, positions, probe, iterations=100, update_probe=False, batch=8)
    assert distance(result.object, obj, scale=False) < 0.05
    with pytest.raises(OptionError, match="needs the compiled engine, received batch=2"):
        reconstruct(patterns, positions, probe, iterations=1, batch=2, engine="numpy")


def test_another_order_is_not_compiled_anew():
    """XLA takes the start of Slice for a constant, and so all that it is computed from."""
    values, arguments = case("fixed")
    count = len(values[1])
    moduli = np.zeros((count, SIDE_PX, SIDE_PX), np.float32)
    problem = Problem(moduli, values[1], None, 1.0, 1.0)
    obj, modes = np.ones((48, 48), np.complex64), values[2][None]
    loop = CompiledLoop(problem, obj, modes, capacity=5 * count)
    loop.run(np.arange(3), update_probe=False)
    # the same shapes, and so the same function
    function = _compiled((False, False, False), "float32", 5 * count, 1, loop.shapes)
    (concrete,) = function._list_all_concrete_functions()
    definition = concrete.graph.as_graph_def()
    nodes = [node.op for body in definition.library.function for node in body.node_def]
    assert "XlaDynamicSlice" in nodes and "XlaDynamicUpdateSlice" in nodes
    assert "Slice" not in nodes


def test_first_visit_by_hand():
    """One pattern, one pixel wide steps: the formulas of the docstring, in full."""
    rng = np.random.default_rng(0)
    probe = rng.normal(size=(4, 4)) + 1j * rng.normal(size=(4, 4))
    pattern = 10 * rng.random((1, 4, 4))
    result = reconstruct(
        pattern, np.array([[0, 0]]), probe, iterations=1, alpha=0.8, beta=0.3, engine="numpy"
    )
    field = np.fft.fft2(probe)
    measured = np.fft.ifftshift(np.sqrt(pattern[0]))
    change = np.fft.ifft2(measured * field / np.abs(field)) - probe
    obj = 1 + 0.8 * probe.conj() * change / np.max(np.abs(probe) ** 2)
    np.testing.assert_allclose(result.object, obj, rtol=0, atol=1e-12)
    np.testing.assert_allclose(result.probe, probe + 0.3 * change, rtol=0, atol=1e-12)
    r_factor = np.abs(np.abs(field) - measured).sum() / measured.sum()
    np.testing.assert_allclose(result.errors, [r_factor], rtol=1e-12)


def test_two_modes_explain_partially_coherent_data():
    obj, probe, positions, _ = scan()
    noise = data.NoiseModel("blurred", None, False, 0.0, coherence=0.3)
    patterns = data.simulate(obj, probe, positions, noise)
    options = {"iterations": 30, "probe_start": 5, "engine": "numpy"}
    one = reconstruct(patterns, positions, probe, **options)
    two = reconstruct(patterns, positions, initial_modes(probe, 2), **options)
    assert two.probe.shape == (2, SIDE_PX, SIDE_PX)
    # measured R-factors: 0.182 and 0.151; 0.112 with three modes
    assert two.errors[-1] < 0.9 * one.errors[-1]


def test_the_seed_decides_the_order_and_a_break_changes_nothing():
    (patterns, positions, probe), _ = case("free")
    options = {"engine": "numpy", "beta": 0.5}
    whole = reconstruct(patterns, positions, probe, iterations=5, seed=1, **options)
    other = reconstruct(patterns, positions, probe, iterations=5, seed=2, **options)
    assert not np.array_equal(whole.object, other.object)
    first = reconstruct(patterns, positions, probe, iterations=2, seed=1, **options)
    second = reconstruct(
        patterns,
        positions,
        first.probe,
        iterations=3,
        seed=1,
        initial_object=first.object,
        first_iteration=2,
        **options,
    )
    np.testing.assert_array_equal(second.object, whole.object)
    np.testing.assert_array_equal(second.probe, whole.probe)
    np.testing.assert_array_equal(np.append(first.errors, second.errors), whole.errors)


def test_the_start_of_the_probe_counts_from_the_very_first_iteration():
    (patterns, positions, probe), _ = case("free")
    options = {"engine": "numpy", "beta": 0.5, "probe_start": 3, "seed": 1}
    whole = reconstruct(patterns, positions, probe, iterations=6, **options)
    first = reconstruct(patterns, positions, probe, iterations=2, **options)
    np.testing.assert_array_equal(first.probe, probe)
    second = reconstruct(
        patterns,
        positions,
        first.probe,
        iterations=4,
        initial_object=first.object,
        first_iteration=2,
        **options,
    )
    np.testing.assert_array_equal(second.probe, whole.probe)
    np.testing.assert_array_equal(second.object, whole.object)


def test_stopping_rule():
    obj, probe, positions, patterns = scan(step_px=8)
    options = {"update_probe": False, "engine": "numpy"}
    stopped = reconstruct(patterns, positions, probe, iterations=400, tolerance=0.2, **options)
    count = len(stopped.errors)
    assert stopped.converged and 20 <= count < 400 and count % 10 == 0
    falls = 1 - stopped.errors[10::10] / stopped.errors[:-10:10]
    now = 1 - stopped.errors[-1] / stopped.errors[-11]
    assert now < 0.2 and len(falls) == count // 10 - 1
    free = reconstruct(patterns, positions, probe, iterations=count, **options)
    np.testing.assert_array_equal(free.errors, stopped.errors)
    assert not free.converged


def test_dead_pixels_do_not_matter():
    obj, probe, positions, patterns = scan()
    dead = np.zeros((SIDE_PX, SIDE_PX), bool)
    dead[2, 5] = dead[9, 8] = True
    spoilt = np.where(dead, -7.0, patterns)
    options = {"iterations": 60, "update_probe": False, "engine": "numpy"}
    result = reconstruct(spoilt, positions, probe, dead_pixels=dead, **options)
    # measured: 1.2e-4, and 1.0e-4 with all pixels; with zeros in their place 0.05 and more
    assert distance(result.object, obj, scale=False) < 1e-3
    zeros = reconstruct(np.where(dead, 0.0, patterns), positions, probe, **options)
    assert distance(zeros.object, obj, scale=False) > 1e-2


def test_initial_object_and_shape():
    obj, probe, positions, patterns = scan()
    start = np.full((50, 52), 0.5 + 0.5j)
    result = reconstruct(
        patterns, positions, probe, iterations=1, initial_object=start, engine="numpy"
    )
    assert result.object.shape == (50, 52)
    # no window reaches there
    assert np.array_equal(result.object[48:], start[48:])
    assert start[0, 0] == 0.5 + 0.5j and start[20, 20] == 0.5 + 0.5j
    larger = reconstruct(
        patterns, positions, probe, iterations=1, object_shape=(60, 61), engine="numpy"
    )
    assert larger.object.shape == (60, 61)


def bad(**changes):
    obj, probe, positions, patterns = scan(step_px=8)
    arguments = {"patterns": patterns, "positions_px": positions, "probe": probe}
    arguments |= {"iterations": 2, "engine": "numpy"} | changes
    return reconstruct(**arguments)


PATTERNS = np.ones((25, SIDE_PX, SIDE_PX))
PROBE = sample()[1]
REFUSALS = [
    (DataError, {"patterns": PATTERNS[:3]}, r"\(25, 16, 16\) of positions and probe, received"),
    (DataError, {"patterns": PATTERNS + 0j}, "patterns must be real.*received complex128"),
    (DataError, {"patterns": PATTERNS * np.nan}, r"received nan at \(pattern, row, col\) = \(0, 0"),
    (DataError, {"patterns": -PATTERNS}, "finite counts of at least 0, received -1.0.*6400 such"),
    (DataError, {"patterns": 0 * PATTERNS}, "all patterns are dark"),
    (DataError, {"probe": PROBE.real}, "probe must be complex, received float64: cast"),
    (DataError, {"probe": PROBE[0]}, r"or \(M, H, W\) for M modes, received shape \(16,\)"),
    (DataError, {"probe": PROBE * np.inf}, "probe must be finite"),
    (DataError, {"probe": 0 * PROBE}, "probe is zero everywhere"),
    (DataError, {"positions_px": np.full((25, 2), 0.5)}, "received float64: round the positions"),
    (DataError, {"positions_px": np.zeros((25, 3), int)}, r"shape \(N, 2\)"),
    (DataError, {"positions_px": np.full((25, 2), -1)}, "position 0 is outside the object"),
    (DataError, {"object_shape": (48, 47)}, "position 4 is outside.*column 0 to 31"),
    (DataError, {"object_shape": (9, 9)}, "window of 16 x 16 px is larger than the object of 9"),
    (DataError, {"initial_object": np.ones((48, 48))}, "initial_object must be a complex image"),
    (DataError, {"initial_object": np.full((48, 48), np.nan + 0j)}, "initial_object must be fin"),
    (
        DataError,
        {"initial_object": np.ones((48, 48), complex), "object_shape": (50, 50)},
        r"object_shape \(50, 50\) differs from the shape \(48, 48\)",
    ),
    (DataError, {"dead_pixels": np.zeros((16, 16))}, "dead_pixels must be boolean.*received fl"),
    (DataError, {"dead_pixels": np.ones((16, 16), bool)}, "not all True, received bool.*256 True"),
    (OptionError, {"iterations": 0}, "iterations must be a whole number of at least 1, received 0"),
    (OptionError, {"iterations": 1.5}, "iterations must be a whole number of at least 1"),
    (OptionError, {"probe_start": -1}, "probe_start must be a whole number of at least 0"),
    (OptionError, {"first_iteration": -1}, "first_iteration must be a whole number of at least 0"),
    (OptionError, {"alpha": 0}, "alpha must be above 0 and at most 2, received 0"),
    (OptionError, {"beta": 2.5}, "beta must be above 0 and at most 2, received 2.5"),
    (OptionError, {"tolerance": 1}, "tolerance must be between 0 and 1, or None, received 1"),
    (OptionError, {"engine": "cuda"}, "unknown engine 'cuda': expected one of compiled, numpy"),
    (OptionError, {"momentum": 1}, "unknown option momentum: expected of iterations, update_p"),
    (OptionError, {"seed": -1}, "seed must be at least 0"),
]


@pytest.mark.parametrize(
    ("error", "changes", "message"), REFUSALS, ids=[text[:40] for _, _, text in REFUSALS]
)
def test_refusals(error, changes, message):
    with pytest.raises(error, match=message):
        bad(**changes)


def test_scale_probe():
    obj, probe, positions, _ = scan()
    empty = data.simulate(np.ones_like(obj), probe, positions)
    # counts are float32
    np.testing.assert_allclose(scale_probe(7 * probe, empty), probe, rtol=1e-6)
    with pytest.raises(DataError, match="energy 0.0 cannot be scaled"):
        scale_probe(0 * probe, empty)
    with pytest.raises(DataError, match="cannot be scaled to 0.0 counts"):
        scale_probe(probe, 0 * empty)


def test_initial_modes():
    _, probe = sample()
    modes = initial_modes(probe, 4, share=0.1)
    flat = modes.reshape(4, -1)
    gram = flat @ flat.conj().T
    energy = np.vdot(probe, probe).real
    np.testing.assert_allclose(gram, energy * np.diag([0.7, 0.1, 0.1, 0.1]), atol=1e-12 * energy)
    np.testing.assert_allclose(modes[0], np.sqrt(0.7) * probe, rtol=0, atol=1e-12)
    np.testing.assert_allclose(initial_modes(probe, 1)[0], probe, rtol=0, atol=1e-12)
    with pytest.raises(OptionError, match="received count 0, share 0.05"):
        initial_modes(probe, 0)
    with pytest.raises(OptionError, match="received count 3, share 0.5"):
        initial_modes(probe, 3, 0.5)
    with pytest.raises(DataError, match=re.escape("received shape (1, 16, 16)")):
        initial_modes(probe[None], 2)


def test_orthogonalise_keeps_the_patterns():
    rng = np.random.default_rng(1)
    modes = rng.normal(size=(3, 8, 8)) + 1j * rng.normal(size=(3, 8, 8))
    found = orthogonalise(modes)
    flat = found.reshape(3, -1)
    gram = flat @ flat.conj().T
    np.testing.assert_allclose(gram, np.diag(np.diag(gram)), atol=1e-12)
    assert (np.diff(np.diag(gram).real) < 0).all()
    light = [(np.abs(np.fft.fft2(values)) ** 2).sum(axis=0) for values in (modes, found)]
    np.testing.assert_allclose(*light, rtol=1e-12)
    with pytest.raises(DataError, match=re.escape("must be (M, H, W), received shape (8, 8)")):
        orthogonalise(modes[0])


ON_JAX = """
import sys
import numpy as np

sys.path[:0] = sys.argv[2:]
import keras
import test_epie as here
from ppn_tf.errors import OptionError

assert keras.backend.backend() == "jax"
found = {}
for name in here.CASES:
    values, arguments = here.case(name)
    result = here.reconstruct(*values, **arguments)
    found |= {f"{name}/object": result.object, f"{name}/probe": result.probe}
values, arguments = here.case("fixed")
try:
    here.reconstruct(values[0], values[1], values[2].astype(complex), **arguments)
except OptionError as error:
    found["refusal"] = np.array(str(error))
np.savez(sys.argv[1], **found)
"""


def test_jax_gives_the_same(tmp_path):
    pytest.importorskip("jax")
    tests = Path(__file__).resolve().parent
    command = [sys.executable, "-c", ON_JAX, tmp_path / "out.npz", tests, tests.parent]
    environment = {**os.environ, "KERAS_BACKEND": "jax", "JAX_PLATFORMS": "cpu"}
    subprocess.run(command, env=environment, check=True, timeout=300)
    with np.load(tmp_path / "out.npz", allow_pickle=False) as archive:
        received = dict(archive)
    assert "JAX computes in 32 bits" in str(received["refusal"])
    for name in CASES:
        values, arguments = case(name)
        expected = reconstruct(*values, **arguments, engine="numpy")
        for part in ("object", "probe"):
            # measured, complex64: at most 3e-4, as for TensorFlow
            np.testing.assert_allclose(
                received[f"{name}/{part}"], getattr(expected, part), rtol=0, atol=1e-3
            )


def test_importing_brings_in_no_backend():
    code = (
        "import sys, ppn_tf.epie, ppn_tf.phase, ppn_tf.objective\n"
        "heavy = {'keras', 'tensorflow', 'jax'} & set(sys.modules)\n"
        "assert not heavy, heavy\n"
    )
    root = Path(__file__).resolve().parents[1]
    subprocess.run([sys.executable, "-c", code], cwd=root, check=True, timeout=60)
