"""Simulate a scan: an object, a probe, a raster, noise; the truth goes into the file.

The object is a name (ltem, stand-in, siemens-star, spiral, camera, coins), or a file: a
complex .npy, or a grey picture (.npy, .tif), of which the bright half becomes amplitude 1
and the dark half 0.5, and the grey values the phase. The probe is a name (ltem,
stand-in), a complex .npy, or the file of a scan: all modes of its probe are taken.

Example:
  ppn-tf simulate -o chart.npz --overlap 0.75
  ppn-tf simulate --object picture.npy --probe scan_para.h5 --noise reference -o sim.npz
"""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ppn_tf.cli import common
from ppn_tf.cli.answer import Answer

if TYPE_CHECKING:
    import numpy as np

    from ppn_tf.data import ComplexObject
    from ppn_tf.data.formats import Scan


def configure(parser: argparse.ArgumentParser) -> None:
    """Add the options."""
    parser.add_argument("--object", default="ltem", metavar="NAME|FILE", help="default: ltem")
    parser.add_argument("--probe", default="ltem", metavar="NAME|FILE", help="default: ltem")
    common.add_output(parser, "the scan: .npz, or .h5 (ptychodus product, with X_dp.h5 beside it)")
    steps = parser.add_mutually_exclusive_group()
    steps.add_argument("--step", type=float, metavar="PX", help="raster step (8 px)")
    steps.add_argument("--overlap", type=float, metavar="SHARE", help="in place of --step, 0 to 1")
    parser.add_argument(
        "--jitter", type=int, default=0, metavar="PX", help="largest displacement (0)"
    )
    parser.add_argument(
        "--noise",
        default="none",
        help="none (default), reference, poisson-only, gaussian-only, low-dose or high-dose",
    )
    parser.add_argument("--seed", type=int, default=0, help="of jitter and noise (0)")
    parser.add_argument("--energy-ev", type=float, metavar="EV", help="photon energy; .h5 needs it")
    parser.add_argument("--distance-m", type=float, metavar="M", help=".h5 needs it")
    parser.add_argument("--object-pixel-m", type=float, metavar="M", help=".h5 needs it")


def run(arguments: argparse.Namespace) -> Answer:
    """Simulate.

    Raises
    ------
    PpnError
        For wrong options, or files that cannot be used.
    """
    from ppn_tf.cli import scans
    from ppn_tf.data import formats
    from ppn_tf.errors import OptionError

    output = common.check_output(arguments, (".npz", ".h5", ".hdf5"))
    scan, grid_shape, step_px = _simulate(arguments)
    scans.check_product(output, scan)
    files = [str(output)]
    flags: dict[str, Any] = {}
    if output.suffix.lower() != ".npz":
        beside = patterns_beside(output)
        if beside.exists() and not arguments.force:
            raise OptionError(f"{beside} is there already: pass --force to replace it")
        flags = {"patterns": beside, "name": output.stem, "comments": "simulated by ppn-tf"}
        files.append(str(beside))
    formats.write(output, scan, **flags)
    count, height, width = scan.patterns.shape
    values = {
        "patterns": [count, height, width],
        "object_shape": list(scan.object.shape),
        "grid_shape": list(grid_shape),
        "step_px": step_px,
        "counts_per_pattern": float(scan.patterns.sum(axis=(1, 2), dtype=float).mean()),
        "stand_in": arguments.object == "stand-in",
        "files": files,
    }
    text = (
        f"{count} patterns of {height} x {width} px, step {step_px:g} px, "
        f"{values['counts_per_pattern']:.4g} counts each on average"
    )
    return Answer("\n".join([text, *(f"written: {name}" for name in files)]), values)


def _simulate(arguments: argparse.Namespace) -> tuple[Scan, tuple[int, int], float]:
    """Return the scan with its truth, rows and columns of the raster, and its step [px]."""
    import numpy as np

    import ppn_tf
    from ppn_tf import data
    from ppn_tf.data import formats
    from ppn_tf.data.modes import simulate_modes

    obj, probe = read_object(arguments.object), read_probe(arguments.probe)
    step_px = 8.0 if arguments.step is None else arguments.step
    if arguments.overlap is not None:
        step_px = data.step_from_overlap(probe.shape[-1], arguments.overlap)
    raster = data.raster(
        obj.amplitude.shape, probe.shape[-1], step_px, arguments.jitter, arguments.seed
    )
    scan = formats.Scan(
        patterns=simulate_modes(
            obj.complex, probe, raster.positions_px, arguments.noise, arguments.seed
        ),
        positions_px=raster.positions_px.astype(np.float64),
        probe=probe.astype(np.complex64),
        object=obj.complex,
        energy_eV=arguments.energy_ev,
        distance_m=arguments.distance_m,
        object_pixel_m=arguments.object_pixel_m,
        provenance={
            "program": f"ppn-tf {ppn_tf.__version__} simulate",
            "object": {"name": obj.name, **obj.provenance},
            "probe": Path(arguments.probe).name,
            "step_px": raster.step_px,
            "jitter_px": raster.jitter_px,
            "noise": arguments.noise,
            "seed": arguments.seed,
        },
    )
    return scan, raster.grid_shape, raster.step_px


def patterns_beside(product: Path) -> Path:
    """Return where the patterns of a product are written: ``X_dp`` for ``X`` and ``X_para``."""
    stem = product.stem.removesuffix("_para")
    return product.with_name(f"{stem}_dp{product.suffix}")


def read_object(source: str) -> ComplexObject:
    """Return an object by name or from a file.

    Raises
    ------
    OptionError
        For what is neither a name nor a file.
    DataError
        For a file that holds no picture.
    """
    import numpy as np

    from ppn_tf.data import ComplexObject, available_objects, load_object
    from ppn_tf.data.objects import from_grey
    from ppn_tf.errors import OptionError

    if source in available_objects():
        return load_object(source)
    path = Path(source)
    if not path.is_file():
        raise OptionError(
            f"--object expects a file or one of {', '.join(available_objects())}, received "
            f"{source!r}"
        )
    values = _array(path)
    if np.iscomplexobj(values):
        return ComplexObject(path.name, np.abs(values), np.angle(values), {"file": path.name})
    return from_grey(path.name, values, path.name)


def read_probe(source: str) -> np.ndarray:
    """Return the probe's modes (M, H, W) by name, or from the file of an array or a scan.

    Raises
    ------
    OptionError
        For what is neither a name nor a file.
    DataError
        For a file without a probe.
    """
    from ppn_tf.data import load_probe
    from ppn_tf.data.formats.illumination import read_probe as from_file
    from ppn_tf.data.probes import PROBES
    from ppn_tf.errors import OptionError

    if source in PROBES:
        return load_probe(source)[None]
    if not Path(source).is_file():
        raise OptionError(
            f"--probe expects a file or one of {', '.join(PROBES)}, received {source!r}"
        )
    return from_file(source)


def _array(path: Path) -> np.ndarray:
    from ppn_tf import tiff
    from ppn_tf.data.formats.illumination import read_npy
    from ppn_tf.errors import DataError

    if path.suffix == ".npy":
        return read_npy(path)
    if path.suffix.lower() in (".tif", ".tiff"):
        return tiff.read(path)
    raise DataError(f"{path} cannot be read: expected a .npy array or a .tif picture")
