"""Train a network on pairs of patterns and patches: split, scaling, training."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import keras
import numpy as np

from ppn_tf import inference, models, training
from ppn_tf.data.splits import split_validation
from ppn_tf.errors import DataError, OptionError
from ppn_tf.scaling import Scaling


@dataclasses.dataclass(frozen=True, eq=False)
class Pairs:
    """Patterns and what they show.

    Attributes
    ----------
    patterns : (N, H, W) float32
        Raw counts.
    amplitude, phase_rad : (N, H, W) float32
        Object amplitude, and phase [rad].
    phase_zero : {"object", "light"}
        What phases count from, see `ppn_tf.scaling.PHASE_ZEROS`.
    held_out : (N,) bool, optional
        True for pairs that share nothing with the others: the learning-rate rule looks at
        them and no step trains on them. None leaves the choice to chance.

    Raises
    ------
    DataError
        For other shapes, values that are not finite, or where all pairs or none are held out.
    """

    patterns: np.ndarray
    amplitude: np.ndarray
    phase_rad: np.ndarray
    phase_zero: str = "object"
    held_out: np.ndarray | None = None

    def __post_init__(self) -> None:
        shape = np.shape(self.patterns)
        if len(shape) != 3 or 0 in shape:
            raise DataError(f"patterns must be (N, H, W), none 0, received shape {shape}")
        for name in ("patterns", "amplitude", "phase_rad"):
            values = np.asarray(getattr(self, name), dtype=np.float32)
            if values.shape != shape or not np.isfinite(values).all():
                raise DataError(
                    f"{name} must be finite and of shape {shape}, received {values.shape}"
                )
            object.__setattr__(self, name, values)
        held_out = self.held_out
        if held_out is not None and not (
            held_out.shape == shape[:1]
            and held_out.dtype == bool
            and 0 < held_out.sum() < len(held_out)
        ):
            raise DataError(
                f"held_out must be bool of shape {shape[:1]}, True for some and not for all, "
                f"received {held_out.dtype} of shape {held_out.shape}, {int(held_out.sum())} True"
            )

    def __len__(self) -> int:
        return len(self.patterns)


@dataclasses.dataclass(frozen=True)
class FitOptions:
    """How `fit` trains.

    Attributes
    ----------
    epochs, batch_size : int
    seed : int
        Decides the held-out part, first weights and the order of the batches.
    validation_fraction : float
        Share held out for the learning-rate rule, where the pairs do not say what is.
    """

    epochs: int = 30
    batch_size: int = 32
    seed: int = 0
    validation_fraction: float = 0.05


def fit(
    pairs: Pairs,
    model: keras.Model | str,
    options: FitOptions,
    *,
    checkpoint: Path | None = None,
    label: str | None = None,
) -> tuple[keras.Model, list[dict[str, Any]]]:
    """Train a network, or create one and train it.

    Parameters
    ----------
    pairs : Pairs
    model : keras.Model or str
        A network with a scaling, trained in place; or a name, see `ppn_tf.models.create`.
    options : FitOptions
    checkpoint : Path, optional
        Training goes on from it, and writes it after every epoch.
    label : str, optional
        Of the progress bar on standard error.

    Returns
    -------
    (keras.Model, list of dict)
        The network, and what every epoch gave.

    Raises
    ------
    DataError, OptionError, TrainingError, RecordError
    """
    config = training.TrainingConfig(options.epochs, options.batch_size)
    kept, held_out = _split(pairs, options)
    if isinstance(model, str):
        training.make_repeatable(options.seed)
        scaling = Scaling.fit(
            pairs.patterns[kept], pairs.amplitude[kept], pairs.phase_rad[kept], "log1p"
        )
        scaling = dataclasses.replace(scaling, phase_zero=pairs.phase_zero)
        model = models.create(model, (*pairs.patterns.shape[1:], 1), scaling=scaling)
    scaling = inference.scaling_of(model)
    if scaling.phase_zero != pairs.phase_zero:
        raise OptionError(
            f"the network's phases count from the {scaling.phase_zero}'s zero, those of the pairs "
            f"from the {pairs.phase_zero}'s: expected the same"
        )
    inference.check_patterns(pairs.patterns, model.input_shape[1:3])
    history = training.train(
        model,
        _samples(pairs, kept, scaling),
        _samples(pairs, held_out, scaling),
        config,
        seed=options.seed,
        checkpoint=checkpoint,
        label=label,
    )
    return model, history


def _split(pairs: Pairs, options: FitOptions) -> tuple[np.ndarray, np.ndarray]:
    if pairs.held_out is not None:
        return np.flatnonzero(~pairs.held_out), np.flatnonzero(pairs.held_out)
    return split_validation(np.arange(len(pairs)), options.seed, options.validation_fraction)


def _samples(pairs: Pairs, indices: np.ndarray, scaling: Scaling) -> training.Samples:
    return training.Samples(
        pairs.patterns[indices][..., None],
        scaling.target_amplitude(pairs.amplitude[indices])[..., None],
        scaling.target_phase(pairs.phase_rad[indices])[..., None],
    )
