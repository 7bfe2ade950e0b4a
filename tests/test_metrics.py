import subprocess
import sys
import time

import numpy as np
import pytest
import tifffile
from scipy.ndimage import gaussian_filter
from skimage.metrics import peak_signal_noise_ratio, structural_similarity

from ppn_tf import metrics, stitching
from ppn_tf.errors import DataError, OptionError


@pytest.fixture
def pair():
    random = np.random.default_rng(3)
    truth = random.random((9, 32, 32))
    return truth + random.normal(0.0, 0.1, truth.shape), truth


def test_mse_and_psnr_by_hand():
    truth = np.zeros((2, 8, 8))
    prediction = np.full((2, 8, 8), 0.1)
    assert metrics.mse(prediction, truth) == pytest.approx(0.01, rel=1e-14)
    assert metrics.psnr(prediction, truth, data_range=1.0) == pytest.approx(20.0, rel=1e-14)
    # range 10: 10 log10(100 / 0.01)
    assert metrics.psnr(prediction, truth, data_range=10) == pytest.approx(40.0, rel=1e-14)


def test_psnr_pools_the_error_and_image_mean_does_not():
    truth = np.zeros((2, 8, 8))
    prediction = np.stack([np.full((8, 8), 0.1), np.full((8, 8), 0.01)])
    # patches have 20 and 40 dB; the pooled error is (0.01 + 0.0001) / 2
    assert metrics.psnr_image_mean(prediction, truth, data_range=1) == pytest.approx(30.0)
    pooled = -10 * np.log10(0.00505)
    assert metrics.psnr(prediction, truth, data_range=1) == pytest.approx(pooled)


def test_psnr_equals_skimage(pair):
    expected = peak_signal_noise_ratio(pair[1], pair[0], data_range=2.5)
    assert metrics.psnr(*pair, data_range=2.5) == pytest.approx(expected, rel=1e-13)


def test_no_error_gives_infinity_and_none_in_json(pair):
    assert metrics.psnr(pair[1], pair[1], data_range=1.0) == float("inf")
    assert metrics.psnr_image_mean(pair[1], pair[1], data_range=1.0) == float("inf")
    score = metrics.evaluate(pair[1], pair[1], data_range=1.0, convention="per-image")
    assert score.to_dict() == {"mse": 0.0, "psnr_db": None, "ssim": pytest.approx(1.0)}


@pytest.mark.parametrize("data_range", [1.0, 3.0])
@pytest.mark.parametrize("channel", [False, True])
def test_per_image_ssim_equals_skimage(pair, data_range, channel):
    prediction, truth = pair
    expected = np.mean(
        [
            structural_similarity(a, b, data_range=data_range)
            for a, b in zip(truth, prediction, strict=True)
        ]
    )
    if channel:
        prediction, truth = prediction[..., None], truth[..., None]
    ours = metrics.ssim(prediction, truth, data_range=data_range, convention="per-image")
    # measured: 1.1e-16
    assert ours == pytest.approx(expected, abs=1e-12)


def test_flattened_and_field_ssim_equal_skimage(pair):
    prediction, truth = pair
    expected = structural_similarity(
        truth.reshape(9, -1), prediction.reshape(9, -1), data_range=1.0
    )
    ours = metrics.ssim(prediction, truth, data_range=1.0, convention="flattened")
    assert ours == pytest.approx(expected, abs=1e-12)
    expected = structural_similarity(truth[0], prediction[0], data_range=1.0)
    ours = metrics.ssim(prediction[0], truth[0], data_range=1.0, convention="field")
    assert ours == pytest.approx(expected, abs=1e-12)


def test_float32_input_is_summed_in_double(pair):
    single = tuple(values.astype(np.float32) for values in pair)
    double = tuple(values.astype(np.float64) for values in single)
    assert metrics.ssim(*single, data_range=1.0) == metrics.ssim(*double, data_range=1.0)


def test_flattened_ssim_depends_on_order_and_per_image_does_not(pair):
    smooth = np.cumsum(np.random.default_rng(0).normal(size=(40, 16, 16)), axis=0) / 20
    blurred = 0.5 * (smooth + np.roll(smooth, 1, axis=2))
    order = np.random.default_rng(1).permutation(40)
    values = {
        convention: [
            metrics.ssim(blurred[index], smooth[index], data_range=1.0, convention=convention)
            for index in (slice(None), order)
        ]
        for convention in ("per-image", "flattened")
    }
    assert values["per-image"][0] == pytest.approx(values["per-image"][1], abs=1e-12)
    assert abs(values["flattened"][0] - values["flattened"][1]) > 0.005


def test_a_worse_image_scores_worse(pair):
    _, truth = pair
    noise = np.random.default_rng(5).normal(size=truth.shape)
    scores = [
        metrics.evaluate(truth + level * noise, truth, data_range=1.0) for level in (0.05, 0.1, 0.2)
    ]
    assert scores[0].mse < scores[1].mse < scores[2].mse
    assert scores[0].psnr_db > scores[1].psnr_db > scores[2].psnr_db
    assert scores[0].ssim > scores[1].ssim > scores[2].ssim


