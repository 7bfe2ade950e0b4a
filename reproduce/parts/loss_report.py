"""Text and curves of Table IV and Fig. 11."""

from __future__ import annotations

import math
import statistics
from collections.abc import Mapping, Sequence
from typing import Any

from reproduce import compare, figures, render, tables
from reproduce.exhibit import Context
from reproduce.experiments import Block

Runs = Mapping[str, Mapping[int, dict[str, Any]]]


def notes(here: Context) -> list[str]:
    """Return what a figure must say of its data, in lines."""
    found = ["stand-in object"] if here.session.object_name == "stand-in" else []
    if here.profile.name != "paper":
        found.append(f"profile {here.profile.name}: not the paper's protocol")
    return found


def convergence_text(records: Runs, curves: Mapping[str, Any], block: Block) -> list[str]:
    """Say how each loss converged, and how far seeds lie apart.

    Parameters
    ----------
    records : mapping
        Loss, seed to record.
    curves : mapping
        Loss to `loss_analysis.mean_convergence`.
    block : Block
        Scores the runs.
    """
    head = [
        f"## Convergence (PPN, {block.name} block)",
        "",
        "Validation curves without their units: a drop is from the first epoch to the best; "
        "means over seeds. SD: standard deviation of a score over seeds.",
        "",
    ]
    rows = []
    for name, runs in records.items():
        curve = curves[name] or {}
        row = {"loss": name, "n": str(len(runs))}
        for key, heading, factor, form in (
            ("epochs_to_95", "epochs to 95 % of the drop", 1, ".1f"),
            ("rises", "epochs that rise", 1, ".1f"),
            ("largest_rise", "largest rise (% of the drop)", 100, ".1f"),
            ("last_learning_rate", "last learning rate", 1, ".1e"),
        ):
            row[heading] = f"{factor * curve[key]:{form}}" if key in curve else "-"
        for metric in tables.SHORT:
            values = [tables.value(record, block, metric) for record in runs.values()]
            spread = f"{statistics.stdev(values):.2f}" if len(values) > 1 else "-"
            row[f"SD {tables.HEADINGS[metric]}"] = spread
        rows.append(row)
    if not rows:
        return [*head, "No run is there yet.", ""]
    return [*head, render.aligned(compare.markdown_table(rows))]


def affine_text(responses: Sequence[Mapping[str, Any]], shares: Mapping[str, float]) -> list[str]:
    """Say what each loss charges for a wrong gain and offset.

    Parameters
    ----------
    responses : sequence of mappings
        From `loss_analysis.affine_table`.
    shares : mapping
        From `loss_analysis.constant_shares`.
    """
    rows: dict[tuple[str, str], dict[str, str]] = {}
    every: dict[tuple[str, str], list[float]] = {}
    for entry in responses:
        key = entry["channel"], entry["loss"]
        row = rows.setdefault(key, {"channel": key[0], "loss": key[1]})
        # adding 0 turns -0.0 into 0.0
        percent = round(100 * entry["share"], 1) + 0.0
        row[f"{entry['gain']:g}x{entry['offset']:+g}".removesuffix("+0")] = f"{percent:.1f}"
        every.setdefault(key, []).append(percent)
    for key, values in every.items():
        rows[key]["mean"] = f"{statistics.fmean(values):.1f}"
    constant = ", ".join(f"{100 * share:.1f} % ({name})" for name, share in shares.items())
    said = ", ".join(
        f"{loss} {rows[channel, loss]['mean']} % ({channel})"
        for channel in shares
        for loss in ("mse", "nssim")
    )
    return [
        "## Gain and offset",
        "",
        "What a loss charges for gain x + offset of a perfect prediction x, in percent of what "
        "it charges for the mean value everywhere (targets of region gap; 0 is invariant). A "
        "factor before a loss does not enter: `huber`, half the MSE here, equals `mse`.",
        "",
        render.aligned(compare.markdown_table(list(rows.values()))),
        f"The paper calls MSE sensitive to affine changes and NSSIM invariant. Mean here: {said}.",
        "",
        f"Training patches whose target is constant, so that NPCC has no gradient: {constant}.",
        "",
    ]


def removed_text(removed: Mapping[str, Sequence[Mapping[str, Any]]]) -> list[str]:
    """Say how much of each loss's error is gain and offset.

    Parameters
    ----------
    removed : mapping
        Loss to what `loss_analysis.without_affine` gives for its runs.
    """
    rows = []
    for name, runs in removed.items():
        if not runs:
            continue
        row = {"loss": name, "n": str(len(runs))}
        for channel in ("amplitude", "phase"):
            for key, what in (("psnr_db", ""), ("psnr_db_without_affine", ", fitted")):
                mean = statistics.fmean(scores[channel][key] for scores in runs)
                row[f"PSNR {channel}{what} (dB)"] = f"{mean:.2f}"
        rows.append(row)
    if not rows:
        return []
    return [
        "PSNR in region lower-right as predicted, and fitted: after the gain and offset of each "
        "patch that fit the truth best. A large step says that an error is gain and offset, not "
        "structure; the fit uses the truth and is no reconstruction.",
        "",
        render.aligned(compare.markdown_table(rows)),
    ]


