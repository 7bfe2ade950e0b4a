"""Damaged files: only errors of our own, memory within bounds, no crash and no hang."""

import collections
import queue
import signal

import fuzzing
import pytest

KINDS = tuple(fuzzing.KINDS)
#: Largest growth of a worker's memory [MiB]: a few copies of what the limit allows.
GROWTH_MIB = 8 * fuzzing.LIMIT_MIB
#: Longest that one file may take on a busy machine [s].
HANG_S = 20


def fuzz(zygote, kind, folder, count, seed):
    """Read `count` damaged files in workers that are replaced when they end early."""
    outcomes, foreign, crashes, hangs = collections.Counter(), [], [], []
    grown, start = 0.0, 0
    while start < count:
        where = {"kind": kind, "folder": str(folder), "start": start, "stop": count, "seed": seed}
        worker = zygote.start("fuzz", **where)
        last = start - 1
        while worker.code is None:
            try:
                event = worker.next(PATIENCE_S if last < start else HANG_S)
            except queue.Empty:
                hangs.append(last + 1)
                worker.send(signal.SIGKILL)
                worker.wait()
                break
            if event["event"] != "input":
                continue
            last, grown = event["number"], max(grown, event["grown_mib"])
            outcomes[event["outcome"]] += 1
            if event["outcome"] == "foreign":
                foreign.append((last, event["error"]))
        if worker.code not in (0, None) and not (hangs and hangs[-1] == last + 1):
            assert last >= start or start > 0, worker.stderr
            crashes.append((last + 1, worker.code))
        start = last + 2 if last + 1 < count else count
    return {
        "inputs": count,
        "refused": outcomes["refused"],
        "accepted": outcomes["accepted"],
        "foreign_errors": foreign,
        "crashes": crashes,
        "hangs": hangs,
        "peak_growth_mib": round(grown, 1),
    }


#: Imports and seeds of a worker take longer than one file [s].
PATIENCE_S = 120


@pytest.mark.parametrize("kind", KINDS)
def test_damaged_files(zygote, tmp_path, tried, kind):
    check(fuzz(zygote, kind, tmp_path, 60 if kind == ".keras" else 200, seed=0), kind, tried)


@pytest.mark.long
@pytest.mark.parametrize("kind", KINDS)
def test_ten_thousand_damaged_files(zygote, tmp_path, tried, kind):
    check(fuzz(zygote, kind, tmp_path, 10_000, seed=1), kind, tried)


def check(found, kind, tried):
    counts = {name: len(found[name]) for name in ("foreign_errors", "crashes", "hangs")}
    tried("fuzz", kind, **(found | counts))
    assert found["foreign_errors"] == []
    assert found["hangs"] == []
    assert found["crashes"] == []
    assert found["peak_growth_mib"] <= GROWTH_MIB
    # damage that always shows, or never does, would test little
    assert found["refused"] > 0
    assert found["accepted"] > 0
