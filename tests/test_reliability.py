"""The script that writes what the fault tests tried; the tests themselves are in faults."""

import json
import subprocess
import sys

import pytest

from ppn_tf import devices
from ppn_tf.errors import OptionError, RecordError
from reproduce import reliability
from reproduce.reporting import reliability as table

HERE = {"device": f"CPU ({devices.processor()})", "versions": devices.versions()}


def record(tmp_path, made, **rows):
    path = tmp_path / "reliability.json"
    path.write_text(json.dumps({"made": made, **rows}))
    return path


def pytest_writes(monkeypatch, rows, status=0):
    """Let the tests be ones that keep `rows`."""

    def run(command, *, env, **_):
        path = reliability.Path(env[reliability.VARIABLE])
        known = json.loads(path.read_text()) if path.exists() else {}
        path.write_text(json.dumps(known | rows))
        return subprocess.CompletedProcess(command, status)

    monkeypatch.setattr(reliability.subprocess, "run", run)
    monkeypatch.setattr("reproduce.record_files.commit", lambda: "new")


DISK = {"disk": {"read-only results": {"refused": 1}}}
INTERRUPTED = {"interrupted": {"Ctrl-C in an epoch": {"rounds": 1, "status": 130}}}


def test_figures_of_this_machine_stay_and_their_commits_are_named(tmp_path, monkeypatch, capsys):
    path = record(tmp_path, HERE | {"commits": ["old"]}, **DISK)
    pytest_writes(monkeypatch, INTERRUPTED)
    reliability.main(["--out", str(tmp_path)])
    written = json.loads(path.read_text())
    assert written == {"made": HERE | {"commits": ["new", "old"]}, **DISK, **INTERRUPTED}
    text = capsys.readouterr().out
    assert "| Ctrl-C in an epoch | 1 time(s) | status 130, the command that goes on |" in text
    assert "(commit new, old, CPU (" in text


def test_figures_of_another_machine_are_given_up(tmp_path, monkeypatch, capsys):
    path = record(tmp_path, HERE | {"device": "CPU (another)", "commits": ["old"]}, **DISK)
    pytest_writes(monkeypatch, INTERRUPTED)
    reliability.main(["--out", str(tmp_path)])
    assert json.loads(path.read_text()) == {"made": HERE | {"commits": ["new"]}, **INTERRUPTED}
    assert "figures of another machine" in capsys.readouterr().err


def test_a_failed_test_is_said(tmp_path, monkeypatch):
    pytest_writes(monkeypatch, INTERRUPTED, status=1)
    with pytest.raises(RecordError, match=r"a test failed \(status 1\): the figures are not"):
        reliability.main(["--out", str(tmp_path)])


def test_nothing_written_is_said(tmp_path, monkeypatch):
    done = subprocess.CompletedProcess([], 5)
    monkeypatch.setattr("reproduce.record_files.commit", lambda: "new")
    monkeypatch.setattr(reliability.subprocess, "run", lambda *_, **__: done)
    with pytest.raises(RecordError, match="no test wrote its figures to"):
        reliability.main(["--out", str(tmp_path), "-k", "nonsense"])


@pytest.fixture
def few_tests(tmp_path, monkeypatch):
    """A project of three tests in place of this one."""
    (tmp_path / "tests").mkdir()
    lines = [
        "import pytest",
        "def test_a(): pass",
        "def test_b(): assert 0",
        "@pytest.mark.skip",
        "def test_c(): pass",
    ]
    (tmp_path / "tests" / "test_few.py").write_text("\n".join(lines))
    root = reliability.ROOT
    monkeypatch.setattr(reliability, "ROOT", tmp_path)
    (tmp_path / "ppn_tf").symlink_to(root / "ppn_tf")
    return tmp_path


def test_a_suite_of_another_interpreter_is_counted(few_tests, capsys):
    out = few_tests / "results"
    with pytest.raises(SystemExit) as ended:
        reliability.main(["--suite", sys.executable, "--out", str(out)])
    assert ended.value.code == 1
    ((name, found),) = json.loads((out / "reliability.json").read_text())["versions"].items()
    assert name.startswith(f"python {sys.version.split()[0]}, ")
    assert {key: found[key] for key in ("passed", "failed", "skipped")} == {
        "passed": 1,
        "failed": 1,
        "skipped": 1,
    }
    assert "| 2 tests | 1 pass, 1 fail |" in table.markdown(out)


def test_an_interpreter_without_the_packages_is_refused(tmp_path):
    bare = tmp_path / "python"
    bare.write_text("#!/bin/sh\necho no module >&2\nexit 1\n")
    bare.chmod(0o755)
    with pytest.raises(OptionError, match="expects a Python with the packages, .* says: no module"):
        reliability.main(["--suite", str(bare), "--out", str(tmp_path)])
