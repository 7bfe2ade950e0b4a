"""Does PoCA help? A reduced pilot: every form of the attention, paired seeds."""

from __future__ import annotations

import functools
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import scipy.stats

from ppn_tf import data
from ppn_tf.data.dataset import Dataset
from ppn_tf.errors import DataError
from reproduce import compare, paired
from reproduce.parts import audit_short
from reproduce.parts.audit_branch import REPAIR
from reproduce.parts.audit_records import Plan

NAME = "poca"
SEEDS = 3
PATCHES = 160
EPOCHS = 3
BATCH = 8
TESTED = 128

#: Form to network and options; the first form of each network is the one that others leave.
FORMS: dict[str, tuple[str, dict[str, Any]]] = {
    "ppn, PoCA": ("ppn", {}),
    "ppn, MHSA": ("ppn", {"nonlocal_attention": "mhsa"}),
    "ppn, no NLB": ("ppn", {"nonlocal_attention": None}),
    "ppn, no radial weight": ("ppn", {"nonlocal_attention": "poca-no-radial"}),
    "ppn, no angular weight": ("ppn", {"nonlocal_attention": "poca-no-angular"}),
    "ppn, fixed centre": ("ppn", {"nonlocal_attention": "poca-fixed"}),
    "repaired, PoCA": ("ppn-released", REPAIR),
    "repaired, MHSA": ("ppn-released", REPAIR | {"nonlocal_attention": "mhsa"}),
    "repaired, no NLB": ("ppn-released", {"nonlocal_attention": None}),
    "repaired, no radial weight": (
        "ppn-released",
        REPAIR | {"nonlocal_attention": "poca-no-radial"},
    ),
    "repaired, no angular weight": (
        "ppn-released",
        REPAIR | {"nonlocal_attention": "poca-no-angular"},
    ),
}

METRICS = ("psnr_amplitude", "ssim_amplitude", "psnr_phase", "ssim_phase")

#: Metric of the pilot to that of the published table.
PUBLISHED = {
    "psnr_amplitude": "psnr_amp",
    "ssim_amplitude": "ssim_amp",
    "psnr_phase": "psnr_phase",
    "ssim_phase": "ssim_phase",
}


def settings(object_name: str) -> dict[str, Any]:
    """Return what decides the pilot's numbers; more seeds are more units, not another pilot."""
    return {
        "object": object_name,
        "patches": PATCHES,
        "epochs": EPOCHS,
        "batch": BATCH,
        "tested": TESTED,
        "norm_momentum": audit_short.NORM_MOMENTUM,
        "forms": {name: [model, dict(options)] for name, (model, options) in FORMS.items()},
    }


def plan(object_name: str, dataset: Dataset, seeds: int = SEEDS) -> Plan:
    """Return the pilot, seed by seed, so that an unfinished one has whole pairs."""
    scaling = audit_short.sound(dataset)
    fitter = functools.cache(lambda form: audit_short.Fitter(*FORMS[form]))
    gap = audit_short.spaced(data.region_indices(dataset, "gap"), TESTED)
    test = audit_short.arrays(dataset, gap, scaling)

    def unit(form: str, seed: int) -> dict[str, Any]:
        chosen = data.subsample(data.train_indices(dataset), PATCHES, seed)
        samples = audit_short.arrays(dataset, chosen, scaling)
        fitter(form).fit(samples, seed=seed, epochs=EPOCHS, batch_size=BATCH)
        return audit_short.score(fitter(form).model, test)

    units = {
        f"{form}; seed {seed}": functools.partial(unit, form, seed)
        for seed in range(seeds)
        for form in FORMS
    }
    return Plan(NAME, settings(object_name), units)


def by_form(results: Mapping[str, Mapping[str, float]]) -> dict[str, dict[int, Mapping]]:
    """Arrange units as form, seed."""
    found: dict[str, dict[int, Mapping[str, float]]] = {}
    for key, result in results.items():
        form, _, seed = key.rpartition("; seed ")
        found.setdefault(form, {})[int(seed)] = result
    return found


def pairs(
    one: Mapping[int, Mapping[str, Any]], other: Mapping[int, Mapping[str, Any]]
) -> list[tuple[Mapping[str, float], Mapping[str, float]]]:
    """Return the scores of two forms for every seed that both have on one backend."""
    rows = paired.rows({"one": one, "other": other}, ("one", "other"))
    return [(row[0], row[1]) for row in rows.values()]


