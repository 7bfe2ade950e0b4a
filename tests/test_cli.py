"""The commands as a user calls them: results, pictures, JSON, exit status, every refusal."""

import dataclasses
import json
import re

import by_hand
import h5py
import numpy as np
import pytest
from commands import answer, call, refused

from ppn_tf import cli, data
from ppn_tf.data import formats
from ppn_tf.data.formats import starts

PNG = b"\x89PNG"


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    path = tmp_path_factory.mktemp("model") / "by_hand.keras"
    by_hand.network().save(path)
    return path


@pytest.fixture
def scan(tmp_path):
    path = tmp_path / "scan.npz"
    formats.write(path, by_hand.scan())
    return path


@pytest.mark.parametrize("command", [name for name in cli.COMMANDS if name != "refine"])
def test_help_has_an_example(command, capsys):
    with pytest.raises(SystemExit) as ended:
        call(command, "--help")
    assert ended.value.code == 0
    text = capsys.readouterr().out
    assert "Example:" in text
    assert f"\n  ppn-tf {command} " in text
    assert "--json" in text


# inspect


def test_inspect_a_readable_file(scan, tmp_path, capsys):
    values = answer(capsys, "inspect", scan, "--picture", tmp_path / "look.png")
    assert values["format"] == "npz"
    assert values["scan"]["patterns"] == [30, 8, 8]
    assert values["scan"]["missing"].keys() == {"object", "mask"}
    roles = {row["name"]: row["role"] for row in values["tree"]}
    assert roles["patterns"] == "patterns"
    assert roles["probe"] == "probe"
    assert roles["positions_px"] == "positions"
    assert values["files"] == [str(tmp_path / "look.png")]
    assert (tmp_path / "look.png").read_bytes().startswith(PNG)
    assert call("inspect", scan) == 0
    text = capsys.readouterr().out
    assert re.search(r"\n  patterns +30 x 8 x 8 +float32  <- patterns\n", text)
    assert "object pixel: 2e-08 x 4e-08 m" in text


def test_inspect_names_the_flags_that_are_missing(tmp_path, capsys):
    """A CXI file says neither where zero frequency lies nor whose the positions are."""
    path = tmp_path / "scan.cxi"
    with h5py.File(path, "w") as file:
        file["/entry_1/data_1/data"] = np.ones((3, 8, 8), np.uint16)
        file["/entry_1/data_1/translation"] = np.zeros((3, 3))
        file["/entry_1/instrument_1/source_1/energy"] = 1.6e-15
    values = answer(capsys, "inspect", path, "--picture", tmp_path / "raw.png")
    assert (values["format"], values["scan"]) == ("cxi", None)
    for flag in (
        "zero_frequency",
        "position_frame",
        "position_axes",
        "--flag position_frame=VALUE",
    ):
        assert flag in values["open"]
    roles = {row["name"]: row["role"] for row in values["tree"]}
    assert roles["/entry_1/data_1/data"] == "patterns"
    assert roles["/entry_1/data_1/translation"] == "positions"
    assert roles["/entry_1/instrument_1/source_1/energy"] == "energy"
    assert (tmp_path / "raw.png").read_bytes().startswith(PNG)
    assert call("inspect", path) == 0
    assert "not readable yet:" in capsys.readouterr().out


def test_inspect_a_file_of_no_known_format(tmp_path, capsys):
    path = tmp_path / "other.h5"
    with h5py.File(path, "w") as file:
        file["frames"] = np.ones((3, 9, 9), np.float32)
        file["name"] = "text"
    values = answer(capsys, "inspect", path)
    assert values["format"] is None
    assert "expected the keys of one of npz" in values["open"]
    assert [row["role"] for row in values["tree"]] == ["patterns?", ""]
    with h5py.File(path, "w") as file:
        file["a"] = np.ones(3)
    assert "nothing to draw" in refused(capsys, "inspect", path, "--picture", tmp_path / "x.png")


def test_inspect_refuses(tmp_path, scan, capsys):
    (tmp_path / "notes.txt").write_text("no data")
    assert "cannot be read as HDF5" in refused(capsys, "inspect", tmp_path / "notes.txt")
    assert "does not exist" in refused(capsys, "inspect", tmp_path / "gone.h5")
    assert "a picture ends in .png" in refused(
        capsys, "inspect", scan, "--picture", tmp_path / "look.txt"
    )
    assert "--flag expects NAME=VALUE" in refused(capsys, "inspect", scan, "--flag", "x")


