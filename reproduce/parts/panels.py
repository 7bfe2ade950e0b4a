"""Images side by side: truth, predictions and their errors in one scale."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

    from reproduce.exhibit import Context

#: Error shown in full colour, by channel, on the target scale.
ERROR_LIMIT = {"amplitude": 1.0, "phase": 0.5}


def rows_of_images(
    figure: Figure,
    axes: np.ndarray,
    truth: np.ndarray,
    predictions: Mapping[str, np.ndarray],
    channel: str,
    label: str,
) -> None:
    """Fill two rows of axes: truth and predictions, and prediction minus truth below.

    Parameters
    ----------
    figure : Figure
    axes : (2, 1 + methods) array of Axes
    truth : (H, W) float
        On the target scale.
    predictions : mapping
        Method to its image.
    channel : str
    label : str
        What the rows show, left of them.
    """
    limit = ERROR_LIMIT[channel]
    top, bottom = axes
    shown = draw(top[0], truth, cmap="gray", vmin=0.0, vmax=1.0)
    bottom[0].axis("off")
    for upper, lower, image in zip(top[1:], bottom[1:], predictions.values(), strict=True):
        draw(upper, image, cmap="gray", vmin=0.0, vmax=1.0)
        error = draw(lower, image - truth, cmap="RdBu_r", vmin=-limit, vmax=limit)
    top[0].set_ylabel(f"{label}\n{channel}")
    # below the truth there is room for words
    bottom[0].text(
        0.97,
        0.5,
        "error\n(prediction\n- truth)",
        ha="right",
        va="center",
        fontsize=7,
        transform=bottom[0].transAxes,
    )
    for row, image, ticks in (
        (top, shown, (0, 0.5, 1)),
        (bottom, error, (-limit, 0, limit)),
    ):
        bar = figure.colorbar(image, ax=list(row), fraction=0.025, pad=0.01, aspect=12)
        bar.set_ticks(ticks)
        bar.ax.tick_params(labelsize=6)
        bar.outline.set_linewidth(0.4)


def notes(here: Context) -> list[str]:
    """Say below a figure that it is no reproduction, where it is none."""
    from reproduce.options import STAND_IN

    lines = [STAND_IN] if here.session.object_name == "stand-in" else []
    if here.profile.name != "paper":
        lines.append(f"profile {here.profile.name}: not the paper's protocol")
    return lines


def draw(axes: Axes, image: np.ndarray, **options: Any) -> Any:
    """Show an image without ticks, in a thin frame."""
    axes.set_xticks([])
    axes.set_yticks([])
    for side in axes.spines.values():
        side.set_visible(True)
        side.set_linewidth(0.4)
    return axes.imshow(image, **options)


def titles(axes: Sequence[Axes], names: Sequence[str]) -> None:
    """Name the columns."""
    for ax, name in zip(axes, names, strict=True):
        ax.set_title(name)
