"""File formats: what is written comes back, conventions survive, wrong files are refused.

The test object is an asymmetric "F", seen through an asymmetric complex probe on windows that
are not square, so that a transposed, mirrored, conjugated or shifted reading changes the patterns.
Foreign files are made here by h5py in each format's own convention, not by the package's writers.
"""

# ruff: noqa: E501 (messages stand whole, one case a line)

import dataclasses
import io
import pickle
import re
import subprocess
import sys
import zipfile
from pathlib import Path

import h5py
import numpy as np
import pytest

from ppn_tf.data import formats, forward
from ppn_tf.data.formats import Geometry, Scan, memory, npz
from ppn_tf.data.formats.frames import Frames
from ppn_tf.errors import DataError, OptionError, RecordError, UnstatedError

ENERGY_EV, DISTANCE_M, DETECTOR_M = 8000.0, 1.5, (75e-6, 60e-6)
CORNERS_PX = np.array([[0, 0], [3, 5], [11, 2], [7, 21], [19, 26], [14, 9], [4, 30]])
ARRAYS = ("patterns", "positions_px", "positions_m", "probe", "object", "mask")
NUMBERS = ("energy_eV", "distance_m", "detector_pixel_m", "object_pixel_m")


def letter_f():
    """Complex "F" that stands upright: amplitude falls and phase rises on the letter."""
    ink = np.zeros((40, 48), bool)
    ink[6:34, 10:16] = ink[6:12, 10:36] = ink[18:23, 10:28] = True
    return np.where(ink, 0.6 * np.exp(0.8j), 1.0).astype(np.complex64)


def make(window=(16, 12), modes=2):
    """The scan that all files describe; its metres start at a point far from 0."""
    rows, cols = np.indices(window)
    envelope = np.exp(-(((rows - 6) / 4) ** 2) - ((cols - 7) / 3) ** 2)
    first = 20 * envelope * np.exp(1j * (0.05 * rows**2 + 0.2 * cols))
    probe = np.stack([first, 0.3 * first * (rows - 6)])[:modes].astype(np.complex64)
    mask = np.ones(window, bool)
    mask[2, 5] = False
    pixel = Geometry(ENERGY_EV, DISTANCE_M, DETECTOR_M).completed(window).object_pixel_m
    return Scan(
        patterns=patterns_of(letter_f(), probe),
        positions_px=CORNERS_PX.astype(float),
        positions_m=(CORNERS_PX + np.array(window) / 2) * pixel + (3e-6, -7e-6),
        probe=probe,
        object=letter_f(),
        mask=mask,
        energy_eV=ENERGY_EV,
        distance_m=DISTANCE_M,
        detector_pixel_m=DETECTOR_M,
        provenance={"name": "F", "n": 7},
    )


def patterns_of(obj, probe, corners=CORNERS_PX):
    """Intensities by the definition of the forward model, for windows of any shape."""
    height, width = probe.shape[1:]
    windows = np.stack([obj[row : row + height, col : col + width] for row, col in corners])
    fields = np.fft.fftshift(np.fft.fft2(windows[:, None] * probe), axes=(2, 3))
    return (np.abs(fields) ** 2).sum(axis=1).astype(np.float32)


@pytest.fixture
def scan():
    return make()


def assert_same(found, wanted, arrays=ARRAYS, *, metres=0.0, px=0.0):
    for name in arrays:
        mine, theirs = getattr(found, name), getattr(wanted, name)
        if theirs is None:
            assert mine is None, name
            continue
        assert mine.dtype == theirs.dtype, name
        atol = {"positions_m": metres, "positions_px": px}.get(name, 0)
        np.testing.assert_allclose(mine, theirs, rtol=0, atol=atol, err_msg=name)
    for name in NUMBERS:
        # energy in J, keV and back: 1 ulp (1e-16) a step
        np.testing.assert_allclose(getattr(found, name), getattr(wanted, name), rtol=1e-12)


def test_reference_is_the_forward_model():
    square = make((16, 16), modes=1)
    expected = forward.diffraction(letter_f(), square.probe[0], CORNERS_PX)
    # single precision in one of the two transforms: 3e-7 of the brightest pixel
    np.testing.assert_allclose(square.patterns, expected, rtol=0, atol=1e-5 * expected.max())


def assert_shows_f(found):
    """The patterns follow from the F at the positions that were read, and from no other."""
    corners = np.rint(found.positions_px - found.positions_px.min(axis=0)).astype(int)
    probe = make(found.window_px).probe if found.probe is None else found.probe
    expected = patterns_of(letter_f(), probe, corners)
    # squares of float32 roots differ by up to 1.1e-7 of the brightest pixel
    np.testing.assert_allclose(found.patterns, expected, rtol=0, atol=1e-6 * expected.max())


# Scan


def test_object_pixel_by_hand(scan):
    # 1.23984198e-6 / 8000 * 1.5 m = 2.324703720e-10 m^2, over 16 * 75 um and 12 * 60 um
    np.testing.assert_allclose(scan.object_pixel_m, (1.937253e-7, 3.228755e-7), rtol=1e-6)
    back = dataclasses.replace(scan, detector_pixel_m=None)
    np.testing.assert_allclose(back.detector_pixel_m, DETECTOR_M, rtol=1e-14)
    with pytest.raises(dataclasses.FrozenInstanceError):
        scan.energy_eV = 1.0


