"""What the scripts make of their options, of a missing network and of an interruption."""

import argparse
import dataclasses
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from ppn_tf.errors import DataError, DeviceError, OptionError
from ppn_tf.training import TrainingConfig
from reproduce import options, schedule
from reproduce.specification import RunSpec

ROOT = Path(options.__file__).resolve().parents[1]


def parsed(*words):
    return options.parser("text").parse_args(words)


def test_defaults_are_the_papers_protocol():
    arguments = parsed()
    assert (arguments.profile, arguments.gpu, arguments.jobs) == ("paper", "auto", 1)
    assert arguments.out == ROOT / "results"


@pytest.mark.parametrize("name", ["jobs", "seeds"])
def test_numbers_below_one_are_refused(name):
    with pytest.raises(OptionError, match=f"--{name} expects at least 1, received 0"):
        options.prepare(parsed(f"--{name}", "0"))


def test_missing_gpu_names_what_was_found():
    with pytest.raises(DeviceError, match="GPU 7 was asked for, but TensorFlow sees these GPUs"):
        options.prepare(parsed("--gpu", "7"))


def test_without_files_and_network_the_stand_in_says_so(monkeypatch, tmp_path, capsys):
    monkeypatch.delenv("PPN_TF_DATA", raising=False)
    monkeypatch.setenv("PPN_TF_OFFLINE", "1")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    session = options.prepare(parsed("--gpu", "cpu", "--out", str(tmp_path), "--profile", "smoke"))
    assert session.object_name == "stand-in"
    assert session.headline.startswith("stand-in object")
    assert session.out == tmp_path / "stand-in" / "smoke"
    assert "design_amp.tiff" in capsys.readouterr().err


def test_paper_outputs_have_a_folder_of_their_own(data_dir, tmp_path):
    session = options.prepare(parsed("--gpu", "cpu", "--out", str(tmp_path)))
    assert (session.object_name, session.out) == ("ltem", tmp_path)
    quick = options.prepare(parsed("--gpu", "cpu", "--out", str(tmp_path), "--profile", "quick"))
    assert quick.out == tmp_path / "quick"


def test_refusals_and_interruptions_are_messages(capsys):
    def refuse(argv):
        raise DataError("expected this, received that")

    def interrupt(argv):
        raise KeyboardInterrupt

    with pytest.raises(SystemExit) as stopped:
        options.run_script(refuse)
    assert stopped.value.code == 2
    assert capsys.readouterr().err == "error: expected this, received that\n"
    with pytest.raises(SystemExit) as stopped:
        options.run_script(interrupt)
    assert stopped.value.code == 130
    assert "the same command goes on" in capsys.readouterr().err


def test_a_reader_that_leaves_is_no_error():
    command = f"{sys.executable} {ROOT / 'reproduce' / 'why.py'} table1.ppn.psnr_amp | true"
    done = subprocess.run(["bash", "-o", "pipefail", "-c", command], capture_output=True, text=True)
    assert (done.returncode, done.stderr) == (0, "")


def test_unknown_profile_is_an_error_of_the_command_line():
    done = subprocess.run(
        [sys.executable, ROOT / "reproduce" / "table1.py", "--profile", "huge"],
        capture_output=True,
        text=True,
        env=os.environ | {"TF_CPP_MIN_LOG_LEVEL": "3"},
    )
    assert done.returncode == 2
    assert "invalid choice: 'huge'" in done.stderr


def spec(model="ppn", **values):
    return RunSpec(model, 0, TrainingConfig(10), **values)


def test_steps_of_the_papers_training():
    # 2928 patches, 5 % validate: 2781 train in 87 batches of 32
    assert schedule.steps(spec()) == 870
    assert schedule.steps(spec(train_size=100)) == 30


def test_estimate_adds_known_models_and_names_unknown_ones():
    text = schedule.estimate([spec(), spec("dpi"), spec("trivial:ridge")], {"ppn": 2.0})
    assert text == (
        "2 trainings to do, about 29 min in all, not counting dpi (no measured step here)"
    )
    assert "trivial predictors" in schedule.estimate([spec("trivial:ridge")], {})


