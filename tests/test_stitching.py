import time

import numpy as np
import pytest
import tifffile
from skimage.transform import resize

from ppn_tf import metrics, stitching
from ppn_tf.errors import DataError, OptionError


def raster(rows, cols, pitch):
    grid = np.stack(np.meshgrid(np.arange(rows), np.arange(cols), indexing="ij"), axis=-1)
    return pitch * grid.reshape(-1, 2)


@pytest.fixture
def field():
    random = np.random.default_rng(2)
    return random.normal(size=(40, 52)) + 1j * random.normal(size=(40, 52))


@pytest.fixture
def positions():
    random = np.random.default_rng(7)
    return np.stack([random.integers(0, 40 - 8 + 1, 300), random.integers(0, 52 - 6 + 1, 300)], 1)


def test_distance_weights_by_hand():
    weights = stitching.weights(32)
    assert weights.shape == (32, 32)
    assert weights[16, 16] == 1.0
    # d = 16 px of d_max = 16 sqrt(2): (1 - 1/sqrt(2))^2
    assert weights[0, 16] == pytest.approx((1 - 0.5**0.5) ** 2, rel=1e-12)
    # the corner would be 0 and is lifted to the floor
    assert weights[0, 0] == weights.min() == stitching.WEIGHT_FLOOR
    assert np.array_equal(stitching.weights((3, 5), "uniform"), np.ones((3, 5)))
    assert np.array_equal(stitching.weights(1), [[1.0]])


@pytest.mark.parametrize("kind", stitching.KINDS)
def test_true_patches_give_the_field_back(field, positions, kind):
    patches = stitching.extract(field, positions, (8, 6))
    result = stitching.stitch(
        patches, positions, field.shape, weights=stitching.weights((8, 6), kind)
    )
    # measured: 1.3e-15 at values of about 1
    np.testing.assert_allclose(
        result.field[result.coverage], field[result.coverage], rtol=0, atol=1e-13
    )
    assert np.isnan(result.field[~result.coverage]).all()
    covered = np.zeros(field.shape, bool)
    for row, col in positions:
        covered[row : row + 8, col : col + 6] = True
    assert np.array_equal(result.coverage, covered)


def test_weighted_mean_against_a_plain_loop(positions):
    random = np.random.default_rng(4)
    patches = random.normal(size=(300, 8, 6)).astype(np.float32)
    weights = stitching.weights((8, 6))
    total, weight_sum = np.zeros((40, 52)), np.zeros((40, 52))
    for patch, (row, col) in zip(patches, positions, strict=True):
        total[row : row + 8, col : col + 6] += weights * patch
        weight_sum[row : row + 8, col : col + 6] += weights
    result = stitching.stitch(patches, positions, (40, 52), weights=weights)
    assert result.field.dtype == np.float64
    inside = weight_sum > 0
    np.testing.assert_allclose(
        result.field[inside], (total / np.where(inside, weight_sum, 1))[inside], atol=1e-13
    )
    np.testing.assert_allclose(result.weight_sum, weight_sum, rtol=1e-13)


def test_a_pixel_covered_once_keeps_its_value():
    patches = np.arange(16.0).reshape(1, 4, 4)
    result = stitching.stitch(patches, [[1, 2]], (6, 6), weights=stitching.weights(4))
    # one rounding of x w / w
    np.testing.assert_allclose(result.field[1:5, 2:6], patches[0], rtol=1e-15)
    assert result.coverage.sum() == 16


def test_extract_and_accumulate_are_adjoint(field, positions):
    random = np.random.default_rng(5)
    patches = random.normal(size=(300, 8, 6)) + 1j * random.normal(size=(300, 8, 6))
    left = np.vdot(stitching.extract(field, positions, (8, 6)), patches)
    right = np.vdot(field, stitching.accumulate(patches, positions, field.shape))
    # measured: 2e-15 relative
    assert left == pytest.approx(right, rel=1e-12)


def test_batches_do_not_change_the_sum(monkeypatch, positions):
    patches = np.random.default_rng(6).integers(0, 100, (300, 8, 6)).astype(float)
    whole = stitching.accumulate(patches, positions, (40, 52))
    monkeypatch.setattr(stitching, "_BATCH_VALUES", 7 * 48)
    # whole numbers add up without rounding
    assert np.array_equal(stitching.accumulate(patches, positions, (40, 52)), whole)


def test_covered_crop():
    coverage = np.zeros((10, 12), bool)
    coverage[2:5, 3] = coverage[7, 8] = True
    assert stitching.covered_crop(np.zeros((10, 12)), coverage) == (slice(2, 8), slice(3, 9))
    with pytest.raises(DataError, match="no pixel of the field is covered"):
        stitching.covered_crop(np.zeros((2, 2)), np.zeros((2, 2), bool))
    with pytest.raises(DataError, match=r"received \(2, 2\) and \(2, 3\)"):
        stitching.covered_crop(np.zeros((2, 2)), np.zeros((2, 3), bool))