def test_clipping_is_off_unless_asked(pair):
    truth = np.zeros((1, 8, 8))
    prediction = np.full((1, 8, 8), -0.5)
    assert metrics.mse(prediction, truth) == 0.25
    assert metrics.mse(prediction, truth, clip=(0.0, 1.0)) == 0.0
    score = metrics.evaluate(prediction, truth, data_range=1.0, clip=(-0.1, 1.0))
    assert score.mse == pytest.approx(0.01)
    with pytest.raises(OptionError, match=r"low < high, received \(1.0, 0.0\)"):
        metrics.mse(prediction, truth, clip=(1.0, 0.0))


@pytest.mark.parametrize("data_range", [None, 0, -1.0, float("nan"), float("inf"), "1", True])
@pytest.mark.parametrize("name", ["psnr", "psnr_image_mean", "ssim", "evaluate"])
def test_the_data_range_is_never_guessed(pair, name, data_range):
    with pytest.raises(OptionError, match="data_range must be a positive number, received"):
        getattr(metrics, name)(*pair, data_range=data_range)
    with pytest.raises(OptionError, match="received None: it is never guessed"):
        getattr(metrics, name)(*pair)


def test_refusals(pair):
    prediction, truth = pair
    with pytest.raises(DataError, match=r"received \(9, 32, 32\) and \(8, 32, 32\)"):
        metrics.mse(prediction, truth[:8])
    holed = prediction.copy()
    holed[0, 0, :2] = np.nan
    with pytest.raises(DataError, match="prediction has 2 NaN or infinite values of 9216"):
        metrics.evaluate(holed, truth, data_range=1.0)
    with pytest.raises(DataError, match="dtype complex128: give amplitude or phase"):
        metrics.mse(prediction + 0j, truth)
    with pytest.raises(DataError, match=r"prediction is empty, received shape \(0, 4, 4\)"):
        metrics.mse(np.zeros((0, 4, 4)), np.zeros((0, 4, 4)))
    with pytest.raises(OptionError, match="unknown SSIM convention 'stack': expected one of per-"):
        metrics.ssim(*pair, data_range=1.0, convention="stack")
    with pytest.raises(DataError, match=r"one \(H, W\) field, received shape \(9, 32, 32\)"):
        metrics.ssim(*pair, data_range=1.0, convention="field")
    with pytest.raises(DataError, match=r"\(N, H, W, 1\), received \(32, 32\)"):
        metrics.ssim(prediction[0], truth[0], data_range=1.0)
    with pytest.raises(DataError, match=r"at least 7 patches, received shape \(6, 32, 32\)"):
        metrics.ssim(prediction[:6], truth[:6], data_range=1.0, convention="flattened")
    with pytest.raises(DataError, match=r"at least 7 pixels a side, received shape \(9, 6, 6\)"):
        metrics.ssim(prediction[:, :6, :6], truth[:, :6, :6], data_range=1.0)


def test_eight_hundred_patches_take_well_below_a_second():
    truth = np.random.default_rng(0).random((800, 32, 32))
    start = time.process_time()
    metrics.ssim(truth, truth, data_range=1.0)
    # measured: 0.06 s on one core; skimage in a loop takes 0.24 s
    assert time.process_time() - start < 1.0


def test_import_brings_no_network_library():
    modules = "metrics, stitching, spectrum, statistics, trivial"
    code = f"import sys; from ppn_tf import {modules}; "
    code += "print('tensorflow' in sys.modules, 'keras' in sys.modules)"
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert result.stdout.split() == ["False", "False"], result.stderr


def test_reference_numbers_on_the_papers_object(data_dir):
    amplitude = tifffile.imread(data_dir / "ltem" / "design_amp.tiff").astype(np.float64)
    phase = tifffile.imread(data_dir / "ltem" / "design_tphi.tiff").astype(np.float64)
    grid = np.stack(np.meshgrid(np.arange(48, 61), np.arange(13), indexing="ij"), axis=-1)
    positions = 8 * grid.reshape(-1, 2)
    amplitude, phase = (
        stitching.extract((field - field.min()) / np.ptp(field), positions, 32)
        for field in (amplitude, phase)
    )
    # independently computed on the 169 patches, printed to 2 decimals of a decibel
    for truth, half, own in ((amplitude, 6.02, 6.85), (phase, 13.03, 15.76)):
        constant = np.full_like(truth, 0.5)
        assert metrics.psnr(constant, truth, data_range=1.0) == pytest.approx(half, abs=0.005)
        means = np.broadcast_to(truth.mean(axis=(1, 2), keepdims=True), truth.shape)
        assert metrics.psnr(means, truth, data_range=1.0) == pytest.approx(own, abs=0.005)
    # likewise, to 3 decimals of SSIM: blurs of 1, 2 and 3 px
    for sigma, flattened, single in ((1, 0.892, 0.839), (2, 0.781, 0.660), (3, 0.688, 0.504)):
        blurred = gaussian_filter(amplitude, (0, sigma, sigma))
        for convention, expected in (("flattened", flattened), ("per-image", single)):
            value = metrics.ssim(blurred, amplitude, data_range=1.0, convention=convention)
            assert value == pytest.approx(expected, abs=6e-4)
