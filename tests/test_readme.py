"""The README's examples run as they are printed, and its commands exist."""

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
README = (ROOT / "README.md").read_text(encoding="utf-8")
BLOCKS = re.findall(r"```python\n(.*?)```", README, flags=re.DOTALL)
SCRIPTS = sorted(set(re.findall(r"python (reproduce/\w+\.py)", README)))


@pytest.mark.parametrize("code", BLOCKS, ids=range(len(BLOCKS)))
def test_python_examples_run(code, tmp_path):
    done = subprocess.run(
        [sys.executable, "-c", code],
        cwd=tmp_path,
        env=os.environ | {"PYTHONPATH": str(ROOT), "TF_CPP_MIN_LOG_LEVEL": "2"},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr[-3000:]


def test_there_are_examples_and_commands():
    assert BLOCKS
    assert "reproduce/table1.py" in SCRIPTS


@pytest.mark.parametrize("script", SCRIPTS)
def test_commands_name_scripts_that_are_there(script):
    assert (ROOT / script).is_file()


def test_options_that_the_readme_names_are_known(capsys):
    from ppn_tf import cli
    from reproduce import all as everything

    for command in cli.COMMANDS:
        with pytest.raises(SystemExit):
            cli.main([command, "--help"])
    known = everything.options().format_help() + capsys.readouterr().out
    named = set(re.findall(r"`(?:[^`\n]*?\s)?(--[a-z-]+)", README))
    assert named
    assert [option for option in sorted(named) if option not in known] == []


def test_results_in_the_readme_are_those_of_the_outputs(capsys):
    from reproduce import readme

    readme.main(["--check"])
    assert "agrees with the outputs" in capsys.readouterr().out


def test_a_changed_number_is_found_and_mended(tmp_path, capsys):
    from reproduce import readme

    changed = tmp_path / "README.md"
    changed.write_text(re.sub(r"The paper prints \d+", "The paper prints 1", README))
    assert changed.read_text() != README
    with pytest.raises(SystemExit) as stopped:
        readme.main(["--check", "--readme", str(changed)])
    assert stopped.value.code == 1
    assert "run python reproduce/readme.py" in capsys.readouterr().err
    readme.main(["--readme", str(changed)])
    assert changed.read_text(encoding="utf-8") == README


@pytest.mark.parametrize(
    "text", ["no marks", f"{'<!-- end of results -->'} {'<!-- results: written by'}"]
)
def test_a_readme_without_its_marks_is_refused(text, tmp_path):
    from ppn_tf.errors import RecordError
    from reproduce import readme

    with pytest.raises(RecordError, match="once each, in this order: put them"):
        readme.renewed(text, ROOT / "results", "README.md")


def test_costs_are_told_for_the_device_that_knows_most_networks(tmp_path):
    from types import SimpleNamespace

    from reproduce.reporting import costs

    made = [("A", "ppn"), ("A", "ppn"), ("A", "ppn"), ("B", "ppn"), ("B", "dpi")]
    for number, (device, model) in enumerate(made):
        folder = tmp_path / "runs" / str(number)
        folder.mkdir(parents=True)
        record = {
            "spec": {"model": model, "training": {"batch_size": 32}},
            "environment": {"device": device},
            "results": {"train_patches": 64},
            "cost": {"epochs": [{"seconds": 4.0}]},
        }
        (folder / "jax.json").write_text(json.dumps(record))
    runs = {(str(n), "jax"): SimpleNamespace(device=device) for n, (device, _) in enumerate(made)}
    report = SimpleNamespace(folder=tmp_path, runs=runs)
    # two steps an epoch
    assert costs._best_known(report) == ("B", {"ppn": 2.0, "dpi": 2.0})
    assert costs._best_known(SimpleNamespace(folder=tmp_path, runs={})) == ("", {})
