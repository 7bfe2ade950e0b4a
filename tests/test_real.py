"""Measured scans: readers, labels, split in space, and runs on them, all on small drawn scans."""

import dataclasses
import json

import numpy as np
import pytest

pytest.importorskip("keras")

from ppn_tf import epie, labels  # noqa: E402
from ppn_tf.data import blocked, forward, nanoprobe  # noqa: E402
from ppn_tf.data.dataset import Dataset  # noqa: E402
from ppn_tf.errors import DataError, OptionError  # noqa: E402
from ppn_tf.inference import Patches  # noqa: E402
from reproduce import experiments, protocol  # noqa: E402
from reproduce.parts import real  # noqa: E402

SIDE = 32
ROWS, COLS = 7, 5
STEP = 6


def smooth(shape, seed):
    """A band-limited random image in [-1, 1]."""
    spectrum = np.fft.fft2(np.random.default_rng(seed).normal(size=shape))
    frequency = np.hypot(*np.meshgrid(*(np.fft.fftfreq(side) for side in shape), indexing="ij"))
    image = np.fft.ifft2(spectrum * (frequency < 0.08)).real
    return image / np.abs(image).max()


def truth():
    shape = (STEP * (ROWS - 1) + SIDE, STEP * (COLS - 1) + SIDE)
    return (1 + 0.2 * smooth(shape, 1)) * np.exp(1j * smooth(shape, 2))


def arrays(**changes):
    """A scan in the layout of scan 247: one strong and one weak mode, a dead pixel."""
    rows, cols = np.indices((ROWS, COLS)).reshape(2, -1) * STEP
    corners = np.stack([rows, cols], axis=1)
    y, x = np.indices((SIDE, SIDE)) - SIDE / 2
    mode = np.exp(-(x**2 + y**2) / 2 / 7**2 + 0.02j * (x**2 + y**2))
    probe = np.stack([mode, 0.3 * mode * x / 7])
    counts = sum(forward.diffraction(truth(), part, corners) for part in probe)
    counts = np.fft.ifftshift(10 * counts + 1, axes=(1, 2))
    counts[:, 3, 5] = 0
    found = {
        "data": counts.round().astype(np.uint32),
        "scan_true": (corners + 40.25).astype(np.float32),
        "scan_nominal": (corners + 41.0).astype(np.float32),
        "probe": probe[None, None],
    }
    return found | changes


def write(path, **changes):
    found = {name: value for name, value in arrays(**changes).items() if value is not None}
    np.savez(path, **found)
    return path


@pytest.fixture(scope="module")
def scan(tmp_path_factory):
    return nanoprobe.load_scan247(write(tmp_path_factory.mktemp("scan") / "scan247.npz"))


@pytest.fixture(scope="module")
def perfect(scan):
    """A data set whose label is the truth, in a gauge of its own."""
    rows, cols = np.indices(truth().shape)
    field = 3.0 * truth() * np.exp(1j * (0.5 + 0.01 * rows - 0.02 * cols))
    label = labels.Label(field.astype(np.complex64), scan.probe, np.array([0.5, 0.1]), {})
    return labels.dataset(scan, label, side_px=8, window_px=16)


def test_scan_is_read_with_its_centre_and_dead_pixel(scan):
    assert scan.patterns.shape == (ROWS * COLS, SIDE, SIDE)
    assert scan.patterns.dtype == np.float32
    assert scan.probe.shape == (2, SIDE, SIDE)
    # the first of each axis is 0, fractions stay
    np.testing.assert_allclose(scan.positions_px[COLS + 1], [STEP, STEP], atol=1e-4)
    np.testing.assert_allclose(scan.positions_px.min(axis=0), 0)
    assert np.argwhere(scan.dead_pixels).tolist() == [[3 + SIDE // 2, 5 + SIDE // 2]]
    # zero frequency, the brightest, lies at the centre pixel
    brightest = np.unravel_index(scan.patterns.sum(axis=0).argmax(), (SIDE, SIDE))
    assert np.hypot(*(np.array(brightest) - SIDE // 2)) <= 2


def test_nominal_positions_are_another_choice(tmp_path):
    path = write(tmp_path / "s.npz", scan_nominal=np.zeros((ROWS * COLS, 2)))
    found = nanoprobe.load_scan247(path, positions="scan_nominal")
    assert not found.positions_px.any()
    with pytest.raises(DataError, match="expected scan_true or scan_nominal, received 'best'"):
        nanoprobe.load_scan247(path, positions="best")


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"probe": None}, r"lacks the keys probe, received the keys data, scan_true, scan_nom"),
        ({"data": np.ones((4, 8, 9))}, r"key 'data': expected real \(N, H, H\), received float64"),
        ({"scan_true": np.ones((3, 2))}, r"key 'scan_true': expected real \(35, 2\), received"),
        ({"probe": np.ones((2, 32, 32), complex)}, r"key 'probe': expected complex \(1, 1, M, 32"),
        ({"probe": np.ones((1, 1, 2, 32, 32))}, "key 'probe': expected complex values"),
        ({"scan_true": np.full((35, 2), np.nan)}, "key 'scan_true' holds NaN"),
    ],
)
def test_other_layouts_are_refused(tmp_path, changes, message):
    with pytest.raises(DataError, match=message):
        nanoprobe.load_scan247(write(tmp_path / "s.npz", **changes))


