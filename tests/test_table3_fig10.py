"""Table III and Fig. 10 from fabricated records, with values computed by hand."""

import csv
import dataclasses
import functools
import json
from pathlib import Path
from typing import Any

import pytest

from reproduce import compare, exhibit, experiments, fig10, options, table3
from reproduce.added import Added
from reproduce.exhibit import Context
from reproduce.parts import network_cost

PAPER, SMOKE, QUICK = (experiments.PROFILES[name] for name in ("paper", "smoke", "quick"))


@pytest.fixture(autouse=True, scope="module")
def one_reading_of_the_paper():
    """Parse paper.yaml once: it takes most of the time of these tests."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(compare, "load_paper", functools.cache(compare.load_paper))
        yield


@pytest.fixture
def counted(monkeypatch):
    """Counts of every network without building it: those of the published models."""
    sizes = {"ppn-released": (1_603_724, 0.38196), "dpi": (14_978_420, 1.0488)}

    def counts(model):
        total, gflops = sizes.get(model, (1_000_000, 0.5))
        return network_cost.Counts(total, total * 4 / 2**20, gflops)

    monkeypatch.setattr(network_cost, "counts", counts)


@dataclasses.dataclass(frozen=True)
class Store:
    """Records that are made up: `score` gives the PSNR of a run, None where there is none."""

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
        # 1/1, 1/2, ... down to 0.1 from epoch 10 on; 0.1009 is within 1 % of 0.1
        losses = [max(1 / (i + 1), 0.1) for i in range(spec.training.epochs)]
        losses[8:9] = [0.1009][: len(losses[8:9])]
        spent = [
            {
                "seconds": 60.0 if i == 0 else 2.0 + i % 3,
                "peak_rss_mib": 900.0 + i,
                "gpu_peak_mib": None,
            }
            for i in range(spec.training.epochs)
        ]
        return {
            "hash": spec.hash,
            "results": {
                "regions": regions,
                "history": [{"epoch": i + 1, "val_loss": v} for i, v in enumerate(losses)],
            },
            "cost": {"epochs": spent, "train_seconds": 100.0, "evaluate_seconds": 0.0},
            "environment": {"device": "CPU (made up)"},
        }


def here(script, profile, tmp_path, score, added=()):
    session = options.Session(profile.name, None, "stand-in", "cpu", "CPU", tmp_path, added=added)
    grid = script.EXHIBIT.grid(dataclasses.replace(profile, added=added), "stand-in", None)
    return Context(session, profile, Store(tmp_path, score), grid)


# --- Table III ---

#: PSNR of each network in dB; SegFormer and PtychoFormer nearly alike.
LEVELS = {
    "ppn": 14.0,
    "ppn-released": 12.5,
    "transunet": 13.0,
    "segformer": 12.0,
    "ptychoformer": 12.05,
}


def level(spec):
    """The network's level and a tenth of a dB a seed: differences do not spread."""
    return LEVELS[spec.model] + 0.1 * spec.seed


def find(cells, method, metric, block="sound"):
    wanted = (method, metric, block)
    return next(cell for cell in cells if (cell.method, cell.metric, cell.block) == wanted)


def test_grid_of_table3():
    grid = table3.grid(PAPER, "ltem", None)
    assert set(grid) == {(block.name, "clean") for block in experiments.BLOCKS}
    assert {len(specs) for specs in grid.values()} == {5 * 5}
    specs = grid["sound", "clean"]
    assert {spec.training.epochs for spec in specs} == {30}
    of_table1 = {spec.hash for spec in experiments.table1(PAPER, "ltem")["sound", "clean"]}
    assert {s.model for s in specs if s.hash in of_table1} == {"ppn", "ppn-released"}
    assert [s.model for s in table3.grid(SMOKE, "ltem", None)["sound", "clean"]] == [
        "segformer",
        "ppn",
    ]
    assert len(table3.grid(QUICK, "ltem", 2)["sound", "clean"]) == 2 * 4


def test_every_published_number_of_table3_cannot_be_checked(tmp_path):
    output = table3.make(here(table3, PAPER, tmp_path, level))
    paper = {key for key in compare.load_paper() if key.startswith("table3.")}
    answered = [cell for cell in output.cells if cell.id]
    assert {cell.id for cell in answered} == paper
    assert {cell.verdict["text"] for cell in answered} == {"cannot be checked: value missing"}
    cell = find(output.cells, "segformer", "psnr_amp")
    # 12.0 to 12.4
    assert (cell.ours, cell.n) == (pytest.approx(12.2), 5)


