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
from ppn_tf.data import forward, nanoprobe
from ppn_tf.data.random_objects import random_object
from ppn_tf.fitting import FitOptions, Pairs, fit
from ppn_tf.probe_modes import scale_probe
from ppn_tf.seeding import generator
from reproduce.specification import digest

#: Raised by hand when results would change; part of their name.
VERSION = 1

#: Side of patterns and patches, and the part of the window that the patches show [px].
SIDE_PX, WINDOW_PX = 32, 64

#: Drawn objects: side [px of the scan], windows on each, amplitude and phase.
OBJECT_PX, WINDOWS = 512, 256
AMPLITUDE = (0.6, 1.0)
PHASE_RAD = (-1.0, 1.0)
#: Blur of the noise that objects are made of [px of the scan].
SCALES_PX = (3.0, 6.0, 12.0, 24.0)
#: Blur of the edges between two levels [px of the scan].
EDGE_PX = 1.0


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
        drawn = [OBJECT_PX, WINDOWS, *AMPLITUDE, *PHASE_RAD, *SCALES_PX]
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


def drawn_object(seed: int) -> np.ndarray:
    """Draw an object, (rows, cols) complex64; see `ppn_tf.data.random_objects`."""
    return random_object(
        (OBJECT_PX, OBJECT_PX),
        seed=seed,
        amplitude_range=AMPLITUDE,
        phase_range_rad=PHASE_RAD,
        scales_px=SCALES_PX,
        edge_px=EDGE_PX,
    ).complex


def simulate(scan: nanoprobe.MeasuredScan, probe: np.ndarray, settings: Settings) -> Pairs:
    """Simulate pairs with a probe, at the counts of a scan.

    Returns
    -------
    Pairs
        Patterns with Poisson noise, binned; patches as labels are, averaged as a complex
        field over the pixels of the binned window. The phase of each patch counts from
        the mean that the probe's light sees, as a pattern holds no other zero.
    """
    from tqdm import tqdm

    side = probe.shape[-1]
    counts = float(np.where(scan.dead_pixels, 0, scan.patterns).sum(axis=(1, 2)).mean())
    light = (np.abs(probe) ** 2).sum(axis=0)
    parts = []
    starts = range(0, settings.patches, WINDOWS)
    for index, start in enumerate(tqdm(starts, desc="simulate", leave=False)):
        number = min(WINDOWS, settings.patches - start)
        seed = settings.seed + 1000 * (index + 1)
        obj = drawn_object(seed)
        corners = generator(seed, "jitter").integers(0, OBJECT_PX - side, (number, 2))
        patterns = sum(forward.diffraction(obj, mode, corners) for mode in probe)
        patterns *= counts / patterns.sum(axis=(1, 2), dtype=np.float64).mean()
        noisy = generator(seed, "noise").poisson(patterns.astype(np.float64))
        noisy = np.where(scan.dead_pixels, 0, noisy)
        windows = forward.extract_patches(obj, (side, side), corners)
        means = (windows * light).sum(axis=(1, 2))
        field = patches_of(windows) * np.exp(-1j * np.angle(means))[:, None, None]
        parts.append(
            (
                nanoprobe.bin_patterns(noisy, SIDE_PX, scan.dead_pixels),
                np.abs(field).astype(np.float32),
                np.angle(field).astype(np.float32),
            )
        )
    return Pairs(*(np.concatenate(arrays) for arrays in zip(*parts, strict=True)))


def mean_phase_rad(probe: np.ndarray, settings: Settings) -> float:
    """Return the root mean square of the phases that targets count from, of one object."""
    seed, side = settings.seed + 1000, probe.shape[-1]
    corners = generator(seed, "jitter").integers(0, OBJECT_PX - side, (WINDOWS, 2))
    windows = forward.extract_patches(drawn_object(seed), (side, side), corners)
    means = (windows * (np.abs(probe) ** 2).sum(axis=0)).sum(axis=(1, 2))
    return float(np.sqrt(np.mean(np.angle(means) ** 2)))


def patches_of(windows: np.ndarray) -> np.ndarray:
    """Return the middle of windows, averaged to `SIDE_PX`, complex."""
    start, factor = (windows.shape[-1] - WINDOW_PX) // 2, WINDOW_PX // SIDE_PX
    middle = windows[:, start : start + WINDOW_PX, start : start + WINDOW_PX]
    return middle.reshape(-1, SIDE_PX, factor, SIDE_PX, factor).mean(axis=(2, 4))


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