def test_metres_are_computed_where_the_pixel_is_known(scan):
    found = dataclasses.replace(scan, positions_m=None)
    np.testing.assert_allclose(found.positions_m[0], np.array([8, 6]) * scan.object_pixel_m)
    assert (
        dataclasses.replace(scan, positions_m=None, object_pixel_m=None, energy_eV=None).positions_m
        is None
    )


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        (
            {"patterns": np.zeros((7, 16, 12))},
            "patterns: expected float32 (any, any, any), received float64 (7, 16, 12)",
        ),
        (
            {"patterns": np.zeros((0, 16, 12), "f4")},
            "patterns are empty, received shape (0, 16, 12)",
        ),
        (
            {"patterns": np.full((7, 16, 12), -1, "f4")},
            "patterns must be counts, received negative values down to -1.0: mark bad pixels",
        ),
        ({"patterns": np.full((7, 16, 12), np.nan, "f4")}, "patterns holds NaN or infinite values"),
        (
            {"positions_px": np.zeros((6, 2))},
            "positions_px: expected float64 (7, 2), received float64 (6, 2)",
        ),
        ({"positions_px": [[0, 0]]}, "positions_px: expected float64 (7, 2), received list"),
        (
            {"positions_m": np.zeros((7, 2))},
            "positions_m and positions_px differ by up to 30 px at an object pixel of",
        ),
        (
            {"probe": np.zeros((2, 12, 16), "c8")},
            "probe: expected complex64 (any, 16, 12), received complex64 (2, 12, 16)",
        ),
        ({"mask": np.ones((16, 12))}, "mask: expected bool (16, 12), received float64 (16, 12)"),
        (
            {"object": np.zeros((30, 48), "c8")},
            "the windows cover rows 0.0 to 35.0 and columns 0.0 to 42.0, outside the object of shape (30, 48): correct the object's centre",
        ),
        (
            {"object": None, "positions_px": CORNERS_PX + 1.0},
            "positions_px: without an object the smallest row and column must be 0, received (1.0, 1.0): subtract them",
        ),
        ({"energy_eV": -1}, "energy_eV must be finite and above 0, received -1"),
        (
            {"object_pixel_m": (1e-9, 1e-9, 1e-9)},
            "object_pixel_m: expected 2 number(s), received shape (3,)",
        ),
        (
            {"detector_pixel_m": 55e-6},
            "from energy, distance and detector pixel for 16 x 12 px, received",
        ),
        (
            {"energy_eV": None, "object_pixel_m": None},
            "positions_m without object_pixel_m: state object_pixel_m, or energy_eV",
        ),
    ],
)
def test_scan_refuses(scan, changes, message):
    with pytest.raises(DataError, match=re.escape(message)):
        dataclasses.replace(scan, **changes)


# own npz


def test_own_npz_keeps_every_field(scan, tmp_path):
    formats.write(tmp_path / "scan.npz", scan)
    found = formats.read(tmp_path / "scan.npz")
    assert_same(found, scan)
    assert found.provenance["written_from"] == scan.provenance
    assert found.provenance["file"] == "scan.npz" and len(found.provenance["sha256"]) == 64
    assert_shows_f(found)
    bare = Scan(scan.patterns, scan.positions_px)
    formats.write(tmp_path / "bare.npz", bare)
    again = formats.read(tmp_path / "bare.npz")
    assert [name for name in (*ARRAYS, *NUMBERS) if getattr(again, name) is not None] == [
        "patterns",
        "positions_px",
    ]


def test_object_can_be_left_out(scan, tmp_path):
    moved = dataclasses.replace(
        scan, object=np.pad(scan.object, 4), positions_px=scan.positions_px + 4
    )
    formats.write(tmp_path / "scan.npz", moved)
    found = formats.read(tmp_path / "scan.npz", with_object=False)
    assert found.object is None
    np.testing.assert_array_equal(found.positions_px, CORNERS_PX)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ({npz.OWN_KEY: np.int64(2)}, "ppn_tf_scan: expected version 1, received 2"),
        ({npz.OWN_KEY: np.int64(1)}, "lacks the keys patterns, positions_px, provenance"),
        (
            {"a": np.zeros(2)},
            "or data, scan_true, scan_nominal and probe (scan 247), received the keys a",
        ),
        (
            {npz.OWN_KEY: np.array([{}])},
            "key 'ppn_tf_scan' holds pickled objects, which can run code",
        ),
    ],
)
def test_npz_refuses(tmp_path, content, message):
    np.savez(tmp_path / "a.npz", **content)
    with pytest.raises(DataError, match=re.escape(message)):
        formats.read(tmp_path / "a.npz")


def test_npz_that_declares_too_much_is_refused_before_it_is_read(tmp_path):
    header = io.BytesIO()
    np.lib.format.write_array_header_1_0(
        header, {"descr": "<f4", "fortran_order": False, "shape": (10**6, 512, 512)}
    )
    with zipfile.ZipFile(tmp_path / "bomb.npz", "w") as archive:
        archive.writestr(f"{npz.OWN_KEY}.npy", header.getvalue())
    with pytest.raises(
        DataError, match=r"declares float32 \(1000000, 512, 512\), 1048576000000 bytes, and holds 0"
    ):
        formats.read(tmp_path / "bomb.npz")
    # 40 MiB that take 40 kB in the file
    content = {npz.OWN_KEY: np.zeros((40, 512, 512), np.float32)}
    np.savez_compressed(tmp_path / "bomb.npz", **content)
    with pytest.raises(
        DataError,
        match=r"declares the shape \(40, 512, 512\), which makes 0.0391 GiB in all: "
        "expected at most 0.01 GiB, raise memory_limit_gib",
    ):
        formats.read(tmp_path / "bomb.npz", memory_limit_gib=0.01)
    with pytest.raises(OptionError, match="memory_limit_gib must be above 0, received 0"):
        formats.read(tmp_path / "bomb.npz", memory_limit_gib=0)


# PtychoPINN, PtychoNN, scan 247


def pinn(scan, **changes):
    half = np.array(scan.window_px) / 2
    content = {
        "diff3d": np.sqrt(scan.patterns),
        "xcoords": scan.positions_px[:, 1] + half[1],
        "ycoords": scan.positions_px[:, 0] + half[0],
        "probeGuess": scan.probe[0],
        "objectGuess": scan.object,
    }
    return {**content, **changes}


@pytest.fixture
def square():
    return make((16, 16), modes=1)


