"""Fig. 8: the scans, the scores, the cache, and what is compared with the paper."""

import dataclasses
import json
from types import SimpleNamespace

import numpy as np
import pytest

pytest.importorskip("keras")

from ppn_tf import data  # noqa: E402
from ppn_tf.errors import RecordError  # noqa: E402
from ppn_tf.inference import Patches  # noqa: E402
from ppn_tf.scaling import Scaling  # noqa: E402
from reproduce import evaluate, fig8  # noqa: E402
from reproduce.parts import iterative, iterative_facts  # noqa: E402
from reproduce.parts import iterative_report as report  # noqa: E402

SCALING = Scaling("log1p", (0, 10), (0.5, 1), data.objects.PHASE_RANGE_RAD)
WANTED = iterative.Measurement("stand-in", 0.3, 12, 2, "CPU")


@pytest.fixture(scope="module")
def scan():
    return iterative.overlap_scan("stand-in", 0.3, SCALING)


@pytest.fixture(scope="module")
def measured():
    with pytest.MonkeyPatch.context() as patch:
        # one engine is enough here, and this one compiles nothing
        compiled = iterative.epie.reconstruct
        patch.setattr(
            iterative.epie,
            "reconstruct",
            lambda *args, **options: compiled(*args, **options | {"engine": "numpy"}),
        )
        return iterative.measure(WANTED, {}, SCALING)


def test_the_scans_are_those_that_networks_are_scored_on(scan, monkeypatch):
    seen = []

    def predictor(patterns):
        seen.append(patterns)
        return Patches(np.zeros_like(patterns), np.zeros_like(patterns))

    monkeypatch.setattr(evaluate, "OVERLAPS", (0.3,))
    spec = {
        "object_name": "stand-in",
        "noise": dataclasses.asdict(data.NOISE_MODELS["none"]),
        "seed": 0,
    }
    evaluate.overlaps(predictor, SCALING, spec)
    np.testing.assert_array_equal(seen[0], scan.dataset.patterns)
    assert scan.dataset.patterns.shape == (25, 32, 32) and scan.truth.shape == (128, 128)
    # 22.4 px steps: the last window starts at 90
    assert scan.box == (slice(0, 122), slice(0, 122))


def test_a_truth_with_another_phase_and_scale_scores_as_perfect(scan):
    found = iterative.score(scan, 0.3 * np.exp(2.5j) * scan.truth)
    for channel in ("amplitude", "phase"):
        # float32 truth; the scaled amplitude is in units of half its range
        assert found[channel]["mse"] < 1e-11
        assert found[channel]["ssim"] == pytest.approx(1, abs=1e-6)


def test_scores_are_those_of_the_evaluation_of_networks(scan):
    """A wrong amplitude, scored as a reconstruction and as predicted patches."""
    rng = np.random.default_rng(0)
    field = scan.truth * (1 + 0.2 * rng.normal(size=scan.truth.shape))
    aligned = iterative.phase.align(field[scan.box], scan.truth[scan.box]).field
    whole = np.zeros(scan.truth.shape, complex)
    whole[scan.box] = aligned
    windows = data.forward.extract_patches(whole, (32, 32), scan.dataset.positions_px)
    patches = Patches(SCALING.target_amplitude(np.abs(windows)), np.zeros(windows.shape))
    indices = np.arange(len(scan.dataset))
    expected = evaluate.score(patches, scan.dataset, indices, SCALING)["amplitude"]["field"]
    found = iterative.score(scan, field)["amplitude"]
    assert found["ssim"] < 0.9
    # stitching sums float32 patches: measured 1e-7
    assert found["ssim"] == pytest.approx(expected["ssim"], abs=1e-5)
    assert found["psnr_db"] == pytest.approx(expected["psnr_db"], abs=1e-4)


