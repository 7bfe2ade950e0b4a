"""Fig. 2: the architecture as built, read from the networks themselves.

Claim      PPN has two branches, on patches and on pixels, that are fused and decoded to
           amplitude and phase (section III-B).
Command    python reproduce/fig2.py
Written    results/fig2.{json,md,png,pdf}, results/fig2-released.{png,pdf}

A drawing: every box is a layer of the network that this package trains, in the form that
the text describes and in the form that the authors released.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from reproduce.exhibit import Context, Exhibit, Output, run
from reproduce.options import run_script

if TYPE_CHECKING:
    from matplotlib.axes import Axes

    from reproduce.parts.graph import Node

#: Network to the name of its figure.
NETWORKS = {"ppn": "fig2", "ppn-released": "fig2-released"}

#: Fill of a box by a word in the layer's class; white for layers that only rearrange.
FILLS = {
    "Attention": "#F5C99B",
    "Normalization": "#E4E4E4",
    "Dense": "#BFD9EA",
    "Conv2D": "#BFD9EA",
    "Embedding": "#BFD9EA",
    "Add": "#CDE7D8",
    "Concatenate": "#CDE7D8",
}

#: Centre and half width of the columns, in units of the axes' width.
LEFT, MIDDLE, RIGHT, HALF = 0.255, 0.5, 0.745, 0.213

#: Rows that the heading of a part takes.
HEADING = 0.7


def grid(profile: Any, object_name: str, seeds: int | None) -> Any:
    """Return no runs: it is drawn from the networks."""
    return {}


def make(here: Context) -> Output:
    """Draw both networks and list what their parts hold."""
    from ppn_tf import models
    from reproduce import compare, render
    from reproduce.parts import graph

    lines = ["A drawing of the networks as built; nothing in it is a published number.", ""]
    names: list[str] = []
    extra = {}
    rows = []
    for network, name in NETWORKS.items():
        model = models.create(network)
        every = graph.nodes(model)
        names += draw(here, name, network, every)
        held = graph.parameters(every)
        total = model.count_params()
        rows.append({"network": network, **{k: f"{v:,}" for k, v in held.items()}})
        rows[-1]["all parameters"] = f"{total:,}"
        extra[network] = {"parts": held, "parameters": total, "layers": len(every)}
    lines += [render.aligned(compare.markdown_table(rows))]
    return Output("\n".join(lines), figures=names, extra={"networks": extra})


def draw(here: Context, name: str, network: str, every: Sequence[Node]) -> tuple[str, ...]:
    """Draw the layers as boxes, from the input at the top to the two images."""
    import matplotlib.pyplot as plt

    from reproduce import figures
    from reproduce.parts import graph

    last = max(node.row for node in every)
    with figures.styled():
        figure, ax = plt.subplots(figsize=(figures.PAGE_IN, 0.9 + 0.265 * (last + 2)))
        total = sum(node.parameters for node in every)
        label = figures.style(network)["label"]
        ax.set_title(f"Drawing: {label} as built, {total:,} parameters", fontsize=9)
        ax.set_axis_off()
        ax.set(xlim=(0, 1), ylim=(last + 2 * HEADING + 0.5, -0.6))
        places = {node.name: place(node, every) for node in every}
        for node in every:
            box(ax, *places[node.name], node)
            for source in node.inputs:
                connect(ax, places[source], places[node.name])
        for group, count in graph.parameters(every).items():
            first = next((node for node in every if node.group == group), None)
            if first is not None and group != graph.FUSION:
                x, y = places[first.name]
                side = "left" if x < MIDDLE else "right"
                ax.text(
                    x - HALF if side == "left" else x + HALF,
                    y - 0.42,
                    f"{group}: {count:,} parameters",
                    ha=side,
                    va="bottom",
                    fontsize=6.5,
                    fontweight="bold",
                )
        about = "box: layer, class, output shape (height x width x channels), parameters if any"
        return figures.save(figure, here.session.out, name, [f"drawing; {about}"])


def place(node: Node, every: Sequence[Node]) -> tuple[float, float]:
    """Return where the box of a layer stands: column and row, with room for headings."""
    from reproduce.parts.graph import FUSION, GROUPS

    parts = tuple(GROUPS.values())
    branches = min((other.row for other in every if other.group in parts[:2]), default=0)
    headings = 2 if node.group in parts[2:] else int(node.row >= branches)
    x = MIDDLE if node.group == FUSION else (LEFT, RIGHT)[parts.index(node.group) % 2]
    return x, node.row + HEADING * headings


def box(ax: Axes, x: float, y: float, node: Node) -> None:
    """Draw one layer."""
    from matplotlib.patches import Rectangle

    fill = next((color for word, color in FILLS.items() if word in node.kind), "white")
    ax.add_patch(
        Rectangle((x - HALF, y - 0.34), 2 * HALF, 0.68, facecolor=fill, edgecolor="0.3", lw=0.5)
    )
    ax.text(x, y, node.text, ha="center", va="center", fontsize=5)


def connect(ax: Axes, start: tuple[float, float], end: tuple[float, float]) -> None:
    """Draw an arrow; a shortcut goes around the layers that it skips."""
    look = {"arrowstyle": "-|>", "lw": 0.6, "color": "0.25", "mutation_scale": 5}
    look |= {"shrinkA": 0, "shrinkB": 0}
    (x, y), (to_x, to_y) = start, end
    if x == to_x and to_y - y > 1.5:
        # outside of the boxes, left of the left column and right of the right one
        side = -1 if x < MIDDLE else 1
        bend = side * (0.018 if to_y - y <= 3 else 0.03)
        edge = x + side * HALF
        ax.plot([edge, edge + bend, edge + bend], [y, y, to_y], color="0.25", lw=0.6)
        ax.annotate("", (edge, to_y), (edge + bend, to_y), arrowprops=look)
        return
    if x == to_x:
        ax.annotate("", (to_x, to_y - 0.34), (x, y + 0.34), arrowprops=look)
        return
    # to another column: at the inner ends of the boxes, beside the headings
    if to_x == MIDDLE:
        to_x += 0.45 * (x - MIDDLE)
    else:
        x, to_x = x + 0.6 * (to_x - x), to_x + 0.75 * (x - to_x)
    ax.annotate("", (to_x, to_y - 0.34), (x, y + 0.34), arrowprops=look)


EXHIBIT = Exhibit("fig2", "Fig. 2 (drawing)", grid, make)


def main(argv: Sequence[str] | None = None) -> None:
    """Write Fig. 2."""
    run(EXHIBIT, __doc__, argv)


if __name__ == "__main__":
    run_script(main)
