"""One frozen `Scan` between all file formats, and the geometry that ties its units together."""

from __future__ import annotations

import dataclasses
from typing import Any, Final

import numpy as np

from ppn_tf.errors import DataError, OptionError

#: Planck constant times speed of light [eV m] (exact since the SI of 2019).
HC_EV_M: Final = 1.2398419843320026e-06
#: Pixel sizes that are stated twice may differ by rounding, not by more.
PIXEL_RTOL: Final = 0.01
#: Positions in metres and in pixels of one scan agree to this [px].
POSITION_ATOL_PX: Final = 0.01
#: Windows may leave the object by less than this, as other programs round [px].
OUTSIDE_ATOL_PX: Final = 1.0
#: An object that is larger would not fit in memory [px].
_LARGEST_SPAN_PX: Final = 100_000


@dataclasses.dataclass(frozen=True)
class Geometry:
    """Energy, distance and pixel sizes; None where not known.

    Attributes
    ----------
    energy_eV : float, optional
        Photon energy [eV].
    distance_m : float, optional
        From object to detector [m].
    detector_pixel_m, object_pixel_m : (float, float), optional
        Height (along rows) and width (along columns) of a pixel [m]; a single
        number stands for both.

    Raises
    ------
    DataError
        For a value that is not finite and above 0, or a pixel size of other length.
    """

    energy_eV: float | None = None
    distance_m: float | None = None
    detector_pixel_m: tuple[float, float] | None = None
    object_pixel_m: tuple[float, float] | None = None

    def __post_init__(self) -> None:
        for name in ("energy_eV", "distance_m"):
            object.__setattr__(self, name, _positive(name, getattr(self, name), 1))
        for name in ("detector_pixel_m", "object_pixel_m"):
            object.__setattr__(self, name, _positive(name, getattr(self, name), 2))

    def joined(self, stated: Geometry, source: str) -> Geometry:
        """Add what a file states to what is known already.

        Parameters
        ----------
        stated : Geometry
            Values of the file.
        source : str
            Name of the file, for the message.

        Raises
        ------
        DataError
            Where both have a value and they differ by more than 1 %.
        """
        values = {}
        for field in dataclasses.fields(self):
            mine, theirs = getattr(self, field.name), getattr(stated, field.name)
            if mine is not None and theirs is not None and not _close(mine, theirs):
                raise DataError(
                    f"{source}: {field.name}: the file states {theirs}, received {mine}: "
                    "leave the flag out, or correct the file"
                )
            values[field.name] = theirs if mine is None else mine
        return Geometry(**values)

    def completed(self, window_px: tuple[int, int]) -> Geometry:
        """Compute the one pixel size that is missing from the far-field relation.

        Parameters
        ----------
        window_px : (int, int)
            Height H and width W of a pattern.

        Returns
        -------
        Geometry
            With ``object_pixel = wavelength * distance / (side * detector_pixel)`` along
            each axis, or the detector pixel by the same relation; unchanged where
            less than three of its four quantities are known.

        Raises
        ------
        DataError
            Where all are known and do not fit by more than 1 %.
        """
        if self.energy_eV is None or self.distance_m is None:
            return self
        reach = HC_EV_M / self.energy_eV * self.distance_m

        def partner(pixel_m: tuple[float, float]) -> tuple[float, float]:
            return (reach / (window_px[0] * pixel_m[0]), reach / (window_px[1] * pixel_m[1]))

        if self.detector_pixel_m is None:
            if self.object_pixel_m is None:
                return self
            return dataclasses.replace(self, detector_pixel_m=partner(self.object_pixel_m))
        computed = partner(self.detector_pixel_m)
        if self.object_pixel_m is None:
            return dataclasses.replace(self, object_pixel_m=computed)
        if not _close(self.object_pixel_m, computed):
            raise DataError(
                f"object_pixel_m: expected {computed} from energy, distance and detector pixel "
                f"for {window_px[0]} x {window_px[1]} px, received {self.object_pixel_m}: were the "
                "patterns cropped or binned? State the detector pixel after binning"
            )
        return self


