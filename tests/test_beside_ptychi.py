"""ePIE beside pty-chi: who is chosen, how both are judged, and what is said without it."""

import json
import sys

import numpy as np
import pytest

from ppn_tf import epie
from ppn_tf.errors import PpnError
from reproduce import speed
from reproduce.parts import beside_ptychi, speed_report, speed_rows

ROW = "epie-ptychi-32px"
REASON = beside_ptychi.lacking(sys.executable)
ABSENT = pytest.mark.skipif(REASON is None, reason="pty-chi is installed here")
PRESENT = pytest.mark.skipif(REASON is not None, reason=str(REASON))


@pytest.fixture(scope="module")
def scan():
    return speed_rows.epie_scan(16, 4)


class Fake:
    """In the place of pty-chi: the NumPy loop, which a step of 1 lets diverge in batches."""

    versions = {"ptychi": "0", "torch": "0", "numpy": "0"}

    def __init__(self, scan):
        self.scan, self.asked, self.options = scan, [], {}

    def ask(self, do, **values):
        self.asked.append((do, values))
        return getattr(self, do)(**values)

    def build(self, **options):
        self.options, self.iterations = options, 0
        return {"device": options["device"], "threads": options["threads"]}

    def run(self, iterations):
        self.iterations += iterations
        # a thread more is slower
        return {"seconds": 1e-3 * iterations * self.options["threads"]}

    def save(self, path):
        scan, batch, step = self.scan, self.options["batch"], self.options["step"]
        found = epie.reconstruct(
            scan.patterns,
            scan.positions_px,
            scan.probe,
            iterations=self.iterations,
            alpha=step,
            update_probe=False,
            engine="numpy",
            object_shape=scan.truth.shape,
        ).object
        np.save(path, found * np.nan if batch > 1 and step == 1 else found)
        return {}

    def close(self):
        pass


def test_the_best_of_ptychi_is_compared(scan, monkeypatch):
    fake = Fake(scan)
    monkeypatch.setattr(beside_ptychi, "Library", lambda python: fake)
    monkeypatch.setattr(Fake, "load", lambda self, path: {}, raising=False)
    monkeypatch.setattr(beside_ptychi, "BATCHES", (1, 4))
    monkeypatch.setattr(beside_ptychi, "TURNS", 1)
    monkeypatch.setattr("os.cpu_count", lambda: 3)
    found = beside_ptychi.compare(scan, "python", "cpu")
    ours, theirs, _, batched = found["cases"]
    # one by one there is nothing to choose
    assert (theirs["batch"], theirs["batching"], theirs["step"]) == (1, "random", 1.0)
    assert theirs["r_factor"] == pytest.approx(ours["r_factor"], rel=1e-2)
    assert theirs["object_error"] == pytest.approx(ours["object_error"], rel=1e-2)
    # a diverged step is no choice, and 0.3 comes closer than 0.1
    assert (batched["batch"], batched["step"]) == (4, 0.3)
    assert {case["threads"] for case in (theirs, batched)} == {1}
    # one millisecond an iteration of all positions
    assert theirs["us"] == found["ptychi_us"] == pytest.approx(1e3 / 169, rel=1e-2)
    assert found["ratio"] == pytest.approx(found["ptychi_us"] / found["compiled_us"], abs=0.01)
    row = {"row": ROW, "device": "CPU", "model": "", "work": ROW}
    text = speed_report.body("CPU", {ROW: found | row})
    assert "beside pty-chi 0 (torch 0)" in text and text.count("| pty-chi ") == 2


def test_no_step_that_converges_is_an_error(scan, monkeypatch):
    fake = Fake(scan)
    monkeypatch.setattr(beside_ptychi, "STEPS", (1.0,))
    with pytest.raises(PpnError, match=r"pty-chi diverged with a batch of 4 at every step"):
        beside_ptychi._best(fake, scan, 4, "cpu")


def test_the_truth_is_judged_perfect_up_to_a_constant_factor(scan):
    found = scan.judge(scan.truth)
    assert found["r_factor"] < 1e-6 and found["object_error"] < 1e-6
    turned = scan.judge(scan.truth * np.exp(1j))
    assert turned["r_factor"] < 1e-6 and turned["object_error"] < 1e-6
    assert scan.judge(np.ones_like(scan.truth))["object_error"] > 0.1


def test_an_interpreter_that_is_not_there():
    with pytest.raises(beside_ptychi.LibraryMissingError, match="no Python can be started as /no"):
        beside_ptychi.Library("/nowhere/python")


def test_a_worker_that_dies_is_reported_with_its_last_words(tmp_path, monkeypatch):
    worker = tmp_path / "ptychi_worker.py"
    worker.write_text("raise RuntimeError('out of luck')")
    monkeypatch.setattr(beside_ptychi, "__file__", str(tmp_path / "beside_ptychi.py"))
    with pytest.raises(PpnError, match="pty-chi failed:[^$]*out of luck"):
        beside_ptychi.Library(sys.executable)


@ABSENT
def test_without_ptychi_its_rows_are_left_out_and_the_report_says_so(tmp_path, capsys):
    speed.main(["--gpu", "cpu", "--only", ROW, "--out", str(tmp_path)])
    assert not list(tmp_path.glob("speed/*/*.json"))
    assert f"not measured: {ROW}: pty-chi is not installed" in capsys.readouterr().err
    text = (tmp_path / "speed.md").read_text()
    assert "not measured; pty-chi is not installed" in text
    assert "python -m pip install ptychi" in text


def test_a_row_that_is_kept_needs_no_ptychi(tmp_path, monkeypatch):
    cases = [{"engine": "ppn_tf", "batch": 1, "us": 1.0}]
    row = {"row": ROW, "version": speed_rows.ROWS_VERSION, "device": "CPU", "each": [{"us": 1.0}]}
    row |= {"model": "", "attention": None, "side_px": 32, "work": ROW, "cases": cases}
    row |= {"library": Fake.versions, "iterations": 20}
    (tmp_path / "speed" / "cpu").mkdir(parents=True)
    (tmp_path / "speed" / "cpu" / f"{ROW}.json").write_text(json.dumps(row))
    monkeypatch.setattr(speed, "_device", lambda gpu: "CPU")
    monkeypatch.setattr(beside_ptychi, "Library", None)
    speed.main(["--only", ROW, "--out", str(tmp_path)])
    assert "beside pty-chi 0" in (tmp_path / "speed.md").read_text()


@PRESENT
def test_ptychi_agrees_one_by_one(scan):
    with beside_ptychi.library(sys.executable, scan) as theirs:
        theirs.ask("build", batch=1, batching="random", step=1.0, threads=1, device="cpu")
        assert theirs.ask("run", iterations=20)["seconds"] > 0
        found = beside_ptychi._theirs(theirs)
    assert found.shape == scan.truth.shape
    ours = scan.judge(beside_ptychi._ours(scan, 20, 1).object)
    assert scan.judge(found)["r_factor"] == pytest.approx(ours["r_factor"], rel=0.3)
