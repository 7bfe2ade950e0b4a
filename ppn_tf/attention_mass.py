"""How much attention keys receive, by their distance from the detector's centre.

The paper says that its attention "preferentially weights mid-frequency correlations"
(section IV-B3). On the detector the radius of a pixel is a spatial frequency, so that
this is a statement on softmax weights by key radius, which is measured here.
"""

from __future__ import annotations

import math
from typing import Any

import keras
import numpy as np
from keras import ops

from ppn_tf.errors import DataError
from ppn_tf.layers.attention import widened
from ppn_tf.layers.poca import PixelSelfAttention
from ppn_tf.spectrum import BANDS

#: Queries whose weights are held at once, per image and head.
BLOCK_ROWS = 128


def key_mass(query: np.ndarray, key: np.ndarray, scale: float) -> np.ndarray:
    """Return the mean softmax weight that each key receives over all queries.

    Parameters
    ----------
    query, key : (..., N, d) float
        As they enter the dot product.
    scale : float
        Factor on the logits.

    Returns
    -------
    (..., N) float64
        Sums to 1 over the keys. Only `BLOCK_ROWS` of the N x N weights are held at once.

    Raises
    ------
    DataError
        For shapes that differ.
    """
    query, key = (np.asarray(x, dtype=np.float64) for x in (query, key))
    if query.shape != key.shape or query.ndim < 2:
        raise DataError(
            f"query and key must be (..., N, d) alike, received {query.shape} and {key.shape}"
        )
    tokens = query.shape[-2]
    turned = np.swapaxes(key, -1, -2) * scale
    mass = np.zeros(query.shape[:-1])
    for start in range(0, tokens, BLOCK_ROWS):
        logits = query[..., start : start + BLOCK_ROWS, :] @ turned
        weights = np.exp(logits - logits.max(axis=-1, keepdims=True))
        mass += (weights / weights.sum(axis=-1, keepdims=True)).sum(axis=-2)
    return mass / tokens


def rings(shape: tuple[int, int]) -> np.ndarray:
    """Return the ring of every pixel: its distance from (H//2, W//2), rounded [px].

    Returns
    -------
    (H, W) int64
    """
    rows, cols = (np.arange(side) - side // 2 for side in shape)
    return np.rint(np.hypot(rows[:, None], cols)).astype(np.int64)


def band_shares(values: np.ndarray) -> dict[str, float]:
    """Sum a map over the paper's three bands, with the detector's edge as Nyquist.

    Parameters
    ----------
    values : (H, W) float
        Zero frequency at (H//2, W//2).

    Returns
    -------
    dict of str to float
        ``low``, ``mid``, ``high`` as in `ppn_tf.spectrum.BANDS`, and ``corner`` for the
        pixels beyond.
    """
    rows, cols = (2 * (np.arange(side) - side // 2) / side for side in values.shape)
    frequency = np.hypot(rows[:, None], cols)
    found = {
        name: float(values[(frequency >= low) & (frequency < high)].sum())
        for name, (low, high) in BANDS.items()
    }
    return found | {"corner": float(values[frequency >= 1.0].sum())}


def by_radius(network: keras.Model, patterns: np.ndarray) -> dict[str, Any] | None:
    """Measure the attention mass of every pixel-attention layer by key radius.

    Parameters
    ----------
    network : keras.Model
        Layers of the kinds `PixelSelfAttention` and `PolarCoordinateAttention` count,
        whose tokens are detector pixels.
    patterns : (N, H, W) float
        What the network takes; all in one batch, a few are enough.

    Returns
    -------
    dict or None
        None for a network without such layers. ``radius_px`` of the rings and their
        ``pixel_share`` (of all pixels); ``bands`` with the pixel share of each band;
        ``layers`` with, for every layer by name and every head, the ``mass`` of each
        ring (mean over patterns and queries, sum 1), ``relative`` to the ring's pixel
        share (1 for uniform attention), and the mass of each of the ``bands``.
    """
    layers = [layer for layer in network.layers if isinstance(layer, PixelSelfAttention)]
    if not layers:
        return None
    tap = keras.Model(network.inputs, [layer.input for layer in layers])
    inputs = tap.predict_on_batch(np.asarray(patterns, dtype=np.float32)[..., None])
    inputs = inputs if isinstance(inputs, (list, tuple)) else [inputs]
    shape = tuple(patterns.shape[1:3])
    ring = rings(shape).ravel()
    share = np.bincount(ring) / ring.size
    found: dict[str, Any] = {
        "patterns": len(patterns),
        "radius_px": list(range(len(share))),
        "pixel_share": _rounded(share),
        "bands": band_shares(np.full(shape, 1.0 / ring.size)),
        "layers": {},
    }
    for layer, values in zip(layers, inputs, strict=True):
        mass = _layer_mass(layer, values, shape)
        in_rings = [np.bincount(ring, head) for head in mass]
        found["layers"][layer.name] = [
            {
                "mass": _rounded(total),
                "relative": _rounded(total / share),
                "bands": band_shares(head.reshape(shape)),
            }
            for head, total in zip(mass, in_rings, strict=True)
        ]
    return found


def _layer_mass(layer: PixelSelfAttention, inputs: Any, shape: tuple[int, int]) -> np.ndarray:
    """Return the mass of every key, (heads, N), averaged over the batch."""
    query, key, _ = layer.heads(ops.convert_to_tensor(inputs))
    modulation = layer.modulation(*shape)
    if modulation is not None:
        query, key = widened(query, key, modulation)
    pair = (ops.convert_to_numpy(ops.cast(x, "float32")) for x in (query, key))
    return key_mass(*pair, 1.0 / math.sqrt(layer.key_dim)).mean(axis=0)


def _rounded(values: np.ndarray) -> list[float]:
    return [float(f"{value:.6g}") for value in values]
