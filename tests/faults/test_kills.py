"""Killed at random moments and started again, a run gives the record of an undisturbed one."""

import json
import random
import signal
import time

import pytest

from ppn_tf.errors import RecordError
from reproduce.record_files import read_record

#: Phases of a run in the order in which they come.
PHASES = ("data", "epoch", "checkpoint", "evaluation", "record", "report")
#: What a slowed write takes longer, so that kills fall inside writes [s].
SLOW_S = 0.05


def durations(child):
    """Return how long each phase of an undisturbed run took, on average [s]."""
    found = {}
    for (start, phase), (end, _) in zip(child.phases, child.phases[1:], strict=False):
        found.setdefault(phase, []).append(end - start)
    return {phase: sum(values) / len(values) for phase, values in found.items()}


def check_files(folder):
    """Read all that lies under names that are read: whole files, or none."""
    unfinished = 0
    for path in folder.rglob("*"):
        if ".partial" in path.name:
            assert path.name.startswith(".")
            unfinished += 1
        elif path.suffix == ".json" and path.parent.parent.name == "runs":
            read_record(path)
        elif path.suffix == ".json":
            json.loads(path.read_text())
    return unfinished


def kill_and_restart(zygote, job, folder, phases, seconds, rng, **arguments):
    """Kill a run once in each phase; return its final result and what was met on the way."""
    kills, unfinished = {}, 0
    for phase in phases:
        child = zygote.start(job, folder=str(folder), slow_s=SLOW_S, **arguments)
        if child.until(phase):
            time.sleep(rng.random() * seconds[phase])
            child.send()
        # one that is faster than the moment drawn has ended well
        assert child.wait() in (0, -signal.SIGKILL), child.stderr
        if child.code:
            kills[phase] = kills.get(phase, 0) + 1
        unfinished += check_files(folder)
    child = zygote.start(job, folder=str(folder), **arguments)
    assert child.wait() == 0, child.stderr
    left = [path for path in folder.glob("**/.*.partial*") if path.parent.parent.name == "runs"]
    assert left == []
    return child.result, kills, unfinished


def undisturbed(zygote, job, folder):
    child = zygote.start(job, folder=str(folder), slow_s=SLOW_S)
    assert child.wait() == 0, child.stderr
    assert {phase for _, phase in child.phases} == {*PHASES, "end"}
    return child.result, durations(child)


def test_a_killed_run_ends_as_an_undisturbed_one(zygote, tmp_path, tried):
    """Three kills: while data or an epoch go on, and inside two writes."""
    expected, seconds = undisturbed(zygote, "run", tmp_path / "whole")
    rng = random.Random(0)
    phases = (rng.choice(("data", "epoch")), "checkpoint", rng.choice(("record", "report")))
    found, kills, unfinished = kill_and_restart(
        zygote, "run", tmp_path / "killed", phases, seconds, rng
    )
    assert found["digest"] == expected["digest"]
    assert sum(kills.values()) >= 1
    tried("kills", "small run", kills=kills, unfinished_files=unfinished, digests_that_differ=0)


@pytest.mark.long
def test_twenty_kills_of_a_script(zygote, tmp_path, tried):
    """The script itself with PtyNet, and the report: 20 kills, spread over all phases."""
    expected, seconds = undisturbed(zygote, "script", tmp_path / "whole")
    rng = random.Random(1)
    kills, unfinished, chains, differ = {}, 0, 0, 0
    while sum(kills.values()) < 20:
        folder = tmp_path / f"killed {chains}"
        found, own, left = kill_and_restart(zygote, "script", folder, PHASES, seconds, rng)
        kills = {phase: kills.get(phase, 0) + own.get(phase, 0) for phase in PHASES}
        unfinished, chains = unfinished + left, chains + 1
        differ += found["digest"] != expected["digest"]
    tried(
        "kills",
        "PtyNet by its script",
        kills=kills,
        unfinished_files=unfinished,
        runs=chains,
        digests_that_differ=differ,
    )
    assert differ == 0


def test_a_file_that_a_kill_left_is_never_read(tmp_path):
    from reproduce import schedule
    from reproduce.reporting import documents

    folder = tmp_path / "runs" / "0123456789abcdef"
    folder.mkdir(parents=True)
    # complete, but not yet renamed: the run did not say that it ended
    whole = {
        "cost": {"epochs": [{"seconds": 1.0}]},
        "environment": {"device": "here"},
        "spec": {"model": "dpi", "training": {"batch_size": 32}},
        "results": {"train_patches": 32},
    }
    left = folder / ".tensorflow.json.abc.partial.json"
    left.write_text(json.dumps(whole))
    assert schedule.step_seconds(tmp_path / "runs", "here") == {}
    assert documents.read_runs(tmp_path / "runs") == {}
    left.rename(folder / "tensorflow.json")
    assert schedule.step_seconds(tmp_path / "runs", "here") == {"dpi": 1.0}
    with pytest.raises(RecordError, match="lacks the keys hash"):
        read_record(folder / "tensorflow.json")


def test_ctrl_c_ends_with_what_to_type(zygote, tmp_path, tried):
    child = zygote.start("interrupted", folder=str(tmp_path))
    assert child.until("epoch")
    time.sleep(0.02)
    child.send(signal.SIGINT)
    assert child.wait() == 130, child.stderr
    assert "Traceback" not in child.stderr
    last = child.stderr.rstrip().splitlines()[-1].strip()
    assert last == "python reproduce/table1.py --profile smoke --seeds 2"
    assert "finished runs and epochs are kept; the same command goes on" in child.stderr
    tried("interrupted", "Ctrl-C in an epoch", rounds=1, status=child.code)