def test_orderings_of_table3(tmp_path):
    output = table3.make(here(table3, PAPER, tmp_path, level))
    above = find(output.cells, "ppn - transunet", "psnr_phase")
    assert above.ours == pytest.approx(1.0)
    assert above.verdict["status"] == compare.SAME_ORDERING
    below = find(output.cells, "ppn-released - transunet", "psnr_phase")
    assert below.verdict["status"] == compare.DIFFERS
    # three baselines, four metrics, three blocks
    assert "ppn outperforms transunet, segformer, ptychoformer: 36 same ordering" in output.body
    assert "- ppn-released outperforms transunet, segformer, ptychoformer: 24 same" in output.body
    assert "12 differs, of 36 comparisons" in output.body


def test_comparable_is_an_equivalence_test(tmp_path):
    output = table3.make(here(table3, PAPER, tmp_path, level))
    cell = find(output.cells, "ptychoformer - segformer", "psnr_amp")
    # a constant 0.05 dB is within half of 14.42 - 13.68
    assert cell.ours == pytest.approx(0.05)
    assert cell.verdict["status"] == compare.REPRODUCED
    assert cell.verdict["bound"] == pytest.approx(0.37)

    def apart(spec):
        return level(spec) + (2.0 if spec.model == "ptychoformer" else 0.0)

    output = table3.make(here(table3, PAPER, tmp_path, apart))
    cell = find(output.cells, "ptychoformer - segformer", "psnr_amp")
    assert cell.verdict["status"] == compare.DIFFERS

    def scattered(spec):
        return level(spec) + (spec.seed - 2 if spec.model == "ptychoformer" else 0.0)

    output = table3.make(here(table3, PAPER, tmp_path, scattered))
    cell = find(output.cells, "ptychoformer - segformer", "psnr_amp")
    assert cell.verdict["status"] == compare.CANNOT_SPREAD


def test_table3_without_records_says_so(tmp_path):
    output = table3.make(here(table3, PAPER, tmp_path, lambda spec: None))
    assert output.body.startswith("No record so far.")
    assert {cell.id for cell in output.cells if cell.id} == {
        key for key in compare.load_paper() if key.startswith("table3.")
    }
    assert all(cell.verdict is None and cell.ours is None for cell in output.cells)


def test_table3_smoke_prints_no_verdict(tmp_path):
    context = here(table3, SMOKE, tmp_path, level)
    text = exhibit.write(table3.EXHIBIT, context)
    written = json.loads((tmp_path / "table3.json").read_text())
    assert all(cell["verdict"] is None for cell in written["cells"])
    assert "no verdict (no records of the paper profile)" in text
    assert (tmp_path / "table3.tex").exists()


# --- Figure 10 ---


@pytest.mark.parametrize(
    ("losses", "epoch"),
    [
        ([1.0], 1),
        ([3.0, 2.0, 1.0, 1.5], 3),
        ([3.0, 1.009, 2.0, 1.0], 2),  # within 1 % of the best, which comes later
        ([3.0, 1.011, 2.0, 1.0], 4),
    ],
)
def test_convergence_epoch(losses, epoch):
    assert network_cost.convergence_epoch(losses) == epoch


def test_effort_leaves_the_first_epoch_out_and_names_the_memory():
    record = Store(Path(), lambda spec: 1.0).find(fig10.grid(SMOKE, "ltem", None)[fig10.KEY][0])
    found = network_cost.effort(record)
    assert (found.epochs, found.seconds, found.peak_mib, found.on_gpu) == (2, 3.0, 901.0, False)
    record["environment"]["device"] = "NVIDIA T4"
    # not known: the process needed more before
    assert network_cost.effort(record).peak_mib is None
    for place, epoch in enumerate(record["cost"]["epochs"]):
        epoch["gpu_peak_mib"] = 100.0 + place
    found = network_cost.effort(record)
    assert (found.peak_mib, found.on_gpu) == (101.0, True)
    record["cost"]["epochs"] = record["cost"]["epochs"][:1]
    assert network_cost.effort(record).seconds == 60.0