def test_a_measurement(measured):
    results, cost = measured["results"], measured["cost"]
    assert results["patterns"] == 25 and results["step_px"] == pytest.approx(22.4)
    assert [point["iterations"] for point in results["curve"]] == [10, 12]
    # the curve is seed 0, continued: its end is the first repeat
    assert results["curve"][-1]["amplitude"] == results["scores"][0]["amplitude"]["ssim"]
    assert results["scores"][0] != results["scores"][1]
    assert len(results["r_factor"]) == 12 and results["r_factor"][-1] < results["r_factor"][0]
    assert len(cost["compiled_s"]) == len(cost["python_s"]) == 2
    assert cost["python_iterations_timed"] == 12 and min(cost["python_s"]) > 0


def test_long_repeats_are_cut_short(scan, monkeypatch):
    done = []

    def engine(scan, iterations, *_, **__):
        done.append(iterations)
        return SimpleNamespace(object=scan.truth)

    clock = iter(range(100))
    monkeypatch.setattr(iterative, "run_epie", engine)
    monkeypatch.setattr(iterative.time, "perf_counter", lambda: float(next(clock)))
    # each measured interval lasts 1 s on this clock: 5 iterations fit, at least 10 are done
    seconds, timed = iterative.python_seconds(scan, 200, 2)
    assert timed == 10 and done == [1, 10, 10]
    # 1 s / 10 * 200, and 1 s of unwrapping
    assert seconds == [21.0, 21.0]


def test_measurements_are_kept(tmp_path, measured):
    calls = []

    def make(wanted):
        calls.append(wanted)
        return measured

    environment = {"device": "CPU"}
    assert iterative.ensure(WANTED, tmp_path, None, environment) is None
    first = iterative.ensure(WANTED, tmp_path, make, environment)
    again = iterative.ensure(WANTED, tmp_path, make, environment)
    assert first == again and len(calls) == 1 and first["environment"] == environment
    iterative.ensure(WANTED, tmp_path, make, environment, again=True)
    assert len(calls) == 2
    other = dataclasses.replace(WANTED, device="GPU")
    assert other.path(tmp_path) != WANTED.path(tmp_path)
    path = WANTED.path(tmp_path)
    path.write_text(json.dumps(first | {"settings": {}}))
    with pytest.raises(RecordError, match="of other settings than its name says: delete it"):
        iterative.ensure(WANTED, tmp_path, make, environment)
    path.write_text("{")
    with pytest.raises(RecordError, match="cannot be read .*: delete it, and it is measured"):
        iterative.ensure(WANTED, tmp_path, make, environment)


def test_epie_can_be_measured_alone(tmp_path, measured, monkeypatch):
    monkeypatch.setattr(iterative, "measure", lambda wanted, *_: measured)
    monkeypatch.setattr(iterative, "target_scaling", lambda name: SCALING)
    monkeypatch.setattr(fig8, "networks", lambda here: {})
    session = SimpleNamespace(
        out=tmp_path, object_name="stand-in", device_name="CPU", retrain=False, train=False
    )
    store = SimpleNamespace(environment=dict)
    profile = SimpleNamespace(name="smoke")
    here = SimpleNamespace(session=session, profile=profile, store=store, grid={})
    assert fig8.measured(here, False) == {}
    assert set(fig8.measured(here, True)) == {0.30, 0.60}
    # kept
    assert set(fig8.measured(here, False)) == {0.30, 0.60}
    # a reviewer's own device has none: those of the records are shown, and named
    here.session.device_name = "GPU"
    (tmp_path / "epie" / "other.json").write_text("{}")
    found = fig8.measured(here, False)
    assert {one["settings"]["device"] for one in found.values()} == {"CPU"}
    assert set(found) == {0.30, 0.60}
    assert fig8.make(here, measure=False).extra["device"] == "CPU"
    assert {one["settings"]["device"] for one in fig8.measured(here, True).values()} == {"GPU"}
    # its own come first
    found = fig8.measured(here, False)
    assert {one["settings"]["device"] for one in found.values()} == {"GPU"}


