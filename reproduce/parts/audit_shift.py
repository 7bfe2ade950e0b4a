"""Does a learned centre find a shift of the pattern? Short trainings on shifted patterns."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import keras
import numpy as np
import scipy.stats

from ppn_tf import data
from ppn_tf.data.dataset import Dataset
from reproduce.parts import audit_pilot, audit_short
from reproduce.parts.audit_records import Plan

NAME = "shift"
SHIFTS_PX = (0, 1, 2, 3)
SEEDS = 2
PATCHES = 160
EPOCHS = 9
BATCH = 8
TESTED = 64
SIDE_PX = 32
LAYERS = ("nonlocal_1_attention", "nonlocal_2_attention")


def settings(object_name: str) -> dict[str, Any]:
    """Return what decides the numbers."""
    return {
        "object": object_name,
        "shifts_px": list(SHIFTS_PX),
        "patches": PATCHES,
        "epochs": EPOCHS,
        "batch": BATCH,
        "tested": TESTED,
        "learning_rate": audit_short.LEARNING_RATE,
        "norm_momentum": audit_short.NORM_MOMENTUM,
    }


def shifted(samples: audit_short.Arrays, shift_px: int) -> audit_short.Arrays:
    """Move patterns to the right, as a displaced beam would; what leaves comes back left."""
    return audit_short.Arrays(np.roll(samples.patterns, shift_px, axis=2), samples.targets)


def plan(object_name: str, dataset: Dataset, seeds: int = SEEDS) -> Plan:
    """Return the trainings, seed by seed."""
    scaling = audit_short.sound(dataset)
    fitter = audit_short.Fitter("ppn", {})
    gap = audit_short.spaced(data.region_indices(dataset, "gap"), TESTED)
    test = audit_short.arrays(dataset, gap, scaling)

    def unit(shift_px: int, seed: int) -> dict[str, Any]:
        chosen = data.subsample(data.train_indices(dataset), PATCHES, seed)
        samples = shifted(audit_short.arrays(dataset, chosen, scaling), shift_px)
        there = shifted(test, shift_px)
        fitter.start(seed)
        path = [centers_px(fitter.model)]
        for number in range(EPOCHS):
            fitter.epoch(samples, BATCH, seed, number)
            path.append(centers_px(fitter.model))
        return {
            "centers_px": path,
            "learned": loss(fitter.model, there),
            # the same network, its centre put where the pattern's is, and where it began
            "at_shift": loss_at(fitter.model, there, (0.0, float(shift_px))),
            "at_start": loss_at(fitter.model, there, (0.0, 0.0)),
        }

    units = {
        f"{shift_px} px; seed {seed}": (lambda s=shift_px, seed=seed: unit(s, seed))
        for seed in range(seeds)
        for shift_px in SHIFTS_PX
    }
    return Plan(NAME, settings(object_name), units)


def centers_px(model: keras.Model) -> dict[str, list[float]]:
    """Return the displacement (row, col) of every centre from the middle, in pixels."""
    return {
        name: [SIDE_PX * float(v) for v in keras.ops.convert_to_numpy(model.get_layer(name).center)]
        for name in LAYERS
    }


def loss(model: keras.Model, samples: audit_short.Arrays) -> float:
    """Return the mean squared error, summed over both outputs."""
    found = audit_short.score(model, samples)
    return found["mse_amplitude"] + found["mse_phase"]


def loss_at(
    model: keras.Model, samples: audit_short.Arrays, center_px: tuple[float, float]
) -> float:
    """Return the loss with both centres moved, and put them back."""
    centers = [model.get_layer(name).center for name in LAYERS]
    kept = [keras.ops.convert_to_numpy(center) for center in centers]
    try:
        for center in centers:
            center.assign(np.array(center_px, dtype="float32") / SIDE_PX)
        return loss(model, samples)
    finally:
        for center, value in zip(centers, kept, strict=True):
            center.assign(value)


def steps() -> int:
    """Return the Adam steps of a training."""
    return EPOCHS * math.ceil(PATCHES / BATCH)


def walk_px() -> float:
    """Return how far noise alone would carry a coordinate (root mean square)."""
    return SIDE_PX * audit_short.LEARNING_RATE * math.sqrt(steps())


def slopes(results: Mapping[str, Mapping[str, Any]]) -> list[dict[str, Any]]:
    """Fit the centre's end against the shift, for each layer and axis.

    A centre that finds the shift has a slope of 1 along the columns, and 0 along the rows,
    which are not shifted.

    Returns
    -------
    list of dict
        ``layer``, ``axis``, ``slope`` and its 95 % interval ``ci95``, ``n`` trainings.
    """
    by_shift = audit_pilot.by_form(results)
    found = []
    for layer in LAYERS:
        for axis, name in enumerate(("row", "col")):
            pairs = [
                (float(shift.split()[0]), one["centers_px"][-1][layer][axis])
                for shift, by_seed in by_shift.items()
                for one in by_seed.values()
            ]
            fit = scipy.stats.linregress(*np.transpose(pairs))
            half = float(scipy.stats.t.ppf(0.975, len(pairs) - 2)) * fit.stderr
            found.append(
                {
                    "layer": layer,
                    "axis": name,
                    "slope": float(fit.slope),
                    "ci95": [float(fit.slope - half), float(fit.slope + half)],
                    "n": len(pairs),
                }
            )
    return found


def recovered(results: Mapping[str, Mapping[str, Any]]) -> dict[str, float]:
    """Return by how much the true centre lowers the error, in percent, by training."""
    return {
        key: 100.0 * (1.0 - one["at_shift"] / one["at_start"])
        for key, one in results.items()
        if not key.startswith("0 px")
    }