def test_ptychopinn(square, tmp_path):
    np.savez(tmp_path / "p.npz", **pinn(square))
    found = formats.read(tmp_path / "p.npz", position_point="centre")
    assert_shows_f(found)
    np.testing.assert_array_equal(found.object, square.object)
    np.testing.assert_array_equal(found.positions_px, square.positions_px)
    legacy = pinn(square, diff3d=np.moveaxis(np.sqrt(square.patterns), 0, 2))
    np.savez(tmp_path / "old.npz", **legacy)
    assert_shows_f(formats.read(tmp_path / "old.npz", position_point="centre"))
    with pytest.raises(
        OptionError, match=r"p\.npz does not say it, so pass: position_point \(centre"
    ):
        formats.read(tmp_path / "p.npz")
    assert formats.read(tmp_path / "p.npz", with_object=False).object is None


def test_ptychopinn_written(square, scan, tmp_path):
    formats.write(tmp_path / "p.npz", square, layout="ptychopinn")
    found = formats.read(
        tmp_path / "p.npz", energy_eV=ENERGY_EV, distance_m=DISTANCE_M, detector_pixel_m=DETECTOR_M
    )
    assert_shows_f(found)
    # half a window is a multiple of 0.5: exact
    assert_same(found, square, ("positions_px", "probe", "object"))
    with pytest.raises(
        DataError,
        match="PtychoPINN needs square windows and one probe mode, "
        "received 16 x 12 px and 2 probe mode",
    ):
        formats.write(tmp_path / "q.npz", scan, layout="ptychopinn")
    with pytest.raises(OptionError, match="layout: expected one of own, ptychopinn, received 'x'"):
        formats.write(tmp_path / "q.npz", scan, layout="x")


@pytest.mark.parametrize(
    ("changes", "error", "message"),
    [
        (
            {"diff3d": np.ones((7, 16, 16), int)},
            OptionError,
            "so pass: values (amplitude or intensity)",
        ),
        (
            {"diff3d": np.ones((7, 16, 7), "f4")},
            OptionError,
            "axes (NHW or HWN: all sides of diff3d that could count frames are 7)",
        ),
        (
            {"diff3d": np.ones((9, 16, 16), "f4")},
            DataError,
            "expected (7, H, W) or (H, W, 7) for 7 positions, received shape (9, 16, 16)",
        ),
        (
            {"diff3d": -np.ones((7, 16, 16), "f4")},
            DataError,
            "amplitudes must not be negative, received -1.0",
        ),
        (
            {"xcoords": np.zeros(3)},
            DataError,
            "expected xcoords and ycoords of one length, received shapes (3,) and (7,)",
        ),
        ({"probeGuess": np.ones((16, 16))}, DataError, "key 'probeGuess': expected complex (H, W)"),
    ],
)
def test_ptychopinn_refuses(square, tmp_path, changes, error, message):
    np.savez(tmp_path / "p.npz", **pinn(square, **changes))
    with pytest.raises(error, match=re.escape(message)):
        formats.read(tmp_path / "p.npz", position_point="centre")


def test_ptychonn(scan, tmp_path):
    corner = np.fft.ifftshift(scan.patterns, axes=(1, 2))
    path = tmp_path / "nn.npz"
    np.savez(path, reciprocal=corner, scan=-scan.positions_m, real=np.zeros((7, 2, 8, 8), "f4"))
    asked = {"zero_frequency": "corner", "position_frame": "sample"}
    geometry = {
        "energy_eV": ENERGY_EV,
        "distance_m": DISTANCE_M,
        "detector_pixel_m": DETECTOR_M,
    }
    found = formats.read(path, **asked, **geometry)
    assert_shows_f(found)
    # 5e-22 m of rounding in a difference of micrometres is 3e-15 px
    assert_same(found, scan, ("patterns", "positions_px", "positions_m"), px=1e-9)
    assert found.provenance["left_out"] == "real (patches of the object)"
    message = r"zero_frequency \(centre or corner of the patterns\); position_frame \(sample or"
    with pytest.raises(OptionError, match=message):
        formats.read(path, **geometry)
    message = "lacks energy_eV, distance_m: pass energy_eV and distance_m, or object_pixel_m"
    with pytest.raises(OptionError, match=message):
        formats.read(path, **asked, detector_pixel_m=75e-6)
    with pytest.raises(OptionError, match="layout ptychonn takes no flag axes: expected zero_fre"):
        formats.read(path, **asked, **geometry, axes="NHW")
    np.savez(path, reciprocal=corner, scan=scan.positions_m[:3])
    with pytest.raises(DataError, match=r"key 'scan': expected real \(7, 2\) \(y, x in metres\)"):
        formats.read(path, **asked, **geometry)


def test_scan_247(data_dir):
    path = data_dir / "nanoprobe26id" / "scan247.npz"
    found = formats.read(path, positions="scan_true")
    assert found.patterns.shape == (481, 128, 128) and (~found.mask).sum() == 9
    with np.load(path, allow_pickle=False) as file:
        np.testing.assert_array_equal(found.patterns[:, 64, 64], file["data"][:, 0, 0])
        np.testing.assert_array_equal(found.probe, file["probe"][0, 0].astype(np.complex64))
        moved = file["scan_true"].astype(float)
    np.testing.assert_array_equal(found.positions_px, moved - moved.min(axis=0))
    assert found.positions_m is None
    with pytest.raises(OptionError, match=r"positions \(scan_true \(corrected\) or scan_nominal"):
        formats.read(path)


# ptychodus


def test_ptychodus_keeps_every_field(scan, tmp_path):
    product, patterns = tmp_path / "F_para.hdf5", tmp_path / "F_dp.hdf5"
    formats.write(product, scan, patterns=patterns, name="F", losses=(3.0, 2.0))
    for found in (
        formats.read(product),
        formats.read(patterns),
        formats.read(product, patterns=patterns),
        formats.read(patterns, product=product),
    ):
        # corners go through the object's centre: rounding 1e-14 px
        assert_same(found, scan, px=1e-9)
        assert_shows_f(found)
        assert found.provenance["written_from"] == scan.provenance
        assert found.provenance["name"] == "F"


