"""The speed script: rows are kept, ratios take the better reference, outputs are written."""

import json

import numpy as np
import pytest

from ppn_tf.errors import OptionError
from ppn_tf.layers import blockwise
from reproduce import speed
from reproduce.parts import speed_report, speed_rows, timing
from reproduce.reporting import documents


def row(name, **numbers):
    import dataclasses

    return {
        "row": name,
        "version": speed_rows.ROWS[name].version,
        **dataclasses.asdict(speed_rows.ROWS[name]),
        "peak_mib": 900.0,
        "peak_above_start_mib": 200.0,
        "device": "CPU",
        **numbers,
    }


ROWS = [
    row("ppn-block", train_step_s=1.0, predict_s=0.2),
    row("ppn-plain", train_step_s=6.0, predict_s=2.0, peak_mib=4500.0),
    row("ppn-plain-graph", train_step_s=4.0, predict_s=1.0, peak_mib=3600.0),
    # the layer alone has other numbers than a network
    row("PoCA-layer-block", train_step_s=1.0, peak_above_one_mib=10.0),
    row("PoCA-layer-plain", train_step_s=3.0, peak_above_one_mib=90.0),
    row("dpi", train_step_s=2.0, predict_s=0.5, patterns_per_s=64.0),
    row("epie-32px", compiled_us=10.0, numpy_us=80.0, ratio=8.0),
    row("stitching", stitch_s=0.4),
]


def test_ratios_are_against_the_better_plain_row():
    by_name = {one["row"]: one for one in ROWS}
    assert speed_report.ratio(by_name, "ppn") == {
        "train_step_s": 4.0,
        "predict_s": 5.0,
        "peak_mib": 4.0,
        "peak_above_start_mib": 1.0,
    }
    assert speed_report.ratio(by_name, "ppn", "plain")["train_step_s"] == 6.0
    assert speed_report.ratio(by_name, "ppn-released") is None
    alone = {"ppn-plain": by_name["ppn-plain"]}
    assert speed_report.ratio(alone, "ppn") is None
    assert speed_report.ratio(by_name | alone, "ppn-released", "plain") is None
    nothing = by_name | {"ppn-block": by_name["ppn-block"] | {"peak_above_start_mib": 0.0}}
    assert "peak_above_start_mib" not in speed_report.ratio(nothing, "ppn")


def test_outputs(tmp_path):
    # of two machines: a ratio of both says nothing of either attention
    gpu = [
        row("ppn-block", device="GPU", train_step_s=0.5, predict_s=0.1),
        row("ppn-fused", device="GPU", train_step_s=0.4, predict_s=0.1),
        row("ppn-fused-bfloat16", device="GPU", train_step_s=0.3, predict_s=0.1),
    ]
    text = speed_report.write([*ROWS, *gpu], tmp_path)
    written = json.loads((tmp_path / "speed.json").read_text())
    (shown,) = documents.read_documents(tmp_path)
    assert (shown.exhibit, shown.body, shown.cost) == ("speed", text, {"devices": ["CPU", "GPU"]})
    assert shown.claim.startswith("None of the paper's.") and shown.figures[0] == "speed.png"
    # what the plan of trainings reads
    assert [(m["model"], m["device"], m["train_step_s"]) for m in written["models"]] == [
        ("ppn", "CPU", 1.0),
        ("dpi", "CPU", 2.0),
        ("ppn", "GPU", 0.5),
        # the last one counts: what a training takes on a GPU, in its precision
        ("ppn", "GPU", 0.4),
    ]
    assert written["ratios"] == {
        "CPU": {
            "ppn": speed_report.ratio({one["row"]: one for one in ROWS}, "ppn"),
            "PoCA-layer": {
                "train_step_s": 3.0,
                "peak_mib": 1.0,
                "peak_above_start_mib": 1.0,
                "peak_above_one_mib": 9.0,
            },
        },
        "GPU": {},
    }
    assert [line for line in text.splitlines() if line.startswith("#")] == [
        "## CPU",
        "## GPU",
    ]
    assert "epie-32px" in text and "stitching: stitch" in text
    layer = next(
        line for line in text.splitlines() if line.startswith("| PoCA-layer ") and "better" in line
    )
    assert layer.split("|")[-2].strip() == "9.0"
    reached = {
        line.split("|")[1].strip(): "not" not in line
        for line in text.splitlines()
        if line.endswith("reached |")
    }
    # ppn: 4 and 5 times against the better form; the layer: 9 times
    assert reached == {"training step": True, "prediction": True, "memory of the attention": True}
    slower = [row("ppn-block", train_step_s=3.0, predict_s=0.5), *ROWS[1:3]]
    text = speed_report.body("CPU", {one["row"]: one for one in slower})
    assert text.count("not reached |") == 2
    assert (tmp_path / "speed.png").stat().st_size > 5_000


