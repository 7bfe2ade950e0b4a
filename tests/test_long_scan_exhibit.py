"""The script of the long scan: its scan, a row in this process, with workers, and the text."""

import json
import os

import h5py
import numpy as np
import pytest

pytest.importorskip("keras")
pytest.importorskip("distributed")

from ppn_tf import devices
from ppn_tf.data import forward, load_object, load_probe
from ppn_tf.errors import ClusterError, OptionError, RecordError
from reproduce import long_scan
from reproduce.parts import drawn_scan, local_workers, long_scan_report, long_scan_rows


def test_the_scan_is_drawn_row_by_row(data_dir, tmp_path, monkeypatch):
    scan = drawn_scan.made(tmp_path / "scan.h5", (3, 70))
    assert (scan.count, scan.shape) == (210, (54, 590))
    nominal = 3 + 8 * np.stack(np.unravel_index(np.arange(210), (3, 70)), axis=1)
    shift = scan.corners_px - nominal
    assert (shift.min(), shift.max()) == (-3, 3)
    with h5py.File(scan.path) as file:
        counts = file["dp"][:]
    assert counts.dtype == np.uint16
    # the object is the chart, and the chart again from column 512
    chart, probe = load_object("ltem").complex, load_probe("ltem")
    wide = np.concatenate([chart, chart], axis=1)
    ideal = forward.diffraction(wide, probe, scan.corners_px.astype(int))
    bright = ideal > 100
    # Poisson: standard deviations of the deviations are 1, to a few thousandths here
    assert ((counts - ideal)[bright] / np.sqrt(ideal[bright])).std() == pytest.approx(1, abs=0.05)
    assert counts.sum() / ideal.sum() == pytest.approx(1, abs=1e-3)
    # the first rows of a longer scan; and a file that is there is not made again
    with h5py.File(drawn_scan.made(tmp_path / "long.h5", (4, 70)).path) as file:
        assert np.array_equal(file["dp"][:210], counts)
    before = (tmp_path / "scan.h5").stat().st_mtime_ns
    drawn_scan.made(tmp_path / "scan.h5", (3, 70))
    assert (tmp_path / "scan.h5").stat().st_mtime_ns == before
    monkeypatch.setattr(drawn_scan, "VERSION", drawn_scan.VERSION + 1)
    drawn_scan.made(tmp_path / "scan.h5", (3, 70))
    assert (tmp_path / "scan.h5").stat().st_mtime_ns > before


def test_a_row_in_this_process(data_dir, tmp_path):
    row = long_scan_rows.measure("smoke", "ptynet-here", tmp_path)
    json.dumps(row, allow_nan=False)
    assert (row["patterns"], row["field_shape"]) == (200, [110, 190])
    first, second = row["calls"]
    assert first["made"] == second["made"] == 200
    (worker,) = second["workers"]
    assert (worker["parts"], worker["patterns"]) == (8, 200)
    assert 0 < second["per_s"] < second["chunks_per_s"]
    assert second["steady_per_s"] == worker["steady_per_s"] > 0
    # a flat field is as far from the object as 0.22, one that is 8 px off as 0.29
    assert row["error"] < 0.12
    same = long_scan_rows._compared(tmp_path / "smoke-ptynet-here.h5", None)
    assert same == {"field_sha256": row["field_sha256"], "largest_difference": None}


def made_up(name, steady, workers, patterns=1000, **changes):
    worker = {
        "stage_us_per_pattern": dict.fromkeys(("load", "read", "network", "add", "write"), 10.0),
        "wait_s_per_chunk": 0.01,
        "steady_cores_busy": 1.0,
        "first_chunk_s": 5.0,
    }
    call = {
        "made": patterns,
        "per_s": 10.0,
        "steady_per_s": steady,
        "stitch_seconds": 2.0,
        "part_bytes": 5000 * patterns,
        "workers": [worker] * max(workers, 1),
    }
    return {
        "row": name,
        "profile": "paper",
        "network": name.rpartition("-")[0] or "ptynet",
        "workers": workers,
        "chunk": 100,
        "patterns": patterns,
        "bytes_per_pattern": 2048,
        "field_shape": [10, 10],
        "field_bytes": 2**20,
        "field_sha256": "a",
        "largest_difference": None,
        "like": "",
        "error": 0.1,
        "calls": [call],
        "cluster_start_s": 1.0,
        "client_peak_mib": 100.0,
        "scheduler_peak_mib": 90.0,
        "worker_peaks_mib": [512.0] * workers,
        "other_cores_busy": 0.0,
        "environment": {"commit": "c0ffee", "device": "CPU (test)"},
        **changes,
    }


ROWS = {
    "ptynet-1": made_up("ptynet-1", 600.0, 1),
    "ptynet-2": made_up("ptynet-2", 900.0, 2, like="ptynet-1", largest_difference=0.0),
    "tenth": made_up("tenth", 900.0, 2, 1000),
    "whole": made_up("whole", 900.0, 2, 10_000, client_peak_mib=140.0),
}


