"""Records of two backends are compared as two groups."""

import dataclasses
import json
import types

import pytest

from reproduce import backends, experiments, runs, tables

BLOCK = experiments.block("sound")


def record(value: float, device: str = "CPU (a, 2 cores)") -> dict:
    scores = {"mse": value, "psnr_db": value, "ssim": value / 100}
    channels = {name: {BLOCK.convention: scores} for name in ("amplitude", "phase")}
    return {
        "hash": "h",
        "results": {"regions": {BLOCK.region: channels}},
        "environment": {"device": device},
    }


def test_groups_are_compared_by_welch():
    found = {
        "tensorflow": [record(v) for v in (10.0, 12.0, 14.0)],
        "jax": [record(v) for v in (11.0, 13.0)],
    }
    rows = backends.compare(found, BLOCK)
    assert [row["metric"] for row in rows] == list(tables.METRICS)
    row = rows[1]
    assert row["n"] == [3, 2]
    assert row["mean"] == [12.0, 12.0]
    assert row["difference"] == 0.0
    # (2 * 4 + 1 * 2) / 3
    assert row["seed_sd"] == pytest.approx((10 / 3) ** 0.5)
    # by hand: error sqrt(4/3 + 2/2), 2.882 degrees of freedom, t(0.975) 3.2590
    assert row["ci95"][1] == pytest.approx(3.2590 * (7 / 3) ** 0.5, rel=1e-3)
    assert row["ci95"][0] == -row["ci95"][1]


def test_the_text_names_what_differs(capsys):
    same = {"tensorflow": [record(v) for v in (1, 2)], "jax": [record(v) for v in (1.1, 2.1)]}
    apart = {"tensorflow": [record(v) for v in (1, 2)], "jax": [record(v) for v in (101, 102)]}
    assert "No interval excludes 0" in "\n".join(backends._table(backends.compare(same, BLOCK)))
    assert "excludes 0 in mse_amp" in "\n".join(backends._table(backends.compare(apart, BLOCK)))


def test_both_backends_train_the_same_runs_of_table_1():
    profile = experiments.PROFILES["paper"]
    (specs,) = backends.grid(profile, "ltem", None).values()
    known = {s.hash for runs in experiments.table1(profile, "ltem").values() for s in runs}
    assert len(specs) == backends.SEEDS
    assert all(dataclasses.replace(spec).hash in known for spec in specs)


def test_networks_with_runs_of_both_backends_are_compared_too(tmp_path, monkeypatch):
    """PPN has two of each, DPI two of one and none of the other, PtyNet none."""
    monkeypatch.setattr(runs, "read_record", lambda path: json.loads(path.read_text()))
    profile = experiments.PROFILES["paper"]
    here = types.SimpleNamespace(
        session=types.SimpleNamespace(out=tmp_path, object_name="ltem"),
        profile=profile,
        store=types.SimpleNamespace(folder=tmp_path / "runs"),
        grid=backends.grid(profile, "ltem", None),
    )
    for spec in experiments.table1(profile, "ltem")["sound", "clean"]:
        kept = {"ppn": ("tensorflow", "jax"), "dpi": ("jax",)}.get(spec.model, ())
        for backend in kept if spec.seed < 2 else ():
            path = here.store.folder / spec.hash / f"{backend}.json"
            path.parent.mkdir(parents=True, exist_ok=True)
            device = "CPU (a, 2 cores)" if backend == "tensorflow" else "NVIDIA H200"
            path.write_text(json.dumps(record(10.0 + spec.seed, device)))
    made = backends.make(here)
    assert "ptynet, noise-free, sound block; finished runs: tensorflow 0, jax 0." in made.body
    assert "ppn, noise-free, sound block; finished runs: tensorflow 2, jax 2." in made.body
    assert "tensorflow on CPU (a, 2 cores). jax on NVIDIA H200. So backend and" in made.body
    assert "dpi" not in made.body and list(made.extra["others"]) == ["ppn"]
    assert len(made.extra["others"]["ppn"]["runs"]["jax"]) == 2


def test_the_paper_profile_shows_short_trainings_too(tmp_path):
    same = {"tensorflow": [record(v) for v in (1, 2)], "jax": [record(v) for v in (1.1, 2.1)]}
    here = types.SimpleNamespace(
        session=types.SimpleNamespace(out=tmp_path), profile=experiments.PROFILES["paper"]
    )
    assert backends._reduced(here) == []
    path = tmp_path / backends.REDUCED / "backends.json"
    path.parent.mkdir(parents=True)
    document = {"metrics": backends.compare(same, BLOCK), "runs": {"tensorflow": ["a", "b"]}}
    path.write_text(json.dumps(document), encoding="utf-8")
    text = "\n".join(backends._reduced(here))
    assert "512 patches, 10 epochs" in text
    assert "finished runs: tensorflow 2" in text
    assert "MSE amp" in text
    # short trainings are shown beside the paper's, never beside themselves
    here.profile = experiments.PROFILES["quick"]
    assert backends._reduced(here) == []
