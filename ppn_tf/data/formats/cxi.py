"""CXI and NXcxi_ptycho files. Read only.

The files record what the instrument did: the *sample's* translation in metres and the
detector as it was read out. What a file leaves open is asked for. See docs/conventions.md.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any, Final

import h5py
import numpy as np

from ppn_tf.data.formats import hdf5, memory
from ppn_tf.data.formats.scan import Geometry, Scan, corners_px
from ppn_tf.errors import DataError, OptionError

FORMAT: Final = "cxi"
_INSTRUMENT: Final = "/entry_1/instrument_1"
_DETECTOR: Final = f"{_INSTRUMENT}/detector_1"
DATA: Final = ("/entry_1/data_1/data", f"{_DETECTOR}/data")
TRANSLATION: Final = (
    "/entry_1/data_1/translation",
    "/entry_1/sample_1/geometry_1/translation",
    f"{_DETECTOR}/translation",
    "/entry_1/sample_3/geometry_1/translation",
    "/entry_1/sample_3/geometry/translation",
)
PROBE: Final = f"{_INSTRUMENT}/source_1/illumination"
SOURCE_ENERGY: Final = f"{_INSTRUMENT}/source_1/energy"
BEAM_ENERGY: Final = (
    "/entry_1/beam_1/incident_beam_energy",
    f"{_INSTRUMENT}/beam_1/incident_beam_energy",
)
#: Definitions in which source_1/energy is that of the machine, not of the photons.
NEXUS: Final = ("NXptycho", "NXcxi_ptycho")
JOULE_PER_EV: Final = 1.602176634e-19
#: Units of an energy, in eV.
_UNITS: Final = {"J": 1 / JOULE_PER_EV, "eV": 1.0, "keV": 1e3}
#: Units of a length, in metres; CXI prescribes metres, which nothing says too.
_METRES: Final = {
    **dict.fromkeys(("", "m", "meter", "metre", "meters", "metres"), 1.0),
    "cm": 1e-2,
    "mm": 1e-3,
    **dict.fromkeys(("um", "\N{MICRO SIGN}m", "\N{GREEK SMALL LETTER MU}m", "micron"), 1e-6),
    "nm": 1e-9,
    "pm": 1e-12,
}
#: Photon energies outside this are a mistake of units [eV].
_PLAUSIBLE_EV: Final = (1.0, 1e6)
AXES: Final = ("+y+x", "-y+x", "+y-x", "-y-x")


def matches(file: h5py.File) -> bool:
    """Tell whether a file is CXI, by its keys."""
    return hdf5.has(file, "entry_1")


def read(
    path: Path,
    known: Geometry,
    budget: memory.Budget,
    *,
    position_frame: str | None = None,
    position_axes: str | None = None,
    zero_frequency: str | None = None,
    zero_masked: bool = False,
) -> Scan:
    """Read a scan.

    Parameters
    ----------
    path : Path
    known : Geometry
        What the caller states; must agree with the file.
    budget : Budget
    position_frame : {"sample", "probe"}
        What the translations are of. CXI says the sample, and writers disagree.
        Those of the sample are negated.
    position_axes : {"+y+x", "-y+x", "+y-x", "-y-x"}
        The directions of the file's y and x in which rows and columns of the patterns
        grow: "-y+x" for a y axis that points up and rows that run down.
    zero_frequency : {"centre", "corner"}
        Where it lies in the patterns.
    zero_masked : bool
        Set the pixels that the mask excludes to 0.

    Returns
    -------
    Scan

    Raises
    ------
    OptionError
        If one of the three flags is missing; all that are missing are named.
    DataError
    """
    stated = stated_flags(path, position_frame, position_axes, zero_frequency)
    with hdf5.opened(path) as file:
        counts = _patterns(file, budget, stated["zero_frequency"])
        around = read_around(file, known, budget, counts.shape, **stated)
        node = hdf5.dataset(file, PROBE)
        probe = None
        if node is not None:
            probe = memory.modes(hdf5.array(node, budget), f"{path}: key {PROBE!r}")
    return Scan(
        patterns=memory.zeroed(counts, around["mask"], zero_masked),
        probe=probe,
        **around,
        provenance=memory.origin(path, FORMAT, **stated),
    )


def stated_flags(
    path: Path, position_frame: str | None, position_axes: str | None, zero_frequency: str | None
) -> dict[str, str]:
    """Return the flags by name; for this package.

    Raises
    ------
    OptionError
        If one is missing, or is none of its values.
    """
    memory.ask(
        str(path),
        position_frame=(position_frame, "sample or probe: what the translations are of"),
        position_axes=(position_axes, "where rows and columns grow, such as -y+x"),
        zero_frequency=(zero_frequency, "centre or corner of the patterns"),
    )
    assert position_frame is not None and position_axes is not None and zero_frequency is not None
    memory.choice("position_frame", position_frame, ("sample", "probe"))
    memory.choice("position_axes", position_axes, AXES)
    memory.choice("zero_frequency", zero_frequency, ("centre", "corner"))
    return {
        "position_frame": position_frame,
        "position_axes": position_axes,
        "zero_frequency": zero_frequency,
    }


def read_around(
    file: h5py.File,
    known: Geometry,
    budget: memory.Budget,
    shape: tuple[int, ...],
    *,
    position_frame: str,
    position_axes: str,
    zero_frequency: str,
) -> dict[str, Any]:
    """Return the fields of the scan that lie around its patterns (N, H, W); for this package."""
    count, *window = shape
    positions_m = _positions(file, budget, count, position_frame, position_axes)
    side = (window[0], window[1])
    geometry = known.joined(_geometry(file, known), file.filename).completed(side)
    return {
        "positions_px": corners_px(positions_m, geometry, side, file.filename),
        "positions_m": positions_m,
        "mask": _mask(file, budget, zero_frequency),
        **vars(geometry),
    }


def _patterns(file: h5py.File, budget: memory.Budget, zero_frequency: str) -> np.ndarray:
    source = hdf5.first(file, DATA, "patterns")
    budget.take(source.shape, 4, f"{file.filename}:{source.name}")
    values = hdf5.array(source, budget)
    if values.ndim == 4:  # a raster: rows and columns of the scan
        values = values.reshape(-1, *values.shape[2:])
    return memory.counts(values, zero_frequency, f"{file.filename}: key {source.name!r}")


def _positions(
    file: h5py.File, budget: memory.Budget, count: int, frame: str, axes: str
) -> np.ndarray:
    source = hdf5.first(file, TRANSLATION, "translations")
    values, metres = hdf5.array(source, budget), _metres(source)
    flat = values.reshape(-1, values.shape[-1]) if values.ndim == 3 else values
    if flat.shape != (count, 3) or flat.dtype.kind not in "iuf":
        raise DataError(
            f"{file.filename}: key {source.name!r}: expected real {(count, 3)} (x, y, z in "
            f"metres), received {values.dtype} {values.shape}"
        )
    sign = -1.0 if frame == "sample" else 1.0
    row = sign if axes.startswith("+y") else -sign
    col = sign if axes.endswith("+x") else -sign
    flat = flat.astype(np.float64) * metres
    return np.stack([row * flat[:, 1], col * flat[:, 0]], axis=1)


def _geometry(file: h5py.File, known: Geometry) -> Geometry:
    height = _length_m(file, f"{_DETECTOR}/y_pixel_size")
    width = _length_m(file, f"{_DETECTOR}/x_pixel_size")
    pixel = None if height is None or width is None else (height, width)
    distance = _length_m(file, f"{_DETECTOR}/distance")
    return Geometry(_energy_eV(file, known), distance, pixel)


def _length_m(file: h5py.File, path: str) -> float | None:
    node = hdf5.dataset(file, path)
    value = hdf5.number(node)
    return None if node is None or value is None else value * _metres(node)


def _metres(node: h5py.Dataset) -> float:
    """Return what the unit of a length is in metres."""
    units = hdf5.text(hdf5.attribute(node, "units") or "")
    if units not in _METRES:
        raise DataError(
            f"{node.file.filename}: key {node.name!r}: expected a length in one of "
            f"{', '.join(filter(None, _METRES))}, received the units {units!r}: correct the file"
        )
    return _METRES[units]


def _energy_eV(file: h5py.File, known: Geometry) -> float | None:
    """Return the photon energy; None if the caller states it and the file is unusable."""
    for path in BEAM_ENERGY:
        node = hdf5.dataset(file, path)
        value = hdf5.number(node)
        if node is not None and value is not None:
            units = hdf5.text(hdf5.attribute(node, "units") or "")
            if units in _UNITS:
                return value * _UNITS[units]
            return _unusable(file, known, f"key {path!r} has the units {units!r}")
    value = hdf5.number(hdf5.dataset(file, SOURCE_ENERGY))
    if value is None:
        return None
    nodes = (node for node in _definitions(file) if node is not None)
    definition = next((hdf5.text(hdf5.small(node)) for node in nodes), "")
    if definition in NEXUS:
        return _unusable(file, known, f"by {definition}, {SOURCE_ENERGY!r} is the machine's energy")
    energy = value / JOULE_PER_EV
    if not _PLAUSIBLE_EV[0] <= energy <= _PLAUSIBLE_EV[1]:
        problem = f"key {SOURCE_ENERGY!r} is {value:.6g}, which is no photon energy in joules"
        return _unusable(file, known, problem)
    return energy


def _definitions(file: h5py.File) -> list[h5py.Dataset | None]:
    return [hdf5.dataset(file, f"/{entry}/definition") for entry in ("entry_1", "entry")]


def _unusable(file: h5py.File, known: Geometry, problem: str) -> None:
    if known.energy_eV is None:
        raise OptionError(f"{file.filename}: {problem}: pass energy_eV")


def _mask(file: h5py.File, budget: memory.Budget, zero_frequency: str) -> np.ndarray | None:
    node = hdf5.dataset(file, f"{_DETECTOR}/mask")
    if node is None:
        return None
    values = hdf5.array(node, budget)
    if values.ndim != 2 or values.dtype.kind not in "biu":
        raise DataError(
            f"{file.filename}: key {node.name!r}: expected integers (H, W), 0 for a good pixel, "
            f"received {values.dtype} {values.shape}"
        )
    return memory.centred(values == 0, zero_frequency)