def test_product_follows_the_written_contract(scan, tmp_path):
    formats.write(tmp_path / "a.h5", scan, name="F", comments="c", losses=(3.0, 2.0))
    dy, dx = scan.object_pixel_m
    with h5py.File(tmp_path / "a.h5") as file:
        attributes = {
            "name": "F",
            "comments": "c",
            "detector_object_distance_m": DISTANCE_M,
            "probe_energy_eV": ENERGY_EV,
            "exposure_time_s": 0.0,
            "mass_attenuation_m2_kg": 0.0,
            "tomography_angle_deg": 0.0,
        }
        assert {key: file.attrs[key] for key in attributes} == attributes
        assert file["probe"].shape == (1, 2, 16, 12) and file["object"].shape == (1, 40, 48)
        np.testing.assert_array_equal(file["object"][0], scan.object)
        assert file["probe"].attrs["pixel_width_m"] == dx
        assert file["object"].attrs["pixel_height_m"] == dy
        np.testing.assert_array_equal(file["probe_position_indexes"], np.arange(7))
        # ptychodus: x_px = (x_m - centre) / dx + W / 2 is the middle of the window
        for key, pixel, axis in (("x", dx, 1), ("y", dy, 0)):
            offset = file[f"probe_position_{key}_m"][()] - file["object"].attrs[f"center_{key}_m"]
            middle_px = offset / pixel + scan.object.shape[axis] / 2
            corner = middle_px - scan.window_px[axis] / 2
            np.testing.assert_allclose(corner, CORNERS_PX[:, axis], atol=1e-9)
        assert file["object_layer_spacing_m"].shape == (0,)
        assert file["loss_values"][()].tolist() == [3.0, 2.0]
        assert file["loss_epochs"][()].tolist() == [0, 1]


def foreign_pair(folder, scan, **changes):
    """PtychoViT's minimal pair: no attributes; positions about the object's middle."""
    grid = np.array(scan.object.shape) / 2
    y, x = ((CORNERS_PX + np.array(scan.window_px) / 2 - grid) * scan.object_pixel_m).T
    content = {
        "probe_position_x_m": x,
        "probe_position_y_m": y,
        "probe": scan.probe,
        "object": scan.object,
        **changes,
    }
    with h5py.File(folder / "v_para.hdf5", "w") as file:
        for key, value in content.items():
            if value is not None:
                file[key] = value
    with h5py.File(folder / "v_dp.hdf5", "w") as file:
        file["dp"] = scan.patterns
    return folder / "v_para.hdf5"


STATED = {"energy_eV": ENERGY_EV, "distance_m": DISTANCE_M, "detector_pixel_m": DETECTOR_M}


def test_minimal_pair_asks_for_what_it_lacks(scan, tmp_path):
    path = foreign_pair(tmp_path, scan)
    with pytest.raises(OptionError, match=r"object_center_m \(\(y, x\) of the middle of the obj"):
        formats.read(path, **STATED)
    with pytest.raises(OptionError, match="lacks energy_eV, distance_m, detector_pixel_m: pass"):
        formats.read(path, object_center_m=(0, 0))
    found = formats.read(path, **STATED, object_center_m=(0, 0))
    assert_shows_f(found)
    np.testing.assert_allclose(found.positions_px, CORNERS_PX, atol=1e-9)
    with pytest.raises(DataError, match="outside the object of shape"):
        formats.read(path, **STATED, object_center_m=(1e-6, 0))


def test_frames_are_paired_by_their_indexes(scan, tmp_path):
    path = foreign_pair(tmp_path, scan, probe_position_indexes=np.arange(7)[::-1])
    found = formats.read(path, **STATED, with_object=False)
    np.testing.assert_array_equal(found.patterns, scan.patterns[::-1])
    assert found.provenance["frames_used"] == "7 of 7, by probe_position_indexes"


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"probe_position_x_m": np.zeros(3)}, "of one length, received shapes (7,) and (3,)"),
        (
            {"probe_position_y_m": None},
            "lacks positions: expected one of /probe_position_y_m, received the keys /object, /probe, /probe_position_x_m",
        ),
        (
            {"probe_position_x_m": np.zeros(5), "probe_position_y_m": np.zeros(5)},
            "5 positions for 7 patterns and no probe_position_indexes to pair them",
        ),
        (
            {"probe_position_indexes": np.arange(7) + 1},
            "probe_position_indexes from 1 to 7 do not fit 7 patterns: are these two files of one scan?",
        ),
        (
            {"probe_position_indexes": np.zeros(7)},
            "key '/probe_position_indexes': expected integers (7,), received float64 (7,)",
        ),
        (
            {"probe": np.ones((3, 2, 16, 12), "c8")},
            "expected one coherent probe, received 3 that vary over the scan",
        ),
        ({"object": np.ones((2, 40, 48), "c8")}, "key 'object': expected one layer, received 2"),
        (
            {"object": np.ones((40, 48))},
            "key 'object': expected complex (rows, cols) or (1, rows, cols), received float64 (40, 48)",
        ),
        ({"probe": np.array(b"x")}, "key '/probe': expected numbers, received"),
    ],
)
def test_ptychodus_refuses(scan, tmp_path, changes, message):
    path = foreign_pair(tmp_path, scan, **changes)
    with pytest.raises(DataError, match=re.escape(message)):
        formats.read(path, **STATED, object_center_m=(0, 0))


def test_pair_is_asked_for(scan, tmp_path):
    path = foreign_pair(tmp_path, scan).rename(tmp_path / "other.h5")
    with pytest.raises(OptionError, match=r"pass patterns \(the file with the patterns\)"):
        formats.read(path)
    with pytest.raises(OptionError, match=r"pass product \(the file with the positions and the"):
        formats.read(tmp_path / "v_dp.hdf5")
    with pytest.raises(OptionError, match="pass product or patterns, not both"):
        formats.read(path, product="a", patterns="b")


@pytest.mark.parametrize("names", [("X.h5", "X_dp.h5"), ("X_para.h5", "X_dp.h5")])
def test_the_other_file_is_found_by_its_name(scan, tmp_path, names):
    product, patterns = (tmp_path / name for name in names)
    formats.write(product, scan, patterns=patterns)
    for path in (product, patterns):
        assert_same(formats.read(path), scan, px=1e-9)
    patterns.unlink()
    with pytest.raises(UnstatedError, match=r"without X_dp.h5 beside it: pass patterns") as caught:
        formats.read(product)
    assert caught.value.flags == ("patterns",)


