"""What the Non-Local branch and the learned centre do in the first steps of training."""

from __future__ import annotations

import dataclasses
import functools
import math
from collections.abc import Mapping, Sequence
from typing import Any

import keras
import numpy as np

from ppn_tf import complexity, data, models, training
from ppn_tf.data.dataset import Dataset
from ppn_tf.layers.scaling import PatternScaling
from ppn_tf.scaling import Scaling
from reproduce.parts.audit_records import Plan
from reproduce.parts.audit_short import Fitter

NAME = "branch"
STEPS = (0, 1, 2, 4, 8, 16)
BATCH = 8
IMAGES = 8
SEEDS = 2
PATCH_PX = 8

#: Batches whose gradients of the centre are compared, all at the initial weights.
GRADIENT_BATCHES = 8

#: Share of Adam's first moment that a first gradient enters with.
_FIRST_MOMENT = 1.0 - 0.9

REPAIR = {"stem": "conv3", "residual": True}


@dataclasses.dataclass(frozen=True)
class Series:
    """One network under one input, followed over the first steps.

    Attributes
    ----------
    name, model : str
    options : dict
    transform : str
    branch : str
        Layer whose output the fusion takes from the branch.
    steps : tuple of int
        Adam steps after which the branch is measured.
    """

    name: str
    model: str
    options: dict[str, Any]
    transform: str
    branch: str
    steps: tuple[int, ...] = STEPS


SERIES = (
    Series("ppn-released, linear input", "ppn-released", {}, "linear", "nonlocal_pool", (0, 1)),
    Series("ppn-released", "ppn-released", {}, "log1p", "nonlocal_pool"),
    Series("ppn-released repaired", "ppn-released", REPAIR, "log1p", "nonlocal_pool"),
    Series("ppn", "ppn", {}, "log1p", "nonlocal_norm"),
)


@dataclasses.dataclass(frozen=True)
class Images:
    """Training batches and test images of one seed, inputs scaled."""

    patterns: np.ndarray
    targets: dict[str, np.ndarray]
    test: np.ndarray

    def batch(self, number: int) -> tuple[np.ndarray, dict[str, np.ndarray]]:
        """Return one batch."""
        part = slice(number * BATCH, (number + 1) * BATCH)
        return self.patterns[part], {name: values[part] for name, values in self.targets.items()}


def images(dataset: Dataset, scaling: Scaling, seed: int, batches: int) -> Images:
    """Draw batches by the seed's training order, and evenly spaced test images."""
    chosen, _ = data.split_validation(data.train_indices(dataset), seed)
    samples = training.Samples.of(dataset, chosen[: batches * BATCH], scaling)
    gap = data.region_indices(dataset, "gap")
    gap = gap[np.linspace(0, len(gap) - 1, IMAGES).round().astype(int)]
    scale = PatternScaling(scaling.transform, *scaling.input_range)
    patterns, test = (
        keras.ops.convert_to_numpy(scale(x))
        for x in (samples.patterns, dataset.patterns[gap][..., None])
    )
    return Images(patterns, samples.targets, test)


class Trainer(Fitter):
    """A network that is trained for a few steps, and whose branch is looked at.

    Parameters
    ----------
    series : Series
    side_px, eager
        See `Fitter`.
    """

    def __init__(self, series: Series, side_px: int = 32, eager: bool = False) -> None:
        super().__init__(series.model, series.options, side_px, eager)
        self.series = series
        layer = self.model.get_layer(series.branch)
        self._branch = keras.Model(self.model.input, layer.output)
        self._after = keras.Model([self.model.input, layer.output], self.model.output)

    def branch(self, patterns: np.ndarray) -> np.ndarray:
        """Return what the branch gives the fusion, (B, H/P, W/P, C)."""
        branch = keras.ops.convert_to_numpy(self._branch(patterns, training=False))
        return pooled(branch, len(patterns[0]))

    def constant_branch_change(self, patterns: np.ndarray) -> float:
        """Return the largest change of an output if the branch gave its mean over images."""
        branch = keras.ops.convert_to_numpy(self._branch(patterns, training=False))
        mean = np.broadcast_to(branch.mean(axis=0), branch.shape)
        own, constant = (
            self._after([patterns, values], training=False) for values in (branch, mean)
        )
        return max(
            float(np.abs(keras.ops.convert_to_numpy(own[name] - constant[name])).max())
            for name in own
        )

    def center_gradients(self) -> dict[str, np.ndarray]:
        """Return the gradients of the last batch, if the step before it was `restore`.

        A first step leaves Adam's first moment at a tenth of the gradient; a variable
        without gradient keeps zeros.
        """
        return {
            variable.path.rpartition("/")[2].removesuffix("_center_momentum"): np.asarray(
                keras.ops.convert_to_numpy(variable), dtype=np.float64
            )
            / _FIRST_MOMENT
            for variable in self.optimizer.variables
            if variable.path.endswith("center_momentum")
        }


