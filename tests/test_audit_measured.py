"""What the audit measures by short trainings: records, statistics, designs, made-up outcomes."""

import json
import math
from types import SimpleNamespace

import keras
import numpy as np
import pytest
from statsmodels.stats.power import TTestPower

from ppn_tf import data, models
from ppn_tf.errors import DataError
from reproduce.parts import (
    audit_dose,
    audit_fields,
    audit_leaks,
    audit_pilot,
    audit_records,
    audit_shift,
    audit_short,
)


@pytest.fixture(scope="module")
def stand_in():
    return data.load("stand-in")


# --- records ---


def plan(units, settings=None):
    return audit_records.Plan("toy", settings or {"ends": (1, 2)}, units)


def test_a_record_goes_on_where_it_was_interrupted(tmp_path):
    calls = []

    def unit(value):
        calls.append(value)
        if value == 2 and calls.count(2) == 1:
            raise KeyboardInterrupt
        return {"value": value}

    units = {str(v): (lambda v=v: unit(v)) for v in (1, 2, 3)}
    with pytest.raises(KeyboardInterrupt):
        audit_records.measure(plan(units), tmp_path, "CPU")
    assert not audit_records.path(tmp_path, "toy").exists()
    record = audit_records.measure(plan(units), tmp_path, "CPU")
    assert calls == [1, 2, 2, 3]
    assert audit_records.results(record) == {str(v): {"value": v} for v in (1, 2, 3)}
    assert {"backend", "device", "versions", "commits", "seconds"} == set(record["how"])
    assert not audit_records.path(tmp_path, "toy", partial=True).exists()
    # more units later: only those are made
    more = units | {"4": lambda: unit(4)}
    assert len(audit_records.measure(plan(more), tmp_path, "CPU")["units"]) == 4
    assert calls == [1, 2, 2, 3, 4]
    audit_records.measure(plan(units), tmp_path, "CPU", again=True)
    assert calls[5:] == [1, 2, 3]


def test_a_changed_record_or_one_of_other_settings_counts_as_missing(tmp_path, capsys):
    record = audit_records.measure(plan({"1": lambda: {"value": 1}}), tmp_path, "CPU")
    assert audit_records.read(tmp_path, "toy", {"ends": (1, 3)}) is None
    assert "--measure toy" in capsys.readouterr().err
    record["units"]["1"]["result"]["value"] = 2
    audit_records.path(tmp_path, "toy").write_text(json.dumps(record))
    assert audit_records.read(tmp_path, "toy", {"ends": (1, 2)}) is None
    assert "do not fit their digest" in capsys.readouterr().err
    assert audit_records.read(tmp_path, "other", {}) is None
    assert audit_records.results(None) == {}


# --- statistics ---


@pytest.mark.parametrize("n", [3, 5])
def test_power_against_statsmodels(n):
    # one-sample t of the differences; its numerical noncentral t agrees to 1e-6
    reference = TTestPower().power(0.8, nobs=n, alpha=0.05)
    assert audit_pilot.power(1.6, 2.0, n) == pytest.approx(reference, abs=1e-4)
    found = audit_pilot.detectable(2.0, n)
    assert audit_pilot.power(found, 2.0, n) == pytest.approx(0.8, abs=1e-6)
    count = audit_pilot.needed(2.0, 1.6)
    assert TTestPower().solve_power(0.8, alpha=0.05, power=0.8) == pytest.approx(count, abs=1)


def test_interval_by_hand():
    found = audit_pilot.interval([1.0, 2.0, 3.0])
    # sd 1, t(0.975, 2) = 4.30265
    half = 4.30265 / math.sqrt(3)
    assert found["ci95"] == pytest.approx([2 - half, 2 + half], rel=1e-5)
    assert not found["excludes_zero"]
    assert found["needed"] is None
    with pytest.raises(DataError, match="at least 2 paired seeds, received 1"):
        audit_pilot.interval([1.0])


def test_poca_is_compared_with_the_forms_of_its_own_network_on_paired_seeds():
    def units(form, values):
        return {
            f"{form}; seed {seed}": dict.fromkeys(audit_pilot.METRICS, value)
            for seed, value in values.items()
        }

    results = units("ppn, PoCA", {0: 1.0, 1: 2.0, 2: 9.0})
    results |= units("ppn, MHSA", {0: 0.5, 1: 1.5}) | units("repaired, PoCA", {0: 5.0, 1: 5.0})
    found = {one["metric"]: one for one in audit_pilot.comparisons(results)}
    assert {one["form"] for one in found.values()} == {"ppn, MHSA"}
    assert (found["psnr_amplitude"]["n"], found["psnr_amplitude"]["mean"]) == (2, 0.5)
    assert found["ssim_phase"]["mean"] == 50.0
    # Table II: 14.42 - 13.82 dB, plain attention
    assert found["psnr_amplitude"]["published"] == pytest.approx(0.60)
    results |= units("ppn, no NLB", {0: 0.5, 1: 1.5})
    other = {(one["form"], one["metric"]): one for one in audit_pilot.comparisons(results)}
    # 14.42 - 14.10 dB
    assert other["ppn, no NLB", "psnr_amplitude"]["published"] == pytest.approx(0.32)


