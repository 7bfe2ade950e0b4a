"""Random complex objects: what a network trains on where only the probe is known."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import scipy.ndimage

from ppn_tf.data.objects import ComplexObject
from ppn_tf.errors import OptionError
from ppn_tf.seeding import generator

#: Sizes of the structures, as the blur of white noise [px]: fine to coarse.
SCALES_PX = (1.5, 3.0, 6.0, 12.0)

#: Blur of the edges between two levels [px].
EDGE_PX = 0.5


def random_object(
    shape: tuple[int, int],
    *,
    seed: int = 0,
    amplitude_range: tuple[float, float] = (0.5, 1.0),
    phase_range_rad: tuple[float, float] = (-1.0, 1.0),
    binary_share: float = 0.5,
    scales_px: Sequence[float] = SCALES_PX,
    edge_px: float = EDGE_PX,
) -> ComplexObject:
    """Draw an object with structures of many sizes.

    Amplitude and phase are independent, so that a network cannot guess one from the
    other. Each is a sum of blurred white noise of several scales, brought to a uniform
    distribution; where an independent coarse field is below its `binary_share` quantile,
    it has two levels with soft edges, as in etched samples.

    Parameters
    ----------
    shape : (int, int)
        Rows and columns.
    seed : int
    amplitude_range, phase_range_rad : (float, float)
        Smallest and largest value.
    binary_share : float
        Share of the area with two levels, from 0 to 1.
    scales_px : sequence of float
        Blur of each part of the noise, fine to coarse.
    edge_px : float
        Blur of the edges between the two levels.

    Returns
    -------
    ComplexObject

    Raises
    ------
    OptionError
        As `check_ranges`, and for a share outside.
    """
    check_ranges(amplitude_range, phase_range_rad)
    if not 0 <= binary_share <= 1:
        raise OptionError(f"binary_share: expected a share from 0 to 1, received {binary_share}")
    draws = generator(seed, "object")
    parts = []
    for low, high in (amplitude_range, phase_range_rad):
        smooth = _ranked(sum(_blurred(draws, shape, scale) for scale in scales_px))
        levels = scipy.ndimage.gaussian_filter(np.round(smooth), edge_px, mode="wrap")
        coarse = _ranked(_blurred(draws, shape, 2 * scales_px[-1]))
        parts.append(low + (high - low) * np.where(coarse < binary_share, levels, smooth))
    source = {"drawn": f"random_object, seed {seed}"}
    return ComplexObject("random", parts[0], parts[1], source)


def check_ranges(
    amplitude_range: tuple[float, float], phase_range_rad: tuple[float, float]
) -> None:
    """Refuse ranges that no object has.

    Raises
    ------
    OptionError
        For a range whose ends are not in order, or a negative amplitude.
    """
    for name, ends in (("amplitude", amplitude_range), ("phase", phase_range_rad)):
        if not (np.isfinite(ends).all() and ends[0] < ends[1]):
            raise OptionError(f"{name} range: expected low < high, received {ends}")
    if amplitude_range[0] < 0:
        raise OptionError(f"amplitude range: expected at least 0, received {amplitude_range[0]}")


def _blurred(draws: np.random.Generator, shape: tuple[int, int], scale_px: float) -> np.ndarray:
    """Return white noise, blurred, at unit standard deviation."""
    noise = scipy.ndimage.gaussian_filter(draws.normal(size=shape), scale_px, mode="wrap")
    return noise / noise.std()


def _ranked(values: np.ndarray) -> np.ndarray:
    """Return the rank of each value, from 0 to 1: a uniform distribution over the range."""
    order = np.empty(values.size)
    order[values.ravel().argsort(kind="stable")] = np.arange(values.size) / (values.size - 1)
    return order.reshape(values.shape)
