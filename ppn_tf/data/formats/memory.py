"""A limit on what a file may make the reader allocate, and steps that readers share."""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final

import numpy as np

from ppn_tf.errors import DataError, OptionError, UnstatedError
from ppn_tf.files import sha256

#: Largest total of the arrays that one file may declare [GiB], unless told otherwise.
MEMORY_LIMIT_GIB: Final = 8.0
_GIB: Final = 1 << 30
#: Filters of HDF5 that are read without being asked for: gzip, shuffle, fletcher32, lzf.
FILTERS: Final = (1, 2, 3, 32000)


class Budget:
    """What may still be allocated while one scan is read.

    Parameters
    ----------
    limit_gib : float
        Largest sum of the sizes that are declared [GiB].
    allow_filters : sequence of int
        Numbers of HDF5 filters that may be used beside `FILTERS`.
    """

    def __init__(
        self, limit_gib: float = MEMORY_LIMIT_GIB, allow_filters: Sequence[int] = ()
    ) -> None:
        if not (math.isfinite(limit_gib) and limit_gib > 0):
            raise OptionError(f"memory_limit_gib must be above 0, received {limit_gib}")
        self._limit_bytes = limit_gib * _GIB
        self._used_bytes = 0
        self.filters = (*FILTERS, *allow_filters)

    def check(self, shape: tuple[int, ...], itemsize: int, name: str) -> None:
        """Refuse an array that is above the limit by itself, without counting it."""
        size = math.prod(shape) * itemsize
        if size > self._limit_bytes:
            raise DataError(
                f"{name} declares the shape {tuple(shape)}, {size / _GIB:.3g} GiB: expected at "
                f"most {self._limit_bytes / _GIB:.3g} GiB, raise memory_limit_gib if this is meant"
            )

    def take(self, shape: tuple[int, ...], itemsize: int, name: str) -> None:
        """Allow for one more array.

        Raises
        ------
        DataError
            If the sum is then above the limit.
        """
        self._used_bytes += math.prod(shape) * itemsize
        if self._used_bytes > self._limit_bytes:
            raise DataError(
                f"{name} declares the shape {tuple(shape)}, which makes "
                f"{self._used_bytes / _GIB:.3g} GiB in all: expected at most "
                f"{self._limit_bytes / _GIB:.3g} GiB, raise memory_limit_gib if this is meant"
            )


def counts(values: np.ndarray, zero_frequency: str, name: str) -> np.ndarray:
    """Bring patterns to float32 counts with zero frequency at the centre pixel.

    Parameters
    ----------
    values : (N, H, W) real
        Intensities.
    zero_frequency : {"centre", "corner"}
        Where zero frequency lies: at ``(H // 2, W // 2)`` or at ``(0, 0)``.
    name : str
        File and key, for the message.

    Returns
    -------
    (N, H, W) float32

    Raises
    ------
    DataError
        For other shapes or complex values.
    OptionError
        For another `zero_frequency`.
    """
    choice("zero_frequency", zero_frequency, ("centre", "corner"))
    if values.ndim != 3 or values.dtype.kind not in "biuf":
        raise DataError(f"{name}: expected real (N, H, W), received {values.dtype} {values.shape}")
    return np.ascontiguousarray(centred(values, zero_frequency), dtype=np.float32)


def centred(values: np.ndarray, zero_frequency: str) -> np.ndarray:
    """Bring zero frequency to the centre pixel: patterns (N, H, W), or their mask (H, W)."""
    return np.fft.fftshift(values, axes=(-2, -1)) if zero_frequency == "corner" else values


def choice(name: str, value: Any, allowed: tuple[Any, ...]) -> None:
    """Refuse a flag that is not one of the allowed values."""
    if value not in allowed:
        raise OptionError(
            f"{name}: expected one of {', '.join(map(str, allowed))}, received {value!r}"
        )


def ask(source: str, **flags: tuple[Any, str]) -> None:
    """Ask for every flag that a file leaves open.

    Parameters
    ----------
    source : str
        Name of the file.
    **flags : (value, str)
        What was given, or None, and what is to be stated.

    Raises
    ------
    UnstatedError
        If a value is None; all that are missing are named at once.
    """
    missing = {name: meaning for name, (value, meaning) in flags.items() if value is None}
    if missing:
        named = "; ".join(f"{name} ({meaning})" for name, meaning in missing.items())
        raise UnstatedError(f"{source} does not say it, so pass: {named}", tuple(missing))


def modes(values: np.ndarray, name: str) -> np.ndarray:
    """Return probe modes as (M, H, W) complex64 from (H, W), (M, H, W) or (1, M, H, W)."""
    if values.ndim == 4 and len(values) > 1:
        raise DataError(
            f"{name}: expected one coherent probe, received {len(values)} that vary over the scan "
            f"(shape {values.shape}): average or choose one first"
        )
    if values.ndim not in (2, 3, 4) or not np.iscomplexobj(values):
        raise DataError(
            f"{name}: expected complex (H, W), (M, H, W) or (1, M, H, W), received "
            f"{values.dtype} {values.shape}"
        )
    values = values[0] if values.ndim == 4 else values
    return np.ascontiguousarray(values[None] if values.ndim == 2 else values, dtype=np.complex64)


def zeroed(patterns: np.ndarray, mask: np.ndarray | None, zero_masked: bool) -> np.ndarray:
    """Set the pixels that the mask excludes to 0, if that was asked for."""
    if not zero_masked:
        return patterns
    if mask is None:
        raise OptionError("zero_masked: the file has no mask")
    if mask.shape != patterns.shape[1:]:
        raise DataError(f"mask: expected shape {patterns.shape[1:]}, received {mask.shape}")
    return np.where(mask, patterns, np.float32(0))


def origin(path: Path, form: str, **flags: Any) -> dict[str, Any]:
    """Return the provenance of a scan that was read: file, sha256, format and flags."""
    stated = {name: value for name, value in flags.items() if value is not None}
    return {"file": path.name, "sha256": sha256(path), "format": form, **stated}
