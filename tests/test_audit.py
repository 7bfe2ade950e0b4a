"""The audit: every finding fails here if it stops being true; the rule of the choice."""

import dataclasses
import functools
import re
import types
from pathlib import Path

import keras
import numpy as np
import pytest
import scipy.stats

from ppn_tf import complexity, data, degradations, metrics, models
from reproduce import audit, compare, experiments
from reproduce.parts import (
    arithmetic,
    audit_branch,
    audit_data,
    audit_data_text,
    audit_finding,
    audit_polar,
    audit_text,
)

ROOT = Path(audit.__file__).resolve().parents[1]
PAPER, SMOKE, QUICK = (experiments.PROFILES[name] for name in ("paper", "smoke", "quick"))


@pytest.fixture(autouse=True, scope="module")
def one_reading_of_the_paper():
    """Parse paper.yaml once."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(compare, "load_paper", functools.cache(compare.load_paper))
        yield


@pytest.fixture(scope="module")
def stand_in():
    return data.load("stand-in")


# --- the network ---


@pytest.fixture(scope="module")
def followed():
    """One step of each network on patterns of 16 px, without compiling them."""
    rng = np.random.default_rng(0)
    patterns = rng.random((8, 16, 16, 1)).astype(np.float32) ** 2
    targets = {c: rng.random((8, 16, 16, 1)).astype(np.float32) for c in audit_data.CHANNELS}
    drawn = audit_branch.Images(
        patterns,
        targets,
        patterns[:6],
    )
    found, made = {}, {}
    for series in audit_branch.SERIES[1:]:
        # the quickest form without compiling
        plain = series.options | {"attention_implementation": "plain"}
        series = dataclasses.replace(series, options=plain)
        trainer = audit_branch.Trainer(series, side_px=16, eager=True)
        found[series.name] = audit_branch.follow(trainer, drawn, 0, (0, 1))
        made[series.name] = trainer
    return found, made


def test_the_released_branch_is_blind_from_the_first_step_on_and_its_repair_is_not(followed):
    found, _ = followed

    def ratio(name, step):
        value = found[name]["steps"][step]
        return value["sd"] / value["level"]

    # measured at 32 px: at most 1.2e-5 against at least 1.6e-2
    assert ratio("ppn-released", 1) < audit_text.BLIND
    assert ratio("ppn-released repaired", 1) > 1e-3
    assert ratio("ppn", 1) > 1e-3
    assert found["ppn-released"]["constant_branch_change"] < 1e-5
    assert found["ppn-released repaired"]["constant_branch_change"] > 1e-4


def test_the_released_centre_stays_and_ours_moves(followed):
    found, made = followed
    for gradient in found["ppn-released"]["first_center_gradient"].values():
        assert gradient == [0.0, 0.0]
    ours = found["ppn"]["first_center_gradient"]
    assert set(ours) == {"nonlocal_1_attention", "nonlocal_2_attention"}
    assert all(np.isfinite(g).all() and np.any(g) for g in ours.values())
    for name, moves in (("ppn-released", False), ("ppn", True)):
        center = np.asarray(made[name].model.get_layer("nonlocal_1_attention").center)
        assert bool(np.any(center)) is moves


def test_the_gradient_is_read_from_the_first_moment_of_adam():
    center = keras.Variable(np.zeros(2, "float32"), name="layer_center")
    optimizer = keras.optimizers.Adam(1e-3)
    optimizer.build([center])
    optimizer.apply([keras.ops.convert_to_tensor(np.float32([3e-4, -2e-5]))])
    holder = types.SimpleNamespace(optimizer=optimizer)
    found = audit_branch.Trainer.center_gradients(holder)
    assert set(found) == {"layer"}
    # float32 keeps 7 digits of the tenth that Adam stores
    np.testing.assert_allclose(found["layer"], [3e-4, -2e-5], rtol=1e-6)
    # the step is the learning rate, down to gradients where Adam's epsilon of 1e-7 counts
    small = 1e-3 / (1 + 1e-7 / (np.sqrt(1e-3) * 2e-5))
    np.testing.assert_allclose(np.array(center.numpy()), [-9.9e-4, small], rtol=1e-3)


def test_the_limit_of_t_is_bonferroni_over_all_coordinates():
    limit = scipy.stats.t.ppf(1 - 0.05 / 2 / 8, audit_branch.GRADIENT_BATCHES - 1)
    assert limit == pytest.approx(audit_text.T_LIMIT, abs=0.01)


def test_spread_and_pooling_by_hand():
    branch = np.zeros((2, 16, 16, 1))
    branch[0, :8, :8] = 2.0
    pooled = audit_branch.pooled(branch, 16)
    assert pooled.shape == (2, 2, 2, 1)
    assert pooled[0, 0, 0, 0] == 2.0
    found = audit_branch.spread(pooled)
    # one of four outputs is 2 and 0: sd 1, so sqrt(1 / 4); squares: 4 of 8
    assert found == {"sd": 0.5, "sd_max": 1.0, "level": pytest.approx(np.sqrt(0.5))}
    assert audit_branch.pooled(pooled, 16) is pooled


def test_noise_alone_walks_the_learning_rate_times_the_root_of_the_steps():
    record = {
        "spec": {"training": {"batch_size": 32}},
        "results": {
            "train_patches": 100,
            "history": [
                {"learning_rate": 3e-3, "centers": {"a": [0.1, 0.2]}},
                {"learning_rate": 4e-3, "centers": {"a": [0.3, 0.4]}},
            ],
        },
    }
    found = audit_branch.center_path(record)
    # 4 steps an epoch: sqrt(4 (9 + 16)) 1e-3
    assert found["random_walk"] == pytest.approx(0.01)
    assert found["centers"] == {"a": [[0.1, 0.2], [0.3, 0.4]]}


def test_the_released_weight_is_negative_at_the_centre_pixel_alone():
    found = audit_polar.measure()
    # 1 / (1 + ln(1e-6) / ln(sqrt(512)))
    assert found["centre"] == pytest.approx(1 / (1 - 13.815511 / 3.119162), rel=1e-5)
    assert found["negative_pixels"] == 1
    assert found["negative_pixels_paper"] == 0
    assert found["released"][1] == pytest.approx(1.0, abs=1e-5)
    assert found["paper"][0] == 1.0
    assert found["paper"][-1] == pytest.approx(0.5)
    assert found["factor"][2.0] == pytest.approx(np.exp(-1.29161 * 2), rel=1e-4)


def test_attention_on_one_key_by_hand():
    plain = np.array([[np.log(3.0), 0.0], [-np.log(3.0), 0.0]])
    found = audit_branch.dc_share(plain, np.array([-1.0, 1.0]), 0)
    # liked: logit ln 3 turns into -ln 3: 2 (1/3) / (1 + 1/3); with weight 1 2 * 3 / 4
    assert found == pytest.approx(
        {
            "liked_released": 0.5,
            "liked_one": 1.5,
            "disliked_released": 1.5,
            "disliked_one": 0.5,
        }
    )


def test_sizes_are_mebibytes_of_float32():
    counted = {
        name: complexity.parameter_counts(models.create(name))
        for name in ("ppn-released", "ppn", "ptynet")
    }
    finding = audit_text.parameters(counted)
    by_name = {row["network"]: row for row in finding.rows}
    assert by_name["ppn-released"]["parameters"] == "1,603,724"
    for name in ("ppn-released", "ptynet"):
        assert by_name[name]["MiB (2^20 bytes)"] == by_name[name]["published MB"]
        assert by_name[name]["MB (10^6 bytes)"] != by_name[name]["published MB"]
    assert by_name["ppn-released"]["parameters that it means"] == "1.60 M"


def test_contradictions_are_counted_from_the_printed_numbers():
    findings = arithmetic.findings(compare.load_paper())
    told = audit_text.consistency(findings)
    assert sum(told.measured["counts"].values()) == len(findings)
    assert len(told.rows) == told.measured["counts"][arithmetic.DOES_NOT_HOLD] > 0
    # PSNR below -10 log10(MSE), such as 13.52 dB for 0.0432 (13.65 dB): five cells of 16
    below = {name for name in told.measured["not_holding"] if re.search("psnr_(amp|phase)$", name)}
    cells = "clean.ptychonn.psnr_amp clean.ptychonn.psnr_phase clean.dpi.psnr_phase"
    cells += " noisy.dpi.psnr_amp noisy.ppn.psnr_phase"
    wanted = {f"consistency.{cell}" for cell in cells.split()}
    assert {name for name in below if name.startswith("consistency.")} == wanted


# --- data ---


def test_shared_pixels_follow_from_the_raster(stand_in):
    found = {one["region"]: one for one in audit_data.leaks({0: stand_in})}
    # 3 of 13 rows share 3/4, 1/2 and 1/4 of their pixels: 1.5 / 13
    assert found["rows"]["patch_pixels_shared"] == pytest.approx(1.5 / 13)
    # rows 384 to 511 are tested, 384 to 407 covered by training: 24 / 128
    assert found["lower-left"]["field_pixels_shared"] == pytest.approx(24 / 128)
    assert found["first-release"]["patches_in_training"] == 35 * 48
    assert found["gap"]["patch_pixels_shared"] == 0
    assert audit_data_text.leaks(list(found.values()), []).rows[0]["jitter (px)"] == "0"


def test_runs_are_compared_with_their_own_gap():
    def record(gap, rows):
        def score(psnr_db):
            return {"amplitude": {"per-image": {"psnr_db": psnr_db, "ssim": psnr_db / 100}}}

        return {"results": {"regions": {"gap": score(gap), "rows": score(rows)}}}

    (found,) = audit_data.against_gap({"ppn": [record(10.0, 11.0), record(10.0, 13.0)]})
    assert found["n"] == 2
    assert found["against_gap"]["rows"] == pytest.approx([2.0, 2.0])


def test_flattened_ssim_depends_on_the_order_of_patches_and_the_others_do_not(
    stand_in, monkeypatch
):
    chosen = ("blur, sigma 2 px", "offset of each patch, sd 0.15")
    few = {name: audit_data.DEGRADATIONS[name] for name in chosen}
    monkeypatch.setattr(audit_data, "DEGRADATIONS", few)
    monkeypatch.setattr(audit_data, "ORDERS", 3)
    found = audit_data.ssim_conventions(stand_in)
    assert len(found) == 4
    offset = next(
        one
        for one in found
        if one["degradation"].startswith("offset") and one["channel"] == "phase"
    )
    # a constant a patch: structure is untouched, and the flattened window mixes patches
    assert offset["flattened"] < offset["per-image"] - 0.1
    low, high = offset["flattened_orders"]
    assert low > offset["flattened"] + 0.05
    assert low < high
    indices = data.region_indices(stand_in, "lower-left")
    true = audit_data.targets(stand_in, indices)["phase"].astype(float)
    worse = degradations.blur(true, 2.0)
    order = np.random.default_rng(0).permutation(len(true))
    for stack in ((worse, true), (worse[order], true[order])):
        assert metrics.ssim(*stack, data_range=1.0) == pytest.approx(
            metrics.ssim(worse, true, data_range=1.0), rel=1e-12
        )
    assert "shuffled" in audit_data_text.flattened_ssim(found).text


def test_the_released_pitch_blurs_perfect_patches_and_the_true_step_does_not(stand_in):
    found = {(one["pitch"], one["channel"]): one for one in audit_data.released_stitching(stand_in)}
    names = ("9 px, against the truth as it lies", "9 px, against the truth magnified 140/128")
    for channel in ("amplitude", "phase"):
        as_it_lies, magnified = (found[name, channel] for name in names)
        # rounding alone: the weighted mean of equal values, in float64 of float32 patches
        assert found["8 px", channel]["mse"] < 1e-25
        assert found["8 px", channel]["ssim"] == pytest.approx(1.0)
        assert as_it_lies["psnr_db"] < magnified["psnr_db"] < 40
        assert magnified["side_px"] == 12 * 9 + 32


def test_noise_on_the_inputs_follows_from_its_definition():
    every = audit_data.noise("stand-in", ("gaussian-only",))
    found = {(one["noise"], one["transform"]): one for one in every}
    released = found["released, Gaussian sd 0.01 on raw intensity", "linear"]
    # clipping at zero makes it smaller where pixels are dark
    limit = 0.01 / released["counts_max"]
    assert 0.5 * limit < released["rms"] <= 1.01 * limit
    ours = found["gaussian-only", "linear"]
    assert ours["counts_per_pattern"] == pytest.approx(5e4, rel=1e-5)
    assert 0.5 / ours["counts_max"] < ours["rms"] < 1.01 / ours["counts_max"]


def test_cost_of_an_epie_update():
    positions = audit_data.positions_at(0.3)
    # 480 px / 22.4 px and 96 / 22.4: 21 and 4 whole steps
    assert positions == {"512 x 512 px": 22**2, "128 x 128 px": 5**2}
    told = audit_data_text.speed(positions)
    # 125 s / (484 x 200) and / (484 x 100)
    found = told.measured["ms_per_update"]["512 x 512 px"]
    assert found == pytest.approx([1.29132, 2.58264], rel=1e-4)


# --- the document ---


def test_every_test_that_a_finding_names_is_here():
    source = "".join(p.read_text() for p in (ROOT / "reproduce/parts").glob("audit*_text.py"))
    named = set(re.findall(r'"(test_\w+)"', source))
    assert len(named) >= 13
    for name in named:
        file = ROOT / audit_finding.where(name).partition("::")[0]
        assert f"def {name}(" in file.read_text(), name