@dataclasses.dataclass(frozen=True, eq=False)
class Scan:
    """A ptychographic scan in the conventions of this package (docs/conventions.md).

    Attributes
    ----------
    patterns : (N, H, W) float32
        Counts, zero frequency at the pixel ``(H // 2, W // 2)``.
    positions_px : (N, 2) float64
        Row and column of each window's top-left corner [object px]. On the grid of
        `object` where there is one; otherwise the smallest of each axis is 0.
    positions_m : (N, 2) float64, optional
        (y, x) of each window's centre [m], growing with row and column: the probe moves
        over the object. Their origin is the file's. Computed from `positions_px`
        where None and the object pixel is known.
    probe : (M, H, W) complex64, optional
        Modes, in real space at the object, centred.
    object : (rows, cols) complex64, optional
        Transmission; a larger phase (`numpy.angle`) is a larger phase.
    mask : (H, W) bool, optional
        True where the detector pixel is valid.
    energy_eV, distance_m, detector_pixel_m, object_pixel_m : optional
        As in `Geometry`; the pixel size that is missing is computed.
    provenance : dict
        Values of JSON: file, format, flags.

    Raises
    ------
    DataError
        For other shapes or types, NaN, negative counts, windows outside the
        object, and positions or pixel sizes that do not fit one another.
    """

    patterns: np.ndarray
    positions_px: np.ndarray
    positions_m: np.ndarray | None = None
    probe: np.ndarray | None = None
    object: np.ndarray | None = None
    mask: np.ndarray | None = None
    energy_eV: float | None = None
    distance_m: float | None = None
    detector_pixel_m: tuple[float, float] | None = None
    object_pixel_m: tuple[float, float] | None = None
    provenance: dict[str, Any] = dataclasses.field(default_factory=dict)

    def __post_init__(self) -> None:
        _check(self.patterns, "patterns", np.float32, (None, None, None))
        if self.patterns.size == 0:
            raise DataError(f"patterns are empty, received shape {self.patterns.shape}")
        if self.patterns.min() < 0:
            raise DataError(
                f"patterns must be counts, received negative values down to {self.patterns.min()}: "
                "mark bad pixels in the mask and set them to 0 (flag zero_masked, where the file "
                "has a mask)"
            )
        count, window = len(self.patterns), self.window_px
        _check(self.positions_px, "positions_px", np.float64, (count, 2))
        if self.probe is not None:
            _check(self.probe, "probe", np.complex64, (None, *window))
        if self.mask is not None:
            _check(self.mask, "mask", np.bool_, window)
        geometry = self.geometry.completed(window)
        for field in dataclasses.fields(geometry):
            object.__setattr__(self, field.name, getattr(geometry, field.name))
        self._check_origin()
        if self.positions_m is None:
            if self.object_pixel_m is not None:
                centres = self.positions_px + np.array(window) / 2
                object.__setattr__(self, "positions_m", centres * self.object_pixel_m)
        else:
            _check(self.positions_m, "positions_m", np.float64, (count, 2))
            self._check_units()

    @property
    def window_px(self) -> tuple[int, int]:
        """Height and width of a pattern."""
        return (self.patterns.shape[1], self.patterns.shape[2])

    @property
    def geometry(self) -> Geometry:
        """The four quantities of the geometry."""
        return Geometry(self.energy_eV, self.distance_m, self.detector_pixel_m, self.object_pixel_m)

    def _check_origin(self) -> None:
        lowest = self.positions_px.min(axis=0)
        if self.object is None:
            if np.abs(lowest).max() > 1e-6:
                raise DataError(
                    "positions_px: without an object the smallest row and column must be 0, "
                    f"received {tuple(lowest.tolist())}: subtract them"
                )
            return
        _check(self.object, "object", np.complex64, (None, None))
        highest = self.positions_px.max(axis=0) + self.window_px
        limit = np.array(self.object.shape) + OUTSIDE_ATOL_PX
        if (lowest < -OUTSIDE_ATOL_PX).any() or (highest > limit).any():
            raise DataError(
                f"the windows cover rows {lowest[0]:.1f} to {highest[0]:.1f} and columns "
                f"{lowest[1]:.1f} to {highest[1]:.1f}, outside the object of shape "
                f"{self.object.shape}: correct the object's centre, or leave the object out "
                "(flag with_object=False)"
            )

    def _check_units(self) -> None:
        if self.object_pixel_m is None:
            raise DataError(
                "positions_m without object_pixel_m: state object_pixel_m, or energy_eV, "
                "distance_m and detector_pixel_m"
            )
        moved_px = (self.positions_m - self.positions_m[0]) / self.object_pixel_m
        worst = np.abs(moved_px - (self.positions_px - self.positions_px[0])).max()
        if worst > POSITION_ATOL_PX:
            raise DataError(
                f"positions_m and positions_px differ by up to {worst:.3g} px at an object pixel "
                f"of {self.object_pixel_m} m: expected at most {POSITION_ATOL_PX} px"
            )


