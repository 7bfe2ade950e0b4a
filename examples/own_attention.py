"""PPN with an attention of one's own where the paper has PoCA, and all else as it is.

    python reproduce/table1.py --add-model examples.own_attention:build --added-epochs 30 --gpu 0

trains it like every other network and gives it a row of its own in Table I.
"""

from __future__ import annotations

from typing import Any

import keras

from ppn_tf.models import ppn


@keras.saving.register_keras_serializable("own_attention")
class DistanceAttention(keras.layers.Layer):
    """Every pixel takes from all others, the less the farther they are; it learns how much."""

    def build(self, input_shape: tuple[int | None, int, int, int]) -> None:
        """Create the weights and the distances of all pairs of pixels."""
        _, rows, columns, channels = input_shape
        grid = keras.ops.meshgrid(
            keras.ops.arange(rows, dtype="float32"),
            keras.ops.arange(columns, dtype="float32"),
            indexing="ij",
        )
        places = keras.ops.stack([keras.ops.ravel(axis) for axis in grid], axis=1)
        self.nearness = -keras.ops.norm(places[:, None] - places[None], axis=2)
        self.steepness = self.add_weight(shape=(), initializer="ones", name="steepness")
        self.values = keras.layers.Dense(channels, name="values")
        self.values.build(input_shape)

    def call(self, x: Any) -> Any:
        """Mix pixels: (B, H, W, C) to the same."""
        _, rows, columns, channels = x.shape
        tokens = keras.ops.reshape(self.values(x), (-1, rows * columns, channels))
        weights = keras.ops.softmax(self.steepness * self.nearness)
        return keras.ops.reshape(weights @ tokens, (-1, rows, columns, channels))


def build(inputs: Any) -> tuple[Any, Any]:
    """Build the network, as ``--add-model`` asks for it: amplitude and phase."""
    return ppn.build(inputs, nonlocal_attention=lambda name: DistanceAttention(name=name))
