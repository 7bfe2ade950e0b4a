"""The audit: every finding fails here if it stops being true; the rule of the choice."""

import dataclasses
import functools
import itertools
import json
import re
import types
from pathlib import Path

import keras
import numpy as np
import pytest
import scipy.stats

from ppn_tf import complexity, data, degradations, metrics, models
from ppn_tf.errors import DataError
from reproduce import audit, compare, experiments
from reproduce.parts import (
    arithmetic,
    audit_branch,
    audit_data,
    audit_data_text,
    audit_polar,
    audit_protocol,
    audit_protocol_text,
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


# --- the protocol search ---

GAPS = dict.fromkeys(audit_protocol.METRICS, 0.5)


def row(value, seeds=3):
    by_metric = dict.fromkeys(audit_protocol.METRICS, value)
    return audit_protocol.Distance(by_metric, seeds)


def test_all_combinations_are_there_once():
    names = [one.name for one in audit_protocol.combinations()]
    assert len(names) == len(set(names)) == 2 * 2 * 5 * 3


def test_a_distance_is_in_units_of_the_published_gap():
    one = dataclasses.replace(compare.load_paper()["table1.clean.ppn.psnr_amp"], value=1.0)
    paper = {"row.psnr_amp": one, "row.psnr_phase": one}
    values = [{m: v for m in audit_protocol.METRICS} for v in (2.0, 3.0)]
    found = audit_protocol.distance(values, "row", paper, GAPS)
    assert found.by_metric == {"psnr_amp": 3.0, "psnr_phase": 3.0}
    assert found.family("psnr") == found.total == 3.0
    assert found.family("ssim") is None
    assert found.seeds == 2
    with pytest.raises(DataError, match="row: expected at least one seed, received none"):
        audit_protocol.distance([], "row", paper, GAPS)


def test_the_nearest_combination_is_chosen_by_the_two_cnn_rows_alone():
    distances = {
        "a": {"ptychonn": row(1.0), "ptynet": row(-1.0), "ppn": row(9.0)},
        "b": {"ptychonn": row(0.0), "ptynet": row(2.0), "ppn": row(0.0)},
        "c": {"ptychonn": row(3.0), "ptynet": row(3.0)},
    }
    found = audit_protocol.select(distances, list(distances), (0, 1, 2))
    # ppn would have chosen b; signs do not cancel: root mean squares 1, sqrt 2 and 3
    assert (found.block, found.runner_up) == ("a", "b")
    assert found.distance == pytest.approx(1.0)
    assert found.runner_up_distance == pytest.approx(np.sqrt(2))
    assert found.text == (
        "a, at a distance of 1.00; next is b at 1.41; chosen on the seeds 0, 1, 2 that all "
        "combinations have"
    )
    reach = audit_protocol.reach(distances)
    # a meets all within one gap, b those of ptychonn
    assert (reach.cells, reach.by_some, reach.most, reach.best) == (12, 12, 12, "a")


def test_nothing_is_chosen_before_every_combination_has_its_runs():
    complete = {"ptychonn": row(0.0), "ptynet": row(0.0)}
    distances = {"a": complete, "b": complete | {"ptynet": row(0.0, seeds=2)}, "c": {}}
    found = audit_protocol.select(distances, ["a", "b", "c"])
    assert found.block is None
    assert found.text == "not chosen: 1 of 3 combinations have runs"
    told = audit_protocol_text.protocol(distances, found)
    assert "the rest of the trainings" in told.missing
    assert "not chosen" in told.text


def made_up(near, seeds):
    """Records of every training; `near` gives the distance of a training in published units."""
    paper = compare.load_paper()
    found = {}
    for training in itertools.product(audit_protocol.TRANSFORMS, audit_protocol.JITTERS_PX):
        for model in audit_protocol.CHOOSING:
            for seed in seeds[training, model]:
                regions = {}
                for region in audit_protocol.REGIONS:
                    away = near.get((*training, region), 5.0)
                    channels = {}
                    for channel, short in (("amplitude", "amp"), ("phase", "phase")):
                        cell = {
                            m: paper[f"table1.clean.{model}.{m}_{short}"].value
                            + away * compare.column_gap(paper, "clean", f"{m}_{short}")
                            for m in ("mse", "psnr", "ssim")
                        }
                        score = {
                            "mse": cell["mse"], "psnr_db": cell["psnr"], "ssim": cell["ssim"] / 100
                        }  # fmt: skip
                        channels[channel] = dict.fromkeys(audit_protocol.CONVENTIONS, score)
                        worse = score | {"psnr_db": score["psnr_db"] + 9}
                        channels[channel]["per-image"] = channels[channel]["field"] = worse
                    regions[region] = channels
                record = {"results": {"regions": regions}, "hash": f"{training}{model}{seed}"}
                found.setdefault(training, {}).setdefault(model, {})[seed] = record
    return found


def every_training(seeds):
    product = itertools.product(audit_protocol.TRANSFORMS, audit_protocol.JITTERS_PX)
    return {(t, m): seeds for t in product for m in audit_protocol.CHOOSING}


def test_the_choice_is_made_on_the_seeds_that_all_combinations_have():
    seeds = every_training((0, 1, 2)) | {(("linear", 3), "ptychonn"): (0,)}
    records = made_up({("linear", 3, "lower-right"): 0.5}, seeds)
    common = audit_protocol.common_seeds(records)
    assert common == (0,)
    distances = audit_protocol.measure(audit_protocol.only(records, common))
    wanted = [one.name for one in audit_protocol.combinations()]
    found = audit_protocol.select(distances, wanted, common)
    assert found.block == "linear, 3 px, lower-right, flattened"
    assert found.distance == pytest.approx(0.5)
    assert found.provisional
    assert "chosen on the seed 0 that all combinations have (provisional" in found.text
    plain = json.loads(json.dumps(found.to_dict()))
    assert (plain["transform"], plain["jitter_px"], plain["region"], plain["convention"]) == (
        "linear", 3, "lower-right", "flattened"
    )  # fmt: skip
    others = audit_protocol.alternatives(records, common)
    assert {one["by"] for one in others} >= {"seed 0 alone", "ptynet alone", "SSIM alone"}
    assert all(one["block"].startswith("linear, 3 px, lower-right") for one in others)
    told = audit_protocol_text.protocol(distances, found, others)
    assert "By itself the same block is chosen by" in told.text
    assert len(told.rows) == 2 * audit_protocol_text.SHOWN
    assert told.rows[0]["combination"] == found.block


def test_without_a_common_seed_nothing_is_chosen():
    seeds = every_training((0,)) | {(("log1p", 0), "ptynet"): (1,)}
    records = made_up({}, seeds)
    assert audit_protocol.common_seeds(records) == ()
    assert audit_protocol.alternatives(records, ()) == []
    distances = audit_protocol.measure(records)
    wanted = [one.name for one in audit_protocol.combinations()]
    found = audit_protocol.select(distances, wanted, ())
    assert found.block is None
    assert audit_protocol.common_seeds({}) == ()


def test_records_become_distances_from_the_published_rows():
    score = {"mse": 0.0432, "psnr_db": 13.52, "ssim": 0.835}
    channels = {c: {v: score for v in audit_protocol.CONVENTIONS} for c in ("amplitude", "phase")}
    record = {"results": {"regions": {"rows": channels}}}
    found = audit_protocol.measure({("log1p", 0): {"ptychonn": {0: record}}})
    assert set(found) == {f"log1p, 0 px, rows, {c}" for c in audit_protocol.CONVENTIONS}
    by_metric = found["log1p, 0 px, rows, field"]["ptychonn"].by_metric
    # the published amplitude itself; phase 13.52 dB against 19.09 dB, in gaps of 0.31 dB
    assert [by_metric[m] for m in ("mse_amp", "psnr_amp", "ssim_amp")] == pytest.approx([0] * 3)
    assert by_metric["psnr_phase"] == pytest.approx((13.52 - 19.09) / (19.41 - 19.10))


def test_the_grid_of_the_search():
    grid = audit.grid(PAPER, "ltem", None)
    assert set(grid) == {(t, j) for t in ("linear", "log1p") for j in ("0 px", "3 px")}
    assert all(len(specs) == 3 * 3 for specs in grid.values())
    specs = [spec for specs in grid.values() for spec in specs]
    assert len({spec.hash for spec in specs}) == 36
    assert {spec.method for spec in specs} == {
        "ptychonn", "ptynet", "ppn[nonlocal_attention=None]"
    }  # fmt: skip
    # Table I's runs and Table II's are found again, not made twice
    sound = experiments.table1(PAPER, "ltem")["sound", "clean"]
    assert {s.hash for s in grid["log1p", "0 px"]} & {s.hash for s in sound}
    assert [s.model for s in audit.grid(SMOKE, "ltem", None)["log1p", "0 px"]] == ["ptynet"]
    assert len(audit.grid(QUICK, "ltem", None)["log1p", "0 px"]) == 3


# --- the document ---


def test_every_test_that_a_finding_names_is_here():
    source = "".join(p.read_text() for p in (ROOT / "reproduce/parts").glob("audit*_text.py"))
    named = set(re.findall(r'"(test_\w+)"', source))
    assert len(named) >= 10
    assert named <= set(globals())
