"""From patches and positions to a field, and back.

Positions are the (row, col) of a patch's top-left pixel. A stitched pixel is
the weighted mean of all patches that cover it; a pixel that no patch covers is
NaN, never zero. Overlapping patches are summed by flat index with bincount, in
batches that stay in cache.
"""

from __future__ import annotations

import dataclasses

import numpy as np

from ppn_tf.errors import DataError, OptionError

KINDS = ("distance", "uniform")

#: Smallest "distance" weight: the corner pixel farthest from the centre would
#: have weight 0, and a pixel covered by that corner alone would be lost.
WEIGHT_FLOOR = 1e-3

#: Values accumulated at once: a mebi, so that indices and values take 16 MiB and the passes over
#: a large field stay few. Measured on 26,000 patches: 0.27 s, and 0.33 s with four times as many.
_BATCH_VALUES = 1 << 20


@dataclasses.dataclass(frozen=True, eq=False)
class StitchedField:
    """A stitched field.

    Attributes
    ----------
    field : (H, W) float64 or complex128
        Weighted mean of the patches; NaN where there is none.
    coverage : (H, W) bool
        True where at least one patch lies.
    weight_sum : (H, W) float64
        Sum of the weights of the patches that cover a pixel.
    """

    field: np.ndarray
    coverage: np.ndarray
    weight_sum: np.ndarray


def weights(window_px: int | tuple[int, int], kind: str = "distance") -> np.ndarray:
    """Return the weight of each pixel of a patch in the stitched mean.

    Parameters
    ----------
    window_px : int or (int, int)
        Side, or height and width, of a patch.
    kind : {"distance", "uniform"}
        ``"distance"``: ``(1 - d / d_max)^2`` with d the distance from the pixel
        (H//2, W//2) and d_max its largest value in the patch, as in the
        authors' release, but not below 1e-3. ``"uniform"``: ones.

    Returns
    -------
    (H, W) float64

    Raises
    ------
    OptionError
        For an unknown kind or a window that is not positive.
    """
    height, width = _window(window_px)
    if kind not in KINDS:
        raise OptionError(f"unknown weight kind {kind!r}: expected one of {', '.join(KINDS)}")
    if kind == "uniform":
        return np.ones((height, width))
    return np.maximum(_released_weights(height, width), WEIGHT_FLOOR)


def extract(
    field: np.ndarray, positions_px: np.ndarray, window_px: int | tuple[int, int]
) -> np.ndarray:
    """Cut patches out of a field; `accumulate` is the adjoint.

    Parameters
    ----------
    field : (H, W) array
    positions_px : (N, 2) integer (row, col)
        Top-left pixels.
    window_px : int or (int, int)

    Returns
    -------
    (N, h, w) array of the field's dtype

    Raises
    ------
    DataError
        For positions whose patch leaves the field.
    OptionError
        For a window that is not positive.
    """
    field = np.asarray(field)
    if field.ndim != 2:
        raise DataError(f"field must be (H, W), received shape {field.shape}")
    window = _window(window_px)
    rows, cols = _positions(positions_px, window, field.shape).T
    return np.lib.stride_tricks.sliding_window_view(field, window)[rows, cols]


def accumulate(
    patches: np.ndarray, positions_px: np.ndarray, field_shape: tuple[int, int]
) -> np.ndarray:
    """Add patches into a field of zeros; the adjoint of `extract`.

    Parameters
    ----------
    patches : (N, h, w) float or complex
    positions_px : (N, 2) integer (row, col)
    field_shape : (int, int)

    Returns
    -------
    (H, W) float64 or complex128

    Raises
    ------
    DataError
        For patches that are not (N, h, w) or leave the field, NaN, or
        positions that are not whole numbers.
    """
    patches = _patches(patches)
    shape = _window(field_shape, "field_shape")
    positions = _positions(positions_px, patches.shape[1:], shape)
    _same_count(patches, positions)
    return _accumulate(patches, positions, shape)


