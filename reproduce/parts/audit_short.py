"""Short trainings of the audit: one compiled network, many seeds, plain Adam steps."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any

import keras
import numpy as np

from ppn_tf import data, metrics, models, training
from ppn_tf.data.dataset import Dataset
from ppn_tf.layers.scaling import PatternScaling
from ppn_tf.scaling import Scaling
from ppn_tf.seeding import generator

LEARNING_RATE = 1e-3
CHANNELS = ("amplitude", "phase")

#: Of BatchNorm in place of 0.99, whose averages need more steps than there are here.
NORM_MOMENTUM = 0.9


@dataclasses.dataclass(frozen=True, eq=False)
class Arrays:
    """Scaled patterns (N, H, W, 1) and targets of some patches."""

    patterns: np.ndarray
    targets: dict[str, np.ndarray]

    def __len__(self) -> int:
        return len(self.patterns)

    def part(self, chosen: np.ndarray | slice) -> tuple[np.ndarray, dict[str, np.ndarray]]:
        """Return patterns and targets of some of the patches."""
        return self.patterns[chosen], {
            name: values[chosen] for name, values in self.targets.items()
        }


def arrays(dataset: Dataset, indices: np.ndarray, scaling: Scaling) -> Arrays:
    """Scale patches of a data set as a network takes and gives them."""
    samples = training.Samples.of(dataset, indices, scaling)
    scale = PatternScaling(scaling.transform, *scaling.input_range)
    return Arrays(keras.ops.convert_to_numpy(scale(samples.patterns)), samples.targets)


class Fitter:
    """A network on scaled patterns that is trained again and again from other weights.

    Parameters
    ----------
    model : str
    options : mapping
    side_px : int
        Side of the patterns.
    eager : bool
        Take steps without compiling them, which pays for a few steps of small patterns.
    """

    def __init__(
        self, model: str, options: Mapping[str, Any], side_px: int = 32, eager: bool = False
    ) -> None:
        self._made_from = (model, (side_px, side_px, 1), dict(options))
        self.model = self._create()
        for layer in self.model.layers:
            if isinstance(layer, keras.layers.BatchNormalization):
                layer.momentum = NORM_MOMENTUM
        self.optimizer = keras.optimizers.Adam(LEARNING_RATE)
        # XLA would compile longer than these few steps take
        self.model.compile(
            self.optimizer,
            loss=dict.fromkeys(CHANNELS, "mse"),
            jit_compile=False,
            run_eagerly=eager,
        )
        self.optimizer.build(self.model.trainable_variables)

    def _create(self) -> keras.Model:
        name, shape, options = self._made_from
        return models.create(name, shape, **options)

    def start(self, seed: int) -> list[np.ndarray]:
        """Take the initial weights of a seed; return them."""
        training.make_repeatable(seed)
        weights = self._create().get_weights()
        self.restore(weights)
        return weights

    def restore(self, weights: Sequence[np.ndarray]) -> None:
        """Take weights, and forget what the optimiser remembers."""
        self.model.set_weights(weights)
        for variable in self.optimizer.variables:
            if "learning_rate" not in variable.path:
                variable.assign(np.zeros(variable.shape, dtype=variable.dtype))

    def step(self, batch: tuple[np.ndarray, dict[str, np.ndarray]]) -> float:
        """Take one Adam step; return the loss before it."""
        return float(np.asarray(self.model.train_on_batch(*batch)).ravel()[0])

    def epoch(self, samples: Arrays, batch_size: int, seed: int, number: int) -> None:
        """Go through the patches once, in the order of seed and epoch."""
        order = generator(seed, "order", number).permutation(len(samples))
        for start in range(0, len(samples), batch_size):
            self.step(samples.part(order[start : start + batch_size]))

    def fit(self, samples: Arrays, *, seed: int, epochs: int, batch_size: int) -> None:
        """Train from the initial weights of a seed."""
        self.start(seed)
        for number in range(epochs):
            self.epoch(samples, batch_size, seed, number)


def predict(model: keras.Model, patterns: np.ndarray, batch_size: int = 32) -> dict[str, Any]:
    """Return both outputs, (N, H, W, 1) each, for scaled patterns, slightly below 0 or not."""
    parts = [
        model.predict_on_batch(patterns[start : start + batch_size])
        for start in range(0, len(patterns), batch_size)
    ]
    return {name: np.concatenate([np.asarray(p[name]) for p in parts]) for name in CHANNELS}


def score(model: keras.Model, samples: Arrays) -> dict[str, float]:
    """Return PSNR [dB], SSIM per image and MSE of both channels, as ``psnr_amplitude``, ..."""
    made = predict(model, samples.patterns)
    found = {}
    for channel in CHANNELS:
        one = metrics.evaluate(
            made[channel],
            samples.targets[channel],
            data_range=1.0,
            convention="per-image",
        )
        found |= {
            f"psnr_{channel}": one.psnr_db,
            f"ssim_{channel}": one.ssim,
            f"mse_{channel}": one.mse,
        }
    return {key: float(value) for key, value in found.items()}


def spaced(indices: np.ndarray, count: int) -> np.ndarray:
    """Return at most `count` of the indices, evenly spaced."""
    if len(indices) <= count:
        return indices
    return indices[np.linspace(0, len(indices) - 1, count).round().astype(int)]


def sound(dataset: Dataset, transform: str = "log1p") -> Scaling:
    """Return the scaling fitted on all training patches."""
    return dataset.fit_scaling(data.train_indices(dataset), transform)
