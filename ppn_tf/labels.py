"""Labels for measured patterns: the object that mixed-state ePIE finds in the same scan.

A label is a reconstruction, not the truth: networks trained on it are compared with
ePIE, and inherit its errors.
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
from pathlib import Path
from typing import Any, Final

import numpy as np

from ppn_tf import epie, npzfile, phase, stitching
from ppn_tf.data.dataset import Dataset
from ppn_tf.data.nanoprobe import MeasuredScan, bin_patterns
from ppn_tf.errors import DataError, OptionError
from ppn_tf.files import replacing, write_json
from ppn_tf.probe_modes import scale_probe

#: Raised by hand when labels would change; part of their name.
LABEL_VERSION: Final = 1

#: Iterations between two writes: a killed reconstruction goes on from the last one.
SAVE_EVERY: Final = 50

#: A pixel counts as lit above this share of the median light of the scanned area, and a
#: patch is kept where so many of its pixels are lit: outside, ePIE has nothing to go by.
LIT_SHARE: Final = 0.1
LIT_PIXELS: Final = 0.99

_KEYS: Final = ("object_real", "object_imag", "probe_real", "probe_imag", "errors")


@dataclasses.dataclass(frozen=True, eq=False)
class Label:
    """A reconstruction of a measured scan.

    Attributes
    ----------
    field : (rows, cols) complex64
        As ePIE left it: neither phase nor scale of the object is known.
    probe : (M, H, W) complex64
    errors : (iterations,) float64
        R-factor of each iteration, see `ppn_tf.epie.reconstruct`.
    provenance : dict
        Scan, settings, version, first and last error, and the hash of the settings.
    """

    field: np.ndarray
    probe: np.ndarray
    errors: np.ndarray
    provenance: dict[str, Any]


def reconstruct(
    scan: MeasuredScan,
    folder: Path | str,
    *,
    iterations: int,
    seed: int = 0,
    engine: str = "compiled",
    label: str | None = None,
) -> Label:
    """Reconstruct a scan with all modes of its probe, or read what an earlier call wrote.

    Object and probe are free, both update constants 1, dead pixels keep the calculated
    modulus. Positions are rounded to whole pixels.

    Parameters
    ----------
    scan : MeasuredScan
    folder : Path or str
        Holds ``<hash>.npz`` and ``<hash>.json`` (provenance) for each setting, and
        ``<hash>.partial.npz`` while a reconstruction is under way.
    iterations : int
        At least 1.
    seed : int
        Decides the order of the visits.
    engine, label : str
        See `ppn_tf.epie.reconstruct`; not part of the name.

    Returns
    -------
    Label

    Raises
    ------
    OptionError
        For fewer than one iteration.
    DataError
        If a cached file is damaged, and as `ppn_tf.epie.reconstruct` does.
    RecordError
        If it cannot be written.
    """
    if iterations < 1:
        raise OptionError(f"iterations must be at least 1, received {iterations}")
    settings = _settings(scan, iterations, seed)
    name = _digest(settings)
    final, partial = (Path(folder) / f"{name}{ending}.npz" for ending in ("", ".partial"))
    state = _read(final) if final.exists() else None
    if state is None:
        state = _read(partial) if partial.exists() else _start(scan)
        while len(state[2]) < iterations:
            state = _advance(scan, state, iterations, seed, engine, label)
            _write(partial if len(state[2]) < iterations else final, state)
        partial.unlink(missing_ok=True)
    field, probe, errors = state
    provenance = settings | {"hash": name, "first_error": float(errors[0])}
    provenance["last_error"] = float(errors[-1])
    note = final.with_suffix(".json")
    if not note.exists():
        write_json(note, provenance)
    return Label(field, probe, errors, provenance)


def dataset(scan: MeasuredScan, label: Label, *, side_px: int = 32, window_px: int = 64) -> Dataset:
    """Pair binned patterns with patches of the label.

    Patterns are summed over blocks of detector pixels until they are `side_px` wide.
    The label is averaged, as a complex field, over blocks of object pixels so that
    `side_px` pixels span the central `window_px` of the scan's window. What a free probe
    leaves open is chosen: phase and ramp so that the lit field is nearest to a constant,
    the median amplitude there 1.

    Parameters
    ----------
    scan : MeasuredScan
    label : Label
        Of the same scan.
    side_px, window_px : int
        Side of patterns and patches, which divides the detector's side and `window_px`,
        the part of the window that the patches show [object px of the scan].

    Returns
    -------
    Dataset
        The patches that lie in the light, at whole pixels of the averaged field.

    Raises
    ------
    DataError
        If sides do not divide each other, or no patch is lit.
    """
    side = scan.patterns.shape[1]
    if side_px < 1 or window_px % side_px or not side_px <= window_px <= side:
        raise DataError(
            f"window_px must be a multiple of side_px and at most the window of {side} px, "
            f"received window_px={window_px} and side_px={side_px}"
        )
    factor = window_px // side_px
    field, lit, ramp = _in_our_gauge(scan, label, factor)
    # dark pixels hold noise, whose phase jumps would spread into the lit field
    phase_rad = phase.unwrap(np.where(lit, field, 1), near_rad=0.0)
    corners = corners_px(scan) + (side - window_px) // 2
    corners = np.round(corners / factor).astype(np.int64)
    kept = stitching.extract(lit, corners, side_px).mean(axis=(1, 2)) >= LIT_PIXELS
    if not kept.any():
        raise DataError(f"no patch of {side_px} px lies in the lit part of {scan.name}")
    return Dataset(
        patterns=bin_patterns(scan.patterns[kept], side_px, scan.dead_pixels),
        amplitude=stitching.extract(np.abs(field), corners[kept], side_px),
        phase=stitching.extract(phase_rad, corners[kept], side_px),
        positions_px=corners[kept],
        grid_shape=None,
        object_shape=field.shape,
        provenance={
            **_handling(side, side_px, window_px),
            "name": scan.name,
            "sources": scan.provenance,
            "label": label.provenance,
            "patches_kept": int(kept.sum()),
            "patches_measured": len(kept),
            "ramp_rad_per_px": list(ramp),
        },
    )


def _handling(side: int, side_px: int, window_px: int) -> dict[str, Any]:
    block, factor = side // side_px, window_px // side_px
    return {
        "detector": f"{side} px summed over {block} x {block} px",
        "window_px": window_px,
        "object_pixel": f"{factor} x {factor} px of the scan",
    }


def corners_px(scan: MeasuredScan) -> np.ndarray:
    """Return the windows' corners as whole pixels, (N, 2) int64."""
    return np.round(scan.positions_px).astype(np.int64)