def stitch(
    patches: np.ndarray,
    positions_px: np.ndarray,
    field_shape: tuple[int, int],
    *,
    weights: np.ndarray,
) -> StitchedField:
    """Return the weighted mean of overlapping patches.

    Parameters
    ----------
    patches : (N, h, w) or (N, h, w, 1) float or complex
    positions_px : (N, 2) integer (row, col)
        Top-left pixels.
    field_shape : (int, int)
    weights : (h, w) float
        Positive; see `weights`.

    Returns
    -------
    StitchedField

    Raises
    ------
    DataError
        For shapes that do not belong together, NaN, weights that are not
        positive, or positions outside the field or not whole numbers.
    """
    patches = _patches(patches)
    window = patches.shape[1:]
    weights = np.asarray(weights, dtype=np.float64)
    if weights.shape != window:
        raise DataError(f"weights must have the patch shape {window}, received {weights.shape}")
    if not (np.isfinite(weights).all() and weights.min() > 0):
        raise DataError(
            f"weights must be finite and positive, received a minimum of {weights.min()}: "
            "a weight of 0 loses pixels that only one patch covers"
        )
    shape = _window(field_shape, "field_shape")
    positions = _positions(positions_px, window, shape)
    _same_count(patches, positions)
    return _stitch(patches, positions, shape, weights)


def covered_crop(field: np.ndarray, coverage: np.ndarray) -> tuple[slice, slice]:
    """Return the bounding box of the covered pixels as two slices.

    ``field[covered_crop(field, coverage)]`` is the crop. Pixels inside the box
    that no patch covers (possible with jitter at low overlap) stay NaN.

    Parameters
    ----------
    field : (H, W) array
    coverage : (H, W) bool

    Returns
    -------
    (slice, slice)

    Raises
    ------
    DataError
        For different shapes, or if nothing is covered.
    """
    field, coverage = np.asarray(field), np.asarray(coverage)
    if field.shape != coverage.shape or field.ndim != 2:
        raise DataError(
            f"field and coverage must have one (H, W) shape, received {field.shape} "
            f"and {coverage.shape}"
        )
    covered = coverage > 0
    if not covered.any():
        raise DataError("no pixel of the field is covered: were there any patches?")
    ends = []
    for axis in (1, 0):
        inside = np.flatnonzero(covered.any(axis=axis))
        ends.append(slice(int(inside[0]), int(inside[-1]) + 1))
    return ends[0], ends[1]


def stitch_released(
    patches: np.ndarray, grid_shape: tuple[int, int], pitch_px: int = 9, crop_px: int = 22
) -> np.ndarray:
    """Stitch as the authors' release does: at a fixed pitch, for the audit.

    The release places the patches 9 px apart although they were cut 8 px
    apart, which magnifies the picture, then drops 22 px at the top and left
    only: its canvas ends 22 px after the last patch, so the crop there removes
    empty pixels. A 13x13 grid of 32 px patches becomes 118x118.

    Parameters
    ----------
    patches : (rows * cols, h, w) or (rows * cols, h, w, 1) float or complex
        In raster order.
    grid_shape : (int, int)
        Rows and columns of the scan region.
    pitch_px : int
        Distance at which neighbours are placed.
    crop_px : int
        Pixels dropped at the top and left.

    Returns
    -------
    (H, W) float64 or complex128
        NaN where the weights, which reach 0 at the first pixel, sum to 0.

    Raises
    ------
    DataError
        If the number of patches is not rows * cols, or for NaN.
    OptionError
        For a pitch below 1 or a crop that leaves nothing.
    """
    patches = _patches(patches)
    rows, cols = _window(grid_shape, "grid_shape")
    if len(patches) != rows * cols:
        raise DataError(
            f"a {rows}x{cols} grid needs {rows * cols} patches, received {len(patches)}"
        )
    if pitch_px < 1:
        raise OptionError(f"pitch_px must be at least 1, received {pitch_px}")
    height, width = patches.shape[1:]
    shape = ((rows - 1) * pitch_px + height, (cols - 1) * pitch_px + width)
    if not 0 <= crop_px < min(shape):
        raise OptionError(f"crop_px must be within 0..{min(shape) - 1}, received {crop_px}")
    grid = np.stack(np.meshgrid(np.arange(rows), np.arange(cols), indexing="ij"), axis=-1)
    positions = pitch_px * grid.reshape(-1, 2)
    stitched = _stitch(patches, positions, shape, _released_weights(height, width))
    return stitched.field[crop_px:, crop_px:]


