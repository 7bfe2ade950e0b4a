"""One file with all that decides how an interrupted training goes on."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import keras
import numpy as np

from ppn_tf import npzfile
from ppn_tf.callbacks import ResourceMonitor, ResumablePlateau
from ppn_tf.errors import RecordError
from ppn_tf.files import replacing

#: Raised when the layout of the file changes.
VERSION = 2

#: Far above rounding, far below two draws of noise.
_FINGERPRINT_TOLERANCE = 1e-4


class Checkpoint(keras.callbacks.Callback):
    """Write the state of a training after every epoch.

    The file is a plain ``.npz`` without pickle: all model variables (weights, BatchNorm
    statistics, dropout seeds), all optimiser variables (step count, learning rate,
    moments), the plateau counters and the epochs so far. The order of the patches
    needs no state: it depends on seed and epoch.

    Parameters
    ----------
    path : Path
        File to be replaced after every epoch.
    task : dict
        Name to what decides the training besides the network, for `read_checkpoint`:
        equal there, but for a `fingerprint`.
    plateau : ResumablePlateau
    monitor : ResourceMonitor
    """

    def __init__(
        self,
        path: Path,
        task: dict[str, Any],
        plateau: ResumablePlateau,
        monitor: ResourceMonitor,
    ) -> None:
        super().__init__()
        self._task = task
        self._path = path
        self._plateau = plateau
        self._monitor = monitor

    def on_epoch_end(self, epoch: int, logs: dict[str, float] | None = None) -> None:
        """Write the file."""
        state = {
            "version": VERSION,
            "task": self._task,
            "plateau": self._plateau.state(),
            "epochs": self._monitor.epochs,
        }
        arrays = {name: np.asarray(v) for name, v in _variables(self.model).items()}
        with replacing(self._path) as temporary, temporary.open("wb") as stream:
            np.savez(stream, state=np.array(json.dumps(state)), **arrays)


def _variables(model: keras.Model) -> dict[str, Any]:
    groups = {"model": model.variables, "optimizer": model.optimizer.variables}
    return {
        f"{group}_{index:04d}": keras.ops.convert_to_numpy(variable)
        for group, variables in groups.items()
        for index, variable in enumerate(variables)
    }


def read_checkpoint(path: Path, model: keras.Model, task: dict[str, Any]) -> dict[str, Any]:
    """Put a checkpoint's variables into a compiled model.

    Parameters
    ----------
    path : Path
        File that `Checkpoint` wrote.
    model : keras.Model
        The same network, compiled with the same optimiser.
    task : dict
        What was given to `Checkpoint`.

    Returns
    -------
    dict
        ``plateau`` and ``epochs``.

    Raises
    ------
    RecordError
        If the file is damaged, or belongs to another network or another training; the
        model is unchanged.
    """
    model.optimizer.build(model.trainable_variables)
    targets = [*model.variables, *model.optimizer.variables]
    names = list(_variables(model))
    try:
        stored = npzfile.read(path)
        state = json.loads(str(stored.pop("state")))
    # DataError among them, which is a ValueError
    except (ValueError, KeyError, RecursionError) as error:
        raise RecordError(
            f"checkpoint {path} cannot be read ({error}): delete it to train from the start"
        ) from error
    shapes = {name: tuple(t.shape) for name, t in zip(names, targets, strict=True)}
    version = state.get("version") if isinstance(state, dict) else None
    if version != VERSION or {n: v.shape for n, v in stored.items()} != shapes:
        raise RecordError(
            f"checkpoint {path} belongs to another network or another version of ppn_tf: "
            "delete it to train from the start"
        )
    begun = state.get("task", {})
    differ = [name for name, now in task.items() if not _same(begun.get(name), now)]
    if differ:
        raise RecordError(
            f"checkpoint {path} is of another training: {', '.join(differ)} differ. Pass the same "
            "to go on, or delete it to train from the start"
        )
    for name, target in zip(names, targets, strict=True):
        target.assign(stored[name])
    return state


def fingerprint(values: np.ndarray) -> dict[str, float]:
    """Return what tells arrays apart and rounding does not move.

    A training may go on on another machine, where the same data differ in their last bits:
    the projection on a fixed random direction does not, as a checksum would.

    Parameters
    ----------
    values : real

    Returns
    -------
    dict
        ``fingerprint`` of order 1; differs by the relative distance of two arrays, times a
        random factor.
    """
    flat = np.asarray(values, np.float64).ravel()
    signs = 2.0 * np.random.default_rng(flat.size).integers(0, 2, flat.size, dtype=np.int8) - 1
    length = float(np.linalg.norm(flat))
    return {"fingerprint": float(flat @ signs) / length if length else 0.0}


def _same(begun: Any, now: Any) -> bool:
    if isinstance(now, dict) and isinstance(begun, dict):
        away = abs(begun["fingerprint"] - now["fingerprint"])
        return bool(away <= _FINGERPRINT_TOLERANCE * max(1.0, abs(now["fingerprint"])))
    return bool(begun == now)