def test_needs_follow_from_the_rows():
    found = long_scan_report.needs(ROWS)
    # 2000 / 450 workers of 512 MiB; 10,000 patterns stitched in 2 s, 5000 / 450
    assert found["networks"] == {
        "ptynet": {
            "per_worker_per_s": 450.0,
            "gain_of_two": 1.5,
            "workers": 5,
            "workers_mib": 2560.0,
            "workers_at_the_end": pytest.approx(5000 / 450),
        }
    }
    # 2048 and 5000 bytes a pattern; 2048 bytes read in 10 microseconds
    assert (found["detector_mb_s"], found["parts_mb_s"]) == (4.096, 10.0)
    assert (found["read_mb_s"], found["stitch_per_s"]) == (pytest.approx(204.8), 5000.0)
    # without the whole scan, or of a part of it, there is nothing to say
    assert long_scan_report.needs({key: ROWS[key] for key in ("ptynet-1", "ptynet-2")}) == {}
    ended = ROWS["whole"] | {"calls": [ROWS["whole"]["calls"][0] | {"made": 9000}]}
    assert long_scan_report.needs(ROWS | {"whole": ended}) == {}


def test_outputs_say_what_the_rows_say(tmp_path):
    text = long_scan_report.write(ROWS, tmp_path, tmp_path / "no-field.h5")
    assert "`ptynet-2` and `ptynet-1`: equal, byte for byte." in text
    assert "10,000 patterns against 1,000, same chunks: client +40 MiB; largest worker +0" in text
    assert "| ptynet  |                           450 |" in text
    written = json.loads((tmp_path / "long_scan.json").read_text())
    assert written["needs"] == long_scan_report.needs(ROWS)
    assert written["figures"] == []
    other = ROWS["ptynet-2"] | {"field_sha256": "b", "largest_difference": 2e-7}
    lines = long_scan_report.field_lines(ROWS | {"ptynet-2": other})
    assert "- `ptynet-2` and `ptynet-1`: largest difference 2e-07." in lines
    assert "Nothing measured yet" in long_scan_report.write({}, tmp_path, tmp_path / "none.h5")


def test_the_figure_shows_the_field_where_it_is(data_dir, tmp_path):
    with h5py.File(tmp_path / "field.h5", "w") as file:
        file["object"] = drawn_scan.truth(0, 600, 300)
    assert long_scan_report.draw(ROWS, tmp_path / "field.h5", tmp_path) == (
        "long_scan.png",
        "long_scan.pdf",
    )
    assert (tmp_path / "long_scan.png").stat().st_size > 20_000


def test_rows_are_kept(tmp_path, monkeypatch):
    calls = []

    def fresh(profile, name, scratch):
        calls.append(name)
        return made_up(name, 1.0, 1, version=long_scan_rows.ROWS_VERSION)

    monkeypatch.setattr(long_scan, "fresh", fresh)
    words = ["--out", str(tmp_path), "--scratch", str(tmp_path / "scratch")]
    long_scan.main(["--only", "ptynet-1,whole", *words])
    long_scan.main(["--only", "ptynet-1,whole,tenth", *words])
    assert calls == ["ptynet-1", "whole", "tenth"]
    long_scan.main(["--only", "tenth", "--again", *words])
    assert calls[3:] == ["tenth"]
    (tmp_path / "long_scan" / "tenth.json").write_text("{")
    long_scan.main(["--no-measure", *words])
    assert len(calls) == 4
    names = [row["row"] for row in json.loads((tmp_path / "long_scan.json").read_text())["rows"]]
    assert names == ["ptynet-1", "whole"]
    record = json.loads((tmp_path / "long_scan" / "whole.json").read_text())
    assert record["environment"]["versions"]["distributed"]
    with pytest.raises(OptionError, match="unknown row half: expected of ptynet-here"):
        long_scan.main(["--only", "half", *words])


def test_what_cannot_be_measured_is_refused(tmp_path, monkeypatch):
    usage = type("Usage", (), {"free": 2**30})
    monkeypatch.setattr(long_scan_rows.shutil, "disk_usage", lambda _: usage)
    with pytest.raises(OptionError, match=r"expected [67]\.\d GiB of free disk .* received 1.0"):
        long_scan_rows.measure("paper", "whole", tmp_path)
    long_scan_rows.check_network("ptynet")
    long_scan_rows.check_network("ppn-ltem")
    monkeypatch.setattr(long_scan_rows, "NETWORKS", {"x": "results/runs/538c27c6432b3261/no.keras"})
    with pytest.raises(RecordError, match="no.json cannot be read"):
        long_scan_rows.check_network("x")
    monkeypatch.setattr(local_workers.sys, "executable", "/bin/false")
    with pytest.raises(ClusterError, match="did not start"), local_workers.started(1):
        pass


def test_peak_memory_of_a_process():
    assert devices.peak_rss_mib(os.getpid()) == pytest.approx(devices.peak_rss_mib(), rel=0.01)
    assert devices.peak_rss_mib() > 20
    assert devices.peak_rss_mib(2**22 + 1) is None


@pytest.mark.long
def test_workers_make_the_field_of_one_process(data_dir, tmp_path):
    words = ["--profile", "smoke", "--scratch", str(tmp_path / "scratch"), "--out", str(tmp_path)]
    long_scan.main([*words, "--only", "ptynet-here,ptynet-1,ptynet-2"])
    rows = json.loads((tmp_path / "smoke" / "long_scan.json").read_text())["rows"]
    assert [row["workers"] for row in rows] == [0, 1, 2]
    assert [row["largest_difference"] for row in rows] == [None, 0.0, 0.0]
    for row in rows[1:]:
        assert len(row["worker_peaks_mib"]) == row["workers"]
        # the client loads no backend
        assert row["client_peak_mib"] < min(row["worker_peaks_mib"]) / 2
        assert row["scheduler_peak_mib"] > 20
    assert not list((tmp_path / "scratch").glob("*.parts"))
