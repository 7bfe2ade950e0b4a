"""Noise by dose: in the test alone, and in training and test."""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from ppn_tf import data, kerasfile
from ppn_tf.data.dataset import Dataset
from reproduce.parts import audit_fields, audit_pilot, audit_short
from reproduce.parts.audit_records import Plan

NAME = "noise"
#: Trained networks of Table I's noise-free half whose test alone is made noisy.
TRAINED = ("ppn", "ptychonn", "ptynet")
DOSES = ("low-dose", "reference", "high-dose")
SEEDS = 3
PATCHES = 960
EPOCHS = 20
BATCH = 32
TESTED = 128
SHORT = "ptynet"
TRANSFORMS = ("log1p",)


def settings(object_name: str) -> dict[str, Any]:
    """Return what decides the numbers."""
    return {
        "object": object_name,
        "doses": list(DOSES),
        "short": [SHORT, PATCHES, EPOCHS, BATCH],
        "transforms": list(TRANSFORMS),
        "tested": TESTED,
    }


def noisy(object_name: str, dose: str, seed: int, level: float) -> Dataset:
    """Return the scan under a noise model, its counts brought back to the noise-free scale.

    The scale is divided out so that the noise alone changes, and not the input's range.

    Parameters
    ----------
    object_name, dose : str
    seed : int
    level : float
        Mean counts a pattern of the noise-free scan.
    """
    made = data.load(object_name, noise=dose, seed=seed, allow_stand_in=True)
    photons = data.NOISE_MODELS[dose].photons_per_pattern
    return dataclasses.replace(made, patterns=made.patterns * np.float32(level / photons))


def plan(
    object_name: str, dataset: Dataset, seeds: int = SEEDS, folder: Path | None = None
) -> Plan:
    """Return evaluations of trained networks that are there, then short trainings."""
    gap = audit_short.spaced(data.region_indices(dataset, "gap"), TESTED)
    level = float(dataset.patterns.sum(axis=(1, 2)).mean())
    at_dose = functools.cache(lambda dose, seed: noisy(object_name, dose, seed, level))
    fitter = functools.cache(lambda: audit_short.Fitter(SHORT, {}))

    def trained(model: str) -> dict[str, Any]:
        file = audit_fields.weights(folder, model, {}, object_name)
        network = kerasfile.load(file)
        scaling = audit_short.sound(dataset)
        found = {}
        for dose in (None, *DOSES):
            counts = (dataset if dose is None else at_dose(dose, 0)).patterns[gap][..., None]
            samples = audit_short.Arrays(counts, audit_short.arrays(dataset, gap, scaling).targets)
            found[dose or "none"] = audit_short.score(network, samples)
        return {"run": file.parent.name, "scores": found}

    def short(transform: str, dose: str | None, seed: int) -> dict[str, Any]:
        source = dataset if dose is None else at_dose(dose, seed)
        scaling = audit_short.sound(source, transform)
        chosen = data.subsample(data.train_indices(dataset), PATCHES, seed)
        samples = audit_short.arrays(source, chosen, scaling)
        fitter().fit(samples, seed=seed, epochs=EPOCHS, batch_size=BATCH)
        own = audit_short.arrays(source, gap, scaling)
        found = {"own": audit_short.score(fitter().model, own)}
        if dose is None:
            for other in DOSES:
                there = audit_short.arrays(at_dose(other, seed), gap, scaling)
                found[other] = audit_short.score(fitter().model, there)
        return found

    units = {
        f"trained {model}; seed 0": functools.partial(trained, model)
        for model in TRAINED
        if audit_fields.weights(folder, model, {}, object_name) is not None
    }
    units |= {
        f"{transform}, {dose or 'none'}; seed {seed}": functools.partial(
            short, transform, dose, seed
        )
        for seed in range(seeds)
        for transform in TRANSFORMS
        for dose in (None, *DOSES)
    }
    return Plan(NAME, settings(object_name), units)


def losses(results: Mapping[str, Mapping[str, Any]], metric: str) -> list[dict[str, Any]]:
    """Return by how much noise lowers a metric: score without noise minus score with it.

    Returns
    -------
    list of dict
        ``network``, ``dose``, ``where`` (``"test alone"`` or ``"training and test"``),
        ``values`` by seed and their ``mean``.
    """
    factor = 100.0 if metric.startswith("ssim") else 1.0
    found = []
    groups = audit_pilot.by_form(results)
    for name, by_seed in groups.items():
        if name.startswith("trained "):
            scores = {seed: one["scores"] for seed, one in by_seed.items()}
            for dose in DOSES:
                values = [factor * (s["none"][metric] - s[dose][metric]) for s in scores.values()]
                found.append(_row(f"{name.split()[1]}, full training", dose, "test alone", values))
    for transform in TRANSFORMS:
        clean = groups.get(f"{transform}, none", {})
        for dose in DOSES:
            label = f"{SHORT}, short, {transform}"
            alone = [factor * (o["own"][metric] - o[dose][metric]) for o in clean.values()]
            both = groups.get(f"{transform}, {dose}", {})
            pairs = [
                factor * (clean[s]["own"][metric] - both[s]["own"][metric])
                for s in sorted(set(clean) & set(both))
            ]
            found += [
                _row(label, dose, where, values)
                for where, values in (("test alone", alone), ("training and test", pairs))
                if values
            ]
    return found


def _row(network: str, dose: str, where: str, values: list[float]) -> dict[str, Any]:
    mean = float(np.mean(values))
    return {"network": network, "dose": dose, "where": where, "values": values, "mean": mean}
