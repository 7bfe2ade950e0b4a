"""Random complex objects: what a network trains on where only the probe is known."""

from __future__ import annotations

import numpy as np
import scipy.ndimage

from ppn_tf.data.objects import ComplexObject
from ppn_tf.errors import OptionError
from ppn_tf.seeding import generator

#: Sizes of the structures, as the blur of white noise [px]: fine to coarse.
_SCALES_PX = (1.0, 2.0, 4.0, 8.0)


def random_object(
    shape: tuple[int, int],
    *,
    seed: int = 0,
    amplitude_range: tuple[float, float] = (0.5, 1.0),
    phase_range_rad: tuple[float, float] = (-1.0, 1.0),
    binary_share: float = 0.5,
) -> ComplexObject:
    """Draw an object with structures of many sizes.

    Amplitude and phase are independent, so that a network cannot guess one from the
    other. Each is a sum of blurred white noise of several scales; where an independent
    coarse field is below its `binary_share` quantile, it is cut to two levels, as in
    etched samples.

    Parameters
    ----------
    shape : (int, int)
        Rows and columns.
    seed : int
    amplitude_range, phase_range_rad : (float, float)
        Smallest and largest value.
    binary_share : float
        Share of the area with two levels, from 0 to 1.

    Returns
    -------
    ComplexObject

    Raises
    ------
    OptionError
        For a range whose ends are not in order, a negative amplitude, or a share outside.
    """
    for name, ends in (("amplitude", amplitude_range), ("phase", phase_range_rad)):
        if not (np.isfinite(ends).all() and ends[0] < ends[1]):
            raise OptionError(f"{name} range: expected low < high, received {ends}")
    if amplitude_range[0] < 0 or not 0 <= binary_share <= 1:
        raise OptionError(
            "expected an amplitude of at least 0 and a share from 0 to 1, received "
            f"{amplitude_range[0]} and {binary_share}"
        )
    draws = generator(seed, "object", *shape)
    parts = []
    for low, high in (amplitude_range, phase_range_rad):
        smooth = _ranked(sum(_blurred(draws, shape, scale) for scale in _SCALES_PX))
        coarse = _ranked(_blurred(draws, shape, 4 * _SCALES_PX[-1]))
        values = np.where(coarse < binary_share, np.round(smooth), smooth)
        parts.append(low + (high - low) * values)
    source = {"drawn": f"random_object, seed {seed}"}
    return ComplexObject("random", parts[0], parts[1], source)


def _blurred(draws: np.random.Generator, shape: tuple[int, int], scale_px: float) -> np.ndarray:
    """Return white noise, blurred, at unit standard deviation."""
    noise = scipy.ndimage.gaussian_filter(draws.normal(size=shape), scale_px, mode="wrap")
    return noise / noise.std()


def _ranked(values: np.ndarray) -> np.ndarray:
    """Return the rank of each value, from 0 to 1: a uniform distribution over the range."""
    order = np.empty(values.size)
    order[values.ravel().argsort(kind="stable")] = np.linspace(0, 1, values.size)
    return order.reshape(values.shape)
