"""Runs on measured scans (section IV-C): data, labels, split in space, scores.

A measured object's name says what its labels are: ``scan-247/epie-200`` are 200
iterations of our own ePIE, ``scan-39`` the patches that its authors published.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from ppn_tf import data, labels
from ppn_tf.data import nanoprobe
from ppn_tf.data.blocked import BlockedSplit, blocked_split, shared_pixels_per_patch
from ppn_tf.data.dataset import Dataset
from ppn_tf.errors import OptionError, SourceMissingError
from ppn_tf.inference import Patches
from ppn_tf.scaling import Scaling
from reproduce import evaluate
from reproduce.experiments import EPOCHS, Block
from reproduce.specification import RunSpec

#: The one test region.
REGION = "blocked"

#: How runs on measured scans are trained and scored.
PATCHES = Block("patches", "one score per patch, averaged", "log1p", 0, REGION, "per-image")
FIELD = Block("field", "the stitched test block", "log1p", 0, REGION, "field")

#: Iterations of ePIE behind the labels, by profile; the paper runs 100 to 200.
ITERATIONS = {"smoke": 5, "quick": 30, "paper": 200}

#: Least share of a scan's patches in the test block.
TEST_FRACTION = 0.2

#: Scan 247 has 226 training patches, 8 steps an epoch, and the chart 87: so many times
#: the paper's epochs are as many steps of the optimiser as on the chart.
EPOCH_FACTOR = {"scan-247": 11, "scan-39": 1}

#: Most patches whose predictions are kept for the figure, nearest to the block's middle.
KEPT_PATCHES = 160

CHANNELS = evaluate.CHANNELS


def is_measured(object_name: str) -> bool:
    """Tell measured scans from simulated objects, by name."""
    return object_name.startswith("scan-")


def object_name(profile: str) -> str | None:
    """Return the measured scan to use: the paper's where its files are, else scan 247.

    Nothing is downloaded: the paper's scan is 930 MB.

    Returns
    -------
    str or None
        None where neither is on this computer.

    Raises
    ------
    SourceError
        If a file is there and is not the expected one.
    """
    if _all_there(nanoprobe.SCAN_39):
        return "scan-39"
    if _all_there((nanoprobe.SCAN_247,)):
        return f"scan-247/epie-{ITERATIONS[profile]}"
    return None


def _all_there(names: tuple[str, ...]) -> bool:
    try:
        for name in names:
            data.fetch(name, download=False)
    except SourceMissingError:
        return False
    return True


def epochs(model: str, name: str) -> int:
    """Return the epochs of a network on a measured scan."""
    return EPOCHS.get(model, EPOCHS["ppn"]) * EPOCH_FACTOR[name.partition("/")[0]]


def load(name: str, folder: Path | None = None) -> Dataset:
    """Return patterns with labels, making the labels where they are not cached.

    Raises
    ------
    OptionError
        For an unknown name.
    """
    scan_name, _, maker = name.partition("/epie-")
    if name == "scan-39":
        return nanoprobe.load_scan39()
    if scan_name != "scan-247" or not maker.isdecimal() or int(maker) < 1:
        raise OptionError(
            f"unknown measured scan {name!r}: expected scan-39, or scan-247/epie-N for N "
            "iterations of ePIE"
        )
    scan = nanoprobe.load_scan247()
    return labels.dataset(scan, label_of(scan, int(maker), folder))


def label_of(
    scan: nanoprobe.MeasuredScan, iterations: int, folder: Path | None = None
) -> labels.Label:
    """Return the reconstruction of a scan, from the cache where it is there."""
    folder = data.cache_directory() / "labels" if folder is None else folder
    return labels.reconstruct(
        scan, folder, iterations=iterations, label=f"{scan.name}: labels by ePIE"
    )


def prepare(
    spec: RunSpec, folder: Path | None = None
) -> tuple[Dataset, np.ndarray, np.ndarray, Scaling]:
    """Load a measured scan and split it in space.

    Returns
    -------
    dataset, train, validation, scaling
        The fields of `reproduce.protocol.Prepared`; ranges are fitted on the training
        part alone. A profile's limit on training patches above their number has no
        effect.

    Raises
    ------
    OptionError
        For jitter or noise: both are in the measurement.
    """
    if spec.jitter_px or spec.noise != "none":
        raise OptionError(
            f"{spec.object_name} is measured: expected jitter 0 and noise none, received jitter "
            f"{spec.jitter_px} px and noise {spec.noise}"
        )
    dataset = load(spec.object_name, folder)
    indices = split(dataset).train
    if spec.train_size is not None:
        indices = data.subsample(indices, min(spec.train_size, len(indices)), spec.seed)
    train, validation = data.split_validation(indices, spec.seed)
    return dataset, train, validation, dataset.fit_scaling(train, spec.transform)


def split(dataset: Dataset) -> BlockedSplit:
    """Return the split of a measured scan: its last rows test, none of their pixels train."""
    return blocked_split(dataset, TEST_FRACTION)


def score(predict: evaluate.Predictor, dataset: Dataset, scaling: Scaling) -> evaluate.Evaluation:
    """Score a predictor on the test block.

    Returns
    -------
    Evaluation
        ``results["regions"]["blocked"]`` as in a simulated run, ``results["split"]`` the
        numbers of patches, ``predictions`` the patches nearest to the middle of the
        block: ``amplitude``, ``phase`` and their labels ``target_amplitude``,
        ``target_phase`` on the [0, 1] scale, float16, and ``positions_px``.
    """
    parts = split(dataset)
    test = parts.test
    part = predict(dataset.patterns[test])
    sizes = {name: len(getattr(parts, name)) for name in ("train", "test", "gap")}
    shared = int(shared_pixels_per_patch(dataset, parts.train)[test].sum())
    results: dict[str, Any] = {
        "regions": {REGION: evaluate.score(part, dataset, test, scaling)},
        "split": sizes | {"shared_pixels": shared},
    }
    chosen = _middle(dataset.positions_px[test])
    return evaluate.Evaluation(results, _kept(part, dataset, test, chosen, scaling))


def _middle(positions_px: np.ndarray) -> np.ndarray:
    distance = np.hypot(*(positions_px - positions_px.mean(axis=0)).T)
    return np.sort(np.argsort(distance, kind="stable")[:KEPT_PATCHES])


def _kept(
    part: Patches, dataset: Dataset, test: np.ndarray, chosen: np.ndarray, scaling: Scaling
) -> dict[str, np.ndarray]:
    indices = test[chosen]
    arrays = {
        "amplitude": part.amplitude[chosen],
        "phase": part.phase[chosen],
        "target_amplitude": scaling.target_amplitude(dataset.amplitude[indices]),
        "target_phase": scaling.target_phase(dataset.phase[indices]),
    }
    kept = {name: values.astype(np.float16) for name, values in arrays.items()}
    return kept | {"positions_px": dataset.positions_px[indices].astype(np.int16)}