def _released_weights(height: int, width: int) -> np.ndarray:
    rows, cols = np.ogrid[:height, :width]
    distance = np.hypot(rows - height // 2, cols - width // 2)
    return (1.0 - distance / max(distance.max(), 1.0)) ** 2


def _stitch(
    patches: np.ndarray, positions: np.ndarray, shape: tuple[int, int], pixel_weights: np.ndarray
) -> StitchedField:
    total = _accumulate(patches, positions, shape, pixel_weights)
    weight_sum = _accumulate(np.broadcast_to(pixel_weights, patches.shape), positions, shape)
    coverage = weight_sum > 0
    field = np.full(shape, np.nan, dtype=total.dtype)
    np.divide(total, weight_sum, out=field, where=coverage)
    return StitchedField(field, coverage, weight_sum)


def _accumulate(
    patches: np.ndarray,
    positions: np.ndarray,
    shape: tuple[int, int],
    pixel_weights: np.ndarray | None = None,
) -> np.ndarray:
    height, width = patches.shape[1:]
    window = (np.arange(height)[:, None] * shape[1] + np.arange(width)).reshape(1, -1)
    first = positions[:, :1] * shape[1] + positions[:, 1:]
    complex_valued = np.iscomplexobj(patches)
    field = np.zeros(shape[0] * shape[1], dtype=np.complex128 if complex_valued else np.float64)
    step = max(1, _BATCH_VALUES // (height * width))
    for start in range(0, len(patches), step):
        flat = (first[start : start + step] + window).ravel()
        values = patches[start : start + step]
        if pixel_weights is not None:
            values = values * pixel_weights
        values = values.reshape(-1)
        if complex_valued:
            field.real += np.bincount(flat, values.real, minlength=field.size)
            field.imag += np.bincount(flat, values.imag, minlength=field.size)
        else:
            field += np.bincount(flat, values, minlength=field.size)
    return field.reshape(shape)


def _window(window_px: int | tuple[int, int], name: str = "window_px") -> tuple[int, int]:
    pair = np.asarray(window_px)
    pair = np.full(2, pair) if pair.ndim == 0 else pair
    if pair.shape != (2,) or pair.dtype.kind not in "iu" or pair.min() < 1:
        raise OptionError(
            f"{name} must be one or two positive whole numbers, received {window_px!r}"
        )
    return int(pair[0]), int(pair[1])


def _patches(patches: np.ndarray) -> np.ndarray:
    patches = np.asarray(patches)
    if patches.ndim == 4 and patches.shape[-1] == 1:
        patches = patches[..., 0]
    if patches.ndim != 3 or 0 in patches.shape:
        raise DataError(f"expected patches of shape (N, h, w), received {patches.shape}")
    if not np.isfinite(patches).all():
        raise DataError("patches have NaN or infinite values: they would spread over the field")
    return patches


def _positions(
    positions_px: np.ndarray, window: tuple[int, int], shape: tuple[int, int]
) -> np.ndarray:
    positions = np.asarray(positions_px)
    if positions.ndim != 2 or positions.shape[1] != 2:
        raise DataError(f"positions_px must be (N, 2) (row, col), received {positions.shape}")
    if not np.isfinite(positions).all() or np.any(positions != np.round(positions)):
        raise DataError(
            "positions_px must be whole pixels, received fractions or NaN: round them first"
        )
    positions = positions.astype(np.int64)
    last = np.array(shape) - window
    outside = np.flatnonzero(((positions < 0) | (positions > last)).any(axis=1))
    if len(outside):
        index = int(outside[0])
        raise DataError(
            f"{len(outside)} of {len(positions)} patches of {window[0]}x{window[1]} px leave the "
            f"{shape[0]}x{shape[1]} px field; the first is number {index} at (row, col) = "
            f"{tuple(positions[index].tolist())}: shift the positions or enlarge the field"
        )
    return positions


def _same_count(patches: np.ndarray, positions: np.ndarray) -> None:
    if len(patches) != len(positions):
        raise DataError(
            f"every patch needs a position, received {len(patches)} patches and "
            f"{len(positions)} positions"
        )
