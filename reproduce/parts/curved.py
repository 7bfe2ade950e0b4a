"""ePIE on the curved samples of Fig. 6: the same patterns that the networks are given."""

from __future__ import annotations

import hashlib
import json
import time
from pathlib import Path
from typing import Any

import numpy as np

from ppn_tf import data, epie, npzfile, phase, stitching
from ppn_tf.data.dataset import Dataset
from ppn_tf.errors import DataError
from ppn_tf.files import replacing, write_json
from ppn_tf.inference import Patches
from ppn_tf.scaling import Scaling
from reproduce import evaluate

#: Iterations by profile; the paper runs 100 to 200.
ITERATIONS = {"smoke": 5, "quick": 30, "paper": 200}

#: Step of the raster by method: the networks' own scan at half overlap, and the overlap
#: that the paper asks of ePIE (75 %, section IV-A1).
STEPS_PX = {"epie": evaluate.CURVED_STEP_PX, "epie-75": 8.0}

#: Raised by hand when results would change; part of the cache's names.
VERSION = 1

_KEYS = ("real", "imag", "errors", "seconds")


def dataset_of(name: str, object_name: str, method: str = "epie") -> Dataset:
    """Return the noise-free scan of a sample; that of ``"epie"`` is the networks' own.

    It depends on no seed: there is neither jitter nor noise.
    """
    return data.make(data.load_object(name), _probe(object_name), step_px=STEPS_PX[method])


def _probe(object_name: str) -> np.ndarray:
    return data.load_probe("stand-in" if object_name == "stand-in" else "ltem")


def find(name: str, method: str, object_name: str, iterations: int, folder: Path) -> dict[str, Any]:
    """Return ePIE's reconstruction of a sample, from the cache where it is there.

    Known probe, unknown object, started from ones; global phase and scale are fitted to
    the truth, as no pattern tells them.

    Parameters
    ----------
    name : str
        One of `reproduce.evaluate.CURVED`.
    method : str
        One of `STEPS_PX`.
    object_name : str
        Of the runs; decides the probe.
    iterations : int
    folder : Path
        Cache: ``<hash>.npz`` and ``<hash>.json``.

    Returns
    -------
    dict
        ``field`` (rows, cols) complex, ``errors`` (iterations,), ``seconds``,
        ``settings``.

    Raises
    ------
    DataError
        If a cached file is damaged.
    """
    settings = {
        "sample": name,
        "probe": "stand-in" if object_name == "stand-in" else "ltem",
        "iterations": iterations,
        "step_px": STEPS_PX[method],
        "noise": "none",
        "seed": 0,
        "version": VERSION,
    }
    digest = hashlib.sha256(json.dumps(settings, sort_keys=True).encode()).hexdigest()[:16]
    path = Path(folder) / f"{digest}.npz"
    if not path.exists():
        _reconstruct(path, name, method, object_name, iterations)
        write_json(path.with_suffix(".json"), settings)
    try:
        arrays = npzfile.read(path, _KEYS)
    except DataError as error:
        raise DataError(f"{error}. Remove the file, it is made again") from error
    real, imag, errors, seconds = (arrays[key] for key in _KEYS)
    return {
        "field": real + 1j * imag,
        "errors": errors,
        "seconds": float(seconds),
        "settings": settings,
    }


def _reconstruct(path: Path, name: str, method: str, object_name: str, iterations: int) -> None:
    dataset = dataset_of(name, object_name, method)
    started = time.perf_counter()
    found = epie.reconstruct(
        dataset.patterns,
        dataset.positions_px,
        _probe(object_name),
        iterations=iterations,
        update_probe=False,
        object_shape=dataset.object_shape,
        label=f"ePIE, {name}, step {STEPS_PX[method]:g} px",
    )
    seconds = time.perf_counter() - started
    field = phase.align(found.object, data.load_object(name).complex).field
    arrays = (field.real, field.imag, found.errors, np.float64(seconds))
    with replacing(path) as temporary, temporary.open("wb") as stream:
        np.savez(stream, **dict(zip(_KEYS, arrays, strict=True)))


def scores(field: np.ndarray, name: str, object_name: str, scaling: Scaling) -> dict[str, Any]:
    """Score a reconstruction as a network's: patches at the scan's positions, data range 1.

    Parameters
    ----------
    field : (rows, cols) complex
        Aligned with the truth.
    name, object_name : str
        As in `find`.
    scaling : Scaling
        Of the networks that it is compared with.
    """
    dataset = dataset_of(name, object_name)
    amplitude, phase_rad = _channels(field, name)
    window = dataset.patterns.shape[1:]
    part = Patches(
        scaling.target_amplitude(stitching.extract(amplitude, dataset.positions_px, window)),
        scaling.target_phase(stitching.extract(phase_rad, dataset.positions_px, window)),
    )
    return evaluate.score(part, dataset, np.arange(len(dataset)), scaling)


def pictures(field: np.ndarray, name: str, scaling: Scaling) -> dict[str, np.ndarray]:
    """Return the middle of a field on the target scale, by channel."""
    amplitude, phase_rad = _channels(field, name)
    return {
        "amplitude": middle(scaling.target_amplitude(amplitude)),
        "phase": middle(scaling.target_phase(phase_rad)),
    }


def truth(name: str, scaling: Scaling) -> dict[str, np.ndarray]:
    """Return the middle of a sample on the target scale, by channel."""
    obj = data.load_object(name)
    return {
        "amplitude": middle(scaling.target_amplitude(obj.amplitude)),
        "phase": middle(scaling.target_phase(obj.phase_rad)),
    }


def middle(image: np.ndarray) -> np.ndarray:
    """Return the part of an image that runs keep, see `reproduce.evaluate.KEPT_PX`."""
    kept = evaluate.KEPT_PX
    rows, cols = (slice((side - kept) // 2, (side + kept) // 2) for side in image.shape)
    return image[rows, cols]


def _channels(field: np.ndarray, name: str) -> tuple[np.ndarray, np.ndarray]:
    near_rad = float(np.median(data.load_object(name).phase_rad))
    return np.abs(field), phase.unwrap(field, near_rad=near_rad)
