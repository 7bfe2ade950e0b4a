"""Refinement: iterations on the patterns that start from a network's object.

A network sees one pattern at a time and stitches; ePIE makes all patterns agree, and
needs a start. Here the stitched object of any network is that start. Two objectives:
``"epie"`` (`ppn_tf.epie`) and ``"eq3"``, Eq. (3) of the paper (`ppn_tf.proximal`).
Patterns fix neither the global phase nor, with a free probe, scale and ramp of the
object: `ppn_tf.phase.align` removes them where results are compared.
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
import time
from pathlib import Path
from typing import Any, Final

import numpy as np
import scipy.fft

from ppn_tf import epie, npzfile, proximal, subpixel
from ppn_tf.data.forward import checked_positions, extract_patches
from ppn_tf.errors import DataError, OptionError, RecordError
from ppn_tf.files import replacing

OBJECTIVES: Final = ("epie", "eq3")

#: Seconds between two checkpoints, looked at after every `epie.CHUNK_ITERATIONS`.
SAVE_EVERY_S: Final = 20.0

#: Patterns whose far fields are held at once.
_BATCH: Final = 32


@dataclasses.dataclass(frozen=True, eq=False)
class Task:
    """What is refined.

    Attributes
    ----------
    patterns : (N, H, W) real
        Counts, zero frequency at the centre pixel.
    positions_px : (N, 2) integer
        Row and column of the windows' top-left corners on the object's grid.
    object : (rows, cols) complex
        The start, finite: `filled` closes the holes of a stitched field.
    probe : (M, H, W) complex
        Modes, at the scale of the counts: `fitted_scale`.
    dead_pixels : (H, W) bool or None
        True where the detector does not count.
    offsets_px : (N, 2) float or None
        By how much windows lie beyond their whole positions, see `ppn_tf.epie.Options`;
        ``"eq3"`` takes none.
    """

    patterns: np.ndarray
    positions_px: np.ndarray
    object: np.ndarray
    probe: np.ndarray
    dead_pixels: np.ndarray | None = None
    offsets_px: np.ndarray | None = None


@dataclasses.dataclass(frozen=True, kw_only=True)
class Options:
    """How `refine` works.

    Attributes
    ----------
    iterations : int
        At least 1; one visits every pattern.
    objective : {"epie", "eq3"}
    update_probe : bool
        False keeps the probe.
    probe_start : int
        First iteration that updates the probe.
    alpha, beta : float
        Update constants of ePIE for object and probe.
    sparsity, proximity : float
        Weights of Eq. (3), relative to its data term, see `ppn_tf.proximal.weights`.
    seed : int
        Decides the order of ePIE's visits.

    Raises
    ------
    OptionError
        For a value outside its range.
    """

    iterations: int = 50
    objective: str = "epie"
    update_probe: bool = True
    probe_start: int = 0
    alpha: float = 1.0
    beta: float = 1.0
    sparsity: float = 1e-3
    proximity: float = 0.0
    seed: int = 0

    def __post_init__(self) -> None:
        if self.objective not in OBJECTIVES:
            raise OptionError(
                f"unknown objective {self.objective!r}: expected one of {', '.join(OBJECTIVES)}"
            )
        for name in ("sparsity", "proximity"):
            value = getattr(self, name)
            if not (np.isfinite(value) and value >= 0):
                raise OptionError(f"{name} must be at least 0, received {value}")
        # checks the others
        epie.Options(
            iterations=self.iterations,
            alpha=self.alpha,
            beta=self.beta,
            probe_start=self.probe_start,
            seed=self.seed,
        )


def filled(field: np.ndarray) -> np.ndarray:
    """Close the holes of a stitched field: pixels that are NaN become the mean of the others.

    Parameters
    ----------
    field : (rows, cols) complex

    Returns
    -------
    (rows, cols) complex64

    Raises
    ------
    DataError
        For another rank, a real field, or one without any finite pixel.
    """
    field = np.asarray(field)
    if field.ndim != 2 or not np.iscomplexobj(field):
        raise DataError(
            f"a start is a complex object (rows, cols), received {field.dtype} {field.shape}"
        )
    known = np.isfinite(field)
    if not known.any():
        raise DataError("the start has no finite pixel: was anything stitched?")
    return np.where(known, field, field[known].mean()).astype(np.complex64)


def moduli(task: Task) -> np.ndarray:
    """Return the moduli that object and probe give, (N, H, W), zero frequency at the centre."""
    window = task.probe.shape[-2:]
    positions = checked_positions(task.positions_px, task.object.shape, window)
    offsets = subpixel.checked(task.offsets_px, len(positions))
    found = np.empty((len(positions), *window), task.probe.real.dtype)
    for start in range(0, len(positions), _BATCH):
        some = slice(start, start + _BATCH)
        windows = extract_patches(task.object, window, positions[some])
        probe = task.probe if offsets is None else subpixel.moved(task.probe, offsets[some])
        fields = scipy.fft.fft2(windows[:, None] * probe, axes=(-2, -1))
        light = (fields.real**2 + fields.imag**2).sum(axis=1)
        found[some] = np.sqrt(scipy.fft.fftshift(light, axes=(-2, -1)))
    return found


def r_factor(task: Task) -> float:
    """Return ``sum |modulus - sqrt(counts)| / sum sqrt(counts)`` over living pixels."""
    calculated, measured = _living(task)
    return float(np.abs(calculated - measured).sum() / measured.sum())


def fitted_scale(task: Task) -> float:
    """Return the factor on object or probe that brings the moduli nearest to the patterns.

    Least squares; above 0. It uses no truth, and is 1 at a solution.

    Raises
    ------
    DataError
        If object and probe give no light, or the patterns hold none.
    """
    calculated, measured = _living(task)
    energy = float((calculated**2).sum())
    product = float((calculated * measured).sum())
    if not (energy > 0 and product > 0):
        raise DataError("object and probe give no light where the patterns have some: no scale")
    return product / energy


def _living(task: Task) -> tuple[np.ndarray, np.ndarray]:
    alive = slice(None) if task.dead_pixels is None else ~task.dead_pixels
    measured = np.sqrt(np.asarray(task.patterns)[:, alive].astype(np.float64))
    return moduli(task)[:, alive].astype(np.float64), measured


def refine(
    task: Task,
    options: Options,
    *,
    checkpoint: Path | None = None,
    engine: str = "compiled",
    label: str | None = None,
) -> epie.Result:
    """Refine object and probe.

    Parameters
    ----------
    task : Task
    options : Options
    checkpoint : Path, optional
        An npz file for the state, written as it goes on and after Ctrl-C, read where an
        earlier call of the same task and options left it. The result is the same as
        without a break. It stays: remove it when the result is written.
    engine : {"compiled", "numpy"}
        Of ePIE, see `ppn_tf.epie`.
    label : str, optional
        Shows a progress bar of this name on standard error.

    Returns
    -------
    epie.Result
        ``errors`` holds the R-factor of each iteration, from before its updates.

    Raises
    ------
    DataError
        As `ppn_tf.epie.reconstruct`.
    OptionError
        For an unknown engine, and offsets with ``"eq3"``.
    RecordError
        If the checkpoint cannot be written, or belongs to another task.
    """
    if task.offsets_px is not None and options.objective == "eq3":
        raise OptionError("eq3 takes whole positions: leave offsets_px out, or take 'epie'")
    name = _digest(task, options) if checkpoint is not None else ""
    state = proximal.begin(task.object, task.probe)
    if checkpoint is not None and checkpoint.exists():
        state = _read(checkpoint, name)
    saved = time.monotonic()
    try:
        while state.iterations < options.iterations:
            state = _advance(task, state, options, engine, label)
            if checkpoint is not None and time.monotonic() - saved > SAVE_EVERY_S:
                _write(checkpoint, state, name)
                saved = time.monotonic()
    except KeyboardInterrupt:
        if checkpoint is not None and state.iterations:
            _write(checkpoint, state, name)
        raise
    return epie.Result(state.object, state.probe, state.errors)


def _advance(
    task: Task, state: proximal.State, options: Options, engine: str, label: str | None
) -> proximal.State:
    count = min(epie.CHUNK_ITERATIONS, options.iterations - state.iterations)
    if label is not None:
        label = f"{label}, iteration {state.iterations} of {options.iterations}"
    if options.objective == "eq3":
        relative = (options.sparsity, options.proximity, task.dead_pixels)
        weights = proximal.weights(task.patterns, task.probe, task.object.shape, *relative)
        problem = proximal.Problem(
            task.patterns, task.positions_px, task.probe, task.dead_pixels, weights
        )
        return proximal.minimise(
            problem, state, count, options.update_probe, options.probe_start, label
        )
    found = epie.reconstruct(
        task.patterns,
        task.positions_px,
        state.probe,
        iterations=count,
        initial_object=state.object,
        dead_pixels=task.dead_pixels,
        offsets_px=task.offsets_px,
        update_probe=options.update_probe,
        probe_start=options.probe_start,
        alpha=options.alpha,
        beta=options.beta,
        seed=options.seed,
        first_iteration=state.iterations,
        engine=engine,
        label=label,
    )
    return dataclasses.replace(
        state,
        object=found.object,
        probe=found.probe,
        errors=np.append(state.errors, found.errors),
    )


def _digest(task: Task, options: Options) -> str:
    """Name task and options, so that a checkpoint of others is not taken up."""
    digest = hashlib.sha256(json.dumps(dataclasses.asdict(options), sort_keys=True).encode())
    for field in dataclasses.fields(task):
        values = getattr(task, field.name)
        if values is not None:
            digest.update(np.ascontiguousarray(values))
    return digest.hexdigest()


def _write(path: Path, state: proximal.State, name: str) -> None:
    arrays: dict[str, Any] = {"name": np.array(name)}
    for field in dataclasses.fields(state):
        arrays[field.name] = getattr(state, field.name)
    with replacing(path) as temporary, temporary.open("wb") as stream:
        np.savez(stream, **arrays)


def _read(path: Path, name: str) -> proximal.State:
    try:
        fields = [field.name for field in dataclasses.fields(proximal.State)]
        arrays = npzfile.read(path, ("name", *fields))
        found = str(arrays["name"])
        state = proximal.State(**{key: arrays[key] for key in fields})
    except DataError as error:
        raise RecordError(
            f"the checkpoint {path} cannot be read ({error}): remove it to start again"
        ) from error
    if found != name:
        raise RecordError(
            f"the checkpoint {path} is of another scan, start or options: remove it to start again"
        )
    return state
