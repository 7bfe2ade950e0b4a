"""PtychoNN: one convolutional encoder, two decoders, linear outputs.

Cherukara et al., Applied Physics Letters 117 (2020), "AI-enabled
high-resolution scanning coherent diffraction imaging"; the 32-filter form of
its TensorFlow 2 release. The network has no normalisation layer; weights start
as Keras starts them by default, as in the release.
"""

from __future__ import annotations

import keras

from ppn_tf.models.spec import ModelSpec

#: Filters of the three encoder stages; the decoders go through them backwards.
FILTERS = (32, 64, 128)


def _pair(x: keras.KerasTensor, filters: int, name: str) -> keras.KerasTensor:
    for index in (1, 2):
        x = keras.layers.Conv2D(
            filters, 3, padding="same", activation="relu", name=f"{name}_conv{index}"
        )(x)
    return x


def _decode(x: keras.KerasTensor, name: str) -> keras.KerasTensor:
    for stage, filters in enumerate(reversed(FILTERS), start=1):
        x = _pair(x, filters, f"{name}_decoder{stage}")
        x = keras.layers.UpSampling2D(
            2, interpolation="nearest", name=f"{name}_decoder{stage}_upsample"
        )(x)
    return keras.layers.Conv2D(1, 3, padding="same", name=name)(x)


def build(inputs: keras.KerasTensor) -> tuple[keras.KerasTensor, keras.KerasTensor]:
    """Build PtychoNN on scaled diffraction patterns.

    Parameters
    ----------
    inputs : keras.KerasTensor
        Scaled patterns, (B, H, W, 1); H and W multiples of 8.

    Returns
    -------
    tuple of keras.KerasTensor
        Amplitude and phase on the [0, 1] target scale, (B, H, W, 1) each. The
        last activation is linear, so values outside [0, 1] can occur.

    References
    ----------
    Cherukara et al. (2020), doi:10.1063/5.0013065.
    """
    x = inputs
    for stage, filters in enumerate(FILTERS, start=1):
        x = _pair(x, filters, f"encoder{stage}")
        x = keras.layers.MaxPooling2D(2, name=f"encoder{stage}_pool")(x)
    return _decode(x, "amplitude"), _decode(x, "phase")


SPEC = ModelSpec(
    name="ptychonn",
    side_multiple=8,
    build=build,
    description="PtychoNN (2020): convolutional encoder, two decoders, linear outputs",
)