def test_files_that_are_no_npz_are_refused(tmp_path):
    with pytest.raises(DataError, match="does not exist"):
        nanoprobe.load_scan247(tmp_path / "none.npz")
    (tmp_path / "text.npz").write_text("text")
    with pytest.raises(DataError, match="cannot be read as npz"):
        nanoprobe.load_scan247(tmp_path / "text.npz")


def test_scan_247_itself(data_dir):
    found = nanoprobe.load_scan247()
    assert found.patterns.shape == (481, 128, 128)
    assert found.probe.shape == (3, 128, 128)
    assert found.dead_pixels.sum() == 9
    # about 5.1e7 counts a frame, and hardly any inside the shadow of the stop
    mean = found.patterns.mean(axis=0, dtype=np.float64)
    assert mean.sum() == pytest.approx(5.07e7, rel=0.01)
    assert mean[48:80, 48:80].sum() / mean.sum() == pytest.approx(0.0017, abs=0.0001)


def test_epochs_on_scan_247_are_as_many_steps_as_on_the_chart(data_dir):
    scan = nanoprobe.load_scan247()
    shape = tuple(labels.corners_px(scan).max(axis=0) + 128)
    label = labels.Label(np.ones(shape, np.complex64), scan.probe, np.ones(1), {})
    dataset = labels.dataset(scan, label)
    parts = real.split(dataset)
    assert [len(part) for part in (parts.train, parts.test, parts.gap)] == [238, 79, 76]
    steps = int(np.ceil(int(0.95 * len(parts.train)) / 32))
    assert real.EPOCH_FACTOR["scan-247"] * steps == pytest.approx(87, abs=steps / 2)


def test_binning_sums_blocks_and_fills_dead_pixels():
    patterns = np.arange(32.0).reshape(2, 4, 4)
    found = nanoprobe.bin_patterns(patterns, 2)
    assert found[0].tolist() == [[0 + 1 + 4 + 5, 2 + 3 + 6 + 7], [8 + 9 + 12 + 13, 50]]
    dead = np.zeros((4, 4), bool)
    dead[0, 0] = True
    # the mean of 1, 4 and 5, four times
    assert nanoprobe.bin_patterns(patterns, 2, dead)[0, 0, 0] == pytest.approx(40 / 3)
    dead[:2, :2] = True
    with pytest.raises(DataError, match="no living pixel"):
        nanoprobe.bin_patterns(patterns, 2, dead)
    with pytest.raises(DataError, match="3 px does not divide the detector's 4 px"):
        nanoprobe.bin_patterns(patterns, 3)


def published(tmp_path, transpose=False, counts=None):
    """Two files in the layout of scan 20191008_39, 4 x 5 points."""
    field = np.exp(1j * smooth((80, 80), 3)) * (1 + 0.1 * smooth((80, 80), 4))
    windows = np.lib.stride_tricks.sliding_window_view(field, (64, 64))[:12:3, :15:3]
    patches = windows.astype(np.complex64)
    counts = np.ones(patches.shape, np.float32) if counts is None else counts
    np.savez(tmp_path / "diff.npz", arr_0=counts)
    np.save(tmp_path / "obj.npy", patches.swapaxes(2, 3) if transpose else patches)
    return field, nanoprobe.load_scan39(tmp_path / "diff.npz", tmp_path / "obj.npy")


def test_published_patches_are_cut_to_the_binned_window(tmp_path):
    field, found = published(tmp_path)
    assert found.grid_shape == (4, 5)
    assert found.patterns.shape == (20, 32, 32)
    assert (found.patterns == 4).all()
    # the patch of row 2, column 3 starts at (6, 9); its central half 16 px later
    np.testing.assert_array_equal(found.positions_px[13], [6, 9])
    expected = field[6 + 16 : 6 + 48, 9 + 16 : 9 + 48]
    np.testing.assert_allclose(found.amplitude[13], np.abs(expected), rtol=1e-6)
    np.testing.assert_allclose(found.phase[13], np.angle(expected), atol=1e-6)


