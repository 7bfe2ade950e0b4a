"""all.py: what it runs, in which order, what it does of failures and interruptions."""

import dataclasses
import json
import re
import subprocess
import sys
import types
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from ppn_tf.errors import DataError, OptionError
from ppn_tf.training import TrainingConfig
from reproduce import all as everything
from reproduce import exhibit, schedule, trainings
from reproduce.options import Session
from reproduce.specification import RunSpec

ROOT = Path(everything.__file__).resolve().parents[1]


def spec(model="ptynet", seed=0, **values):
    return RunSpec(model, seed, TrainingConfig(1), object_name="stand-in", **values)


class FakeStore:
    """Records in a folder, made without training; some runs fail or are interrupted."""

    made: list = []
    broken: dict = {}

    def __init__(self, folder):
        self.folder = folder

    def find(self, run):
        path = self.folder / run.hash / "tensorflow.json"
        return json.loads(path.read_text()) if path.exists() else None

    current = find

    def ensure(self, run, *, retrain=False, progress=True):
        if run.hash in self.broken:
            raise self.broken[run.hash]
        self.made.append(run.hash)
        path = self.folder / run.hash / "tensorflow.json"
        path.parent.mkdir(parents=True, exist_ok=True)
        record = {
            "hash": run.hash,
            "label": run.label,
            "spec": run.to_dict(),
            "results": {"train_patches": 64, "regions": {}},
            "cost": {
                "epochs": [{"seconds": 4.0}],
                "train_seconds": 3600.0,
                "evaluate_seconds": 0.0,
            },
            "environment": {"device": "none", "backend": "tensorflow", "versions": {}},
        }
        path.write_text(json.dumps(record))
        return record


@pytest.fixture
def world(monkeypatch, tmp_path):
    """Two exhibits that share a run, one of them a table, in a folder of their own."""
    FakeStore.made, FakeStore.broken = [], {}
    session = Session("smoke", None, "stand-in", "cpu", "none", tmp_path, train=True)
    monkeypatch.setattr(everything, "prepare", lambda arguments: _session(session, arguments))
    monkeypatch.setattr(schedule, "store_of", lambda session: FakeStore(session.out / "runs"))
    shared = spec("ptynet", 0)
    add(monkeypatch, "table1", {("sound", "clean"): [shared, spec("ptynet", 1)]}, refresh=True)
    add(monkeypatch, "fig4", {("sound", "clean"): [shared, spec("dpi", 1), spec("dpi", 0)]})
    monkeypatch.setattr(everything, "EXHIBITS", ("table1", "fig4"))
    monkeypatch.setattr(everything, "REGISTRY", ("table1", "fig4", "speed"))
    return tmp_path


def _session(session, arguments):
    train = not (arguments.no_train or arguments.plan)
    return dataclasses.replace(session, plan=arguments.plan, train=train)


def add(monkeypatch, name, grid, refresh=False, make=None):
    """Put a fake exhibit in place of a script."""

    def write(here):
        return exhibit.Output(f"{len(here.records())} runs")

    script = types.ModuleType(f"reproduce.{name}")
    script.EXHIBIT = exhibit.Exhibit(
        name, name.capitalize(), lambda *_: grid, make or write, refresh
    )
    monkeypatch.setitem(sys.modules, f"reproduce.{name}", script)


def body(folder, name):
    return json.loads((folder / f"{name}.json").read_text())["body"]


def test_the_registry_holds_every_exhibit_there_is_and_none_that_is_not():
    scripts = {path.stem for path in (ROOT / "reproduce").glob("*.py")}
    pattern = re.compile(r"(table|fig)\d+|claims|audit|refine|speed")
    assert {name for name in scripts if pattern.fullmatch(name)} == set(everything.REGISTRY)
    assert len(set(everything.REGISTRY)) == len(everything.REGISTRY)


def test_exhibits_are_imported_without_a_backend():
    # the device is chosen after the options are read
    code = (
        "import importlib, sys\n"
        f"for name in {everything.EXHIBITS}:\n"
        "    found = importlib.import_module(f'reproduce.{name}').EXHIBIT\n"
        "    assert found.name == name, (name, found.name)\n"
        "    heavy = {'keras', 'tensorflow', 'jax'} & set(sys.modules)\n"
        "    assert not heavy, (name, heavy)\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, timeout=60
    )
    assert done.returncode == 0, done.stderr


