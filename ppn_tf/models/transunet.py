"""The TransUNet-inspired variant of section IV-G: residual CNN, transformer, U-Net decoder.

The paper gives no sizes; it names a hybrid CNN-transformer encoder, a cascading decoder
and skip connections. The original (Chen et al. 2021) has 105 million parameters for
224 x 224 px, far from anything in the paper's figure 10. Decided here: every part of it
at a size that fits 32 x 32 px.

=====================  =====================================================
part                   original -> here
=====================  =====================================================
root                   input three times, as the original does with one channel;
                       7x7 stride 2, 64 -> 32 channels; 3x3 maximum, stride 2
residual units         3/4/9 -> 2/2/2, widths 256/512/1024 -> 128/256/512
transformer            12 blocks of width 768, 12 heads -> 4, 256, 4 heads;
                       learned positions, MLP ratio 4; its dropout 0.1 left out
decoder                256/128/64/16 -> 128/64/32/16 after 3x3 to 256; bilinear
                       x2, skips from the first three, two 3x3 convolutions each
head                   3x3, one a channel; sigmoid, as PPN: targets in [0, 1]
=====================  =====================================================

At 32 x 32 px the transformer sees 4 tokens. The maximum is padded as "same", so that
sides halve exactly; the original pads its skip instead. Convolutions of the encoder
standardise their kernels (epsilon 1e-5) and are followed by GroupNorm: 32 groups,
epsilon 1e-6, but one group a channel and 1e-5 on shortcuts, as in the original.
BatchNorm momentum 0.9 (PyTorch's 0.1) and epsilon 1e-5. Weights start as Keras starts them.

The profiler counts 0.137 GFLOP; 0.005 of them standardise 859,744 kernel weights, which
an inference graph could do once and for all.
"""

from __future__ import annotations

from typing import Any

import keras
from keras import ops

from ppn_tf.layers.segformer import padded_conv
from ppn_tf.layers.vit import PositionEmbedding, layer_norm, pre_norm_block
from ppn_tf.models.spec import ModelSpec

CHANNELS = 3
ROOT_CHANNELS = 32
#: (output channels, stride) of the three residual stages.
STAGES = ((128, 1), (256, 2), (512, 2))
UNITS = 2
#: Width of a residual unit's middle is its output's over this.
BOTTLENECK = 4
GROUPS = 32

HIDDEN = 256
NUM_HEADS = 4
NUM_BLOCKS = 4
MLP_RATIO = 4

HEAD_CHANNELS = 256
DECODER = (128, 64, 32, 16)

KERNEL_EPSILON = 1e-5
GROUP_NORM_EPSILON = 1e-6
SHORTCUT_NORM_EPSILON = 1e-5
BATCHNORM_MOMENTUM = 0.9
BATCHNORM_EPSILON = 1e-5


@keras.saving.register_keras_serializable("ppn_tf")
class StandardizedConv2D(keras.layers.Conv2D):
    """Convolution whose kernel has mean 0 and variance 1 for every output channel.

    Same arguments and weights as `keras.layers.Conv2D`, channels last, one group.

    References
    ----------
    S. Qiao et al., "Micro-Batch Training with Batch-Channel Normalization and Weight
    Standardization" (2019), arXiv:1903.10520.
    """

    def call(self, inputs: Any) -> Any:
        """Apply the layer to (B, H, W, C)."""
        kernel = ops.convert_to_tensor(self.kernel)
        mean, variance = ops.moments(kernel, axes=(0, 1, 2), keepdims=True)
        outputs = ops.conv(
            inputs,
            (kernel - mean) * ops.rsqrt(variance + KERNEL_EPSILON),
            strides=list(self.strides),
            padding=self.padding,
            data_format="channels_last",
            dilation_rate=self.dilation_rate,
        )
        if self.use_bias:
            outputs = outputs + self.bias
        return outputs if self.activation is None else self.activation(outputs)