def name_of(model: str, options: Any) -> str:
    """Return the form of a network with the given options."""
    wanted = (model, dict(options))
    return next(name for name, form in FORMS.items() if (form[0], dict(form[1])) == wanted)


def from_records(found: Sequence[tuple[str, int, Mapping[str, Any]]]) -> dict[str, Any]:
    """Return full trainings as the pilot's units: scores in `gap`, SSIM per image.

    Units name their backend, with those of others beside them.

    Parameters
    ----------
    found : sequence of (str, int, mapping)
        Form, seed and record.
    """
    units = {}
    for form, seed, record in found:
        first, *others = (_scores(one) for one in paired.by_backend(record).values())
        units[f"{form}; seed {seed}"] = paired.Finished.of(first, others)
    return units


def _scores(record: Mapping[str, Any]) -> dict[str, Any]:
    channels = record["results"]["regions"]["gap"]
    scores = {
        f"{key}_{channel}": channels[channel]["per-image"][score]
        for channel in audit_short.CHANNELS
        for key, score in (("psnr", "psnr_db"), ("ssim", "ssim"))
    }
    return scores | {"environment": record.get("environment", {})}


def comparisons(results: Mapping[str, Mapping[str, float]]) -> list[dict[str, Any]]:
    """Return PoCA minus every other form of its network, on two paired seeds or more.

    Returns
    -------
    list of dict
        ``form``, ``metric``, ``n``, ``mean`` and 95 % interval ``ci95`` (dB, or points of
        SSIM), ``detectable``: the difference that this pilot would find in 80 % of its
        repetitions, ``published``: the advantage that Table II prints, over plain attention
        for MHSA, else over no Non-Local branch, ``needed``: the seeds that would find it.
    """
    paper = compare.load_paper()
    found = []
    forms = by_form(results)
    for form, by_seed in forms.items():
        reference = f"{form.partition(', ')[0]}, PoCA"
        if form == reference:
            continue
        both = pairs(forms.get(reference, {}), by_seed)
        if len(both) < 2:
            continue
        for metric in METRICS:
            factor = 100.0 if metric.startswith("ssim") else 1.0
            values = [factor * (ours[metric] - other[metric]) for ours, other in both]
            row = "mhsa" if form.endswith(", MHSA") else "without-nlb"
            published = [
                paper[f"table2.{name}.{PUBLISHED[metric]}"].value for name in ("full", row)
            ]
            gap = None if None in published else published[0] - published[1]
            found.append({"form": form, "metric": metric, "published": gap} | interval(values, gap))
    return found


def interval(values: list[float], wanted: float | None = None) -> dict[str, Any]:
    """Return mean, 95 % interval, detectable difference, and seeds for a wanted one.

    Parameters
    ----------
    values : list of float
        Paired differences, one a seed.
    wanted : float, optional
        Difference to be found.

    Raises
    ------
    DataError
        For fewer than two values.
    """
    n = len(values)
    if n < 2:
        raise DataError(f"an interval needs at least 2 paired seeds, received {n}")
    mean, sd = float(np.mean(values)), float(np.std(values, ddof=1))
    half = float(scipy.stats.t.ppf(0.975, n - 1)) * sd / np.sqrt(n)
    return {
        "n": n,
        "mean": mean,
        "sd": sd,
        "ci95": [mean - half, mean + half],
        "excludes_zero": bool(abs(mean) > half),
        "detectable": detectable(sd, n),
        "needed": None if not wanted else needed(sd, abs(wanted)),
    }


def power(effect: float, sd: float, n: int) -> float:
    """Return the chance that a paired t-test at 5 % finds a true difference."""
    limit = scipy.stats.t.ppf(0.975, n - 1)
    shift = effect / (sd / np.sqrt(n))
    tails = scipy.stats.nct(n - 1, shift)
    return float(tails.sf(limit) + tails.cdf(-limit))


def detectable(sd: float, n: int, wanted: float = 0.8) -> float:
    """Return the difference that a paired t-test at 5 % finds with the wanted power."""
    if sd == 0:
        return 0.0
    low, high = 0.0, 200.0 * sd
    for _ in range(60):
        middle = (low + high) / 2
        low, high = (middle, high) if power(middle, sd, n) < wanted else (low, middle)
    return high


def needed(sd: float, effect: float, wanted: float = 0.8, most: int = 1000) -> int | None:
    """Return the seeds that find a difference with the wanted power; None above `most`."""
    return next((n for n in range(2, most + 1) if sd == 0 or power(effect, sd, n) >= wanted), None)
