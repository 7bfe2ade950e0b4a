"""What Table IV and Fig. 11 say about losses beyond scores: curves, gain and offset, trends."""

from __future__ import annotations

import statistics
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np

from ppn_tf import affine, data, losses, metrics, npzfile
from ppn_tf.scaling import Scaling
from reproduce import protocol, tables
from reproduce.evaluate import CHANNELS, FIGURE_REGION
from reproduce.experiments import Block
from reproduce.runs import RunStore
from reproduce.specification import RunSpec

Record = dict[str, Any]

#: Gains and offsets of the affine table, on the [0, 1] target scale.
CHANGES = ((1.2, 0.0), (0.8, 0.0), (1.0, 0.1), (1.0, -0.1), (0.8, 0.1))

#: A curve has converged when all but this share of its drop is done.
REMAINING = 0.05


def targets(
    prepared: protocol.Prepared, indices: np.ndarray, scaling: Scaling | None = None
) -> dict[str, np.ndarray]:
    """Return the targets of some patches by channel, (N, H, W) float32 on [0, 1]."""
    scaling = scaling or prepared.scaling
    return {
        "amplitude": scaling.target_amplitude(prepared.dataset.amplitude[indices]),
        "phase": scaling.target_phase(prepared.dataset.phase[indices]),
    }


def affine_table(names: Sequence[str], prepared: protocol.Prepared) -> list[dict[str, Any]]:
    """Return what each loss charges for a wrong gain and offset of perfect predictions.

    On the targets of region ``gap``. `share` sets it in relation to what the loss charges
    for a prediction that is the mean value everywhere, so that losses of different units
    can be compared: 0 is invariant, 1 as bad as no image.
    """
    found = []
    truth = targets(prepared, data.region_indices(prepared.dataset, "gap"))
    for channel, images in truth.items():
        mean = float(images.mean(dtype=np.float64))
        for name in names:
            best = affine.response(name, images, 1.0, 0.0)
            span = affine.response(name, images, 0.0, mean) - best
            for gain, offset in CHANGES:
                loss = affine.response(name, images, gain, offset)
                entry = {"channel": channel, "loss": name, "gain": gain, "offset": offset}
                found.append(
                    entry | {"value": loss, "perfect": best, "share": (loss - best) / span}
                )
    return found


def constant_shares(prepared: protocol.Prepared) -> dict[str, float]:
    """Return the share of training patches whose target is constant, by channel.

    Constant to NPCC, that is with a variance below its epsilon: such a patch gives it no
    gradient.
    """
    epsilon = losses.NPCC().epsilon
    return {
        channel: float(np.mean(images.var(axis=(1, 2), dtype=np.float64) < epsilon))
        for channel, images in targets(prepared, prepared.train).items()
    }


def convergence(history: Sequence[Mapping[str, float]]) -> dict[str, float | int] | None:
    """Describe a validation curve without the unit of its loss.

    Parameters
    ----------
    history : sequence of mappings
        From a record.

    Returns
    -------
    dict or None
        ``epochs_to_95`` (first epoch within 5 % of the curve's drop, first to best epoch,
        above the best), ``rises`` (epochs that end above the one before), ``largest_rise``
        (as a share of the drop) and ``last_learning_rate``; None for a curve that never
        drops.
    """
    values = [epoch["val_loss"] for epoch in history]
    drop = values[0] - min(values) if values else 0.0
    if drop <= 0:
        return None
    rises = [b - a for a, b in zip(values, values[1:], strict=False) if b > a]
    limit = min(values) + REMAINING * drop
    return {
        "epochs_to_95": next(e["epoch"] for e in history if e["val_loss"] <= limit),
        "rises": len(rises),
        "largest_rise": max(rises, default=0.0) / drop,
        "last_learning_rate": history[-1]["learning_rate"],
    }


def mean_convergence(records: Mapping[int, Record]) -> dict[str, float] | None:
    """Return `convergence` averaged over seeds; None without a curve that drops."""
    curves = [convergence(record["results"]["history"]) for record in records.values()]
    curves = [curve for curve in curves if curve is not None]
    if not curves:
        return None
    means = {key: statistics.fmean(curve[key] for curve in curves) for key in curves[0]}
    return means | {"curves": len(curves)}


