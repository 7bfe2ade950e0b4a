"""A network for a measured probe: recovered probe, random objects, training.

Nothing of the held-out block is used: the probe is ePIE's on the positions outside it, the
objects are drawn.
"""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import numpy as np

from ppn_tf import labels, refinement
from ppn_tf import pairs as simulation
from ppn_tf.data import nanoprobe
from ppn_tf.data.formats import Scan
from ppn_tf.data.random_objects import SCALES_PX
from ppn_tf.detector import Fit
from ppn_tf.fitting import FitOptions, Pairs, fit
from ppn_tf.probe_modes import scale_probe
from reproduce.specification import digest

#: Raised by hand when results would change; part of their name.
VERSION = 2

#: Side of patterns and patches, and the part of the window that the patches show [px].
SIDE_PX, WINDOW_PX = 32, 64

#: Amplitude and phase of drawn objects.
AMPLITUDE = (0.6, 1.0)
PHASE_RAD = (-1.0, 1.0)
#: Windows of which the mean phase is told.
CHECKED = 256


@dataclasses.dataclass(frozen=True)
class Settings:
    """What decides a result.

    Attributes
    ----------
    probe_iterations : int
        Of ePIE, for the probe.
    label_iterations : int
        Of ePIE on the whole scan, for the reference.
    patches : int
        Simulated patterns.
    epochs : tuple of (str, int)
        Network and its epochs.
    refine_iterations : int
        Of ePIE from the networks' objects.
    seed : int
    """

    probe_iterations: int
    label_iterations: int
    patches: int
    epochs: tuple[tuple[str, int], ...]
    refine_iterations: int
    seed: int = 0

    def to_dict(self) -> dict[str, Any]:
        """Return all that the name stands for, as plain values."""
        drawn = [*AMPLITUDE, *PHASE_RAD, *SCALES_PX]
        values = dataclasses.asdict(self) | {"version": VERSION, "drawn": drawn}
        return values | {"epochs": dict(self.epochs)}

    @property
    def hash(self) -> str:
        """Name of the result."""
        return digest(self.to_dict())[:16]


def recovered_probe(
    scan: nanoprobe.MeasuredScan, kept: np.ndarray, settings: Settings, checkpoint: Path
) -> np.ndarray:
    """Return the probe that ePIE finds on some positions of a scan, (M, H, W) complex64."""
    corners = labels.corners_px(scan)
    shape = tuple(int(end) for end in corners.max(axis=0) + scan.patterns.shape[1:])
    living = np.where(scan.dead_pixels, 0, scan.patterns[kept])
    task = refinement.Task(
        scan.patterns[kept],
        corners[kept],
        np.ones(shape, np.complex64),
        scale_probe(scan.probe, living),
        scan.dead_pixels,
    )
    options = refinement.Options(iterations=settings.probe_iterations, seed=settings.seed)
    return refinement.refine(task, options, checkpoint=checkpoint, label="probe").probe


def fit_to_network(scan: nanoprobe.MeasuredScan) -> Fit:
    """Return how patterns are binned, and what patches show of the window."""
    return Fit(bin_px=scan.patterns.shape[-1] // SIDE_PX, span_px=WINDOW_PX)


def simulate(scan: nanoprobe.MeasuredScan, probe: np.ndarray, settings: Settings) -> Pairs:
    """Simulate pairs with a probe as ``ppn-tf train --simulate`` does, at the counts of a scan.

    The phase of each patch counts from the mean that the probe's light sees, as a pattern
    holds no other zero.
    """
    options = simulation.Simulation(
        settings.patches, AMPLITUDE, PHASE_RAD, seed=settings.seed, phase_zero="light"
    )
    return simulation.simulated(lit(scan, probe), fit_to_network(scan), options, label="simulate")


def lit(scan: nanoprobe.MeasuredScan, probe: np.ndarray) -> Scan:
    """Return a measured scan with another probe, in the conventions of files."""
    return Scan(
        scan.patterns,
        labels.corners_px(scan).astype(np.float64),
        probe=probe.astype(np.complex64),
        mask=~scan.dead_pixels,
    )


def mean_phase_rad(scan: nanoprobe.MeasuredScan, probe: np.ndarray, settings: Settings) -> float:
    """Return the root mean square of the phases that targets count from, of some windows."""
    of_zero = {}
    for zero in ("object", "light"):
        options = simulation.Simulation(
            CHECKED, AMPLITUDE, PHASE_RAD, poisson=False, seed=settings.seed, phase_zero=zero
        )
        found = simulation.simulated(lit(scan, probe), fit_to_network(scan), options)
        of_zero[zero] = found.phase_rad[:, 0, 0].astype(np.float64)
    taken_off = np.angle(np.exp(1j * (of_zero["object"] - of_zero["light"])))
    return float(np.sqrt(np.mean(taken_off**2)))


def train(pairs: Pairs | None, model: str, epochs: int, seed: int, path: Path) -> Any:
    """Train a network, going on from a checkpoint, or read it where it is trained."""
    import keras

    from ppn_tf.files import replacing

    if path.exists():
        return keras.saving.load_model(path, safe_mode=True)
    assert pairs is not None
    checkpoint = path.with_suffix(".checkpoint.npz")
    network, _ = fit(pairs, model, FitOptions(epochs, 32, seed), checkpoint=checkpoint, label=model)
    with replacing(path) as temporary:
        network.save(temporary)
    checkpoint.unlink(missing_ok=True)
    return network
