"""Reconstructions of the measured scan by networks, compared with ePIE's."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np

from ppn_tf import epie, labels, phase, refinement, spectrum, stitching, synchronising
from ppn_tf.data import nanoprobe
from ppn_tf.data.dataset import Dataset
from ppn_tf.inference import infer
from reproduce import evaluate
from reproduce.parts import probe_training as training

#: Iterations after which refinement is scored.
MARKS = (0, 1, 2, 5, 10, 20, 50, 100)


@dataclasses.dataclass(frozen=True, eq=False)
class Region:
    """A part of the scan, and ePIE's field there.

    Attributes
    ----------
    patches : (n,) int
        Whose predictions are stitched.
    box : (slice, slice)
        Of the averaged field, fully covered by them.
    reference : (rows, cols) complex
        Within the box.
    """

    patches: np.ndarray
    box: tuple[slice, slice]
    reference: np.ndarray


def region(dataset: Dataset, patches: np.ndarray) -> Region:
    """Return the largest box that patches cover, with the label in it."""
    field, coverage = _stitched_label(dataset, patches)
    box = evaluate.solid_box(coverage)
    return Region(patches, box, field[box])


def _stitched_label(dataset: Dataset, patches: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    values = dataset.amplitude[patches] * np.exp(1j * dataset.phase[patches].astype(np.float64))
    found = stitching.stitch(
        values,
        dataset.positions_px[patches],
        dataset.object_shape,
        weights=stitching.weights(training.SIDE_PX),
    )
    return found.field, found.coverage


def predicted(network: Any, dataset: Dataset, patches: np.ndarray) -> np.ndarray:
    """Return the stitched field of a network, NaN where no patch lies."""
    found = infer(network, dataset.patterns[patches])
    field, _ = synchronising.stitch(
        found.amplitude * np.exp(1j * found.phase.astype(np.float64)),
        dataset.positions_px[patches],
        dataset.object_shape,
        weights=stitching.weights(training.SIDE_PX),
    )
    return field.field


def constant(dataset: Dataset) -> np.ndarray:
    """Return the field of a predictor that looks at no pattern."""
    return np.ones(dataset.object_shape, np.complex128)


def compare(field: np.ndarray, where: Region) -> tuple[dict[str, Any], np.ndarray]:
    """Score a field in a region; global phase, scale and ramp are taken out.

    Returns
    -------
    scores : dict
        Pearson correlations of ``amplitude`` and ``phase`` (None where constant), relative
        ``error`` of the complex field, ``frc`` by ring of ``frc_axis``, over Nyquist.
    aligned : (rows, cols) complex128
    """
    truth = where.reference
    aligned = phase.align(field[where.box], truth, ramp=True).field
    frequency, curve = _frc(aligned, truth)
    phases = [phase.unwrap(values, near_rad=0.0) for values in (aligned, truth)]
    scores = {
        "amplitude": _correlation(np.abs(aligned), np.abs(truth)),
        "phase": _correlation(*phases),
        "error": float(np.linalg.norm(aligned - truth) / np.linalg.norm(truth)),
        "frc": [round(float(value), 4) for value in curve],
        "frc_axis": [round(float(value), 4) for value in frequency],
    }
    return scores, aligned


def _correlation(a: np.ndarray, b: np.ndarray) -> float | None:
    if min(a.std(), b.std()) < 1e-9:
        return None
    return float(np.corrcoef(a.ravel(), b.ravel())[0, 1])


def _frc(a: np.ndarray, b: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Correlate the middle squares, tapered, without their means."""
    side = min(a.shape)
    rows, cols = (slice((have - side) // 2, (have - side) // 2 + side) for have in a.shape)
    edge = np.sin(np.pi * (np.arange(side) + 0.5) / side) ** 2
    cut = [
        (values[rows, cols] - values[rows, cols].mean()) * np.outer(edge, edge) for values in (a, b)
    ]
    return spectrum.fourier_ring_correlation(*cut)


def refinements(
    scan: nanoprobe.MeasuredScan,
    label: labels.Label,
    probe: np.ndarray,
    fields: dict[str, np.ndarray],
    iterations: int,
) -> dict[str, Any]:
    """Follow ePIE from a flat object and from networks' objects, with the same probe.

    Parameters
    ----------
    scan : MeasuredScan
    label : Label
        What the object's error is measured against, in the lit area.
    probe : (M, H, W) complex64
        Free from the first iteration.
    fields : dict
        Network to its field on the averaged grid.
    iterations : int
    """
    corners = labels.corners_px(scan)
    light = labels.illumination(scan)
    lit = light >= labels.LIT_SHARE * np.median(light[light > light.mean()])

    def error(found: np.ndarray) -> float:
        away = phase.align(found, label.field, ramp=True, region=lit).field - label.field
        return float(np.linalg.norm(away[lit]) / np.linalg.norm(label.field[lit]))

    found = {}
    factor = training.WINDOW_PX // training.SIDE_PX
    for name, field in {"flat": None, **fields}.items():
        start = np.ones(label.field.shape, np.complex64)
        if field is not None:
            full = np.kron(field, np.ones((factor, factor)))
            start = np.full(label.field.shape, np.nan + 0j)
            start[: full.shape[0], : full.shape[1]] = full[: start.shape[0], : start.shape[1]]
            start = refinement.filled(start)
        task = refinement.Task(scan.patterns, corners, start, probe, scan.dead_pixels)
        scale = refinement.fitted_scale(task)
        task = dataclasses.replace(task, object=(scale * start).astype(np.complex64))
        options = refinement.Options(iterations=iterations)
        found[name] = _followed(task, options, error)
    return found


def _followed(
    task: refinement.Task, options: refinement.Options, error: Callable[[np.ndarray], float]
) -> dict[str, list[float]]:
    """Return R-factor and error at `MARKS`, up to the number of iterations."""
    found: dict[str, list[float]] = {"iterations": [], "r_curve": [], "error_curve": []}
    marks = [mark for mark in MARKS if mark < options.iterations] + [options.iterations]
    done = 0
    for mark in marks:
        if mark > done:
            ended = epie.reconstruct(
                task.patterns,
                task.positions_px,
                task.probe,
                iterations=mark - done,
                initial_object=task.object,
                dead_pixels=task.dead_pixels,
                seed=options.seed,
                first_iteration=done,
            )
            task = dataclasses.replace(task, object=ended.object, probe=ended.probe)
            done = mark
        found["iterations"].append(mark)
        found["r_curve"].append(round(refinement.r_factor(task), 5))
        found["error_curve"].append(round(error(task.object), 5))
    return found


def measure(
    settings: training.Settings, folder: Path
) -> Iterator[tuple[dict[str, Any], dict[str, Any]]]:
    """Do everything: probe, simulation, training, reconstruction, comparison, refinement.

    Yields twice: without refinement, and with it.

    Yields
    ------
    results : dict
        Plain values for the record.
    arrays : dict
        Fields for the figure, complex64.
    """
    from reproduce.parts import real

    scan = nanoprobe.load_scan247()
    label = real.label_of(scan, settings.label_iterations, folder / "labels")
    dataset = labels.dataset(scan, label)
    test = real.split(dataset).test
    stem = folder / settings.hash
    probe = recovered(scan, dataset, test, settings, folder)
    paths = {
        model: stem.with_name(f"{settings.hash}-{model}.keras") for model, _ in settings.epochs
    }
    trained = all(path.exists() for path in paths.values())
    pairs = None if trained else training.simulate(scan, probe, settings)
    everywhere = region(dataset, np.arange(len(dataset)))
    regions = {"held-out": region(dataset, test), "whole": everywhere}
    results: dict[str, Any] = {"scores": {}, "refinement": {}}
    arrays = {f"reference_{name}": where.reference for name, where in regions.items()}
    fields = {}
    for model, epochs in settings.epochs:
        network = training.train(pairs, model, epochs, settings.seed, paths[model])
        fields[model] = predicted(network, dataset, everywhere.patches)
        parts = {"held-out": predicted(network, dataset, test), "whole": fields[model]}
        for name, where in regions.items():
            scores, aligned = compare(parts[name], where)
            results["scores"].setdefault(name, {})[model] = scores
            arrays[f"{model}_{name}"] = aligned
    for name, where in regions.items():
        results["scores"][name]["constant"] = compare(constant(dataset), where)[0]
    results["sizes"] = {
        "patches": len(dataset),
        "test": len(test),
        "boxes_px": {name: list(where.reference.shape) for name, where in regions.items()},
        "label_r": [float(label.errors[0]), float(label.errors[-1])],
        "phase_taken_off_rad": training.mean_phase_rad(scan, probe, settings),
    }
    arrays = {name: values.astype(np.complex64) for name, values in arrays.items()}
    yield results, arrays
    found = refinements(scan, label, probe, fields, settings.refine_iterations)
    yield results | {"refinement": found}, arrays


def recovered(
    scan: nanoprobe.MeasuredScan,
    dataset: Dataset,
    test: np.ndarray,
    settings: training.Settings,
    folder: Path,
) -> np.ndarray:
    """Return ePIE's probe from the positions outside the test block, kept in a file."""
    from ppn_tf.files import replacing

    path = folder / f"{settings.hash}-probe.npy"
    if path.exists():
        return np.load(path, allow_pickle=False)
    first_test_row = int(dataset.positions_px[test, 0].min())
    factor = training.WINDOW_PX // training.SIDE_PX
    # whole windows, not only the middle that patches show, end above the test block
    last_row = labels.corners_px(scan)[:, 0] + scan.patterns.shape[1]
    margin = (scan.patterns.shape[1] - training.WINDOW_PX) // 2
    kept = np.flatnonzero(last_row - margin <= factor * first_test_row)
    checkpoint = folder / f"{settings.hash}-probe.npz"
    probe = training.recovered_probe(scan, kept, settings, checkpoint)
    with replacing(path) as temporary, temporary.open("wb") as stream:
        np.save(stream, probe)
    checkpoint.unlink(missing_ok=True)
    return probe
