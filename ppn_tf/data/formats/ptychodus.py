"""The pair of ptychodus, pty-chi and PtychoViT: patterns (dp) and product, in HDF5.

Read with the field's conventions: counts with zero frequency at the centre; x and y of
the window's centre in metres, growing with column and row; the object's grid placed by
its centre. See docs/conventions.md.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final

import h5py
import numpy as np

from ppn_tf.data.formats import hdf5, memory
from ppn_tf.data.formats.scan import Geometry, Scan, corners_px
from ppn_tf.errors import DataError, OptionError, UnstatedError
from ppn_tf.files import replacing

FORMAT: Final = "ptychodus"
#: Where patterns may lie, in the order that they are looked for.
PATTERNS: Final = ("/dp", "/entry/data/data", "/exchange/data")
X, Y, INDEXES = "/probe_position_x_m", "/probe_position_y_m", "/probe_position_indexes"
PROBE, OBJECT, SPACING = "/probe", "/object", "/object_layer_spacing_m"
#: Written beside the patterns by this package; other programs ignore it.
MASK: Final = "/valid_pixels"
#: Root attribute with the provenance; other programs ignore it.
PROVENANCE: Final = "ppn_tf_provenance"
_DISTANCE, _ENERGY = "detector_object_distance_m", "probe_energy_eV"
_KEPT_ATTRIBUTES = ("name", "comments", "exposure_time_s", "probe_photon_count")
_PIXEL = ("pixel_height_m", "pixel_width_m")
_CENTER = ("center_y_m", "center_x_m")


def matches(file: h5py.File) -> bool:
    """Tell whether a file is one of the pair, by its keys."""
    keys = (X, *PATTERNS)
    return any(hdf5.dataset(file, key) is not None for key in keys)


def read(
    path: Path,
    known: Geometry,
    budget: memory.Budget,
    *,
    product: Path | str | None = None,
    patterns: Path | str | None = None,
    zero_frequency: str = "centre",
    object_center_m: tuple[float, float] | None = None,
    with_object: bool = True,
    zero_masked: bool = False,
) -> Scan:
    """Read a scan from the pair.

    Parameters
    ----------
    path : Path
        Either file of the pair.
    known : Geometry
        What the caller states; must agree with the files.
    budget : Budget
    product, patterns : Path or str, optional
        The other file. By default the one beside it by the usual names: ``X_dp`` with
        ``X_para`` or ``X``.
    zero_frequency : {"centre", "corner"}
        The format's convention is the centre.
    object_center_m : (float, float), optional
        (y, x) of the middle of the object's grid [m], asked for where the file has an
        object without its centre.
    with_object : bool
        False leaves the object out.
    zero_masked : bool
        Set the pixels that the mask excludes to 0.

    Returns
    -------
    Scan

    Raises
    ------
    DataError, OptionError
    """
    pattern_path, product_path = pair(path, product, patterns)
    counts, mask = _patterns(pattern_path, budget, zero_frequency)
    found = read_product(product_path, known, budget, counts, object_center_m, with_object)
    flags = {"zero_frequency": zero_frequency, "object_center_m": object_center_m}
    details, frames = found.pop("details"), found.pop("frames")
    return Scan(
        patterns=memory.zeroed(counts if frames is None else counts[frames], mask, zero_masked),
        mask=mask,
        **found,
        provenance={
            **memory.origin(pattern_path, FORMAT, **flags),
            "product": memory.origin(product_path, FORMAT),
            **details,
        },
    )


def write(
    path: Path,
    scan: Scan,
    *,
    patterns: Path | str | None = None,
    name: str = "",
    comments: str = "",
    exposure_time_s: float = 0.0,
    losses: Sequence[float] = (),
) -> None:
    """Write a product, and the patterns beside it if their path is given.

    Parameters
    ----------
    path : Path
        The product.
    scan : Scan
        With probe, energy, distance and object pixel. Without an object the product
        holds an empty one, as ptychodus does before a reconstruction.
    patterns : Path or str, optional
        Where to write the patterns (``/dp``) and the mask.
    name, comments : str
        Root attributes for the reader.
    exposure_time_s : float
        0 where it is not known, as in ptychodus.
    losses : one float an epoch

    Raises
    ------
    DataError
        If the scan lacks what a product must have; everything missing is named.
    RecordError
    """
    needed = ("probe", "energy_eV", "distance_m", "object_pixel_m")
    missing = [item for item in needed if getattr(scan, item) is None]
    if missing or scan.probe is None or scan.object_pixel_m is None or scan.positions_m is None:
        raise DataError(
            f"{path}: a product needs {', '.join(needed)}; the scan lacks {', '.join(missing)}: "
            "state them when the scan is read"
        )
    with replacing(path) as temporary, h5py.File(temporary, "w") as file:
        file.attrs.update(
            {
                "name": name,
                "comments": comments,
                _DISTANCE: scan.distance_m,
                _ENERGY: scan.energy_eV,
                "exposure_time_s": float(exposure_time_s),
                "probe_photon_count": float(scan.patterns.sum(axis=(1, 2), dtype=float).max()),
                "mass_attenuation_m2_kg": 0.0,
                "tomography_angle_deg": 0.0,
                PROVENANCE: json.dumps(scan.provenance, sort_keys=True),
            }
        )
        _put_arrays(file, scan, losses)
    if patterns is not None:
        with replacing(patterns) as temporary, h5py.File(temporary, "w") as file:
            file[PATTERNS[0]] = scan.patterns
            if scan.mask is not None:
                file[MASK] = scan.mask


def _put_arrays(file: h5py.File, scan: Scan, losses: Sequence[float]) -> None:
    assert scan.probe is not None and scan.positions_m is not None
    grid = (0, 0) if scan.object is None else scan.object.shape
    pixel = np.array(scan.object_pixel_m, dtype=np.float64)
    offset_px = scan.positions_px[0] + (np.array(scan.window_px) - np.array(grid)) / 2
    center = scan.positions_m[0] - offset_px * pixel
    field = np.zeros(grid, np.complex64) if scan.object is None else scan.object
    file[INDEXES] = np.arange(len(scan.patterns))
    file[PROBE], file[OBJECT] = scan.probe[None], field[None]
    file[PROBE].attrs.update(dict(zip(_PIXEL, pixel, strict=True)))
    put_place(file, scan.positions_m, pixel, center)
    file[SPACING] = np.zeros(0)
    file["/loss_epochs"] = np.arange(len(losses))
    file["/loss_values"] = np.asarray(losses, dtype=np.float64)


def put_place(
    file: h5py.File, positions_m: np.ndarray, pixel_m: Sequence[float], center_m: Sequence[float]
) -> None:
    """Write where the object that a file holds lies on its scan.

    Parameters
    ----------
    file : h5py.File
        With `OBJECT`.
    positions_m : (N, 2) float
        Centres of the windows, (y, x).
    pixel_m : (float, float)
        Height and width of the object's pixels.
    center_m : (float, float)
        (y, x) of the middle of its grid.
    """
    file[Y], file[X] = positions_m.T
    values = (*pixel_m, *center_m)
    file[OBJECT].attrs.update(dict(zip((*_PIXEL, *_CENTER), values, strict=True)))


def pair(path: Path, product: Path | str | None, patterns: Path | str | None) -> tuple[Path, Path]:
    """Return the file with the patterns and the one with the product; for this package."""
    if product is not None and patterns is not None:
        raise OptionError("pass product or patterns, not both: the path is the other file")
    if product is not None:
        return path, Path(product)
    if patterns is not None:
        return Path(patterns), path
    with hdf5.opened(path) as file:
        is_product = hdf5.dataset(file, X) is not None
        if is_product and any(hdf5.dataset(file, key) is not None for key in PATTERNS):
            return path, path
    flag, mine, others = (
        ("patterns", "_para", ("_dp",)) if is_product else ("product", "_dp", ("_para", ""))
    )
    stem = path.stem.removesuffix(mine)
    names = [f"{stem}{other}{path.suffix}" for other in others]
    for beside in map(path.with_name, names):
        if beside != path and beside.is_file():
            return (beside, path) if is_product else (path, beside)
    content = "patterns" if is_product else "positions and the probe"
    raise UnstatedError(
        f"{path} is one file of a pair, without {' or '.join(names)} beside it: pass {flag} "
        f"(the file with the {content})",
        (flag,),
    )


def _patterns(
    path: Path, budget: memory.Budget, zero_frequency: str
) -> tuple[np.ndarray, np.ndarray | None]:
    """Return the counts and the mask, or None."""
    with hdf5.opened(path) as file:
        source = hdf5.first(file, PATTERNS, "patterns")
        # twice: as stored, and as float32
        budget.take(source.shape, 4, f"{path}:{source.name}")
        counts = memory.counts(
            hdf5.array(source, budget), zero_frequency, f"{path}: key {source.name!r}"
        )
        valid = hdf5.dataset(file, MASK)
        mask = None
        if valid is not None:
            mask = memory.centred(hdf5.array(valid, budget).astype(bool), zero_frequency)
    return counts, mask


def read_product(
    path: Path,
    known: Geometry,
    budget: memory.Budget,
    counts: np.ndarray,
    object_center_m: tuple[float, float] | None,
    with_object: bool,
) -> dict[str, Any]:
    """Return the fields of the scan that lie in the product, its details, and the frames."""
    window = (counts.shape[1], counts.shape[2])
    with hdf5.opened(path) as file:
        positions_m, frames = _positions(file, budget, len(counts))
        geometry = known.joined(_geometry(file), str(path)).completed(window)
        node = hdf5.dataset(file, PROBE)
        probe = None
        if node is not None:
            probe = memory.modes(hdf5.array(node, budget), f"{path}: key 'probe'")
        field = _object(file, budget) if with_object else None
        center = None if field is None else _center(file, object_center_m)
        details = _details(file)
    in_order = np.array_equal(frames, np.arange(len(counts)))
    if not in_order:
        details["frames_used"] = f"{len(frames)} of {len(counts)}, by probe_position_indexes"
    corners = corners_px(
        positions_m,
        geometry,
        window,
        str(path),
        object_shape=None if field is None else (field.shape[0], field.shape[1]),
        object_center_m=center,
    )
    return {
        "positions_px": corners,
        "positions_m": positions_m,
        "probe": probe,
        "object": field,
        **vars(geometry),
        "details": details,
        "frames": None if in_order else frames,
    }


def _positions(file: h5py.File, budget: memory.Budget, count: int) -> tuple[np.ndarray, np.ndarray]:
    """Return (y, x) [m] and the index of each position's frame."""
    y, x = (hdf5.array(hdf5.first(file, (key,), "positions"), budget) for key in (Y, X))
    if y.ndim != 1 or y.shape != x.shape or len(y) == 0:
        raise DataError(
            f"{file.filename}: expected {Y[1:]} and {X[1:]} of one length, received shapes "
            f"{y.shape} and {x.shape}"
        )
    positions_m = np.stack([y, x], axis=1).astype(np.float64)
    stored = hdf5.dataset(file, INDEXES)
    if stored is None:
        if len(y) != count:
            raise DataError(
                f"{file.filename}: {len(y)} positions for {count} patterns and no "
                f"{INDEXES[1:]} to pair them: remove the surplus, or add the indexes"
            )
        return positions_m, np.arange(count)
    frames = hdf5.array(stored, budget)
    if frames.shape != y.shape or frames.dtype.kind not in "iu":
        raise DataError(
            f"{file.filename}: key {INDEXES!r}: expected integers {y.shape}, received "
            f"{frames.dtype} {frames.shape}"
        )
    if frames.min() < 0 or frames.max() >= count:
        raise DataError(
            f"{file.filename}: {INDEXES[1:]} from {frames.min()} to {frames.max()} do not fit "
            f"{count} patterns: are these two files of one scan?"
        )
    return positions_m, frames