def test_contradictions_are_refused(scan, tmp_path):
    formats.write(tmp_path / "F_para.h5", scan, patterns=tmp_path / "F_dp.h5")
    with pytest.raises(
        DataError, match=r"energy_eV: the file states 8000\.0, received 9000\.0: le"
    ):
        formats.read(tmp_path / "F_para.h5", energy_eV=9000)
    with pytest.raises(DataError, match="object_center_m: the file states"):
        formats.read(tmp_path / "F_para.h5", object_center_m=(0, 0))


def test_product_needs_its_attributes(scan, tmp_path):
    poor = Scan(scan.patterns, scan.positions_px)
    with pytest.raises(DataError, match="the scan lacks probe, energy_eV, distance_m, object_pix"):
        formats.write(tmp_path / "a.h5", poor)
    assert not list(tmp_path.iterdir())
    with pytest.raises(
        OptionError, match=r"expected the ending .npz, .h5, .hdf5, received '\.cxi'"
    ):
        formats.write(tmp_path / "a.cxi", scan)
    with pytest.raises(OptionError, match="format: expected one of npz, ptychodus, received 'cxi'"):
        formats.write(tmp_path / "a.cxi", scan, format="cxi")
    (tmp_path / "file").touch()
    with pytest.raises(RecordError, match="could not write"):
        formats.write(tmp_path / "file" / "a.h5", scan)


def test_product_without_an_object(scan, tmp_path):
    bare = dataclasses.replace(scan, object=None)
    formats.write(tmp_path / "F_para.h5", bare, patterns=tmp_path / "F_dp.h5")
    assert_same(formats.read(tmp_path / "F_para.h5"), bare, px=1e-9)


# CXI


def cxi_file(path, scan, *, raster=False, energy="source", **changes):
    """CXI as the instrument records it: sample translation (x, y, z), y up, joules."""
    joules = ENERGY_EV * 1.602176634e-19
    y, x = scan.positions_m.T
    moved = np.stack([-x, y, np.zeros(7)], axis=1)  # sample: -(x, y); then y upwards: +y
    detector = "entry_1/instrument_1/detector_1"
    data = scan.patterns[None] if raster else scan.patterns
    content = {
        f"{detector}/data": data,
        "entry_1/sample_1/geometry_1/translation": moved[None] if raster else moved,
        f"{detector}/distance": DISTANCE_M,
        f"{detector}/y_pixel_size": DETECTOR_M[0],
        f"{detector}/x_pixel_size": DETECTOR_M[1],
        f"{detector}/mask": (~scan.mask).astype(np.uint32),
        "entry_1/instrument_1/source_1/illumination": scan.probe,
        "entry_1/instrument_1/source_1/energy": joules if energy == "source" else 6e9,
        **changes,
    }
    with h5py.File(path, "w") as file:
        for key, value in content.items():
            if value is not None:
                file[key] = value
        if energy == "beam":
            file["entry_1/definition"] = "NXcxi_ptycho"
            file["entry_1/beam_1/incident_beam_energy"] = ENERGY_EV / 1e3
            file["entry_1/beam_1/incident_beam_energy"].attrs["units"] = "keV"
    return path


ASKED = {"position_frame": "sample", "position_axes": "-y+x", "zero_frequency": "centre"}


@pytest.mark.parametrize("raster", [False, True])
@pytest.mark.parametrize("energy", ["source", "beam"])
def test_cxi(scan, tmp_path, raster, energy):
    path = cxi_file(tmp_path / "F.cxi", scan, raster=raster, energy=energy)
    assert formats.detect(path) == "cxi"
    found = formats.read(path, **ASKED)
    wanted = dataclasses.replace(scan, object=None)
    assert_same(found, wanted, px=1e-9)
    assert_shows_f(found)


@pytest.mark.parametrize(
    "wrong",
    [
        {"position_frame": "probe"},
        {"position_axes": "+y+x"},
        {"position_axes": "-y-x"},
        {"zero_frequency": "corner"},
    ],
)
def test_f_tells_a_wrong_convention(scan, tmp_path, wrong):
    found = formats.read(cxi_file(tmp_path / "F.cxi", scan), **{**ASKED, **wrong})
    if "zero_frequency" in wrong:
        with pytest.raises(AssertionError):
            assert_shows_f(found)
    else:
        assert np.abs(found.positions_px - CORNERS_PX).max() > 5
        with pytest.raises(AssertionError):
            assert_shows_f(found)


def test_f_tells_a_transposed_or_conjugated_object(scan):
    assert_shows_f(scan)
    other = patterns_of(letter_f().conj(), scan.probe)
    assert np.abs(other - scan.patterns).max() > 0.01 * scan.patterns.max()
    mirrored = patterns_of(letter_f()[:, ::-1], scan.probe)
    assert np.abs(mirrored - scan.patterns).max() > 0.01 * scan.patterns.max()


@pytest.mark.parametrize(
    ("key", "units", "factor"),
    [
        ("entry_1/sample_1/geometry_1/translation", "um", 1e6),
        ("entry_1/sample_1/geometry_1/translation", "\N{GREEK SMALL LETTER MU}m", 1e6),
        ("entry_1/instrument_1/detector_1/distance", "mm", 1e3),
        ("entry_1/instrument_1/detector_1/x_pixel_size", "nm", 1e9),
    ],
)
def test_cxi_lengths_have_units(scan, tmp_path, key, units, factor):
    path = cxi_file(tmp_path / "F.cxi", scan)
    with h5py.File(path, "a") as file:
        values = file[key][()]
        del file[key]
        file[key] = values * factor
        file[key].attrs["units"] = units
    wanted = dataclasses.replace(scan, object=None)
    # rounding of the factor: measured 1e-21 m
    assert_same(formats.read(path, **ASKED), wanted, metres=1e-18, px=1e-9)
    with h5py.File(path, "a") as file:
        file[key].attrs["units"] = "furlong"
    with pytest.raises(DataError, match=f"{key}': expected a length in .*the units 'furlong'"):
        formats.read(path, **ASKED)