def test_a_step_on_a_t4_is_arithmetic(tmp_path):
    cells = [
        {"method": "ppn", "metric": "gflops", "ours": 0.45},
        {"method": "ppn", "metric": "size_mib", "ours": 2.0},
        {"method": "dpi", "metric": "gflops", "ours": None},
    ]
    (tmp_path / "fig10.json").write_text(json.dumps({"cells": cells}), encoding="utf-8")
    # 3 x 32 x 0.45e9 operations at 2.025e12 a second
    assert schedule.t4_step_seconds(tmp_path) == {"ppn": pytest.approx(0.0213333, rel=1e-5)}
    assert schedule.t4_step_seconds(tmp_path / "nowhere") == {}


def test_plan_has_a_line_a_run():
    runs = [spec(), spec("dpi"), spec("trivial:ridge")]
    lines = schedule.plan(runs, {"ppn": 2.0}).splitlines()
    assert [line.split()[0] for line in lines] == [run.hash for run in runs]
    # 870 steps of 2 s; no measured step; no training
    assert [
        line.split("  ppn")[0].split("  dpi")[0].split("  triv")[0][16:].strip() for line in lines
    ] == ["29 min", "?", "seconds"]


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(5, "5 s"), (600, "10 min"), (9000, "2 h"), (864000, "10.0 days")],
)
def test_durations(seconds, text):
    assert schedule.duration(seconds) == text


def test_step_seconds_come_from_records_of_this_device(tmp_path, monkeypatch):
    def write(name, device, seconds, changes=()):
        folder = tmp_path / "runs" / name
        folder.mkdir(parents=True)
        record = {
            "spec": {"model": "ppn", "training": {"batch_size": 32}},
            "results": {"train_patches": 64},
            "cost": {"epochs": [{"seconds": s} for s in seconds]},
            "environment": {"device": device, "backend": "tensorflow"},
            **dict(changes),
        }
        (folder / "tensorflow.json").write_text(json.dumps(record))

    monkeypatch.setenv("KERAS_BACKEND", "tensorflow")
    write("a", "this", [90.0, 4.0, 4.0])
    write("b", "other", [1.0, 1.0])
    (tmp_path / "runs" / "c").mkdir()
    (tmp_path / "runs" / "c" / "tensorflow.json").write_text("{")
    rows = [("dpi", "this", 0.5), ("dpi", "other", 0.1), ("ptynet", "other", 0.1)]
    keys = ("model", "device", "train_step_s")
    speed = {"models": [dict(zip(keys, row, strict=True)) for row in rows]}
    (tmp_path / "speed.json").write_text(json.dumps(speed))
    # another backend, and a cheaper form of the network
    write("d", "this", [9.0, 9.0], {"environment": {"device": "this", "backend": "jax"}})
    form = {"model": "ppn", "training": {"batch_size": 32}, "options": {"nonlocal_attention": None}}
    write("e", "this", [1.0, 1.0], {"spec": form})
    # the median leaves the compilation of the first epoch out; two steps an epoch
    cheap = "ppn, nonlocal_attention=None"
    assert schedule.step_seconds(tmp_path / "runs", "this") == {"ppn": 2.0, "dpi": 0.5, cheap: 0.5}


def test_a_device_without_records_learns_the_time_of_others(tmp_path, monkeypatch):
    folder = tmp_path / "runs" / "a"
    folder.mkdir(parents=True)
    record = {
        "spec": {"model": "ppn", "training": {"batch_size": 32}},
        "results": {"train_patches": 64},
        "cost": {"epochs": [{"seconds": 9.0}, {"seconds": 4.0}, {"seconds": 4.0}]},
        "environment": {"device": "other"},
    }
    (folder / "tensorflow.json").write_text(json.dumps(record))
    monkeypatch.setattr(schedule, "COMMITTED", tmp_path / "runs")
    session = options.prepare(parsed("--out", str(tmp_path / "mine"), "--gpu", "cpu"))
    # 870 steps of 2 s; nothing is known of this device
    assert schedule.forecast([spec()], session).splitlines() == [
        "1 training to do, for a time unknown: no measured step of ppn here",
        "On other, by its records: 1 training to do, about 29 min in all",
    ]
    same = dataclasses.replace(session, device_name="other")
    assert schedule.forecast([spec()], same) == "1 training to do, about 29 min in all"


def test_parser_is_shared():
    assert isinstance(options.parser("text"), argparse.ArgumentParser)
