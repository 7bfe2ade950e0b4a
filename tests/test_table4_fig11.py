"""Table IV and Fig. 11 from fabricated records, with values computed by hand."""

import dataclasses
import functools
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from ppn_tf import data
from reproduce import compare, experiments, fig11, options, protocol, table4, tables
from reproduce.exhibit import Context
from reproduce.parts import loss_analysis, loss_report

BLOCK = experiments.block("sound")
PAPER, SMOKE = experiments.PROFILES["paper"], experiments.PROFILES["smoke"]


@pytest.fixture(autouse=True, scope="module")
def one_reading_of_the_paper():
    """Parse paper.yaml once: it takes most of the time of these tests."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(compare, "load_paper", functools.cache(compare.load_paper))
        yield


@dataclasses.dataclass(frozen=True)
class Store:
    """Records that are made up: PSNR of loss, network and seed by `score`; else none."""

    folder: Path
    score: Any

    def find(self, spec):
        value = self.score(spec)
        if value is None:
            return None
        score = {"mse": 0.05, "psnr_db": value, "ssim": value / 100}
        regions = {
            b.region: {c: {b.convention: score} for c in ("amplitude", "phase")}
            for b in experiments.BLOCKS
        }
        history = [
            {"epoch": i + 1, "val_loss": v, "learning_rate": 1e-3 / 2**i}
            for i, v in enumerate((1.0, 0.5, 0.6, 0.1))
        ]
        scaling = {
            "transform": "log1p",
            "input_range": [0, 1],
            "amplitude_range": [0, 1],
            "phase_range_rad": [0, 1],
        }
        return {
            "hash": spec.hash,
            "results": {"regions": regions, "history": history, "scaling": scaling},
        }

    def path(self, spec, ending):
        return self.folder / f"{spec.hash}.{ending}"


def here(exhibit, profile, tmp_path, score):
    session = options.Session(profile.name, None, "stand-in", "cpu", "CPU", tmp_path)
    grid = exhibit.grid(profile, "stand-in", None)
    return Context(session, profile, Store(tmp_path, score), grid)


def small_dataset():
    """A 61 x 61 raster of small patches: a quarter is constant."""
    count = 61 * 61
    rng = np.random.default_rng(0)
    amplitude = rng.random((count, 12, 12), dtype=np.float32)
    amplitude[::4] = 0.5
    rows, cols = np.divmod(np.arange(count), 61)
    return data.Dataset(
        patterns=np.ones((count, 12, 12), np.float32),
        amplitude=amplitude,
        phase=rng.random((count, 12, 12), dtype=np.float32),
        positions_px=8 * np.stack([rows, cols], axis=1),
        grid_shape=(61, 61),
        object_shape=(512, 512),
        provenance={},
    )


@pytest.fixture(scope="module")
def prepared():
    dataset = small_dataset()
    scaling = loss_analysis.Scaling("log1p", (0, 1), (0, 1), (0, 1))
    train = np.arange(400)
    return protocol.Prepared(dataset, train, np.arange(400, 420), scaling)


def score(spec):
    """10 dB, plus the place of the loss, less 1 for the released form, a tenth a seed."""
    place = list(table4.LOSSES).index(spec.training.loss)
    return 10.0 + place - (spec.model != "ppn") + 0.1 * spec.seed


def test_grid_of_table4():
    grid = table4.grid(PAPER, "ltem", None)
    assert set(grid) == {(b.name, "clean") for b in experiments.BLOCKS}
    # sound: 8 losses with PPN and 6 with its released form; else 6 with PPN; 3 seeds
    assert {key[0]: len(specs) for key, specs in grid.items()} == {
        "sound": 42,
        "text": 18,
        "release": 18,
    }
    mse = [s for s in grid["sound", "clean"] if table4.method_of(s) == "mse"]
    of_table1 = experiments.table1(PAPER, "ltem")["sound", "clean"]
    assert {s.hash for s in mse} <= {s.hash for s in of_table1}
    smoke = table4.grid(SMOKE, "ltem", None)
    assert [table4.method_of(s) for s in smoke["sound", "clean"]] == ["mse", "npcc"]
    quick = table4.grid(experiments.PROFILES["quick"], "ltem", None)
    assert [table4.method_of(s) for s in quick["sound", "clean"]] == [
        *("mse", "npcc", "combined:0.9")
    ]


def test_table4_compares_every_published_number(tmp_path, prepared, monkeypatch):
    monkeypatch.setattr(protocol, "prepare", lambda spec: prepared)
    output = table4.make(here(table4.EXHIBIT, PAPER, tmp_path, score))
    paper = {key for key in compare.load_paper() if key.startswith("table4.")}
    assert {cell.id for cell in output.cells if cell.id} == paper

    def cell(method, metric, block="sound"):
        return next(
            c for c in output.cells if (c.method, c.metric, c.block) == (method, metric, block)
        )

    ours = cell("npcc", "psnr_amp")
    # place 3: 13.0, 13.1, 13.2
    assert (ours.ours, ours.ours_sd, ours.n) == (pytest.approx(13.1), pytest.approx(0.1), 3)
    assert ours.published == 10.36
    # the combined loss is above NPCC on every seed, as published
    assert ours.verdict["status"] == compare.SAME_ORDERING
    assert cell("ppn-released, npcc", "psnr_amp").ours == pytest.approx(12.1)
    contradicted = cell("mse", "psnr_phase").verdict
    assert contradicted["status"] == compare.CANNOT
    assert "contradicts table1.clean.ppn.psnr_phase" in contradicted["reason"]
    for second in ("huber:0.1", "combined:0.1"):
        assert cell(second, "psnr_amp").id is None
        assert cell(second, "psnr_amp").verdict is None
        assert cell(second, "psnr_amp").n == 3
    assert output.figures == ("table4.png", "table4.pdf")
    assert (tmp_path / "table4.png").stat().st_size > 10_000
    # MSE and MAE lie 1 dB apart on every seed: not equivalent within half of 0.74 dB
    entry = output.extra["statistics"][0]
    assert [e["equivalent"] for e in entry["equivalence"]] == [False]
    assert len(entry["pairs"]) == 15


def test_table4_without_any_run(tmp_path, prepared, monkeypatch):
    monkeypatch.setattr(protocol, "prepare", lambda spec: prepared)
    output = table4.make(here(table4.EXHIBIT, SMOKE, tmp_path, lambda spec: None))
    assert output.figures == ()
    assert "No run is there yet." in output.body
    assert all(cell.ours is None and cell.verdict is None for cell in output.cells)
    assert len({cell.id for cell in output.cells if cell.id}) == 24


def test_convergence_by_hand():
    values, rates = (2.0, 1.0, 1.2, 0.04, 0.0), (1e-3, 1e-3, 1e-3, 5e-4, 5e-4)
    history = [
        {"epoch": index + 1, "val_loss": value, "learning_rate": rate}
        for index, (value, rate) in enumerate(zip(values, rates, strict=True))
    ]
    assert loss_analysis.convergence(history) == {
        "epochs_to_95": 4,
        "rises": 1,
        "largest_rise": pytest.approx(0.1),
        "last_learning_rate": 5e-4,
    }
    assert loss_analysis.convergence(history[:1]) is None
    assert loss_analysis.convergence([]) is None
    # a shift and a unit change nothing: negative losses too
    shifted = [{**e, "val_loss": 3 * e["val_loss"] - 7} for e in history]
    assert loss_analysis.convergence(shifted) == pytest.approx(loss_analysis.convergence(history))


def test_affine_table_and_constant_patches(prepared):
    table = loss_analysis.affine_table(("mse", "npcc"), prepared)
    assert len(table) == 2 * 2 * len(loss_analysis.CHANGES)

    def entry(loss, gain, offset, channel="amplitude"):
        keys = {"channel": channel, "loss": loss, "gain": gain, "offset": offset}
        return next(e for e in table if keys.items() <= e.items())

    indices = data.region_indices(prepared.dataset, "gap")
    images = prepared.dataset.amplitude[indices].astype(float)
    assert entry("mse", 1.0, 0.1)["value"] == pytest.approx(0.01, rel=1e-4)
    assert entry("mse", 1.0, 0.1)["share"] == pytest.approx(0.01 / images.var(), rel=1e-4)
    # constant targets have no correlation, changed or not
    constant = np.mean(images.std(axis=(1, 2)) == 0)
    assert constant == pytest.approx(0.25, abs=0.01)
    assert entry("npcc", 0.8, 0.1)["perfect"] == pytest.approx(constant - 1, abs=1e-5)
    assert entry("npcc", 0.8, 0.1)["share"] == pytest.approx(0, abs=1e-5)
    assert loss_analysis.constant_shares(prepared) == {"amplitude": 0.25, "phase": 0.0}
    text = "\n".join(loss_report.affine_text([*table, *_as("nssim", table)], {"amplitude": 0.25}))
    assert "NPCC has no gradient: 25.0 % (amplitude)." in text


def _as(name, table):
    return [{**entry, "loss": name} for entry in table if entry["loss"] == "mse"]


def test_gain_and_offset_of_a_run(tmp_path, prepared):
    spec = table4.grid(SMOKE, "ltem", None)["sound", "clean"][0]
    store = Store(tmp_path, score)
    record = store.find(spec)
    assert loss_analysis.without_affine(store, spec, record, prepared) is None
    indices = data.region_indices(prepared.dataset, "lower-right")
    truth = loss_analysis.targets(prepared, indices)
    noise = np.random.default_rng(3).standard_normal(truth["phase"].shape)
    np.savez(
        store.path(spec, "npz"),
        amplitude=(0.5 * truth["amplitude"] + 0.1).astype(np.float16),
        phase=(truth["phase"] + 0.1 * noise).astype(np.float16),
    )
    found = loss_analysis.without_affine(store, spec, record, prepared)
    expected = -10 * np.log10(np.mean((0.5 * truth["amplitude"].astype(float) - 0.1) ** 2))
    # float16 predictions: 3e-4 relative
    assert found["amplitude"]["psnr_db"] == pytest.approx(expected, abs=0.02)
    assert found["amplitude"]["psnr_db_without_affine"] > 60
    # noise is no gain and offset
    assert found["phase"]["psnr_db"] == pytest.approx(20, abs=0.2)
    assert found["phase"]["psnr_db_without_affine"] == pytest.approx(20, abs=0.8)


def test_grid_of_fig11_shares_runs_with_table4():
    specs = fig11.grid(PAPER, "ltem", None)["sound", "clean"]
    # 11 weights with one seed, 2 more seeds at four of them
    assert len(specs) == 11 + 2 * 4
    of_table4 = {s.hash for s in table4.grid(PAPER, "ltem", None)["sound", "clean"]}
    new = [s for s in specs if s.hash not in of_table4]
    assert [s.training.loss for s in new] == [f"combined:0.{i}" for i in range(2, 9)]
    smoke = fig11.grid(SMOKE, "ltem", None)["sound", "clean"]
    assert [s.training.loss for s in smoke] == ["combined:0.5"]


def weight_of(spec):
    loss = spec.training.loss
    return {"mse": 0.0, "nssim": 1.0}.get(loss) if ":" not in loss else float(loss.split(":")[1])


def test_fig11_trend_by_hand(tmp_path):
    def sweep(spec):
        # rises up to 0.7 and falls beyond; seeds 0.2 apart
        return 20 - 10 * abs(weight_of(spec) - 0.7) + 0.2 * spec.seed

    output = fig11.make(here(fig11.EXHIBIT, PAPER, tmp_path, sweep))
    trend = output.extra["trend"]
    assert (trend["nssim"]["min"], trend["nssim"]["max"]) == (0.1, 0.7)
    assert trend["nssim"]["best"] == 0.7
    # 0.2 to 0.7 rise, 0.7 to 0.9 fall
    assert trend["nssim"]["steps"] == 7
    assert trend["nssim"]["steps_up"]["psnr_amp"] == 5
    # alpha = 1 - weight: 0.1 to 0.3 rises, from there it falls
    assert (trend["mse"]["min"], trend["mse"]["max"], trend["mse"]["best"]) == (0.1, 0.3, 0.3)
    assert trend["mse"]["steps_up"]["psnr_amp"] == 1
    assert trend["nssim"]["range"]["psnr_amp"] == pytest.approx(6)
    # seeds 0, 0.2 and 0.4 at four weights
    assert output.extra["seed_sd"]["psnr_amp"] == pytest.approx(0.2)
    cells = {cell.id: cell for cell in output.cells if cell.id}
    assert {key: cell.ours for key, cell in cells.items()} == {
        "claims.combined_loss_alpha_min": 0.1,
        "claims.combined_loss_alpha_max": 0.7,
        "claims.combined_loss_alpha_best": 0.7,
    }
    statuses = [cell.verdict["status"] for cell in cells.values()]
    assert statuses == [compare.DIFFERS, compare.DIFFERS, compare.CANNOT]
    assert output.figures == ("fig11.png", "fig11.pdf")


def test_fig11_with_one_run_and_with_none(tmp_path):
    one = fig11.make(here(fig11.EXHIBIT, SMOKE, tmp_path, lambda spec: 12.0))
    assert one.figures == ("fig11.png", "fig11.pdf")
    assert one.extra["trend"]["nssim"]["best"] is None
    none = fig11.make(here(fig11.EXHIBIT, PAPER, tmp_path, lambda spec: None))
    assert none.figures == ()
    assert "No run is there yet." in none.body
    assert "Weights without a run of seed 0: 0, 0.1, 0.2" in none.body
    published = {c.id for c in none.cells if c.id}
    assert len(published) == 3
    assert all(cell.verdict is None for cell in none.cells)


def test_longest_rise_and_best_on_average():
    values = np.array([[1, 5], [2, 6], [3, 4], [4, 5], [5, 6], [6, 7]], float)
    assert loss_analysis.longest_rise(values) == (2, 5)
    assert loss_analysis.longest_rise(values[1:3]) is None
    assert loss_analysis.longest_rise(values[:0]) is None
    # equal ranks in sum: 3 + 0 and 0 + 3; the row between the two has 1 + 1
    assert loss_analysis.best_on_average(np.array([[1, 9], [8, 8], [9, 1], [2, 2]], float)) == 1


def test_seed_spread_is_pooled():
    def record(value):
        score = {"psnr_db": value, "ssim": 0.5}
        channels = {c: {BLOCK.convention: score} for c in ("amplitude", "phase")}
        return {"results": {"regions": {BLOCK.region: channels}}}

    groups = [
        {0: record(1.0), 1: record(3.0)},
        {0: record(5.0), 1: record(6.0), 2: record(7.0)},
        {0: record(9.0)},
    ]
    # variances 2 with 1 and 1 with 2 degrees of freedom
    found = loss_analysis.seed_spread(groups, BLOCK)
    assert found["psnr_amp"] == pytest.approx(np.sqrt(4 / 3))
    assert found["ssim_amp"] == 0
    assert set(loss_analysis.seed_spread(groups[2:], BLOCK).values()) == {None}
    assert set(found) == set(tables.SHORT)
