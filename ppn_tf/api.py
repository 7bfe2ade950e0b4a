"""The library for other programs: NumPy in, NumPy out.

Patches are phase first and placed by their centres, as the adapter of ptychodus has it
(`ppn_tf.adapters.ptychodus`). All functions may be called from any thread. Keras is
imported by the first call, not by importing this module.
"""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from ppn_tf.adapters import ptychodus
from ppn_tf.errors import DataError
from ppn_tf.field_sum import FieldSum

if TYPE_CHECKING:
    import keras

__all__ = ["TrainResult", "infer", "load_model", "save_model", "stitch", "train"]


@dataclasses.dataclass(frozen=True, eq=False)
class TrainResult:
    """What `train` returns.

    Attributes
    ----------
    model : keras.Model
        Takes raw counts.
    history : list of dict
        One per epoch: ``loss``, ``val_loss``, ``learning_rate``, ``seconds`` and more.
    """

    model: keras.Model
    history: list[dict[str, Any]]


def load_model(source: Path | str) -> keras.Model:
    """Load a network: a ``.keras`` file, or the name of a trained one such as ``ppn-ltem``.

    Parameters
    ----------
    source : Path or str
        What does not end in ``.keras`` is a name.

    Raises
    ------
    OptionError
        For an unknown name.
    RecordError
        If the file cannot be loaded, or its checksum is wrong.
    """
    from ppn_tf import models

    if Path(source).suffix == ".keras":
        return models.load_file(source)
    return models.load(str(source))


def save_model(path: Path | str, model: keras.Model) -> None:
    """Write a network with its scaling to a ``.keras`` file, whole or not at all.

    Raises
    ------
    RecordError
        For another ending, or if it cannot be written.
    """
    from ppn_tf import models

    models.save_file(path, model)


def infer(patterns: np.ndarray, model: keras.Model, batch_size: int = 32) -> np.ndarray:
    """Reconstruct patches from raw counts.

    Parameters
    ----------
    patterns : (N, H, W) float32
        Counts, zero frequency at the pixel ``(H // 2, W // 2)``.
    model : keras.Model
        From `load_model` or `train`.
    batch_size : int
        Patterns per step.

    Returns
    -------
    (N, 2, H, W) float32
        Phase [rad] first, then amplitude.

    Raises
    ------
    DataError
        For patterns that the network cannot take.
    OptionError
        If the network does not know its physical scaling, or for a batch size below 1.
    """
    from ppn_tf import inference

    found = inference.infer(model, patterns, batch_size=batch_size)
    return ptychodus.stacked(found.amplitude, found.phase)


def stitch(
    patches: np.ndarray,
    centres_px: np.ndarray,
    shape: tuple[int, int],
    weights: np.ndarray | None = None,
    *,
    turn: bool = False,
) -> np.ndarray:
    """Lay overlapping patches into one complex object.

    Amplitude and phase are averaged each by itself, so that patches that disagree in
    phase do not lower the amplitude. A patch between pixels is shared bilinearly.

    Parameters
    ----------
    patches : (N, 2, H, W) float
        Phase [rad] first, as `infer` gives them.
    centres_px : (N, 2) float
        Row and column of each patch's centre, from the outer edge of the first pixel.
    shape : (int, int)
        Rows and columns of the object.
    weights : (H, W) float, optional
        Above 0; by default they fall from the centre, see `ppn_tf.stitching.weights`.
    turn : bool
        Turn patches to each other first. Needed where each phase counts from a zero of its
        own: ``inference.scaling_of(model).phase_zero == "light"``.

    Returns
    -------
    (rows, cols) complex64
        NaN where no patch lies.

    Raises
    ------
    DataError
        For shapes that do not belong together, NaN, or patches outside the object.
    """
    from ppn_tf import stitching, synchronising

    amplitude, phase_rad = ptychodus.split(patches)
    window = (amplitude.shape[1], amplitude.shape[2])
    weights = stitching.weights(window) if weights is None else np.asarray(weights)
    corners = ptychodus.corners_px(centres_px, window)
    if turn:
        values = amplitude * np.exp(1j * phase_rad.astype(np.float64))
        return synchronising.turned_field(values, corners, shape, weights)[0]
    total = FieldSum(shape, weights, 2)
    total.add(np.stack([amplitude, phase_rad], axis=1), corners)
    mean_amplitude, mean_phase_rad = total.fields()
    return (mean_amplitude * np.exp(1j * mean_phase_rad)).astype(np.complex64)


def train(
    patterns: np.ndarray,
    patches: np.ndarray,
    model: keras.Model | str = "ppn",
    *,
    epochs: int = 30,
    batch_size: int = 32,
    seed: int = 0,
    validation_fraction: float = 0.05,
    phase_zero: str = "object",
    checkpoint: Path | None = None,
    label: str | None = None,
) -> TrainResult:
    """Train a network on patterns and the object patches that belong to them.

    Parameters
    ----------
    patterns : (N, H, W) float32
        Raw counts.
    patches : (N, 2, H, W) float32
        Phase [rad] first, then amplitude.
    model : keras.Model or str
        A network that knows its scaling, trained further in place; or the name of one,
        which is created with the scaling of the training part (logarithm of the counts).
    epochs, batch_size : int
    seed : int
        Decides the held-out part, first weights and the order of the batches.
    validation_fraction : float
        Share held out for the learning-rate rule.
    phase_zero : {"object", "light"}
        What phases count from, see `ppn_tf.scaling.PHASE_ZEROS`; that of a network given.
    checkpoint : Path, optional
        File from which an interrupted training goes on.
    label : str, optional
        Of a progress bar on standard error.

    Returns
    -------
    TrainResult

    Raises
    ------
    DataError, OptionError, TrainingError, RecordError
    """
    from ppn_tf import fitting

    amplitude, phase_rad = ptychodus.split(patches)
    patterns = np.asarray(patterns)
    if patterns.shape != amplitude.shape:
        raise DataError(
            f"patches must be (N, 2, H, W) for patterns (N, H, W), received {np.shape(patches)} "
            f"and {patterns.shape}"
        )
    pairs = fitting.Pairs(patterns, amplitude, phase_rad, phase_zero)
    options = fitting.FitOptions(epochs, batch_size, seed, validation_fraction)
    network, history = fitting.fit(pairs, model, options, checkpoint=checkpoint, label=label)
    return TrainResult(network, history)
