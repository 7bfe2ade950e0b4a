"""ppn-tf reconstruct, chunk by chunk: the object of the whole scan, and every refusal."""

import hashlib
import json

import by_hand
import h5py
import numpy as np
import pytest

from ppn_tf import cli
from ppn_tf.data import formats


@pytest.fixture
def pair(tmp_path):
    """The files of the scan by hand, and its network."""
    formats.write(tmp_path / "s_para.h5", by_hand.scan(), patterns=tmp_path / "s_dp.h5")
    by_hand.network().save(tmp_path / "m.keras")
    return tmp_path


def call(folder, *more):
    words = ["reconstruct", folder / "s_dp.h5", "--model", folder / "m.keras", "-o"]
    return cli.main([str(word) for word in (*words, folder / "out.h5", "--gpu", "cpu", *more)])


def test_chunks_give_the_object_that_is_known(pair, capsys):
    assert call(pair, "--chunk", 7, "--json") == 0
    values = json.loads(capsys.readouterr().out)
    assert (values["patterns"], values["parts"], values["parts_found"]) == (30, 5, 0)
    assert values["object_shape"] == [24, 28]
    assert values["object_pixel_m"] == pytest.approx([2e-8, 4e-8])
    assert values["files"] == [str(pair / "out.h5")]
    with h5py.File(pair / "out.h5") as file:
        # float32 network, complex64 file: measured 2e-7
        np.testing.assert_allclose(file["object"][:], by_hand.expected(), atol=1e-5)
        assert file["coverage"][:].min() > 0
    assert call(pair, "--chunk", 30, "--force") == 0
    assert "30 patterns in 1 chunks, " in capsys.readouterr().out


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("--counts", "many"), "--counts expects raw, match or a number, received 'many'"),
        (("--picture", "a.png"), "without --picture: leave that out"),
        (("--bin", "2"), "received 4 x 4 px"),
        (("--flag", "with_object=false"), "format ptychodus takes no flag with_object"),
        (("--flag", "path=x"), "--flag path is none: pass it as FILE or --allow-filter"),
        (("--flag", "nonsense"), "--flag expects NAME=VALUE, received 'nonsense'"),
        (("--format", "ptyd"), "do not lie in one data set that can be read range by range"),
        (("--chunk", "0"), "chunk must be at least 1, received 0"),
        (("--scheduler", "nonsense://x"), "--scheduler expects tcp://HOST:PORT"),
    ],
)
def test_refusals(pair, capsys, words, message):
    assert call(pair, "--chunk", 7, *words) == 2
    assert message in capsys.readouterr().err
    assert not (pair / "out.h5").exists()


def test_the_field_goes_on_to_the_other_commands(pair, capsys):
    assert call(pair, "--chunk", 7) == 0
    with h5py.File(pair / "out.h5") as file:
        told = json.loads(file.attrs["ppn_tf_provenance"])
    assert (told["path"], told["model"], told["chunk"]) == ("s_dp.h5", "m.keras", 7)
    digest = hashlib.sha256((pair / "m.keras").read_bytes()).hexdigest()
    assert told["model_sha256"] == digest
    words = ["reconstruct", pair / "s_dp.h5", "--model", pair / "m.keras", "-o", pair / "whole.h5"]
    assert cli.main([str(word) for word in (*words, "--gpu", "cpu")]) == 0
    with h5py.File(pair / "whole.h5") as file:
        whole = dict(file["object"].attrs)
        assert json.loads(file.attrs["ppn_tf_provenance"])["model_sha256"] == digest
    with h5py.File(pair / "out.h5") as file:
        assert dict(file["object"].attrs) == pytest.approx(whole)
    capsys.readouterr()
    words = ["evaluate", pair / "out.h5", "--reference", pair / "whole.h5", "--align", "none"]
    assert cli.main([str(word) for word in (*words, "--json")]) == 0
    # both complex64: measured 0
    assert json.loads(capsys.readouterr().out)["relative_error"] < 1e-6
    words = ["refine", pair / "s_dp.h5", "--start", pair / "out.h5", "-o", pair / "refined.h5"]
    assert cli.main([str(word) for word in (*words, "--iterations", 2, "--gpu", "cpu")]) == 0


