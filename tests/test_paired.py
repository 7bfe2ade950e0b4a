"""Pairs are of one seed and one backend, wherever another backend's record lies beside."""

import json

import numpy as np
import pytest

from ppn_tf.training import TrainingConfig
from reproduce import experiments, paired, runs, tables
from reproduce.parts import audit_pilot, audit_short, bands, qualities
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


def test_bands_divide_runs_of_one_backend_alone():
    def record(backend, middle):
        power = {"frequency": [0.1, 0.5], "power": [1.0 - middle, middle]}
        side = {"prediction": {"patches": power}}
        found = {"results": {"spectrum": {"gap": {"amplitude": side}}}, "hash": "h"}
        return found | {"environment": {"backend": backend}}

    records = {
        "ppn": {
            0: record("tensorflow", 0.4),
            1: paired.Finished.of(record("tensorflow", 0.4), [record("jax", 0.3)]),
        },
        "dpi": {0: record("jax", 0.1), 1: record("jax", 0.1)},
    }
    found = bands.ratios(records, "ppn", "share", "amplitude", "patches")
    assert found["dpi"] == {1: pytest.approx(3)}


def test_bands_reach_nyquist_or_the_end_of_the_diagonal():
    one = bands.Profile(np.array([0.1, 0.4, 0.6]), np.array([1.0, 1.0, 2.0]))
    assert one.shares["mid"] == pytest.approx(0.75)
    # over the square root of 2: 0.07, 0.28 and 0.42
    assert one.to_corner.shares["mid"] == pytest.approx(0.5)


def test_a_claim_counts_seeds_that_all_methods_have_on_one_backend():
    def record(backend, edge_px):
        edge = {"prediction_px": edge_px, "truth_px": 0.8, "lost": 0.0}
        patches = {"amplitude": {"patches": {"edge": edge}}}
        return {"results": {"sharpness": patches}, "environment": {"backend": backend}}

    only_edges = {"edge_patches": qualities.CLAIMED["edge_patches"]}
    records = {
        "ppn": {seed: record("jax", 1.0) for seed in range(3)},
        "dpi": {0: record("jax", 2.0), 1: record("jax", 0.9), 2: record("tensorflow", 2.0)},
    }
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(qualities, "CLAIMED", only_edges)
        (line,) = qualities.said(records, "ppn", ("dpi", "ptynet"), ("amplitude",))
    assert line.endswith("amplitude: ppn is better than all of dpi in 1 of 2 seeds")
