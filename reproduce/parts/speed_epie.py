"""The rows of `reproduce/speed.py` that measure ePIE."""

from __future__ import annotations

import statistics
from typing import Any

import numpy as np

from reproduce.parts.beside_ptychi import Scan
from reproduce.parts.timing import distance, timed

#: Positions updated at once by ePIE, in the comparison of convergence.
BATCHES = (1, 4, 16, 64)


def epie_scan(side_px: int, step_px: int, modes: int = 1) -> Scan:
    """Simulate 13 x 13 positions of a rough object with the stand-in probe, without noise."""
    from ppn_tf import data
    from ppn_tf.probe_modes import initial_modes

    probe = data.stand_in_probe(side_px).astype(np.complex64)
    if modes > 1:
        probe = initial_modes(probe, modes)
    side = 12 * step_px + side_px
    rng = np.random.default_rng(0)
    coarse = rng.random((2, side // 4 + 1, side // 4 + 1))
    amplitude, phase = (np.kron(part, np.ones((4, 4)))[:side, :side] for part in coarse)
    obj = ((0.6 + 0.4 * amplitude) * np.exp(1j * phase)).astype(np.complex64)
    places = np.arange(13) * step_px
    positions = np.stack(np.meshgrid(places, places, indexing="ij"), -1).reshape(-1, 2)
    each = probe.reshape(-1, side_px, side_px)
    patterns = sum(data.simulate(obj, mode, positions) for mode in each)
    return Scan(patterns, positions, probe, obj)


def epie(side_px: int, step_px: int, modes: int = 1) -> dict[str, Any]:
    """Time a visit of one position, compiled and as a NumPy loop, and compare the two."""
    from ppn_tf import epie as engine

    scan = epie_scan(side_px, step_px, modes)
    patterns, positions, probe = scan.patterns, scan.positions_px, scan.probe
    options = {"update_probe": False, "object_shape": scan.truth.shape}

    def run(iterations: int, which: str, batch: int = 1) -> Any:
        chosen = options | {"iterations": iterations, "engine": which, "batch": batch}
        return engine.reconstruct(patterns, positions, probe, **chosen)

    found: dict[str, Any] = {"positions": len(positions), "first_call_s": 0.0}
    found["first_call_s"] = round(timed(lambda: run(10, "compiled"))[0], 3)
    sweeps = {"compiled": (10, 40), "numpy": (1, 11)}
    micros: dict[str, list[float]] = {which: [] for which in sweeps}
    for _ in range(5):
        # in turn, so that a change of the machine's speed meets both
        for which, (few, many) in sweeps.items():
            short, long = (timed(lambda n=n, w=which: run(n, w))[0] for n in (few, many))
            micros[which].append(1e6 * (long - short) / (many - few) / len(positions))
    for which, values in micros.items():
        found[f"{which}_us"] = round(statistics.median(values), 2)
    found["ratio"] = round(found["numpy_us"] / found["compiled_us"], 2)
    found["precision"] = precision(scan)
    found["object_distance"] = found["precision"]["flat"]["compiled_numpy"]
    curves = [run(20, which).errors for which in sweeps]
    found["error_distance"] = float(np.max(np.abs(curves[0] / curves[1] - 1)))
    if modes == 1:
        found["r_factor_20"] = {
            str(batch): float(f"{run(20, 'compiled', batch).errors[-1]:.4g}") for batch in BATCHES
        }
        found["batched_us"] = {}
        for batch in BATCHES[1:]:
            run(10, "compiled", batch)
            short, long = (timed(lambda n=n, b=batch: run(n, "compiled", b))[0] for n in (10, 40))
            found["batched_us"][str(batch)] = round(1e6 * (long - short) / 30 / len(positions), 2)
    return found


def precision(scan: Scan) -> dict[str, dict[str, float]]:
    """Compare the objects of both engines after one sweep, in single and double precision.

    From a flat start the smooth probe's far field is rounding errors where it should be
    zero, and their phase is anyone's; a rough start lights all of the detector.
    """
    from ppn_tf import epie as engine

    rng = np.random.default_rng(1)
    noise = 0.1 * rng.standard_normal((2, *scan.truth.shape))
    starts = {"flat": np.ones(scan.truth.shape), "rough": (1 + noise[0]) * np.exp(1j * noise[1])}
    found = {}
    for name, start in starts.items():
        swept = {
            (which, kind): engine.reconstruct(
                scan.patterns,
                scan.positions_px,
                scan.probe.astype(kind),
                iterations=1,
                engine=which,
                update_probe=False,
                initial_object=start.astype(kind),
            ).object
            for which in engine.ENGINES
            for kind in (np.complex64, np.complex128)
        }
        double = swept["numpy", np.complex128]
        found[name] = {
            "compiled_numpy": distance(
                swept["compiled", np.complex64], swept["numpy", np.complex64]
            ),
            "compiled_double": distance(swept["compiled", np.complex64], double),
            "numpy_double": distance(swept["numpy", np.complex64], double),
            "in_double": distance(swept["compiled", np.complex128], double),
        }
    return found
