"""Patterns to patches to a stitched object, in chunks: no part holds all patterns.

The patterns may be any array that can be sliced, such as an HDF5 data set; what a chunk
adds goes into a `FieldSum`, and sums of several parts of a scan add up.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Protocol

import keras
import numpy as np
from tqdm import tqdm

from ppn_tf import inference, synchronising
from ppn_tf.detector import Fit, check_side
from ppn_tf.errors import DataError, OptionError
from ppn_tf.field_sum import FieldSum

#: Patterns read and stitched at once: a MiB at 32 x 32 px, eight batches, a few seconds on a CPU.
CHUNK_PATTERNS = 256


class Sliceable(Protocol):
    """Patterns (N, H, W) of which a range of frames can be taken."""

    @property
    def shape(self) -> tuple[int, ...]:
        """N, H and W."""

    def __getitem__(self, key: slice, /) -> Any:
        """Return the frames of a range."""


def reconstruct(
    model: keras.Model,
    patterns: Sliceable,
    corners_px: np.ndarray,
    total: FieldSum,
    *,
    fit: Fit | None = None,
    mask: np.ndarray | None = None,
    batch_size: int = 32,
    chunk: int = CHUNK_PATTERNS,
    label: str | None = None,
) -> FieldSum:
    """Reconstruct patterns and add the patches to a field.

    Parameters
    ----------
    model : keras.Model
    patterns : (N, H, W) array, or what slices like one
        Counts, zero frequency at the pixel ``(H // 2, W // 2)``.
    corners_px : (N, 2) float
        Corners of the patches on the field, after `fit`.
    total : FieldSum
        With the two channels amplitude and phase [rad]; it is added to.
    fit : Fit, optional
        Crop, bin and scale of each chunk.
    mask : (H, W) bool, optional
        True where the detector is valid.
    batch_size : int
        Patterns per step of the network.
    chunk : int
        Patterns that are read and stitched at once.
    label : str, optional
        Of a progress bar on standard error.

    Returns
    -------
    FieldSum
        `total`.

    Raises
    ------
    DataError
        For patterns that the network does not take, or patches outside the field.
    OptionError
        For a chunk below 1, or a network without a scaling.
    """
    steps = _predicted(model, patterns, corners_px, fit, mask, batch_size, chunk, label)
    for start, found in steps:
        corners = corners_px[start : start + len(found.amplitude)]
        total.add(np.stack([found.amplitude, found.phase], axis=1), corners)
    return total


def reconstruct_turned(
    model: keras.Model,
    patterns: Sliceable,
    corners_px: np.ndarray,
    shape: tuple[int, int],
    weights: np.ndarray,
    *,
    fit: Fit | None = None,
    mask: np.ndarray | None = None,
    batch_size: int = 32,
    chunk: int = CHUNK_PATTERNS,
    label: str | None = None,
) -> tuple[np.ndarray, int]:
    """Reconstruct patterns, turn the patches to each other and stitch them.

    For networks whose phases count from a zero of each patch: `needs_turns`. All patches
    are held at once. Further parameters and errors are those of `reconstruct`.

    Parameters
    ----------
    shape : (int, int)
        Rows and columns of the field.
    weights : (h, w) float
        See `ppn_tf.stitching.weights`.

    Returns
    -------
    field : (rows, cols) complex64
        Of mean phase 0; NaN where no patch lies.
    islands : int
        Parts of the scan without an overlap: their phases are unknown to each other.
    """
    patches = np.empty((patterns.shape[0], *weights.shape), np.complex64)
    steps = _predicted(model, patterns, corners_px, fit, mask, batch_size, chunk, label)
    for start, found in steps:
        values = found.amplitude * np.exp(1j * found.phase)
        patches[start : start + len(values)] = values
    return synchronising.turned_field(patches, corners_px, shape, weights)


def needs_turns(model: keras.Model) -> bool:
    """Tell whether a network's phases count from a zero of each patch.

    Raises
    ------
    OptionError
        If the network carries no scaling.
    """
    return inference.scaling_of(model).phase_zero == "light"


def _predicted(
    model: keras.Model,
    patterns: Sliceable,
    corners_px: np.ndarray,
    fit: Fit | None,
    mask: np.ndarray | None,
    batch_size: int,
    chunk: int,
    label: str | None,
) -> Iterator[tuple[int, inference.Patches]]:
    """Yield the first index of each chunk, and its patches."""
    fit = Fit() if fit is None else fit
    count = _checked(model, patterns, len(corners_px), fit, chunk, batch_size)
    with tqdm(total=count, desc=label, disable=label is None, unit="pattern") as bar:
        for start in range(0, count, chunk):
            stop = min(start + chunk, count)
            counts = fit.patterns(np.asarray(patterns[start:stop]), mask)
            yield start, inference.infer(model, counts, batch_size=batch_size)
            bar.update(stop - start)


def _checked(
    model: keras.Model, patterns: Sliceable, positions: int, fit: Fit, chunk: int, batch_size: int
) -> int:
    """Return how many patterns there are, once all fits together."""
    count, detector_px = patterns.shape[0], (patterns.shape[1], patterns.shape[2])
    if min(chunk, batch_size) < 1:
        raise OptionError(
            f"chunk and batch_size must be at least 1, received {chunk} and {batch_size}"
        )
    if positions != count:
        raise DataError(
            f"every pattern needs a position, received {count} patterns and {positions} positions"
        )
    inference.scaling_of(model)
    check_side(fit, detector_px, model.input_shape[1:3])
    return count


def complex_object(total: FieldSum) -> np.ndarray:
    """Return the object of a sum of amplitude and phase, (rows, cols) complex64.

    Amplitude and phase are averaged each by itself; NaN where no patch lies.
    """
    amplitude, phase_rad = total.fields()
    return (amplitude * np.exp(1j * phase_rad)).astype(np.complex64)


def brightest_known(model: keras.Model) -> float:
    """Return the brightest pixel among the patterns that a network was trained on [counts]."""
    scaling = inference.scaling_of(model)
    high = scaling.input_range[1]
    return float(np.expm1(high)) if scaling.transform == "log1p" else high
