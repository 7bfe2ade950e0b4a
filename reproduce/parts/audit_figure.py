"""Figures of the audit: the branch over steps, radial weights, SSIM conventions, search."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from reproduce import figures
from reproduce.parts import audit_polar, audit_protocol

#: Drawn radii begin here [px]: below lies the pole.
_FIRST_PX = 0.5


def network(
    out: Path, measured: Mapping[str, Any], polar: Mapping[str, Any], notes: Sequence[str]
) -> tuple[str, ...]:
    """Draw the branch's spread by step, and both radial weights by radius."""
    import matplotlib.pyplot as plt

    with figures.styled():
        figure, (left, right) = plt.subplots(1, 2, figsize=(figures.PAGE_IN, 2.6))
        _branch(left, measured["series"])
        _weights(right, polar)
        return figures.save(figure, out, "audit-network", notes)


def _branch(axes: Any, series: Mapping[str, Any]) -> None:
    looks = {
        "ppn-released": figures.style("ppn-released"),
        "ppn-released repaired": {"color": "#0072B2", "marker": "^", "label": "released, repaired"},
        "ppn": figures.style("ppn"),
    }
    for name, look in looks.items():
        for seed, one in series[name].items():
            steps = list(one["steps"])
            ratios = [value["sd"] / value["level"] for value in one["steps"].values()]
            label = look["label"] if seed == 0 else None
            axes.plot(steps, ratios, **(look | {"label": label}), linestyle=("-", "--")[seed % 2])
    axes.set_yscale("log")
    axes.set_xscale("symlog", linthresh=1)
    axes.set_xticks(steps, [str(step) for step in steps])
    axes.minorticks_off()
    axes.set_xlim(-0.15, 20)
    axes.set_ylim(1e-7, 3)
    axes.set_xlabel("Adam steps")
    axes.set_ylabel("branch: sd over images / rms")
    axes.legend(loc="center right", bbox_to_anchor=(1.0, 0.42))
    axes.set_title("What the Non-Local branch tells the fusion")


def _weights(axes: Any, polar: Mapping[str, Any]) -> None:
    radii = np.linspace(_FIRST_PX, polar["radii_px"][-1], 200)
    for form, method, name in (
        ("released", "ppn-released", "released"),
        ("paper", "ppn", "section III-B"),
    ):
        look = figures.style(method)
        axes.plot(radii, audit_polar.weights(form, radii), color=look["color"], label=name)
        axes.plot(0, polar[form][0], color=look["color"], marker=look["marker"], clip_on=False)
    axes.axhline(0, color="0.7", linewidth=0.6)
    axes.annotate(
        f"centre pixel, released: {polar['centre']:.2f}",
        (0, polar["centre"]),
        (2.0, polar["centre"]),
        va="center",
        fontsize=7,
    )
    axes.set_xlabel("distance of the key from the centre (px)")
    axes.set_ylabel("radial weight")
    axes.legend(loc="upper right")
    axes.set_title("Weight of a key")


def ssim(out: Path, scored: Sequence[Mapping[str, Any]], notes: Sequence[str]) -> tuple[str, ...]:
    """Draw SSIM of every degradation under each convention."""
    import matplotlib.pyplot as plt

    looks = (
        ("per-image", "per image", "#009E73", "o"),
        ("field", "stitched field", "#0072B2", "^"),
        ("flattened", "flattened, scan order", "#D55E00", "s"),
    )
    with figures.styled():
        figure, panels = plt.subplots(1, 2, figsize=(figures.PAGE_IN, 2.9), sharey=True)
        for axes, channel in zip(panels, ("amplitude", "phase"), strict=True):
            chosen = [one for one in scored if one["channel"] == channel]
            rows = np.arange(len(chosen))
            low, high = np.array([one["flattened_orders"] for one in chosen]).T
            middle = (low + high) / 2
            axes.errorbar(
                middle,
                rows,
                xerr=high - middle,
                fmt="x",
                color="#CC79A7",
                label="flattened, shuffled",
            )
            for key, label, color, marker in looks:
                values = [one[key] for one in chosen]
                axes.plot(values, rows, marker, color=color, label=label, linestyle="none")
            axes.set_xlim(0, 1.02)
            axes.set_xlabel("SSIM")
            axes.set_title(channel)
            axes.grid(axis="y", color="0.9", linewidth=0.5)
        panels[0].set_yticks(rows, [one["degradation"] for one in chosen])
        panels[0].invert_yaxis()
        figure.legend(*panels[0].get_legend_handles_labels(), loc="outside upper center", ncols=4)
        return figures.save(figure, out, "audit-ssim", notes)


def search(
    out: Path,
    distances: Mapping[str, Mapping[str, audit_protocol.Distance]],
    notes: Sequence[str],
    selected: str | None = None,
) -> tuple[str, ...]:
    """Draw the distances of the protocol search as a heatmap; nothing without a run.

    The row of the selected combination has a frame.
    """
    import matplotlib.pyplot as plt

    if not distances:
        return ()
    networks = [n for n in audit_protocol.NETWORKS if any(n in one for one in distances.values())]
    columns = [(n, family) for n in networks for family in audit_protocol.FAMILIES]
    values = np.full((len(distances), len(columns)), np.nan)
    for row, by_model in enumerate(distances.values()):
        for column, (name, family) in enumerate(columns):
            found = by_model[name].family(family) if name in by_model else None
            values[row, column] = np.nan if found is None else found
    # Table II has no MSE
    known = np.isfinite(values).any(axis=0)
    values = values[:, known]
    columns = [column for column, any_value in zip(columns, known, strict=True) if any_value]
    with figures.styled():
        height = 1.2 + 0.17 * len(distances)
        figure, axes = plt.subplots(figsize=(figures.PAGE_IN, height))
        picture = axes.imshow(values, aspect="auto", cmap="viridis_r", vmin=0, vmax=5)
        names = [audit_protocol.title(name).replace(", ", ",\n") for name, _ in columns]
        labels = [
            f"{name}\n{family.upper()}" for name, (_, family) in zip(names, columns, strict=True)
        ]
        axes.set_xticks(range(len(columns)), labels)
        axes.set_yticks(range(len(distances)), list(distances))
        for (row, column), value in np.ndenumerate(values):
            if np.isfinite(value):
                color = "white" if value > 2.5 else "black"
                axes.text(
                    column, row, f"{value:.1f}", ha="center", va="center", fontsize=6, color=color
                )
        if selected in distances:
            row = list(distances).index(selected)
            corner, size = (-0.5, row - 0.5), (len(columns), 1)
            axes.add_patch(plt.Rectangle(corner, *size, fill=False, color="#D55E00", linewidth=2))
        bar = figure.colorbar(picture, ax=axes, extend="max")
        bar.set_label("distance / published gap from PPN to the best CNN")
        return figures.save(figure, out, "audit-search", notes)
