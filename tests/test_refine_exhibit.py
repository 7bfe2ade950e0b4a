"""The exhibit on refinement: traces, levels, tables, and records that are read back."""

import dataclasses
from types import SimpleNamespace

import numpy as np
import pytest

pytest.importorskip("keras")

from ppn_tf import data, epie, refinement
from ppn_tf.scaling import Scaling
from reproduce import refine
from reproduce.parts import iterative, refining
from reproduce.parts import refining_report as report

SCALING = Scaling("log1p", (0, 10), (0.5, 1), data.objects.PHASE_RANGE_RAD)


@pytest.fixture(scope="module")
def scan():
    return iterative.overlap_scan("stand-in", 0.3, SCALING)


def wanted(**changes):
    values = refining.Measurement("stand-in", 0.3, "flat", "", "epie", 0.0, 3, 2)
    return dataclasses.replace(values, **changes)


def test_a_trace_is_one_reconstruction_looked_at_after_every_iteration(scan):
    field, seconds = refining.start_field(scan, None, "flat")
    assert seconds == 0 and (field == 1).all()
    task = refining.task_of(scan, field)
    found = refining.trace(task, wanted(), lambda f: refining.object_error(scan, f), 5, "numpy")
    whole = epie.reconstruct(
        task.patterns,
        task.positions_px,
        task.probe,
        iterations=3,
        initial_object=field,
        update_probe=False,
        seed=5,
        engine="numpy",
    )
    end = dataclasses.replace(task, object=whole.object)
    for row, one in ((0, task), (3, end)):
        expected = refinement.r_factor(one), refining.object_error(scan, one.object)
        assert tuple(found[row]) == expected
    assert len(found) == 4


def test_the_error_forgives_a_factor_and_nothing_else(scan):
    assert refining.object_error(scan, 0.3 * np.exp(2j) * scan.truth) < 1e-6  # float32
    rows = np.indices(scan.truth.shape)[0]
    assert refining.object_error(scan, scan.truth * np.exp(0.05j * rows)) > 0.1


def test_a_scaled_flat_start_fits_the_data(scan):
    field, _ = refining.start_field(scan, None, "flat-scaled")
    assert refinement.fitted_scale(refining.task_of(scan, field)) == pytest.approx(1, abs=1e-5)


def test_a_measurement_is_kept_and_read_back(scan, tmp_path):
    start = refining.start_field(scan, None, "flat")
    calls = []

    def make(one):
        calls.append(one)
        return refining.measure(one, scan, start, "numpy")

    for one in (wanted(), wanted(objective="eq3", sparsity=1e-3)):
        first = iterative.ensure(one, tmp_path, make, {"device": "CPU"})
        assert first == iterative.ensure(one, tmp_path, None, {})
        results = first["results"]
        repeats = 2 if one.objective == "epie" else 1
        assert results["iterations"] == [0, 1, 2, 3] and len(results["r_end"]) == repeats
        assert results["r_curve"][3] < results["r_curve"][0]
        assert len(results["r_first"]["0.2"]) == repeats
    assert len(calls) == 2


def test_levels():
    values = np.array([0.5, 0.06, 0.05, 0.07, 0.01])
    at = [0, 1, 2, 5, 10]
    assert refining.first(values, at, 0.05) == 2 and refining.first(values, at, 0.02) == 10
    assert refining.first(values, at, 0.001) is None
    assert refining.marks(27) == [*range(21), 25, 27]


def record(firsts, start=0.3, end=0.02):
    return {
        "settings": {"iterations": 200, "repeats": len(firsts), "sparsity": 0.0, "weights": ""},
        "results": {
            "iterations": [0, 1, 200],
            "r_curve": [0.4, 0.1, 0.01],
            "error_curve": [start, 0.1, end],
            "r_first": {report.R_LEVEL: firsts},
            "error_first": {report.ERROR_LEVEL: [None] * len(firsts)},
            "error_end": [end],
        },
        "cost": {"start_s": 0.5, "iteration_s": 0.01, "load_average": [1.0, 1.0]},
        "environment": {"device": "CPU"},
    }


@pytest.fixture
def found():
    return {
        ("flat", "epie", 0.3): record([25, 27, 31]),
        ("ppn", "epie", 0.3): record([9, 9, 9]),
        ("flat", "epie", 0.6): record([None, 40, None]),
        ("ppn", "epie", 0.6): record([8, 9, None]),
    }


def test_tables(found):
    rows = report.rows(found, "epie", "r", report.R_LEVEL)
    assert rows == [
        {"start": "flat (ones)", "30 %": "27 (25 to 31)", "60 %": "> 200 (40 to > 200)"},
        {"start": "PPN (III-B)", "30 %": "9", "60 %": "9 (8 to > 200)"},
    ]
    assert report.ends(found, "epie")[0]["30 %"] == "0.300 to 0.020"
    assert report.ranking(found)[0].endswith("of 2 overlaps: PPN (III-B) at 2.")
    assert "no start gets there" in report.ranking(found)[1]
    assert "PPN (III-B) 0.50 s" in report.costs(found)[0]


def test_the_body_names_what_is_missing(found):
    here = SimpleNamespace()
    text = report.body(here, found, refine.NETWORKS)
    assert "No weights on this computer: ptychonn, ptynet." in text
    assert report.body(here, {}, refine.NETWORKS) == "No measurement yet."


def test_the_figure_is_drawn(found, tmp_path):
    from reproduce.parts import refining_figure

    here = SimpleNamespace(
        session=SimpleNamespace(out=tmp_path, object_name="stand-in"),
        profile=SimpleNamespace(name="paper"),
    )
    assert refining_figure.draw(here, found) == ("refine.png", "refine.pdf")
    assert (tmp_path / "refine.png").stat().st_size > 10_000
