"""ePIE on the scans of Fig. 8: scores and times, measured once and kept.

A measurement is ``<out>/epie/<hash>.json``, one per overlap. Its name covers object,
overlap, iterations, repeats and device, since times of one device say nothing of another.
"""

from __future__ import annotations

import collections
import dataclasses
import json
import os
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar

import numpy as np

from ppn_tf import data, epie, metrics, phase, stitching
from ppn_tf.errors import RecordError
from ppn_tf.files import write_json
from ppn_tf.inference import predict
from ppn_tf.scaling import Scaling
from reproduce import evaluate
from reproduce.parts.kept import Kept

#: A repeat of the Python loop is timed over as many iterations as fit in this; the rest is
#: that cost per iteration times the iterations left.
PYTHON_LIMIT_S = 5.0

#: Iterations between two points of a convergence curve.
CURVE_STEP = epie.CHUNK_ITERATIONS


@dataclasses.dataclass(frozen=True)
class Measurement(Kept):
    """What is measured at one overlap.

    Attributes
    ----------
    object_name : str
    overlap : float
        Shared fraction of the window's width.
    iterations, repeats : int
    device : str
        Name of the device.
    """

    VERSION: ClassVar[int] = 1

    object_name: str
    overlap: float
    iterations: int
    repeats: int
    device: str


@dataclasses.dataclass(frozen=True, eq=False)
class Scan:
    """One scan of the figure region, with what reconstructions of it are compared with.

    Attributes
    ----------
    dataset : Dataset
    probe : (H, H) complex64
    truth : (rows, cols) complex64
    scaling : Scaling
        Of targets.
    box : (slice, slice)
        The rectangle that the scan covers, the one that networks are scored on.
    """

    dataset: data.Dataset
    probe: np.ndarray
    truth: np.ndarray
    scaling: Scaling
    box: tuple[slice, slice]


def target_scaling(object_name: str) -> Scaling:
    """Return the scaling of targets that runs of this object fit to rows 0-47."""
    dataset = data.load(object_name)
    return dataset.fit_scaling(data.train_indices(dataset), "log1p")


def overlap_scan(object_name: str, overlap: float, scaling: Scaling) -> Scan:
    """Return the noise-free scan that `evaluate.overlaps` scores networks on."""
    obj = data.load_object(object_name)
    rows, cols = data.REGIONS[evaluate.FIGURE_REGION]
    area = tuple(
        slice(8 * axis.start, side)
        for axis, side in zip((rows, cols), obj.amplitude.shape, strict=True)
    )
    crop = data.ComplexObject(
        f"{obj.name}/{evaluate.FIGURE_REGION}",
        obj.amplitude[area],
        obj.phase_rad[area],
        obj.provenance,
    )
    probe = data.load_probe("stand-in" if object_name == "stand-in" else "ltem")
    step_px = data.step_from_overlap(evaluate.WINDOW_PX, overlap)
    dataset = data.make(crop, probe, step_px=step_px, seed=evaluate.TEST_SCAN_SEED)
    windows = np.ones_like(dataset.patterns)
    covered = stitching.accumulate(windows, dataset.positions_px, dataset.object_shape) > 0
    return Scan(dataset, probe, crop.complex, scaling, evaluate.solid_box(covered))


def score(scan: Scan, field: np.ndarray) -> dict[str, dict[str, float | None]]:
    """Score a reconstruction as networks are scored: stitched area, data range 1.

    The global phase and the amplitude scale, which patterns do not hold, are removed
    against the truth; the phase is unwrapped.
    """
    truth = scan.truth[scan.box]
    aligned = phase.align(field[scan.box], truth).field
    true_phase = np.angle(truth.astype(np.complex128))
    found_phase = phase.unwrap(aligned, near_rad=float(np.median(true_phase)))
    scaling = scan.scaling
    pairs = {
        "amplitude": [scaling.target_amplitude(np.abs(values)) for values in (aligned, truth)],
        "phase": [scaling.target_phase(values) for values in (found_phase, true_phase)],
    }
    return {
        channel: metrics.evaluate(*pair, data_range=1.0, convention="field").to_dict()
        for channel, pair in pairs.items()
    }


def run_epie(scan: Scan, iterations: int, engine: str = "compiled", **options: Any) -> epie.Result:
    """Reconstruct with the known probe, as the paper runs ePIE."""
    return epie.reconstruct(
        scan.dataset.patterns,
        scan.dataset.positions_px,
        scan.probe,
        iterations=iterations,
        object_shape=None if "initial_object" in options else scan.truth.shape,
        update_probe=False,
        engine=engine,
        **options,
    )


def measure(
    wanted: Measurement, networks: Mapping[str, tuple[Any, str]], scaling: Scaling
) -> dict[str, Any]:
    """Measure one overlap.

    Parameters
    ----------
    wanted : Measurement
    networks : mapping
        Name to (network, where its weights are from).
    scaling : Scaling
        From `target_scaling`.

    Returns
    -------
    dict
        Plain values: ``results`` (scores by repeat, convergence curve, R-factors) and
        ``cost`` (seconds by repeat of both engines, unwrapping included, and of the
        networks, stitching included).
    """
    scan = overlap_scan(wanted.object_name, wanted.overlap, scaling)
    load = os.getloadavg()[0]
    compile_s, _ = _timed(lambda: _finished(scan, run_epie(scan, wanted.iterations)))
    compiled, scores, errors = [], [], []
    for seed in range(wanted.repeats):
        seconds, result = _timed(
            lambda seed=seed: _finished(scan, run_epie(scan, wanted.iterations, seed=seed))
        )
        compiled.append(seconds)
        scores.append(score(scan, result.object))
        errors.append(result.errors)
    results = {
        "patterns": len(scan.dataset),
        "step_px": data.step_from_overlap(evaluate.WINDOW_PX, wanted.overlap),
        "scores": scores,
        "curve": curve(scan, wanted.iterations),
        "r_factor": [float(f"{value:.6g}") for value in errors[0]],
    }
    python, timed_iterations = python_seconds(scan, wanted.iterations, wanted.repeats)
    cost = {
        "compiled_s": compiled,
        "first_call_s": compile_s,
        "python_s": python,
        "python_iterations_timed": timed_iterations,
        "networks": {
            name: {
                "seconds": network_seconds(network, scan.dataset, wanted.repeats),
                "weights": weights,
            }
            for name, (network, weights) in networks.items()
        },
        "load_average": [load, os.getloadavg()[0]],
    }
    return {"results": results, "cost": cost}