def test_wrong_units_are_named_before_anything_is_allocated(scan, tmp_path):
    path = cxi_file(tmp_path / "F.cxi", scan)
    key = "entry_1/sample_1/geometry_1/translation"
    with h5py.File(path, "a") as file:
        file[key][...] *= 1e6
    with pytest.raises(DataError, match=r"expected 1 to 100000. Are positions and pixels in metre"):
        formats.read(path, **ASKED)
    path = cxi_file(tmp_path / "G.cxi", scan, **{f"{SOURCE}/energy": None})
    with pytest.raises(DataError, match=rf"is the energy, {ENERGY_EV / 1e3}, in eV\?"):
        formats.read(path, **ASKED, energy_eV=ENERGY_EV / 1e3)


def test_bitshuffle_is_read_when_it_is_allowed(scan, tmp_path):
    hdf5plugin = pytest.importorskip("hdf5plugin")
    path = cxi_file(tmp_path / "F.cxi", scan, **{f"{DETECTOR}/data": None})
    with h5py.File(path, "a") as file:
        file.create_dataset(f"{DETECTOR}/data", data=scan.patterns, **hdf5plugin.Bitshuffle())
    wanted = dataclasses.replace(scan, object=None)
    assert_same(formats.read(path, **ASKED, allow_filters=(32008,)), wanted, px=1e-9)
    found = formats.locate(path, **ASKED, allow_filters=(32008,))
    with h5py.File(path) as file:
        frames = Frames(file[found.key], "centre", found.allow_filters)
        np.testing.assert_array_equal(frames[2:5], scan.patterns[2:5])
        with pytest.raises(DataError, match="filter 32008 .*on the command line --allow-filter 32"):
            Frames(file[found.key])
    for reader in (formats.read, formats.locate):
        with pytest.raises(DataError, match="filter 32008 .*foreign code"):
            reader(path, **ASKED)


def test_cxi_asks_for_all_that_is_open(scan, tmp_path):
    path = cxi_file(tmp_path / "F.cxi", scan)
    with pytest.raises(
        OptionError,
        match=r"position_frame \(sample or probe.*position_axes \(wh"
        r".*zero_frequency \(centre or corner",
    ):
        formats.read(path)
    with pytest.raises(OptionError, match="position_frame: expected one of sample, probe, receive"):
        formats.read(path, **{**ASKED, "position_frame": "stage"})
    with pytest.raises(OptionError, match="format cxi takes no flag axes: expected position_frame"):
        formats.read(path, **ASKED, axes="NHW")


SOURCE = "entry_1/instrument_1/source_1"
DETECTOR = "entry_1/instrument_1/detector_1"


@pytest.mark.parametrize(
    ("changes", "error", "message"),
    [
        (
            {f"{SOURCE}/energy": 8000.0},
            OptionError,
            "is 8000, which is no photon energy in joules: pass energy_eV",
        ),
        (
            {"entry_1/definition": "NXptycho"},
            OptionError,
            "by NXptycho, '/entry_1/instrument_1/source_1/energy' is the machine's energy: pass energy_eV",
        ),
        (
            {"entry_1/beam_1/incident_beam_energy": 8.0},
            OptionError,
            "key '/entry_1/beam_1/incident_beam_energy' has the units '': pass energy_eV",
        ),
        (
            {f"{SOURCE}/energy": None},
            OptionError,
            "the object pixel is not known, as the file lacks energy_eV",
        ),
        (
            {f"{DETECTOR}/data": None},
            DataError,
            "lacks patterns: expected one of /entry_1/data_1/data",
        ),
        (
            {f"{DETECTOR}/data": np.zeros((16, 12))},
            DataError,
            "expected real (N, H, W), received float64 (16, 12)",
        ),
        (
            {f"{DETECTOR}/distance": np.zeros(3)},
            DataError,
            "expected one number, received float64 (3,)",
        ),
        (
            {f"{DETECTOR}/mask": np.zeros((7, 16, 12), int)},
            DataError,
            "expected integers (H, W), 0 for a good pixel, received int64 (7, 16, 12)",
        ),
        (
            {"entry_1/sample_1/geometry_1/translation": np.zeros((7, 2))},
            DataError,
            "expected real (7, 3) (x, y, z in metres), received float64 (7, 2)",
        ),
        ({"entry_1/sample_1/geometry_1/translation": None}, DataError, "lacks translations"),
    ],
)
def test_cxi_refuses(scan, tmp_path, changes, error, message):
    path = cxi_file(tmp_path / "F.cxi", scan, **changes)
    with pytest.raises(error, match=re.escape(message)):
        formats.read(path, **ASKED)
    if "pass energy_eV" in message:
        assert formats.read(path, **ASKED, energy_eV=ENERGY_EV).energy_eV == ENERGY_EV


def test_a_truth_value_is_no_text(scan, tmp_path):
    path = cxi_file(tmp_path / "F.cxi", scan)
    with pytest.raises(OptionError, match="zero_masked: expected true or false, received 'no'"):
        formats.read(path, **ASKED, zero_masked="no")


def test_masked_pixels_are_zeroed_only_when_asked(scan, tmp_path):
    bad = np.where(scan.mask, scan.patterns, -1)
    path = cxi_file(tmp_path / "F.cxi", scan, **{f"{DETECTOR}/data": bad})
    with pytest.raises(DataError, match="received negative values down to -1.0"):
        formats.read(path, **ASKED)
    found = formats.read(path, **ASKED, zero_masked=True)
    np.testing.assert_array_equal(found.patterns, np.where(scan.mask, scan.patterns, 0))
    path = cxi_file(tmp_path / "G.cxi", scan, **{f"{DETECTOR}/mask": None})
    with pytest.raises(OptionError, match="zero_masked: the file has no mask"):
        formats.read(path, **ASKED, zero_masked=True)