# fetch


def test_fetch_lists_and_finds(data_dir, capsys):
    rows = answer(capsys, "fetch", "--list")["available"]
    assert {"name", "sha256", "url", "licence"} <= rows[0].keys()
    values = answer(capsys, "fetch")
    assert list(values["paths"]) == [
        "ltem/design_amp.tiff",
        "ltem/design_tphi.tiff",
        "probe/pxy_probe1000.npy",
    ]
    assert call("fetch", "--list") == 0
    assert "no public address" in capsys.readouterr().out


def test_fetch_refuses(tmp_path, monkeypatch, capsys):
    monkeypatch.setenv("PPN_TF_DATA", str(tmp_path))
    monkeypatch.setenv("PPN_TF_OFFLINE", "1")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    assert "unknown public file 'x'" in refused(capsys, "fetch", "x")
    assert "PPN_TF_OFFLINE=1 forbids" in refused(capsys, "fetch")


# simulate


def test_simulate_an_object_of_ones_own(tmp_path, capsys):
    """Compared with the forward model itself."""
    rows, cols = np.indices((24, 32))
    obj = (1 - 0.5 * (rows > cols)) * np.exp(0.02j * cols)
    np.save(tmp_path / "object.npy", obj)
    probe = data.stand_in_probe(16)
    np.save(tmp_path / "probe.npy", probe)
    source = ("--object", tmp_path / "object.npy", "--probe", tmp_path / "probe.npy")
    values = answer(capsys, "simulate", *source, "--overlap", 0.5, "-o", tmp_path / "sim.npz")
    assert (values["step_px"], values["grid_shape"]) == (8, [2, 3])
    scan = formats.read(tmp_path / "sim.npz")
    expected = data.simulate(obj.astype(np.complex64), probe, scan.positions_px.astype(int))
    np.testing.assert_allclose(scan.patterns, expected, rtol=1e-4, atol=1e-3)
    np.testing.assert_allclose(scan.object, obj, atol=1e-6)
    assert scan.provenance["written_from"]["step_px"] == 8


def test_simulate_with_all_modes_of_a_product(tmp_path, capsys):
    formats.write(tmp_path / "known.h5", by_hand.scan())
    grey = np.random.default_rng(0).random((16, 16))
    np.save(tmp_path / "grey.npy", grey)
    geometry = ("--energy-ev", 8000, "--distance-m", 1, "--object-pixel-m", 1e-8)
    values = answer(
        capsys,
        "simulate",
        "--object",
        tmp_path / "grey.npy",
        "--probe",
        tmp_path / "known.h5",
        *geometry,
        "--noise",
        "poisson-only",
        "-o",
        tmp_path / "sim_para.h5",
    )
    assert values["files"] == [str(tmp_path / "sim_para.h5"), str(tmp_path / "sim_dp.h5")]
    scan = formats.read(tmp_path / "sim_para.h5")
    assert scan.probe.shape == (2, 8, 8)
    assert scan.object_pixel_m == (1e-8, 1e-8)
    assert set(np.unique(np.abs(scan.object)).round(6)) == {0.5, 1.0}
    (tmp_path / "sim_para.h5").unlink()
    assert "sim_dp.h5 is there already: pass --force" in refused(
        capsys,
        "simulate",
        "--object",
        tmp_path / "grey.npy",
        "--probe",
        tmp_path / "known.h5",
        *geometry,
        "-o",
        tmp_path / "sim_para.h5",
    )
    np.testing.assert_array_equal(scan.patterns, np.round(scan.patterns))