def pooled(branch: np.ndarray, side_px: int) -> np.ndarray:
    """Average a branch of the patterns' size over patches, as the fusion does.

    A branch of another size is pooled already, and is returned as it is.
    """
    count, rows, cols, channels = branch.shape
    if rows != side_px:
        return branch
    split = branch.reshape(count, rows // PATCH_PX, PATCH_PX, cols // PATCH_PX, PATCH_PX, channels)
    return split.mean(axis=(2, 4))


def spread(branch: np.ndarray) -> dict[str, float]:
    """Return how much a branch tells images apart.

    Parameters
    ----------
    branch : (B, ...) float
        Output for B images.

    Returns
    -------
    dict
        ``sd``: root mean square over outputs of the standard deviation over images;
        ``sd_max``: the largest; ``level``: root mean square of the output.
    """
    values = branch.astype(np.float64).reshape(len(branch), -1)
    sd = values.std(axis=0)
    return {
        "sd": float(np.sqrt(np.mean(sd**2))),
        "sd_max": float(sd.max()),
        "level": float(np.sqrt(np.mean(values**2))),
    }


def follow(trainer: Trainer, drawn: Images, seed: int, steps: Sequence[int]) -> dict[str, Any]:
    """Train for a few steps; return the branch's spread on the way."""
    trainer.start(seed)
    found = {}
    first: dict[str, list[float]] = {}
    for number in range(max(steps) + 1):
        if number in steps:
            found[number] = spread(trainer.branch(drawn.test))
        if number < max(steps):
            trainer.step(drawn.batch(number))
        if number == 0:
            first = {name: g.tolist() for name, g in trainer.center_gradients().items()}
    return {
        "steps": found,
        "constant_branch_change": trainer.constant_branch_change(drawn.test),
        "first_center_gradient": first,
    }


def gradient_noise(trainer: Trainer, drawn: Images, seed: int) -> dict[str, Any]:
    """Compare the centre's gradient over batches with its scatter, at the initial weights.

    Returns
    -------
    dict
        Layer to ``mean`` and ``sd`` over batches, (2,) each, and ``t`` = mean over its
        standard error: beyond about 2.4 (7 degrees of freedom) it is no chance.
    """
    weights = trainer.start(seed)
    every: dict[str, list[np.ndarray]] = {}
    for number in range(GRADIENT_BATCHES):
        trainer.restore(weights)
        trainer.step(drawn.batch(number))
        for name, gradient in trainer.center_gradients().items():
            every.setdefault(name, []).append(gradient)
    found = {}
    for name, gradients in every.items():
        mean, sd = np.mean(gradients, axis=0), np.std(gradients, axis=0, ddof=1)
        error = sd / math.sqrt(len(gradients))
        t = np.divide(mean, error, out=np.zeros_like(mean), where=error > 0)
        norm = float(np.linalg.norm(gradients, axis=1).mean())
        found[name] = {"mean": mean.tolist(), "sd": sd.tolist(), "t": t.tolist(), "norm": norm}
    return found


def settings(object_name: str) -> dict[str, Any]:
    """Return what decides the numbers."""
    return {
        "object": object_name,
        "series": [
            [one.name, one.model, dict(one.options), one.transform, one.branch, list(one.steps)]
            for one in SERIES
        ],
        "batch": BATCH,
        "images": IMAGES,
        "gradient_batches": GRADIENT_BATCHES,
    }


def plan(object_name: str, dataset: Dataset, seeds: int = SEEDS) -> Plan:
    """Return a unit for every series and seed."""
    batches = max(*STEPS, GRADIENT_BATCHES)
    # networks that differ by their input alone share a compiled step
    made: dict[tuple[str, str], Trainer] = {}

    def unit(series: Series, seed: int) -> dict[str, Any]:
        key = (series.model, repr(series.options))
        if key not in made:
            made[key] = Trainer(series)
        trainer = made[key]
        scaling = dataset.fit_scaling(data.train_indices(dataset), series.transform)
        drawn = images(dataset, scaling, seed, batches)
        found = {"follow": follow(trainer, drawn, seed, series.steps)}
        if series.options == REPAIR:
            found["dc_attention"] = dc_attention(trainer.model, drawn.test[:4])
        if series.model == "ppn":
            found["gradients"] = gradient_noise(trainer, drawn, seed)
        return found

    units = {
        f"{series.name}; seed {seed}": functools.partial(unit, series, seed)
        for series in SERIES
        for seed in range(seeds)
    }
    return Plan(NAME, settings(object_name), units)


def assemble(results: Mapping[str, Mapping[str, Any]]) -> dict[str, Any]:
    """Arrange the units of a record.

    Returns
    -------
    dict
        ``series`` (name to seed to `follow`), ``gradients`` (seed to `gradient_noise`),
        ``dc_attention`` (seed to `dc_attention` of the repaired network after the last step).
    """
    found: dict[str, Any] = {"series": {}, "gradients": {}, "dc_attention": {}}
    for key, one in results.items():
        name, _, number = key.rpartition("; seed ")
        steps = {int(step): value for step, value in one["follow"]["steps"].items()}
        found["series"].setdefault(name, {})[int(number)] = one["follow"] | {"steps": steps}
        for part in ("gradients", "dc_attention"):
            if part in one:
                found[part][int(number)] = one[part]
    return found


def measure(dataset: Dataset) -> dict[str, Any]:
    """Measure at once, without a record; see `assemble`."""
    return assemble({key: unit() for key, unit in plan("", dataset).units.items()})


def dc_attention(model: keras.Model, patterns: np.ndarray) -> dict[str, float]:
    """Return the attention on the centre pixel with the released weight and with 1.

    Parameters
    ----------
    model : keras.Model
        With the released radial weight.
    patterns : (B, H, W, 1) float
        Scaled.

    Returns
    -------
    dict
        Mean attention times the number of pixels (1 is an even share), over the queries
        whose unweighted logit with the centre is positive (``liked``) or negative
        (``disliked``), with the weight as ``released`` and as ``one``.
    """
    layer = model.get_layer("nonlocal_1_attention")
    into = keras.Model(model.input, model.get_layer("nonlocal_1_norm_1").output)
    x = into(patterns, training=False)
    query, key, _ = (keras.ops.convert_to_numpy(v).astype(np.float64) for v in layer.heads(x))
    height, width = patterns.shape[1:3]
    weight, cosine, sine = (
        keras.ops.convert_to_numpy(v).astype(np.float64) for v in layer.polar_weights(height, width)
    )
    angular = np.outer(cosine, cosine) + np.outer(sine, sine)
    plain = query @ np.swapaxes(key, -1, -2) / math.sqrt(layer.key_dim) * angular
    return dc_share(plain, weight, (height // 2) * width + width // 2)


def dc_share(plain: np.ndarray, weight: np.ndarray, centre: int) -> dict[str, float]:
    """Compare softmax attention on one key with its own weight and with weight 1.

    Parameters
    ----------
    plain : (..., N, N) float
        Logits of queries and keys before the radial weight.
    weight : (N,) float
        Radial weight of the keys.
    centre : int
        The key.

    Returns
    -------
    dict
        As in `dc_attention`.
    """
    tokens = plain.shape[-1]
    weighted = plain * weight
    at_centre = plain[..., centre]
    weighted[..., centre] = -np.inf
    others = np.exp(weighted).sum(axis=-1)
    found = {}
    for name, factor in (("released", weight[centre]), ("one", 1.0)):
        mine = np.exp(at_centre * factor)
        share = tokens * mine / (others + mine)
        for group, chosen in (("liked", at_centre > 0), ("disliked", at_centre < 0)):
            found[f"{group}_{name}"] = float(share[chosen].mean())
    return found


def operations() -> dict[str, float]:
    """Return the GFLOP of the released network, and of its branch by leaving it out."""
    plain = {"attention_implementation": "plain"}
    whole = complexity.flops(models.create("ppn-released", **plain)) / 1e9
    local = complexity.flops(models.create("ppn-released", nonlocal_attention=None)) / 1e9
    return {"whole": whole, "branch": whole - local, "share": (whole - local) / whole}


def random_walk(history: Sequence[Mapping[str, Any]], steps_per_epoch: int) -> float:
    """Return how far pure noise would carry one coordinate under Adam.

    Adam divides a gradient by its own size, so that noise alone makes steps of about the
    learning rate in random directions: sqrt(sum of learning rates squared).
    """
    return math.sqrt(sum(steps_per_epoch * epoch["learning_rate"] ** 2 for epoch in history))


def parameters() -> dict[str, complexity.ParameterCounts]:
    """Count the parameters of every network at 32 x 32 px."""
    return {name: complexity.parameter_counts(models.create(name)) for name in models.available()}


def center_path(record: Mapping[str, Any]) -> dict[str, Any]:
    """Return the centre over a whole training, and how far noise would carry it.

    Parameters
    ----------
    record : mapping
        Of a network with a learned centre.

    Returns
    -------
    dict
        ``centers`` (layer to one pair an epoch, in shares of the side) and
        ``random_walk``, see `random_walk`.
    """
    results = record["results"]
    history = results["history"]
    steps = math.ceil(results["train_patches"] / record["spec"]["training"]["batch_size"])
    layers = history[0]["centers"]
    return {
        "centers": {name: [epoch["centers"][name] for epoch in history] for name in layers},
        "random_walk": random_walk(history, steps),
    }
