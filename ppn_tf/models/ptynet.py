"""PtyNet: strided convolutions and one grouped decoder for both outputs.

Pan et al., iScience 26 (2023), "An efficient ptychography reconstruction
strategy through fine-tuning of large pre-trained deep learning model"; the form
of `Net1.py` in its release, whose 1.24 MiB the PPN paper gives. Its output is
amplitude and phase in units of pi; for targets on [0, 1] the factor pi and the
complex product are dropped. The hard tanh on (-1, 1) is kept.

The original is written in PyTorch. Padding and initial weights follow it;
there is no normalisation layer.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Callable
from typing import Any

import keras

from ppn_tf.errors import OptionError
from ppn_tf.models.spec import ModelSpec

#: Slope of the leaky rectifier for negative values.
NEGATIVE_SLOPE = 0.2

#: (filters, stride) of the encoder's convolutions.
ENCODER = ((16, 1), (16, 2), (16, 1), (32, 2), (64, 1), (128, 2))


def _uniform(fan_in: int) -> keras.initializers.Initializer:
    """PyTorch's default for convolutions: uniform on +-1/sqrt(fan_in)."""
    limit = 1.0 / math.sqrt(fan_in)
    return keras.initializers.RandomUniform(-limit, limit)


def _per_group(convolve: Callable, inputs: Any, kernel: Any, groups: int) -> Any:
    """Concatenate `convolve` of each group's share of inputs and kernel (last axes)."""
    shares = zip(
        keras.ops.split(inputs, groups, axis=-1),
        keras.ops.split(keras.ops.convert_to_tensor(kernel), groups, axis=-1),
        strict=True,
    )
    return keras.ops.concatenate([convolve(part, weights) for part, weights in shares], axis=-1)


@keras.saving.register_keras_serializable(package="ppn_tf")
class GroupedConv2D(keras.layers.Conv2D):
    """Grouped convolution, one plain convolution a group.

    Same weights and same result as ``keras.layers.Conv2D(groups=...)``. On the
    TensorFlow backend that layer compiles each grouped convolution with XLA,
    even under op determinism: training PtyNet on a CPU takes twice as long, and
    the profiler does not see these operations.
    Input (B, H, W, C), output as of `keras.layers.Conv2D`, channels last.
    """

    def call(self, inputs: keras.KerasTensor) -> keras.KerasTensor:
        """Apply the layer to (B, H, W, C)."""
        convolve = functools.partial(
            keras.ops.conv,
            strides=list(self.strides),
            padding=self.padding,
            data_format="channels_last",
            dilation_rate=self.dilation_rate,
        )
        outputs = _per_group(convolve, inputs, self.kernel, self.groups)
        if self.use_bias:
            outputs = outputs + self.bias
        return outputs if self.activation is None else self.activation(outputs)


@keras.saving.register_keras_serializable(package="ppn_tf")
class GroupedConv2DTranspose(keras.layers.Layer):
    """Transposed convolution in channel groups, which Keras does not offer.

    Group g maps the g-th share of the input channels to the g-th share of the
    output channels; the shares are concatenated. Padding is "same": with kernel
    4 and stride 2 that equals padding 1 of PyTorch's ``ConvTranspose2d``.
    Input (B, H, W, C), output (B, strides * H, strides * W, filters), in the
    layer's compute dtype. Kernel (kernel_size, kernel_size, filters / groups, C).

    Parameters
    ----------
    filters : int
        Output channels, a multiple of `groups`.
    kernel_size : int
        Side of the kernel in pixels.
    strides : int
        Magnification.
    groups : int
        Number of channel groups.
    **kwargs
        Passed to `keras.layers.Layer`.

    Raises
    ------
    OptionError
        If `filters`, or the input's channels, are no multiple of `groups`.
    """

    def __init__(
        self, filters: int, kernel_size: int, strides: int, groups: int = 2, **kwargs: Any
    ) -> None:
        super().__init__(**kwargs)
        if groups < 1 or filters % groups:
            raise OptionError(
                f"{self.name}: filters must be a multiple of groups, received "
                f"filters={filters}, groups={groups}"
            )
        self.filters = filters
        self.kernel_size = kernel_size
        self.strides = strides
        self.groups = groups

    def build(self, input_shape: tuple[int | None, ...]) -> None:
        """Create kernel and bias for inputs of `input_shape`."""
        channels = input_shape[-1]
        if channels is None or channels % self.groups:
            raise OptionError(
                f"{self.name}: input channels must be a multiple of groups, received "
                f"shape {tuple(input_shape)}, groups={self.groups}"
            )
        filters = self.filters // self.groups
        # PyTorch counts a transposed kernel's fan-in over its output channels
        fan_in = filters * self.kernel_size**2
        self.kernel = self.add_weight(
            name="kernel",
            shape=(self.kernel_size, self.kernel_size, filters, channels),
            initializer=_uniform(fan_in),
        )
        self.bias = self.add_weight(
            name="bias", shape=(self.filters,), initializer=_uniform(fan_in)
        )

    def call(self, inputs: keras.KerasTensor) -> keras.KerasTensor:
        """Apply the layer to (B, H, W, C)."""
        convolve = functools.partial(
            keras.ops.conv_transpose,
            strides=self.strides,
            padding="same",
            data_format="channels_last",
        )
        return _per_group(convolve, inputs, self.kernel, self.groups) + self.bias

    def compute_output_shape(self, input_shape: tuple[int | None, ...]) -> tuple[int | None, ...]:
        """Return the output shape for `input_shape`."""
        batch, height, width, _ = input_shape
        sides = [None if side is None else side * self.strides for side in (height, width)]
        return (batch, *sides, self.filters)

    def get_config(self) -> dict[str, Any]:
        """Return what is needed to build the layer again."""
        return {
            **super().get_config(),
            "filters": self.filters,
            "kernel_size": self.kernel_size,
            "strides": self.strides,
            "groups": self.groups,
        }