def test_simulate_refuses(tmp_path, scan, capsys):
    out = ("-o", tmp_path / "sim.npz")
    np.save(tmp_path / "flat.npy", np.ones((9, 9)))
    np.save(tmp_path / "line.npy", np.ones(9))
    (tmp_path / "text.npy").write_text("no array")
    np.savez(tmp_path / "empty.npz", a=1)
    stand_in = ("--object", "stand-in", "--probe", "stand-in")
    for words, message in (
        (("--object", "gone", *out), "--object expects a file or one of ltem"),
        (("--object", tmp_path / "flat.npy", *out), "the picture is plain"),
        (("--object", tmp_path / "line.npy", *out), "expected a finite grey picture"),
        (("--object", tmp_path / "text.npy", *out), "cannot be read"),
        ((*stand_in[:2], "--probe", "gone", *out), "--probe expects a file or one of ltem"),
        ((*stand_in[:2], "--probe", tmp_path / "flat.npy", *out), "expected complex"),
        ((*stand_in[:2], "--probe", tmp_path / "text.npy", *out), "cannot be read"),
        ((*stand_in[:2], "--probe", tmp_path / "empty.npz", *out), "holds no probe"),
        ((*stand_in, "-o", tmp_path / "sim.h5"), "pass --energy-ev VALUE --distance-m VALUE"),
        ((*stand_in, "-o", tmp_path / "sim.txt"), "expects the ending"),
        ((*stand_in, "-o", scan), "pass --force"),
        ((*stand_in, "--overlap", 1, *out), "overlap must be"),
        ((*stand_in, "--noise", "loud", *out), "unknown noise model"),
    ):
        assert message in refused(capsys, "simulate", *words), words
    assert not (tmp_path / "sim.npz").exists()


# reconstruct


def test_reconstruct_writes_a_product_that_holds_all_of_its_contract(scan, model, tmp_path, capsys):
    """Key by key, as a program that knows nothing of this one reads it."""
    out = tmp_path / "product.h5"
    values = answer(
        capsys,
        "reconstruct",
        scan,
        "--model",
        model,
        "-o",
        out,
        "--picture",
        tmp_path / "object.png",
        "--gpu",
        "cpu",
    )
    assert values["patterns"] == 30
    assert values["coverage"] == 1
    assert values["r_factor_empty"] > 0
    assert values["files"] == [str(out), str(tmp_path / "object.png")]
    assert (tmp_path / "object.png").read_bytes().startswith(PNG)
    known = by_hand.scan()
    with h5py.File(out) as file:
        assert file.attrs["name"] == "product"
        assert isinstance(file.attrs["comments"], str)
        assert file.attrs["detector_object_distance_m"] == 1
        assert file.attrs["probe_energy_eV"] == 8000
        assert file.attrs["exposure_time_s"] == 0
        assert file.attrs["probe_photon_count"] == pytest.approx(
            known.patterns.sum(axis=(1, 2)).max(), rel=1e-6
        )
        np.testing.assert_array_equal(file["probe_position_indexes"], np.arange(30))
        assert file["probe"].shape == (1, 2, 8, 8)
        assert file["probe"].dtype == np.complex64
        for name in ("probe", "object"):
            assert file[name].attrs["pixel_height_m"] == by_hand.PIXEL_M
            assert file[name].attrs["pixel_width_m"] == 2 * by_hand.PIXEL_M
        assert file["object"].shape == (1, 24, 28)
        np.testing.assert_allclose(file["object"][0], by_hand.expected(), atol=1e-6)
        assert file["object_layer_spacing_m"].shape == (0,)
        assert len(file["loss_epochs"]) == len(file["loss_values"]) == 0
        # a window's corner, from its centre and the object's, as ptychodus computes it
        for axis, (name, size) in enumerate((("y", "height"), ("x", "width"))):
            pixel = file["object"].attrs[f"pixel_{size}_m"]
            centre = file["object"].attrs[f"center_{name}_m"]
            middle = (file[f"probe_position_{name}_m"][:] - centre) / pixel
            corner = middle + file["object"].shape[1 + axis] / 2 - 4
            np.testing.assert_allclose(corner, known.positions_px[:, axis], atol=1e-9)
        provenance = json.loads(file.attrs["ppn_tf_provenance"])
    assert provenance["model"] == "by_hand.keras"
    assert provenance["fit"]["crop_px"] == [8, 8]


def test_reconstruct_crops_and_lies_over_the_scan(scan, model, tmp_path, capsys):
    """An object of larger pixels goes back to its place: read by `refine` and `evaluate`."""
    wide = by_hand.scan()
    patterns = np.pad(wide.patterns, ((0, 0), (4, 4), (4, 4)))
    probe = np.ones((1, 16, 16), np.complex64)
    pixel = (by_hand.PIXEL_M / 2, by_hand.PIXEL_M)
    large = dataclasses.replace(
        wide,
        patterns=patterns,
        positions_px=2 * wide.positions_px,
        positions_m=None,
        probe=probe,
        detector_pixel_m=None,
        object_pixel_m=pixel,
    )
    formats.write(tmp_path / "large.npz", large)
    out = tmp_path / "small.h5"
    command = ("reconstruct", tmp_path / "large.npz", "--model", model, "-o", out)
    assert "pass --crop 8 (the same window, larger pixels) or --bin 2" in refused(capsys, *command)
    answer(capsys, *command, "--crop", 8)
    start = starts.read(out)
    np.testing.assert_allclose(start.field, by_hand.expected(), atol=1e-6)
    np.testing.assert_allclose(start.pixel_m, (by_hand.PIXEL_M, 2 * by_hand.PIXEL_M))
    field, corners = starts.place(start, large)
    np.testing.assert_array_equal(corners, large.positions_px)
    # bilinear between larger pixels: inside the F, away from edges, nothing changes
    np.testing.assert_allclose(field[12, 15], by_hand.expected()[6, 7], atol=5e-3)


