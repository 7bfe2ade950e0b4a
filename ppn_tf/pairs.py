"""Pairs to train on: from a scan with its object, or simulated with the probe of a scan."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator

import numpy as np
from tqdm import tqdm

from ppn_tf import phase, stitching
from ppn_tf.data.formats.scan import Scan
from ppn_tf.data.modes import simulate_modes
from ppn_tf.data.random_objects import EDGE_PX, SCALES_PX, check_ranges, random_object
from ppn_tf.detector import Fit
from ppn_tf.errors import DataError, OptionError
from ppn_tf.fitting import FitOptions, Pairs
from ppn_tf.scaling import check_phase_zero
from ppn_tf.seeding import generator

#: Windows per simulated object, and how many windows wide it is.
_WINDOWS_PER_OBJECT = 256
_OBJECT_WINDOWS = 4

#: Share of the pairs that is held out, and the least share that must be left to train on.
_HELD_OUT = FitOptions.validation_fraction
_LEAST_KEPT = 0.7

#: Pixels of windows that are held at once.
_BATCH_PIXELS = 1 << 21


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
    phase_zero : {"light", "object"}
        What phases count from, see `ppn_tf.scaling.PHASE_ZEROS`.

    Raises
    ------
    OptionError
        For less than 2 patterns, ranges that no object has, or an unknown zero.
    """

    count: int
    amplitude_range: tuple[float, float] = (0.5, 1.0)
    phase_range_rad: tuple[float, float] = (-1.0, 1.0)
    poisson: bool = True
    seed: int = 0
    phase_zero: str = "light"

    def __post_init__(self) -> None:
        if self.count < 2:
            raise OptionError(f"expected at least 2 patterns to simulate, received {self.count}")
        check_ranges(self.amplitude_range, self.phase_range_rad)
        check_phase_zero(self.phase_zero)


def of_scan(scan: Scan, fit: Fit, phase_zero: str = "light") -> Pairs:
    """Pair the patterns of a scan with the windows of its object.

    Where cropping makes the object's pixels grow, they are averaged, as a complex field.
    The phase is unwrapped over the whole object. Windows are cut at the nearest whole
    pixel of the scan's object; those that leave it are left out.

    Windows of a corner of the scan are held out, and those that overlap them are left out,
    so that the validation loss is that of a place which no step saw. Where too few windows
    would be left, `Pairs.held_out` is None.

    Parameters
    ----------
    scan : Scan
    fit : Fit
    phase_zero : {"light", "object"}
        What phases count from; ``"light"`` needs the scan's probe.

    Raises
    ------
    DataError
        For a scan without an object, without the probe that is needed, or no window
        inside the object.
    OptionError
        For an unknown zero.
    """
    check_phase_zero(phase_zero)
    if scan.object is None:
        raise DataError(
            "the scan holds no object to train on: reconstruct it first (ppn-tf refine --start "
            "flat), or pass --simulate N"
        )
    light = _light(scan, phase_zero)
    window = scan.window_px
    corners = np.round(scan.positions_px).astype(np.int64)
    last = np.array(scan.object.shape) - window
    inside = np.flatnonzero(((corners >= 0) & (corners <= last)).all(axis=1))
    if not len(inside):
        raise DataError(
            f"no window of {window} px lies inside the object of {scan.object.shape} px"
        )
    apart = _corner(corners[inside], window)
    held_out = None
    if apart is not None:
        held_out, used = apart
        inside, held_out = inside[used], held_out[used]
    phase_rad = phase.unwrap(scan.object, near_rad=0.0)
    parts = []
    for some in _batches(inside, window):
        amplitude = stitching.extract(np.abs(scan.object), corners[some], window)
        angles = stitching.extract(phase_rad, corners[some], window)
        counts = fit.patterns(scan.patterns[some], scan.mask)
        parts.append((counts, *_targets(amplitude, angles, fit, light)))
    return _joined(parts, phase_zero, held_out)


def _corner(
    corners: np.ndarray, window_px: tuple[int, int]
) -> tuple[np.ndarray, np.ndarray] | None:
    """Return which windows lie in a corner, and which in it or clear of it, each (N,) bool.

    None where less than 70 % of the windows would be left to train on.
    """
    extent = np.maximum(np.ptp(corners, axis=0), 1)
    # how far into the corner: of a square that grows from it, the side
    depth = ((corners - corners.min(axis=0)) / extent).min(axis=1)
    count = max(1, round(len(corners) * _HELD_OUT))
    held_out = np.zeros(len(corners), bool)
    held_out[np.argsort(depth, kind="stable")[-count:]] = True
    begin = corners[held_out].min(axis=0) - window_px
    kept = (corners <= begin).any(axis=1)
    if kept.sum() < _LEAST_KEPT * len(corners):
        return None
    return held_out, kept | held_out