def test_every_form_of_the_pilot_is_a_network_and_only_its_attention_differs():
    for model, options in audit_pilot.FORMS.values():
        known = models.spec(model).options
        assert all(value in known[name] for name, value in options.items())
    names = list(audit_pilot.FORMS)
    assert len(names) == 11
    assert {name.partition(", ")[0] for name in names} == {"ppn", "repaired"}


# --- designs ---


def test_training_and_test_sets_of_the_leaks(stand_in):
    sets = audit_leaks.training_sets(stand_in)
    # a patch of row r covers 8 r to 8 r + 31; row 44 ends before row 384
    assert {name: len(found) for name, found in sets.items()} == {
        "all rows": 48 * 61,
        "rows apart": 45 * 61,
        # rows 0 to 9, and columns 0 to 9 of the other 38
        "outside first-release": 10 * 61 + 38 * 10,
    }
    tests = audit_leaks.test_sets(stand_in)
    assert {name: len(found) for name, found in tests.items()} == {
        "in training": 35 * 48,
        "unshared": 10 * 48,
        "boundary rows": 3 * 61,
        "gap": 10 * 61,
    }
    assert min(map(len, sets.values())) >= audit_leaks.PATCHES


def test_a_leak_is_worth_what_it_gains_beyond_the_patches_that_share_nothing():
    def scores(value):
        return dict.fromkeys(audit_leaks.METRICS, value)

    results = {}
    for seed, extra in ((0, 0.0), (1, 0.2)):
        within = {"in training": 15.0 + extra, "unshared": 13.0, "boundary rows": 1.0, "gap": 1.0}
        without = dict.fromkeys(within, 12.0) | {"boundary rows": 1.0, "gap": 1.0}
        for name, values in (
            ("all rows", within),
            ("outside first-release", without),
            ("rows apart", within),
        ):
            results[f"{name}; seed {seed}"] = {t: scores(v) for t, v in values.items()}
    found = {(one["leak"], one["metric"]): one for one in audit_leaks.worth(results)}
    one = found["test patches in training", "psnr_phase"]
    assert one["shared"]["mean"] == pytest.approx(3.1)
    assert one["unshared"]["mean"] == pytest.approx(1.0)
    assert one["leak_alone"]["mean"] == pytest.approx(2.1)
    assert found["pixels at the boundary", "psnr_phase"]["leak_alone"]["mean"] == 0
    assert audit_leaks.told(one["leak_alone"]).startswith("+2.10 dB (")
    assert len(audit_leaks.table(list(found.values()))) == 8


def test_patterns_are_shifted_to_the_right():
    samples = audit_short.Arrays(np.arange(4.0).reshape(1, 1, 4, 1), {})
    assert audit_shift.shifted(samples, 1).patterns.ravel().tolist() == [3.0, 0.0, 1.0, 2.0]


def test_a_centre_that_follows_the_shift_has_a_slope_of_one():
    def unit(shift, noise):
        end = {
            "nonlocal_1_attention": [noise, shift + noise],
            "nonlocal_2_attention": [0.0, -noise],
        }
        return {"centers_px": [end], "at_shift": 0.9, "at_start": 1.0}

    results = {
        f"{s} px; seed {seed}": unit(float(s), noise)
        for s in (0, 1, 2, 3)
        for seed, noise in ((0, 0.1), (1, -0.1))
    }
    found = {(one["layer"][9], one["axis"]): one for one in audit_shift.slopes(results)}
    assert found["1", "col"]["slope"] == pytest.approx(1.0)
    assert found["1", "row"]["slope"] == pytest.approx(0.0, abs=1e-12)
    low, high = found["1", "col"]["ci95"]
    assert 0.8 < low < 1 < high < 1.2
    recovered = audit_shift.recovered(results)
    assert len(recovered) == 6
    assert set(np.round(list(recovered.values()), 9)) == {10.0}


def test_moved_centres_are_put_back(monkeypatch):
    centers = [keras.Variable(np.float32([0.25, 0.5])) for _ in audit_shift.LAYERS]
    layers = dict(zip(audit_shift.LAYERS, centers, strict=True))
    model = SimpleNamespace(get_layer=lambda name: SimpleNamespace(center=layers[name]))
    seen = []
    monkeypatch.setattr(audit_shift, "loss", lambda m, s: seen.append(np.array(centers[0])) or 1.0)
    assert audit_shift.loss_at(model, None, (0.0, 2.0)) == 1.0
    assert seen[0].tolist() == [0.0, 2.0 / 32]
    assert np.array(centers[1]).tolist() == [0.25, 0.5]


def test_noisy_counts_are_brought_back_to_the_noise_free_scale():
    level = 5.0e4
    clean = data.load("stand-in", noise="gaussian-only")
    made = audit_dose.noisy("stand-in", "low-dose", 0, level)
    mean = made.patterns.sum(axis=(1, 2)).mean()
    # readout noise clipped at zero adds about 0.4 photons a pixel: 410 of 5000 at most
    assert level <= mean < 1.1 * level
    assert clean.patterns.shape == made.patterns.shape