def record(ssim, python_s, compiled_s, network_s, points, curve):
    scores = [{c: {"ssim": value} for c in ("amplitude", "phase")} for value in ssim]
    return {
        "settings": {"repeats": 2, "iterations": 200, "device": "CPU"},
        "results": {
            "patterns": points,
            "scores": scores,
            "curve": [
                {"iterations": 50 * (i + 1), "amplitude": v, "phase": v}
                for i, v in enumerate(curve)
            ],
        },
        "cost": {
            "python_s": python_s,
            "compiled_s": compiled_s,
            "first_call_s": 3.0,
            "python_iterations_timed": 100,
            "networks": {"ppn": {"seconds": network_s, "weights": "untrained"}},
        },
    }


@pytest.fixture
def facts():
    epie = {
        0.30: record([0.2, 0.3], [8.0, 12.0], [1.0, 1.0], [0.5, 0.5], 25, [0.1, 0.2, 0.25, 0.25]),
        0.60: record([0.7, 0.7], [30.0, 30.0], [2.0, 2.0], [1.0, 1.0], 64, [0.5, 0.6, 0.65, 0.7]),
        0.80: record([0.95, 0.95], [90.0, 90.0], [4.0, 4.0], [3.0, 3.0], 256, [0.5, 0.9, 1, 1]),
        0.90: record([0.955, 0.955], [200.0, 200.0], [9.0, 9.0], [9.0, 9.0], 961, [0.955] * 4),
    }
    by_seed = {
        seed: {
            "hash": f"run{seed}",
            "results": {
                "overlap": {
                    f"{overlap:.2f}": {
                        c: {"field": {"ssim": 0.8 + 0.1 * overlap + 0.01 * seed}}
                        for c in ("amplitude", "phase")
                    }
                    for overlap in epie
                }
            },
        }
        for seed in (0, 1)
    }
    without = {0: {"hash": "other", "results": {}}}
    return iterative_facts.facts(epie, {("sound", "clean"): {"ppn": by_seed, "dpi": without}})


def test_cells(facts):
    cells = report.cells(facts, "paper", "CPU", "sound")
    found = {(cell.id.removeprefix("claims."), cell.method): cell for cell in cells}
    low = found["ppn_ssim_min", "ppn"]
    assert low.ours == pytest.approx(0.835) and low.n == 2 and low.runs == ("run0", "run1")
    assert found["ppn_ssim_max", "ppn"].ours == pytest.approx(0.895)
    # by seed: 1 - 0.83 / 0.89, and 1 - 0.84 / 0.90
    assert found["degradation_overlap_30_percent", "ppn"].ours == pytest.approx(
        50 * (2 - 0.83 / 0.89 - 0.84 / 0.90)
    )
    assert found["epie_ssim_overlap_30", "epie"].ours == pytest.approx(0.25)
    assert found["epie_ssim_overlap_90", "epie"].verdict["status"] == "reproduced"
    seconds = found["epie_seconds_overlap_30", "ePIE, Python loop"]
    assert seconds.ours == 10 and seconds.ours_sd == pytest.approx(8**0.5)
    assert seconds.verdict["text"].startswith("cannot be checked: other device (CPU; the paper")
    assert found["speedup_overlap_30", "ePIE, Python loop / ppn"].ours == 20
    assert found["speedup_overlap_60", "ePIE, compiled / ppn"].ours == 2
    ratio = found["speedup_overlap_30", "ePIE, compiled / ppn"]
    assert ratio.verdict["text"].startswith("cannot be checked: a ratio on another kind of device")
    on_gpu = {
        cell.method: cell
        for cell in report.cells(facts, "paper", "NVIDIA A40", "sound")
        if cell.id == "claims.speedup_overlap_30"
    }
    assert on_gpu["ePIE, compiled / ppn"].verdict["status"] == "differs"
    assert found["acquisition_ratio_90_30", "exact steps"].verdict["status"] == "reproduced"
    assert found["acquisition_ratio_90_30", "whole-pixel steps"].ours == pytest.approx(53.78, 1e-4)
    assert found["acquisition_ratio_90_30", "points of our scans"].ours == 961 / 25
    assert found["combined_efficiency", "ppn"].ours == 49 * 20
    iterations = found["epie_iterations_max", "epie"]
    assert iterations.ours == 150 and iterations.verdict["status"] == "reproduced"
    assert found["epie_overlap_min_percent", "epie"].ours == pytest.approx(80)
    assert facts.converged_at(0.30) == 150 and facts.converged_at(0.90) == 50
    # at 60 % the last point alone lies within 0.01 of the end
    assert facts.converged_at(0.60) is None
    assert [row["iterations to converge"] for row in report.rows(facts)] == [
        *("150", "more than 200", "150", "50")
    ]


