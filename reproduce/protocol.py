"""What a run trains on and how it is scored: the simulated scan, or a measured one."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import keras
import numpy as np

from ppn_tf import data
from ppn_tf.scaling import Scaling
from reproduce import evaluate
from reproduce.parts import real
from reproduce.specification import RunSpec


@dataclasses.dataclass(frozen=True)
class Prepared:
    """Data of one run.

    Attributes
    ----------
    dataset : Dataset
    train, validation : (N,) int arrays
        Indices of the patches that are fitted, and of those for the plateau rule.
    scaling : Scaling
        Fitted on `train`.
    """

    dataset: data.Dataset
    train: np.ndarray
    validation: np.ndarray
    scaling: Scaling


def prepare(spec: RunSpec, labels: Path | None = None) -> Prepared:
    """Load or simulate the scan of a run, and split it.

    Parameters
    ----------
    spec : RunSpec
    labels : Path, optional
        Folder for the reconstructions that measured scans are labelled with; a folder
        in the user's cache by default.
    """
    if real.is_measured(spec.object_name):
        return Prepared(*real.prepare(spec, labels))
    dataset = data.load(
        spec.object_name, jitter_px=spec.jitter_px, noise=spec.noise, seed=spec.seed
    )
    indices = data.train_indices(dataset)
    if spec.train_size is not None:
        indices = data.subsample(indices, spec.train_size, spec.seed)
    train, validation = data.split_validation(indices, spec.seed)
    return Prepared(dataset, train, validation, dataset.fit_scaling(train, spec.transform))


def score(
    predict: evaluate.Predictor, network: keras.Model | None, prepared: Prepared, spec: RunSpec
) -> evaluate.Evaluation:
    """Compute all that any exhibit asks of a run."""
    if real.is_measured(spec.object_name):
        return real.score(predict, prepared.dataset, prepared.scaling)
    return evaluate.evaluate(predict, prepared.dataset, prepared.scaling, spec.to_dict(), network)
