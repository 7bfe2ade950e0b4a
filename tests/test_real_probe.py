"""The exhibit of the measured probe: simulated pairs, scores, text."""

import dataclasses

import numpy as np
import pytest

pytest.importorskip("keras")

from ppn_tf import data
from ppn_tf.data import nanoprobe
from reproduce import all as everything
from reproduce import real_probe
from reproduce.parts import probe_scores, probe_training

SETTINGS = probe_training.Settings(2, 2, 3, (("ptynet", 1),), 1)


@pytest.fixture(scope="module")
def measured():
    """A made-up scan as the loader gives it: two modes, 128 px, one dead pixel."""
    rng = np.random.default_rng(0)
    rows, cols = np.indices((128, 128)) - 64
    envelope = np.exp(-(rows**2 + cols**2) / 400) * np.exp(0.002j * (rows**2 + 2 * cols**2))
    probe = np.stack([envelope, 0.5 * envelope * rows / 10]).astype(np.complex64)
    dead = np.zeros((128, 128), bool)
    dead[3, 70] = True
    patterns = rng.poisson(100.0, (2, 128, 128)).astype(np.float32)
    return nanoprobe.MeasuredScan("made-up", patterns, np.zeros((2, 2)), probe, dead, {})


def test_pairs_are_those_of_the_command(measured):
    """What the exhibit trains on is `ppn_tf.pairs`, at the scan's counts on living pixels."""
    pairs = probe_training.simulate(measured, measured.probe, SETTINGS)
    assert pairs.patterns.shape == (3, 32, 32) and pairs.amplitude.shape == (3, 32, 32)
    assert pairs.phase_zero == "light"
    low, high = probe_training.AMPLITUDE
    assert low - 0.1 < pairs.amplitude.min() and pairs.amplitude.max() < high + 1e-6
    assert 0 < probe_training.mean_phase_rad(measured, measured.probe, SETTINGS) < np.pi
    living = np.where(measured.dead_pixels, 0, measured.patterns).sum(axis=(1, 2)).mean()
    # Poisson noise of 1.6 million counts a pattern, and the dead pixel that its block makes up for
    assert pairs.patterns.sum(axis=(1, 2)).mean() == pytest.approx(living, rel=0.005)


def test_scores_forgive_phase_scale_and_ramp():
    rows, cols = np.indices((60, 70))
    truth = (1 + 0.2 * np.sin(rows / 4)) * np.exp(0.5j * np.cos(cols / 5))
    box = (slice(4, 60), slice(2, 68))
    where = probe_scores.Region(np.arange(3), box, truth[box])
    found = 0.3 * truth * np.exp(1j * (0.7 + 0.02 * rows - 0.01 * cols))
    scores, aligned = probe_scores.compare(found, where)
    np.testing.assert_allclose(aligned, truth[box], atol=1e-4)
    assert scores["amplitude"] > 0.9999 and scores["phase"] > 0.9999 and scores["error"] < 1e-4
    assert min(scores["frc"]) > 0.99 and len(scores["frc"]) == len(scores["frc_axis"])
    plain, _ = probe_scores.compare(np.ones(truth.shape, complex), where)
    # a constant may still be tilted: measured 0.19
    assert plain["amplitude"] is None and abs(plain["phase"]) < 0.5 and plain["error"] > 0.2
    assert plain["frc"][1] < 0.5


def curve_of(middle):
    return {"frc_axis": [0.0, 0.25, 0.5, 0.75, 1.0], "frc": [1.0, 0.2, middle, middle, 0.4]}


def record():
    scores = {"amplitude": 0.5, "phase": 0.75, "error": 0.25, **curve_of(0.9)}
    nothing = {"amplitude": None, "phase": None, "error": 0.5, **curve_of(0.1)}
    both = {"ptynet": scores, "constant": nothing}
    curve = {"iterations": [0, 1], "r_curve": [0.4, 0.2], "error_curve": [0.5, 0.25]}
    return {
        "settings": SETTINGS.to_dict(),
        "results": {
            "scores": {"held-out": both, "whole": both},
            "sizes": {
                "patches": 393,
                "test": 79,
                "boxes_px": {"held-out": [40, 90], "whole": [120, 130]},
                "label_r": [0.2, 0.1],
                "phase_taken_off_rad": 0.5,
            },
            "refinement": {"flat": curve, "ptynet": curve},
        },
    }


def test_the_text():
    text = "\n".join(real_probe.body(record()))
    assert "## held-out block: 79 patches, box of 40 x 90 px" in text
    assert "0.500 to 0.750" in text and "nowhere" in text
    assert "0.750" in text and "0.200, 0.250" in text and "ptynet 1 epochs" in text


def test_settings_have_a_name_each():
    names = {real_probe.settings(name).hash for name in ("smoke", "quick", "paper")}
    assert len(names) == 3
    other = dataclasses.replace(SETTINGS, seed=1)
    assert other.hash != SETTINGS.hash


def test_all_makes_it_only_when_it_is_named():
    assert "real_probe" not in everything.chosen(None, None)
    assert everything.chosen("real_probe", None) == ("real_probe",)


def test_without_the_scan_it_says_so(monkeypatch):
    from ppn_tf.errors import SourceMissingError

    def missing(*_, **__):
        raise SourceMissingError("not there")

    monkeypatch.setattr(data, "fetch", missing)
    assert real_probe.make(None).body == real_probe.NO_DATA
