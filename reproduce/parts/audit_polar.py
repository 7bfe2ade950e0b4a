"""The radial weight of PoCA, as released and as the paper describes it."""

from __future__ import annotations

import math
from typing import Any

import keras
import numpy as np

from ppn_tf.layers.poca import PolarCoordinateAttention

SIDE_PX = 32
CHANNELS = 32

#: Radii of the table [px]; the last is the farthest pixel.
RADII_PX = (0.0, 1.0, 2.0, 4.0, 8.0, 16.0, math.hypot(16.0, 16.0))

#: Logits before the radial weight that the effect is told for.
LOGITS = (1.0, 2.0, 4.0)


def layer(radial: str) -> PolarCoordinateAttention:
    """Return a built layer with its centre at the zero frequency."""
    made = PolarCoordinateAttention(2, CHANNELS, radial=radial, learn_center=False)
    made.build((None, SIDE_PX, SIDE_PX, CHANNELS))
    return made


def weights(radial: str, radii_px: np.ndarray | tuple[float, ...] = RADII_PX) -> np.ndarray:
    """Return the weight of keys at the given distances, (K,) float64."""
    radius = keras.ops.convert_to_tensor(np.asarray(radii_px, dtype=np.float32))
    found = layer(radial).radial_weight(radius, SIDE_PX, SIDE_PX)
    return keras.ops.convert_to_numpy(found).astype(np.float64)


def map_of(radial: str) -> np.ndarray:
    """Return the weight of every pixel as a key, (H, W) float64."""
    weight, _, _ = layer(radial).polar_weights(SIDE_PX, SIDE_PX)
    return keras.ops.convert_to_numpy(weight).astype(np.float64).reshape(SIDE_PX, SIDE_PX)


def measure() -> dict[str, Any]:
    """Return weights by radius, the pixels with a negative weight, and its effect.

    ``factor`` is by how much the attention on the centre pixel falls, before the softmax
    is normalised, against a weight of 1, for a logit of the given size.
    """
    released = map_of("released")
    centre = float(released[SIDE_PX // 2, SIDE_PX // 2])
    _, cosine, sine = (
        keras.ops.convert_to_numpy(x).astype(np.float64)
        for x in layer("released").polar_weights(SIDE_PX, SIDE_PX)
    )
    angular = np.outer(cosine, cosine) + np.outer(sine, sine)
    return {
        "radii_px": list(RADII_PX),
        "released": weights("released").tolist(),
        "paper": weights("paper").tolist(),
        "centre": centre,
        "negative_pixels": int((released < 0).sum()),
        "negative_pixels_paper": int((map_of("paper") < 0).sum()),
        "pole_px": 1.0 / math.hypot(SIDE_PX / 2, SIDE_PX / 2),
        "factor": {logit: math.exp((centre - 1.0) * logit) for logit in LOGITS},
        "negative_angular_share": float((angular < -1e-9).mean()),
    }
