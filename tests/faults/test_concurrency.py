"""Two processes that want one run, and runs side by side."""

import signal
import time

import pytest

from reproduce.record_files import read_record


def test_one_of_two_processes_trains_and_both_have_its_record(zygote, tmp_path, tried):
    rounds, trained = 1, []
    for number in range(rounds):
        folder = tmp_path / str(number)
        pair = [zygote.start("run", folder=str(folder), slow_s=0.05) for _ in range(2)]
        assert [child.wait() for child in pair] == [0, 0], pair[0].stderr + pair[1].stderr
        assert pair[0].result["digest"] == pair[1].result["digest"]
        trained.append([any(phase == "epoch" for _, phase in child.phases) for child in pair])
        waited = pair[trained[-1].index(False)]
        assert "waiting for another process that trains ptynet" in waited.stderr
        (path,) = folder.glob("runs/*/tensorflow.json")
        read_record(path)
    assert [sum(pair) for pair in trained] == [1] * rounds
    tried("concurrency", "two processes, one run", rounds=rounds, writers_at_once=1)


def test_the_second_goes_on_where_a_killed_first_one_stopped(zygote, tmp_path, tried):
    first = zygote.start("run", folder=str(tmp_path), slow_s=0.2)
    assert first.until("checkpoint")
    second = zygote.start("run", folder=str(tmp_path))
    time.sleep(0.1)
    assert first.until("checkpoint")
    first.send(signal.SIGKILL)
    assert second.wait() == 0, second.stderr
    assert first.wait() == -signal.SIGKILL
    assert second.result["processes"] == 2
    tried("concurrency", "the first of two killed", rounds=1, went_on=1)


def test_runs_side_by_side_equal_runs_in_turn(zygote, tmp_path, tried):
    found = []
    for count in (1, 2):
        child = zygote.start("side_by_side", folder=str(tmp_path / str(count)), count=count)
        assert child.wait() == 0, child.stderr
        assert child.result["failed"] == []
        found.append(child.result["digests"])
    assert None not in found[0]
    assert found[0] == found[1]
    tried("concurrency", "--jobs 2 against --jobs 1", runs=len(found[0]), digests_that_differ=0)


@pytest.mark.long
def test_a_killed_parent_takes_its_jobs_with_it(zygote, tmp_path, tried):
    """Otherwise they train on, and hold the locks of their runs."""
    import psutil

    child = zygote.start("side_by_side", folder=str(tmp_path), count=2)
    limit = time.monotonic() + 60
    while len(workers := psutil.Process(child.pid).children()) < 2:
        assert time.monotonic() < limit
        time.sleep(0.01)
    time.sleep(0.5)
    child.send(signal.SIGKILL)
    child.wait()
    gone, alive = psutil.wait_procs(workers, timeout=20)
    assert alive == []
    tried("concurrency", "--jobs 2, its parent killed", rounds=1, workers_left=len(alive))
