"""What each leak is worth: one network trained with the leak and without it.

Three training sets of equal size: drawn from all training rows; from the rows that share no
pixel with the test rows; and from what shares no pixel with the region of the release's first
public version. A leak's worth is what it gains where pixels or patches are shared, less what
the same change gains where none are: training patches of another place teach something else,
and only the rest is the leak.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from ppn_tf import data
from ppn_tf.data.blocked import shared_pixels_per_patch
from ppn_tf.data.dataset import Dataset
from reproduce.parts import audit_pilot, audit_short
from reproduce.parts.audit_records import Plan

NAME = "leaks"
MODEL = "ptynet"
SEEDS = 5
PATCHES = 960
EPOCHS = 30
BATCH = 32
TESTED = 320

#: Leak to (training set with it, without it, test set that shares, test set that does not).
LEAKS = {
    "test patches in training": ("all rows", "outside first-release", "in training", "unshared"),
    "pixels at the boundary": ("all rows", "rows apart", "boundary rows", "gap"),
}
METRICS = ("psnr_amplitude", "ssim_amplitude", "psnr_phase", "ssim_phase")


def training_sets(dataset: Dataset) -> dict[str, np.ndarray]:
    """Return the patches that each training set is drawn from."""
    every = data.train_indices(dataset)
    apart = shared_pixels_per_patch(dataset, data.region_indices(dataset, "rows")) == 0
    outside = shared_pixels_per_patch(dataset, data.region_indices(dataset, "first-release")) == 0
    return {
        "all rows": every,
        "rows apart": every[apart[every]],
        "outside first-release": every[outside[every]],
    }


def test_sets(dataset: Dataset) -> dict[str, np.ndarray]:
    """Return the patches that are tested.

    ``in training`` and ``unshared`` are the parts of the first release's region that are
    training patches, and that share no pixel with one; ``boundary rows`` the test rows that
    share pixels, ``gap`` those that share none.
    """
    gap, rows = (data.region_indices(dataset, name) for name in ("gap", "rows"))
    first = data.region_indices(dataset, "first-release")
    return {
        "in training": np.intersect1d(first, data.train_indices(dataset)),
        "unshared": np.intersect1d(first, gap),
        "boundary rows": np.setdiff1d(rows, gap),
        "gap": gap,
    }


def settings(object_name: str) -> dict[str, Any]:
    """Return what decides the numbers."""
    return {
        "object": object_name,
        "model": MODEL,
        "patches": PATCHES,
        "epochs": EPOCHS,
        "batch": BATCH,
        "tested": TESTED,
        "leaks": {name: list(sets) for name, sets in LEAKS.items()},
    }


def plan(object_name: str, dataset: Dataset, seeds: int = SEEDS) -> Plan:
    """Return the trainings, seed by seed."""
    scaling = audit_short.sound(dataset)
    sets = training_sets(dataset)
    tests = {
        name: audit_short.arrays(dataset, audit_short.spaced(indices, TESTED), scaling)
        for name, indices in test_sets(dataset).items()
    }
    fitter = audit_short.Fitter(MODEL, {})

    def unit(name: str, seed: int) -> dict[str, Any]:
        chosen = data.subsample(sets[name], PATCHES, seed)
        samples = audit_short.arrays(dataset, chosen, scaling)
        fitter.fit(samples, seed=seed, epochs=EPOCHS, batch_size=BATCH)
        return {test: audit_short.score(fitter.model, there) for test, there in tests.items()}

    units = {
        f"{name}; seed {seed}": (lambda name=name, seed=seed: unit(name, seed))
        for seed in range(seeds)
        for name in sets
    }
    return Plan(NAME, settings(object_name), units)


def worth(results: Mapping[str, Mapping[str, Mapping[str, float]]]) -> list[dict[str, Any]]:
    """Return the gain of each leak where something is shared, where not, and the rest.

    Returns
    -------
    list of dict
        ``leak``, ``metric`` (dB, or points of SSIM), and `audit_pilot.interval` of the gain
        ``shared``, ``unshared`` and ``leak_alone``, over paired seeds.
    """
    by_set = audit_pilot.by_form(results)
    found = []
    for leak, (within, without, shared, unshared) in LEAKS.items():
        seeds = sorted(set(by_set.get(within, {})) & set(by_set.get(without, {})))
        for metric in METRICS:
            gains = {
                name: [
                    _gain(by_set[within][seed], by_set[without][seed], test, metric)
                    for seed in seeds
                ]
                for name, test in (("shared", shared), ("unshared", unshared))
            }
            alone = [a - b for a, b in zip(gains["shared"], gains["unshared"], strict=True)]
            found.append(
                {"leak": leak, "metric": metric}
                | {name: audit_pilot.interval(values) for name, values in gains.items()}
                | {"leak_alone": audit_pilot.interval(alone)}
            )
    return found


def _gain(
    within: Mapping[str, Mapping[str, float]],
    without: Mapping[str, Mapping[str, float]],
    test: str,
    metric: str,
) -> float:
    factor = 100.0 if metric.startswith("ssim") else 1.0
    return factor * (within[test][metric] - without[test][metric])


def told(interval: Mapping[str, Any], unit: str = "dB") -> str:
    """Return a mean and its interval as a sentence has it."""
    low, high = interval["ci95"]
    return f"{interval['mean']:+.2f} {unit} ({low:+.2f} to {high:+.2f})"


def name_of(metric: str) -> str:
    """Return a metric as people write it."""
    kind, channel = metric.split("_")
    return f"{kind.upper()} {channel}"


def table(found: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """Return the rows of the finding's table."""
    rows = []
    for one in found:
        unit = "dB" if one["metric"].startswith("psnr") else "points"
        rows.append(
            {
                "leak": one["leak"],
                "metric": name_of(one["metric"]),
                "gain where shared": told(one["shared"], unit),
                "gain where not": told(one["unshared"], unit),
                "the leak alone": told(one["leak_alone"], unit),
                "n": str(one["leak_alone"]["n"]),
            }
        )
    return rows
