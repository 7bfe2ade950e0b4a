"""DPI (deep-phase-imaging): a residual U-Net with dropout on every skip.

Chang et al., Physical Review Letters 130, 016101 (2023), "Deep-Learning
Electron Diffractive Imaging". The original predicts phase alone. Both sizes the
PPN paper gives for DPI, 57.14 MiB and 1.049 GFLOP, are those of one encoder
with two full decoders: everything after the 2x2 bottleneck exists twice, and
the encoder's skips, with their dropout, feed both.

The original is written in Keras with default settings. They are stated here:
BatchNorm momentum 0.99 and epsilon 1e-3, dropout 0.2, Glorot uniform weights.
"""

from __future__ import annotations

import keras

from ppn_tf.models.spec import ModelSpec

#: Filters of the five encoder stages; all but the first halve the side.
ENCODER = (16, 32, 64, 128, 256)

#: Filters of the four decoder stages, each of which doubles the side.
DECODER = (256, 128, 64, 32)

DROPOUT = 0.2
BATCHNORM_MOMENTUM = 0.99
BATCHNORM_EPSILON = 1e-3


def _activate(x: keras.KerasTensor, name: str) -> keras.KerasTensor:
    x = keras.layers.BatchNormalization(
        momentum=BATCHNORM_MOMENTUM, epsilon=BATCHNORM_EPSILON, name=f"{name}_norm"
    )(x)
    return keras.layers.ReLU(name=f"{name}_relu")(x)


def _residual(
    x: keras.KerasTensor,
    filters: int,
    name: str,
    *,
    strides: int = 1,
    transposed: bool = False,
) -> keras.KerasTensor:
    """Pre-activated pair of convolutions plus a convolved shortcut."""
    layer = keras.layers.Conv2DTranspose if transposed else keras.layers.Conv2D
    y = _activate(x, f"{name}_conv1")
    y = layer(filters, 3, strides=strides, padding="same", name=f"{name}_conv1")(y)
    y = _activate(y, f"{name}_conv2")
    y = layer(filters, 3, padding="same", name=f"{name}_conv2")(y)
    # the shortcut sees the raw input and is a full 3x3 convolution
    shortcut = layer(filters, 3, strides=strides, padding="same", name=f"{name}_shortcut")(x)
    return keras.layers.Add(name=f"{name}_add")([y, shortcut])


def _dropout(x: keras.KerasTensor, name: str) -> keras.KerasTensor:
    return keras.layers.Dropout(DROPOUT, name=f"{name}_dropout")(x)


def _encode(x: keras.KerasTensor) -> tuple[keras.KerasTensor, list[keras.KerasTensor]]:
    """Return the bottleneck and the skips, largest first."""
    skips = []
    for stage, filters in enumerate(ENCODER, start=1):
        name = f"encoder{stage}"
        if stage > 1:
            x = _residual(x, filters, f"{name}_down", strides=2)
        x = _residual(x, filters, name)
        if stage < len(ENCODER):
            skips.append(_dropout(x, f"skip{stage}"))
        x = _dropout(x, name)
    return x, skips


def _decode(x: keras.KerasTensor, skips: list[keras.KerasTensor], output: str) -> keras.KerasTensor:
    for stage, (filters, skip) in enumerate(zip(DECODER, reversed(skips), strict=True), start=1):
        name = f"{output}_decoder{stage}"
        x = _residual(x, filters, f"{name}_up", strides=2, transposed=True)
        x = _residual(x, filters, name)
        x = _dropout(x, name)
        x = keras.layers.Concatenate(name=f"{name}_concat")([x, skip])
    x = _residual(x, DECODER[-1], f"{output}_head")
    return _residual(x, 1, output)


def build(inputs: keras.KerasTensor) -> tuple[keras.KerasTensor, keras.KerasTensor]:
    """Build DPI on scaled diffraction patterns.

    Parameters
    ----------
    inputs : keras.KerasTensor
        Scaled patterns, (B, H, W, 1); H and W multiples of 16. The original
        feeds the square root of the intensity; here the run's input transform
        decides, the same for every model.

    Returns
    -------
    tuple of keras.KerasTensor
        Amplitude and phase on the [0, 1] target scale, (B, H, W, 1) each. The
        last activation is linear, so values outside [0, 1] can occur.

    References
    ----------
    Chang et al. (2023), reference 10 of the PPN paper.
    """
    x, skips = _encode(inputs)
    return _decode(x, skips, "amplitude"), _decode(x, skips, "phase")


SPEC = ModelSpec(
    name="dpi",
    side_multiple=16,
    build=build,
    description="DPI (2023): residual U-Net, shared encoder and two decoders, linear outputs",
)
