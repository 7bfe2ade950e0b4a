"""Where the probe stands: raster scans, the step that an overlap means, and jitter."""

from __future__ import annotations

import dataclasses
import math

import numpy as np

from ppn_tf.errors import OptionError
from ppn_tf.seeding import generator

#: How an overlap becomes a step: as defined, or truncated to whole pixels as in the release.
STEP_RULES = ("exact", "released")


@dataclasses.dataclass(frozen=True)
class RasterScan:
    """Probe positions of a raster scan, in row-major order.

    Attributes
    ----------
    positions_px : (N, 2) int32
        Row and column of the top-left corner of each patch [px].
    grid_shape : (int, int)
        Rows and columns of the raster; N is their product.
    window_px : int
        Side of the square patch.
    step_px : float
        Distance between neighbouring positions before rounding.
    jitter_px : int
        Largest displacement along each axis.
    """

    positions_px: np.ndarray
    grid_shape: tuple[int, int]
    window_px: int
    step_px: float
    jitter_px: int


def raster(
    object_shape: tuple[int, int],
    window_px: int = 32,
    step_px: float = 8.0,
    jitter_px: int = 0,
    seed: int = 0,
) -> RasterScan:
    """Lay a raster of square windows over an object.

    Parameters
    ----------
    object_shape : (int, int)
        Rows and columns of the object [px].
    window_px : int
        Side of the window.
    step_px : float
        Distance between neighbours, at least 1; a fractional step is kept and
        each position is rounded to the nearest pixel (halves upwards).
    jitter_px : int
        Each position moves along each axis by an integer drawn uniformly from
        ``[-jitter_px, jitter_px]``; at the border it is clipped into the object.
    seed : int
        Seed of the jitter; without effect where `jitter_px` is 0.

    Returns
    -------
    RasterScan

    Raises
    ------
    OptionError
        For a window larger than the object, a step below 1 pixel, or a
        jitter that is not a non-negative integer.

    Notes
    -----
    512, 32 and 8 px give the 61 x 61 = 3721 positions of the paper's section IV-A.
    """
    height, width = (int(side) for side in object_shape)
    if not 1 <= window_px <= min(height, width):
        raise OptionError(
            f"window_px must be from 1 to the object's shorter side: expected at most "
            f"{min(height, width)} for an object of {height} x {width}, received {window_px}"
        )
    if not (math.isfinite(step_px) and step_px >= 1):
        raise OptionError(f"step_px must be at least 1 pixel, received {step_px}")
    if int(jitter_px) != jitter_px or jitter_px < 0:
        raise OptionError(f"jitter_px must be an integer of at least 0, received {jitter_px}")
    rows, cols = (_axis_positions(side - window_px, step_px) for side in (height, width))
    grid = np.stack(np.meshgrid(rows, cols, indexing="ij"), axis=-1).reshape(-1, 2)
    if jitter_px:
        shift = generator(seed, "jitter").integers(-jitter_px, jitter_px, grid.shape, endpoint=True)
        grid = np.clip(grid + shift, 0, [height - window_px, width - window_px])
    return RasterScan(
        grid.astype(np.int32),
        (rows.size, cols.size),
        int(window_px),
        float(step_px),
        int(jitter_px),
    )


def step_from_overlap(window_px: int, overlap: float, rule: str = "exact") -> float:
    """Return the step at which neighbouring windows share a fraction of their width.

    Parameters
    ----------
    window_px : int
        Side of the window.
    overlap : float
        Shared fraction of the width, from 0 up to but not including 1.
    rule : str
        ``"exact"``: ``window_px * (1 - overlap)``, which may be fractional.
        ``"released"``: the same truncated to whole pixels, as the authors'
        release has it: 90 % of 32 px gives 3 where 3.2 is meant.

    Returns
    -------
    float
        Step in pixels.

    Raises
    ------
    OptionError
        For an overlap outside [0, 1), an unknown rule, or a step below 1 pixel.
    """
    if rule not in STEP_RULES:
        raise OptionError(f"unknown step rule {rule!r}: expected one of {', '.join(STEP_RULES)}")
    if not 0 <= overlap < 1:
        raise OptionError(
            f"overlap must be at least 0 and below 1 (100 % would never move), received {overlap}"
        )
    # 32 * (1 - 0.9) is 3.1999999999999993 in binary; twelve digits are far below a pixel
    step = round(window_px * (1.0 - overlap), 12)
    if rule == "released":
        step = float(int(step))
    if step < 1:
        raise OptionError(
            f"an overlap of {overlap} of {window_px} px means a step of {step} px: expected a "
            "step of at least 1 pixel, choose a smaller overlap"
        )
    return step


def _axis_positions(last_px: int, step_px: float) -> np.ndarray:
    # the small term keeps a last position that fits exactly but for rounding
    count = int(math.floor(last_px / step_px + 1e-9)) + 1
    return np.floor(np.arange(count) * step_px + 0.5).astype(np.int64)