def test_reconstruct_turns_patches_of_their_own_zero(scan, tmp_path, capsys):
    by_hand.network(zero="light").save(tmp_path / "light.keras")
    command = ("reconstruct", scan, "--model", tmp_path / "light.keras", "-o", tmp_path / "o.npz")
    assert answer(capsys, *command)["remarks"] == []
    mean = by_hand.expected().mean()
    # float32 network, complex64 file: measured 2e-7
    np.testing.assert_allclose(
        formats.read(tmp_path / "o.npz").object,
        by_hand.expected() * np.conj(mean) / abs(mean),
        atol=1e-5,
    )
    known = by_hand.scan()
    ends = np.isin(np.arange(len(known.patterns)), (0, len(known.patterns) - 1))
    two = dataclasses.replace(
        known,
        patterns=known.patterns[ends],
        positions_px=known.positions_px[ends],
        positions_m=None,
    )
    formats.write(tmp_path / "two.npz", two)
    words = ("--model", tmp_path / "light.keras", "-o", tmp_path / "p.npz")
    values = answer(capsys, "reconstruct", tmp_path / "two.npz", *words)
    assert "falls into 2 parts that do not overlap" in values["remarks"][0]


def test_reconstruct_by_a_span_writes_on_the_pixels_of_the_scan(scan, model, tmp_path, capsys):
    """Patterns of 16 px in blocks of 2; patches of all 16 object pixels, 2 px a pixel."""
    known = by_hand.scan()
    large = dataclasses.replace(
        known,
        patterns=np.kron(known.patterns, np.full((2, 2), 0.25, np.float32)),
        positions_px=2 * known.positions_px,
        positions_m=None,
        probe=np.ones((1, 16, 16), np.complex64),
        detector_pixel_m=None,
    )
    formats.write(tmp_path / "large.npz", large)
    words = ("--model", model, "--bin", 2, "--span", 16, "-o", tmp_path / "o.npz")
    values = answer(capsys, "reconstruct", tmp_path / "large.npz", *words)
    found = formats.read(tmp_path / "o.npz")
    assert found.object.shape == (48, 56)
    np.testing.assert_array_equal(found.patterns, large.patterns)
    assert found.provenance["written_from"]["fit"]["span_px"] == 16
    # bilinear between pixels twice as large: their middle
    rows, cols = (np.arange(1, side - 1, 2) for side in (48, 56))
    middle = found.object[np.ix_(rows, cols)]
    wanted = by_hand.expected()
    wanted = (
        9 * wanted[:-1, :-1] + 3 * wanted[1:, :-1] + 3 * wanted[:-1, 1:] + wanted[1:, 1:]
    ) / 16
    # float32 network, complex64 file: measured 2e-7
    np.testing.assert_allclose(middle, wanted, atol=1e-5)
    assert values["object_shape"] == [48, 56]


def test_reconstruct_says_where_training_handled_patterns_otherwise(scan, model, tmp_path, capsys):
    own = tmp_path / "own.keras"
    own.write_bytes(model.read_bytes())
    command = ("reconstruct", scan, "--model", own, "-o", tmp_path / "o.npz", "--force")
    record = tmp_path / "own.keras.json"
    for text, remarks in (
        ("damaged", []),
        ('{"settings": {"crop_px": null, "bin_px": 1, "span_px": null}}', []),
        ('{"settings": {"crop_px": [64], "bin_px": 1}}', ["--crop was [64] in training"]),
        ('{"settings": {"bin_px": 1, "object_pixel_m": [2e-8, 4.01e-8]}}', []),
        (
            '{"settings": {"bin_px": 1, "object_pixel_m": [2e-8, 2e-8]}}',
            ["the object pixel was [2e-08, 2e-08] m in training"],
        ),
    ):
        record.write_text(text)
        found = answer(capsys, *command)["remarks"]
        assert len(found) == len(remarks)
        assert all(begin in one for begin, one in zip(remarks, found, strict=True))
    # one number stands for both sides
    record.write_text('{"settings": {"bin_px": 1, "crop_px": [8]}}')
    assert answer(capsys, *command, "--crop", 8, 8)["remarks"] == []


