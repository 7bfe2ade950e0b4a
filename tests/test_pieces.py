"""Pieces of a scan whose patches have phases of their own, and the field they make."""

import numpy as np
import pytest

from ppn_tf import field_parts, pieces, stitching, synchronising
from ppn_tf.errors import RecordError

SIDE = 8
SHAPE = (40, 72)


@pytest.fixture
def scan():
    """A complex field in windows 4 px apart, each turned by a phase of its own."""
    draws = np.random.default_rng(0)
    rows, cols = np.mgrid[: SHAPE[0], : SHAPE[1]]
    field = (1 + 0.5 * np.cos(rows / 5)) * np.exp(1j * (np.sin(cols / 7) + rows / 40))
    corners = np.stack(np.mgrid[0:33:4, 0:65:4], axis=-1).reshape(-1, 2)
    windows = np.lib.stride_tricks.sliding_window_view(field, (SIDE, SIDE))
    patches = windows[corners[:, 0], corners[:, 1]]
    turns = draws.uniform(-np.pi, np.pi, len(corners))
    return field, patches * np.exp(1j * turns)[:, None, None], corners.astype(float)


def write(folder, patches, corners, chunk, shape=SHAPE):
    weights, paths = stitching.weights(SIDE), []
    for start in range(0, len(patches), chunk):
        some = slice(start, start + chunk)
        found = pieces.turned(
            np.abs(patches[some]), np.angle(patches[some]), corners[some], weights, shape
        )
        paths.append(folder / f"{start}.npz")
        field_parts.write(paths[-1], found)
    return paths


def read(path):
    import h5py

    with h5py.File(path) as file:
        return file["object"][:], file["coverage"][:]


@pytest.mark.parametrize("chunk", [1, 40, 1000])
@pytest.mark.parametrize("tile", [1, 8])
def test_pieces_make_the_field(scan, tmp_path, monkeypatch, chunk, tile):
    """Whatever they are cut into, and wherever bands end."""
    monkeypatch.setattr(pieces, "TILE_WINDOWS", tile)
    monkeypatch.setattr(field_parts, "BAND_ROWS", 13)
    field, patches, corners = scan
    paths = write(tmp_path, patches, corners, chunk)
    assert field_parts.stitch(paths, SHAPE, tmp_path / "out.h5") == 1
    found, coverage = read(tmp_path / "out.h5")
    wanted, islands = synchronising.turned_field(patches, corners, SHAPE, stitching.weights(SIDE))
    assert islands == 1
    # complex64 in the file: measured 0, and 7.8e-8 from the truth
    np.testing.assert_allclose(found, wanted, atol=1e-6)
    np.testing.assert_allclose(found, field * np.exp(-1j * np.angle(field.sum())), atol=1e-5)
    assert coverage.min() > 0


def test_a_long_chunk_of_few_rows_does_not_bend(tmp_path, monkeypatch):
    """Patches with a ramp of their own: turns err, and a chunk of two rows is turned whole."""
    draws = np.random.default_rng(0)
    corners = np.stack(np.mgrid[0:97:4, 0:401:4], axis=-1).reshape(-1, 2).astype(float)
    ramps = 0.05 * draws.standard_normal((len(corners), 2, 1, 1)) * np.mgrid[:SIDE, :SIDE]
    patches = np.exp(1j * ramps.sum(axis=1))
    shape = (104, 408)

    def error(tile):
        monkeypatch.setattr(pieces, "TILE_WINDOWS", tile)
        paths = write(tmp_path, patches, corners, 2 * 101, shape)
        field_parts.stitch(paths, shape, tmp_path / "out.h5")
        return np.angle(read(tmp_path / "out.h5")[0]).std()

    whole = np.angle(
        synchronising.turned_field(patches, corners, shape, stitching.weights(SIDE))[0]
    ).std()
    chunks, tiles = error(10**6), error(8)
    # measured over 3 seeds: whole 0.17 to 0.22 rad, tiles 0.24 to 0.27, chunks 0.53 to 0.60
    assert tiles < 0.7 * chunks and tiles < 2 * whole, (whole, tiles, chunks)


def test_islands_are_counted(scan, tmp_path):
    """Two groups far apart in one chunk: pieces of one tile are not mixed."""
    _, patches, corners = scan
    kept = (corners[:, 1] < 20) | (corners[:, 1] > 40)
    paths = write(tmp_path, patches[kept], corners[kept], 1000)
    assert field_parts.stitch(paths, SHAPE, tmp_path / "out.h5") == 2
    found, coverage = read(tmp_path / "out.h5")
    assert np.isnan(found[:, 30:38]).all() and not coverage[:, 30:38].any()
    # the corners 0-16, 44-60 and, in the next tile, 64
    assert np.load(paths[0])["boxes"][:, [1, 3]].tolist() == [[0, 24], [44, 68], [64, 72]]


def test_parts_of_an_earlier_form_are_made_again(tmp_path):
    np.savez(tmp_path / "old.npz", totals=np.zeros((2, 4, 4)), box=np.array([0, 0, 4, 4]))
    with pytest.raises(RecordError, match="delete it, and it is made again"):
        field_parts.stitch([tmp_path / "old.npz"], (4, 4), tmp_path / "out.h5")