def test_published_patches_that_do_not_fit_together_are_refused(tmp_path):
    with pytest.raises(DataError, match="neighbouring rows differ by"):
        published(tmp_path, transpose=True)
    with pytest.raises(DataError, match=r"expected real \(rows, cols, 64, 64\)"):
        published(tmp_path, counts=np.ones((4, 5, 32, 32)))
    with pytest.raises(DataError, match=r"expected complex \(4, 6, 64, 64\)"):
        published(tmp_path, counts=np.ones((4, 6, 64, 64), np.float32))


def irregular(count=120, window=9, shape=(90, 70)):
    rng = np.random.default_rng(5)
    positions = rng.integers(0, np.array(shape) - window + 1, (count, 2))
    empty = np.zeros((count, window, window), np.float32)
    return Dataset(empty, empty, empty, positions, None, shape)


@pytest.mark.parametrize("axis", [0, 1])
def test_blocks_share_no_pixel(axis):
    dataset = irregular()
    parts = blocked.blocked_split(dataset, 0.2, axis)
    every = np.concatenate([parts.train, parts.test, parts.gap])
    assert sorted(every) == list(range(120))
    assert len(parts.test) >= 24
    painted = np.zeros(dataset.object_shape, bool)
    for row, col in dataset.positions_px[parts.test]:
        painted[row : row + 9, col : col + 9] = True
    shared = [painted[r : r + 9, c : c + 9].sum() for r, c in dataset.positions_px]
    counted = blocked.shared_pixels_per_patch(dataset, parts.test)
    np.testing.assert_array_equal(counted, shared)
    assert not counted[parts.train].any()
    assert counted[parts.gap].all()
    beyond = dataset.positions_px[parts.test, axis].min()
    assert (dataset.positions_px[parts.train, axis] < beyond).all()


def test_blocks_that_cannot_be_are_refused():
    with pytest.raises(OptionError, match="test_fraction must be between 0 and 1 and axis"):
        blocked.blocked_split(irregular(), 1.0)
    with pytest.raises(DataError, match="every one of the 120 patches shares pixels"):
        blocked.blocked_split(irregular(window=40, shape=(60, 60)), 0.5)


def test_labels_are_cached_with_their_provenance(scan, tmp_path, monkeypatch):
    made = labels.reconstruct(scan, tmp_path, iterations=3, engine="numpy")
    assert made.errors.shape == (3,)
    assert made.errors[-1] < made.errors[0]
    (note,) = tmp_path.glob("*.json")
    said = json.loads(note.read_text())
    assert said["hash"] == note.stem == made.provenance["hash"]
    assert (said["iterations"], said["modes"]) == (3, 2)
    assert (said["version"], said["last_error"]) == (labels.LABEL_VERSION, made.errors[-1])
    monkeypatch.setattr(epie, "reconstruct", None)
    again = labels.reconstruct(scan, tmp_path, iterations=3, engine="numpy")
    for name in ("field", "probe", "errors"):
        np.testing.assert_array_equal(getattr(again, name), getattr(made, name))
    note.with_suffix(".npz").write_bytes(b"broken")
    with pytest.raises(DataError, match="cannot be read .*Remove the file, the label is then made"):
        labels.reconstruct(scan, tmp_path, iterations=3, engine="numpy")


def test_labels_go_on_where_they_were_interrupted(scan, tmp_path, monkeypatch):
    monkeypatch.setattr(labels, "SAVE_EVERY", 2)
    whole = labels.reconstruct(scan, tmp_path / "whole", iterations=3, engine="numpy")
    calls = []

    def killed(*arguments, **options):
        calls.append(options["first_iteration"])
        if options["first_iteration"]:
            raise KeyboardInterrupt
        return original(*arguments, **options)

    original = epie.reconstruct
    monkeypatch.setattr(epie, "reconstruct", killed)
    with pytest.raises(KeyboardInterrupt):
        labels.reconstruct(scan, tmp_path / "cut", iterations=3, engine="numpy")
    assert calls == [0, 2]
    monkeypatch.setattr(epie, "reconstruct", original)
    rest = labels.reconstruct(scan, tmp_path / "cut", iterations=3, engine="numpy")
    np.testing.assert_array_equal(rest.field, whole.field)
    np.testing.assert_array_equal(rest.errors, whole.errors)
    assert not list((tmp_path / "cut").glob("*.partial.npz"))


