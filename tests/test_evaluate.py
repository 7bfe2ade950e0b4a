"""The evaluation of a run on the drawn stand-in object, by predictors known by heart."""

import dataclasses

import numpy as np
import pytest
import scipy.ndimage

pytest.importorskip("keras")

from ppn_tf import data, metrics, models  # noqa: E402
from ppn_tf.inference import Patches  # noqa: E402
from ppn_tf.training import TrainingConfig  # noqa: E402
from reproduce import evaluate as evaluation  # noqa: E402
from reproduce.specification import RunSpec, digest  # noqa: E402

SPEC = RunSpec(
    "trivial:constant", 0, TrainingConfig(epochs=1), object_name="stand-in", evaluation="rows"
)


@pytest.fixture(scope="module")
def dataset():
    return data.load("stand-in")


@pytest.fixture(scope="module")
def scaling(dataset):
    return dataset.fit_scaling(data.train_indices(dataset), "log1p")


@pytest.fixture(scope="module")
def truth(dataset, scaling):
    return Patches(scaling.target_amplitude(dataset.amplitude), scaling.target_phase(dataset.phase))


def half(patterns):
    values = np.full(patterns.shape, 0.5, "float32")
    return Patches(values, values)


@pytest.fixture(scope="module")
def constant(dataset, scaling):
    return evaluation.evaluate(half, dataset, scaling, SPEC.to_dict())


def test_truth_is_perfect(dataset, scaling, truth):
    # equal patterns (flat parts of the object) may have different targets: ask by position
    indices = data.region_indices(dataset, "lower-right")
    part = Patches(truth.amplitude[indices], truth.phase[indices])
    found = evaluation.score(part, dataset, indices, scaling)
    assert found["patches"] == 169
    for channel in ("amplitude", "phase"):
        assert set(found[channel]) == {"flattened", "per-image", "field"}
        for scores in found[channel].values():
            assert scores["mse"] == 0.0
            assert scores["psnr_db"] is None  # infinite
            assert scores["ssim"] == pytest.approx(1.0, abs=1e-9)


def test_scores_against_metrics(dataset, scaling, truth, constant):
    assert set(constant.results["regions"]) == set(evaluation.TEST_ROW_REGIONS)
    for region, found in constant.results["regions"].items():
        indices = data.region_indices(dataset, region)
        assert found["patches"] == len(indices)
        for channel in ("amplitude", "phase"):
            target = getattr(truth, channel)[indices]
            by_hand = np.mean((target.astype("float64") - 0.5) ** 2)
            scores = found[channel]
            for convention in ("flattened", "per-image"):
                # the mean of a million float64 squares
                assert scores[convention]["mse"] == pytest.approx(by_hand, rel=1e-9)
                expected = metrics.ssim(
                    np.full_like(target, 0.5), target, data_range=1.0, convention=convention
                )
                assert scores[convention]["ssim"] == expected
            psnr = -10 * np.log10(by_hand)
            assert scores["per-image"]["psnr_db"] == pytest.approx(psnr, rel=1e-9)


def test_field_is_stitched_at_the_true_positions(dataset, scaling, truth, constant):
    """The stitched truth is the object itself, so the error of 0.5 is known."""
    found = constant.results["regions"]["lower-right"]["phase"]["field"]
    obj = data.load_object("stand-in")
    field = scaling.target_phase(obj.phase_rad[384:512, 384:512]).astype("float64")
    # stitching averages equal float32 values; measured 1e-8
    assert found["mse"] == pytest.approx(np.mean((field - 0.5) ** 2), rel=1e-5)


def test_few_patches_have_no_flattened_ssim(dataset, scaling, truth):
    indices = np.arange(6)
    part = Patches(truth.amplitude[indices], truth.phase[indices])
    found = evaluation.score(part, dataset, indices, scaling)
    assert set(found["amplitude"]) == {"per-image", "field"}


def test_predictions_kept_for_figures(dataset, constant):
    kept = constant.predictions
    assert kept["amplitude"].dtype == kept["phase"].dtype == np.float16
    assert kept["amplitude"].shape == (169, 32, 32)
    indices = data.region_indices(dataset, "lower-right")
    np.testing.assert_array_equal(kept["positions_px"], dataset.positions_px[indices])
    assert sum(values.nbytes for values in kept.values()) < 2**20


def test_results_are_plain_and_repeatable(dataset, scaling, constant):
    again = evaluation.evaluate(half, dataset, scaling, SPEC.to_dict())
    assert digest(again.results) == digest(constant.results)


def test_spectra_of_truth_and_of_a_constant(dataset, scaling, constant):
    for region in ("lower-right", "gap"):
        for channel in ("amplitude", "phase"):
            pair = constant.results["spectrum"][region][channel]
            for kind in ("patches", "field"):
                assert pair["prediction"][kind]["bands"] is None
                shares = pair["truth"][kind]["bands"]
                # the corners beyond the Nyquist radius belong to no band
                assert 0.9 < sum(shares.values()) <= 1.0 + 1e-9
    profile = constant.results["spectrum"]["lower-right"]["phase"]["truth"]["field"]
    assert len(profile["frequency"]) == len(profile["power"]) > 10
    # a strip has no diagonal
    assert "power" not in constant.results["spectrum"]["gap"]["phase"]["truth"]["field"]


def test_a_displaced_answer_scores_between(dataset, scaling, truth):
    """Errors of different kinds move the conventions as they should."""
    indices = data.region_indices(dataset, "lower-right")
    shifted = Patches(
        np.roll(truth.amplitude[indices], 1, axis=2), np.roll(truth.phase[indices], 1, axis=2)
    )
    found = evaluation.score(shifted, dataset, indices, scaling)["amplitude"]
    for convention, scores in found.items():
        assert 0.3 < scores["ssim"] < 0.999, convention
        assert 0.0 < scores["mse"] < 0.2, convention


