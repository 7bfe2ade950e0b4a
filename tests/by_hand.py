"""A network and a scan of which every number is known: the patterns are the object's windows."""

import keras
import numpy as np

from ppn_tf.data.formats import Scan
from ppn_tf.layers import PatternScaling, TargetScaling

SIDE_PX = 8
PIXEL_M = 2e-8


def picture():
    """An asymmetric F, values from 0.2 to 1."""
    values = np.full((24, 28), 0.2)
    values[3:20, 6:9] = values[3:6, 6:20] = values[10:13, 6:15] = 1.0
    return values + np.linspace(0, 0.1, 28)


def network(side=SIDE_PX, zero="object"):
    """Amplitude = counts / 100, phase = 1 - counts / 100 [rad]: both linear."""
    inputs = keras.Input((side, side, 1))
    x = PatternScaling("linear", 0.0, 200.0, name="pattern_scaling")(inputs)
    y = keras.layers.Rescaling(-1.0, offset=1.0)(x)
    x = TargetScaling(0.0, 2.0, name="amplitude_scaling")(x)
    y = TargetScaling(-1.0, 1.0, unit="rad", zero=zero, name="phase_scaling")(y)
    return keras.Model(inputs, {"amplitude": x, "phase": y}, name="by-hand")


def expected():
    """What `network` and the stitching make of `scan`."""
    return picture() * np.exp(1j * (1 - picture()))


def scan(step=4, **more):
    """Windows of the picture, 100 times their value; every pixel is covered."""
    rows, cols = (np.arange(0, side - SIDE_PX + 1, step) for side in picture().shape)
    corners = np.stack(np.meshgrid(rows, cols, indexing="ij"), axis=-1).reshape(-1, 2)
    windows = np.lib.stride_tricks.sliding_window_view(picture(), (SIDE_PX, SIDE_PX))
    patterns = 100 * windows[corners[:, 0], corners[:, 1]]
    known = {
        "energy_eV": 8000.0,
        "distance_m": 1.0,
        "object_pixel_m": (PIXEL_M, 2 * PIXEL_M),
        "probe": np.ones((2, SIDE_PX, SIDE_PX), np.complex64) * (1 + 0.5j),
    }
    return Scan(patterns.astype(np.float32), corners.astype(np.float64), **{**known, **more})
