"""Parts of a field in files, added up band by band into one HDF5 file.

A part holds pieces (`ppn_tf.pieces`): sums over boxes of the field. Neither the whole field
nor all parts are ever in memory. Nothing in here imports Keras.
"""

from __future__ import annotations

import dataclasses
import json
import zipfile
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import h5py
import numpy as np
from tqdm import tqdm

from ppn_tf import pieces
from ppn_tf.data.formats import ptychodus
from ppn_tf.errors import RecordError
from ppn_tf.files import replacing
from ppn_tf.pieces import Piece

#: Rows of the field that are added up at once.
BAND_ROWS = 256


def write(path: Path, found: Sequence[Piece]) -> None:
    """Write a part, whole or not at all.

    Parameters
    ----------
    path : Path
    found : sequence of Piece

    Raises
    ------
    RecordError
        If it cannot be written.
    """
    arrays = {"boxes": np.array([[*piece.origin, *piece.ends] for piece in found])}
    for index, piece in enumerate(found):
        arrays |= {f"totals_{index}": piece.totals, f"weight_sum_{index}": piece.weight_sum}
    with replacing(path) as temporary, temporary.open("wb") as stream:
        np.savez(stream, **arrays)


@dataclasses.dataclass(frozen=True, eq=False)
class Place:
    """Where a field lies on its scan.

    Attributes
    ----------
    positions_m : (N, 2) float
        Centres of the windows, (y, x).
    pixel_m : (float, float)
        Height and width of the field's pixels.
    center_m : (float, float)
        (y, x) of the middle of the field's grid.
    """

    positions_m: np.ndarray
    pixel_m: tuple[float, float]
    center_m: tuple[float, float]


def stitch(
    parts: Sequence[Path],
    shape: tuple[int, int],
    output: Path,
    label: str | None = None,
    place: Place | None = None,
    provenance: Mapping[str, Any] | None = None,
) -> int:
    """Add parts up and write the field, whole or not at all.

    Parameters
    ----------
    parts : sequence of Path
        Written by `write`. Pieces whose phases count from zeros of their own are turned to
        each other first.
    shape : (int, int)
        Rows and columns of the field.
    output : Path
        HDF5 with ``/object`` (rows, cols) complex64, NaN where no patch lies, and
        ``/coverage`` (rows, cols) float32, the sum of the weights.
    label : str, optional
        Of progress bars on standard error.
    place : Place, optional
        Written as in a ptychodus product, so that other commands find the field's place.
    provenance : mapping, optional
        Written as JSON to the attribute ``ppn_tf_provenance``.

    Returns
    -------
    int
        Groups of pieces without an overlap, where pieces are turned; else 1.

    Raises
    ------
    RecordError
        If a part is damaged, or the file cannot be written.
    """
    stored = [
        _Stored(path, index, tuple(box))
        for path in parts
        for index, box in enumerate(_array(path, "boxes").tolist())
    ]
    turns, islands = np.ones(len(stored)), 1
    if stored[0].piece().needs_turn:
        bands = _bands(stored, shape[0], label and f"{label}, turned")
        turns, islands = pieces.turns((list(band) for _, _, band in bands), len(stored))
    with replacing(output) as temporary, h5py.File(temporary, "w") as file:
        _put_field(file, stored, turns, shape, label)
        if place is not None:
            ptychodus.put_place(file, place.positions_m, place.pixel_m, place.center_m)
        if provenance is not None:
            file.attrs[ptychodus.PROVENANCE] = json.dumps(provenance, sort_keys=True)
    return islands


def _put_field(
    file: h5py.File,
    stored: Sequence[_Stored],
    turns: np.ndarray,
    shape: tuple[int, int],
    label: str | None,
) -> None:
    field = file.create_dataset("object", shape, np.complex64)
    coverage = file.create_dataset("coverage", shape, np.float32)
    quantities = len(stored[0].piece().totals)
    for top, bottom, band in _bands(stored, shape[0], label):
        totals = np.zeros((quantities, bottom - top, shape[1]))
        weight_sum = np.zeros((bottom - top, shape[1]))
        for number, piece in band:
            piece.turned(turns[number]).add_to(totals, weight_sum, top)
        field[top:bottom], coverage[top:bottom] = _mean(totals, weight_sum), weight_sum


@dataclasses.dataclass(frozen=True)
class _Stored:
    """A piece in a file, and its first and its next row and column, as `write` has them."""

    path: Path
    index: int
    box: tuple[int, int, int, int]

    def piece(self) -> Piece:
        totals, weight_sum = (
            _array(self.path, f"{name}_{self.index}") for name in ("totals", "weight_sum")
        )
        return Piece(totals, weight_sum, self.box[:2])


def _bands(
    stored: Sequence[_Stored], rows: int, label: str | None
) -> Iterator[tuple[int, int, Iterator[tuple[int, Piece]]]]:
    """Yield first and next row of each band, and what lies there of the pieces, one by one."""
    tops = range(0, rows, BAND_ROWS)
    for top in tqdm(tops, desc=label, disable=label is None, unit="band", leave=False):
        bottom = min(top + BAND_ROWS, rows)
        yield top, bottom, _between(stored, top, bottom)


def _between(stored: Sequence[_Stored], top: int, bottom: int) -> Iterator[tuple[int, Piece]]:
    for number, one in enumerate(stored):
        if one.box[0] < bottom and one.box[2] > top:
            yield number, one.piece().within(top, bottom)


def _mean(totals: np.ndarray, weight_sum: np.ndarray) -> np.ndarray:
    """Return the complex field of sums."""
    with np.errstate(invalid="ignore"):
        # 0 / 0 where no patch lies: NaN
        means = totals / weight_sum
    phase_rad = means[1] if len(means) == 2 else np.angle(means[1] + 1j * means[2])
    return means[0] * np.exp(1j * phase_rad)


def _array(path: Path, name: str) -> np.ndarray:
    try:
        with np.load(path, allow_pickle=False) as archive:
            return archive[name]
    except (OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile) as error:
        raise RecordError(
            f"part {path} cannot be read ({error}): delete it, and it is made again"
        ) from error
