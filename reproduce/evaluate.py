"""All that any exhibit asks of one run, computed once when the run ends."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import Any

import keras
import numpy as np

from ppn_tf import attention_mass, data, metrics, sharpness, spectrum, stitching
from ppn_tf.data.dataset import Dataset
from ppn_tf.inference import Patches
from ppn_tf.scaling import Scaling

#: Raised when more is computed; records of an older version are evaluated again from
#: their weights, not trained again.
EVALUATION_VERSION = 2

#: Region whose predictions are kept for figures (the one that the authors' code shows).
FIGURE_REGION = "lower-right"

#: Overlaps of the limited-data experiments (sections IV-E2 and IV-E3).
OVERLAPS = (0.0, 0.25, 0.30, 0.40, 0.50, 0.60, 0.70, 0.75, 0.80, 0.90)

#: Samples with other features than the chart (section IV-D), scanned at half overlap.
CURVED = ("siemens-star", "spiral", "camera", "coins")
CURVED_STEP_PX = 16.0

#: Samples of which the central `KEPT_PX` x `KEPT_PX` are kept for Fig. 6, with seed 0 alone:
#: a drawing and a photograph. Steps of 1 / `KEPT_STEPS` of the target range are finer than a
#: picture shows, and let the file stay below 1 MB.
KEPT_CURVED = ("siemens-star", "camera")
KEPT_PX = 256
KEPT_STEPS = 256

#: Test patterns that attention is averaged over.
ATTENTION_PATTERNS = 8

#: Regions of the reduced evaluation: all lie in the test rows.
TEST_ROW_REGIONS = ("lower-left", "lower-right", "rows", "gap")

#: Added to the run's seed, so that these scans do not repeat the noise of training.
TEST_SCAN_SEED = 1_000_000

#: Total spectral power below which an image on the [0, 1] scale counts as constant.
FLAT_POWER = 1e-12

CHANNELS = ("amplitude", "phase")
WINDOW_PX = 32

Predictor = Callable[[np.ndarray], Patches]


@dataclasses.dataclass(frozen=True)
class Evaluation:
    """What `evaluate` returns.

    Attributes
    ----------
    results : dict
        Plain values for the record.
    predictions : dict of arrays
        float16 predictions of `FIGURE_REGION` (``amplitude``, ``phase``) and their
        positions; in a full evaluation with seed 0 also the stitched middle of
        curved samples, ``curved_<name>_amplitude`` and ``..._phase``.
    """

    results: dict[str, Any]
    predictions: dict[str, np.ndarray]


def evaluate(
    predict: Predictor,
    dataset: Dataset,
    scaling: Scaling,
    spec: dict[str, Any],
    network: keras.Model | None = None,
) -> Evaluation:
    """Score a predictor on every region, convention, overlap and sample.

    Parameters
    ----------
    predict : callable
        From raw counts (N, H, W) to `Patches` on the target scale.
    dataset : Dataset
        The scan that the run trained on.
    scaling : Scaling
        Fitted on its training part.
    spec : dict
        `RunSpec.to_dict`.
    network : keras.Model, optional
        The network itself, for what cannot be told from its predictions; None for a
        trivial predictor.

    Returns
    -------
    Evaluation
    """
    full = spec["evaluation"] == "full"
    names = tuple(data.REGIONS) if full else TEST_ROW_REGIONS
    regions = {name: data.region_indices(dataset, name) for name in names}
    needed = np.unique(np.concatenate(list(regions.values())))
    patches = predict(dataset.patterns[needed])
    results: dict[str, Any] = {"regions": {}, "spectrum": {}}
    for name, indices in regions.items():
        chosen = np.searchsorted(needed, indices)
        part = Patches(patches.amplitude[chosen], patches.phase[chosen])
        results["regions"][name] = score(part, dataset, indices, scaling)
        if name in ("lower-right", "gap"):
            results["spectrum"][name] = spectra(part, dataset, indices, scaling)
        if name == FIGURE_REGION:
            predictions = _kept(part, dataset.positions_px[indices])
            results["sharpness"] = sharp(part, dataset, indices, scaling)
    results["attention"] = attention(network, dataset)
    if full:
        results["overlap"] = overlaps(predict, scaling, spec)
        results["curved"], fields = curved(predict, scaling, spec)
        predictions |= fields
    return Evaluation(results, predictions)


def _kept(part: Patches, positions_px: np.ndarray) -> dict[str, np.ndarray]:
    return {
        "amplitude": part.amplitude.astype(np.float16),
        "phase": part.phase.astype(np.float16),
        "positions_px": positions_px.astype(np.int16),
    }


def _targets(dataset: Dataset, indices: np.ndarray, scaling: Scaling) -> Patches:
    return Patches(
        scaling.target_amplitude(dataset.amplitude[indices]),
        scaling.target_phase(dataset.phase[indices]),
    )


def score(part: Patches, dataset: Dataset, indices: np.ndarray, scaling: Scaling) -> dict[str, Any]:
    """Score patches under the three conventions, data range 1.

    ``flattened`` and ``per-image`` compare unstitched patches, ``field`` the stitched
    fields of prediction and truth at the true positions, on the largest rectangle
    without holes.
    """
    truth = _targets(dataset, indices, scaling)
    positions_px = dataset.positions_px[indices]
    found: dict[str, Any] = {"patches": len(indices)}
    for channel in CHANNELS:
        prediction, target = getattr(part, channel), getattr(truth, channel)
        scores = {}
        for convention in ("flattened", "per-image"):
            if convention == "flattened" and len(indices) < metrics.WINDOW_PX:
                continue
            scores[convention] = metrics.evaluate(
                prediction, target, data_range=1.0, convention=convention
            ).to_dict()
        field, true_field = stitched_pair(prediction, target, positions_px, dataset.object_shape)
        if min(field.shape) >= metrics.WINDOW_PX:
            scores["field"] = metrics.evaluate(
                field, true_field, data_range=1.0, convention="field"
            ).to_dict()
        found[channel] = scores
    return found


def stitched_pair(
    prediction: np.ndarray, target: np.ndarray, positions_px: np.ndarray, shape: tuple[int, int]
) -> tuple[np.ndarray, np.ndarray]:
    """Stitch predicted and true patches; crop to the largest rectangle without holes."""
    fields, box = _stitched(prediction, target, positions_px, shape)
    return fields[0][box], fields[1][box]


def _stitched(
    prediction: np.ndarray, target: np.ndarray, positions_px: np.ndarray, shape: tuple[int, int]
) -> tuple[list[np.ndarray], tuple[slice, slice]]:
    """Return both whole fields, and the rectangle of them that has no holes."""
    weights = stitching.weights(WINDOW_PX)
    fields = [
        stitching.stitch(patches, positions_px, shape, weights=weights)
        for patches in (prediction, target)
    ]
    return [found.field for found in fields], solid_box(fields[0].coverage)


def solid_box(coverage: np.ndarray) -> tuple[slice, slice]:
    """Shrink the bounding box of the covered pixels until it has no hole.

    The side with the largest share of uncovered pixels goes first, so that ragged edges
    (jitter) cost a few pixels only.
    """
    rows, cols = stitching.covered_crop(coverage, coverage)
    top, bottom, left, right = rows.start, rows.stop, cols.start, cols.stop
    while not coverage[top:bottom, left:right].all():
        box = ~coverage[top:bottom, left:right]
        holes = [box[0].mean(), box[-1].mean(), box[:, 0].mean(), box[:, -1].mean()]
        side = int(np.argmax(holes))
        top, bottom = top + (side == 0), bottom - (side == 1)
        left, right = left + (side == 2), right - (side == 3)
    return slice(top, bottom), slice(left, right)


def spectra(
    part: Patches, dataset: Dataset, indices: np.ndarray, scaling: Scaling
) -> dict[str, Any]:
    """Diagonal profiles and band energies of prediction and truth (Fig. 4)."""
    truth = _targets(dataset, indices, scaling)
    positions_px = dataset.positions_px[indices]
    found: dict[str, Any] = {}
    for channel in CHANNELS:
        pair = {"prediction": getattr(part, channel), "truth": getattr(truth, channel)}
        fields = stitched_pair(*pair.values(), positions_px, dataset.object_shape)
        found[channel] = {
            side: {
                "patches": _profile(spectrum.mean_power_spectrum(values, remove_mean=True)),
                "field": _profile(spectrum.power_spectrum(field, remove_mean=True, window="hann")),
            }
            for (side, values), field in zip(pair.items(), fields, strict=True)
        }
    return found


def _profile(psd: np.ndarray) -> dict[str, Any]:
    side = min(psd.shape)
    # the diagonal needs a square: a strip's spectrum keeps its bands only
    # a constant image has no spectrum beyond rounding: no shares to speak of
    flat = float(psd.sum()) < FLAT_POWER
    found: dict[str, Any] = {"bands": None if flat else spectrum.band_energies(psd)}
    if psd.shape == (side, side):
        frequency, power = spectrum.diagonal_profile(psd)
        found["frequency"] = [round(float(v), 6) for v in frequency]
        found["power"] = [float(f"{v:.6g}") for v in power]
    return found


def sharp(part: Patches, dataset: Dataset, indices: np.ndarray, scaling: Scaling) -> dict[str, Any]:
    """Edge widths, contrast and seams: what section IV-B says by eye (Fig. 3).

    The two levels whose contrast is taken are those of the true amplitude (bars and
    background), in both channels: the true phase varies within either.
    """
    truth = _targets(dataset, indices, scaling)
    positions_px = dataset.positions_px[indices]
    lines = sharpness.seams(positions_px, WINDOW_PX, dataset.object_shape)
    fields = {}
    for channel in CHANNELS:
        fields[channel], box = _stitched(
            getattr(part, channel), getattr(truth, channel), positions_px, dataset.object_shape
        )
    rows, cols = box
    borders = (
        lines[0][rows.start : rows.stop - 1, cols],
        lines[1][rows, cols.start : cols.stop - 1],
    )
    bright = {"patches": truth.amplitude >= 0.5, "field": fields["amplitude"][1][box] >= 0.5}
    found: dict[str, Any] = {}
    for channel in CHANNELS:
        pairs = {
            "patches": (getattr(part, channel), getattr(truth, channel)),
            "field": tuple(field[box] for field in fields[channel]),
        }
        field, true_field = pairs["field"]
        found[channel] = {
            kind: {
                "edge": sharpness.edge_width(*pair).to_dict(),
                "contrast": sharpness.contrast(*pair, bright[kind]),
            }
            for kind, pair in pairs.items()
        }
        found[channel]["seams"] = {
            "prediction": sharpness.seam_energy(field, borders),
            "truth": sharpness.seam_energy(true_field, borders),
            # of the error, so that slopes of the truth do not count either
            "clear": sharpness.seam_energy(
                field - true_field, borders, sharpness.near_edges(true_field)
            ),
        }
    return found


def attention(network: keras.Model | None, dataset: Dataset) -> dict[str, Any] | None:
    """Attention mass by key radius, on evenly spaced test patterns (section IV-B3)."""
    if network is None:
        return None
    indices = data.region_indices(dataset, "gap")
    chosen = np.linspace(0, len(indices) - 1, ATTENTION_PATTERNS).round().astype(int)
    return attention_mass.by_radius(network, dataset.patterns[indices[chosen]])


def overlaps(predict: Predictor, scaling: Scaling, spec: dict[str, Any]) -> dict[str, Any]:
    """Scan the figure region again at other overlaps (Figs. 7b and 8)."""
    obj = data.load_object(spec["object_name"])
    rows, cols = data.REGIONS[FIGURE_REGION]
    # rows and cols count scan positions; the region ends where the object does
    area = tuple(
        slice(8 * axis.start, side)
        for axis, side in zip((rows, cols), obj.amplitude.shape, strict=True)
    )
    crop = data.ComplexObject(
        f"{obj.name}/{FIGURE_REGION}", obj.amplitude[area], obj.phase_rad[area], obj.provenance
    )
    found = {}
    for overlap in OVERLAPS:
        step_px = data.step_from_overlap(WINDOW_PX, overlap)
        found[f"{overlap:.2f}"] = _scan_and_score(crop, step_px, predict, scaling, spec)
    return found


def curved(
    predict: Predictor, scaling: Scaling, spec: dict[str, Any]
) -> tuple[dict[str, Any], dict[str, np.ndarray]]:
    """Score samples that the network has not been trained on (Fig. 6).

    Returns
    -------
    scores : dict
        By sample.
    fields : dict of (`KEPT_PX`, `KEPT_PX`) float16
        The middle of the stitched fields that are kept, on the target scale.
    """
    scores, fields = {}, {}
    for name in CURVED:
        dataset, part = _scan(data.load_object(name), CURVED_STEP_PX, predict, spec)
        scores[name] = _scored(dataset, part, CURVED_STEP_PX, scaling)
        if spec["seed"] == 0 and name in KEPT_CURVED:
            for channel in CHANNELS:
                fields[f"curved_{name}_{channel}"] = _middle(getattr(part, channel), dataset)
    return scores, fields


def _middle(patches: np.ndarray, dataset: Dataset) -> np.ndarray:
    stitched = stitching.stitch(
        patches, dataset.positions_px, dataset.object_shape, weights=stitching.weights(WINDOW_PX)
    )
    rows, cols = (
        slice((side - KEPT_PX) // 2, (side + KEPT_PX) // 2) for side in dataset.object_shape
    )
    return (np.round(stitched.field[rows, cols] * KEPT_STEPS) / KEPT_STEPS).astype(np.float16)


def _scan_and_score(
    obj: data.ComplexObject,
    step_px: float,
    predict: Predictor,
    scaling: Scaling,
    spec: dict[str, Any],
) -> dict[str, Any]:
    return _scored(*_scan(obj, step_px, predict, spec), step_px, scaling)


def _scan(
    obj: data.ComplexObject, step_px: float, predict: Predictor, spec: dict[str, Any]
) -> tuple[Dataset, Patches]:
    probe = data.load_probe("stand-in" if spec["object_name"] == "stand-in" else "ltem")
    dataset = data.make(
        obj,
        probe,
        step_px=step_px,
        noise=data.NoiseModel(**spec["noise"]),
        seed=TEST_SCAN_SEED + spec["seed"],
    )
    return dataset, predict(dataset.patterns)


def _scored(dataset: Dataset, part: Patches, step_px: float, scaling: Scaling) -> dict[str, Any]:
    return {"step_px": step_px, **score(part, dataset, np.arange(len(dataset)), scaling)}
