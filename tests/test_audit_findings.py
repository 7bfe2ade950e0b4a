"""What the audit says of its measurements, from made-up records and from the committed ones."""

import functools
import json
from pathlib import Path

import pytest

from ppn_tf import models
from reproduce import audit, compare
from reproduce.parts import (
    audit_branch,
    audit_data_text,
    audit_dose,
    audit_fields,
    audit_leaks,
    audit_measured_figure,
    audit_measured_text,
    audit_pilot,
    audit_records,
    audit_shift,
    audit_speed,
    audit_text,
)

RESULTS = Path(audit.__file__).resolve().parents[1] / "results"
MODULES = {
    "branch": audit_branch,
    "leaks": audit_leaks,
    "noise": audit_dose,
    "shift": audit_shift,
    "fields": audit_fields,
    "poca": audit_pilot,
}
HOW = {"device": "CPU", "seconds": 120.0, "commits": ["abc"]}


@pytest.fixture(autouse=True, scope="module")
def one_reading_of_the_paper():
    """Parse paper.yaml once."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(compare, "load_paper", functools.cache(compare.load_paper))
        yield


def made_up(name, results):
    units = {key: {"result": value} for key, value in results.items()}
    return {"units": units, "how": HOW, "settings": MODULES[name].settings("ltem")}


def committed(name):
    record = audit_records.read(RESULTS, name, MODULES[name].settings("ltem"))
    if record is None:
        pytest.skip(f"no record results/audit/{name}.json of these settings")
    return record


def test_the_measurements_of_the_command_are_those_of_the_modules():
    assert set(audit.MEASURED) == set(MODULES)
    assert {f"reproduce.parts.{m}" for m in audit.MEASURED.values()} == {
        module.__name__ for module in MODULES.values()
    }
    assert all(name == module.NAME for name, module in MODULES.items())


@pytest.mark.parametrize("name", [name for name in MODULES if name != "branch"])
def test_without_a_record_a_finding_names_the_command_that_makes_it(name):
    told = {
        "leaks": lambda: audit_data_text.leaks([shared()], [], None),
        "noise": lambda: audit_data_text.noise([], None),
        "shift": lambda: audit_measured_text.shift(None),
        "fields": lambda: audit_measured_text.fields(None),
        "poca": lambda: audit_measured_text.poca(None),
    }[name]()
    assert f"--measure {name}" in told.missing


def test_the_branch_of_the_release_is_blind_in_the_record():
    found = audit_branch.assemble(audit_records.results(committed("branch")))

    def late(name):
        return [
            value["sd"] / value["level"]
            for one in found["series"][name].values()
            for step, value in one["steps"].items()
            if step
        ]

    assert max(late("ppn-released") + late("ppn-released, linear input")) < audit_text.BLIND
    assert min(late("ppn-released repaired") + late("ppn")) > 100 * audit_text.BLIND
    assert set(found["gradients"]) == set(found["dc_attention"]) == {0, 1}


def shared():
    return {
        "jitter_px": 0,
        "region": "first-release",
        "patches": 4,
        "patches_in_training": 3,
        "patch_pixels_shared": 0.5,
        "field_pixels_shared": 0.5,
    }


def test_the_leak_is_told_as_the_record_has_it():
    record = committed("leaks")
    worth = audit_leaks.worth(audit_records.results(record))
    told = audit_data_text.leaks([shared()], [], record)
    first = next(one for one in worth if one["metric"] == "psnr_amplitude")
    assert audit_leaks.told(first["leak_alone"]) in told.text
    assert len(told.more_rows) == len(worth) == 8
    # what is gained where something is shared is as much where nothing is
    assert "of its 8 intervals of a leak alone, 0 exclude 0" in told.text
    assert all(low < 0 < high for low, high in (one["leak_alone"]["ci95"] for one in worth))
    assert first["leak_alone"]["n"] == 5 and max(map(abs, first["leak_alone"]["ci95"])) < 1


def test_the_shift_is_told_as_the_record_has_it():
    record = committed("shift")
    found = audit_records.results(record)
    told = audit_measured_text.shift(record)
    assert "2 of the 2 slopes along the shift cannot be told from 0" in told.text
    # where the pattern's true place is given to the centre, little changes
    assert max(map(abs, audit_shift.recovered(found).values())) < 5
    assert len(told.rows) == 4


def test_a_centre_that_followed_would_be_told():
    def unit(shift):
        end = {layer: [0.0, float(shift)] for layer in audit_shift.LAYERS}
        return {"centers_px": [end], "at_shift": 0.5, "at_start": 1.0}

    # a little noise, so that the fit has a spread
    results = {
        f"{s} px; seed {n}": unit(s + noise)
        for s in audit_shift.SHIFTS_PX
        for n, noise in enumerate((-0.01, 0.01))
    }
    told = audit_measured_text.shift(made_up("shift", results))
    assert "0 of the 2 slopes along the shift cannot be told from 0 and 2 cannot" in told.text
    assert "2 of 2 centres find the shift" in told.text
    assert "+50.00 to +50.00 %" in told.text


def test_noise_by_dose_is_told_as_the_record_has_it():
    record = committed("noise")
    lost = audit_dose.losses(audit_records.results(record), "psnr_amplitude")
    told = audit_data_text.noise([], record)
    short = {(one["where"], one["dose"]): one["mean"] for one in lost if "short" in one["network"]}
    # the fewer photons, the more is lost, whatever was trained with
    for network, where in {(one["network"], one["where"]) for one in lost}:
        by_dose = {
            one["dose"]: one["mean"]
            for one in lost
            if (one["network"], one["where"]) == (network, where)
        }
        assert by_dose["low-dose"] > by_dose["reference"] > by_dose["high-dose"]
    assert f"{short['training and test', 'reference']:.2f} dB" in told.text
    assert len(told.more_rows) == len(lost)


def test_receptive_fields_span_the_pattern():
    for name in ("ptychonn", "ptynet"):
        model, options = audit_fields.NETWORKS[name]
        assert audit_fields.theoretical(models.create(model, **options)) > audit_fields.SIDE_PX
    record = committed("fields")
    told = audit_measured_text.fields(record)
    found = audit_records.results(record)
    assert f"ptynet {found['ptynet']['theoretical_px']} px" in told.text
    assert found["ppn"]["theoretical_px"] is None


def test_the_figure_has_a_panel_for_every_record_that_is_there(tmp_path):
    def end(shift):
        return {layer: [0.1, shift / 2] for layer in audit_shift.LAYERS}

    scores = {form: n / 10 for n, form in enumerate(audit_pilot.FORMS)}
    records = {
        "shift": made_up(
            "shift", {f"{s} px; seed 0": {"centers_px": [end(s)]} for s in audit_shift.SHIFTS_PX}
        ),
        "fields": made_up("fields", {"ppn": {"profile": [0.5, 1.0]}, "dpi": {"run": None}}),
        "poca": made_up(
            "poca",
            {
                f"{form}; seed {seed}": dict.fromkeys(audit_pilot.METRICS, value * (1 + seed / 9))
                for form, value in scores.items()
                for seed in range(3)
            },
        ),
    }
    assert audit_measured_figure.draw(tmp_path, dict.fromkeys(records), []) == ()
    made = audit_measured_figure.draw(tmp_path, records, ["made up"])
    assert made == ("audit-measured.png", "audit-measured.pdf")
    assert all((tmp_path / name).stat().st_size > 5000 for name in made)


# --- does PoCA help? ---


def comparison(form, low, high, detectable=1.0, published=0.3):
    return {
        "form": form,
        "metric": "psnr_amplitude",
        "n": 3,
        "mean": (low + high) / 2,
        "ci95": [low, high],
        "detectable": detectable,
        "published": published,
        "needed": 40,
    }


def test_the_answer_on_poca_follows_the_intervals():
    nothing = audit_measured_text.answer([comparison("a", -1, 1), comparison("b", -1, 2)])
    assert nothing.startswith("No 95 % interval of 2 comparisons excludes 0")
    assert "In 2 of 2 comparisons it could not have found" in nothing
    assert nothing.endswith("underpowered.")
    found = audit_measured_text.answer(
        [comparison("a", 0.1, 1, 0.2), comparison("b", -2, -1, 0.2), comparison("c", -1, 1, 0.2)]
    )
    assert found.startswith("1 in favour of PoCA (a) and 1 against it (b) of 3 intervals")
    assert found.endswith("could have found the published advantage in all of them.")
    full, _ = audit_measured_text._full({}, [comparison("ppn, no NLB", -1, 1)])
    assert "; PoCA has paired seeds with ppn, no NLB (n 3). No 95 % interval of 1" in full
    assert "published advantage over" not in full
    full, _ = audit_measured_text._full({}, [comparison("ppn, no NLB", -1, 0.1)])
    assert "Non-Local branch lies outside 1 of 1 intervals (ppn, no NLB, " in full
    record = committed("poca")
    comparisons = audit_pilot.comparisons(audit_records.results(record))
    told = audit_measured_text.poca(record)
    assert audit_measured_text.answer(comparisons) in told.text
    assert "there for 0 of 11 forms" in told.text
    # four metrics of nine other forms
    assert len(told.rows) == 36


def test_full_trainings_are_compared_as_the_pilot_is():
    def record(psnr_db):
        score = {"per-image": {"psnr_db": psnr_db, "ssim": psnr_db / 100}}
        return {"results": {"regions": {"gap": {"amplitude": score, "phase": score}}}}

    values = {"ppn, PoCA": (14.0, 14.2, 14.4), "ppn, MHSA": (13.0, 13.1, 13.5), "ppn, no NLB": (9,)}
    found = [
        (form, seed, record(value))
        for form, by_seed in values.items()
        for seed, value in enumerate(by_seed)
    ]
    full = audit_pilot.from_records(found)
    (first, *rest) = audit_pilot.comparisons(full)
    # 1.0, 1.1 and 0.9 dB; one seed gives no interval
    assert (first["form"], first["n"]) == ("ppn, MHSA", 3)
    assert first["mean"] == pytest.approx(1.0)
    assert {one["form"] for one in rest} == {"ppn, MHSA"}
    told = audit_measured_text.poca(None, full)
    assert "there for 3 of 11 forms" in told.text
    assert "4 in favour of PoCA (ppn, MHSA)" in told.text
    assert "--measure poca" in told.missing
    assert "5 paired seeds" in told.missing
    model, options = audit_pilot.FORMS["repaired, MHSA"]
    assert audit_pilot.name_of(model, tuple(sorted(options.items()))) == "repaired, MHSA"


# --- speed ---


def epie_record(overlap):
    return {
        "settings": {"overlap": overlap, "iterations": 200, "device": "CPU"},
        "results": {"patterns": 25},
        "cost": {
            "python_s": [2.0, 3.0],
            "compiled_s": [0.5],
            "networks": {"ppn": {"seconds": [0.25], "weights": "run abc"}},
        },
    }


def test_the_ratio_that_remains_follows_from_the_measurements(tmp_path, capsys):
    assert audit_speed.measured(tmp_path) == []
    assert audit_data_text.speed({"128 x 128 px": 25}).missing
    folder = tmp_path / "epie"
    folder.mkdir()
    for name, overlap in (("a", 0.3), ("b", 0.6)):
        (folder / f"{name}.json").write_text(json.dumps(epie_record(overlap)))
    # Fig. 6's records name settings alone
    (folder / "c.json").write_text(json.dumps({"sample": "coins", "iterations": 200}))
    (folder / "d.json").write_text("{")
    (found,) = audit_speed.measured(tmp_path)
    assert "d.json is not read" in capsys.readouterr().err
    # 2.5 s and 0.5 s over 25 x 200 updates, and over the network's 0.25 s
    assert found["ms_per_update"] == {"plain NumPy loop": 0.5, "compiled": 0.1}
    assert found["networks"]["ppn"]["ratio"] == {"plain NumPy loop": 10.0, "compiled": 2.0}
    told = audit_data_text.speed({"128 x 128 px": 25}, [found])
    assert "ppn (run abc) 10.0 (plain NumPy loop), 2.0 (compiled)" in told.text
    assert [row["times ppn"] for row in told.more_rows] == ["10.0", "2.0"]
    assert not told.missing