def without_affine(
    store: RunStore, spec: RunSpec, record: Record, prepared: protocol.Prepared
) -> dict[str, dict[str, float]] | None:
    """Return the PSNR of a run's kept predictions, and after the best gain and offset.

    Parameters
    ----------
    store : RunStore
    spec : RunSpec
    record : dict
    prepared : Prepared
        Data of a run on the same scan.

    Returns
    -------
    dict or None
        Channel to ``psnr_db`` and ``psnr_db_without_affine`` in the figure region, from
        float16 predictions; None where they are not kept.
    """
    path = store.path(spec, "npz")
    if not path.exists():
        return None
    indices = data.region_indices(prepared.dataset, FIGURE_REGION)
    scaling = Scaling.from_dict(record["results"]["scaling"])
    truth = targets(prepared, indices, scaling)
    found = {}
    kept = npzfile.read(path, CHANNELS)
    for channel in CHANNELS:
        prediction, target = kept[channel][..., None], truth[channel][..., None]
        fitted = affine.remove(prediction, target)
        found[channel] = {
            "psnr_db": metrics.psnr(prediction, target, data_range=1.0),
            "psnr_db_without_affine": metrics.psnr(fitted, target, data_range=1.0),
        }
    return found


def trend(
    runs: Mapping[float, Record], block: Block, claimed: tuple[float, float]
) -> dict[str, dict[str, Any]]:
    """Say how scores follow alpha, in both readings.

    Parameters
    ----------
    runs : mapping
        Weight of NSSIM to the record of one seed. The ends, 0 and 1, are no combination
        and are left out.
    block : Block
        Scores the runs.
    claimed : (float, float)
        Alphas between which the paper sees consistent improvement.

    Returns
    -------
    dict
        Reading (``"nssim"`` or ``"mse"``, what alpha weights) to ``best`` (alpha with the
        best sum of ranks over the four scores), ``min`` and ``max`` (ends of the longest
        range over which all four rise), ``steps`` (number of steps within the claimed
        range), ``steps_up`` (of these, by metric, those that rise) and ``range`` (largest
        less smallest score, by metric); None and 0 where there are too few runs.
    """
    found = {}
    for reading in ("nssim", "mse"):
        alphas = {
            round(weight if reading == "nssim" else 1 - weight, 6): record
            for weight, record in runs.items()
            if 0 < weight < 1
        }
        ordered = sorted(alphas)
        scores = np.array(
            [[tables.value(alphas[a], block, metric) for metric in tables.SHORT] for a in ordered]
        ).reshape(-1, len(tables.SHORT))
        rise = longest_rise(scores)
        inside = [claimed[0] - 1e-9 <= alpha <= claimed[1] + 1e-9 for alpha in ordered]
        steps = np.diff(scores[inside], axis=0) > 0
        span = np.ptp(scores, axis=0) if len(scores) else np.zeros(len(tables.SHORT))
        found[reading] = {
            "best": ordered[best_on_average(scores)] if len(ordered) > 1 else None,
            "min": None if rise is None else ordered[rise[0]],
            "max": None if rise is None else ordered[rise[1]],
            "steps": len(steps),
            "steps_up": dict(zip(tables.SHORT, steps.sum(axis=0).tolist(), strict=True)),
            "range": dict(zip(tables.SHORT, span.tolist(), strict=True)),
        }
    return found


def seed_spread(groups: Iterable[Mapping[int, Record]], block: Block) -> dict[str, float | None]:
    """Return the standard deviation over seeds by metric, pooled over groups of runs.

    None without a group of two seeds.
    """
    groups = [list(group.values()) for group in groups if len(group) > 1]
    freedom = sum(len(group) - 1 for group in groups)
    found: dict[str, float | None] = {}
    for metric in tables.SHORT:
        values = [[tables.value(record, block, metric) for record in group] for group in groups]
        squares = sum(statistics.variance(group) * (len(group) - 1) for group in values)
        found[metric] = (squares / freedom) ** 0.5 if freedom else None
    return found


def longest_rise(values: np.ndarray) -> tuple[int, int] | None:
    """Return first and last index of the longest run over which every column rises.

    Parameters
    ----------
    values : (weights, metrics) float

    Returns
    -------
    (int, int) or None
        None where no step raises all columns; the first of several equally long runs.
    """
    best, start = None, 0
    for index in range(1, len(values)):
        if not (values[index] > values[index - 1]).all():
            start = index
        elif best is None or index - start > best[1] - best[0]:
            best = (start, index)
    return best


def best_on_average(values: np.ndarray) -> int:
    """Return the index of the row whose ranks, added over the columns, are best.

    Parameters
    ----------
    values : (weights, metrics) float
        Larger is better; of equals the first.
    """
    ranks = np.argsort(np.argsort(-values, axis=0, kind="stable"), axis=0)
    return int(np.argmin(ranks.sum(axis=1)))
