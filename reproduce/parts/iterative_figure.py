"""The picture of Fig. 8: SSIM, time and convergence against overlap."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from reproduce import compare, figures
from reproduce.parts.iterative_facts import CHANNEL, ENGINES, Facts, Series


def draw(here: Any, found: Facts, block: str) -> tuple[str, ...]:
    """Draw SSIM, time and convergence."""
    import matplotlib.pyplot as plt

    remarks = [
        f"(a) {block} block; (a), (b) mean and standard deviation over repeats or seeds; "
        "(c) one repeat"
    ]
    if here.session.object_name == "stand-in":
        remarks.append("stand-in object")
    if here.profile.name != "paper":
        remarks.append(f"profile {here.profile.name}: not the paper's protocol")
    with figures.styled():
        figure, axes = plt.subplots(1, 3, figsize=(figures.PAGE_IN, 2.5))
        _draw_ssim(axes[0], found, block)
        _draw_seconds(axes[1], found)
        _draw_curves(axes[2], found)
        for axis, letter in zip(axes, "abc", strict=True):
            axis.set_title(f"({letter})", loc="left")
        return figures.save(figure, here.session.out, "fig8", notes=remarks)


def _draw_ssim(axis: Any, found: Facts, block: str) -> None:
    overlaps = sorted(found.epie)
    lines = {"epie": [found.epie_ssim(overlap) for overlap in overlaps]}
    for model in ("ppn", "ppn-released"):
        if (block, model, overlaps[0], CHANNEL) in found.ppn:
            lines[model] = [found.ppn[block, model, overlap, CHANNEL] for overlap in overlaps]
    for method, series in lines.items():
        _errors(axis, overlaps, series, **figures.style(method))
    # published: two ends of ePIE, a range of PPN
    values = {k.removeprefix("claims."): v.value for k, v in compare.load_paper().items()}
    axis.axhspan(
        values["ppn_ssim_min"],
        values["ppn_ssim_max"],
        color="#D55E00",
        alpha=0.15,
        lw=0,
        label="PPN, published",
    )
    axis.plot(
        [30, 90],
        [values["epie_ssim_overlap_30"], values["epie_ssim_overlap_90"]],
        "x",
        color=figures.STYLES["epie"][0],
        label="ePIE, published",
    )
    axis.set(xlabel="overlap (%)", ylabel="SSIM, amplitude", ylim=(0, 1.02))
    axis.legend(loc="lower right")


def _draw_seconds(axis: Any, found: Facts) -> None:
    overlaps = sorted(found.epie)
    for engine, line in (("python_s", "--"), ("compiled_s", "-")):
        series = [found.seconds(overlap, engine) for overlap in overlaps]
        style = figures.style("epie") | {"label": ENGINES[engine], "linestyle": line}
        _errors(axis, overlaps, series, **style)
    for model in found.networks:
        series = [found.network_seconds(overlap, model) for overlap in overlaps]
        _errors(axis, overlaps, series, **figures.style(model))
    axis.set(xlabel="overlap (%)", ylabel="reconstruction time (s)", yscale="log")
    low, high = axis.get_ylim()
    # room for the legend above the lines
    axis.set_ylim(low, high * (high / low) ** 0.5)
    axis.legend(loc="upper left")


def _draw_curves(axis: Any, found: Facts) -> None:
    import matplotlib.pyplot as plt

    colors = plt.get_cmap("viridis")(np.linspace(0, 0.9, len(found.epie)))
    for overlap, color in zip(sorted(found.epie), colors, strict=True):
        points = found.epie[overlap]["results"]["curve"]
        axis.plot(
            [point["iterations"] for point in points],
            [point[CHANNEL] for point in points],
            color=color,
            marker="." if len(points) < 3 else None,
            label=f"{100 * overlap:.0f} %",
        )
    axis.set(xlabel="ePIE iterations", ylabel="SSIM, amplitude", ylim=(0, 1.02))
    axis.set_xlim(left=0)
    # in the order of the lines, beside them: they fill the axes
    handles, labels = axis.get_legend_handles_labels()
    axis.legend(
        handles[::-1],
        labels[::-1],
        title="overlap",
        loc="center left",
        bbox_to_anchor=(1.0, 0.5),
        handlelength=1,
    )


def _errors(axis: Any, overlaps: Sequence[float], series: Sequence[Series], **style: Any) -> None:
    axis.set_xticks([30, 50, 70, 90])
    axis.errorbar(
        [100 * overlap for overlap in overlaps],
        [one.mean for one in series],
        yerr=[one.sd or 0.0 for one in series],
        capsize=2,
        **style,
    )
