"""``--counts``: the scale of measured counts against those of a network's training."""

from __future__ import annotations

import argparse
import dataclasses
from typing import TYPE_CHECKING

from ppn_tf.errors import DataError, OptionError

if TYPE_CHECKING:
    import keras
    import numpy as np

    from ppn_tf.detector import Fit
    from ppn_tf.reconstruction import Sliceable

#: Counts within this factor of the training's need no remark.
_ALIKE = 3.0
#: Ranges of patterns that stand for a scan that is not read whole.
_SAMPLES = 16


def add_option(group: argparse._ArgumentGroup) -> None:
    """Add ``--counts``."""
    group.add_argument(
        "--counts",
        default="raw",
        metavar="raw|match|F",
        help="raw (default): as they are; match: scaled so that the brightest pixel is as bright "
        "as in training; a number: multiplied by it",
    )


def scaled(
    fit: Fit,
    counts: str,
    patterns: Sliceable,
    mask: np.ndarray | None,
    model: keras.Model,
    *,
    sampled: bool = False,
    label: str | None = None,
) -> tuple[Fit, list[str]]:
    """Return the fit with the factor that ``--counts`` asks for, and remarks.

    Parameters
    ----------
    fit : Fit
        With a factor of 1.
    counts : str
        ``raw``, ``match`` or a number above 0.
    patterns : (N, H, W)
        What slices like an array.
    mask : (H, W) bool, optional
        True where the detector is valid.
    model : keras.Model
    sampled : bool
        Read ranges spread over the scan where the factor does not need all of it.
    label : str, optional
        Of a progress bar on standard error.

    Raises
    ------
    OptionError
        For something that is neither raw, match nor a number above 0.
    DataError
        For patterns without counts.
    """
    from ppn_tf import reconstruction

    asked = _number(counts)
    known = reconstruction.brightest_known(model)
    sampled = sampled and asked is not None
    brightest = _brightest(fit, patterns, mask, sampled, label)
    if not brightest > 0:
        raise DataError("the patterns hold no counts after crop and bin: check zero_frequency")
    factor = known / brightest if asked is None else asked
    ratio, remarks = brightest * factor / known, []
    if not 1 / _ALIKE < ratio < _ALIKE:
        remarks.append(
            f"the brightest pixel has {ratio:.3g} times the counts of the brightest in training: "
            "the network was not trained for that, --counts match would scale them"
        )
    return dataclasses.replace(fit, counts_factor=factor), remarks


def _number(counts: str) -> float | None:
    """Return the factor that is asked for, None for match."""
    try:
        return {"raw": 1.0, "match": None}[counts] if counts in ("raw", "match") else float(counts)
    except ValueError:
        raise OptionError(f"--counts expects raw, match or a number, received {counts!r}") from None


def _brightest(
    fit: Fit, patterns: Sliceable, mask: np.ndarray | None, sampled: bool, label: str | None
) -> float:
    from tqdm import tqdm

    from ppn_tf.reconstruction import CHUNK_PATTERNS

    starts = range(0, patterns.shape[0], CHUNK_PATTERNS)
    if sampled:
        starts = starts[:: -(-len(starts) // _SAMPLES)]
    bar = tqdm(starts, desc=label, disable=label is None, unit="range", leave=False)
    return max(
        float(fit.patterns(patterns[start : start + CHUNK_PATTERNS], mask).max()) for start in bar
    )