def _conv(x: Any, filters: int, kernel_px: int, strides: int, name: str) -> Any:
    if kernel_px > 1:
        x = keras.layers.ZeroPadding2D(kernel_px // 2, name=f"{name}_pad")(x)
    return StandardizedConv2D(filters, kernel_px, strides=strides, use_bias=False, name=name)(x)


def _group_norm(
    x: Any, name: str, groups: int = GROUPS, epsilon: float = GROUP_NORM_EPSILON
) -> Any:
    return keras.layers.GroupNormalization(groups, epsilon=epsilon, name=f"{name}_norm")(x)


def _relu(x: Any, name: str) -> Any:
    return keras.layers.ReLU(name=f"{name}_relu")(x)


def _unit(x: Any, filters: int, strides: int, name: str) -> Any:
    """Bottleneck of 1x1, 3x3 and 1x1 convolutions, and a shortcut."""
    shortcut = x
    if strides > 1 or x.shape[-1] != filters:
        shortcut = _conv(x, filters, 1, strides, f"{name}_shortcut")
        shortcut = _group_norm(shortcut, f"{name}_shortcut", filters, SHORTCUT_NORM_EPSILON)
    middle = filters // BOTTLENECK
    y = x
    for index, (width, kernel_px, step) in enumerate(
        ((middle, 1, 1), (middle, 3, strides), (filters, 1, 1)), start=1
    ):
        y = _group_norm(_conv(y, width, kernel_px, step, f"{name}_conv{index}"), f"{name}_{index}")
        if index < 3:
            y = _relu(y, f"{name}_{index}")
    return _relu(keras.layers.Add(name=f"{name}_add")([shortcut, y]), name)


def _encode(x: Any) -> tuple[Any, list[Any]]:
    """Return features at 1/16 of the side, and the skips, largest first."""
    # one channel enters three times, as in the original
    x = keras.layers.Concatenate(name="tile")([x] * CHANNELS)
    x = _relu(_group_norm(_conv(x, ROOT_CHANNELS, 7, 2, "root"), "root"), "root")
    skips = [x]
    x = keras.layers.MaxPooling2D(3, strides=2, padding="same", name="root_pool")(x)
    for stage, (filters, strides) in enumerate(STAGES, start=1):
        for unit in range(1, UNITS + 1):
            x = _unit(x, filters, strides if unit == 1 else 1, f"encoder{stage}_{unit}")
        if stage < len(STAGES):
            skips.append(x)
    return x, skips


def _transform(x: Any) -> Any:
    """Pre-LN transformer over all pixels: (B, h, w, C) -> (B, h, w, HIDDEN)."""
    x = keras.layers.Conv2D(HIDDEN, 1, name="embedding")(x)
    _, height, width, _ = x.shape
    x = keras.layers.Reshape((height * width, HIDDEN), name="tokens")(x)
    x = PositionEmbedding(name="positions")(x)
    for index in range(1, NUM_BLOCKS + 1):
        name = f"transformer{index}"
        attention = keras.layers.MultiHeadAttention(
            NUM_HEADS, HIDDEN // NUM_HEADS, name=f"{name}_attention"
        )
        x = pre_norm_block(x, attention, mlp_ratio=MLP_RATIO, name=name)
    x = layer_norm(x, "transformer_norm")
    return keras.layers.Reshape((height, width, HIDDEN), name="transformer_map")(x)


def _conv_relu(x: Any, filters: int, name: str) -> Any:
    x = padded_conv(x, filters, 3, 1, name, use_bias=False)
    x = keras.layers.BatchNormalization(
        momentum=BATCHNORM_MOMENTUM, epsilon=BATCHNORM_EPSILON, name=f"{name}_norm"
    )(x)
    return _relu(x, name)


def _decode(x: Any, skips: list[Any]) -> Any:
    x = _conv_relu(x, HEAD_CHANNELS, "decoder_head")
    remaining = list(skips)
    for stage, filters in enumerate(DECODER, start=1):
        name = f"decoder{stage}"
        x = keras.layers.UpSampling2D(2, interpolation="bilinear", name=f"{name}_upsample")(x)
        if remaining:
            x = keras.layers.Concatenate(name=f"{name}_concat")([x, remaining.pop()])
        x = _conv_relu(x, filters, f"{name}_conv1")
        x = _conv_relu(x, filters, f"{name}_conv2")
    return x


def build(inputs: keras.KerasTensor) -> tuple[keras.KerasTensor, keras.KerasTensor]:
    """Build the TransUNet-style network on scaled diffraction patterns.

    Parameters
    ----------
    inputs : keras.KerasTensor
        Scaled patterns, (B, H, W, 1); H and W multiples of 16. At 32 x 32 px the
        transformer has 4 tokens, at 16 x 16 px a single one.

    Returns
    -------
    tuple of keras.KerasTensor
        Amplitude and phase on the [0, 1] target scale, (B, H, W, 1) each.

    References
    ----------
    Chen et al. (2021), reference 34 of the PPN paper, arXiv:2102.04306.
    """
    x, skips = _encode(inputs)
    x = _decode(_transform(x), skips)
    amplitude, phase = (
        keras.layers.Conv2D(1, 3, padding="same", activation="sigmoid", name=name)(x)
        for name in ("amplitude", "phase")
    )
    return amplitude, phase


SPEC = ModelSpec(
    name="transunet",
    side_multiple=16,
    build=build,
    description="TransUNet-style variant (section IV-G): residual CNN, transformer, skips",
)