def test_only_and_skip_choose_in_the_order_of_the_registry():
    assert everything.chosen("fig4,table2", None) == ("table2", "fig4")
    assert everything.chosen(None, "fig5") == tuple(n for n in everything.REGISTRY if n != "fig5")
    with pytest.raises(OptionError, match="--only expects names of table1, .*; received fig12"):
        everything.chosen("table1,fig12", None)
    with pytest.raises(OptionError, match="leave nothing to run"):
        everything.chosen("fig4", "fig4")


def test_every_run_is_made_once_table_i_first_then_seed_by_seed(world, capsys):
    everything.main([])
    order = [spec("ptynet", 0), spec("ptynet", 1), spec("dpi", 0), spec("dpi", 1)]
    assert FakeStore.made == [run.hash for run in order]
    assert body(world, "table1") == "2 runs"
    assert body(world, "fig4") == "3 runs"
    assert (world / "report.html").exists()
    assert "Fig4: written to" in capsys.readouterr().out


def test_a_failing_exhibit_is_listed_and_the_others_complete(world, monkeypatch, capsys):
    def fail(here):
        raise ZeroDivisionError("no spread <at all>\nmore")

    add(monkeypatch, "table1", {}, make=fail)
    with pytest.raises(SystemExit) as stopped:
        everything.main([])
    assert stopped.value.code == 1
    assert body(world, "fig4") == "3 runs"
    assert "failed: table1: ZeroDivisionError: no spread <at all>\n" in capsys.readouterr().err
    assert "in fail" in (world / "all.log").read_text()
    journal = json.loads((world / "all.json").read_text())
    assert journal["failures"] == {"table1": "ZeroDivisionError: no spread <at all>"}
    assert set(journal["made"]) == {"fig4"}
    assert "no spread &lt;at all&gt;" in (world / "report.html").read_text()


def test_what_an_earlier_call_made_or_failed_stays_until_it_is_tried_again(world, monkeypatch):
    add(monkeypatch, "table1", {}, make=lambda here: 1 / 0)
    with pytest.raises(SystemExit):
        everything.main([])
    everything.main(["--only", "fig4"])
    journal = json.loads((world / "all.json").read_text())
    assert set(journal["failures"]) == {"table1"}
    add(monkeypatch, "table1", {})
    everything.main([])
    journal = json.loads((world / "all.json").read_text())
    assert (journal["failures"], set(journal["made"])) == ({}, {"table1", "fig4"})


def test_a_script_that_cannot_be_imported_is_a_failure_like_any_other(world, monkeypatch, capsys):
    monkeypatch.setitem(sys.modules, "reproduce.table1", None)
    with pytest.raises(SystemExit) as stopped:
        everything.main([])
    assert stopped.value.code == 1
    assert "failed: table1: ModuleNotFoundError" in capsys.readouterr().err
    assert body(world, "fig4") == "3 runs"


def test_a_failing_run_is_listed_and_the_others_are_made(world, capsys):
    broken = spec("ptynet", 0)
    FakeStore.broken = {broken.hash: DataError("expected this, received that")}
    with pytest.raises(SystemExit) as stopped:
        everything.main([])
    assert stopped.value.code == 1
    assert body(world, "table1") == "1 runs"
    assert body(world, "fig4") == "2 runs"
    message = f"failed: run {broken.hash} ({broken.label}): DataError: expected this, received that"
    assert message in capsys.readouterr().err


def test_interrupted_it_goes_on_without_redoing_finished_runs(world):
    FakeStore.broken = {spec("ptynet", 1).hash: KeyboardInterrupt()}
    with pytest.raises(KeyboardInterrupt):
        everything.main([])
    assert FakeStore.made == [spec("ptynet", 0).hash]
    # the table was refreshed after the one run that was finished
    assert body(world, "table1") == "1 runs"
    FakeStore.broken = {}
    everything.main([])
    assert FakeStore.made == [
        run.hash for run in (spec(), spec(seed=1), spec("dpi", 0), spec("dpi", 1))
    ]


def test_only_tables_that_hold_the_run_are_refreshed(world):
    arguments = everything.options().parse_args([])
    session = everything.prepare(arguments)
    here = everything.contexts(("table1", "fig4"), session, everything.Journal(world, "none"))
    assert everything.touched(here, spec("ptynet", 1)) == ["table1"]
    assert everything.touched(here, spec("dpi", 0)) == []


