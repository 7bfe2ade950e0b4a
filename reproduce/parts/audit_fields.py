"""Receptive fields: what a network's layers can reach, and what its output depends on."""

from __future__ import annotations

import dataclasses
import functools
import math
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import keras
import numpy as np

from ppn_tf import data, kerasfile, models, training
from ppn_tf.data.dataset import Dataset
from ppn_tf.errors import DataError
from reproduce import experiments, runs
from reproduce.parts import audit_short
from reproduce.parts.audit_records import Plan

NAME = "fields"
SIDE_PX = 32
TESTED = 16
SHARE = 0.9

#: Name to network, options.
NETWORKS: dict[str, tuple[str, dict[str, Any]]] = {
    "ptychonn": ("ptychonn", {}),
    "ptynet": ("ptynet", {}),
    "dpi": ("dpi", {}),
    "ppn": ("ppn", {}),
    "ppn without NLB": ("ppn", {"nonlocal_attention": None}),
    "ppn-released without NLB": ("ppn-released", {"nonlocal_attention": None}),
}


@dataclasses.dataclass(frozen=True)
class Span:
    """First and last index along one axis; everything where `whole`."""

    low: float
    high: float

    @property
    def whole(self) -> bool:
        """Whether it is the whole image, whatever its size."""
        return math.isinf(self.low)

    def __or__(self, other: Span) -> Span:
        return Span(min(self.low, other.low), max(self.high, other.high))


WHOLE = Span(-math.inf, math.inf)

#: Layers that map every pixel on its own, or only join and pick channels.
_POINTWISE = {
    "Activation",
    "Add",
    "BatchNormalization",
    "Concatenate",
    "Dropout",
    "LayerNormalization",
    "LeakyReLU",
    "ReLU",
    "SelectChannel",
    "TargetScaling",
    "PatternScaling",
}
_CONVOLUTIONS = {"Conv2D", "GroupedConv2D"}
_TRANSPOSED = {"Conv2DTranspose", "GroupedConv2DTranspose"}
_POOLS = {"MaxPooling2D", "AveragePooling2D"}