@pytest.mark.parametrize(
    ("holes", "expected"),
    [
        ([], (slice(1, 9), slice(2, 12))),
        ([(1, slice(2, 8))], (slice(2, 9), slice(2, 12))),  # ragged top
        ([(slice(1, 9), 11), (8, slice(2, 6))], (slice(1, 8), slice(2, 11))),
    ],
)
def test_solid_box(holes, expected):
    coverage = np.zeros((10, 14), bool)
    coverage[1:9, 2:12] = True
    for hole in holes:
        coverage[hole] = False
    box = evaluation.solid_box(coverage)
    assert coverage[box].all()
    assert box == expected


def test_jittered_scans_are_cut_to_a_solid_field(scaling):
    dataset = data.load("stand-in", jitter_px=3, seed=1)
    found = evaluation.evaluate(half, dataset, scaling, SPEC.to_dict()).results["regions"]
    for region in evaluation.TEST_ROW_REGIONS:
        assert np.isfinite(found[region]["phase"]["field"]["mse"])


def test_predictor_gets_each_pattern_once(dataset, scaling):
    calls = []

    def counting(patterns):
        calls.append(len(patterns))
        return half(patterns)

    evaluation.evaluate(counting, dataset, scaling, SPEC.to_dict())
    assert calls == [13 * 61]


@pytest.mark.long
def test_full_evaluation(dataset, scaling):
    spec = dataclasses.replace(SPEC, evaluation="full")
    results = evaluation.evaluate(half, dataset, scaling, spec.to_dict()).results
    assert set(results["regions"]) == set(data.REGIONS)
    assert list(results["overlap"]) == [f"{overlap:.2f}" for overlap in evaluation.OVERLAPS]
    steps = [entry["step_px"] for entry in results["overlap"].values()]
    assert steps == sorted(steps, reverse=True)
    assert set(results["curved"]) == set(evaluation.CURVED)
    assert len(digest(results)) == 64


def test_sharpness_of_the_truth_and_of_a_constant(dataset, scaling, truth, constant):
    indices = data.region_indices(dataset, "lower-right")
    perfect = evaluation.sharp(
        Patches(truth.amplitude[indices], truth.phase[indices]), dataset, indices, scaling
    )
    for channel in ("amplitude", "phase"):
        for kind in ("patches", "field"):
            found = perfect[channel][kind]
            assert found["edge"]["prediction_px"] == found["edge"]["truth_px"]
            # a perfect step; slopes of the phase widen it by a measured 0.030 px
            assert found["edge"]["truth_px"] == pytest.approx(0.8, abs=0.05)
            assert found["edge"]["lost"] == 0.0
            assert found["contrast"] == pytest.approx(1.0)
            flat = constant.results["sharpness"][channel][kind]
            assert flat["edge"]["lost"] == 1.0
            assert flat["edge"]["prediction_px"] is None
            assert flat["contrast"] == 0.0
        seams = perfect[channel]["seams"]
        # stitching averages equal float32 values: the rest is rounding
        assert seams["prediction"] == pytest.approx(seams["truth"], rel=1e-6)


def test_a_blurred_field_is_measured_as_such(dataset, scaling, truth):
    indices = data.region_indices(dataset, "lower-right")
    blurred = [
        scipy.ndimage.gaussian_filter(getattr(truth, channel)[indices], (0, 1.2, 1.2))
        for channel in ("amplitude", "phase")
    ]
    found = evaluation.sharp(Patches(*blurred), dataset, indices, scaling)["amplitude"]
    # 2.563 x 1.2 px is 3.08; measured 2.99 in patches, 2.98 in the field
    assert found["patches"]["edge"]["prediction_px"] == pytest.approx(3.08, abs=0.25)
    assert found["field"]["edge"]["prediction_px"] == pytest.approx(3.08, abs=0.25)


def test_attention_is_measured_on_networks_that_have_it(dataset, constant):
    assert constant.results["attention"] is None
    found = evaluation.attention(models.create("ppn"), dataset)
    assert found["patterns"] == evaluation.ATTENTION_PATTERNS
    assert list(found["layers"]) == ["nonlocal_1_attention", "nonlocal_2_attention"]
    assert len(digest(found)) == 64
    assert evaluation.attention(models.create("ptynet"), dataset) is None


def test_the_middle_of_curved_samples_is_kept_with_seed_0(scaling, monkeypatch):
    monkeypatch.setattr(evaluation, "CURVED", ("siemens-star",))
    spec = dataclasses.replace(SPEC, evaluation="full")

    def ramp(patterns):
        # every patch the same ramp along its columns
        values = np.broadcast_to(np.linspace(0, 1, 32, dtype="float32"), patterns.shape)
        return Patches(values, 1 - values)

    scores, fields = evaluation.curved(ramp, scaling, spec.to_dict())
    assert set(scores) == {"siemens-star"}
    assert set(fields) == {"curved_siemens-star_amplitude", "curved_siemens-star_phase"}
    amplitude, phase = fields.values()
    assert amplitude.shape == phase.shape == (256, 256)
    assert amplitude.dtype == np.float16
    assert np.all(amplitude * 256 == np.round(amplitude * 256))
    # steps of 16 px, the crop starts at pixel 128: the pattern repeats
    np.testing.assert_array_equal(amplitude[:, :16], amplitude[:, 16:32])
    np.testing.assert_allclose(amplitude + phase, 1, atol=2 / 256)
    other = dataclasses.replace(spec, seed=1)
    assert evaluation.curved(ramp, scaling, other.to_dict())[1] == {}