def test_the_plan_says_what_is_missing_and_starts_nothing(world, capsys):
    everything.main(["--plan"])
    out = capsys.readouterr().out
    assert not FakeStore.made
    assert not list(world.iterdir())
    assert all(run.hash in out for run in (spec(), spec(seed=1), spec("dpi", 0), spec("dpi", 1)))
    assert "table1: 0 of 2 runs there; 2 trainings to do" in out
    assert "On this device, none: 4 trainings to do" in out
    assert "On a T4-class GPU, not measured, by arithmetic" in out
    assert "25% of 8.1 TFLOP/s): " in out


def test_the_plan_has_the_hours_of_every_device_with_records(world, capsys):
    FakeStore(world / "runs").ensure(spec("ptynet", 0))
    path = world / "runs" / spec("ptynet", 0).hash / "tensorflow.json"
    path.write_text(path.read_text().replace('"device": "none"', '"device": "Tesla T4"'))
    # speed.json was measured elsewhere: it must not stand for a T4's dpi
    row = {"model": "dpi", "device": "none", "train_step_s": 1.0}
    (world / "speed.json").write_text(json.dumps({"models": [row]}))
    everything.main(["--plan"])
    out = capsys.readouterr().out
    # 87 steps (2781 patches in batches of 32, 1 epoch) of 4 s / 2 steps
    assert (
        "On Tesla T4, by its records: 3 trainings to do, about 3 min in all, not counting dpi "
        "(no measured step here)"
    ) in out
    assert "T4-class" not in out


def test_nothing_is_trained_or_measured_where_that_is_not_asked(world, monkeypatch):
    calls = []
    script = types.ModuleType("reproduce.speed")
    script.main = calls.append
    monkeypatch.setitem(sys.modules, "reproduce.speed", script)
    everything.main(["--no-train"])
    assert not FakeStore.made
    assert not calls
    everything.main(["--only", "speed"])
    assert calls == [["--gpu", "cpu", "--out", str(world)]]


def test_speed_is_measured_once_in_the_paper_profile_alone(world):
    session = everything.prepare(everything.options().parse_args([]))
    paper = dataclasses.replace(session, profile="paper")
    assert not everything.wanted("speed", session, asked=False)
    quick = dataclasses.replace(session, profile="quick")
    assert not everything.wanted("speed", quick, asked=False)
    assert everything.wanted("speed", session, asked=True)
    assert everything.wanted("speed", paper, asked=False)
    (world / "speed.json").write_text("{}")
    assert not everything.wanted("speed", paper, asked=False)


def test_runs_side_by_side_fail_by_themselves(world, monkeypatch):
    def one(run, session):
        if run.seed == 1:
            raise DataError("no")

    # threads in place of processes: each would import a backend
    pool = "concurrent.futures.ProcessPoolExecutor"
    monkeypatch.setattr(f"reproduce.trainings.{pool}", lambda jobs, **_: ThreadPool(jobs))
    monkeypatch.setattr(trainings, "_one", one)
    session = everything.prepare(everything.options().parse_args([]))
    runs = [spec(seed=seed) for seed in range(3)]
    found = dict(trainings.outcomes(runs, dataclasses.replace(session, jobs=2)))
    assert [type(found[run]) for run in runs] == [type(None), DataError, type(None)]


class ThreadPool(ThreadPoolExecutor):
    """Takes the place of a pool of processes."""


def test_exhibits_that_only_read_train_nothing(world, monkeypatch):
    add(monkeypatch, "claims", {("sound", "clean"): [spec("dpi", 7)]})
    monkeypatch.setattr(everything, "EXHIBITS", ("claims",))
    monkeypatch.setattr(everything, "REGISTRY", ("claims",))
    everything.main([])
    assert not FakeStore.made
    assert body(world, "claims") == "0 runs"


def test_a_plan_with_a_failure_writes_nothing_either(world, monkeypatch):
    monkeypatch.setitem(sys.modules, "reproduce.table1", None)
    with pytest.raises(SystemExit) as stopped:
        everything.main(["--plan"])
    assert stopped.value.code == 1
    assert not list(world.iterdir())
