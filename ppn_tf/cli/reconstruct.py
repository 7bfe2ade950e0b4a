"""Reconstruct a scan by a trained network: patterns, patches, a stitched complex object.

A network knows the probe, the pixel size and the counts that it was trained with; for
another instrument, train one first (ppn-tf train). Patterns of another size are refused
until --crop or --bin says what to do. OUT.h5 is a ptychodus product, OUT.npz an own
file. Where the scan has a probe, the R-factor says how far the patterns that object and
probe give are from those measured (0: not at all), beside that of an empty object.

Where the network's phases count from the mean that the light sees (ppn-tf train), patches
are turned to each other where they overlap; the object's mean phase is then 0.

Example:
  ppn-tf reconstruct chart.npz --model ppn-ltem -o object.npz --picture object.png
  ppn-tf reconstruct scan_dp.h5 --model own.keras -o product.h5 --crop 64 --bin 2
"""

from __future__ import annotations

import argparse
import dataclasses
import json
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ppn_tf.cli import common, counts, long_scans, scans
from ppn_tf.cli.answer import Answer
from ppn_tf.errors import OptionError

if TYPE_CHECKING:
    import keras
    import numpy as np

    from ppn_tf.data.formats import Scan
    from ppn_tf.detector import Fit

#: Patterns that the R-factor is computed from, evenly over the scan.
_CHECKED_PATTERNS = 256
#: An object should bring the R-factor below this share of that of an empty one.
_BETTER = 0.9
#: Pixel sizes that differ by less count as equal.
_SAME_PIXEL = 0.01
#: Options of which the record of a training tells.
_HANDLING = ("crop", "bin", "span")


def configure(parser: argparse.ArgumentParser) -> None:
    """Add the options."""
    scans.add_scan(parser)
    scans.add_probe(parser)
    parser.add_argument(
        "--model", required=True, metavar="M", help="a .keras file, or a released name: ppn-ltem"
    )
    common.add_output(parser, "the result: .h5 or .hdf5 (ptychodus product), or .npz")
    parser.add_argument("--picture", type=Path, metavar="PNG", help="draw the object too")
    group = add_crop_and_bin(parser)
    counts.add_option(group)
    parser.add_argument("--batch-size", type=int, default=32, help="patterns per step (32)")
    parser.add_argument(
        "--weights",
        choices=("distance", "uniform"),
        default="distance",
        help="weight of a patch's pixels where patches overlap (distance: falls from the centre)",
    )
    long_scans.add_options(parser)
    common.add_device(parser)


def add_crop_and_bin(parser: argparse.ArgumentParser) -> argparse._ArgumentGroup:
    """Add ``--crop`` and ``--bin``; returns their group."""
    group = parser.add_argument_group("how patterns are made to fit the network")
    group.add_argument(
        "--crop",
        type=int,
        nargs="+",
        metavar="PX",
        help="keep so many detector pixels around zero frequency (one value, or height and "
        "width): same window, larger object pixels",
    )
    group.add_argument(
        "--bin",
        type=int,
        default=1,
        metavar="B",
        help="then sum blocks of B x B detector pixels: same object pixels, smaller window (1)",
    )
    group.add_argument(
        "--span",
        type=int,
        metavar="PX",
        help="patches show the middle PX x PX object pixels of the window, averaged to the size "
        "of the network, and not what crop and bin leave; the object is then written on the "
        "scan's own pixels",
    )
    return group


