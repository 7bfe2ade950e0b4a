"""Figures as data within a page, small enough for one file."""

from __future__ import annotations

import base64
import dataclasses
import io
from collections.abc import Sequence
from pathlib import Path

#: Widths in px that are tried until all figures fit into the budget.
WIDTHS_PX = (1600, 1200, 900, 640, 420)

#: Characters of base64 for all figures together.
BUDGET = 8_000_000

#: Pixels of a printed figure to one on a screen.
_PRINTED_PER_SHOWN = 2

#: Bytes above which 256 colours have to do.
_PALETTE_FROM = 150_000


@dataclasses.dataclass(frozen=True)
class Picture:
    """A PNG within the page.

    Attributes
    ----------
    uri : str
        ``data:image/png;base64,...``.
    width_px, height_px : int
        As shown: what is printed at 300 dpi, at the size that 150 dpi give.
    """

    uri: str
    width_px: int
    height_px: int


def embed(paths: Sequence[Path], budget: int = BUDGET) -> dict[Path, Picture]:
    """Read figures and shrink them until they fit together.

    Parameters
    ----------
    paths : sequence of Path
        PNG files.
    budget : int
        Characters for all of them.

    Returns
    -------
    dict of Path to Picture
        A file that is missing or no picture is left out.
    """
    found: dict[Path, Picture] = {}
    for width_px in WIDTHS_PX:
        found = {}
        for path in paths:
            try:
                found[path] = picture(path, width_px)
            except OSError:
                continue
        if sum(len(own.uri) for own in found.values()) <= budget:
            break
    return found


def picture(path: Path, width_px: int) -> Picture:
    """Read one figure, at most so wide, on white.

    Raises
    ------
    OSError
        If the file is missing or no picture.
    """
    from PIL import Image

    with Image.open(path) as opened:
        image = Image.new("RGB", opened.size, "white")
        rgba = opened.convert("RGBA")
        image.paste(rgba, mask=rgba)
    shown = tuple(max(1, round(side / _PRINTED_PER_SHOWN)) for side in image.size)
    if image.width > width_px:
        height_px = max(1, round(image.height * width_px / image.width))
        image = image.resize((width_px, height_px), Image.Resampling.LANCZOS)
    content = _png(image)
    if len(content) > _PALETTE_FROM:
        content = _png(image.quantize(256, dither=Image.Dither.NONE))
    uri = f"data:image/png;base64,{base64.b64encode(content).decode()}"
    return Picture(uri, *shown)


def _png(image: object) -> bytes:
    stream = io.BytesIO()
    image.save(stream, "PNG", optimize=True)
    return stream.getvalue()
