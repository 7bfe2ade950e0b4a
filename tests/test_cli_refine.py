"""The command refine: results, the grid of foreign starts, every refusal."""

import dataclasses
import json

import h5py
import numpy as np
import pytest

from ppn_tf import cli, data, refinement
from ppn_tf.data import formats
from ppn_tf.data.formats import Scan, starts

SIDE_PX = 16
PIXEL_M = 2e-8


@pytest.fixture(scope="module")
def truth():
    rows, cols = np.indices((40, 44)) / 40
    return (0.8 + 0.2 * np.sin(9 * rows)) * np.exp(0.8j * np.sin(7 * cols + 3 * rows))


@pytest.fixture(scope="module")
def scan(truth):
    probe = data.stand_in_probe(SIDE_PX)
    positions = data.raster(truth.shape, SIDE_PX, 4).positions_px
    patterns = data.simulate(truth.astype(np.complex64), probe, positions)
    return Scan(
        patterns,
        positions.astype(np.float64),
        probe=probe[None].astype(np.complex64),
        energy_eV=8000.0,
        distance_m=1.0,
        object_pixel_m=(PIXEL_M, PIXEL_M),
    )


@pytest.fixture
def files(scan, truth, tmp_path):
    """A scan and a start: the truth with a wrong phase, on a larger grid of its own."""
    formats.write(tmp_path / "scan.npz", scan)
    wide = np.pad(truth * np.exp(0.3j), 3, constant_values=1).astype(np.complex64)
    start = dataclasses.replace(scan, positions_px=scan.positions_px + 3, object=wide)
    formats.write(tmp_path / "start.h5", start)
    formats.write(tmp_path / "start.npz", start)
    return tmp_path


def run(folder, *words, scan="scan.npz", start="start.h5", out="out.h5"):
    start = start if start == "flat" else str(folder / start)
    return cli.main(
        ["refine", str(folder / scan), "--start", start, "-o", str(folder / out), "--gpu", "cpu"]
        + [str(word) for word in words]
    )


EQ3 = ("--objective", "eq3", "--iterations", 3, "--fixed-probe")


def test_a_start_lies_where_its_positions_say(files, scan, truth):
    for name in ("start.h5", "start.npz"):
        field, corners = starts.place(starts.read(files / name), scan)
        np.testing.assert_array_equal(corners, scan.positions_px)
        np.testing.assert_allclose(field, truth * np.exp(0.3j), atol=1e-6)  # float32


def test_a_start_of_coarser_pixels_is_resampled(scan):
    # linear in both axes: linear interpolation is exact; 2 px of the scan a pixel
    rows, cols = (np.arange(30) + 0.5) * 2, (np.arange(34) + 0.5) * 2
    field = (0.01 * rows[:, None] + 0.02j * cols).astype(np.complex64)
    centres = (scan.positions_px + SIDE_PX / 2) / 2
    start = starts.Start(field, centres, (2 * PIXEL_M, 2 * PIXEL_M), None)
    placed, _ = starts.place(start, scan)
    expected = 0.01 * (np.arange(40)[:, None] + 0.5) + 0.02j * (np.arange(44) + 0.5)
    inside = np.isfinite(placed)
    # the first pixel's centre lies before the first sample
    assert inside[1:, 1:].all() and not inside[0].any()
    np.testing.assert_allclose(placed[inside], expected[inside], atol=1e-6)


def test_refine_by_epie(files, scan, truth, capsys):
    assert run(files, "--iterations", 12, "--json") == 0
    captured = capsys.readouterr()
    values = json.loads(captured.out)
    # float32: measured 3e-7; the start is the truth but for a global phase
    assert values["r_factor_start"] < 1e-4 and values["iterations"] == 12
    assert values["start_covers"] == 1 and values["files"] == [str(files / "out.h5")]
    assert "refine" in captured.err
    with h5py.File(files / "out.h5") as product:
        assert product["object"].shape == (1, *truth.shape)
        assert product["probe"].shape == (1, 1, SIDE_PX, SIDE_PX)
        assert len(product["loss_values"]) == 12
        np.testing.assert_allclose(product["probe_position_y_m"], scan.positions_m[:, 0])
        assert json.loads(product.attrs["ppn_tf_provenance"])["refined"]["start"] == "start.h5"
    assert not list(files.glob("*.partial*"))


def test_positions_between_pixels_are_kept(scan, truth, tmp_path, capsys):
    """Patterns of the probe moved by 0.4 px down and -0.3 px right, every second one."""
    offsets = np.where(np.arange(len(scan.patterns))[:, None] % 2, [0.4, -0.3], 0.0)
    whole = scan.positions_px.astype(int)
    task = refinement.Task(scan.patterns, whole, truth, scan.probe, None, offsets)
    between = dataclasses.replace(
        scan,
        patterns=(refinement.moduli(task) ** 2).astype(np.float32),
        positions_px=scan.positions_px + offsets,
        positions_m=None,
        object=truth.astype(np.complex64),
    )
    formats.write(tmp_path / "scan.npz", between)
    words = ("--iterations", 3, "--fixed-probe", "--json")
    assert run(tmp_path, *words, start="scan.npz", out="out.npz") == 0
    # float32: measured 2e-7
    assert json.loads(capsys.readouterr().out)["r_factor_start"] < 1e-4
    assert run(tmp_path, *EQ3, "--json", start="scan.npz", out="eq3.npz") == 0
    # rounded: measured 0.03
    assert json.loads(capsys.readouterr().out)["r_factor_start"] > 0.01
    found = formats.read(tmp_path / "out.npz")
    np.testing.assert_allclose(found.positions_px, between.positions_px)