def draw_curves(here: Context, name: str, records: Runs) -> Sequence[str]:
    """Draw validation curves, a panel a loss and a line a seed; return the file names."""
    import matplotlib.pyplot as plt

    columns = min(4, len(records))
    rows = -(-len(records) // columns)
    with figures.styled():
        figure, axes = plt.subplots(
            rows,
            columns,
            # the note below needs the width of two panels
            figsize=(figures.PAGE_IN * max(columns, 2) / 4, 1.6 * rows + 0.2),
            squeeze=False,
        )
        for panel in axes.flat[len(records) :]:
            panel.set_axis_off()
        for panel, (loss, runs) in zip(axes.flat, records.items(), strict=False):
            for shade, (_, record) in enumerate(sorted(runs.items())):
                history = record["results"]["history"]
                panel.plot(
                    [epoch["epoch"] for epoch in history],
                    [epoch["val_loss"] for epoch in history],
                    color=figures.style("ppn")["color"],
                    alpha=max(0.3, 1 - 0.25 * shade),
                    marker="o" if len(history) == 1 else None,
                )
            panel.set_title(loss)
            panel.set_xlabel("epoch")
            panel.xaxis.get_major_locator().set_params(integer=True)
        for panel in axes[:, 0]:
            panel.set_ylabel("validation loss")
        said = ["one line a seed, amplitude and phase added, each loss in its own unit"]
        return figures.save(figure, here.session.out, name, [*said, *notes(here)])


def trend_text(
    trend: Mapping[str, Mapping[str, Any]],
    spread: Mapping[str, float | None],
    claimed: tuple[float, float],
) -> list[str]:
    """Say whether scores improve with alpha, beside what the seed alone changes.

    Parameters
    ----------
    trend : mapping
        From `loss_analysis.trend`.
    spread : mapping
        From `loss_analysis.seed_spread`.
    claimed : (float, float)
        Range of alpha in the paper's claim.
    """
    rows = []
    for metric in tables.SHORT:
        sd = spread[metric]
        row = {"score": tables.HEADINGS[metric]}
        for reading, found in trend.items():
            steps = f"{found['steps_up'][metric]} of {found['steps']}"
            row[f"steps up, alpha weights {reading.upper()}"] = steps
        row["largest - smallest"] = f"{trend['nssim']['range'][metric]:.2f}"
        row["SD over seeds"] = "-" if sd is None else f"{sd:.2f}"
        rows.append(row)
    lines = [
        f"The paper: consistent improvement as alpha increases from {claimed[0]} to {claimed[1]}. "
        "Steps from one alpha to the next within that range that raise a score, one seed for "
        "all; the spread over seeds, pooled over the weights that have several, says which steps "
        "mean something:",
        "",
        render.aligned(compare.markdown_table(rows)),
    ]
    for reading, found in trend.items():
        best = "-" if found["best"] is None else f"{found['best']:g}"
        rise = "none" if found["min"] is None else f"{found['min']:g} to {found['max']:g}"
        lines.append(
            f"- alpha weights {reading.upper()}: best sum of ranks over the four scores at "
            f"{best}; longest range over which all four rise: {rise}"
        )
    return [*lines, ""]


def draw_sweep(here: Context, name: str, runs: Runs, seed: int, block: Block) -> Sequence[str]:
    """Draw the four scores against the weight of NSSIM; return the file names.

    Parameters
    ----------
    here : Context
    name : str
        Of the figure's files.
    runs : mapping
        Weight of NSSIM, seed to record.
    seed : int
        Seed that all weights share: the line. Other seeds are open points.
    block : Block
        Scores the runs.
    """
    import matplotlib.pyplot as plt

    paper = compare.load_paper()
    color = figures.style("ppn")["color"]
    with figures.styled():
        figure, axes = plt.subplots(2, 2, figsize=(figures.PAGE_IN * 0.75, 4.2), sharex=True)
        order = ("psnr_amp", "psnr_phase", "ssim_amp", "ssim_phase")
        for panel, metric in zip(axes.flat, order, strict=True):
            for weight, found in runs.items():
                others = [tables.value(r, block, metric) for s, r in found.items() if s != seed]
                panel.plot([weight] * len(others), others, "o", color=color, mfc="none", alpha=0.6)
            # no line over weights without a run
            values = [
                tables.value(found[seed], block, metric) if seed in found else math.nan
                for found in runs.values()
            ]
            panel.plot(list(runs), values, "o-", color=color)
            value = paper[f"table4.combined.{metric}"].value
            # as text: a line that far off would flatten the curve
            published = f"published: {value:{tables.FORMATS[metric]}}"
            panel.set_ylabel(f"{tables.HEADINGS[metric]}\n{published}")
            panel.set_xlim(-0.04, 1.04)
            panel.set_xticks([0, 0.2, 0.4, 0.6, 0.8, 1])
        for panel in axes[1]:
            panel.set_xlabel("weight of NSSIM\n(alpha, if it weights NSSIM)")
        for panel in axes[0]:
            other = panel.secondary_xaxis("top", functions=(_mirrored, _mirrored))
            other.set_xlabel("weight of MSE\n(alpha, if it weights MSE)")
            other.set_xticks([0, 0.2, 0.4, 0.6, 0.8, 1])
        said = [
            f"PPN, {block.name} block; filled: seed {seed}, open: other seeds; 0 is MSE, "
            "1 is NSSIM alone",
            "published: combined loss in Table IV (its alpha is lost)",
        ]
        return figures.save(figure, here.session.out, name, [*said, *notes(here)])


def _mirrored(x: Any) -> Any:
    return 1 - x
