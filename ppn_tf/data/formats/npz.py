"""npz files: this package's own, PtychoPINN's, PtychoNN's, and that of scan 247.

Own and PtychoPINN files are written too. See docs/conventions.md.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final

import numpy as np

from ppn_tf.data import nanoprobe
from ppn_tf.data.formats import archive, memory
from ppn_tf.data.formats.scan import Geometry, Scan, corners_px
from ppn_tf.errors import DataError, OptionError
from ppn_tf.files import replacing

FORMAT: Final = "npz"
#: Marks own files, with the version of their keys.
OWN_KEY: Final = "ppn_tf_scan"
VERSION: Final = 1
_ARRAYS: Final = ("patterns", "positions_px", "positions_m", "probe", "object", "mask")
_NUMBERS: Final = ("energy_eV", "distance_m", "detector_pixel_m", "object_pixel_m")
#: PtychoPINN's patterns; the second name is an alias.
PINN_PATTERNS: Final = ("diff3d", "diffraction")
#: Key that says which point of a window PtychoPINN's coordinates are; other programs ignore it.
PINN_POINT: Final = "position_point"
POINTS: Final = ("centre", "corner")


def read(
    path: Path,
    known: Geometry,
    budget: memory.Budget,
    *,
    axes: str | None = None,
    position_point: str | None = None,
    position_frame: str | None = None,
    positions: str | None = None,
    zero_frequency: str | None = None,
    values: str | None = None,
    with_object: bool = True,
) -> Scan:
    """Read a scan from any of the four layouts.

    Parameters
    ----------
    path : Path
    known : Geometry
        What the caller states; must agree with the file.
    budget : Budget
    axes : {"NHW", "HWN"}, optional
        PtychoPINN: order of the axes, asked for where all sides are equal.
    position_point : {"centre", "corner"}, optional
        PtychoPINN: which point of a window the coordinates are; asked for with an object.
    position_frame : {"sample", "probe"}, optional
        PtychoNN: what the positions are of. Those of the sample are negated.
    positions : {"scan_true", "scan_nominal"}, optional
        Layout of scan 247: which positions.
    zero_frequency : {"centre", "corner"}, optional
        PtychoNN: where it lies in the patterns.
    values : {"amplitude", "intensity"}, optional
        PtychoPINN: asked for where the patterns are integers.
    with_object : bool
        False leaves the object out.

    Returns
    -------
    Scan

    Raises
    ------
    OptionError
        If a flag is missing, or does not belong to the layout of the file.
    DataError
    """
    given = {
        "axes": axes,
        "position_point": position_point,
        "position_frame": position_frame,
        "positions": positions,
        "zero_frequency": zero_frequency,
        "values": values,
        "with_object": with_object,
    }
    return _read(path, known, budget, given)


def write(path: Path, scan: Scan, *, layout: str = "own") -> None:
    """Write a scan.

    Parameters
    ----------
    path : Path
    scan : Scan
    layout : {"own", "ptychopinn"}
        "own" keeps every field exactly. "ptychopinn" holds what that program reads:
        amplitudes (the square root of the counts, float32), coordinates of the window
        centres in pixels, one probe mode and the object; it has no place for the mask
        and the geometry.

    Raises
    ------
    OptionError
        For another layout.
    DataError
        For "ptychopinn" and windows that are not square, or a probe that is not one mode.
    RecordError
        If the file cannot be written.
    """
    memory.choice("layout", layout, ("own", "ptychopinn"))
    content = _own_content(scan) if layout == "own" else _pinn_content(path, scan)
    with replacing(path) as temporary, temporary.open("wb") as stream:
        np.savez_compressed(stream, **content)


def _read(path: Path, known: Geometry, budget: memory.Budget, given: dict[str, Any]) -> Scan:
    layout = _layout(path, tuple(row[0] for row in archive.rows(path)))
    reader, taken = _READERS[layout]
    surplus = [
        name
        for name, value in given.items()
        if name not in taken and value is not (True if name == "with_object" else None)
    ]
    if surplus:
        raise OptionError(
            f"{path}: the layout {layout} takes no flag {', '.join(surplus)}: expected "
            f"{', '.join(taken) or 'none'}"
        )
    return reader(path, known, budget, **{name: given[name] for name in taken})


def _layout(path: Path, keys: tuple[str, ...]) -> str:
    if OWN_KEY in keys:
        return "own"
    if any(key in keys for key in PINN_PATTERNS) and {"xcoords", "ycoords"} <= set(keys):
        return "ptychopinn"
    if {"reciprocal", "scan"} <= set(keys):
        return "ptychonn"
    if {"data", "scan_true", "scan_nominal", "probe"} <= set(keys):
        return "scan247"
    raise DataError(
        f"{path}: expected {OWN_KEY} (own), diff3d with xcoords and ycoords (PtychoPINN), "
        "reciprocal and scan (PtychoNN), or data, scan_true, scan_nominal and probe (scan 247), "
        f"received the keys {', '.join(keys) or '(none)'}"
    )


def _own_content(scan: Scan) -> dict[str, Any]:
    content: dict[str, Any] = {OWN_KEY: np.int64(VERSION)}
    content["provenance"] = np.array(json.dumps(scan.provenance, sort_keys=True))
    for name in (*_ARRAYS, *_NUMBERS):
        value = getattr(scan, name)
        if value is not None:
            content[name] = np.asarray(value)
    return content


def _own(path: Path, known: Geometry, budget: memory.Budget, *, with_object: bool) -> Scan:
    arrays = archive.load(path, budget)
    found = arrays[OWN_KEY]
    version = found.tolist() if found.size == 1 else f"an array of shape {found.shape}"
    if version != VERSION:
        raise DataError(f"{path}: {OWN_KEY}: expected version {VERSION}, received {version}")
    missing = [key for key in ("patterns", "positions_px", "provenance") if key not in arrays]
    if missing:
        raise DataError(f"{path} lacks the keys {', '.join(missing)}")
    stated = Geometry(
        **{name: arrays[name].tolist() if name in arrays else None for name in _NUMBERS}
    )
    content = {name: arrays.get(name) for name in _ARRAYS}
    if not with_object and content["object"] is not None:
        content["object"] = None
        content["positions_px"] = _from_zero(arrays["positions_px"])
    return Scan(
        **content,
        **vars(known.joined(stated, str(path))),
        provenance={
            **memory.origin(path, f"{FORMAT} (own)"),
            "written_from": json.loads(str(arrays["provenance"])),
        },
    )


def _pinn_content(path: Path, scan: Scan) -> dict[str, Any]:
    height, width = scan.window_px
    if height != width or scan.probe is None or len(scan.probe) != 1:
        received = "no probe" if scan.probe is None else f"{len(scan.probe)} probe mode(s)"
        raise DataError(
            f"{path}: PtychoPINN needs square windows and one probe mode, received "
            f"{height} x {width} px and {received}"
        )
    rows_px, cols_px = (scan.positions_px + (height / 2, width / 2)).T
    content = {
        "diff3d": np.sqrt(scan.patterns),
        "xcoords": cols_px,
        "ycoords": rows_px,
        "xcoords_start": cols_px,
        "ycoords_start": rows_px,
        "scan_index": np.zeros(len(rows_px), np.int64),
        "probeGuess": scan.probe[0],
        PINN_POINT: np.array("centre"),
    }
    if scan.object is not None:
        content["objectGuess"] = scan.object
    return content


def _pinn(
    path: Path,
    known: Geometry,
    budget: memory.Budget,
    *,
    axes: str | None,
    position_point: str | None,
    values: str | None,
    with_object: bool,
) -> Scan:
    arrays = archive.load(path, budget, factor=2)
    key = next(name for name in PINN_PATTERNS if name in arrays)
    x, y = arrays["xcoords"], arrays["ycoords"]
    if x.ndim != 1 or x.shape != y.shape or not len(x):
        raise DataError(
            f"{path}: expected xcoords and ycoords of one length, received shapes {x.shape} and "
            f"{y.shape}"
        )
    stack = _frames_first(path, key, arrays[key], len(x), axes)
    if stack.dtype.kind != "f":
        # by contract amplitudes: integers are most likely counts that were never converted
        memory.ask(f"{path} (key {key!r})", values=(values, "amplitude or intensity"))
    values = values or "amplitude"
    memory.choice("values", values, ("amplitude", "intensity"))
    patterns = memory.counts(stack, "centre", f"{path}: key {key!r}")
    if values == "amplitude":
        if patterns.min() < 0:
            raise DataError(
                f"{path}: key {key!r}: amplitudes must not be negative, received {patterns.min()}"
            )
        patterns = patterns**2
    points = np.stack([y, x], axis=1).astype(np.float64)
    field = arrays.get("objectGuess") if with_object else None
    if field is None:
        corners = _from_zero(points)
    else:
        stored = arrays.get(PINN_POINT)
        point = position_point if stored is None else str(stored)
        memory.ask(
            str(path),
            position_point=(point, "centre or corner of a window, or with_object=False"),
        )
        memory.choice("position_point", point, POINTS)
        half = np.array(patterns.shape[1:]) / 2
        corners = points - half if point == "centre" else points
    probe = arrays.get("probeGuess")
    return Scan(
        patterns=patterns,
        positions_px=corners,
        probe=None if probe is None else memory.modes(probe, f"{path}: key 'probeGuess'"),
        object=None if field is None else field.astype(np.complex64),
        **vars(known),
        provenance=memory.origin(
            path, f"{FORMAT} (PtychoPINN)", values=values, position_point=position_point, axes=axes
        ),
    )


def _frames_first(
    path: Path, key: str, stack: np.ndarray, count: int, axes: str | None
) -> np.ndarray:
    fits = [name for name, axis in (("NHW", 0), ("HWN", 2)) if stack.shape[axis:][:1] == (count,)]
    if stack.ndim != 3 or not fits:
        raise DataError(
            f"{path}: key {key!r}: expected ({count}, H, W) or (H, W, {count}) for {count} "
            f"positions, received shape {stack.shape}"
        )
    if len(fits) > 1:
        meaning = f"NHW or HWN: all sides of {key} that could count frames are {count}"
        memory.ask(str(path), axes=(axes, meaning))
    axes = axes or fits[0]
    memory.choice("axes", axes, tuple(fits))
    return stack if axes == "NHW" else np.moveaxis(stack, 2, 0)


def _ptychonn(
    path: Path,
    known: Geometry,
    budget: memory.Budget,
    *,
    zero_frequency: str | None,
    position_frame: str | None,
) -> Scan:
    memory.ask(
        str(path),
        zero_frequency=(zero_frequency, "centre or corner of the patterns"),
        position_frame=(position_frame, "sample or probe: what the positions are of"),
    )
    assert zero_frequency is not None
    memory.choice("position_frame", position_frame, ("sample", "probe"))
    arrays = archive.load(path, budget, factor=2)
    patterns = memory.counts(arrays["reciprocal"], zero_frequency, f"{path}: key 'reciprocal'")
    moved = arrays["scan"]
    if moved.shape != (len(patterns), 2) or moved.dtype.kind not in "iuf":
        raise DataError(
            f"{path}: key 'scan': expected real {(len(patterns), 2)} (y, x in metres), received "
            f"{moved.dtype} {moved.shape}"
        )
    positions_m = (-1.0 if position_frame == "sample" else 1.0) * moved.astype(np.float64)
    window = (patterns.shape[1], patterns.shape[2])
    geometry = known.completed(window)
    left_out = {"left_out": "real (patches of the object)"} if "real" in arrays else {}
    return Scan(
        patterns=patterns,
        positions_px=corners_px(positions_m, geometry, window, str(path)),
        positions_m=positions_m,
        **vars(geometry),
        provenance={
            **memory.origin(
                path,
                f"{FORMAT} (PtychoNN)",
                zero_frequency=zero_frequency,
                position_frame=position_frame,
            ),
            **left_out,
        },
    )


def _scan247(path: Path, known: Geometry, budget: memory.Budget, *, positions: str | None) -> Scan:
    memory.ask(
        str(path), positions=(positions, "scan_true (corrected) or scan_nominal (as asked for)")
    )
    for name, shape, dtype in archive.rows(path):
        budget.take(shape, 4 * np.dtype(dtype).itemsize, f"{path}:{name}")
    measured = nanoprobe.load_scan247(path, positions=str(positions))
    return Scan(
        patterns=measured.patterns,
        positions_px=measured.positions_px,
        probe=measured.probe,
        mask=~measured.dead_pixels,
        **vars(known),
        provenance={**measured.provenance, "format": f"{FORMAT} (scan 247)"},
    )


def _from_zero(points: np.ndarray) -> np.ndarray:
    return points.astype(np.float64) - points.min(axis=0)


#: Reader of each layout, and the flags that it takes.
_READERS: Final[dict[str, tuple[Callable[..., Scan], tuple[str, ...]]]] = {
    "own": (_own, ("with_object",)),
    "ptychopinn": (_pinn, ("axes", "position_point", "values", "with_object")),
    "ptychonn": (_ptychonn, ("zero_frequency", "position_frame")),
    "scan247": (_scan247, ("positions",)),
}
