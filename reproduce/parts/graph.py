"""The graph of a network, read from the network: what Fig. 2 draws."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

import keras

#: Prefix of a layer's name to the part of the network that it belongs to.
GROUPS = {
    "local": "Local Dependencies Branch",
    "nonlocal": "Non-Local Coherence Branch",
    "amplitude": "amplitude decoder",
    "phase": "phase decoder",
}
FUSION = "input and fusion"


@dataclasses.dataclass(frozen=True)
class Node:
    """One layer.

    Attributes
    ----------
    name : str
    kind : str
        Class of the layer, with its activation where that is not linear.
    shape : tuple of int
        Output, without the batch.
    parameters : int
    inputs : tuple of str
        Layers whose outputs it takes, each once.
    group : str
        One of `GROUPS`, or `FUSION`.
    row : int
        Layers on the longest way from the input to it.
    """

    name: str
    kind: str
    shape: tuple[int, ...]
    parameters: int
    inputs: tuple[str, ...]
    group: str
    row: int

    @property
    def text(self) -> str:
        """Name, kind, shape and parameters in a line."""
        parts = [self.name, self.kind, " x ".join(map(str, self.shape))]
        return "   ".join([*parts, f"{self.parameters:,}"] if self.parameters else parts)


def nodes(model: keras.Model) -> list[Node]:
    """Return the layers of a functional network, every one after its inputs."""
    found: dict[str, Node] = {}
    for layer in model.layers:
        tensors = [] if isinstance(layer, keras.layers.InputLayer) else _list(layer.input)
        inputs = tuple(dict.fromkeys(t._keras_history.operation.name for t in tensors))
        group = GROUPS.get(layer.name.partition("_")[0], FUSION)
        row = 1 + max((found[name].row for name in inputs), default=-1)
        shape = tuple(_list(layer.output)[0].shape[1:])
        found[layer.name] = Node(
            layer.name, _kind(layer), shape, layer.count_params(), inputs, group, row
        )
    return list(found.values())


def parameters(every: Sequence[Node]) -> dict[str, int]:
    """Return the number of parameters of each part."""
    total = dict.fromkeys((*GROUPS.values(), FUSION), 0)
    for node in every:
        total[node.group] += node.parameters
    return total


def _kind(layer: keras.layers.Layer) -> str:
    kind = type(layer).__name__
    activation = getattr(getattr(layer, "activation", None), "__name__", "linear")
    return kind if activation == "linear" else f"{kind}, {activation}"


def _list(value: object) -> list:
    return list(value) if isinstance(value, (list, tuple)) else [value]
