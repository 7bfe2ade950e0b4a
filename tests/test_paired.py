"""Pairs are of one seed and one backend, wherever another backend's record lies beside."""

import json

import pytest

from ppn_tf.training import TrainingConfig
from reproduce import experiments, paired, runs, tables
from reproduce.parts import audit_pilot, audit_short
from reproduce.specification import RunSpec

BLOCK = experiments.block("sound")


def record(backend, psnr=10.0):
    score = {"per-image": {"mse": 0.05, "psnr_db": psnr, "ssim": 0.5}}
    regions = {BLOCK.region: dict.fromkeys(audit_short.CHANNELS, score)}
    return {
        "hash": backend,
        "environment": {"backend": backend},
        "evaluation_version": 1,
        "results": {"regions": regions},
    }


def finished(*backends, psnr=10.0):
    first, *others = (record(name, psnr) for name in backends)
    return paired.Finished.of(first, others)


RECORDS = {
    "a": {0: finished("tensorflow", "jax"), 1: finished("jax"), 2: finished("jax")},
    "b": {0: finished("jax"), 1: finished("tensorflow"), 2: finished("jax"), 3: finished("jax")},
}


def test_rows_never_mix_backends():
    found = paired.rows(RECORDS, ("a", "b"))
    # seed 0 by the record beside; seed 1 has no backend in common; seed 3 only one method
    assert {seed: [r["hash"] for r in row] for seed, row in found.items()} == {
        0: ["jax", "jax"],
        2: ["jax", "jax"],
    }
    one, other = paired.pair(RECORDS, ("a", "b"))
    assert list(one) == list(other) == [0, 2]
    assert paired.rows(RECORDS, ("a", "c")) == {}
    assert tables.seed_table(RECORDS, ("a", "b"), BLOCK, "psnr_amp").tolist() == [[10, 10]] * 2


def test_records_without_a_backend_pair_with_each_other():
    plain = {"a": {0: {"hash": "x"}}, "b": {0: {"hash": "y"}}}
    assert [r["hash"] for r in paired.rows(plain, ("a", "b"))[0]] == ["x", "y"]


def test_full_trainings_of_the_audit_are_paired_on_one_backend():
    found = [
        ("ppn, PoCA", 0, finished("tensorflow", psnr=12.0)),
        ("ppn, PoCA", 1, finished("jax", psnr=12.0)),
        ("ppn, PoCA", 2, finished("jax", psnr=14.0)),
        ("ppn, no NLB", 0, finished("jax")),
        ("ppn, no NLB", 1, finished("tensorflow", "jax")),
        ("ppn, no NLB", 2, finished("jax")),
    ]
    (psnr,) = [
        one
        for one in audit_pilot.comparisons(audit_pilot.from_records(found))
        if one["metric"] == "psnr_amplitude"
    ]
    assert (psnr["n"], psnr["mean"]) == (2, pytest.approx(3.0))
    assert audit_pilot.comparisons(audit_pilot.from_records(found[:4])) == []


def test_the_store_gives_the_records_of_other_backends_too(tmp_path, monkeypatch):
    # these are no whole records: their digests are not what is tested
    monkeypatch.setattr(runs, "read_record", lambda path: json.loads(path.read_text()))
    store = runs.RunStore(tmp_path / "runs")
    spec = RunSpec("ptynet", 0, TrainingConfig(1))
    folder = store.path(spec).parent
    folder.mkdir(parents=True)
    assert store.find(spec) is None
    for backend in ("torch", "jax", "tensorflow"):
        (folder / f"{backend}.json").write_text(json.dumps(record(backend)))
    found = store.find(spec)
    own = store.path(spec).stem
    assert found["hash"] == own
    assert sorted(paired.by_backend(found)) == ["jax", "tensorflow", "torch"]
    # what is written again holds one record alone
    assert json.loads(json.dumps(found)) == record(own)