def simulated(scan: Scan, fit: Fit, options: Simulation, *, label: str | None = None) -> Pairs:
    """Simulate patterns of random objects with the probe of a scan, at its counts.

    The whole detector is simulated and then treated like the measured patterns, so that
    what `fit` does to them is in the pairs too. Of every object the mean counts on valid
    pixels are those of the scan. Structures are 1.5 to 12 pixels of the result wide. The
    windows of the last objects are held out.

    Parameters
    ----------
    scan : Scan
        With the probe that lit the sample, in all its modes.
    fit : Fit
    options : Simulation
    label : str, optional
        Of a progress bar on standard error.

    Raises
    ------
    DataError
        For a scan without a probe, patterns without counts, or windows that are not square.
    """
    if scan.probe is None:
        raise DataError("the scan holds no probe to simulate with: add it to its file, or --probe")
    height, width = scan.window_px
    if height != width or len(set(fit.window_px(scan.window_px))) > 1:
        raise DataError(
            f"simulation needs square windows, received {height} x {width} px, used "
            f"{' x '.join(map(str, fit.window_px(scan.window_px)))} px"
        )
    light = _light(scan, options.phase_zero)
    held_out = np.zeros(options.count, bool)
    held_out[-max(1, round(options.count * _HELD_OUT)) :] = True
    numbers = [*_per_object(int((~held_out).sum())), *_per_object(int(held_out.sum()))]
    parts: list[tuple[np.ndarray, np.ndarray, np.ndarray]] = []
    for index, number in enumerate(tqdm(numbers, desc=label, disable=label is None, unit="object")):
        parts.extend(_of_one_object(scan, fit, options, light, index, number))
    return _joined(parts, options.phase_zero, held_out)


def _per_object(count: int) -> list[int]:
    """Return how many of `count` windows each object has."""
    return [
        min(_WINDOWS_PER_OBJECT, count - start) for start in range(0, count, _WINDOWS_PER_OBJECT)
    ]


def _of_one_object(
    scan: Scan, fit: Fit, options: Simulation, light: np.ndarray | None, index: int, number: int
) -> Iterator[tuple[np.ndarray, np.ndarray, np.ndarray]]:
    """Yield patterns, amplitude and phase of batches of windows of one object."""
    assert scan.probe is not None
    window, seed = scan.window_px, int(generator(options.seed, "object", index).integers(2**31))
    side, growth = _OBJECT_WINDOWS * window[0], float(fit.pixel_growth(window)[0])
    drawn = random_object(
        (side, side),
        seed=seed,
        amplitude_range=options.amplitude_range,
        phase_range_rad=options.phase_range_rad,
        scales_px=[scale * growth for scale in SCALES_PX],
        edge_px=EDGE_PX * growth,
    )
    places = generator(seed, "jitter").integers(0, side - window[0], (number, 2), endpoint=True)
    noise = generator(seed, "noise")
    valid = np.ones(window, bool) if scan.mask is None else scan.mask
    wanted = float(scan.patterns[:, valid].sum(axis=1, dtype=np.float64).mean())
    factor = None
    for some in _batches(places, window):
        counts = simulate_modes(drawn.complex, scan.probe, some).astype(np.float64)
        if factor is None:
            # patterns do not hold how much the object absorbs
            factor = wanted / _positive(counts[:, valid].sum(axis=1).mean())
        counts *= factor
        if options.poisson:
            counts = noise.poisson(counts)
        amplitude = stitching.extract(drawn.amplitude, some, window)
        angles = stitching.extract(drawn.phase_rad, some, window)
        small = fit.patterns(np.where(valid, counts, 0), scan.mask)
        yield (small, *_targets(amplitude, angles, fit, light))


def _targets(
    amplitude: np.ndarray, phase_rad: np.ndarray, fit: Fit, light: np.ndarray | None
) -> tuple[np.ndarray, np.ndarray]:
    """Return amplitude and phase of the means over the network's pixels; nothing is wrapped."""
    windows = amplitude * np.exp(1j * phase_rad.astype(np.float64))
    field, near = fit.field(windows), fit.field(phase_rad)
    angles = near + np.angle(field * np.exp(-1j * near))
    if light is not None:
        zero = np.angle((windows * light).sum(axis=(1, 2)))
        whole = np.round(((phase_rad * light).sum(axis=(1, 2)) - zero) / (2 * np.pi))
        angles = angles - (zero + 2 * np.pi * whole)[:, None, None]
    return np.abs(field).astype(np.float32), angles.astype(np.float32)


def _light(scan: Scan, phase_zero: str) -> np.ndarray | None:
    """Return the share of the light in each pixel of the window, None where it is not needed."""
    if phase_zero != "light":
        return None
    if scan.probe is None:
        raise DataError(
            "phases count from the mean that the light sees, but the scan holds no probe: pass "
            "--probe FILE, or --phase-zero object"
        )
    light = (np.abs(scan.probe.astype(np.complex128)) ** 2).sum(axis=0)
    return light / _positive(light.sum())


def _positive(value: float) -> float:
    if not (np.isfinite(value) and value > 0):
        raise DataError(f"the probe gives no light on valid pixels ({value}): check probe and mask")
    return float(value)


def _batches(values: np.ndarray, window_px: tuple[int, int]) -> Iterator[np.ndarray]:
    step = max(1, _BATCH_PIXELS // (window_px[0] * window_px[1]))
    for start in range(0, len(values), step):
        yield values[start : start + step]


def _joined(
    parts: list[tuple[np.ndarray, np.ndarray, np.ndarray]],
    phase_zero: str,
    held_out: np.ndarray | None,
) -> Pairs:
    patterns, amplitude, phase_rad = (np.concatenate(arrays) for arrays in zip(*parts, strict=True))
    return Pairs(patterns, amplitude, phase_rad, phase_zero, held_out)