def test_a_field_of_other_pixels_lies_where_the_whole_scan_puts_it(pair, capsys):
    by_hand.network(side=2).save(pair / "m.keras")
    options = ("--crop", 4, "--bin", 2)
    assert call(pair, "--chunk", 7, *options) == 0
    with h5py.File(pair / "out.h5") as file:
        found = dict(file["object"].attrs)
    assert call(pair, *options, "--force") == 0
    with h5py.File(pair / "out.h5") as file:
        assert found == pytest.approx(dict(file["object"].attrs))


@pytest.mark.parametrize("chunk", [5, 7, 30])
def test_phases_of_their_own_zero_are_turned_to_each_other(pair, capsys, chunk):
    by_hand.network(zero="light").save(pair / "m.keras")
    assert call(pair, "--chunk", chunk) == 0
    assert "note:" not in capsys.readouterr().out
    expected = by_hand.expected()
    with h5py.File(pair / "out.h5") as file:
        found = file["object"][:]
    # the whole scan has a mean phase of 0
    expected = expected * np.exp(-1j * np.angle(expected.sum()))
    # float32 network, complex64 file: measured 1.6e-7
    np.testing.assert_allclose(found, expected, atol=1e-5)


def test_a_mask_of_ones_own_is_that_of_the_file(pair, capsys):
    by_hand.network(side=2).save(pair / "m.keras")
    valid = np.arange(64).reshape(8, 8) % 5 > 0
    np.save(pair / "mask.npy", valid)
    options = ("--chunk", 7, "--crop", 4, "--bin", 2)
    assert call(pair, *options, "--mask", pair / "mask.npy") == 0
    with h5py.File(pair / "out.h5") as file:
        given = file["object"][:]
    with h5py.File(pair / "s_dp.h5", "a") as file:
        file["valid_pixels"] = valid
    assert call(pair, *options, "--force") == 0
    with h5py.File(pair / "out.h5") as file:
        np.testing.assert_array_equal(file["object"][:], given)


def test_crop_bin_and_mask_are_those_of_the_whole_scan(pair, capsys):
    by_hand.network(side=2).save(pair / "m.keras")
    with h5py.File(pair / "s_dp.h5", "a") as file:
        file["valid_pixels"] = np.arange(64).reshape(8, 8) % 5 > 0
    options = ("--crop", 4, "--bin", 2)
    assert call(pair, "--chunk", 7, "--json", *options) == 0
    values = json.loads(capsys.readouterr().out)
    assert values["object_pixel_m"] == pytest.approx([4e-8, 8e-8])
    with h5py.File(pair / "out.h5") as file:
        found = file["object"][:]
    assert call(pair, *options, "--force") == 0
    with h5py.File(pair / "out.h5") as file:
        whole = file["object"][0]
    assert values["object_shape"] == list(whole.shape)
    # float32 network, complex64 files: measured 0
    np.testing.assert_allclose(found, whole, atol=1e-5)


