"""The protocol search: distances, the rule of the choice, and the block that it gives Table I."""

import dataclasses
import functools
import itertools
import json

import numpy as np
import pytest

from ppn_tf.errors import DataError, RecordError
from ppn_tf.files import write_json
from reproduce import audit, compare, exhibit, experiments, options, table1
from reproduce.parts import audit_protocol, audit_protocol_text

PAPER, SMOKE, QUICK = (experiments.PROFILES[name] for name in ("paper", "smoke", "quick"))


@pytest.fixture(autouse=True, scope="module")
def one_reading_of_the_paper():
    """Parse paper.yaml once."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(compare, "load_paper", functools.cache(compare.load_paper))
        yield


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
                            "mse": cell["mse"],
                            "psnr_db": cell["psnr"],
                            "ssim": cell["ssim"] / 100,
                        }
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
        "linear",
        3,
        "lower-right",
        "flattened",
    )
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
    forms = grid.pop(audit.POCA)
    assert set(grid) == {(t, j) for t in ("linear", "log1p") for j in ("0 px", "3 px")}
    assert all(len(specs) == 3 * 3 for specs in grid.values())
    specs = [spec for specs in grid.values() for spec in specs]
    assert len({spec.hash for spec in specs}) == 36
    assert {spec.method for spec in specs} == {"ptychonn", "ptynet", "ppn[nonlocal_attention=None]"}
    # 11 forms with 5 seeds; without the branch they are runs of the search
    assert len({spec.hash for spec in forms}) == 55
    assert len({s.hash for s in forms} & {s.hash for s in specs}) == 3
    # Table I's runs and Table II's are found again, not made twice
    sound = experiments.table1(PAPER, "ltem")["sound", "clean"]
    assert {s.hash for s in grid["log1p", "0 px"]} & {s.hash for s in sound}
    assert [s.model for s in audit.grid(SMOKE, "ltem", None)["log1p", "0 px"]] == ["ptynet"]
    assert len(audit.grid(QUICK, "ltem", None)["log1p", "0 px"]) == 3


# --- the selected block in Table I ---

CHOSEN = "log1p, 0 px, lower-right, flattened"


def audited(folder, block=CHOSEN, **changes):
    """Write what the audit says of the selected block."""
    found = audit_protocol.Selection(60, 60, block, 1.0, "other", 2.0, (0,)).to_dict()
    write_json(folder / "audit.json", {"selected": found | changes})


def test_the_selected_block_is_read_from_the_audit(tmp_path):
    assert experiments.selected_block(tmp_path) is None
    audited(tmp_path)
    found = experiments.selected_block(tmp_path)
    assert (found.name, found.transform, found.jitter_px) == ("selected", "log1p", 0)
    assert (found.region, found.convention) == ("lower-right", "flattened")
    assert found.why.endswith("chosen on seeds 0, provisional")
    write_json(tmp_path / "audit.json", {"selected": audit_protocol.Selection(3, 60).to_dict()})
    assert experiments.selected_block(tmp_path) is None
    write_json(tmp_path / "audit.json", {"findings": {}})
    assert experiments.selected_block(tmp_path) is None
    write_json(tmp_path / "audit.json", {"selected": {"block": "a"}})
    with pytest.raises(RecordError, match=r"audit.json does not say .*/audit.py --no-train"):
        experiments.selected_block(tmp_path)


def test_table1_shows_the_selected_block_without_a_verdict_for_its_own_rows(tmp_path, monkeypatch):
    score = {"mse": 0.05, "psnr_db": 13.0, "ssim": 0.8}
    channels = {c: {v: score for v in audit_protocol.CONVENTIONS} for c in ("amplitude", "phase")}
    regions = dict.fromkeys(audit_protocol.REGIONS, channels)

    def find(self, spec):
        wanted = spec.trivial is None and spec.seed < 2
        return {"results": {"regions": regions}, "hash": spec.hash} if wanted else None

    monkeypatch.setattr("reproduce.runs.RunStore.find", find)
    session = options.Session("paper", None, "ltem", "cpu", "CPU", tmp_path)
    before = table1.make(exhibit.context(table1.EXHIBIT, session))
    assert "not chosen yet" in before.body
    assert "selected" not in {cell.block for cell in before.cells}
    audited(tmp_path)
    here = exhibit.context(table1.EXHIBIT, session)
    # its input and jitter are those of the sound block: the same runs, scored otherwise
    assert {s.hash for s in here.grid["selected", "clean"]} == {
        s.hash for s in here.grid["sound", "clean"]
    }
    made = table1.make(here)
    assert "those two rows chose it" in made.body
    cells = [c for c in made.cells if c.block == "selected" and c.metric == "psnr_amp" and c.n]
    judged = {(c.condition, c.method): c.verdict is not None for c in cells}
    assert judged.pop(("clean", "ptychonn")) is judged.pop(("clean", "ptynet")) is False
    assert judged
    assert all(judged.values())
    assert any(row["source"] == "selected" for row in made.rows)


def test_only_table1_of_the_paper_profile_has_the_selected_block(tmp_path):
    audited(tmp_path)
    session = options.Session("smoke", None, "ltem", "cpu", "CPU", tmp_path)
    assert exhibit.context(table1.EXHIBIT, session).profile.selected is None
    profile = dataclasses.replace(PAPER, selected=experiments.selected_block(tmp_path))
    assert ("selected", "clean") in table1.grid(profile, "ltem", 1)
    assert ("selected", "clean") not in experiments.table1(profile, "ltem", 1)