def test_reconstruct_leaves_out_what_a_mask_excludes(scan, model, tmp_path, capsys):
    """A hot pixel without a mask in the file; the network is linear, pixel by pixel."""
    known = by_hand.scan()
    hot = known.patterns.copy()
    hot[:, 2, 3] = 4.29e9
    formats.write(tmp_path / "hot.npz", dataclasses.replace(known, patterns=hot))
    valid = np.ones((8, 8), bool)
    valid[2, 3] = False
    np.save(tmp_path / "mask.npy", valid)
    command = ("reconstruct", "--model", model, "-o", tmp_path / "o.npz", "--force")
    answer(capsys, *command, tmp_path / "hot.npz", "--mask", tmp_path / "mask.npy")
    found = formats.read(tmp_path / "o.npz")
    formats.write(tmp_path / "masked.npz", dataclasses.replace(known, mask=valid))
    answer(capsys, *command, tmp_path / "masked.npz")
    np.testing.assert_array_equal(found.object, formats.read(tmp_path / "o.npz").object)
    assert "mask.npy" in json.dumps(found.provenance)


def test_reconstruct_scales_counts_when_asked(scan, model, tmp_path, capsys):
    known = by_hand.scan()
    faint = dataclasses.replace(known, patterns=known.patterns / 50, mask=np.ones((8, 8), bool))
    formats.write(tmp_path / "faint.npz", faint)
    command = ("reconstruct", tmp_path / "faint.npz", "--model", model, "-o", tmp_path / "o.npz")
    values = answer(capsys, *command)
    assert "times the counts of the brightest in training" in values["remarks"][0]
    values = answer(capsys, *command, "--force", "--counts", 50)
    np.testing.assert_allclose(
        formats.read(tmp_path / "o.npz").object, by_hand.expected(), atol=1e-5
    )
    values = answer(capsys, *command, "--force", "--counts", "match")
    # float32
    assert values["counts_factor"] == pytest.approx(200 / faint.patterns.max(), rel=1e-5)
    assert values["remarks"] == []


def test_reconstruct_without_probe_or_geometry_writes_npz(model, tmp_path, capsys):
    bare = by_hand.scan(energy_eV=None, distance_m=None, object_pixel_m=None, probe=None)
    formats.write(tmp_path / "bare.npz", bare)
    command = ("reconstruct", tmp_path / "bare.npz", "--model", model, "-o")
    values = answer(capsys, *command, tmp_path / "o.npz")
    assert values["r_factor"] is None
    np.testing.assert_allclose(
        formats.read(tmp_path / "o.npz").object, by_hand.expected(), atol=1e-6
    )
    message = refused(capsys, *command, tmp_path / "o.h5")
    assert "needs energy_eV, distance_m, object_pixel_m, probe" in message
    assert "--energy-ev VALUE --distance-m VALUE --object-pixel-m VALUE" in message


def test_reconstruct_r_factor_is_that_of_the_object(tmp_path, capsys, monkeypatch):
    """The truth explains its patterns, another object does not."""
    from ppn_tf.cli import reconstruct

    obj = data.load_object("stand-in").complex[:96, :96]
    probe = data.stand_in_probe(32)
    corners = data.raster((96, 96), 32, 8.0).positions_px
    scan = formats.Scan(
        data.simulate(obj, probe, corners), corners.astype(float), probe=3 * probe[None], object=obj
    )
    # float32
    assert reconstruct.explained(scan) < 1e-4
    flat = dataclasses.replace(scan, object=np.ones_like(obj))
    assert reconstruct.explained(flat) > 0.05