def illumination(scan: MeasuredScan) -> np.ndarray:
    """Return the light that the scan's first probe puts on each object pixel, float64.

    It depends on positions and the given probe alone, so that which patches are kept
    does not depend on the reconstruction.
    """
    corners = corners_px(scan)
    spot = (np.abs(scan.probe) ** 2).sum(axis=0)
    shape = tuple(int(end) for end in corners.max(axis=0) + spot.shape)
    spots = np.broadcast_to(spot, (len(corners), *spot.shape))
    return stitching.accumulate(spots, corners, shape)


def _in_our_gauge(
    scan: MeasuredScan, label: Label, factor: int
) -> tuple[np.ndarray, np.ndarray, tuple[float, float]]:
    """Return the averaged field, its lit pixels, and the ramp that was taken off."""
    light = illumination(scan)
    bright = light >= LIT_SHARE * np.median(light[light > light.mean()])
    flat = phase.align(
        label.field, np.ones_like(label.field), scale=False, ramp=True, region=bright
    )
    field = _block_mean(flat.field, factor)
    lit = _block_mean(bright.astype(np.float64), factor) > 0.5
    return field / np.median(np.abs(field[lit])), lit, flat.ramp_rad_per_px


def _digest(settings: dict[str, Any]) -> str:
    return hashlib.sha256(json.dumps(settings, sort_keys=True).encode()).hexdigest()[:16]


def _settings(scan: MeasuredScan, iterations: int, seed: int) -> dict[str, Any]:
    return {
        "scan": scan.name,
        "source": scan.provenance,
        "iterations": int(iterations),
        "modes": len(scan.probe),
        "alpha": 1.0,
        "beta": 1.0,
        "seed": int(seed),
        "version": LABEL_VERSION,
    }


_State = tuple[np.ndarray, np.ndarray, np.ndarray]


def _start(scan: MeasuredScan) -> _State:
    shape = tuple(corners_px(scan).max(axis=0) + scan.patterns.shape[1:])
    living = np.where(scan.dead_pixels, 0, scan.patterns)
    return np.ones(shape, np.complex64), scale_probe(scan.probe, living), np.empty(0)


def _advance(
    scan: MeasuredScan, state: _State, iterations: int, seed: int, engine: str, label: str | None
) -> _State:
    field, probe, errors = state
    found = epie.reconstruct(
        scan.patterns,
        corners_px(scan),
        probe,
        iterations=min(SAVE_EVERY, iterations - len(errors)),
        initial_object=field,
        dead_pixels=scan.dead_pixels,
        seed=seed,
        first_iteration=len(errors),
        engine=engine,
        label=label and f"{label}, from {len(errors)} of {iterations}",
    )
    return found.object, found.probe, np.append(errors, found.errors)


def _write(path: Path, state: _State) -> None:
    field, probe, errors = state
    parts = (field.real, field.imag, probe.real, probe.imag, errors)
    with replacing(path) as temporary, temporary.open("wb") as stream:
        np.savez(stream, **dict(zip(_KEYS, parts, strict=True)))


def _read(path: Path) -> _State:
    try:
        arrays = npzfile.read(path, _KEYS)
    except DataError as error:
        raise DataError(f"{error}. Remove the file, the label is then made again") from error
    parts = [arrays[key] for key in _KEYS]
    return parts[0] + 1j * parts[1], parts[2] + 1j * parts[3], parts[4]


def _block_mean(values: np.ndarray, factor: int) -> np.ndarray:
    """Average blocks; pixels beyond the last whole block belong to no patch's centre."""
    rows, cols = (count // factor for count in values.shape)
    cut = values[: rows * factor, : cols * factor]
    return cut.reshape(rows, factor, cols, factor).mean(axis=(1, 3))
