"""PPN as the authors released it, layer by layer, and its smallest repair.

The released graph differs from section III-B of the paper. Above all, its Non-Local
branch normalises over three identical channels: LayerNorm then returns its offset
whatever the pixel holds, and the branch carries no information about the image. The
defaults keep this. ``stem="conv3"`` and ``residual=True`` bring the branch to life at
almost the same size, so that a living branch is not confounded with a smaller network.
"""

from __future__ import annotations

from typing import Any

import keras

from ppn_tf.layers.attention import IMPLEMENTATIONS
from ppn_tf.layers.decoder import decode
from ppn_tf.layers.poca import VARIANTS, PixelSelfAttention, PolarCoordinateAttention
from ppn_tf.layers.vit import PatchExtraction, PositionEmbedding, layer_norm
from ppn_tf.models.spec import ModelSpec

PATCH_PX = 8
EMBED_DIM = 32
NUM_HEADS = 2
NUM_BLOCKS = 2
FUSION_CHANNELS = 128
CHANNELS = 3


def local_branch(x: Any) -> Any:
    """ViT whose residuals run around the normalised input, to (B, H/P, W/P, 128)."""
    _, height, width, _ = x.shape
    rows, cols = height // PATCH_PX, width // PATCH_PX
    z = PatchExtraction(PATCH_PX, name="local_patches")(x)
    z = keras.layers.Dense(EMBED_DIM, name="local_projection")(z)
    z = PositionEmbedding(name="local_positions")(z)
    for index in range(1, NUM_BLOCKS + 1):
        name = f"local_{index}"
        a = layer_norm(z, f"{name}_norm_1")
        attention = keras.layers.MultiHeadAttention(NUM_HEADS, EMBED_DIM, name=f"{name}_attention")
        s = keras.layers.Add(name=f"{name}_residual_1")([attention(a, a), a])
        b = layer_norm(s, f"{name}_norm_2")
        mlp = keras.layers.Dense(EMBED_DIM, activation="relu", name=f"{name}_mlp")(b)
        z = keras.layers.Add(name=f"{name}_residual_2")([mlp, b])
    z = keras.layers.Flatten(name="local_flatten")(layer_norm(z, "local_norm"))
    z = keras.layers.Dense(
        rows * cols * FUSION_CHANNELS, activation="relu", name="local_expansion"
    )(z)
    return keras.layers.Reshape((rows, cols, FUSION_CHANNELS), name="local_map")(z)


def nonlocal_branch(x: Any, kind: str, residual: bool, implementation: str) -> Any:
    """Two attentions over pixels, each with a 1x1 convolution, to (B, H/P, W/P, 128).

    With `residual` a shortcut runs around every attention and every convolution
    that keeps the number of channels.
    """
    for index in range(1, NUM_BLOCKS + 1):
        name = f"nonlocal_{index}"
        layer = _attention(kind, implementation, f"{name}_attention")
        x = _shortcut(layer(layer_norm(x, f"{name}_norm_1")), x, residual, f"{name}_residual_1")
        conv = keras.layers.Conv2D(EMBED_DIM, 1, activation="relu", name=f"{name}_conv")
        x = _shortcut(conv(layer_norm(x, f"{name}_norm_2")), x, residual, f"{name}_residual_2")
    x = keras.layers.Conv2D(FUSION_CHANNELS, 1, activation="relu", name="nonlocal_expansion")(x)
    return keras.layers.AveragePooling2D(PATCH_PX, name="nonlocal_pool")(x)


def _attention(kind: str, implementation: str, name: str) -> keras.layers.Layer:
    if kind == "mhsa":
        return PixelSelfAttention(NUM_HEADS, EMBED_DIM, implementation=implementation, name=name)
    released = {"radial": "released", "learn_center": False}
    return PolarCoordinateAttention(
        NUM_HEADS,
        EMBED_DIM,
        implementation=implementation,
        name=name,
        **(released | dict(VARIANTS[kind])),
    )


def _shortcut(y: Any, x: Any, residual: bool, name: str) -> Any:
    if not residual or x.shape[-1] != y.shape[-1]:
        return y
    return keras.layers.Add(name=name)([y, x])


def build(
    inputs: Any,
    nonlocal_attention: str | None = "poca",
    decoder: str = "conv",
    stem: str = "tile",
    residual: bool = False,
    attention_implementation: str = "auto",
) -> tuple[Any, Any]:
    """Build the released network on scaled patterns.

    Parameters
    ----------
    inputs : (B, H, W, 1) keras.KerasTensor
        Scaled patterns; H and W are multiples of 8.
    nonlocal_attention, decoder, attention_implementation
        As in `ppn_tf.models.ppn.build`.
    stem : str
        ``"tile"`` feeds the Non-Local branch the pattern three times, as released;
        ``"conv3"`` a learned 3x3 convolution to 32 channels.
    residual : bool
        Shortcuts in the Non-Local branch.

    Returns
    -------
    (amplitude, phase) : (B, H, W, 1) keras.KerasTensor each
    """
    _, height, width, _ = inputs.shape
    tiled = keras.layers.Concatenate(name="tile")([inputs] * CHANNELS)
    fused = local_branch(tiled)
    if nonlocal_attention is not None:
        pixels = tiled
        if stem == "conv3":
            pixels = keras.layers.Conv2D(EMBED_DIM, 3, padding="same", name="nonlocal_stem")(inputs)
        pixels = nonlocal_branch(pixels, nonlocal_attention, residual, attention_implementation)
        fused = keras.layers.Concatenate(name="fusion_concat")([fused, pixels])
    fused = keras.layers.Conv2D(FUSION_CHANNELS, 1, activation="relu", name="fusion")(fused)
    return decode(fused, decoder, height, width)


SPEC = ModelSpec(
    name="ppn-released",
    side_multiple=PATCH_PX,
    # the fully connected expansion grows with the fourth power of the side
    max_side=64,
    build=build,
    options={
        # its centre is fixed as it is
        "nonlocal_attention": ("poca", "mhsa", None, "poca-no-radial", "poca-no-angular"),
        "decoder": ("conv", "dense"),
        "stem": ("tile", "conv3"),
        "residual": (False, True),
        "attention_implementation": IMPLEMENTATIONS,
    },
    description="PPN as the authors released it, and its smallest repair",
)
