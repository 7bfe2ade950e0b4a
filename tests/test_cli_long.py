"""ppn-tf reconstruct, chunk by chunk: the object of the whole scan, and every refusal."""

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
        (("--counts", "match"), "without --counts: leave that out"),
        (("--bin", "2"), "received 4 x 4 px"),
        (("--flag", "zero_frequency=corner"), "without --flag zero_frequency"),
        (("--format", "cxi"), "read the format ptychodus alone"),
        (("--chunk", "0"), "chunk must be at least 1, received 0"),
        (("--scheduler", "nonsense://x"), "--scheduler expects tcp://HOST:PORT"),
    ],
)
def test_refusals(pair, capsys, words, message):
    assert call(pair, "--chunk", 7, *words) == 2
    assert message in capsys.readouterr().err
    assert not (pair / "out.h5").exists()


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


def test_another_order_and_another_mask_are_refused(pair, capsys):
    with h5py.File(pair / "s_para.h5", "a") as file:
        file["probe_position_indexes"][:2] = 1, 0
    assert call(pair, "--chunk", 7) == 2
    assert "changes the order of the patterns" in capsys.readouterr().err
    with h5py.File(pair / "s_dp.h5", "a") as file:
        file["valid_pixels"] = np.eye(7, dtype=bool)
    assert call(pair, "--chunk", 7) == 2
    assert "a mask (H, W) if any, received (30, 8, 8) and (7, 7)" in capsys.readouterr().err
