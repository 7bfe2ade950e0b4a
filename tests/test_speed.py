"""The speed script: rows are kept, ratios take the better reference, outputs are written."""

import json

import pytest

from ppn_tf.errors import OptionError
from reproduce import speed
from reproduce.parts import speed_report, speed_rows


def row(name, **numbers):
    import dataclasses

    return {
        "row": name,
        "version": speed_rows.ROWS_VERSION,
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
    # a ratio of two machines says nothing of either attention
    other = by_name | {"ppn-plain-graph": by_name["ppn-plain-graph"] | {"device": "GPU"}}
    assert speed_report.ratio(other, "ppn")["train_step_s"] == 6.0
    assert speed_report.ratio(other, "ppn", "plain-graph") is None
    nothing = by_name | {"ppn-block": by_name["ppn-block"] | {"peak_above_start_mib": 0.0}}
    assert "peak_above_start_mib" not in speed_report.ratio(nothing, "ppn")


def test_outputs(tmp_path):
    before = [
        {"model": name, "device": device, "train_step_s": 9.0}
        for name, device in (("ppn", "CPU"), ("segformer", "CPU"), ("ppn", "GPU"))
    ]
    (tmp_path / "speed.json").write_text(json.dumps({"models": before}))
    text = speed_report.write(ROWS, tmp_path)
    written = json.loads((tmp_path / "speed.json").read_text())
    # what the plan of trainings reads
    assert [(m["model"], m["device"], m["train_step_s"]) for m in written["models"]] == [
        ("ppn", "CPU", 1.0),
        ("dpi", "CPU", 2.0),
        # not measured this time
        ("segformer", "CPU", 9.0),
        # nor does another device's time go
        ("ppn", "GPU", 9.0),
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
    text = speed_report.body({one["row"]: one for one in slower}, {"ppn": {}})
    assert text.count("not reached |") == 2
    assert (tmp_path / "speed.png").stat().st_size > 5_000


def test_rows_are_measured_in_turn_kept_and_merged(tmp_path, monkeypatch):
    calls = []

    def fresh(name, options):
        calls.append(name)
        return row(name, train_step_s=float(len(calls)), predict_s=1.0)

    monkeypatch.setattr(speed, "fresh", fresh)

    def measure(wanted, again=False):
        speed.missing(speed.there(wanted, tmp_path, "CPU", again), tmp_path, ["--gpu", "cpu"])

    wanted = ["ppn-block", "ppn-plain", "dpi"]
    measure(wanted)
    assert calls == ["ppn-block", "ppn-plain", "dpi", *["ppn-block", "ppn-plain"] * 2]
    assert speed.kept(tmp_path, "ppn-block")["train_step_s"] == 4.0
    measure(wanted)
    assert len(calls) == 7
    assert not any(speed.there(wanted, tmp_path, "another device", False).values())
    measure(["dpi"], again=True)
    assert calls[7:] == ["dpi"]
    (tmp_path / "dpi.json").write_text("{")
    assert speed.kept(tmp_path, "dpi") is None


def test_unknown_row(tmp_path):
    with pytest.raises(OptionError, match="unknown row ppn-1px: expected of ppn-released-block"):
        speed.main(["--only", "ppn-1px", "--out", str(tmp_path)])


def test_the_layer_alone_tells_the_memory_of_a_batch(monkeypatch):
    peaks = iter([100.0, 160.0])
    monkeypatch.setattr(speed_rows.devices, "peak_rss_mib", lambda: next(peaks))
    monkeypatch.setattr(speed_rows, "median_s", lambda work: speed_rows.timed(work)[0])
    row = speed_rows.Row(speed_rows.LAYER, "block", side_px=8, batch=2, infer=False)
    found = speed_rows.network(row)
    assert found["peak_above_one_mib"] == 60.0 and found["train_step_s"] > 0


def test_small_measurements():
    found = speed_rows.psd()
    assert found["patches"] == 3721 and found["psd_s"] > 0