def test_reconstruct_refuses(scan, model, tmp_path, capsys):
    out = ("-o", tmp_path / "o.npz")
    with_model = ("reconstruct", scan, "--model", model)
    (tmp_path / "broken.keras").write_text("no network")
    dark = dataclasses.replace(by_hand.scan(), patterns=np.zeros((30, 8, 8), np.float32))
    formats.write(tmp_path / "dark.npz", dark)
    np.save(tmp_path / "faults.npy", np.eye(8, dtype=int)[:1] * np.eye(8, dtype=int))
    np.save(tmp_path / "all.npy", np.zeros((8, 8), bool))
    for words, message in (
        (("reconstruct", scan, "--model", "ppn", *out), "unknown trained model 'ppn'"),
        (("reconstruct", scan, "--model", tmp_path / "x.keras", *out), "does not exist"),
        (("reconstruct", scan, "--model", tmp_path / "broken.keras", *out), "a zip archive"),
        (("reconstruct", tmp_path / "gone.h5", "--model", model, *out), "does not exist"),
        (("reconstruct", tmp_path / "dark.npz", "--model", model, *out), "no counts"),
        ((*with_model, "-o", tmp_path / "o.txt"), "expects the ending"),
        ((*with_model, "-o", scan), "is there already: pass --force"),
        ((*with_model, "-o", tmp_path), "expects the ending"),
        ((*with_model, "-o", scan / "o.npz"), "is no folder that can be written to"),
        ((*with_model, *out, "--mask", tmp_path / "faults.npy"), "received int64 (8, 8), 1 set"),
        ((*with_model, *out, "--mask", tmp_path / "all.npy"), "received bool (8, 8), 0 set"),
        ((*with_model, *out, "--mask", tmp_path / "none.npy"), "none.npy cannot be read as npy"),
        ((*with_model, *out, "--crop", 1, 2, 3), "one or two values"),
        ((*with_model, *out, "--crop", 16), "--crop 16 is larger than the detector"),
        ((*with_model, *out, "--bin", 3), "--bin 3 needs sides"),
        ((*with_model, *out, "--counts", "many"), "--counts expects raw, match or a number"),
        ((*with_model, *out, "--counts", -1), "factor must be above 0"),
        (
            (*with_model, *out, "--batch-size", 0),
            "must be at least 1, received 256 and 0",
        ),
        ((*with_model, *out, "--picture", tmp_path / "o.txt"), "a picture ends in"),
        ((*with_model, *out, "--gpu", "x"), "--gpu expects"),
    ):
        assert message in refused(capsys, *words), words
    assert not (tmp_path / "o.npz").exists()
    with pytest.raises(SystemExit) as ended:
        call(*with_model)
    assert ended.value.code == 2


# evaluate


def test_evaluate_a_result_against_the_truth(tmp_path, capsys):
    truth = by_hand.scan(object=by_hand.expected().astype(np.complex64))
    formats.write(tmp_path / "truth.h5", truth)
    turned = dataclasses.replace(truth, object=truth.object * np.complex64(np.exp(0.4j)))
    formats.write(tmp_path / "result.npz", turned)
    pair = ("evaluate", tmp_path / "result.npz", "--reference", tmp_path / "truth.h5")
    values = answer(capsys, *pair, "--picture", tmp_path / "both.png")
    # complex64
    assert values["relative_error"] < 1e-6
    assert values["amplitude"]["ssim"] == pytest.approx(1, abs=1e-6)
    assert (tmp_path / "both.png").read_bytes().startswith(PNG)
    assert answer(capsys, *pair, "--align", "none")["relative_error"] == pytest.approx(
        2 * np.sin(0.2), rel=1e-5
    )
    assert call(*pair) == 0
    text = capsys.readouterr().out
    assert "amplitude: PSNR" in text
    assert "FRC with the reference: 0.5 or more up to the Nyquist frequency" in text


def test_evaluate_refuses(tmp_path, scan, capsys):
    truth = by_hand.scan(object=by_hand.expected().astype(np.complex64))
    formats.write(tmp_path / "truth.npz", truth)
    few = by_hand.scan(step=8, object=by_hand.expected().astype(np.complex64))
    formats.write(tmp_path / "few.npz", few)
    pair = ("evaluate", tmp_path / "truth.npz", "--reference")
    for words, message in (
        ((*pair, scan), "holds no object"),
        ((*pair, tmp_path / "few.npz"), "expected a reconstruction of this scan"),
        ((*pair, tmp_path / "gone.npz"), "does not exist"),
        ((*pair, tmp_path / "truth.npz", "--align", "x"), "alignment: expected one of"),
        ((*pair, tmp_path / "truth.npz", "--picture", "x.txt"), "a picture ends in"),
    ):
        assert message in refused(capsys, *words), words