def test_label_patches_are_the_averaged_truth_in_a_gauge_of_ours(scan, perfect):
    """The gauge (phase, ramp, scale) that the label had is gone; block means are left."""
    averaged = truth().reshape(34, 2, 28, 2).mean(axis=(1, 3))
    rows, cols = perfect.positions_px.T
    expected = np.lib.stride_tricks.sliding_window_view(averaged, (8, 8))[rows, cols]
    # the central 16 px of windows 6 px apart, in pixels of 2 px; two corners are dark
    assert {tuple(p) for p in perfect.positions_px.tolist()} < {
        (4 + 3 * i, 4 + 3 * k) for i in range(ROWS) for k in range(COLS)
    }
    assert perfect.provenance["patches_kept"] == len(perfect) == 31
    # averages of a ramp that is not quite that of the label; measured 2e-4
    ratio = perfect.amplitude / np.abs(expected)
    np.testing.assert_allclose(ratio, np.median(ratio), rtol=1e-3)
    # the phase differs by the ramp that was there and the one that was taken, and a constant
    slopes = np.array([0.01, -0.02]) + perfect.provenance["ramp_rad_per_px"]
    assert np.abs(slopes).max() < 0.03
    y, x = np.indices((8, 8))
    plane = 2 * (slopes[0] * (y + rows[:, None, None]) + slopes[1] * (x + cols[:, None, None]))
    rest = perfect.phase - np.angle(expected) - plane
    np.testing.assert_allclose(rest, np.median(rest), atol=1e-3)
    # rotated so that the mean of the lit field is real and positive
    waves = perfect.amplitude * np.exp(1j * perfect.phase)
    assert abs(np.angle(waves.mean())) < 0.2


def test_label_windows_must_fit(scan, perfect):
    label = labels.Label(truth().astype(np.complex64), scan.probe, np.ones(1), {})
    with pytest.raises(DataError, match="received window_px=20 and side_px=8"):
        labels.dataset(scan, label, side_px=8, window_px=20)


@pytest.fixture
def spec():
    profile = experiments.PROFILES["smoke"]
    return experiments.run_spec("trivial:constant", 0, profile, "scan-247/epie-3", real.PATCHES)


def test_runs_are_prepared_and_scored_on_the_block(perfect, spec, monkeypatch):
    monkeypatch.setattr(real, "load", lambda name, folder: perfect)
    monkeypatch.setattr(real, "TEST_FRACTION", 0.15)
    prepared = protocol.prepare(spec)
    parts = real.split(perfect)
    assert sorted([*prepared.train, *prepared.validation]) == list(parts.train)
    low, high = prepared.scaling.amplitude_range
    # from the training part alone
    assert high == pytest.approx(perfect.amplitude[prepared.train].max())
    assert low == pytest.approx(perfect.amplitude[prepared.train].min())
    monkeypatch.setattr("reproduce.evaluate.WINDOW_PX", 8)

    def knowing(patterns):
        np.testing.assert_array_equal(patterns, perfect.patterns[parts.test])
        return Patches(
            prepared.scaling.target_amplitude(perfect.amplitude[parts.test]),
            prepared.scaling.target_phase(perfect.phase[parts.test]),
        )

    found = protocol.score(knowing, None, prepared, spec)
    region = found.results["regions"]["blocked"]
    assert region["patches"] == found.results["split"]["test"] == len(parts.test)
    assert found.results["split"]["shared_pixels"] == 0
    assert region["phase"]["per-image"]["mse"] == region["phase"]["field"]["mse"] == 0.0
    kept = found.predictions
    np.testing.assert_array_equal(kept["phase"], kept["target_phase"])
    assert kept["amplitude"].dtype == np.float16


def test_measured_runs_refuse_what_is_simulated(spec):
    noisy = dataclasses.replace(spec, noise="reference")
    with pytest.raises(OptionError, match="is measured: expected jitter 0 and noise none"):
        protocol.prepare(noisy)
    with pytest.raises(OptionError, match="unknown measured scan 'scan-247/epie-0'"):
        protocol.prepare(dataclasses.replace(spec, object_name="scan-247/epie-0"))
    assert not real.is_measured("ltem")


def test_iterations_of_the_labels_are_part_of_a_run(spec):
    other = dataclasses.replace(spec, object_name="scan-247/epie-4")
    assert spec.hash != other.hash


def test_scan_is_chosen_by_what_is_there(monkeypatch):
    there = {nanoprobe.SCAN_247}
    monkeypatch.setattr(real, "_all_there", lambda names: set(names) <= there)
    assert real.object_name("quick") == "scan-247/epie-30"
    there.update(nanoprobe.SCAN_39)
    assert real.object_name("quick") == "scan-39"
    there.clear()
    assert real.object_name("quick") is None