@pytest.mark.parametrize("form", ["cxi", "ptyd", "ptychodus"])
def test_a_mask_moves_with_the_patterns(scan, tmp_path, form):
    stored = np.fft.ifftshift(scan.patterns, axes=(1, 2))
    mask = np.fft.ifftshift(scan.mask)
    assert (mask != scan.mask).any()
    asked = {"zero_frequency": "corner"}
    if form == "cxi":
        changes = {f"{DETECTOR}/data": stored, f"{DETECTOR}/mask": (~mask).astype(np.uint32)}
        path, asked = cxi_file(tmp_path / "F.cxi", scan, **changes), {**ASKED, **asked}
    elif form == "ptyd":
        data = {"chunks/2/data": stored[:3], "chunks/10/data": stored[3:]}
        changes = {**data, "info/weight2d": mask.astype(float), "meta/center": None}
        path = ptyd_file(tmp_path / "F.ptyd", scan, **changes)
    else:
        path = tmp_path / "F_para.h5"
        formats.write(path, scan, patterns=tmp_path / "F_dp.h5")
        with h5py.File(tmp_path / "F_dp.h5", "r+") as file:
            file["dp"][:], file["valid_pixels"][:] = stored, mask
    found = formats.read(path, **asked)
    np.testing.assert_array_equal(found.patterns, scan.patterns)
    np.testing.assert_array_equal(found.mask, scan.mask)


# ptypy


def ptyd_file(path, scan, **changes):
    """ptypy: keV, chunks whose names sort otherwise as text, zero frequency where center says."""
    content = {
        "meta/energy": ENERGY_EV / 1e3,
        "meta/distance": DISTANCE_M,
        "meta/psize": DETECTOR_M,
        "meta/center": (8.0, 6.0),
        "meta/propagation": "farfield",
        "info/weight2d": scan.mask.astype(float),
    }
    for name, rows in (("2", [0, 1, 2]), ("10", [3, 4, 5, 6])):
        content[f"chunks/{name}/data"] = scan.patterns[rows]
        content[f"chunks/{name}/positions"] = scan.positions_m[rows]
        content[f"chunks/{name}/indices"] = rows
        content[f"chunks/{name}/weights"] = np.zeros(0)
    with h5py.File(path, "w") as file:
        for key, value in {**content, **changes}.items():
            if value is not None:
                file[key] = value
    return path


def test_ptyd(scan, tmp_path):
    path = ptyd_file(tmp_path / "F.ptyd", scan)
    found = formats.read(path)
    assert formats.detect(path) == "ptyd"
    assert_same(found, dataclasses.replace(scan, object=None, probe=None), px=1e-9)
    assert_shows_f(found)
    corner = {
        f"chunks/{name}/data": np.fft.ifftshift(scan.patterns[rows], axes=(1, 2))
        for name, rows in (("2", slice(0, 3)), ("10", slice(3, 7)))
    }
    for place, flag in (((0, 0), {}), (None, {"zero_frequency": "corner"}), ("fft", {})):
        moved = ptyd_file(tmp_path / "G.ptyd", scan, **corner, **{"meta/center": place})
        assert_shows_f(formats.read(moved, **flag))


def test_ptyd_weights_and_order(scan, tmp_path):
    weights = np.broadcast_to(scan.mask, (3, 16, 12)).astype(float)
    swapped = {"chunks/2/indices": [6, 5, 4], "chunks/10/indices": [3, 2, 1, 0]}
    changes = {"chunks/2/weights": weights, "info/weight2d": None, **swapped}
    found = formats.read(ptyd_file(tmp_path / "F.ptyd", scan, **changes))
    np.testing.assert_array_equal(found.mask, scan.mask)
    np.testing.assert_array_equal(found.patterns, scan.patterns[::-1])
    np.testing.assert_array_equal(found.positions_m, scan.positions_m[::-1])


@pytest.mark.parametrize(
    ("changes", "error", "message"),
    [
        (
            {"meta/center": None},
            OptionError,
            "does not say it, so pass: zero_frequency (centre or corner",
        ),
        (
            {"meta/center": (7.5, 6.0)},
            DataError,
            "center: expected (8, 6) or (0, 0) for patterns of 16 x 12 px, received (7.5, 6.0)",
        ),
        (
            {"meta/propagation": "nearfield"},
            DataError,
            "propagation: expected farfield, received 'nearfield'",
        ),
        (
            {"meta/energy": None},
            OptionError,
            "the file lacks energy_eV: pass energy_eV, or object_pixel_m",
        ),
        ({"chunks/x/data": np.zeros(1)}, DataError, "chunks: expected integers as names, received"),
        (
            {"chunks/2/positions": np.zeros((3, 3))},
            DataError,
            "/chunks/2: expected data (M, H, W) and positions (M, 2), received (3, 16, 12) and (3, 3)",
        ),
        (
            {"chunks/2/data": np.zeros((3, 8, 8))},
            DataError,
            "chunks have patterns of different shapes",
        ),
        (
            {"chunks/2/indices": [3, 1, 2]},
            DataError,
            "chunks: indices repeat, or are not one a frame",
        ),
        (
            {"chunks/2/weights": np.eye(12)},
            DataError,
            "weights: expected shape (3, 16, 12) or (16, 12), received (12, 12)",
        ),
        (
            {"chunks/2/weights": np.arange(576).reshape(3, 16, 12)},
            DataError,
            "weights differ between frames: one mask for the scan",
        ),
        (
            {"chunks/2/weights": np.ones((16, 12)), "chunks/10/weights": np.zeros((16, 12))},
            DataError,
            "chunks have different weights: one mask is expected",
        ),
    ],
)
def test_ptyd_refuses(scan, tmp_path, changes, error, message):
    with pytest.raises(error, match=re.escape(message)):
        formats.read(ptyd_file(tmp_path / "F.ptyd", scan, **changes))


def test_ptyd_contradiction_and_no_chunk(scan, tmp_path):
    path = ptyd_file(tmp_path / "F.ptyd", scan)
    with pytest.raises(DataError, match="zero_frequency: the file states centre, received corner"):
        formats.read(path, zero_frequency="corner")
    with h5py.File(tmp_path / "e.ptyd", "w") as file:
        file.create_group("chunks")
    with pytest.raises(DataError, match="expected a group 'chunks' with frames, received none"):
        formats.read(tmp_path / "e.ptyd")