def run(arguments: argparse.Namespace) -> Answer:
    """Reconstruct.

    Raises
    ------
    PpnError
        For wrong options, or files that cannot be used.
    """
    import numpy as np

    from ppn_tf import api, detector, devices, pictures

    if long_scans.asked(arguments):
        return long_scans.run(arguments)
    output = common.check_output(arguments, (".h5", ".hdf5", ".npz"))
    if arguments.picture is not None:
        pictures.check_path(arguments.picture)
    scan = scans.read_scan(arguments)
    scans.check_product(output, scan)
    device = devices.select_device(arguments.gpu)
    model = api.load_model(arguments.model)
    fit = crop_and_bin(arguments)
    detector.check_side(fit, scan.window_px, model.input_shape[1:3])
    fit, remarks = counts.scaled(fit, arguments.counts, scan.patterns, scan.mask, model)
    remarks += handled_otherwise(arguments, scan.object_pixel_m)
    started = time.perf_counter()
    result, found, islands = _reconstruct(arguments, scan, model, fit)
    remarks += unconnected(islands)
    seconds = time.perf_counter() - started
    write(output, result)
    files = [str(output)]
    if arguments.picture is not None:
        pictures.draw(arguments.picture, pictures.object_panels(found), output.name)
        files.append(str(arguments.picture))
    values = {
        "patterns": len(scan.patterns),
        "object_shape": list(result.object.shape),
        "coverage": float(np.isfinite(found).mean()),
        "r_factor": explained(result),
        "r_factor_empty": explained(_empty(result)),
        "counts_factor": fit.counts_factor,
        "remarks": remarks,
        "seconds": seconds,
        "patterns_per_second": len(scan.patterns) / seconds,
        "device": device,
        "files": files,
    }
    return Answer(_text(values), values)


def _reconstruct(
    arguments: argparse.Namespace, scan: Scan, model: keras.Model, fit: Fit
) -> tuple[Scan, np.ndarray, int]:
    """Return the scan with the object, the object with NaN where no patch lies, and islands."""
    from ppn_tf import detector, reconstruction, refinement, stitching
    from ppn_tf.field_sum import FieldSum

    corners, shape = detector.placed(scan, fit)
    weights = stitching.weights(model.input_shape[1:3], arguments.weights)
    how: dict[str, Any] = {
        "fit": fit,
        "mask": scan.mask,
        "batch_size": arguments.batch_size,
        "label": "reconstruct",
    }
    if reconstruction.needs_turns(model):
        found, islands = reconstruction.reconstruct_turned(
            model, scan.patterns, corners, shape, weights, **how
        )
    else:
        total = FieldSum(shape, weights, 2)
        reconstruction.reconstruct(model, scan.patterns, corners, total, **how)
        found, islands = reconstruction.complex_object(total), 1
    if fit.span_px is None:
        result = dataclasses.replace(
            detector.fitted(scan, fit), positions_px=corners, object=refinement.filled(found)
        )
    else:
        result = detector.on_scan(scan, fit, found, corners)
    result = dataclasses.replace(result, provenance=_provenance(arguments, scan, fit))
    return result, found, islands


def crop_and_bin(arguments: argparse.Namespace) -> Fit:
    """Return what ``--crop``, ``--bin`` and ``--span`` say.

    Raises
    ------
    OptionError
        For more than two sides, or values below 1.
    """
    from ppn_tf.detector import Fit

    crop = arguments.crop
    if crop is not None and len(crop) > 2:
        raise OptionError(f"--crop expects one or two values, received {len(crop)}")
    sides = None if crop is None else (crop[0], crop[-1])
    return Fit(sides, arguments.bin, span_px=arguments.span)


def handled_otherwise(
    arguments: argparse.Namespace, object_pixel_m: tuple[float, float] | None
) -> list[str]:
    """Say where a scan is unlike that of the training, by what ``ppn-tf train`` wrote.

    Parameters
    ----------
    arguments : argparse.Namespace
    object_pixel_m : (float, float), optional
        Of the scan, before crop and bin.
    """
    import numpy as np

    record = Path(f"{arguments.model}.json")
    try:
        settings = json.loads(record.read_text(encoding="utf-8"))["settings"]
        pixel_m = np.asarray(settings.get("object_pixel_m") or np.nan, dtype=float)
        pairs = {name: (settings.get(f"{name}_px"), getattr(arguments, name)) for name in _HANDLING}
    except (OSError, ValueError, KeyError, TypeError):
        return []
    remarks = []
    if object_pixel_m is not None and (abs(pixel_m / object_pixel_m - 1) > _SAME_PIXEL).any():
        remarks.append(
            f"the object pixel was {pixel_m.tolist()} m in training ({record.name}) and is "
            f"{list(object_pixel_m)} m here: a network knows one, train it for this scan"
        )
    return remarks + [
        f"--{name} was {then} in training ({record.name}) and is {now} here: only right if this "
        "scan's detector differs as much"
        for name, (then, now) in pairs.items()
        if _sides(then) != _sides(now)
    ]