def test_grid_of_fig10():
    specs = fig10.grid(PAPER, "ltem", None)[fig10.KEY]
    assert [spec.model for spec in specs] == list(fig10.METHODS)
    assert {(spec.training.epochs, spec.seed) for spec in specs} == {(100, 0)}
    (smoke,) = fig10.grid(SMOKE, "ltem", None)[fig10.KEY]
    assert (smoke.model, smoke.training.epochs, smoke.train_size) == ("ptynet", 2, 68)
    assert {s.training.epochs for s in fig10.grid(QUICK, "ltem", None)[fig10.KEY]} == {10}


def test_fig10_answers_every_published_number(tmp_path, counted):
    output = fig10.make(here(fig10, PAPER, tmp_path, lambda spec: 1.0))
    paper = {key for key in compare.load_paper() if key.startswith("fig10.")}
    assert {cell.id for cell in output.cells if cell.id} == paper

    size = find(output.cells, "ppn-released", "size_mib", "")
    assert (size.ours, size.n) == (1_603_724 * 4 / 2**20, None)
    assert size.verdict["status"] == compare.REPRODUCED
    assert not size.verdict["provisional"]
    # 3.81 MiB, not 6.12
    assert find(output.cells, "ppn", "size_mib", "").verdict["status"] == compare.DIFFERS
    assert find(output.cells, "dpi", "gflops", "").verdict["status"] == compare.REPRODUCED
    missing = find(output.cells, "ptychonn", "gflops", "").verdict
    assert missing["text"] == "cannot be checked: value missing"

    epochs = find(output.cells, "dpi", "epochs")
    assert (epochs.published, epochs.ours, epochs.n) == (35, 9.0, 1)
    assert epochs.verdict["status"] == compare.DIFFERS
    assert epochs.verdict["provisional"]
    assert find(output.cells, "dpi", "seconds").ours == 3.0
    assert find(output.cells, "dpi", "peak_mib").ours == 999.0
    assert output.figures == ("fig10.png", "fig10.pdf")
    assert output.extra["parameters"]["dpi"] == 14_978_420


def test_fig10_takes_shorter_runs_without_a_verdict(tmp_path, counted):
    def short(spec):
        return 1.0 if spec.training.epochs < 100 and spec.model == "ppn" else None

    output = fig10.make(here(fig10, PAPER, tmp_path, short))
    cell = find(output.cells, "ppn", "epochs")
    assert cell.ours == 9.0
    assert cell.verdict["text"] == "cannot be checked: needs 100 epochs, the run has 30"
    assert "gets no verdict: ppn (30)" in output.body
    assert "Without a record so far: ppn-released, ptychonn, ptynet, dpi" in output.body
    assert find(output.cells, "dpi", "epochs").ours is None


def test_the_counted_part_of_fig10_needs_no_record(tmp_path, counted):
    context = here(fig10, PAPER, tmp_path, lambda spec: None)
    text = exhibit.write(fig10.EXHIBIT, context)
    assert "stand-in object" in text
    rows = list(csv.DictReader((tmp_path / "fig10.csv").read_text().splitlines()[1:]))
    sizes = {row["method"]: row["verdict"] for row in rows if row["metric"] == "size_mib"}
    assert sizes["ppn-released"] == "reproduced"
    assert (tmp_path / "fig10.png").stat().st_size > 10_000


def test_fig10_takes_an_added_network(tmp_path, counted):
    own = Added("module:network", "0" * 64, 7)
    context = here(fig10, PAPER, tmp_path, lambda spec: 1.0, (own,))
    assert context.grid[fig10.KEY][-1].training.epochs == 100
    output = fig10.make(context)
    cell = find(output.cells, "module:network", "epochs")
    assert (cell.id, cell.ours) == (None, 9.0)


def test_counts_of_a_real_network():
    pytest.importorskip("keras")
    found = network_cost.counts("ptynet")
    assert (found.parameters, f"{found.mib:.2f}") == (324_452, "1.24")
    if found.gflops is not None:
        assert f"{found.gflops:.4f}" == "0.0281"


def test_plain_attention_is_what_is_counted():
    pytest.importorskip("keras")
    network = network_cost._create("ppn")
    assert {
        layer.implementation
        for layer in network.layers
        if "nonlocal" in layer.name and hasattr(layer, "implementation")
    } == {"plain"}
