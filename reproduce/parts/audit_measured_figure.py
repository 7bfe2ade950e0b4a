"""Figure of the audit's measurements: shifted patterns, receptive fields, forms of PoCA."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from reproduce import figures
from reproduce.parts import audit_fields, audit_pilot, audit_shift
from reproduce.parts.audit_records import results

#: Metric of the panel on PoCA.
METRIC = "psnr_amplitude"

#: Where a legend covers no curve.
BELOW = {"loc": "upper center", "bbox_to_anchor": (0.5, -0.2), "ncols": 2, "fontsize": 5.5}


def draw(
    out: Path, records: Mapping[str, Mapping[str, Any] | None], notes: Sequence[str]
) -> tuple[str, ...]:
    """Draw a panel for every record that is there; nothing without one.

    Parameters
    ----------
    out : Path
    records : mapping
        ``shift``, ``fields`` and ``poca``.
    notes : sequence of str
    """
    import matplotlib.pyplot as plt

    panels = {"shift": _shift, "fields": _fields, "poca": _poca}
    there = [name for name in panels if records.get(name)]
    if not there:
        return ()
    with figures.styled():
        figure, axes = plt.subplots(
            1,
            len(there),
            figsize=(figures.PAGE_IN, 3.1),
            squeeze=False,
            width_ratios=[1.0 if name != "poca" else 1.1 for name in there],
        )
        for name, panel in zip(there, axes[0], strict=True):
            panels[name](panel, results(records[name]))
        return figures.save(figure, out, "audit-measured", notes)


def _shift(axes: Any, found: Mapping[str, Any]) -> None:
    for layer, color, marker in zip(audit_shift.LAYERS, ("#0072B2", "#D55E00"), "os", strict=True):
        for axis, filled in ((1, color), (0, "none")):
            pairs = [
                (float(key.split()[0]), one["centers_px"][-1][layer][axis])
                for key, one in found.items()
            ]
            name = layer.removesuffix("_attention").replace("nonlocal_", "block ")
            label = f"{name}, {('across', 'along')[axis]}"
            axes.plot(
                *np.transpose(pairs), marker, color=color, mfc=filled, linestyle="none", label=label
            )
    ends = np.array([0, max(audit_shift.SHIFTS_PX)])
    axes.plot(ends, ends, color="0.6", linewidth=0.8, label="follows the shift")
    walk = audit_shift.walk_px()
    axes.axhspan(-walk, walk, color="0.92", zorder=0, label="noise alone, 1 sd")
    axes.set_xlabel("shift of the patterns (px)")
    axes.set_ylabel("centre after training (px)")
    axes.legend(**BELOW)
    axes.set_title("Does the centre follow?")


def _fields(axes: Any, found: Mapping[str, Any]) -> None:
    dashed = {"ppn without NLB", "ppn-released without NLB"}
    for name, one in found.items():
        if "profile" not in one:
            continue
        method = name.partition(" ")[0]
        look = figures.style(method)
        axes.plot(
            one["profile"],
            color=look["color"],
            linestyle="--" if name in dashed else "-",
            label=name.replace(" without ", ", no "),
        )
    even = np.ones((audit_fields.SIDE_PX, audit_fields.SIDE_PX))
    axes.plot(audit_fields.profile(even), color="0.6", linewidth=0.8, label="even spread")
    axes.axhline(audit_fields.SHARE, color="0.8", linewidth=0.6)
    axes.set_xlabel("radius about the middle (px)")
    axes.set_ylabel("share of the squared derivative")
    axes.legend(**BELOW)
    axes.set_title("What the output depends on")


def _poca(axes: Any, found: Mapping[str, Any]) -> None:
    chosen = [one for one in audit_pilot.comparisons(found) if one["metric"] == METRIC]
    for row, one in enumerate(chosen):
        color = figures.style("ppn" if one["form"].startswith("ppn") else "ppn-released")["color"]
        low, high = one["ci95"]
        axes.plot([low, high], [row, row], color=color)
        axes.plot(one["mean"], row, "o", color=color)
        if one["published"]:
            axes.plot(
                one["published"],
                row,
                "|",
                color="0.3",
                label="" if row else "Table II: MHSA, else no NLB",
            )
    axes.axvline(0, color="0.6", linewidth=0.6)
    axes.set_yticks(range(len(chosen)), [one["form"] for one in chosen], fontsize=5.5)
    axes.set_ylim(len(chosen) - 0.5, -1)
    axes.set_xlabel("amplitude PSNR,\nPoCA minus the other (dB)")
    axes.set_title("PoCA against other forms (pilot)")
    if chosen and chosen[0]["published"]:
        # below an axis label of two lines
        axes.legend(**BELOW | {"bbox_to_anchor": (0.5, -0.3)})
