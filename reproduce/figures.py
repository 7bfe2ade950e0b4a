"""One style for all figures: sizes of a printed column, one colour per method."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ppn_tf.files import replacing

if TYPE_CHECKING:
    from matplotlib.figure import Figure

#: Widths of a figure in inches: one column and two columns of a journal page.
COLUMN_IN = 3.5
PAGE_IN = 7.2

#: Colours that colour-blind readers tell apart (Okabe and Ito, 2008), in the order of
#: the methods; a marker each, for print without colour.
STYLES = {
    "truth": ("#000000", "none"),
    "ppn": ("#D55E00", "o"),
    "ppn-released": ("#E69F00", "s"),
    "ptychonn": ("#0072B2", "^"),
    "ptynet": ("#009E73", "v"),
    "dpi": ("#CC79A7", "D"),
    "ptychoformer": ("#56B4E9", "P"),
    "segformer": ("#882255", "X"),
    "transunet": ("#999933", "<"),
    "epie": ("#555555", "*"),
}
_OTHERS = (("#332288", "h"), ("#44AA99", "d"), ("#AA4499", ">"), ("#117733", "p"))

#: Names as figures print them.
NAMES = {
    "truth": "ground truth",
    "ppn": "PPN (III-B)",
    "ppn-released": "PPN (released)",
    "ptychonn": "PtychoNN",
    "ptynet": "PtyNet",
    "dpi": "DPI",
    "ptychoformer": "PtychoFormer",
    "segformer": "SegFormer-style",
    "transunet": "TransUNet-style",
    "epie": "ePIE",
}


def style(method: str) -> dict[str, Any]:
    """Return colour, marker and label of a method, for ``Axes.plot``."""
    position = sum(map(ord, method)) % len(_OTHERS)
    color, marker = STYLES.get(method, _OTHERS[position])
    return {"color": color, "marker": marker, "label": NAMES.get(method, method)}


@contextlib.contextmanager
def styled() -> Iterator[None]:
    """Draw in the common style, without a display."""
    import matplotlib

    matplotlib.use("Agg")
    with matplotlib.rc_context(
        {
            "figure.constrained_layout.use": True,
            "figure.dpi": 150,
            "savefig.dpi": 300,
            "font.family": "DejaVu Sans",
            "font.size": 8,
            "axes.titlesize": 8,
            "axes.labelsize": 8,
            "xtick.labelsize": 7,
            "ytick.labelsize": 7,
            "legend.fontsize": 7,
            "legend.frameon": False,
            "lines.linewidth": 1.2,
            "lines.markersize": 3.5,
            "axes.linewidth": 0.6,
            "axes.spines.top": False,
            "axes.spines.right": False,
            "image.interpolation": "nearest",
            # text in a PDF stays text
            "pdf.fonttype": 42,
        }
    ):
        yield


def save(figure: Figure, out: Path, name: str, notes: Sequence[str] = ()) -> tuple[str, ...]:
    """Write a figure as PNG and PDF; return the two file names.

    Parameters
    ----------
    figure : matplotlib.figure.Figure
    out : Path
        Folder.
    name : str
        File name without its ending.
    notes : sequence of str
        Lines below the figure in small print, such as "stand-in object".
    """
    import matplotlib.pyplot as plt

    if notes:
        figure.supxlabel("\n".join(notes), fontsize=6, color="0.35")
    names = []
    for ending in ("png", "pdf"):
        with replacing(Path(out) / f"{name}.{ending}") as temporary:
            # a date in the file would change it with every call
            metadata = {"CreationDate": None} if ending == "pdf" else {"Software": None}
            figure.savefig(temporary, format=ending, metadata=metadata)
        names.append(f"{name}.{ending}")
    plt.close(figure)
    return tuple(names)
