"""Fig. 1: an example diffraction pattern, its polar decomposition and its spectrum.

Claim      Diffraction patterns have a concentric geometry: their intensity falls with the
           radius and is correlated along angles (Introduction, section III-B2).
Command    python reproduce/fig1.py
Written    results/fig1.{json,md,png,pdf}

A drawing: an illustration from the data, not a compared number. The pattern is that of the
test scan point with the most edges, the same as in Fig. 3.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from reproduce.exhibit import Context, Exhibit, Output, run
from reproduce.options import run_script


def grid(profile: Any, object_name: str, seeds: int | None) -> Any:
    """Return no runs: it is drawn from the data."""
    return {}


def make(here: Context) -> Output:
    """Draw the pattern, its polar map and profiles, and its power spectrum."""
    from reproduce.parts.example_pattern import describe, pattern_of

    example = pattern_of(here.session.object_name)
    names = draw(here, example)
    lines = ["A drawing: nothing in it is compared with a published number.", ""]
    lines += [f"- {line}" for line in describe(example)]
    return Output("\n".join(lines), figures=names, extra={"position_px": example.position_px})


def draw(here: Context, example: Any) -> tuple[str, ...]:
    """Draw six panels."""
    import matplotlib.pyplot as plt
    import numpy as np

    from reproduce import figures
    from reproduce.parts import panels
    from reproduce.parts.example_pattern import BANDS

    with figures.styled():
        figure, axes = plt.subplots(2, 3, figsize=(figures.PAGE_IN, 4.9))
        figure.suptitle("Drawing: one simulated diffraction pattern", fontsize=9)
        pattern, polar, radial = axes[0]
        angular, object_axes, spectrum = axes[1]
        edge = example.log_counts.shape[0] / 2

        def bar(image: Any, ax: Any, label: str) -> None:
            made = figure.colorbar(image, ax=ax, fraction=0.046, pad=0.03)
            made.set_label(label, fontsize=7)
            made.outline.set_linewidth(0.4)

        shown = panels.draw(pattern, example.log_counts, cmap="magma")
        for _, end in BANDS:
            pattern.add_patch(
                plt.Circle((edge, edge), end * edge, fill=False, color="w", lw=0.6, ls=":")
            )
        pattern.set_title("(a) pattern, rings at 1/3, 2/3, 1")
        bar(shown, pattern, "log$_{10}$(1 + counts)")
        shown = polar.imshow(
            example.polar,
            cmap="magma",
            origin="lower",
            aspect="auto",
            extent=(0, 360, -0.5, len(example.polar) - 0.5),
        )
        polar.set(xlabel="angle (deg)", ylabel="radius (px)", title="(b) in polar coordinates")
        polar.set_xticks((0, 90, 180, 270, 360))
        bar(shown, polar, "log$_{10}$(1 + counts)")
        radial.semilogy(example.radius_px, example.radial_counts, color="k", marker="o")
        radial.set(xlabel="radius (px)", ylabel="mean counts", title="(c) radial profile")
        colors = ("#332288", "#44AA99", "#AA4499")
        for (low, high), values, color in zip(BANDS, example.angular, colors, strict=True):
            label = f"{low:.2g}-{high:.2g} of the edge"
            angular.plot(np.degrees(example.angle_rad), values, color=color, label=label)
        angular.set(xlabel="angle (deg)", ylabel="mean log$_{10}$(1 + counts)")
        angular.set_title("(d) angular profiles")
        angular.set_xticks((0, 90, 180, 270, 360))
        top = max(float(values.max()) for values in example.angular)
        angular.set_ylim(0, 1.45 * top)
        angular.legend(loc="upper center", ncols=1)
        shown = panels.draw(object_axes, example.phase_rad, cmap="gray")
        object_axes.set_title("(e) object phase in this window")
        bar(shown, object_axes, "rad")
        shown = panels.draw(spectrum, example.log_psd, cmap="magma")
        spectrum.set_title("(f) power spectrum of (a)")
        bar(shown, spectrum, "log$_{10}$ power")
        about = "drawing: an illustration from the data, no published number"
        return figures.save(figure, here.session.out, "fig1", [about, *panels.notes(here)])


EXHIBIT = Exhibit("fig1", "Fig. 1 (drawing)", grid, make)


def main(argv: Sequence[str] | None = None) -> None:
    """Write Fig. 1."""
    run(EXHIBIT, __doc__, argv)


if __name__ == "__main__":
    run_script(main)