def test_released_stitching_at_the_true_pitch_is_exact_and_at_nine_is_not():
    truth = np.add.outer(np.arange(128.0), 3 * np.arange(128.0))
    patches = stitching.extract(truth, raster(13, 13, 8), 32)
    exact = stitching.stitch_released(patches, (13, 13), pitch_px=8)
    # measured: 2.3e-13 at values up to 508
    np.testing.assert_allclose(exact, truth[22:, 22:], atol=1e-10)
    released = stitching.stitch_released(patches, (13, 13))
    assert released.shape == (118, 118)
    assert np.isfinite(released).all()
    # the last pixel belongs to the last patch alone; elsewhere the picture is magnified
    assert released[-1, -1] == pytest.approx(truth[-1, -1])
    assert abs(released[40, 40] - truth[62, 62]) > 5


def test_released_stitching_refuses_what_does_not_fit():
    with pytest.raises(DataError, match="a 3x3 grid needs 9 patches, received 8"):
        stitching.stitch_released(np.zeros((8, 4, 4)), (3, 3))
    with pytest.raises(OptionError, match="pitch_px must be at least 1, received 0"):
        stitching.stitch_released(np.zeros((9, 4, 4)), (3, 3), pitch_px=0)
    with pytest.raises(OptionError, match=r"crop_px must be within 0..21, received 22"):
        stitching.stitch_released(np.zeros((9, 4, 4)), (3, 3))


def test_refusals(positions):
    patches, weights = np.zeros((300, 8, 6)), stitching.weights((8, 6))
    stitch = stitching.stitch
    with pytest.raises(
        DataError,
        match=r"1 of 300 patches of 8x6 px leave the 40x52 px field.*number 3 at .*\(33, 0\)",
    ):
        outside = positions.copy()
        outside[3] = (33, 0)
        stitch(patches, outside, (40, 52), weights=weights)
    with pytest.raises(DataError, match="whole pixels, received fractions"):
        stitch(patches, positions + 0.5, (40, 52), weights=weights)
    with pytest.raises(DataError, match="300 patches and 299 positions"):
        stitch(patches, positions[1:], (40, 52), weights=weights)
    with pytest.raises(DataError, match=r"patch shape \(8, 6\), received \(6, 8\)"):
        stitch(patches, positions, (40, 52), weights=weights.T)
    with pytest.raises(DataError, match="positive, received a minimum of 0.0"):
        stitch(patches, positions, (40, 52), weights=np.zeros((8, 6)))
    with pytest.raises(DataError, match="NaN or infinite"):
        stitch(patches * np.nan, positions, (40, 52), weights=weights)
    with pytest.raises(DataError, match=r"shape \(N, h, w\), received \(8, 6\)"):
        stitch(patches[0], positions, (40, 52), weights=weights)
    with pytest.raises(DataError, match=r"\(N, 2\) \(row, col\), received \(600,\)"):
        stitch(patches, positions.ravel(), (40, 52), weights=weights)
    with pytest.raises(OptionError, match="unknown weight kind 'gaussian': expected one of dist"):
        stitching.weights(8, "gaussian")
    with pytest.raises(OptionError, match="window_px must be one or two positive whole numbers"):
        stitching.extract(np.zeros((9, 9)), positions, 0)
    with pytest.raises(DataError, match=r"field must be \(H, W\), received shape \(9,\)"):
        stitching.extract(np.zeros(9), positions, 3)


def test_a_whole_scan_takes_about_a_second():
    positions = raster(161, 161, 3)
    patches = np.random.default_rng(0).random((len(positions), 32, 32), dtype=np.float32)
    start = time.process_time()
    stitching.stitch(patches, positions, (512, 512), weights=stitching.weights(32))
    # measured: 0.3 to 0.4 s on one core; the margin is for slow machines
    assert time.process_time() - start < 5.0


def test_released_stitching_of_perfect_patches_of_the_papers_object(data_dir):
    positions = raster(13, 13, 8) + [384, 0]
    # the whole canvas against the truth magnified 140/128, computed independently beforehand
    expected = {"design_amp.tiff": (18.5, 0.871), "design_tphi.tiff": (28.0, 0.920)}
    for name, (psnr, ssim) in expected.items():
        field = tifffile.imread(data_dir / "ltem" / name).astype(np.float64)
        field = (field - field.min()) / np.ptp(field)
        # SSIM tells a picture from its negative; the release inverts the phase
        field = 1.0 - field if name == "design_tphi.tiff" else field
        patches = stitching.extract(field, positions, 32)
        stitched = stitching.stitch_released(patches, (13, 13), crop_px=0)
        truth = resize(field[384:512, :128], (140, 140), order=1)
        # the first pixel has weight 0 and no other patch
        assert np.isnan(stitched[0, 0]) and np.isfinite(stitched).sum() == stitched.size - 1
        stitched[0, 0] = truth[0, 0] = 0.0
        score = metrics.evaluate(stitched, truth, data_range=1.0, convention="field")
        assert score.psnr_db == pytest.approx(psnr, abs=0.06)
        assert score.ssim == pytest.approx(ssim, abs=6e-4)
