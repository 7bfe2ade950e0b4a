"""PtychoFormer: a SegFormer encoder and a decoder of one transposed convolution.

Nakahata et al., "PtychoFormer: A Transformer-based Model for Ptychographic Phase
Retrieval" (2024), arXiv:2410.17377, reference 26 of the PPN paper; the form of its
release, with one pattern as input. The original takes 9 neighbouring patterns of
128 x 128 px as channels: a single pattern removes its main idea, but is what the PPN
paper's data offer. Its phase is pi tanh; for targets on [0, 1] the factor pi is dropped
and the tanh kept, as for PtyNet. The amplitude's sigmoid is kept.

The original is written in PyTorch. Padding, resizing and initial weights follow it:
LayerNorm epsilon 1e-5, BatchNorm momentum 0.9 (PyTorch's 0.1) and epsilon 1e-5,
stochastic depth rising to 0.1, one draw a batch, on the MLP alone. One deviation: the
transposed convolution pads as Keras does ("same"), so that its output lies one pixel further
down and to the right than PyTorch's with padding and output_padding of 1.

The PPN paper gives 68.96 MiB and 1.105 GFLOP. This network has 68.94 MiB (-0.03 %);
what the rest is could not be found out.
"""

from __future__ import annotations

from typing import Any

import keras

from ppn_tf.layers.segformer import (
    BicubicUpsampling,
    CrossAttention,
    StochasticDepth,
    drop_rates,
    padded_conv,
    reduced_attention,
    uniform,
)
from ppn_tf.models.ptynet import SelectChannel
from ppn_tf.models.spec import ModelSpec

#: Of the four stages, each of which halves the side.
WIDTHS = (64, 128, 256, 512)
DEPTHS = (3, 4, 6, 3)
HEADS = (1, 2, 4, 8)
PATCHES_PX = (5, 3, 3, 3)
REDUCTIONS = (8, 4, 2, 1)

EXPANSION = 4
DECODER_CHANNELS = 256
DROP_RATE = 0.1
LAYER_NORM_EPSILON = 1e-5
BATCHNORM_MOMENTUM = 0.9
BATCHNORM_EPSILON = 1e-5


def _norm(x: Any, name: str) -> Any:
    return keras.layers.LayerNormalization(epsilon=LAYER_NORM_EPSILON, name=name)(x)


def _pointwise(x: Any, filters: int, name: str, use_bias: bool = True) -> Any:
    return keras.layers.Conv2D(
        filters, 1, use_bias=use_bias, kernel_initializer="he_uniform", name=name
    )(x)


def _activate(x: Any, name: str) -> Any:
    x = keras.layers.BatchNormalization(
        momentum=BATCHNORM_MOMENTUM, epsilon=BATCHNORM_EPSILON, name=f"{name}_norm"
    )(x)
    return keras.layers.Activation("gelu", name=f"{name}_gelu")(x)


def _mlp(x: Any, name: str) -> Any:
    channels = x.shape[-1]
    x = _pointwise(x, channels, f"{name}_1")
    x = keras.layers.DepthwiseConv2D(
        3,
        padding="same",
        depth_multiplier=EXPANSION,
        # each output sees 9 inputs; Keras would count 9 C
        depthwise_initializer=uniform(2 / 9),
        name=f"{name}_depthwise",
    )(x)
    x = keras.layers.Activation("gelu", name=f"{name}_gelu")(x)
    return _pointwise(x, channels, f"{name}_2")


def _block(x: Any, heads: int, reduction: int, rate: float, name: str) -> Any:
    attention = CrossAttention(
        heads,
        # PyTorch: Xavier over the (3 C, C) matrix of queries, keys and values together
        kernel_initializer=uniform(1 / (2 * x.shape[-1])),
        name=f"{name}_attention",
    )
    attended = reduced_attention(
        _norm(x, f"{name}_norm_1"),
        attention,
        reduction,
        epsilon=LAYER_NORM_EPSILON,
        reduce_always=True,
        reducer_initializer="he_uniform",
    )
    x = keras.layers.Add(name=f"{name}_residual_1")([x, attended])
    mixed = _mlp(_norm(x, f"{name}_norm_2"), f"{name}_mlp")
    mixed = StochasticDepth(rate, "batch", name=f"{name}_drop")(mixed)
    return keras.layers.Add(name=f"{name}_residual_2")([x, mixed])


def _encode(x: Any) -> list[Any]:
    features = []
    rates = drop_rates(DROP_RATE, DEPTHS)
    settings = zip(WIDTHS, HEADS, PATCHES_PX, REDUCTIONS, rates, strict=True)
    for stage, (width, heads, patch_px, reduction, drops) in enumerate(settings, start=1):
        name = f"encoder{stage}"
        x = padded_conv(
            x,
            width,
            patch_px,
            2,
            f"{name}_patches",
            use_bias=False,
            kernel_initializer="he_uniform",
        )
        x = _norm(x, f"{name}_patches_norm")
        for index, rate in enumerate(drops, start=1):
            x = _block(x, heads, reduction, rate, f"{name}_{index}")
        x = _norm(x, f"{name}_norm")
        features.append(x)
    return features


def _decode(features: list[Any]) -> Any:
    same_size = []
    for stage in range(len(features), 0, -1):
        x = BicubicUpsampling(2 ** (stage - 1), name=f"decoder{stage}_upsample")(
            features[stage - 1]
        )
        same_size.append(_pointwise(x, DECODER_CHANNELS, f"decoder{stage}_projection"))
    x = keras.layers.Concatenate(name="decoder_concat")(same_size)
    x = _activate(
        _pointwise(x, DECODER_CHANNELS, "decoder_fusion", use_bias=False), "decoder_fusion"
    )
    channels = DECODER_CHANNELS // 2
    # PyTorch's default: uniform on +-1/sqrt(fan in), a transposed kernel's over its outputs
    initial = uniform(1 / (3 * 9 * channels))
    x = keras.layers.Conv2DTranspose(
        channels,
        3,
        strides=2,
        padding="same",
        kernel_initializer=initial,
        bias_initializer=initial,
        name="decoder_up",
    )(x)
    return _pointwise(_activate(x, "decoder_up"), 2, "head", use_bias=False)


def build(inputs: keras.KerasTensor) -> tuple[keras.KerasTensor, keras.KerasTensor]:
    """Build PtychoFormer on scaled diffraction patterns.

    Parameters
    ----------
    inputs : keras.KerasTensor
        Scaled patterns, (B, H, W, 1); H and W multiples of 16. At 32 x 32 px every
        stage attends to 4 keys, at 16 x 16 px to a single one.

    Returns
    -------
    tuple of keras.KerasTensor
        Amplitude and phase on the [0, 1] target scale, (B, H, W, 1) each. The
        amplitude's sigmoid keeps to it, the phase's tanh to [-1, 1].

    References
    ----------
    Nakahata et al. (2024), arXiv:2410.17377.
    """
    x = _decode(_encode(inputs))
    phase, amplitude = (
        SelectChannel(index, name=f"head_{name}")(x)
        for index, name in enumerate(("phase", "amplitude"))
    )
    return (
        keras.layers.Activation("sigmoid", name="amplitude")(amplitude),
        keras.layers.Activation("tanh", name="phase")(phase),
    )


SPEC = ModelSpec(
    name="ptychoformer",
    side_multiple=16,
    build=build,
    description="PtychoFormer (2024): SegFormer encoder, one shared decoder, one input pattern",
)
