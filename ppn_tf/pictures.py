"""Quick-look pictures: panels side by side, rows down and columns to the right as in arrays."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from ppn_tf.errors import OptionError
from ppn_tf.files import replacing

_ENDINGS = (".png", ".pdf", ".svg")
_PANEL_IN = 3.4


@dataclasses.dataclass(frozen=True, eq=False)
class Panel:
    """One picture, or a cloud of points.

    Attributes
    ----------
    title : str
        With the unit.
    values : (H, W) real, or (N, 2) (row, col) for points
    points : bool
    colours : str
        Name of a matplotlib colour map.
    signed : bool
        Colours symmetric about 0.
    """

    title: str
    values: np.ndarray
    points: bool = False
    colours: str = "viridis"
    signed: bool = False


def check_path(path: Path) -> None:
    """Refuse an ending that is no picture, before any work.

    Raises
    ------
    OptionError
    """
    if path.suffix.lower() not in _ENDINGS:
        raise OptionError(f"a picture ends in {', '.join(_ENDINGS)}, received {path}")


def draw(path: Path, panels: Sequence[Panel], title: str = "") -> None:
    """Draw panels in a row, four at most in each.

    Raises
    ------
    OptionError
        For no panel, or an ending that is no picture.
    RecordError
        If the file cannot be written.
    """
    from matplotlib.figure import Figure

    check_path(path)
    if not panels:
        raise OptionError("there is nothing to draw")
    columns = min(len(panels), 4)
    rows = -(-len(panels) // columns)
    size = (_PANEL_IN * columns, _PANEL_IN * rows + (0.4 if title else 0.0))
    figure = Figure(figsize=size, layout="constrained")
    axes = figure.subplots(rows, columns, squeeze=False).ravel()
    for axis, panel in zip(axes, panels, strict=False):
        axis.set_title(panel.title, fontsize=9)
        axis.tick_params(labelsize=7)
        if panel.points:
            axis.plot(panel.values[:, 1], panel.values[:, 0], ".", markersize=2)
            axis.set_aspect("equal")
            axis.invert_yaxis()
        else:
            limits = {}
            if panel.signed:
                largest = float(np.nanmax(np.abs(panel.values)))
                limits = {"vmin": -largest, "vmax": largest}
            drawn = axis.imshow(panel.values, cmap=panel.colours, interpolation="nearest", **limits)
            figure.colorbar(drawn, ax=axis, shrink=0.8).ax.tick_params(labelsize=7)
    for axis in axes[len(panels) :]:
        axis.set_axis_off()
    if title:
        figure.suptitle(title, fontsize=10)
    with replacing(path) as temporary:
        figure.savefig(temporary, dpi=110)


def object_panels(field: np.ndarray, name: str = "") -> list[Panel]:
    """Return amplitude and phase of a complex field as panels."""
    prefix = f"{name} " if name else ""
    return [
        Panel(f"{prefix}amplitude", np.abs(field), colours="gray"),
        Panel(f"{prefix}phase [rad]", np.angle(field), colours="twilight_shifted"),
    ]