def test_the_floor_is_the_arithmetic_at_the_rate_of_a_large_product():
    product = row("product", product_s=0.1, gflop_per_s=100.0, gflop={"ppn": 0.5, "dpi": 1.0})
    text = speed_report.body("CPU", {one["row"]: one for one in [*ROWS, product]})
    cells = [
        [cell.strip() for cell in line.split("|")[1:-1]]
        for line in text[text.index("The floor") :].splitlines()
        if line.startswith("| ppn")
    ]
    # 32 patterns of 0.5 GFLOP, three passes: 48 GFLOP at 100 GFLOP/s; no block-wise dpi
    assert cells == [
        ["ppn", "train_step", "48.0", "0.48", "1.0", "2.08", "8.33"],
        ["ppn", "predict", "16.0", "0.16", "0.2", "1.25", "6.25"],
    ]
    unknown = row("product", product_s=0.1, gflop_per_s=100.0)
    assert "The floor" not in speed_report.body("GPU", {"product": unknown, "ppn-block": ROWS[0]})


def test_rows_are_measured_in_turn_kept_and_merged(tmp_path, monkeypatch):
    calls = []

    def fresh(name, options):
        calls.append(name)
        return row(name, train_step_s=float(len(calls)), predict_s=1.0)

    monkeypatch.setattr(speed, "fresh", fresh)

    def measure(wanted, again=False):
        speed.missing(speed.there(wanted, tmp_path / "cpu", again), tmp_path / "cpu", [])

    wanted = ["ppn-block", "ppn-plain", "dpi"]
    measure(wanted)
    assert calls == ["ppn-block", "ppn-plain", "dpi", *["ppn-block", "ppn-plain"] * 2]
    assert speed.kept(tmp_path / "cpu", "ppn-block")["train_step_s"] == 4.0
    measure(wanted)
    assert len(calls) == 7
    assert not any(speed.there(wanted, tmp_path / "gpu", False).values())
    measure(["dpi"], again=True)
    assert calls[7:] == ["dpi"]
    assert [found["row"] for found in speed.recorded(tmp_path)] == ["ppn-block", "ppn-plain", "dpi"]
    # what an earlier form of the attention took is told, not kept
    older = row("ppn-block", version=2, train_step_s=1.0, predict_s=0.2)
    (tmp_path / "cpu" / "ppn-block.json").write_text(json.dumps(older))
    assert speed.kept(tmp_path / "cpu", "ppn-block") is None
    rows = {found["row"]: found for found in speed.recorded(tmp_path)}
    doubled, one = "doubled features in place of a modulation", "one program for all slices"
    assert f"attention ({doubled}, {one}): ppn-block." in speed_report.body("CPU", rows)
    rows["ppn-block"] = older | {"version": 3}
    assert f"attention ({one}): ppn-block." in speed_report.body("CPU", rows)
    rows["ppn-block"] = older | {"version": speed_rows.BLOCK_VERSION}
    assert "an earlier block-wise attention" not in speed_report.body("CPU", rows)
    (tmp_path / "cpu" / "dpi.json").write_text("{")
    assert speed.kept(tmp_path / "cpu", "dpi") is None


def test_every_device_has_a_folder():
    name = speed.folder_name("CPU (Intel(R) Xeon(R) Processor, 2 cores)")
    assert name == "cpu-intel-r-xeon-r-processor-2-cores"
    assert speed.folder_name("NVIDIA H200") == "nvidia-h200"


def test_unknown_row(tmp_path):
    with pytest.raises(OptionError, match="unknown row ppn-1px: expected of ppn-released-block"):
        speed.main(["--only", "ppn-1px", "--out", str(tmp_path)])


def test_the_layer_alone_tells_the_memory_of_a_batch(monkeypatch):
    peaks = iter([100.0, 160.0])
    monkeypatch.setattr(speed_rows.devices, "peak_rss_mib", lambda: next(peaks))
    monkeypatch.setattr(speed_rows, "median_s", lambda work: timing.timed(work)[0])
    row = speed_rows.Row(speed_rows.LAYER, "block", side_px=8, batch=2, infer=False)
    found = speed_rows.network(row)
    assert found["peak_above_one_mib"] == 60.0 and found["train_step_s"] > 0


def test_all_forms_of_the_layer_are_one_layer(monkeypatch):
    # put back afterwards what one of them sets
    monkeypatch.setattr(blockwise, "programs", blockwise.programs)
    layers = [
        speed_rows._layer(speed_rows.Row(speed_rows.LAYER, form, side_px=8))
        for form in ("block", "widened", "one-program")
    ]
    for layer in layers[1:]:
        layer.set_weights(layers[0].get_weights())
    x = np.random.default_rng(0).random((2, 8, 8, 32), dtype=np.float32)
    first, *others = [layer.predict_on_batch(x) for layer in layers]
    for other in others:
        # float32 rounding of numbers up to 0.6: measured 1.2e-7
        np.testing.assert_allclose(other, first, rtol=0, atol=1e-6)


def test_small_measurements(monkeypatch):
    monkeypatch.setattr(speed_rows, "PRODUCT_SIDE", 64)
    found = speed_rows.product()
    # the paper's 0.382 GFLOP is that of the released network
    assert found["gflop"] == {"ppn-released": 0.38198, "ppn": 0.42499}
    rate = 2 * 64**3 / 1e9 / found["product_s"]
    assert found["gflop_per_s"] == pytest.approx(rate, abs=0.06)
    found = speed_rows.psd()
    assert found["patches"] == 3721 and found["psd_s"] > 0
