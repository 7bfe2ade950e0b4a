"""``ppn-tf reconstruct`` for scans too long for memory, here or on a Dask cluster."""

from __future__ import annotations

import argparse
from typing import TYPE_CHECKING, Any

from ppn_tf.cli import common, counts, scans
from ppn_tf.cli.answer import Answer
from ppn_tf.errors import OptionError

if TYPE_CHECKING:
    from ppn_tf.data.formats.located import Located
    from ppn_tf.detector import Fit
    from ppn_tf.long_scan import LongScan, Settings

#: Options of the command that would need the whole scan, with their defaults.
_WHOLE_SCAN = {
    "picture": None,
    "probe": None,
}


def add_options(parser: argparse.ArgumentParser) -> None:
    """Add ``--chunk`` and ``--scheduler``."""
    group = parser.add_argument_group("scans too long for memory (docs/cluster.md)")
    group.add_argument(
        "--chunk",
        type=int,
        metavar="N",
        help="read and stitch N patterns at a time, from a ptychodus pair or CXI; interrupted, the "
        "same command goes on. OUT.h5 holds /object, at the pixels that the network sees, and "
        "/coverage",
    )
    group.add_argument(
        "--scheduler",
        metavar="ADDRESS",
        help="tcp://HOST:8786 of a Dask cluster that makes the chunks",
    )


def asked(arguments: argparse.Namespace) -> bool:
    """Tell whether the scan stays in its file."""
    return arguments.chunk is not None or arguments.scheduler is not None


def run(arguments: argparse.Namespace) -> Answer:
    """Reconstruct chunk by chunk.

    Raises
    ------
    PpnError
        For options that need the whole scan, files that cannot be used, or a cluster
        that is not there.
    """
    import dataclasses

    from ppn_tf import devices, long_scan
    from ppn_tf.cli import reconstruct
    from ppn_tf.data import formats

    output = common.check_output(arguments, (".h5", ".hdf5"))
    _check(arguments)
    settings = long_scan.Settings(
        str(arguments.model),
        long_scan.CHUNK if arguments.chunk is None else arguments.chunk,
        arguments.batch_size,
        arguments.weights,
        reconstruct.crop_and_bin(arguments),
    )
    given = scans.keywords(arguments)
    with scans.asking_for_flags():
        found = formats.locate(arguments.scan, **given)
    if arguments.mask is not None:
        mask = scans.joined_mask(arguments.mask, found.mask, found.window_px)
        found = dataclasses.replace(found, mask=mask)
    device = devices.select_device("cpu" if arguments.scheduler else arguments.gpu)
    settings, remarks = _scaled(found, settings, arguments.counts)
    scan = _fitted(found, settings.fit)
    done = long_scan.reconstruct(
        scan,
        settings,
        output,
        scheduler=arguments.scheduler,
        gpu=arguments.gpu != "cpu",
        label="reconstruct",
    )
    remarks += reconstruct.handled_otherwise(arguments, found.object_pixel_m)
    values = {
        **{name: done[name] for name in ("patterns", "parts", "parts_found", "seconds")},
        "patterns_per_second": done["patterns"] / done["seconds"],
        "object_shape": list(scan.shape),
        "object_pixel_m": list(scan.place.pixel_m),
        "counts_factor": settings.fit.counts_factor,
        "remarks": remarks + reconstruct.unconnected(done["islands"]),
        "device": "the cluster's" if arguments.scheduler else device,
        "files": [str(output)],
    }
    return Answer(_text(values), values)


def _scaled(found: Located, settings: Settings, asked: str) -> tuple[Settings, list[str]]:
    """Return the settings with the factor of the counts, and remarks; the file is streamed."""
    import dataclasses

    from ppn_tf import detector, long_scan
    from ppn_tf.data.formats import hdf5
    from ppn_tf.data.formats.frames import Frames

    model = long_scan.network(settings)
    detector.check_side(settings.fit, found.window_px, model.input_shape[1:3])
    with hdf5.opened(found.path) as file:
        patterns = Frames(hdf5.dataset(file, found.key), found.zero_frequency, found.allow_filters)
        fit, remarks = counts.scaled(
            settings.fit, asked, patterns, found.mask, model, sampled=True, label="counts"
        )
    return dataclasses.replace(settings, fit=fit), remarks


def _fitted(found: Located, fit: Fit) -> LongScan:
    """Return the scan on the grid that crop, bin and span leave."""
    import numpy as np

    from ppn_tf.field_parts import Place
    from ppn_tf.long_scan import LongScan

    corners = fit.corners_px(found.corners_px, found.window_px)
    corners = corners - corners.min(axis=0)
    window = np.array(fit.window_px(found.window_px))
    rows, cols = np.ceil(corners.max(axis=0) + window - 1e-6).astype(int).tolist()
    pixel_m = np.array(found.object_pixel_m) * fit.pixel_growth(found.window_px)
    offset_px = corners[0] + (window - (rows, cols)) / 2
    y_m, x_m = found.positions_m[0] - offset_px * pixel_m
    place = Place(found.positions_m, tuple(pixel_m.tolist()), (float(y_m), float(x_m)))
    where = found.path, found.key, corners, (rows, cols)
    return LongScan(*where, found.mask, place, found.zero_frequency, found.allow_filters)


def _check(arguments: argparse.Namespace) -> None:
    refused = [
        f"--{name}" for name, default in _WHOLE_SCAN.items() if getattr(arguments, name) != default
    ]
    if refused:
        raise OptionError(
            f"--chunk and --scheduler take patterns as they are in the file, without "
            f"{', '.join(refused)}: leave that out, or prepare the file first"
        )


def _text(values: dict[str, Any]) -> str:
    rows, cols = values["object_shape"]
    found = values["parts_found"]
    return "\n".join(
        [
            f"{values['patterns']} patterns in {values['parts']} chunks"
            + (f", {found} of them found" if found else "")
            + f", {values['seconds']:.1f} s ({values['patterns_per_second']:.0f} a second): object "
            f"of {rows} x {cols} px",
            *(f"note: {remark}" for remark in values["remarks"]),
            f"written: {values['files'][0]}",
        ]
    )