def test_a_flat_start_and_eq3(files, capsys):
    words = ("--objective", "eq3", "--iterations", 60, "--fixed-probe", "--sparsity", 0)
    assert run(files, *words, start="flat", out="out.npz") == 0
    assert "60 iterations of eq3" in capsys.readouterr().out
    found = formats.read(files / "out.npz")
    task = refinement.Task(
        found.patterns, found.positions_px.astype(int), found.object, found.probe
    )
    assert refinement.r_factor(task) < 0.03


def test_an_interrupted_call_goes_on(files, capsys, monkeypatch):
    words = ("--objective", "eq3", "--iterations", 25)
    assert run(files, *words, out="whole.npz") == 0
    advance, calls = refinement._advance, []

    def interrupted(*arguments):
        calls.append(0)
        if len(calls) == 2:
            raise KeyboardInterrupt
        return advance(*arguments)

    monkeypatch.setattr(refinement, "_advance", interrupted)
    assert run(files, *words, out="out.npz") == 130
    assert "the same command goes on" in capsys.readouterr().err
    assert (files / "out.npz.partial.npz").exists() and not (files / "out.npz").exists()
    assert run(files, *words, out="out.npz") == 0
    assert len(calls) == 4 and not (files / "out.npz.partial.npz").exists()
    one, two = (formats.read(files / name).object for name in ("whole.npz", "out.npz"))
    assert one.tobytes() == two.tobytes()


def refused(capsys, message):
    text = capsys.readouterr().err
    assert message in text, text


def test_files_that_do_not_fit(files, scan, capsys):
    assert run(files, *EQ3, start="none.h5") == 2
    refused(capsys, "does not exist: check the path of the start")
    assert run(files, *EQ3, start="scan.npz") == 2
    refused(capsys, "holds no object to start from")
    with h5py.File(files / "empty.h5", "w") as file:
        file["data"] = 1
    assert run(files, *EQ3, start="empty.h5") == 2
    refused(capsys, "lacks an object to start from")
    with h5py.File(files / "start.h5", "a") as file:
        del file["object"].attrs["center_x_m"]
    assert run(files, *EQ3) == 2
    refused(capsys, "lacks the attributes center_x_m")
    with h5py.File(files / "start.h5", "a") as file:
        file["object"].attrs["center_x_m"] = 0.0
        values = file["object"][()]
        del file["object"]
        file["object"] = values.real
        file["object"].attrs.update(
            pixel_height_m=PIXEL_M, pixel_width_m=PIXEL_M, center_x_m=0.0, center_y_m=0.0
        )
    assert run(files, *EQ3) == 2
    refused(capsys, "expected one complex layer")
    with h5py.File(files / "start.h5", "a") as file:
        del file["probe_position_x_m"]
        file["probe_position_x_m"] = np.zeros(3)
    assert run(files, *EQ3) == 2
    refused(capsys, "expected one complex layer")


def test_scans_that_do_not_belong_together(files, scan, capsys):
    fewer = dataclasses.replace(
        scan,
        patterns=scan.patterns[:9],
        positions_px=scan.positions_px[:9],
        positions_m=scan.positions_m[:9],
    )
    formats.write(files / "fewer.npz", fewer)
    assert run(files, *EQ3, scan="fewer.npz") == 2
    refused(capsys, "positions, the scan has 9: expected a reconstruction of this scan")
    shuffled = dataclasses.replace(
        scan, positions_px=scan.positions_px[::-1].copy(), positions_m=scan.positions_m[::-1].copy()
    )
    formats.write(files / "shuffled.npz", shuffled)
    assert run(files, *EQ3, scan="shuffled.npz") == 2
    refused(capsys, "the positions of the start differ from those of the scan by up to")
    bare = dataclasses.replace(scan, probe=None)
    formats.write(files / "bare.npz", bare)
    assert run(files, *EQ3, scan="bare.npz", start="flat") == 2
    refused(capsys, "neither the start nor the scan holds a probe of 16 x 16 px")
    unknown = dataclasses.replace(
        scan, energy_eV=None, distance_m=None, object_pixel_m=None, positions_m=None
    )
    formats.write(files / "unknown.npz", unknown)
    assert run(files, *EQ3, scan="unknown.npz") == 2
    refused(
        capsys,
        "pass --energy-ev VALUE --distance-m VALUE --object-pixel-m VALUE, or write an .npz file",
    )


def test_options_that_are_refused(files, capsys):
    assert run(files, "--objective", "eq4") == 2
    refused(capsys, "unknown objective 'eq4'")
    assert run(files, "--iterations", 0) == 2
    refused(capsys, "at least 1")
    assert run(files, out="out.tif") == 2
    refused(capsys, "-o expects the ending .h5 or .hdf5 or .npz")
    assert run(files, out="start.h5") == 2
    refused(capsys, "is there already: pass --force")
    (files / "out.h5.partial.npz").write_bytes(b"")
    assert run(files, *EQ3) == 2
    refused(capsys, "cannot be read")
    with pytest.raises(SystemExit) as stop:
        cli.main(["refine", "--help"])
    assert stop.value.code == 0 and "Example:" in capsys.readouterr().out