def _geometry(file: h5py.File) -> Geometry:
    """Return what the product states; ptychodus writes 0 for what it does not know."""
    values: dict[str, Any] = {}
    for key, name in ((_ENERGY, "energy_eV"), (_DISTANCE, "distance_m")):
        value = hdf5.attribute(file, key)
        values[name] = float(value) if value is not None and float(value) != 0 else None
    found = Geometry(**values)
    for key in (PROBE, OBJECT):
        node = hdf5.dataset(file, key)
        if node is not None and all(name in node.attrs for name in _PIXEL):
            height, width = (float(hdf5.attribute(node, name)) for name in _PIXEL)
            pixel = Geometry(object_pixel_m=(height, width))
            found = found.joined(pixel, f"{file.filename}: key {key!r}")
    return found


def _object(file: h5py.File, budget: memory.Budget) -> np.ndarray | None:
    node = hdf5.dataset(file, OBJECT)
    if node is None or node.size == 0:
        return None
    values = hdf5.array(node, budget)
    if values.ndim == 3 and len(values) > 1:
        raise DataError(
            f"{file.filename}: key 'object': expected one layer, received {len(values)}: "
            "choose one, or pass with_object=False"
        )
    values = values[0] if values.ndim == 3 else values
    if values.ndim != 2 or not np.iscomplexobj(values):
        raise DataError(
            f"{file.filename}: key 'object': expected complex (rows, cols) or (1, rows, cols), "
            f"received {values.dtype} {node.shape}"
        )
    return values.astype(np.complex64)


def _center(file: h5py.File, given: tuple[float, float] | None) -> tuple[float, float]:
    node = hdf5.dataset(file, OBJECT)
    if all(name in node.attrs for name in _CENTER):
        y, x = (float(hdf5.attribute(node, name)) for name in _CENTER)
        if given is not None and not np.allclose(given, (y, x), rtol=0, atol=1e-12):
            raise DataError(
                f"{file.filename}: object_center_m: the file states {(y, x)}, received {given}: "
                "leave the flag out, or correct the file"
            )
        return (y, x)
    meaning = "(y, x) of the middle of the object's grid in metres, or with_object=False"
    memory.ask(file.filename, object_center_m=(given, meaning))
    assert given is not None
    return given


def _details(file: h5py.File) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for key in _KEPT_ATTRIBUTES:
        value = hdf5.attribute(file, key)
        if value is not None:
            number = isinstance(value, (int, float, np.number))
            found[key] = float(value) if number else hdf5.text(value)
    if PROVENANCE in file.attrs:
        found["written_from"] = json.loads(hdf5.text(hdf5.attribute(file, PROVENANCE)))
    return found
