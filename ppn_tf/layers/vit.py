"""Parts of the Local Dependencies Branch: patches, positions, Pre-LN blocks."""

from __future__ import annotations

from typing import Any

import keras
from keras import ops

from ppn_tf.errors import OptionError

#: Epsilon of every LayerNorm, as in the authors' code.
LAYER_NORM_EPSILON = 1e-6


@keras.saving.register_keras_serializable("ppn_tf")
class PatchExtraction(keras.layers.Layer):
    """Cut (B, H, W, C) into non-overlapping patches, (B, N, P P C); no weights.

    Parameters
    ----------
    patch_px : int
        Side P of a patch in pixels; divides H and W. N = H W / P^2, row by row.
    """

    def __init__(self, patch_px: int, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.patch_px = int(patch_px)

    def call(self, inputs: Any) -> Any:
        """Return the patches as rows."""
        _, height, width, channels = inputs.shape
        side = self.patch_px
        x = ops.reshape(inputs, (-1, height // side, side, width // side, side, channels))
        return ops.reshape(
            ops.transpose(x, (0, 1, 3, 2, 4, 5)),
            (-1, (height // side) * (width // side), side * side * channels),
        )

    def compute_output_shape(self, input_shape: tuple[int | None, ...]) -> tuple[int | None, ...]:
        """(B, H, W, C) -> (B, H W / P^2, P P C)."""
        batch, height, width, channels = input_shape
        side = self.patch_px
        if height % side or width % side:
            raise OptionError(f"patches of {side} px do not tile an image of {height} x {width} px")
        return batch, (height // side) * (width // side), side * side * channels

    def get_config(self) -> dict[str, Any]:
        """Return the constructor's arguments."""
        return {**super().get_config(), "patch_px": self.patch_px}


@keras.saving.register_keras_serializable("ppn_tf")
class PositionEmbedding(keras.layers.Layer):
    """Add one learned vector per token to (B, N, D)."""

    def build(self, input_shape: tuple[int | None, ...]) -> None:
        """Create the (N, D) table, uniform in [-0.05, 0.05] as Keras embeddings are."""
        self.embeddings = self.add_weight(
            name="embeddings", shape=tuple(input_shape[1:]), initializer="uniform"
        )

    def call(self, inputs: Any) -> Any:
        """Add the positions."""
        return inputs + self.embeddings

    def compute_output_shape(self, input_shape: tuple[int | None, ...]) -> tuple[int | None, ...]:
        """Return the input's shape."""
        return input_shape


def layer_norm(x: Any, name: str) -> Any:
    """Apply LayerNorm over the channels."""
    return keras.layers.LayerNormalization(epsilon=LAYER_NORM_EPSILON, name=name)(x)


def pre_norm_block(x: Any, attention: keras.layers.Layer, *, mlp_ratio: int, name: str) -> Any:
    """Apply one Pre-LN transformer block in a functional graph.

    z' = attention(LN(z)) + z, then MLP(LN(z')) + z' (section III-B, step 4).

    Parameters
    ----------
    x : (B, N, D) or (B, H, W, D) tensor
        Tokens or pixels; the attention decides which.
    attention : keras.layers.Layer
        Self-attention that keeps the shape; a `keras.layers.MultiHeadAttention` is
        called with query and value.
    mlp_ratio : int
        Width of the hidden layer over D.
    name : str
        Prefix of the layers' names.

    Returns
    -------
    tensor of the shape of `x`
    """
    width = x.shape[-1]
    normed = layer_norm(x, f"{name}_norm_1")
    two_inputs = isinstance(attention, keras.layers.MultiHeadAttention)
    attended = attention(normed, normed) if two_inputs else attention(normed)
    x = keras.layers.Add(name=f"{name}_residual_1")([attended, x])
    hidden = keras.layers.Dense(width * mlp_ratio, activation="gelu", name=f"{name}_mlp_1")(
        layer_norm(x, f"{name}_norm_2")
    )
    hidden = keras.layers.Dense(width, name=f"{name}_mlp_2")(hidden)
    return keras.layers.Add(name=f"{name}_residual_2")([hidden, x])
