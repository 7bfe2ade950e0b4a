"""One grey image from a TIFF file that may be damaged or hostile."""

from __future__ import annotations

import logging
from pathlib import Path

import numpy as np
import tifffile

from ppn_tf.errors import DataError, PpnError

#: Largest image that is read [bytes].
LIMIT_BYTES = 1 << 30


def read(path: Path | str, limit_bytes: int = LIMIT_BYTES) -> np.ndarray:
    """Read the first image of a file.

    Parameters
    ----------
    path : Path or str
    limit_bytes : int
        Largest size of the image, by its declared shape and type.

    Returns
    -------
    (rows, cols) numpy.ndarray
        In the type of the file.

    Raises
    ------
    DataError
        If the file cannot be read, is no uncompressed grey image, declares another size
        than it holds, or is larger than the limit.
    """
    path = Path(path)
    # it reports broken tags on the log, and raises where it cannot go on
    logger = logging.getLogger("tifffile")
    muted, logger.disabled = logger.disabled, True
    try:
        with tifffile.TiffFile(path) as file:
            page = file.pages.first
            _check(path, page, limit_bytes)
            return page.asarray(maxworkers=1)
    except PpnError:
        raise
    # tifffile lets out whatever struct, numpy and its own decoders raise
    except Exception as error:
        raise DataError(
            f"{path} cannot be read as TIFF ({type(error).__name__}: {error})"
        ) from error
    finally:
        logger.disabled = muted


def _check(path: Path, page: tifffile.TiffPage, limit_bytes: int) -> None:
    shape, dtype = tuple(page.shape), page.dtype
    if dtype is None or dtype.kind not in "iuf" or len(shape) != 2 or 0 in shape:
        raise DataError(f"{path}: expected one grey image (rows, cols), received {dtype} {shape}")
    size = int(np.prod(shape, dtype=object)) * dtype.itemsize
    if size > limit_bytes:
        raise DataError(
            f"{path} declares an image of {dtype} {shape}, {size} bytes: expected at most "
            f"{limit_bytes}"
        )
    if page.compression != tifffile.COMPRESSION.NONE or page.is_tiled:
        raise DataError(
            f"{path}: expected an uncompressed image in strips, received compression "
            f"{int(page.compression)}{' in tiles' if page.is_tiled else ''}: save it again plainly"
        )
    held = sum(page.databytecounts)
    # strips may be padded, not short
    if held < size or held > size + limit_bytes or len(page.databytecounts) > shape[0]:
        raise DataError(
            f"{path} declares an image of {dtype} {shape}, {size} bytes, and holds {held}: it is "
            "truncated, or was changed"
        )
    if held > path.stat().st_size:
        raise DataError(f"{path}: the image lies beyond the end of the file: it is truncated")