def corners_px(
    positions_m: np.ndarray,
    geometry: Geometry,
    window_px: tuple[int, int],
    source: str,
    *,
    object_shape: tuple[int, int] | None = None,
    object_center_m: tuple[float, float] | None = None,
) -> np.ndarray:
    """Turn window centres in metres into top-left corners in object pixels.

    Parameters
    ----------
    positions_m : (N, 2) float64
        (y, x) of the window centres [m].
    geometry : Geometry
        Completed, with the object pixel.
    window_px : (int, int)
        Height and width of a window.
    source : str
        Name of the file, for the message.
    object_shape : (int, int), optional
        Rows and columns of the object's grid.
    object_center_m : (float, float), optional
        (y, x) of the middle of that grid [m].

    Returns
    -------
    (N, 2) float64
        On the object's grid, or with the smallest of each axis at 0 without one.

    Raises
    ------
    OptionError
        If the object pixel cannot be computed; the missing flags are named.
    DataError
        If the positions span less than a pixel, or more than any object: wrong units.
    """
    if geometry.object_pixel_m is None:
        names = ("energy_eV", "distance_m", "detector_pixel_m")
        missing = [name for name in names if getattr(geometry, name) is None]
        raise OptionError(
            f"{source}: the object pixel is not known, as the file lacks {', '.join(missing)}: "
            f"pass {' and '.join(missing)}, or object_pixel_m"
        )
    _check_span(positions_m, geometry, source)
    if object_shape is None or object_center_m is None:
        return (positions_m - positions_m.min(axis=0)) / geometry.object_pixel_m
    from_center_px = (positions_m - np.array(object_center_m)) / geometry.object_pixel_m
    return from_center_px + (np.array(object_shape) - window_px) / 2


def _check_span(positions_m: np.ndarray, geometry: Geometry, source: str) -> None:
    span_px = np.ptp(positions_m, axis=0) / geometry.object_pixel_m
    # one place, looked at several times, is no matter of units
    if 0 < span_px.max() < 1 or span_px.max() > _LARGEST_SPAN_PX:
        raise DataError(
            f"{source}: positions from {positions_m.min(axis=0)} to {positions_m.max(axis=0)} m "
            f"span {span_px[0]:.3g} x {span_px[1]:.3g} object pixels of {geometry.object_pixel_m} "
            f"m: expected 1 to {_LARGEST_SPAN_PX}. Are positions and pixels in metres, and is the "
            f"energy, {geometry.energy_eV}, in eV?"
        )


def _positive(name: str, value: Any, length: int) -> Any:
    if value is None:
        return None
    numbers = np.asarray(value, dtype=np.float64)
    if numbers.shape not in ((), (2,)[: length - 1]):
        raise DataError(f"{name}: expected {length} number(s), received shape {numbers.shape}")
    if not np.isfinite(numbers).all() or (numbers <= 0).any():
        raise DataError(f"{name} must be finite and above 0, received {value}")
    if length == 1:
        return float(numbers)
    first, second = np.broadcast_to(numbers, (2,)).tolist()
    return (first, second)


def _close(mine: Any, theirs: Any) -> bool:
    return bool(np.allclose(mine, theirs, rtol=PIXEL_RTOL, atol=0))


def _check(values: Any, name: str, dtype: type, shape: tuple[int | None, ...]) -> None:
    wanted = "(" + ", ".join("any" if side is None else str(side) for side in shape) + ")"
    expected = f"{name}: expected {np.dtype(dtype)} {wanted}"
    if not isinstance(values, np.ndarray):
        raise DataError(f"{expected}, received {type(values).__name__}")
    fits = len(values.shape) == len(shape) and all(
        side in (None, have) for side, have in zip(shape, values.shape, strict=True)
    )
    if values.dtype != dtype or not fits:
        raise DataError(f"{expected}, received {values.dtype} {values.shape}")
    if dtype is not np.bool_ and not np.isfinite(values).all():
        raise DataError(f"{name} holds NaN or infinite values")
