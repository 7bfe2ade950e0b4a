"""The audit as a document: sections, tests that it names, and what it is without records."""

import functools
import json

import pytest

from ppn_tf import complexity
from reproduce import audit, compare, exhibit, experiments, options
from reproduce.parts import audit_branch, audit_data, audit_finding

SMOKE = experiments.PROFILES["smoke"]


@pytest.fixture(autouse=True)
def one_reading_of_the_paper(monkeypatch):
    """Parse paper.yaml once."""
    monkeypatch.setattr(compare, "load_paper", functools.cache(compare.load_paper))


def test_findings_are_numbered_and_name_their_test():
    text = audit_finding.markdown(
        [
            audit_finding.Finding("a", "First", "Text.", [{"x": "1"}], test="test_one"),
            audit_finding.Finding("b", "Second", "More.", missing="runs"),
        ]
    )
    assert "## 1. First" in text
    assert "## 2. Second" in text
    assert "test `tests/test_audit.py::test_one`" in text
    assert "No record yet: runs" in text


class NoRuns:
    """A store without records."""

    def find(self, spec):
        return None


def test_the_exhibit_is_made_without_a_record(tmp_path, monkeypatch):
    one = {
        "steps": {0: {"sd": 0.5, "level": 1.0}, 1: {"sd": 1e-6, "level": 1.0}},
        "constant_branch_change": 1e-7,
        "first_center_gradient": {"nonlocal_1_attention": [0.0, 0.0]},
    }
    share = {f"{a}_{b}": 1.0 for a in ("liked", "disliked") for b in ("released", "one")}
    layer = {"mean": [0.0, 0.0], "sd": [1.0, 1.0], "t": [0.5, -9.0], "norm": 1e-4}
    measured = {
        "series": {series.name: {0: one} for series in audit_branch.SERIES},
        "gradients": {0: {"nonlocal_1_attention": layer}},
        "dc_attention": {0: share},
    }
    monkeypatch.setattr(audit_branch, "measure", lambda dataset: measured)
    monkeypatch.setattr(
        audit_branch, "operations", lambda: {"whole": 0.382, "branch": 0.33, "share": 0.86}
    )
    counts = complexity.ParameterCounts(1_602_828, 896, 1_603_724, 6.1177)
    monkeypatch.setattr(
        audit_branch, "parameters", lambda: dict.fromkeys(("ppn", "ppn-released"), counts)
    )
    monkeypatch.setattr(audit, "NOISE", ())
    monkeypatch.setattr(audit_data, "ORDERS", 2)
    name = "blur, sigma 2 px"
    monkeypatch.setattr(audit_data, "DEGRADATIONS", {name: audit_data.DEGRADATIONS[name]})
    session = options.Session("smoke", None, "stand-in", "cpu", "CPU", tmp_path)
    grid = audit.grid(SMOKE, "stand-in", None)
    made = audit.make(exhibit.Context(session, SMOKE, NoRuns(), grid))
    assert "not chosen: 0 of 60 combinations have runs" in made.body
    assert "differs from zero in 1 of 2 coordinates" in made.body
    assert "There is no record of a whole training of ppn yet" in made.body
    assert "(86 %)" in made.body
    # without a run there is no heatmap
    assert set(made.figures) == {
        f"audit-{name}.{ending}" for name in ("network", "ssim") for ending in ("png", "pdf")
    }
    assert all((tmp_path / figure).stat().st_size for figure in made.figures)
    written = json.loads(json.dumps(made.extra, allow_nan=False))
    assert written["findings"]["branch"]["test"].startswith("tests/test_audit.py::test_")
