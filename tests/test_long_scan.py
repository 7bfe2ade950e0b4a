"""A long scan in chunks gives the field of the whole scan, interrupted or not."""

import h5py
import numpy as np
import pytest

pytest.importorskip("keras")

from ppn_tf import field_parts, long_scan, models, stitching  # noqa: E402
from ppn_tf.errors import DataError, OptionError, RecordError  # noqa: E402
from ppn_tf.field_sum import FieldSum  # noqa: E402
from ppn_tf.inference import infer  # noqa: E402
from ppn_tf.long_scan import LongScan, Settings  # noqa: E402
from ppn_tf.scaling import Scaling  # noqa: E402

SIDE = 32
SHAPE = (300, 75)


@pytest.fixture(scope="module")
def scan(tmp_path_factory):
    """70 random patterns at fractional corners, a model that is no more than drawn."""
    folder = tmp_path_factory.mktemp("scan")
    draws = np.random.default_rng(3)
    with h5py.File(folder / "scan.h5", "w") as file:
        file["dp"] = draws.integers(0, 1000, (70, SIDE, SIDE), dtype=np.uint16)
    # row by row, so that parts are bands; the last window ends at the field's corner
    rows = np.sort(draws.uniform(0, SHAPE[0] - SIDE, 70))
    corners = np.stack([rows, draws.uniform(0, SHAPE[1] - SIDE, 70)], axis=1)
    corners[-1] = np.array(SHAPE) - SIDE
    scaling = Scaling("log1p", (0.0, 7.0), (0.5, 1.5), (-1.0, 1.0))
    model = models.create("ptynet", (SIDE, SIDE, 1), scaling=scaling)
    model.save(folder / "model.keras")
    return LongScan(folder / "scan.h5", "/dp", corners, SHAPE), folder / "model.keras", model


@pytest.fixture(scope="module")
def whole(scan):
    """The field from all patterns at once."""
    long, _, model = scan
    with h5py.File(long.path) as file:
        found = infer(model, file["dp"][:])
    total = FieldSum(SHAPE, stitching.weights(SIDE), 2)
    total.add(np.stack([found.amplitude, found.phase], axis=1), long.corners_px)
    amplitude, phase_rad = total.fields()
    return amplitude * np.exp(1j * phase_rad), total.weight_sum


def read(path):
    with h5py.File(path) as file:
        return file["object"][:], file["coverage"][:]


@pytest.mark.parametrize("chunk", [1000, 16, 7])
def test_parts_add_up_to_the_whole(scan, whole, tmp_path, monkeypatch, chunk):
    monkeypatch.setattr(field_parts, "BAND_ROWS", 64)
    long, model, _ = scan
    done = long_scan.reconstruct(long, Settings(str(model), chunk), tmp_path / "out.h5")
    assert (done["patterns"], done["parts"], done["parts_found"]) == (70, -(-70 // chunk), 0)
    field, coverage = read(tmp_path / "out.h5")
    # float32 networks in batches of other lengths, and complex64: measured 2e-7
    np.testing.assert_allclose(field, whole[0], atol=3e-6)
    np.testing.assert_allclose(coverage, whole[1], rtol=1e-6)
    assert np.isnan(field).any()
    assert np.array_equal(np.isnan(field), coverage == 0)
    assert [path.name for path in tmp_path.iterdir()] == ["out.h5"]
    assert sum(part["patterns"] for part in done["log"]) == 70
    for part in done["log"]:
        stages, whole_s = part["stage_s"], part["ended"] - part["begun"]
        assert set(stages) == set(long_scan.STAGES)
        assert stages["network"] > 0 and sum(stages.values()) <= whole_s + 0.01
        assert part["part_bytes"] > 24 * SIDE**2


def test_an_interrupted_reconstruction_goes_on(scan, whole, tmp_path, monkeypatch):
    long, model, _ = scan
    settings, output = Settings(str(model), 16), tmp_path / "out.h5"
    make_part, made = long_scan.make_part, []

    def interrupted(job):
        if len(made) == 2:
            raise KeyboardInterrupt
        made.append(job["start"])
        return make_part(job)

    monkeypatch.setattr(long_scan, "make_part", interrupted)
    with pytest.raises(KeyboardInterrupt):
        long_scan.reconstruct(long, settings, output)
    assert not output.exists()
    monkeypatch.setattr(long_scan, "make_part", make_part)
    # parts of another reconstruction are not mixed in
    with pytest.raises(RecordError, match=r"another reconstruction \(other batch_size\)"):
        long_scan.reconstruct(long, Settings(str(model), 16, batch_size=8), output)
    done = long_scan.reconstruct(long, settings, output)
    assert (done["parts"], done["parts_found"]) == (5, 2)
    np.testing.assert_allclose(read(output)[0], whole[0], atol=3e-6)


def test_a_damaged_part_is_named(scan, tmp_path):
    (tmp_path / "part.npz").write_bytes(b"PK")
    with pytest.raises(RecordError, match="part.npz cannot be read"):
        field_parts.stitch([tmp_path / "part.npz"], SHAPE, tmp_path / "out.h5")
    assert not (tmp_path / "out.h5").exists()


def test_what_does_not_fit_is_refused(scan, tmp_path):
    long, model, _ = scan
    with pytest.raises(DataError, match="expected the key '/dq' with patterns"):
        LongScan(long.path, "/dq", long.corners_px, SHAPE)
    with pytest.raises(DataError, match=r"received \(70, 32, 32\) and \(69, 2\)"):
        LongScan(long.path, "/dp", long.corners_px[1:], SHAPE)
    with pytest.raises(DataError, match="there is no model nowhere.keras"):
        long_scan.reconstruct(long, Settings("nowhere.keras"), tmp_path / "out.h5")
    with pytest.raises(OptionError, match="chunk must be at least 1, received 0"):
        Settings("m", 0)
    with pytest.raises(OptionError, match="weights: expected one of distance, uniform"):
        Settings("m", weights="round")
    small = LongScan(long.path, "/dp", long.corners_px, (100, 75))
    with pytest.raises(DataError, match="leave the grid"):
        long_scan.reconstruct(small, Settings(str(model)), tmp_path / "out.h5")


@pytest.mark.long
def test_workers_make_the_same_field(scan, whole, tmp_path):
    pytest.importorskip("distributed")
    from local_cluster import Cluster

    long, model, _ = scan
    made = Cluster(tmp_path)
    try:
        made.start_worker()
        done = long_scan.reconstruct(
            long, Settings(str(model), 32), tmp_path / "out.h5", scheduler=made.address
        )
    finally:
        made.close()
    assert done["parts"] == 3
    np.testing.assert_allclose(read(tmp_path / "out.h5")[0], whole[0], atol=3e-6)
