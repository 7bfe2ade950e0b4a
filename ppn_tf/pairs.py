"""Pairs to train on: from a scan with its object, or simulated with the probe of a scan."""

from __future__ import annotations

import dataclasses

import numpy as np

from ppn_tf import phase, stitching
from ppn_tf.data import forward
from ppn_tf.data.formats.scan import Scan
from ppn_tf.data.modes import simulate_modes
from ppn_tf.data.random_objects import random_object
from ppn_tf.detector import Fit, fitted
from ppn_tf.errors import DataError, OptionError
from ppn_tf.fitting import Pairs
from ppn_tf.probe_modes import scale_probe
from ppn_tf.seeding import generator

#: Windows per simulated object, and how many windows wide it is.
_WINDOWS_PER_OBJECT = 256
_OBJECT_WINDOWS = 8


@dataclasses.dataclass(frozen=True)
class Simulation:
    """How `simulated` draws.

    Attributes
    ----------
    count : int
        Patterns.
    amplitude_range, phase_range_rad : (float, float)
        Of the random objects.
    poisson : bool
        Draw counts from a Poisson distribution.
    seed : int

    Raises
    ------
    OptionError
        For less than 2 patterns.
    """

    count: int
    amplitude_range: tuple[float, float] = (0.5, 1.0)
    phase_range_rad: tuple[float, float] = (-1.0, 1.0)
    poisson: bool = True
    seed: int = 0

    def __post_init__(self) -> None:
        if self.count < 2:
            raise OptionError(f"expected at least 2 patterns to simulate, received {self.count}")


def of_scan(scan: Scan, fit: Fit) -> Pairs:
    """Pair the patterns of a scan with the windows of its object.

    Where cropping makes the object's pixels grow, they are averaged over blocks, as a
    complex field. The phase is unwrapped over the whole object. Windows are cut at the
    nearest whole pixel.

    Raises
    ------
    DataError
        For a scan without an object, or no window inside it.
    OptionError
        If pixels would grow by no whole number.
    """
    if scan.object is None:
        raise DataError(
            "the scan holds no object to train on: reconstruct it first (ppn-tf refine --start "
            "flat), or pass --simulate N"
        )
    growth = fit.pixel_growth(scan.window_px)
    if (growth != np.round(growth)).any():
        raise OptionError(
            f"--crop makes the object's pixels grow by {growth.tolist()}: expected whole numbers, "
            f"so sides that divide the detector's {scan.window_px}"
        )
    field = _block_mean(scan.object, growth.astype(int).tolist())
    small = fitted(scan, fit)
    window = small.window_px
    corners = np.round(fit.corners_px(scan.positions_px, scan.window_px)).astype(np.int64)
    last = np.array(field.shape) - window
    inside = ((corners >= 0) & (corners <= last)).all(axis=1)
    if not inside.any():
        raise DataError(f"no window of {window} px lies inside the object of {field.shape} px")
    phase_rad = phase.unwrap(field, near_rad=0.0)
    return Pairs(
        small.patterns[inside],
        stitching.extract(np.abs(field), corners[inside], window),
        stitching.extract(phase_rad, corners[inside], window),
    )


def simulated(scan: Scan, fit: Fit, options: Simulation) -> Pairs:
    """Simulate patterns of random objects with the probe of a scan, at its counts.

    The probe is scaled so that the mean counts of a random object are those of the scan.

    Raises
    ------
    DataError
        For a scan without a probe, or windows that are not square.
    """
    if scan.probe is None:
        raise DataError("the scan holds no probe to simulate with: add it to its file")
    small = fitted(scan, fit)
    height, width = small.window_px
    if height != width:
        raise DataError(f"simulation needs square windows, received {height} x {width} px")
    assert small.probe is not None
    probe = scale_probe(small.probe, small.patterns)
    side = _OBJECT_WINDOWS * width
    noise = forward.NoiseModel("counted", None, options.poisson, 0.0)
    parts: list[tuple[np.ndarray, np.ndarray, np.ndarray]] = []
    for index, start in enumerate(range(0, options.count, _WINDOWS_PER_OBJECT)):
        seed = int(generator(options.seed, "object", index).integers(2**31))
        drawn = random_object(
            (side, side),
            seed=seed,
            amplitude_range=options.amplitude_range,
            phase_range_rad=options.phase_range_rad,
        )
        number = min(_WINDOWS_PER_OBJECT, options.count - start)
        places = generator(seed, "jitter").integers(0, side - width, (number, 2), endpoint=True)
        # an object that absorbs would otherwise leave fewer counts than were measured
        lit = probe / np.sqrt(np.mean(np.abs(drawn.complex) ** 2))
        counts = simulate_modes(drawn.complex, lit, places, noise, seed)
        if small.mask is not None:
            counts = np.where(small.mask, counts, np.float32(0))
        parts.append(
            (
                counts,
                stitching.extract(drawn.amplitude, places, width),
                stitching.extract(drawn.phase_rad, places, width),
            )
        )
    return Pairs(*(np.concatenate(arrays) for arrays in zip(*parts, strict=True)))


def _block_mean(values: np.ndarray, factors: list[int]) -> np.ndarray:
    rows, cols = (have // factor for have, factor in zip(values.shape, factors, strict=True))
    cut = values[: rows * factors[0], : cols * factors[1]].astype(np.complex128)
    return cut.reshape(rows, factors[0], cols, factors[1]).mean(axis=(1, 3))
