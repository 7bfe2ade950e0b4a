"""The SegFormer-inspired variant of section IV-G: SegFormer-B0 at twice the resolution.

The paper gives no sizes; it names the hierarchy of falling resolutions and a convolution
in place of the feed-forward network's first linear layer. Decided here:

=====================  =====================================================
open point             decision
=====================  =====================================================
size                   B0 (Xie et al. 2021): widths 32/64/160/256, two blocks
                       a stage, heads 1/2/5/8, reductions 8/4/2/1, ratio 4
first stride           2 in place of 4: at 32 x 32 px the original's grids are
                       8/4/2/1, and every attention would see a single key
feed-forward           linear, depthwise 3x3, GELU, linear, as in the original
head                   256 channels, bilinear to the first stage, fusion with
                       BatchNorm and ReLU, two channels, then x2 to the input
last activation        sigmoid on both, as PPN: targets lie in [0, 1]
=====================  =====================================================

Epsilons as in the original: LayerNorm 1e-6, but 1e-5 after patches and reducers;
BatchNorm momentum 0.9 (PyTorch's 0.1) and epsilon 1e-5. Stochastic depth rises to 0.1,
one draw an image, on attention and feed-forward; dropout 0.1 before the last layer.
Initial weights of the encoder as in the original: linear layers normal with deviation
0.02, cut at two deviations; convolutions normal with variance 2 / fan out.
"""

from __future__ import annotations

from typing import Any

import keras

from ppn_tf.layers.segformer import (
    CrossAttention,
    StochasticDepth,
    drop_rates,
    padded_conv,
    reduced_attention,
)
from ppn_tf.models.ptynet import SelectChannel
from ppn_tf.models.spec import ModelSpec

#: Of the four stages, each of which halves the side.
WIDTHS = (32, 64, 160, 256)
HEADS = (1, 2, 5, 8)
PATCHES_PX = (7, 3, 3, 3)
REDUCTIONS = (8, 4, 2, 1)
DEPTHS = (2, 2, 2, 2)

MLP_RATIO = 4
HEAD_CHANNELS = 256
DROP_RATE = 0.1
HEAD_DROPOUT = 0.1
LAYER_NORM_EPSILON = 1e-6
PATCH_NORM_EPSILON = 1e-5
BATCHNORM_MOMENTUM = 0.9
BATCHNORM_EPSILON = 1e-5


def _norm(x: Any, name: str, epsilon: float = LAYER_NORM_EPSILON) -> Any:
    return keras.layers.LayerNormalization(epsilon=epsilon, name=name)(x)


def _linear() -> keras.initializers.Initializer:
    return keras.initializers.TruncatedNormal(stddev=0.02)


def _convolution() -> keras.initializers.Initializer:
    return keras.initializers.VarianceScaling(
        2.0, mode="fan_out", distribution="untruncated_normal"
    )


def _feed_forward(x: Any, name: str) -> Any:
    channels = x.shape[-1]
    x = keras.layers.Dense(channels * MLP_RATIO, kernel_initializer=_linear(), name=f"{name}_1")(x)
    x = keras.layers.DepthwiseConv2D(
        3,
        padding="same",
        # an input pixel reaches 9 outputs of its own channel; Keras would count 9 C
        depthwise_initializer=keras.initializers.RandomNormal(stddev=(2 / 9) ** 0.5),
        name=f"{name}_depthwise",
    )(x)
    x = keras.layers.Activation("gelu", name=f"{name}_gelu")(x)
    return keras.layers.Dense(channels, kernel_initializer=_linear(), name=f"{name}_2")(x)


def _block(x: Any, heads: int, reduction: int, rate: float, name: str) -> Any:
    attention = CrossAttention(
        heads,
        kernel_initializer=_linear(),
        output_initializer=_linear(),
        name=f"{name}_attention",
    )
    branch = reduced_attention(
        _norm(x, f"{name}_norm_1"),
        attention,
        reduction,
        epsilon=PATCH_NORM_EPSILON,
        reducer_initializer=_convolution(),
    )
    branch = StochasticDepth(rate, "sample", name=f"{name}_drop_1")(branch)
    x = keras.layers.Add(name=f"{name}_residual_1")([x, branch])
    branch = _feed_forward(_norm(x, f"{name}_norm_2"), f"{name}_mlp")
    branch = StochasticDepth(rate, "sample", name=f"{name}_drop_2")(branch)
    return keras.layers.Add(name=f"{name}_residual_2")([x, branch])


def _encode(x: Any) -> list[Any]:
    features = []
    rates = drop_rates(DROP_RATE, DEPTHS)
    settings = zip(WIDTHS, HEADS, PATCHES_PX, REDUCTIONS, rates, strict=True)
    for stage, (width, heads, patch_px, reduction, drops) in enumerate(settings, start=1):
        name = f"encoder{stage}"
        x = padded_conv(x, width, patch_px, 2, f"{name}_patches", kernel_initializer=_convolution())
        x = _norm(x, f"{name}_patches_norm", PATCH_NORM_EPSILON)
        for index, rate in enumerate(drops, start=1):
            x = _block(x, heads, reduction, rate, f"{name}_{index}")
        x = _norm(x, f"{name}_norm")
        features.append(x)
    return features


def _decode(features: list[Any]) -> Any:
    same_size = []
    # the deepest stage first, as in the original
    for stage in range(len(features), 0, -1):
        x = keras.layers.Dense(HEAD_CHANNELS, name=f"head{stage}_projection")(features[stage - 1])
        if stage > 1:
            x = keras.layers.UpSampling2D(
                2 ** (stage - 1), interpolation="bilinear", name=f"head{stage}_upsample"
            )(x)
        same_size.append(x)
    x = keras.layers.Concatenate(name="head_concat")(same_size)
    x = keras.layers.Conv2D(HEAD_CHANNELS, 1, use_bias=False, name="head_fusion")(x)
    x = keras.layers.BatchNormalization(
        momentum=BATCHNORM_MOMENTUM, epsilon=BATCHNORM_EPSILON, name="head_fusion_norm"
    )(x)
    x = keras.layers.ReLU(name="head_fusion_relu")(x)
    x = keras.layers.Dropout(HEAD_DROPOUT, name="head_dropout")(x)
    x = keras.layers.Conv2D(2, 1, name="head")(x)
    return keras.layers.UpSampling2D(2, interpolation="bilinear", name="head_upsample")(x)


def build(inputs: keras.KerasTensor) -> tuple[keras.KerasTensor, keras.KerasTensor]:
    """Build the SegFormer-style network on scaled diffraction patterns.

    Parameters
    ----------
    inputs : keras.KerasTensor
        Scaled patterns, (B, H, W, 1); H and W multiples of 16. At 32 x 32 px every
        stage attends to 4 keys, at 16 x 16 px to a single one.

    Returns
    -------
    tuple of keras.KerasTensor
        Amplitude and phase on the [0, 1] target scale, (B, H, W, 1) each.

    References
    ----------
    Xie et al. (2021), reference 35 of the PPN paper, arXiv:2105.15203.
    """
    x = _decode(_encode(inputs))
    amplitude, phase = (
        SelectChannel(index, name=f"head_{name}")(x)
        for index, name in enumerate(("amplitude", "phase"))
    )
    return (
        keras.layers.Activation("sigmoid", name="amplitude")(amplitude),
        keras.layers.Activation("sigmoid", name="phase")(phase),
    )


SPEC = ModelSpec(
    name="segformer",
    side_multiple=16,
    build=build,
    description="SegFormer-style variant (section IV-G): B0 at twice the resolution",
)