# what no file may do


def test_links_out_of_the_file_are_refused(scan, tmp_path):
    path = ptyd_file(tmp_path / "F.ptyd", scan)
    with h5py.File(tmp_path / "L.ptyd", "w") as file:
        file["chunks"] = h5py.ExternalLink(str(path), "/chunks")
        file["meta"] = h5py.SoftLink("/other")
        file["circle"] = h5py.SoftLink("/circle")
    with pytest.raises(DataError, match="key '/chunks' is an external link to .* is not followed"):
        formats.read(tmp_path / "L.ptyd")
    assert [row[0] for row in formats.tree(tmp_path / "L.ptyd")] == ["/chunks", "/circle", "/meta"]
    with h5py.File(tmp_path / "S.ptyd", "w") as file:
        file["chunks"] = h5py.SoftLink("/chunks")
    with pytest.raises(DataError, match="key '/chunks': soft links go in a circle"):
        formats.read(tmp_path / "S.ptyd")


def test_soft_links_inside_the_file_are_followed(scan, tmp_path):
    path = cxi_file(tmp_path / "F.cxi", scan)
    with h5py.File(path, "a") as file:
        file.move(f"{DETECTOR}/data", "/raw/frames")
        file[f"{DETECTOR}/data"] = h5py.SoftLink("../../../raw/frames")
    assert_shows_f(formats.read(path, **ASKED))


def test_values_in_other_files_are_refused(scan, tmp_path):
    path = cxi_file(tmp_path / "F.cxi", scan)
    layout = h5py.VirtualLayout((7, 16, 12), "f4")
    layout[:] = h5py.VirtualSource(str(path), f"/{DETECTOR}/data", (7, 16, 12))
    for name in ("virtual", "external"):
        other = cxi_file(tmp_path / f"{name}.cxi", scan, **{f"{DETECTOR}/data": None})
        with h5py.File(other, "a") as file:
            if name == "virtual":
                file.create_virtual_dataset(f"{DETECTOR}/data", layout)
            else:
                outside = [(str(tmp_path / "raw.bin"), 0, 7 * 16 * 12 * 4)]
                file.create_dataset(f"{DETECTOR}/data", (7, 16, 12), "f4", external=outside)
        with pytest.raises(DataError, match="/data' lie in another file .* is not followed"):
            formats.read(other, **ASKED)


def test_hdf5_that_declares_too_much_is_refused(tmp_path, scan):
    path = cxi_file(tmp_path / "F.cxi", scan, **{f"{DETECTOR}/data": None})
    with h5py.File(path, "a") as file:  # chunks that were never written take no space
        file.create_dataset(f"{DETECTOR}/data", (10**6, 512, 512), "u2", chunks=(1, 512, 512))
    with pytest.raises(DataError, match=r"declares the shape \(1000000, 512, 512\), which makes "):
        formats.read(path, **ASKED)


def test_files_that_are_nothing(tmp_path):
    (tmp_path / "a.h5").write_bytes(b"nothing")
    (tmp_path / "a.npz").write_bytes(b"PK\x03\x04nothing")
    with h5py.File(tmp_path / "b.h5", "w") as file:
        file["something"] = 1.0
    with pytest.raises(DataError, match=r"a\.h5 cannot be read as HDF5"):
        formats.detect(tmp_path / "a.h5")
    with pytest.raises(DataError, match=r"a\.npz cannot be read as npz"):
        formats.read(tmp_path / "a.npz")
    with pytest.raises(DataError, match="received the keys /something"):
        formats.detect(tmp_path / "b.h5")
    with pytest.raises(DataError, match=r"c\.h5 does not exist: check the path"):
        formats.tree(tmp_path / "c.h5")
    with pytest.raises(OptionError, match="format: expected one of npz, ptychodus, cxi, ptyd, rec"):
        formats.read(tmp_path / "b.h5", format="mat")


def test_tree(scan, tmp_path):
    formats.write(tmp_path / "scan.npz", scan)
    assert ("patterns", (7, 16, 12), "float32") in formats.tree(tmp_path / "scan.npz")
    rows = formats.tree(cxi_file(tmp_path / "F.cxi", scan))
    assert (f"/{DETECTOR}/data", (7, 16, 12), "float32") in rows
    assert ("/entry_1", None, "group") in rows
    assert formats.flags("cxi")["position_frame"] is None


def test_import_is_light_and_flags_are_documented():
    code = "import sys, ppn_tf.data.formats\nassert not {'keras', 'tensorflow', 'jax'} & set(sys.modules)"
    subprocess.run([sys.executable, "-c", code], check=True, timeout=60)
    page = Path(__file__).parents[2].joinpath("docs", "conventions.md").read_text(encoding="utf-8")
    missing = [name for form in formats.READERS for name in formats.flags(form) if name not in page]
    assert not missing


def test_zero_frequency_moves_to_the_centre_pixel_of_odd_sides():
    corner = np.zeros((1, 5, 4))
    corner[0, 0, 0] = 1
    assert np.argwhere(memory.counts(corner, "corner", "x")).tolist() == [[0, 2, 2]]


def test_ptyd_chunks_without_indices_follow_their_numbers(scan, tmp_path):
    plain = {"chunks/2/indices": None, "chunks/10/indices": None}
    found = formats.read(ptyd_file(tmp_path / "F.ptyd", scan, **plain))
    np.testing.assert_array_equal(found.patterns, scan.patterns)


def test_an_unstated_error_names_its_flags_also_in_another_process():
    from ppn_tf.data.formats import memory
    from ppn_tf.errors import UnstatedError

    with pytest.raises(UnstatedError) as caught:
        memory.ask(
            "a.npz", order=(None, "C or F"), origin=("corner", "where"), sign=(None, "+ or -")
        )
    for error in (caught.value, pickle.loads(pickle.dumps(caught.value))):
        assert error.flags == ("order", "sign")
        assert str(error) == "a.npz does not say it, so pass: order (C or F); sign (+ or -)"
