"""Parts of a field in files, added up band by band into one HDF5 file.

A part holds pieces (`ppn_tf.pieces`): sums over boxes of the field. Neither the whole field
nor all parts are ever in memory. Nothing in here imports Keras.
"""

from __future__ import annotations

import dataclasses
import zipfile
from collections.abc import Iterator, Sequence
from pathlib import Path

import h5py
import numpy as np
from tqdm import tqdm

from ppn_tf import pieces
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


def stitch(
    parts: Sequence[Path], shape: tuple[int, int], output: Path, label: str | None = None
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
    first = stored[0].piece()
    turns, islands = np.ones(len(stored)), 1
    if first.needs_turn:
        bands = _bands(stored, shape[0], label and f"{label}, turned")
        turns, islands = pieces.turns((list(band) for _, _, band in bands), len(stored))
    with replacing(output) as temporary, h5py.File(temporary, "w") as file:
        field = file.create_dataset("object", shape, np.complex64)
        coverage = file.create_dataset("coverage", shape, np.float32)
        for top, bottom, band in _bands(stored, shape[0], label):
            totals = np.zeros((len(first.totals), bottom - top, shape[1]))
            weight_sum = np.zeros((bottom - top, shape[1]))
            for number, piece in band:
                piece.turned(turns[number]).add_to(totals, weight_sum, top)
            field[top:bottom], coverage[top:bottom] = _mean(totals, weight_sum), weight_sum
    return islands


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