def test_every_published_number_has_a_cell_without_any_measurement():
    empty = iterative_facts.facts({}, {})
    cells = report.cells(empty, "paper", "CPU", "sound")
    expected = {"ppn_ssim_min", "ppn_ssim_max", "degradation_overlap_30_percent"}
    expected |= {"epie_ssim_overlap_90", "epie_ssim_overlap_30", "epie_seconds_overlap_30"}
    expected |= {"ppn_seconds_overlap_30", "speedup_overlap_30", "speedup_overlap_60"}
    expected |= {"acquisition_ratio_90_30", "combined_efficiency"}
    expected |= {"epie_iterations_min", "epie_iterations_max"}
    expected |= {"epie_overlap_min_percent", "epie_overlap_max_percent"}
    assert {cell.id for cell in cells} == {f"claims.{name}" for name in expected}
    # the acquisition ratio is arithmetic
    assert {cell.id for cell in cells if cell.ours is not None} == {
        "claims.acquisition_ratio_90_30"
    }
    assert "No measurement of ePIE is there yet" in report.body(empty, cells, "paper")


def test_json_holds_mean_and_variance(facts):
    values = json.loads(json.dumps(facts.to_dict()))
    assert values["seconds"]["0.30"]["python_s"] == {"mean": 10.0, "variance": 8.0, "n": 2}
    assert values["seconds"]["0.60"]["ppn"] == {"mean": 1.0, "variance": 0.0, "n": 2}
    assert values["epie_ssim"]["0.30/phase"]["variance"] == pytest.approx(0.005)


def test_smoke_gives_no_verdict(facts):
    assert all(cell.verdict is None for cell in report.cells(facts, "smoke", "CPU", "sound"))


def test_body_and_figure(facts, tmp_path):
    from reproduce.parts import iterative_figure

    cells = report.cells(facts, "paper", "CPU", "sound")
    body = report.body(facts, cells, "paper")
    row = "| speedup_overlap_30 | 852 | 20 | ePIE, Python loop / ppn; cannot be checked: "
    assert row in body
    assert "its cost per iteration counts for the rest (30 %: 100," in body
    assert "ppn: timed untrained." in body
    here = SimpleNamespace(
        session=SimpleNamespace(object_name="stand-in", out=tmp_path),
        profile=SimpleNamespace(name="paper"),
    )
    assert iterative_figure.draw(here, facts, "sound") == ("fig8.png", "fig8.pdf")
    assert (tmp_path / "fig8.png").stat().st_size > 10_000


def test_grid():
    from reproduce import experiments

    assert fig8.grid(experiments.PROFILES["smoke"], "ltem", None) == {}
    grid = fig8.grid(experiments.PROFILES["paper"], "ltem", 2)
    assert list(grid) == [(name, "clean") for name in ("text", "release", "sound")]
    shared = {spec.hash for specs in grid.values() for spec in specs}
    table1 = experiments.table1(experiments.PROFILES["paper"], "ltem", 2)
    assert shared <= {spec.hash for specs in table1.values() for spec in specs}