def _sides(value: Any) -> Any:
    """Return height and width of what may be stated by one number for both."""
    return [value[0], value[-1]] if isinstance(value, list) and value else value


def unconnected(islands: int) -> list[str]:
    """Say into how many parts without an overlap a scan falls."""
    if islands == 1:
        return []
    return [
        f"the scan falls into {islands} parts that do not overlap: how their phases are to each "
        "other is not known"
    ]


def explained(result: Scan) -> float | None:
    """Return the R-factor of an object on some of its patterns; None without a probe."""
    import numpy as np

    from ppn_tf import refinement

    if result.probe is None or result.object is None:
        return None
    count = len(result.patterns)
    chosen = np.unique(np.linspace(0, count - 1, min(count, _CHECKED_PATTERNS)).astype(int))
    limit = np.array(result.object.shape) - result.window_px
    whole = np.clip(np.round(result.positions_px[chosen]).astype(np.int64), 0, limit)
    dead = None if result.mask is None or result.mask.all() else ~result.mask
    offsets = result.positions_px[chosen] - whole
    task = refinement.Task(
        result.patterns[chosen], whole, result.object, result.probe, dead, offsets
    )
    scale = refinement.fitted_scale(task)
    return float(refinement.r_factor(dataclasses.replace(task, probe=_scaled(scale, task.probe))))


def _empty(result: Scan) -> Scan:
    import numpy as np

    return dataclasses.replace(result, object=np.ones_like(result.object))


def write(output: Path, result: Scan) -> None:
    """Write a product, or an own npz file."""
    from ppn_tf.data import formats

    flags: dict[str, Any] = {}
    if output.suffix.lower() != ".npz":
        flags = {"name": output.stem, "comments": "written by ppn-tf reconstruct"}
    formats.write(output, result, **flags)


def _scaled(scale: complex, probe: np.ndarray) -> np.ndarray:
    return (scale * probe).astype(probe.dtype)


def _provenance(arguments: argparse.Namespace, scan: Scan, fit: Fit) -> dict[str, Any]:
    import ppn_tf
    from ppn_tf import files, models

    model = str(arguments.model)
    if model.endswith(".keras"):
        known = {"model_sha256": files.sha256(model)}
    else:
        entry = models.trained(model)
        known = {"model_sha256": entry.sha256, "model_record": entry.record}
    return {
        "program": f"ppn-tf {ppn_tf.__version__} reconstruct",
        "model": Path(model).name,
        **known,
        "weights": arguments.weights,
        "fit": {
            "detector_px": list(scan.window_px),
            "crop_px": list(fit.cropped_px(scan.window_px)),
            "bin_px": fit.bin_px,
            "span_px": fit.span_px,
            "counts_factor": fit.counts_factor,
        },
        "scan": scan.provenance,
    }


def _text(values: dict[str, Any]) -> str:
    rows, cols = values["object_shape"]
    lines = [
        f"{values['patterns']} patterns in {values['seconds']:.1f} s "
        f"({values['patterns_per_second']:.0f} a second): object of {rows} x {cols} px, "
        f"{values['coverage']:.0%} of it covered"
    ]
    factor, empty = values["r_factor"], values["r_factor_empty"]
    if factor is None:
        lines.append("R-factor: not known, the scan has no probe")
    else:
        verdict = "" if factor < _BETTER * empty else ": hardly better, so do not trust the object"
        lines.append(
            f"R-factor against the patterns: {factor:.3f}, of an empty object {empty:.3f}{verdict}"
        )
    lines += [f"note: {remark}" for remark in values["remarks"]]
    return "\n".join([*lines, *(f"written: {name}" for name in values["files"])])
