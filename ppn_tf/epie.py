"""Iterative reconstruction: the extended ptychographical iterative engine (ePIE).

Maiden and Rodenburg, Ultramicroscopy 109 (2009) 1256, DOI
10.1016/j.ultramic.2009.05.012; with several probe modes for partially coherent
light, Thibault and Menzel, Nature 494 (2013) 68, DOI 10.1038/nature11806.

An iteration visits every pattern once, in a random order. With the exit waves
``psi_m = P_m O`` of all modes and ``psi'_m`` those whose far field has the measured
modulus, ``O += alpha sum_m conj(P_m) (psi'_m - psi_m) / max sum_m |P_m|^2`` and
``P_m += beta conj(O) (psi'_m - psi_m) / max |O|^2``, both from the values before the
visit. Conventions as in `ppn_tf.data.forward`: unnormalised Fourier transform, zero
frequency at the centre pixel ``(H // 2, W // 2)`` of a pattern, positions are the
(row, col) of a window's top-left corner.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from typing import Any

import numpy as np
import scipy.fft

from ppn_tf import subpixel
from ppn_tf.data.forward import checked_positions
from ppn_tf.epie_engine import CompiledLoop, Engine, Problem, PythonLoop
from ppn_tf.errors import DataError, OptionError
from ppn_tf.probe_modes import orthogonalise
from ppn_tf.seeding import generator

ENGINES = ("compiled", "numpy")

#: Iterations handed to an engine at once, and between two looks at the stopping rule.
CHUNK_ITERATIONS = 10

_AXES = (-2, -1)


@dataclasses.dataclass(frozen=True, eq=False)
class Result:
    """A reconstruction.

    Attributes
    ----------
    object : (rows, cols) complex
        Transmission of the object; pixels that no window covers keep their
        initial value.
    probe : (H, W) or (M, H, W) complex
        As many axes as the probe that was passed. With a fixed probe it is that
        probe, bit for bit.
    errors : (iterations,) float64
        R-factor of each iteration, ``sum |modulus - sqrt(counts)| / sum sqrt(counts)``
        over all patterns and living pixels, with the calculated modulus of each pattern
        just before its visit.
    converged : bool
        Whether the stopping rule ended the reconstruction.
    """

    object: np.ndarray
    probe: np.ndarray
    errors: np.ndarray
    converged: bool = False


#: Whole numbers of `Options`, and the least that each may be.
_LEAST = (("iterations", 1), ("probe_start", 0), ("first_iteration", 0), ("batch", 1))


@dataclasses.dataclass(frozen=True, eq=False, kw_only=True)
class Options:
    """How `reconstruct` works; each field is one of its keywords.

    Attributes
    ----------
    iterations : int
        At least 1.
    update_probe : bool
        False keeps the probe as it is, bit for bit.
    alpha, beta : float
        Update constants of object and probe, above 0 and at most 2.
    initial_object : (rows, cols) complex or None
        None: ones.
    object_shape : (int, int) or None
        Shape of an initial object of ones; None: as large as the scan needs.
    dead_pixels : (H, W) bool or None
        True where the detector does not count. Patterns may hold anything there, NaN
        too; the calculated modulus is kept.
    offsets_px : (N, 2) float or None
        Rows and columns by which windows lie beyond `positions_px`, at most 1 px: the
        probe is moved there (`ppn_tf.subpixel`). Not with a batch above 1.
    probe_start : int
        First iteration that updates the probe, those before `first_iteration` counted.
    orthogonalise_modes : bool
        Make the modes orthogonal after every iteration.
    tolerance : float or None
        Stop where the R-factor fell by less than this share of itself within 10
        iterations, looked at after every tenth; None: never.
    seed : int
        Decides the order of the visits.
    first_iteration : int
        Iterations done before, so that a reconstruction that is continued from its own
        object and probe is the same as one without a break.
    engine : {"compiled", "numpy"}
        ``"compiled"``: the whole loop compiled on the active Keras backend;
        ``"numpy"``: a plain Python loop over the patterns. Same order, same formulas.
    batch : int
        Positions whose updates are made at once, from the same object: faster on a GPU,
        and slower to converge the larger it is (`ppn_tf.epie_batches`; ``docs/speed.md``
        has by how much). 1 is ePIE. Above 1 only with ``engine="compiled"``.
    label : str or None
        Shows a progress bar of this name on standard error.

    Raises
    ------
    OptionError
        For a value outside its range.
    """

    iterations: int
    update_probe: bool = True
    alpha: float = 1.0
    beta: float = 1.0
    initial_object: np.ndarray | None = None
    object_shape: tuple[int, int] | None = None
    dead_pixels: np.ndarray | None = None
    offsets_px: np.ndarray | None = None
    probe_start: int = 0
    orthogonalise_modes: bool = False
    tolerance: float | None = None
    seed: int = 0
    first_iteration: int = 0
    engine: str = "compiled"
    batch: int = 1
    label: str | None = None

    @property
    def probe_waits(self) -> int:
        """How many of the iterations leave the probe as it is at first."""
        return max(0, self.probe_start - self.first_iteration)

    def __post_init__(self) -> None:
        for name, least in _LEAST:
            value = getattr(self, name)
            if int(value) != value or value < least:
                raise OptionError(
                    f"{name} must be a whole number of at least {least}, received {value}"
                )
        for name in ("alpha", "beta"):
            value = getattr(self, name)
            if not 0 < value <= 2:
                raise OptionError(f"{name} must be above 0 and at most 2, received {value}")
        if self.tolerance is not None and not 0 < self.tolerance < 1:
            raise OptionError(
                f"tolerance must be between 0 and 1, or None, received {self.tolerance}"
            )
        if self.engine not in ENGINES:
            raise OptionError(
                f"unknown engine {self.engine!r}: expected one of {', '.join(ENGINES)}"
            )
        if self.batch > 1 and self.engine != "compiled":
            raise OptionError(
                f"a batch above 1 needs the compiled engine, received batch={self.batch}, "
                f"engine={self.engine!r}"
            )
        if self.batch > 1 and self.offsets_px is not None:
            raise OptionError(
                f"a batch above 1 takes whole positions, received batch={self.batch} and offsets_px"
            )


def reconstruct(
    patterns: np.ndarray,
    positions_px: np.ndarray,
    probe: np.ndarray,
    *,
    iterations: int,
    **options: Any,
) -> Result:
    """Reconstruct object and probe from the patterns of a scan.

    Parameters
    ----------
    patterns : (N, H, W) real
        Counts, not negative.
    positions_px : (N, 2) integer
        Row and column of the top-left corners.
    probe : (H, W) or (M, H, W) complex
        Initial probe, or its M modes, at the scale of the counts: the patterns of an
        empty object are ``sum_m |fft2(P_m)|^2`` (`ppn_tf.probe_modes.scale_probe`).
    iterations : int
        Passes over all patterns, at least 1.
    **options
        `update_probe`, `alpha`, `beta`, `initial_object`, `object_shape`,
        `dead_pixels`, `offsets_px`, `probe_start`, `orthogonalise_modes`, `tolerance`,
        `seed`, `first_iteration`, `engine`, `batch` and `label`, as `Options` explains them.

    Returns
    -------
    Result
        complex128 where `probe` or `initial_object` is, else complex64.

    Raises
    ------
    DataError
        For wrong shapes, NaN or infinite or negative counts at living pixels, no
        counts at all, a probe that is not complex or is zero, positions that are not
        whole pixels or lie outside the object, and a reconstruction that diverges.
    OptionError
        As in `Options` and `ppn_tf.epie_engine.CompiledLoop`, and for an unknown option.
    """
    names = [field.name for field in dataclasses.fields(Options)]
    unknown = sorted(options.keys() - set(names))
    if unknown:
        raise OptionError(f"unknown option {', '.join(unknown)}: expected of {', '.join(names)}")
    chosen = Options(iterations=iterations, **options)
    given = _checked_probe(probe)
    modes = given.reshape(-1, *given.shape[-2:])
    loop, problem = _prepare(patterns, positions_px, modes, chosen)
    errors, converged = _iterate(loop, problem, chosen)
    found, found_modes = loop.fetch()
    moved = chosen.update_probe and chosen.probe_waits < chosen.iterations
    final = found_modes.reshape(given.shape) if moved else given.copy()
    return Result(found, final, errors, converged)


def _prepare(
    patterns: np.ndarray, positions_px: np.ndarray, modes: np.ndarray, options: Options
) -> tuple[Engine, Problem]:
    window_px = modes.shape[1:]
    start = _initial_object(options.initial_object, options.object_shape, positions_px, window_px)
    precise = np.complex128 in (modes.dtype, start.dtype)
    positions = checked_positions(positions_px, start.shape, window_px)
    moduli, alive = _moduli(patterns, len(positions), window_px, options.dead_pixels, precise)
    offsets = subpixel.checked(options.offsets_px, len(positions))
    updates = float(options.alpha), float(options.beta)
    problem = Problem(moduli, positions, alive, *updates, offsets)
    dtype = np.complex128 if precise else np.complex64
    start, modes = start.astype(dtype), modes.astype(dtype)
    if options.engine == "numpy":
        return PythonLoop(problem, start, modes), problem
    chunk = 1 if options.orthogonalise_modes else min(CHUNK_ITERATIONS, options.iterations)
    visits = -(-len(positions) // options.batch) * options.batch
    return CompiledLoop(problem, start, modes, chunk * visits, options.batch), problem


def _iterate(loop: Engine, problem: Problem, options: Options) -> tuple[np.ndarray, bool]:
    from tqdm import tqdm

    count = len(problem.positions_px)
    total = float(problem.moduli.sum(dtype=np.float64))
    errors = np.empty(0)
    bar = tqdm(total=options.iterations, desc=options.label, disable=options.label is None)
    with bar:
        for start, stop in _chunks(options):
            order = np.concatenate(
                [
                    generator(options.seed, "order", options.first_iteration + k).permutation(count)
                    for k in range(start, stop)
                ]
            ).astype(np.int32)
            update = options.update_probe and start >= options.probe_waits
            misfits = loop.run(order, update)
            errors = np.append(errors, misfits.reshape(-1, count).sum(axis=1) / total)
            if not np.isfinite(errors[-1]):
                raise DataError(
                    f"the reconstruction diverged in iteration {len(errors)}: lower alpha or beta, "
                    "or check the scale of the probe"
                )
            if update and options.orthogonalise_modes:
                loop.set_probe(orthogonalise(loop.fetch()[1]))
            bar.update(stop - start)
            bar.set_postfix(R=f"{errors[-1]:.3g}")
            if _settled(errors, options.tolerance):
                return errors, True
    return errors, False


def _chunks(options: Options) -> Iterator[tuple[int, int]]:
    """Cut the iterations where something is done between them."""
    start = 0
    while start < options.iterations:
        stop = start + 1
        if not options.orthogonalise_modes:
            stop = (start // CHUNK_ITERATIONS + 1) * CHUNK_ITERATIONS
        if start < options.probe_waits:
            stop = min(stop, options.probe_waits)
        stop = min(stop, options.iterations)
        yield start, stop
        start = stop


def _settled(errors: np.ndarray, tolerance: float | None) -> bool:
    if tolerance is None or len(errors) % CHUNK_ITERATIONS or len(errors) <= CHUNK_ITERATIONS:
        return False
    before = errors[-1 - CHUNK_ITERATIONS]
    return bool(before - errors[-1] < tolerance * before)


def _checked_probe(probe: np.ndarray) -> np.ndarray:
    probe = np.asarray(probe)
    if probe.ndim not in (2, 3) or 0 in probe.shape:
        raise DataError(
            f"the probe must be (H, W), or (M, H, W) for M modes, received shape {probe.shape}"
        )
    if not np.iscomplexobj(probe):
        raise DataError(
            f"the probe must be complex, received {probe.dtype}: cast a real probe with "
            "probe.astype('complex64') if that is what you mean"
        )
    if not np.isfinite(probe).all():
        raise DataError("the probe must be finite, received NaN or infinite values")
    if not probe.any():
        raise DataError("the probe is zero everywhere: no light reaches the object")
    return probe


def _initial_object(
    initial_object: np.ndarray | None,
    object_shape: tuple[int, int] | None,
    positions_px: np.ndarray,
    window_px: tuple[int, ...],
) -> np.ndarray:
    if initial_object is None:
        if object_shape is None:
            # only the shape and dtype of the positions are looked at here
            open_ended = np.iinfo(np.int64).max // 2
            positions = checked_positions(positions_px, (open_ended, open_ended), window_px)
            object_shape = tuple(int(side) for side in positions.max(axis=0) + window_px)
        return np.ones(tuple(int(side) for side in object_shape), np.complex64)
    start = np.asarray(initial_object)
    if start.ndim != 2 or not np.iscomplexobj(start):
        raise DataError(
            f"initial_object must be a complex image (rows, cols), received {start.dtype} "
            f"{start.shape}"
        )
    if object_shape is not None and tuple(object_shape) != start.shape:
        raise DataError(
            f"object_shape {tuple(object_shape)} differs from the shape {start.shape} of "
            "initial_object: pass one of them"
        )
    if not np.isfinite(start).all():
        raise DataError("initial_object must be finite, received NaN or infinite values")
    return start


def _moduli(
    patterns: np.ndarray,
    count: int,
    window_px: tuple[int, ...],
    dead_pixels: np.ndarray | None,
    precise: bool,
) -> tuple[np.ndarray, np.ndarray | None]:
    """Return the measured moduli and the living pixels, both in FFT order."""
    patterns = np.asarray(patterns)
    expected = (count, *window_px)
    if patterns.shape != expected or not np.isrealobj(patterns):
        raise DataError(
            f"patterns must be real with the shape (N, H, W) = {expected} of positions and probe, "
            f"received {patterns.dtype} {patterns.shape}"
        )
    alive = np.ones(window_px, bool)
    if dead_pixels is not None:
        dead = np.asarray(dead_pixels)
        if dead.shape != tuple(window_px) or dead.dtype != bool or dead.all():
            raise DataError(
                f"dead_pixels must be boolean with the shape {tuple(window_px)} of a pattern, not "
                f"all True, received {dead.dtype} {dead.shape}, {int(np.sum(dead))} True"
            )
        alive = ~dead
    bad = (~np.isfinite(patterns) | (patterns < 0)) & alive
    if bad.any():
        index = tuple(int(part) for part in np.argwhere(bad)[0])
        raise DataError(
            f"patterns must be finite counts of at least 0, received {patterns[index]} at "
            f"(pattern, row, col) = {index}, {int(bad.sum())} such values: mark dead pixels with "
            "dead_pixels, set negative readout to 0"
        )
    counts = np.where(alive, patterns, 0).astype(np.float64 if precise else np.float32)
    if not counts.any():
        raise DataError("all patterns are dark: there is nothing to reconstruct from")
    moduli = scipy.fft.ifftshift(np.sqrt(counts), axes=_AXES)
    return moduli, None if alive.all() else scipy.fft.ifftshift(alive)