def curve(scan: Scan, iterations: int) -> list[dict[str, Any]]:
    """Score the reconstruction of seed 0 after every tenth iteration."""
    points, options, done = [], {}, 0
    while done < iterations:
        count = min(CURVE_STEP, iterations - done)
        result = run_epie(scan, count, first_iteration=done, **options)
        done += count
        options = {"initial_object": result.object}
        found = score(scan, result.object)
        points.append({"iterations": done} | {k: v["ssim"] for k, v in found.items()})
    return points


def python_seconds(scan: Scan, iterations: int, repeats: int) -> tuple[list[float], int]:
    """Time the plain Python loop.

    Returns
    -------
    seconds : list of float
        Of each repeat, for all iterations.
    timed : int
        Iterations that each repeat did; where that is fewer than all, the cost of one
        times those left is added.
    """
    first, _ = _timed(lambda: run_epie(scan, 1, "numpy"))
    timed = int(np.clip(PYTHON_LIMIT_S / first, min(10, iterations), iterations))
    found = []
    for seed in range(repeats):
        loop, result = _timed(lambda seed=seed: run_epie(scan, timed, "numpy", seed=seed))
        unwrapping, _ = _timed(lambda result=result: _finished(scan, result))
        found.append(loop / timed * iterations + unwrapping)
    return found, timed


def network_seconds(network: Any, dataset: data.Dataset, repeats: int) -> list[float]:
    """Time inference and stitching of both channels, after one call that compiles."""
    weights = stitching.weights(evaluate.WINDOW_PX)

    def reconstruct() -> None:
        patches = predict(network, dataset.patterns)
        for channel in evaluate.CHANNELS:
            stitching.stitch(
                getattr(patches, channel),
                dataset.positions_px,
                dataset.object_shape,
                weights=weights,
            )

    reconstruct()
    return [_timed(reconstruct)[0] for _ in range(repeats)]


def ensure(
    wanted: Measurement,
    folder: Path,
    make: Callable[[Measurement], dict[str, Any]] | None,
    environment: Mapping[str, Any],
    again: bool = False,
) -> dict[str, Any] | None:
    """Return a measurement from its record, or measure and record it.

    Parameters
    ----------
    wanted : Measurement
    folder : Path
        ``<out>/epie``.
    make : callable or None
        Measures; None: records alone.
    environment : mapping
        Device, versions and commit, for the record.
    again : bool
        Measure although there is a record.

    Returns
    -------
    dict or None
        None where there is no record and nothing may be measured.

    Raises
    ------
    RecordError
        For a record that cannot be read.
    """
    path = wanted.path(folder)
    if path.exists() and not (again and make):
        return _read(path, wanted)
    if make is None:
        return None
    started = time.perf_counter()
    found = make(wanted)
    record = {
        "settings": wanted.to_dict(),
        **found,
        "seconds": round(time.perf_counter() - started, 2),
        "environment": dict(environment),
    }
    write_json(path, record)
    return _read(path, wanted)


def device_there(folder: Path, wanted: Sequence[Measurement]) -> str:
    """Return the device whose measurements are to be shown where none may be made.

    Parameters
    ----------
    folder : Path
        ``<out>/epie``.
    wanted : sequence of Measurement
        All that the figure shows, at least one, with the device at hand.

    Returns
    -------
    str
        The device at hand where it has any of them, else the one that has most.
    """
    own = wanted[0].device
    if any(one.path(folder).exists() for one in wanted):
        return own
    same = [dataclasses.replace(one, device="").to_dict() for one in wanted]
    counts = collections.Counter[str]()
    for path in sorted(folder.glob("*.json")):
        # the folder holds other measurements too
        try:
            settings = json.loads(path.read_text(encoding="utf-8"))["settings"]
            counts[settings["device"]] += settings | {"device": ""} in same
        except (OSError, ValueError, KeyError, TypeError):
            continue
    device, most = max(counts.items(), key=lambda item: item[1], default=(own, 0))
    return device if most else own


def _read(path: Path, wanted: Measurement) -> dict[str, Any]:
    try:
        record = json.loads(path.read_text(encoding="utf-8"))
        same = record["settings"] == wanted.to_dict()
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise RecordError(
            f"the ePIE record {path} cannot be read ({error}): delete it, and it is measured again"
        ) from error
    if not same:
        raise RecordError(
            f"the ePIE record {path} is of other settings than its name says: delete it, and it "
            "is measured again"
        )
    return record


def _finished(scan: Scan, result: epie.Result) -> epie.Result:
    """Unwrap the phase, which the paper counts as part of the reconstruction."""
    phase.unwrap(result.object[scan.box])
    return result


def _timed(work: Callable[[], Any]) -> tuple[float, Any]:
    started = time.perf_counter()
    found = work()
    return time.perf_counter() - started, found
