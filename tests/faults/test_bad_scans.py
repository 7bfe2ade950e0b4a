"""Scans as they should not be: each is refused by name, or kept as it is."""

import io
import struct
import zipfile

import h5py
import numpy as np
import pytest
from fuzzing import KNOWN, scan
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from ppn_tf import kerasfile, npzfile, tiff, yamlfile
from ppn_tf.data import Dataset, formats
from ppn_tf.data.formats import Scan, hdf5
from ppn_tf.errors import DataError, PpnError

FLOATS = st.one_of(
    st.sampled_from([0.0, -0.0, 1.0, -1.0, 65535.0, 3e38, np.nan, np.inf, -np.inf, 1e-40]),
    st.floats(0, 100, width=32),
)
SIDES = st.integers(0, 5)
#: Ends a search that takes too long on a busy machine.
QUICK = settings(
    max_examples=150, deadline=None, suppress_health_check=list(HealthCheck), derandomize=True
)


@st.composite
def fields(draw):
    """Fields of a scan, of which any may be wrong."""
    count, height, width = draw(SIDES), draw(SIDES), draw(SIDES)

    def drawn(shape, dtype, elements=FLOATS):
        values = draw(arrays.arrays(np.float64, shape, elements=elements))
        return values.astype(dtype)

    # a wrong size now and then
    off = draw(st.sampled_from([0, 0, 0, 1]))
    found = {
        "patterns": drawn((count, height, width), np.float32),
        "positions_px": drawn((count + off, 2), np.float64),
    }
    if draw(st.booleans()):
        found["probe"] = drawn((1, height, width + draw(st.sampled_from([0, 0, 1]))), np.complex64)
    if draw(st.booleans()):
        found["object"] = drawn((draw(SIDES), draw(SIDES)), np.complex64)
    if draw(st.booleans()):
        found["mask"] = drawn((height, width), bool)
    if draw(st.booleans()):
        found |= {key: draw(FLOATS) for key in KNOWN}
    return found


@QUICK
@given(fields())
def test_a_scan_is_sound_or_refused(values):
    with np.errstate(all="ignore"):
        try:
            found = Scan(**values)
        except PpnError:
            return
    assert np.isfinite(found.patterns).all()
    assert (found.patterns >= 0).all()
    assert found.positions_px.shape == (len(found.patterns), 2)
    assert np.isfinite(found.positions_px).all()
    if found.object is not None:
        end = found.positions_px + found.window_px
        assert (end <= np.array(found.object.shape) + 1).all()


@QUICK
@given(fields())
def test_a_data_set_is_sound_or_refused(values):
    patterns = values["patterns"]
    with np.errstate(all="ignore"):
        try:
            found = Dataset(patterns, patterns, patterns, values["positions_px"], None, (5, 5))
        except PpnError:
            return
    assert np.isfinite(found.patterns).all()
    assert (found.patterns >= 0).all()
    assert len(found) == len(found.positions_px) > 0


def changed(name, value, **more):
    """A scan of which one field is another."""
    content = {key: getattr(scan(), key) for key in ("patterns", "positions_px", "probe", "object")}
    return Scan(**(content | {name: value} | more))


def with_pixel(value):
    patterns = scan().patterns.copy()
    patterns[1, 2, 3] = value
    return patterns


@pytest.mark.parametrize(
    ("name", "value", "message"),
    [
        ("patterns", with_pixel(np.nan), "patterns holds NaN or infinite values"),
        ("patterns", with_pixel(np.inf), "patterns holds NaN or infinite values"),
        ("patterns", with_pixel(-1), "must be counts, received negative values down to -1"),
        ("patterns", np.zeros((0, 8, 8), np.float32), "patterns are empty"),
        ("patterns", np.zeros((4, 8, 0), np.float32), "patterns are empty"),
        ("positions_px", scan().positions_px[:3], "expected float64 (4, 2), received"),
        ("positions_px", scan().positions_px + 5, "outside the object of shape (11, 11)"),
        ("positions_px", scan().positions_px * np.nan, "positions_px holds NaN or infinite"),
        ("probe", np.ones((1, 6, 6), np.complex64), "expected complex64 (any, 8, 8), received"),
    ],
)
def test_what_is_refused(name, value, message, tried):
    with pytest.raises(DataError) as refused:
        changed(name, value)
    assert message in str(refused.value)
    tried("bad scans", f"{name}: {message}", refused=1)


@pytest.mark.parametrize(
    "patterns",
    [
        # a saturated and a dead pixel are counts: the mask says what they are worth
        with_pixel(4294967295.0),
        with_pixel(0),
        np.zeros((4, 8, 8), np.float32),
        np.full((4, 8, 8), 65535, np.float32),
    ],
    ids=["saturated pixel", "dead pixel", "dark", "all saturated"],
)
def test_what_is_kept(patterns, tmp_path):
    found = changed("patterns", patterns)
    formats.write(tmp_path / "a.npz", found)
    np.testing.assert_array_equal(formats.read(tmp_path / "a.npz").patterns, patterns)


def test_one_position_and_windows_that_are_not_square(tmp_path):
    rng = np.random.default_rng(0)
    found = Scan(
        patterns=rng.poisson(5, (1, 6, 9)).astype(np.float32),
        positions_px=np.zeros((1, 2)),
        probe=np.ones((2, 6, 9), np.complex64),
        **KNOWN,
    )
    formats.write(tmp_path / "a.npz", found)
    formats.write(tmp_path / "b_para.h5", found, patterns=tmp_path / "b_dp.h5")
    for path in ("a.npz", "b_para.h5"):
        again = formats.read(tmp_path / path)
        np.testing.assert_array_equal(again.patterns, found.patterns)
        np.testing.assert_allclose(again.positions_px, 0, atol=1e-9)


