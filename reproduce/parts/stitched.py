"""Kept predictions beside the truth: what Figs. 3 and 9 draw."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import numpy as np

from ppn_tf import data, npzfile, stitching
from ppn_tf.errors import DataError, RecordError
from ppn_tf.scaling import Scaling

Record = dict[str, Any]

CHANNELS = ("amplitude", "phase")

#: First row of the object that no training patch covers [px].
FREE_ROW_PX = 8 * (data.TRAIN_ROWS.stop - 1) + 32


@dataclasses.dataclass(frozen=True, eq=False)
class Region:
    """Patches of the figure region and the fields that they give, on the target scale.

    Attributes
    ----------
    patches : dict of (N, 32, 32) float
        By channel.
    positions_px : (N, 2) int
        Top-left pixels in the object.
    fields : dict of (H, W) float
        Stitched, by channel; cut to the box that patches cover.
    origin_px : (int, int)
        Row and column of the fields' first pixel in the object.
    """

    patches: dict[str, np.ndarray]
    positions_px: np.ndarray
    fields: dict[str, np.ndarray]
    origin_px: tuple[int, int]


def region(patches: dict[str, np.ndarray], positions_px: np.ndarray) -> Region:
    """Stitch patches (N, h, w) of each channel at their positions."""
    positions_px = np.asarray(positions_px, dtype=np.int64)
    origin = positions_px.min(axis=0)
    window = next(iter(patches.values())).shape[1:]
    shape = tuple(int(side) for side in (positions_px - origin).max(axis=0) + window)
    fields = {}
    for channel, values in patches.items():
        found = stitching.stitch(
            values, positions_px - origin, shape, weights=stitching.weights(window)
        )
        fields[channel] = found.field
    return Region(patches, positions_px, fields, (int(origin[0]), int(origin[1])))


def kept(path: Path) -> Region | None:
    """Read the predictions beside a record; None where there are none.

    Raises
    ------
    RecordError
        For a file that cannot be read or lacks an array.
    """
    if not path.exists():
        return None
    try:
        arrays = npzfile.read(path, (*CHANNELS, "positions_px"))
    except DataError as error:
        raise RecordError(
            f"predictions cannot be read: {error}; remove the run's folder and run again"
        ) from error
    patches = {channel: arrays[channel].astype(np.float64) for channel in CHANNELS}
    return region(patches, arrays["positions_px"])


def truth(record: Record, like: Region) -> Region:
    """Return what a run's predictions of the figure region should be."""
    obj = data.load_object(record["spec"]["object_name"])
    scaling = Scaling.from_dict(record["results"]["scaling"])
    images = {
        "amplitude": scaling.target_amplitude(obj.amplitude),
        "phase": scaling.target_phase(obj.phase_rad),
    }
    patches = {
        channel: stitching.extract(image, like.positions_px, like.patches[channel].shape[1:])
        for channel, image in images.items()
    }
    return region(patches, like.positions_px)


def example(true: Region) -> int:
    """Return the scan point to show: the most edges among those without training pixels.

    The truth alone decides: the largest total variation of the true amplitude.
    """
    amplitude = true.patches["amplitude"]
    variation = sum(np.abs(np.diff(amplitude, axis=axis)).sum(axis=(1, 2)) for axis in (1, 2))
    free = true.positions_px[:, 0] >= FREE_ROW_PX
    return int(np.argmax(np.where(free, variation, -1.0) if free.any() else variation))


def section(true: Region) -> int:
    """Return the row of the field for a cross-section: the most edges, free of training.

    The first row of those with the largest total variation of the true amplitude, moved
    to the middle of the run of rows that are equal to it.
    """
    amplitude = true.fields["amplitude"]
    variation = np.abs(np.diff(amplitude, axis=1)).sum(axis=1)
    free = true.origin_px[0] + np.arange(len(variation)) >= FREE_ROW_PX
    variation = np.where(free, variation, -1.0) if free.any() else variation
    first = int(np.argmax(variation))
    differs = np.flatnonzero(np.abs(variation[first:] - variation[first]) > 1e-6)
    length = int(differs[0]) if len(differs) else len(variation) - first
    return first + length // 2
