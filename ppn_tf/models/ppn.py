"""PPN as section III-B of the paper describes it.

The equations are missing from our text of the paper, and some sizes are not given.
Decided here, following the authors' code where it has the part:

=====================  =====================================================
open point             decision
=====================  =====================================================
patch, width, heads    P = 8, D = 32, h = 2, L = 2 (authors' configuration)
width of a head        d_k = D / h = 16 ("typically")
MLP                    ratio 4, GELU
end of a branch        one LayerNorm, as usual for Pre-LN stacks
stem of the NLB        3x3 convolution, 1 -> D. A 1x1 stem would be blind:
                       LayerNorm(x w) does not depend on x
radius                 ln(1 + r) / ln(1 + r_max): in [0, 1], no pole
fusion width           128, linear 1x1 convolution
fusion and decoder     fusion at full resolution and three stride-2 blocks
                       contradict each other (32 -> 256 px): the fused map is
                       average-pooled by 8 before the decoder
decoder                3x3, channels 128/64/32, BatchNorm, sigmoid
=====================  =====================================================
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

import keras

from ppn_tf.layers.attention import IMPLEMENTATIONS
from ppn_tf.layers.decoder import decode
from ppn_tf.layers.poca import VARIANTS, PixelSelfAttention, PolarCoordinateAttention
from ppn_tf.layers.vit import PatchExtraction, PositionEmbedding, layer_norm, pre_norm_block
from ppn_tf.models.spec import ModelSpec

PATCH_PX = 8
EMBED_DIM = 32
NUM_HEADS = 2
NUM_BLOCKS = 2
MLP_RATIO = 4
FUSION_CHANNELS = 128


def local_dependencies_branch(x: Any) -> Any:
    """Standard ViT on patches: (B, H, W, 1) -> (B, H/P, W/P, D)."""
    _, height, width, _ = x.shape
    z = PatchExtraction(PATCH_PX, name="local_patches")(x)
    z = keras.layers.Dense(EMBED_DIM, name="local_projection")(z)
    z = PositionEmbedding(name="local_positions")(z)
    for index in range(1, NUM_BLOCKS + 1):
        attention = keras.layers.MultiHeadAttention(
            NUM_HEADS, EMBED_DIM // NUM_HEADS, name=f"local_{index}_attention"
        )
        z = pre_norm_block(z, attention, mlp_ratio=MLP_RATIO, name=f"local_{index}")
    z = layer_norm(z, "local_norm")
    return keras.layers.Reshape(
        (height // PATCH_PX, width // PATCH_PX, EMBED_DIM), name="local_map"
    )(z)


def nonlocal_coherence_branch(x: Any, attention: Callable[[str], keras.layers.Layer]) -> Any:
    """Transformer on pixels: (B, H, W, 1) -> (B, H, W, D); see `build` for the attention."""
    z = keras.layers.Conv2D(EMBED_DIM, 3, padding="same", name="nonlocal_stem")(x)
    for index in range(1, NUM_BLOCKS + 1):
        layer = attention(f"nonlocal_{index}_attention")
        z = pre_norm_block(z, layer, mlp_ratio=MLP_RATIO, name=f"nonlocal_{index}")
    return layer_norm(z, "nonlocal_norm")


def pixel_attention(name: str, kind: str, implementation: str) -> keras.layers.Layer:
    """Return PoCA, one of its variants, or MHSA."""
    layer = PixelSelfAttention if kind == "mhsa" else PolarCoordinateAttention
    options = VARIANTS.get(kind, {})
    return layer(NUM_HEADS, EMBED_DIM, implementation=implementation, name=name, **options)


def build(
    inputs: Any,
    nonlocal_attention: str | Callable[[str], keras.layers.Layer] | None = "poca",
    decoder: str = "conv",
    attention_implementation: str = "auto",
) -> tuple[Any, Any]:
    """Build PPN on scaled patterns.

    Parameters
    ----------
    inputs : (B, H, W, 1) keras.KerasTensor
        Scaled patterns; H and W are multiples of 8.
    nonlocal_attention : str, callable or None
        ``"poca"``; ``"mhsa"`` (Table II, "w/ MinN"); None leaves the Non-Local
        Coherence Branch out (Table II, "w/o NLB"). ``"poca-fixed"``,
        ``"poca-no-radial"`` and ``"poca-no-angular"`` leave one part of PoCA out. What
        is callable takes the name of a layer and returns it: a self-attention of one's
        own, (B, H, W, 32) to the same.
    decoder : str
        ``"conv"``, or ``"dense"`` (Table II, "w/o D").
    attention_implementation : str
        See `ppn_tf.layers.attention`.

    Returns
    -------
    (amplitude, phase) : (B, H, W, 1) keras.KerasTensor each
        On the [0, 1] target scale.
    """
    _, height, width, _ = inputs.shape
    fused = keras.layers.UpSampling2D(PATCH_PX, interpolation="bilinear", name="local_upsampled")(
        local_dependencies_branch(inputs)
    )
    if nonlocal_attention is not None:
        attention = nonlocal_attention
        if not callable(attention):
            attention = functools.partial(
                pixel_attention, kind=attention, implementation=attention_implementation
            )
        pixels = nonlocal_coherence_branch(inputs, attention)
        fused = keras.layers.Concatenate(name="fusion_concat")([fused, pixels])
    fused = keras.layers.Conv2D(FUSION_CHANNELS, 1, name="fusion")(fused)
    fused = keras.layers.AveragePooling2D(PATCH_PX, name="fusion_pool")(fused)
    return decode(fused, decoder, height, width)


SPEC = ModelSpec(
    name="ppn",
    side_multiple=PATCH_PX,
    build=build,
    options={
        "nonlocal_attention": ("poca", "mhsa", None, *tuple(VARIANTS)[1:]),
        "decoder": ("conv", "dense"),
        "attention_implementation": IMPLEMENTATIONS,
    },
    description="PPN as section III-B of the paper describes it",
)