# --- files made to harm ---


def test_a_member_cannot_leave_the_archive(tmp_path, tried):
    """Nothing is unpacked to a file, whatever members are called."""
    np.savez(tmp_path / "a.npz", a=np.arange(3))
    with zipfile.ZipFile(tmp_path / "a.npz", "a") as archive:
        archive.write(tmp_path / "a.npz", "../../out.txt")
        stream = io.BytesIO()
        np.save(stream, np.arange(2))
        archive.writestr("../out.npy", stream.getvalue())
    before = sorted(tmp_path.parent.iterdir())
    assert sorted(npzfile.read(tmp_path / "a.npz")) == ["../out", "a"]
    assert sorted(tmp_path.parent.iterdir()) == before
    assert [path.name for path in tmp_path.iterdir()] == ["a.npz"]
    (tmp_path / "a.npz").rename(tmp_path / "a.keras")
    with pytest.raises(DataError, match=r"expected the members config.json.*received ../../out"):
        kerasfile.check(tmp_path / "a.keras")
    tried("hostile", "members that point out of the archive", cases=2)


def test_a_pickle_is_never_opened(tmp_path, tried):
    np.savez(tmp_path / "a.npz", a=np.array([{}], dtype=object))
    with pytest.raises(DataError, match="key 'a' holds pickled objects, which can run code"):
        npzfile.read(tmp_path / "a.npz")
    tried("hostile", "a pickle in npz", cases=1)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("!!python/object/apply:os.system [true]", "could not determine a constructor"),
        ("a: &x [1]\nb: *x", "references (*name) are not read"),
        ("[" * 100 + "]" * 100, "deeper than 32 levels"),
        ("2001-99-99", "month must be in 1..12"),
        ("\x00", "special characters are not allowed"),
        ("9" * 5000, "digits"),
    ],
)
def test_yaml_that_is_no_plain_value(tmp_path, tried, text, message):
    (tmp_path / "a.yaml").write_text(text)
    with pytest.raises(DataError) as refused:
        yamlfile.read(tmp_path / "a.yaml")
    assert message in str(refused.value)
    tried("hostile", f"YAML: {message}", cases=1)


def test_a_yaml_file_that_is_too_large(tmp_path, tried):
    (tmp_path / "a.yaml").write_bytes(b" " * (yamlfile.LIMIT_BYTES + 1))
    with pytest.raises(DataError, match="expected at most 4194304 bytes, received 4194305"):
        yamlfile.read(tmp_path / "a.yaml")
    tried("hostile", "YAML above its limit", cases=1)


def test_a_tiff_that_declares_more_than_it_holds(tmp_path, tried):
    import tifffile

    tifffile.imwrite(tmp_path / "a.tiff", np.ones((8, 8), np.float32))
    content = bytearray((tmp_path / "a.tiff").read_bytes())
    # tag 257, the number of rows, of type LONG, one value: 8
    for kind in (3, 4):
        at = content.find(struct.pack("<HHI", 257, kind, 1))
        if at >= 0:
            content[at + 8 : at + 12] = struct.pack("<I", 8000)
            break
    (tmp_path / "a.tiff").write_bytes(content)
    with pytest.raises(DataError, match="256000 bytes, and holds 256: it is truncated"):
        tiff.read(tmp_path / "a.tiff")
    with pytest.raises(DataError, match="expected at most 1000"):
        tiff.read(tmp_path / "a.tiff", limit_bytes=1000)
    tried("hostile", "a TIFF that declares more than it holds", cases=2)


def test_hdf5_filters_that_are_foreign_code(tmp_path, tried):
    path = tmp_path / "a.cxi"
    with h5py.File(path, "w") as file:
        # number 6 rounds to so many digits; it comes with HDF5, and is not read unasked
        space, kind = h5py.h5s.create_simple((4, 8, 8)), h5py.h5t.NATIVE_FLOAT
        creation = h5py.h5p.create(h5py.h5p.DATASET_CREATE)
        creation.set_chunk((1, 8, 8))
        creation.set_filter(6, h5py.h5z.FLAG_OPTIONAL, (0, 0))
        group = file.create_group("entry_1/data_1")
        h5py.h5d.create(group.id, b"data", kind, space, creation)
    flags = {"position_frame": "probe", "position_axes": "+y+x", "zero_frequency": "centre"}
    with pytest.raises(DataError, match=r"filter 6 .*foreign code: pass allow_filters=\(6,\)"):
        formats.read(path, **flags)
    with pytest.raises(DataError, match="lacks translations"):
        formats.read(path, allow_filters=(6,), **flags)
    tried("hostile", "HDF5 filters that are foreign code", cases=1)


def test_hdf5_chunks_beyond_the_limit(tmp_path, tried):
    path = tmp_path / "a.cxi"
    with h5py.File(path, "w") as file:
        file.create_dataset(
            "entry_1/data_1/data", (1, 8, 8), "f4", chunks=(1024, 128, 128), maxshape=(None,) * 3
        )
    flags = {"position_frame": "probe", "position_axes": "+y+x", "zero_frequency": "centre"}
    with pytest.raises(DataError, match=r"\(chunk\) declares the shape \(1024, 128, 128\)"):
        formats.read(path, memory_limit_gib=0.01, **flags)
    tried("hostile", "HDF5 chunks above the limit", cases=1)


def test_hdf5_attributes_that_are_large(tmp_path, tried):
    with h5py.File(tmp_path / "a.h5", "w", libver="latest") as file:
        file.attrs["name"] = np.zeros(2**18)
        with pytest.raises(DataError, match="attribute 'name' of '/': expected a number or a tex"):
            hdf5.attribute(file, "name")
    tried("hostile", "HDF5 attributes above the limit", cases=1)
