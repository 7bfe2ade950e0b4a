"""The data set that everything downstream reads: patterns, patches and positions."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path
from typing import Any, Final

import numpy as np

from ppn_tf import npzfile
from ppn_tf.data import forward, objects, probes, scan, sources
from ppn_tf.errors import DataError, OptionError, SourceMissingError
from ppn_tf.files import replacing
from ppn_tf.scaling import Scaling

#: Written into every file and checked when it is read.
FORMAT: Final = "ppn_tf.dataset/1"
_ARRAYS: Final = ("patterns", "amplitude", "phase", "positions_px")
_KEYS: Final = (*_ARRAYS, "grid_shape", "object_shape", "provenance", "format")


@dataclasses.dataclass(frozen=True)
class Dataset:
    """Diffraction patterns with the object patches that belong to them.

    Attributes
    ----------
    patterns : (N, H, W) float32
        Raw counts, zero frequency at the centre pixel ``(H // 2, W // 2)``.
    amplitude : (N, H, W) float32
        Object amplitude in each window.
    phase : (N, H, W) float32
        Object phase in each window [rad].
    positions_px : (N, 2) int32
        Row and column of each window's top-left corner in the object.
    grid_shape : (int, int) or None
        Rows and columns of a raster in row-major order; None for irregular scans.
    object_shape : (int, int)
        Shape of the whole object [px].
    provenance : dict
        Where the data come from; plain values that JSON can hold.

    Raises
    ------
    DataError
        On construction, where shapes disagree, values are not finite, patterns
        are negative or positions outside; the first bad value is named.
    """

    patterns: np.ndarray
    amplitude: np.ndarray
    phase: np.ndarray
    positions_px: np.ndarray
    grid_shape: tuple[int, int] | None
    object_shape: tuple[int, int]
    provenance: dict[str, Any] = dataclasses.field(default_factory=dict)

    def __post_init__(self) -> None:
        shape = np.shape(self.patterns)
        if len(shape) != 3 or 0 in shape:
            raise DataError(f"patterns must have the shape (N, H, W), none 0, received {shape}")
        for name in ("patterns", "amplitude", "phase"):
            values = np.asarray(getattr(self, name))
            if values.shape != shape:
                raise DataError(
                    f"{name} must have the shape of patterns {shape}, received {values.shape}"
                )
            if not np.isrealobj(values):
                raise DataError(f"{name} must be real, received {values.dtype}")
            values = values.astype(np.float32, copy=False)
            _refuse(values, ~np.isfinite(values), f"{name} must be finite")
            object.__setattr__(self, name, values)
        _refuse(self.patterns, self.patterns < 0, "patterns must not be negative")
        object_shape = tuple(int(side) for side in self.object_shape)
        if len(object_shape) != 2:
            raise DataError(f"object_shape must be (rows, cols), received {self.object_shape}")
        positions = forward.checked_positions(self.positions_px, object_shape, shape[1:])
        if len(positions) != shape[0]:
            raise DataError(
                f"positions_px must have one row for each of the {shape[0]} patterns, received "
                f"{len(positions)}"
            )
        object.__setattr__(self, "positions_px", positions.astype(np.int32, copy=False))
        object.__setattr__(self, "object_shape", object_shape)
        if self.grid_shape is not None:
            grid = tuple(int(side) for side in self.grid_shape)
            if len(grid) != 2 or grid[0] * grid[1] != shape[0]:
                raise DataError(
                    f"grid_shape {grid} does not hold the {shape[0]} patterns: pass None for an "
                    "irregular scan"
                )
            object.__setattr__(self, "grid_shape", grid)

    def __len__(self) -> int:
        return self.patterns.shape[0]

    def subset(self, indices: np.ndarray) -> Dataset:
        """Return the patches at `indices`, in that order; `grid_shape` becomes None.

        Raises
        ------
        DataError
            For indices that are not whole numbers, none at all, or outside
            ``0..N - 1`` (a boolean mask is refused: use ``numpy.flatnonzero``).
        """
        indices = self._checked(indices)
        arrays = {name: getattr(self, name)[indices] for name in _ARRAYS}
        return dataclasses.replace(self, grid_shape=None, **arrays)

    def fit_scaling(self, indices: np.ndarray, transform: str) -> Scaling:
        """Fit input and target ranges to the patches at `indices` (training patches only).

        Parameters
        ----------
        indices : (n,) integer
            The training patches.
        transform : str
            ``"linear"`` or ``"log1p"``.

        Returns
        -------
        ppn_tf.scaling.Scaling
        """
        indices = self._checked(indices)
        return Scaling.fit(
            self.patterns[indices], self.amplitude[indices], self.phase[indices], transform
        )

    def save(self, path: Path | str) -> None:
        """Write the data set to one ``.npz`` file, whole or not at all.

        Keys: the attributes by their names (`grid_shape` is empty for None,
        `provenance` is JSON text) and ``format``.

        Raises
        ------
        RecordError
            If the file cannot be written.
        """
        arrays = {name: getattr(self, name) for name in _ARRAYS}
        with replacing(path) as temporary, temporary.open("wb") as stream:
            np.savez(
                stream,
                **arrays,
                grid_shape=np.array(self.grid_shape or (), dtype=np.int64),
                object_shape=np.array(self.object_shape, dtype=np.int64),
                provenance=np.array(json.dumps(self.provenance, sort_keys=True)),
                format=np.array(FORMAT),
            )

    @classmethod
    def read(cls, path: Path | str) -> Dataset:
        """Read a data set that `save` wrote.

        Raises
        ------
        DataError
            If the file is missing, is no npz file, lacks a key, or is of
            another format.
        """
        path = Path(path)
        values = npzfile.read(path, _KEYS)
        if str(values["format"]) != FORMAT:
            raise DataError(
                f"{path}: expected format {FORMAT}, received {str(values['format'])[:80]}: is it a "
                "file that Dataset.save wrote?"
            )
        for key in ("grid_shape", "object_shape"):
            if values[key].dtype.kind not in "iuf" or values[key].shape not in ((2,), (0,)):
                raise DataError(
                    f"{path}: {key}: expected two whole numbers, received {values[key].dtype} "
                    f"{values[key].shape}"
                )
        try:
            provenance = json.loads(str(values["provenance"]))
        except (ValueError, RecursionError) as error:
            raise DataError(f"{path}: provenance is no JSON: {error}") from error
        return cls(
            **{name: values[name] for name in _ARRAYS},
            grid_shape=tuple(values["grid_shape"].tolist()) or None,
            object_shape=tuple(values["object_shape"].tolist()),
            provenance=provenance,
        )

    def _checked(self, indices: np.ndarray) -> np.ndarray:
        indices = np.asarray(indices)
        if indices.ndim != 1 or indices.size == 0 or not np.issubdtype(indices.dtype, np.integer):
            raise DataError(
                f"indices must be a list of at least one whole number, received {indices.dtype} "
                f"{indices.shape}"
            )
        low, high = int(indices.min()), int(indices.max())
        if low < 0 or high >= len(self):
            raise DataError(
                f"indices must be from 0 to {len(self) - 1}, received {low if low < 0 else high}"
            )
        return indices


def make(
    obj: objects.ComplexObject,
    probe: np.ndarray,
    *,
    step_px: float = 8.0,
    jitter_px: int = 0,
    noise: str | forward.NoiseModel = "none",
    seed: int = 0,
    name: str | None = None,
) -> Dataset:
    """Scan an object with a probe and return the data set.

    Parameters
    ----------
    obj : ComplexObject
        The object.
    probe : (H, H) complex
        The probe; its side is the window.
    step_px : float
        Step of the raster [px].
    jitter_px : int
        Largest displacement along each axis; patches are cut where the probe truly is.
    noise : str or NoiseModel
        See `ppn_tf.data.forward.simulate`.
    seed : int
        Seed of jitter and noise.
    name : str, optional
        Name for the record; the object's own by default.

    Returns
    -------
    Dataset

    Raises
    ------
    DataError, OptionError
        As `scan.raster` and `forward.simulate` do.
    """
    model = forward.noise_model(noise)
    forward.check_probe(probe := np.asarray(probe))
    raster = scan.raster(obj.amplitude.shape, probe.shape[0], step_px, jitter_px, seed)
    positions_px = raster.positions_px
    return Dataset(
        patterns=forward.simulate(obj.complex, probe, positions_px, model, seed),
        amplitude=forward.extract_patches(obj.amplitude, probe.shape, positions_px),
        phase=forward.extract_patches(obj.phase_rad, probe.shape, positions_px),
        positions_px=positions_px,
        grid_shape=raster.grid_shape,
        object_shape=obj.amplitude.shape,
        provenance={
            "name": name or obj.name,
            "object": obj.name,
            "stand_in": obj.name == "stand-in",
            "sources": dict(obj.provenance),
            "step_px": raster.step_px,
            "jitter_px": raster.jitter_px,
            "noise": dataclasses.asdict(model),
            "seed": int(seed),
        },
    )


def load(
    name: str = "ltem",
    *,
    step_px: float = 8.0,
    overlap: float | None = None,
    jitter_px: int = 0,
    noise: str | forward.NoiseModel = "none",
    seed: int = 0,
    rule: str = "exact",
    allow_stand_in: bool = False,
) -> Dataset:
    """Simulate the scan of a named object, as the paper's section IV-A describes it.

    Parameters
    ----------
    name : str
        One of `available`.
    step_px : float
        Step of the raster; 8 px are 75 % overlap of 32 px windows.
    overlap : float, optional
        Overlap in [0, 1), in place of `step_px`.
    jitter_px : int
        Largest displacement along each axis; 3 in the paper, 0 in the release.
    noise : str or NoiseModel
        See `ppn_tf.data.forward.NOISE_MODELS`.
    seed : int
        Seed of jitter and noise.
    rule : str
        How `overlap` becomes a step, see `ppn_tf.data.scan.step_from_overlap`.
    allow_stand_in : bool
        Whether drawn chart and probe may take the place of missing files.

    Returns
    -------
    Dataset
        Scanned with the paper's probe; ``"stand-in"`` always, and curved
        samples where the file is missing, with the stand-in probe.
        `provenance` names object, probe, checksums and settings.

    Raises
    ------
    OptionError
        For an unknown name or setting, or if step and overlap are both given.
    SourceMissingError, SourceError
        If files are missing (without `allow_stand_in`), or not the expected ones.
    """
    step_px = _step(step_px, overlap, rule)
    obj = (
        (objects.load_object_or_stand_in(name)[0]) if allow_stand_in else objects.load_object(name)
    )
    probe_name, probe = _probe_for(obj.name, allow_stand_in)
    data = make(obj, probe, step_px=step_px, jitter_px=jitter_px, noise=noise, seed=seed, name=name)
    more: dict[str, Any] = {"probe": probe_name, "overlap": overlap, "step_rule": rule}
    if probe_name == "ltem":
        digest = sources.PUBLIC_FILES[probes.PROBE_FILE].sha256
        more["sources"] = {**data.provenance["sources"], probes.PROBE_FILE: f"sha256:{digest}"}
    return dataclasses.replace(data, provenance={**data.provenance, **more})


def available() -> list[str]:
    """Return the names that `load` knows."""
    return list(objects.available_objects())


def _step(step_px: float, overlap: float | None, rule: str) -> float:
    window_px = 32
    if overlap is None:
        scan.step_from_overlap(window_px, 0.0, rule)  # refuses an unknown rule
        return step_px
    if step_px != 8.0:
        raise OptionError(
            "step_px and overlap say the same: expected one of them, received "
            f"step_px={step_px} and overlap={overlap}"
        )
    return scan.step_from_overlap(window_px, overlap, rule)


def _probe_for(object_name: str, allow_stand_in: bool) -> tuple[str, np.ndarray]:
    if object_name == "stand-in":
        return "stand-in", probes.load_probe("stand-in")
    try:
        return "ltem", probes.load_probe("ltem")
    except SourceMissingError:
        if object_name == "ltem" and not allow_stand_in:
            raise
        return "stand-in", probes.load_probe("stand-in")


def _refuse(values: np.ndarray, bad: np.ndarray, rule: str) -> None:
    if bad.any():
        index = tuple(int(i) for i in np.argwhere(bad)[0])
        raise DataError(
            f"{rule}, received {values[index]} at index {index} ({int(bad.sum())} such values)"
        )
