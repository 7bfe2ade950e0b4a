"""Parts of a field in files, added up band by band into one HDF5 file.

A part holds the sums of `ppn_tf.field_sum.FieldSum` over a box of the field. Neither the
whole field nor all parts are ever in memory. Nothing in here imports Keras.
"""

from __future__ import annotations

import zipfile
from collections.abc import Sequence
from pathlib import Path

import h5py
import numpy as np
from tqdm import tqdm

from ppn_tf.errors import RecordError
from ppn_tf.field_sum import FieldSum
from ppn_tf.files import replacing

#: Rows of the field that are added up at once.
BAND_ROWS = 256


def write(path: Path, total: FieldSum, origin: np.ndarray) -> None:
    """Write a part, whole or not at all.

    Parameters
    ----------
    path : Path
    total : FieldSum
        Sums of amplitude and phase [rad] over the box.
    origin : (2,) int
        Row and column of the box's first pixel on the field.

    Raises
    ------
    RecordError
        If it cannot be written.
    """
    with replacing(path) as temporary, temporary.open("wb") as stream:
        np.savez(
            stream,
            totals=total.totals,
            weight_sum=total.weight_sum,
            box=np.array([*origin, *total.shape]),
        )


def stitch(
    parts: Sequence[Path], shape: tuple[int, int], output: Path, label: str | None = None
) -> None:
    """Add parts up and write the field, whole or not at all.

    Parameters
    ----------
    parts : sequence of Path
        Written by `write`.
    shape : (int, int)
        Rows and columns of the field.
    output : Path
        HDF5 with ``/object`` (rows, cols) complex64, NaN where no patch lies, and
        ``/coverage`` (rows, cols) float32, the sum of the weights.
    label : str, optional
        Of a progress bar on standard error.

    Raises
    ------
    RecordError
        If a part is damaged, or the file cannot be written.
    """
    boxes = {path: _arrays(path, "box")[0].tolist() for path in parts}
    bands = range(0, shape[0], BAND_ROWS)
    with replacing(output) as temporary, h5py.File(temporary, "w") as file:
        field = file.create_dataset("object", shape, np.complex64)
        coverage = file.create_dataset("coverage", shape, np.float32)
        for top in tqdm(bands, desc=label, disable=label is None, unit="band", leave=False):
            bottom = min(top + BAND_ROWS, shape[0])
            band = np.zeros((3, bottom - top, shape[1]))
            for path, box in boxes.items():
                if box[0] < bottom and box[0] + box[2] > top:
                    _add(band, top, path, box)
            amplitude, phase_rad, weight = band
            with np.errstate(invalid="ignore"):
                # 0 / 0 where no patch lies: NaN
                field[top:bottom] = amplitude / weight * np.exp(1j * (phase_rad / weight))
            coverage[top:bottom] = weight


def _add(band: np.ndarray, top: int, path: Path, box: Sequence[int]) -> None:
    totals, weight_sum = _arrays(path, "totals", "weight_sum")
    row, col, rows, cols = box
    first, last = max(row, top), min(row + rows, top + band.shape[1])
    here, there = slice(first - top, last - top), slice(first - row, last - row)
    columns = slice(col, col + cols)
    band[:2, here, columns] += totals[:, there]
    band[2, here, columns] += weight_sum[there]


def _arrays(path: Path, *names: str) -> list[np.ndarray]:
    try:
        with np.load(path, allow_pickle=False) as archive:
            return [archive[name] for name in names]
    except (OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile) as error:
        raise RecordError(
            f"part {path} cannot be read ({error}): delete it, and it is made again"
        ) from error