@keras.saving.register_keras_serializable(package="ppn_tf")
class SelectChannel(keras.layers.Layer):
    """One channel of an image: (B, H, W, C) to (B, H, W, 1).

    Parameters
    ----------
    index : int
        The channel, from 0.
    **kwargs
        Passed to `keras.layers.Layer`.
    """

    def __init__(self, index: int, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.index = index

    def call(self, inputs: keras.KerasTensor) -> keras.KerasTensor:
        """Select the channel of (B, H, W, C)."""
        return inputs[..., self.index : self.index + 1]

    def get_config(self) -> dict[str, Any]:
        """Return what is needed to build the layer again."""
        return {**super().get_config(), "index": self.index}


def _rectify(x: keras.KerasTensor, name: str) -> keras.KerasTensor:
    return keras.layers.LeakyReLU(negative_slope=NEGATIVE_SLOPE, name=f"{name}_relu")(x)


def _conv(
    x: keras.KerasTensor,
    filters: int,
    name: str,
    *,
    strides: int = 1,
    groups: int = 1,
    use_bias: bool = True,
) -> keras.KerasTensor:
    fan_in = 9 * x.shape[-1] // groups
    padding = "same"
    if strides > 1:
        # "same" would pad below and to the right only; PyTorch pads all round
        x = keras.layers.ZeroPadding2D(1, name=f"{name}_pad")(x)
        padding = "valid"
    layer = functools.partial(GroupedConv2D, groups=groups) if groups > 1 else keras.layers.Conv2D
    x = layer(
        filters,
        3,
        strides=strides,
        padding=padding,
        use_bias=use_bias,
        kernel_initializer=_uniform(fan_in),
        bias_initializer=_uniform(fan_in),
        name=name,
    )(x)
    return _rectify(x, name)


def build(inputs: keras.KerasTensor) -> tuple[keras.KerasTensor, keras.KerasTensor]:
    """Build PtyNet on scaled diffraction patterns.

    Parameters
    ----------
    inputs : keras.KerasTensor
        Scaled patterns, (B, H, W, 1); H and W multiples of 8.

    Returns
    -------
    tuple of keras.KerasTensor
        Amplitude and phase on the [0, 1] target scale, (B, H, W, 1) each. The
        last activation limits them to [-1, 1], not to [0, 1].

    References
    ----------
    Pan et al. (2023), reference 11 of the PPN paper.
    """
    x = inputs
    for index, (filters, strides) in enumerate(ENCODER, start=1):
        x = _conv(x, filters, f"encoder{index}", strides=strides)
    for stage in (1, 2):
        name = f"decoder{stage}"
        x = _conv(x, 64, f"{name}_conv")
        x = _conv(x, 64, f"{name}_grouped", groups=2, use_bias=False)
        x = GroupedConv2DTranspose(64, 4, 2, groups=2, name=f"{name}_up")(x)
        x = _rectify(x, f"{name}_up")
    x = _conv(x, 16, "decoder3_conv")
    x = _conv(x, 2, "decoder3_grouped", groups=2)
    x = GroupedConv2DTranspose(2, 4, 2, groups=2, name="decoder3_up")(x)
    x = keras.layers.Activation("hard_tanh", name="hard_tanh")(x)
    return SelectChannel(0, name="amplitude")(x), SelectChannel(1, name="phase")(x)


SPEC = ModelSpec(
    name="ptynet",
    side_multiple=8,
    build=build,
    description="PtyNet (2023): strided encoder, one grouped decoder, hard tanh",
)