def test_counts_are_scaled_like_those_of_the_whole_scan(pair, capsys):
    with h5py.File(pair / "s_dp.h5", "a") as file:
        file["dp"][:] = 0.01 * by_hand.scan().patterns
        file["dp"][29, 0, 0] = 40
    assert call(pair, "--chunk", 7, "--json") == 0
    values = json.loads(capsys.readouterr().out)
    assert values["counts_factor"] == 1
    assert "has 0.2 times the counts of the brightest in training" in values["remarks"][0]
    found = {}
    for factor, words in (5, ("--chunk", 7)), (5, ()), (10, ("--chunk", 7)):
        asked = "match" if factor == 5 else factor
        assert call(pair, "--json", "--force", "--counts", asked, *words) == 0
        values = json.loads(capsys.readouterr().out)
        assert values["counts_factor"] == pytest.approx(factor)
        with h5py.File(pair / "out.h5") as file:
            found[factor, words] = np.squeeze(file["object"][:])
    # float32 network, complex64 files: measured 0
    np.testing.assert_allclose(found[5, ("--chunk", 7)], found[5, ()], atol=1e-5)
    ratio = np.abs(found[10, ("--chunk", 7)]) / np.abs(found[5, ()])
    np.testing.assert_allclose(ratio, 2, rtol=1e-5)  # float32: measured 2e-7
    with h5py.File(pair / "s_dp.h5", "a") as file:
        file["dp"][29, 0, 0] = 100
    assert call(pair, "--chunk", 7, "--force") == 0
    assert "note:" not in capsys.readouterr().out


def cxi(path, raster):
    """The scan by hand as an instrument writes it: sample moves, corner, a mask."""
    scan = by_hand.scan()
    mask = np.arange(64).reshape(8, 8) % 5 > 0
    stored = np.fft.ifftshift(scan.patterns, axes=(1, 2))
    y, x = (scan.positions_px * (by_hand.PIXEL_M, 2 * by_hand.PIXEL_M)).T
    moved = np.stack([-x, -y, 0 * x], axis=1)
    # 5 rows of 6 positions
    lay = (lambda values: values.reshape(5, 6, *values.shape[1:])) if raster else np.asarray
    detector = "entry_1/instrument_1/detector_1"
    with h5py.File(path, "w") as file:
        file[f"{detector}/data"] = lay(stored)
        file[f"{detector}/mask"] = (~np.fft.ifftshift(mask)).astype(np.uint8)
        file[f"{detector}/distance"] = 1.0
        file["entry_1/sample_1/geometry_1/translation"] = lay(moved)
    return path


FLAGS = ("position_frame=sample", "position_axes=+y+x", "zero_frequency=corner")


@pytest.mark.parametrize("raster", [False, True])
def test_cxi_is_read_range_by_range(pair, capsys, raster):
    path = cxi(pair / "s.cxi", raster)
    words = ["reconstruct", path, "--model", pair / "m.keras", "--gpu", "cpu", "--force", "-o"]
    words += [pair / "out.npz", "--object-pixel-m", by_hand.PIXEL_M, 2 * by_hand.PIXEL_M]
    flags = [word for flag in FLAGS for word in ("--flag", flag)]

    def run(*more):
        return cli.main([str(word) for word in (*words, *more)])

    assert run("--energy-ev", 8000, *flags) == 0
    with np.load(pair / "out.npz") as archive:
        whole = archive["object"]
    words[words.index(pair / "out.npz")] = pair / "out.h5"
    assert run("--energy-ev", 8000, *flags, "--chunk", 7) == 0
    with h5py.File(pair / "out.h5") as file:
        # float32 network, complex64 files: measured 0
        np.testing.assert_allclose(file["object"][:], whole, atol=1e-6)
    capsys.readouterr()
    assert run("--chunk", 7) == 2
    assert "On the command line: --flag position_frame=VALUE" in capsys.readouterr().err


def test_another_order_and_another_mask_are_refused(pair, capsys):
    with h5py.File(pair / "s_para.h5", "a") as file:
        file["probe_position_indexes"][:2] = 1, 0
    assert call(pair, "--chunk", 7) == 2
    assert "changes the order of the patterns" in capsys.readouterr().err
    with h5py.File(pair / "s_dp.h5", "a") as file:
        file["valid_pixels"] = np.eye(7, dtype=bool)
    assert call(pair, "--chunk", 7) == 2
    assert "a mask (H, W) if any, received (30, 8, 8) and (7, 7)" in capsys.readouterr().err