def before(layer: keras.layers.Layer, span: Span) -> Span:
    """Return the inputs of a layer that a span of its outputs depends on, without borders.

    What is no convolution, pooling, upsampling or map of single pixels (attention, fully
    connected layers) depends on the whole image.
    """
    kind = type(layer).__name__
    if span.whole or kind in _POINTWISE:
        return span
    if kind == "ZeroPadding2D":
        pad = layer.padding[0][0]
        return Span(span.low - pad, span.high - pad)
    if kind in _CONVOLUTIONS | _POOLS:
        size = _one(layer.kernel_size if kind in _CONVOLUTIONS else layer.pool_size)
        stride = _one(layer.strides)
        # "same" on even sides: what is missing is padded, the smaller part in front
        pad = max(size - stride, 0) // 2 if layer.padding == "same" else 0
        return Span(span.low * stride - pad, span.high * stride - pad + size - 1)
    if kind in _TRANSPOSED:
        size, stride = _one(layer.kernel_size), _one(layer.strides)
        pad = max(size - stride, 0) // 2
        return Span(
            math.ceil((span.low + pad - size + 1) / stride), math.floor((span.high + pad) / stride)
        )
    if kind == "UpSampling2D":
        factor = _one(layer.size)
        if layer.interpolation == "nearest":
            return Span(span.low // factor, span.high // factor)
        ends = [(v + 0.5) / factor - 0.5 for v in (span.low, span.high)]
        return Span(math.floor(ends[0]), math.ceil(ends[1]))
    return WHOLE


def _one(value: Any) -> int:
    return int(value[0] if isinstance(value, (tuple, list)) else value)


def theoretical(model: keras.Model, output: str = "amplitude") -> int | None:
    """Return the width in pixels of the inputs that one output pixel can depend on.

    Parameters
    ----------
    model : keras.Model
    output : str

    Returns
    -------
    int or None
        The largest over output pixels, borders left aside; None for the whole image,
        whatever its size.
    """
    tensor = model.output[output]
    # strides make it depend on where the pixel lies within a period
    spans = [_reach(model, tensor, at) for at in range(SIDE_PX, 2 * SIDE_PX)]
    if any(span.whole for span in spans):
        return None
    return int(max(span.high - span.low + 1 for span in spans))


def _reach(model: keras.Model, output: Any, index: int) -> Span:
    wanted: dict[int, Span] = {id(output): Span(index, index)}
    found: Span | None = None
    # from the outputs to the inputs: every consumer is seen before what it consumes
    nodes = [
        node for depth in sorted(model._nodes_by_depth) for node in model._nodes_by_depth[depth]
    ]
    for node in nodes:
        spans = [wanted[id(t)] for t in node.outputs if id(t) in wanted]
        if not spans:
            continue
        span = functools.reduce(Span.__or__, spans)
        if isinstance(node.operation, keras.layers.InputLayer):
            found = span if found is None else found | span
            continue
        for tensor in node.input_tensors:
            inner = before(node.operation, span)
            wanted[id(tensor)] = wanted[id(tensor)] | inner if id(tensor) in wanted else inner
    if found is None:
        raise DataError(f"{model.name}: no input is reached from its output")
    return found


def sensitivity(model: keras.Model, patterns: np.ndarray) -> np.ndarray:
    """Return the squared change of the middle of both outputs with every input pixel.

    Parameters
    ----------
    model : keras.Model
        On scaled patterns.
    patterns : (B, H, W, 1) float

    Returns
    -------
    (H, W) float64
        Mean over patterns of the squared derivative of the middle output pixel, summed over
        amplitude and phase.
    """
    middle = SIDE_PX // 2
    total = np.zeros(patterns.shape[1:3])
    for channel in audit_short.CHANNELS:
        part = keras.Model(model.input, model.output[channel][:, middle, middle, 0])
        total += (_gradient(part, patterns).astype(np.float64) ** 2).mean(axis=0)[..., 0]
    return total


def _gradient(model: keras.Model, patterns: np.ndarray) -> np.ndarray:
    """Return the derivative of a model's single output with its inputs."""
    if keras.backend.backend() == "jax":
        import jax

        return np.asarray(jax.grad(lambda x: model(x, training=False).sum())(patterns))
    import tensorflow as tf

    inputs = tf.constant(patterns)
    with tf.GradientTape() as tape:
        tape.watch(inputs)
        value = tf.reduce_sum(model(inputs, training=False))
    return tape.gradient(value, inputs).numpy()


def radius(weights: np.ndarray, share: float = SHARE) -> float:
    """Return the radius in pixels about the middle pixel that holds a share of the weight."""
    rows, cols = np.indices(weights.shape)
    distance = np.hypot(rows - weights.shape[0] // 2, cols - weights.shape[1] // 2).ravel()
    order = np.argsort(distance, kind="stable")
    summed = np.cumsum(weights.ravel()[order])
    return float(distance[order][np.searchsorted(summed, share * summed[-1])])


def settings(object_name: str) -> dict[str, Any]:
    """Return what decides the numbers."""
    return {
        "object": object_name,
        "tested": TESTED,
        "share": SHARE,
        "networks": {name: [model, dict(options)] for name, (model, options) in NETWORKS.items()},
    }


def plan(object_name: str, dataset: Dataset, seeds: int = 1, folder: Path | None = None) -> Plan:
    """Return one unit a network."""
    scaling = audit_short.sound(dataset)
    gap = audit_short.spaced(data.region_indices(dataset, "gap"), TESTED)
    patterns = audit_short.arrays(dataset, gap, scaling).patterns

    def unit(name: str) -> dict[str, Any]:
        model, options = NETWORKS[name]
        training.make_repeatable(0)
        network = models.create(model, **options)
        found: dict[str, Any] = {
            "theoretical_px": theoretical(network),
            "initial_px": radius(sensitivity(network, patterns)),
            "trained_px": None,
            "run": None,
        }
        file = weights(folder, model, options, object_name)
        if file is not None:
            trained = kerasfile.load(file)
            network.set_weights(trained.get_weights())
            map_ = sensitivity(network, patterns)
            found |= {
                "trained_px": radius(map_),
                "run": file.parent.name,
                "profile": profile(map_),
            }
        return found

    units: dict[str, Callable] = {name: functools.partial(unit, name) for name in NETWORKS}
    return Plan(NAME, settings(object_name), units)


def profile(weights: np.ndarray) -> list[float]:
    """Return the share of the weight within 0, 1, ... px of the middle pixel."""
    rows, cols = np.indices(weights.shape)
    distance = np.hypot(rows - weights.shape[0] // 2, cols - weights.shape[1] // 2)
    radii = range(int(np.ceil(distance.max())) + 1)
    return [float(weights[distance <= r].sum() / weights.sum()) for r in radii]


def weights(
    folder: Path | None, model: str, options: Mapping[str, Any], object_name: str
) -> Path | None:
    """Return the file of a trained network (sound block, noise-free, seed 0), if it is there."""
    if folder is None:
        return None
    spec = experiments.run_spec(
        model,
        0,
        experiments.PROFILES["paper"],
        object_name,
        experiments.block("sound"),
        options=options,
    )
    found = runs.RunStore(Path(folder) / "runs").path(spec, "keras")
    return found if found.exists() else None
