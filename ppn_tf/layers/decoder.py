"""Decoders that turn fused features into amplitude and phase."""

from __future__ import annotations

from typing import Any

import keras

#: Channels of the three transposed-convolution blocks, as in the authors' code.
DECODER_CHANNELS = (128, 64, 32)


def conv_decoder(x: Any, name: str) -> Any:
    """Upsample (B, h, w, C) by 8 to (B, 8h, 8w, 1) in [0, 1] (Eq. 11).

    Three blocks of a 3x3 transposed convolution of stride 2, ReLU and BatchNorm
    (Keras defaults: momentum 0.99, epsilon 1e-3), in this order as in the authors'
    code, then a 3x3 transposed convolution to one channel with a sigmoid.

    Parameters
    ----------
    x : (B, h, w, C) tensor
    name : str
        ``"amplitude"`` or ``"phase"``: prefix of the layers' names.

    Returns
    -------
    (B, 8h, 8w, 1) tensor
    """
    for index, channels in enumerate(DECODER_CHANNELS, start=1):
        x = keras.layers.Conv2DTranspose(
            channels, 3, strides=2, padding="same", activation="relu", name=f"{name}_up_{index}"
        )(x)
        x = keras.layers.BatchNormalization(name=f"{name}_norm_{index}")(x)
    return keras.layers.Conv2DTranspose(
        1, 3, padding="same", activation="sigmoid", name=f"{name}_image"
    )(x)


def dense_decoder(x: Any, height: int, width: int, name: str) -> Any:
    """Map (B, h, w, C) to (B, height, width, 1) by one fully connected layer.

    The ablation "w/o D" of Table II: at 32x32 px, 2048 features to 1024 pixels.
    """
    flat = keras.layers.Flatten(name=f"{name}_flatten")(x)
    pixels = keras.layers.Dense(height * width, activation="sigmoid", name=f"{name}_dense")(flat)
    return keras.layers.Reshape((height, width, 1), name=f"{name}_image")(pixels)


def decode(x: Any, decoder: str, height: int, width: int) -> tuple[Any, Any]:
    """Decode amplitude and phase in parallel; `decoder` is "conv" or "dense"."""
    if decoder == "conv":
        return conv_decoder(x, "amplitude"), conv_decoder(x, "phase")
    return (
        dense_decoder(x, height, width, "amplitude"),
        dense_decoder(x, height, width, "phase"),
    )