def test_losses_by_noise_from_made_up_scores():
    def scores(value):
        return {"psnr_amplitude": value}

    results = {
        "trained ppn; seed 0": {
            "run": "abc",
            "scores": {"none": scores(14.0)} | {d: scores(12.0) for d in audit_dose.DOSES},
        },
        "log1p, none; seed 0": {"own": scores(13.0)} | {d: scores(11.0) for d in audit_dose.DOSES},
    } | {f"log1p, {d}; seed 0": {"own": scores(12.5)} for d in audit_dose.DOSES}
    found = audit_dose.losses(results, "psnr_amplitude")
    reference = {(o["network"], o["where"]): o["mean"] for o in found if o["dose"] == "reference"}
    assert reference == {
        ("ppn, full training", "test alone"): 2.0,
        ("ptynet, short, log1p", "test alone"): 2.0,
        ("ptynet, short, log1p", "training and test"): 0.5,
    }


# --- a network that is trained shortly ---


def test_a_seed_trains_the_same_network_again(stand_in):
    scaling = audit_short.sound(stand_in)
    samples = audit_short.arrays(stand_in, np.arange(8), scaling)
    fitter = audit_short.Fitter("ptynet", {}, eager=True)
    scores = []
    for seed in (0, 1, 0):
        fitter.fit(samples, seed=seed, epochs=1, batch_size=4)
        scores.append(audit_short.score(fitter.model, samples))
    assert scores[0] == scores[2] != scores[1]
    assert set(audit_pilot.METRICS) < set(scores[0])
    norms = audit_short.Fitter("ppn", {"nonlocal_attention": None}, eager=True).model.layers
    momenta = {x.momentum for x in norms if isinstance(x, keras.layers.BatchNormalization)}
    assert momenta == {audit_short.NORM_MOMENTUM}


def test_spaced_indices():
    assert audit_short.spaced(np.arange(10), 4).tolist() == [0, 3, 6, 9]
    assert audit_short.spaced(np.arange(3), 4).tolist() == [0, 1, 2]


# --- receptive fields ---


def test_receptive_field_by_hand():
    x = inputs = keras.Input((32, 32, 1))
    x = keras.layers.Conv2D(1, 3, padding="same")(x)
    short = x
    x = keras.layers.MaxPooling2D(2)(x)
    x = keras.layers.Conv2D(1, 3, padding="same")(x)
    x = keras.layers.UpSampling2D(2)(x)
    x = keras.layers.Add()([x, short])
    network = keras.Model(inputs, {"amplitude": x})
    # 3 coarse pixels are 6 fine ones, and the first convolution adds one at each end
    assert audit_fields.theoretical(network) == 8
    y = keras.layers.Dense(4)(keras.layers.Flatten()(x))
    y = keras.layers.Reshape((2, 2, 1))(y)
    assert audit_fields.theoretical(keras.Model(inputs, {"amplitude": y})) is None


def test_the_layers_of_ptynet_reach_what_its_gradient_reaches():
    side = 160
    network = models.create("ptynet", (side, side, 1))
    for weight in network.weights:
        # positive kernels cancel nowhere; without biases nothing saturates
        value = 1.0 / math.prod(weight.shape[:-1]) if len(weight.shape) > 1 else 0.0
        weight.assign(np.full(weight.shape, value))
    widths = []
    for at in range(72, 80):
        part = keras.Model(network.input, network.output["amplitude"][:, at, at, 0])
        gradient = audit_fields._gradient(part, np.zeros((1, side, side, 1), np.float32))
        rows = np.flatnonzero(np.abs(gradient[0, ..., 0]).sum(axis=1))
        widths.append(rows[-1] - rows[0] + 1)
    assert audit_fields.theoretical(network) == max(widths)


def test_radius_that_holds_a_share():
    weights = np.zeros((32, 32))
    weights[16, 16], weights[16, 20], weights[0, 0] = 0.5, 0.45, 0.05
    assert audit_fields.radius(weights) == 4.0
    assert audit_fields.radius(weights, 0.4) == 0.0
    found = audit_fields.profile(weights)
    assert found[3] == 0.5
    assert found[4] == pytest.approx(0.95)
    assert found[-1] == pytest.approx(1.0)


def test_convolutions_reach_beyond_the_pattern_and_attention_reaches_all_of_it():
    found = {
        name: audit_fields.theoretical(models.create(*[audit_fields.NETWORKS[name][0]]))
        for name in ("ptychonn", "ptynet", "dpi", "ppn")
    }
    assert found["ppn"] is None
    # by hand: 1, 3 | 2, 6 | 4, 8 | 5, 9 | 18, 22 | 44, 48 | 96, 100 px, coarse to fine and back
    assert found["ptychonn"] == 100
    assert found["ptynet"] == 101
    assert found["dpi"] > 32
