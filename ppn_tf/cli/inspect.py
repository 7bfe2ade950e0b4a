"""Show what a file holds: its tree, what each array may be, what is missing, a quick look.

Nothing is guessed silently: where a file does not say how it is meant, the flags to pass
are named, here and by every other command. With them, inspect reads the file as those do.

Example:
  ppn-tf inspect scan.cxi --picture look.png
  ppn-tf inspect scan.cxi --flag position_frame=sample --flag position_axes=-y+x
"""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ppn_tf.cli import scans
from ppn_tf.cli.answer import Answer
from ppn_tf.errors import DataError, PpnError

if TYPE_CHECKING:
    from ppn_tf.data.formats import Scan
    from ppn_tf.pictures import Panel

#: What is printed of a scan where it is known: label, key, unit.
_QUANTITIES = (
    ("photon energy", "energy_eV", "eV"),
    ("distance to the detector", "distance_m", "m"),
    ("detector pixel", "detector_pixel_m", "m"),
    ("object pixel", "object_pixel_m", "m"),
    ("probe modes", "probe_modes", ""),
    ("object", "object_shape", "px"),
    ("invalid detector pixels", "invalid_pixels", ""),
)
#: Rows of the tree that are printed; ``--json`` holds all.
_SHOWN = 60


def configure(parser: argparse.ArgumentParser) -> None:
    """Add the options."""
    scans.add_scan(parser, "file")
    parser.add_argument(
        "--picture", type=Path, metavar="PNG", help="draw patterns, positions, probe and object"
    )


def run(arguments: argparse.Namespace) -> Answer:
    """Inspect.

    Raises
    ------
    PpnError
        If the file is neither npz nor HDF5, or the picture cannot be written.
    """
    from ppn_tf import pictures
    from ppn_tf.data import formats
    from ppn_tf.data.formats import roles

    if arguments.picture is not None:
        pictures.check_path(arguments.picture)
    path = Path(arguments.file)
    tree = [
        {
            "name": row[0],
            "shape": None if row[1] is None else list(row[1]),
            "type": row[2],
            "role": roles.guess(row),
        }
        for row in formats.tree(path)
    ]
    values: dict[str, Any] = {"file": str(path), "tree": tree, "files": []}
    scan, values["format"], values["open"] = _read(arguments)
    values["scan"] = None if scan is None else _described(scan)
    if arguments.picture is not None:
        panels = _panels(path, scan, arguments.allow_filter)
        pictures.draw(arguments.picture, panels, path.name)
        values["files"] = [str(arguments.picture)]
    return Answer(_text(values), values)


def _read(arguments: argparse.Namespace) -> tuple[Scan | None, str | None, str | None]:
    """Return scan and format, and what stands in the way of reading it."""
    from ppn_tf.data import formats

    scans.keywords(arguments)  # a malformed option is the caller's mistake
    form = arguments.format
    try:
        form = form or formats.detect(arguments.file)
        return scans.read_scan(arguments, "file"), form, None
    except PpnError as error:
        return None, form, str(error)


def _described(scan: Scan) -> dict[str, Any]:
    from ppn_tf.data.formats import roles

    totals = scan.patterns.sum(axis=(1, 2), dtype=float)
    extent = scan.positions_px.max(axis=0) - scan.positions_px.min(axis=0)
    return {
        "patterns": list(scan.patterns.shape),
        "counts_per_pattern": float(totals.mean()),
        "brightest_pixel_counts": float(scan.patterns.max()),
        "scanned_px": extent.tolist(),
        "probe_modes": None if scan.probe is None else len(scan.probe),
        "object_shape": None if scan.object is None else list(scan.object.shape),
        "invalid_pixels": None if scan.mask is None else int((~scan.mask).sum()),
        "energy_eV": scan.energy_eV,
        "distance_m": scan.distance_m,
        "detector_pixel_m": scan.detector_pixel_m and list(scan.detector_pixel_m),
        "object_pixel_m": scan.object_pixel_m and list(scan.object_pixel_m),
        "missing": {name: roles.LACKS[name] for name in roles.missing(scan)},
    }


def _panels(path: Path, scan: Scan | None, allow_filters: list[int]) -> list[Panel]:
    import numpy as np

    from ppn_tf import pictures
    from ppn_tf.data import formats
    from ppn_tf.data.formats import roles

    if scan is None:
        raw = roles.raw_patterns(path, formats.tree(path), allow_filters)
        if raw is None:
            raise DataError(f"{path}: nothing to draw: no array looks like patterns")
        name, frames = raw
        return [
            pictures.Panel(f"{name}: first frame, log(1 + counts)", np.log1p(abs(frames[0]))),
            pictures.Panel(
                f"mean of {len(frames)} frames as stored", np.log1p(abs(frames.mean(axis=0)))
            ),
        ]
    panels = [
        pictures.Panel("first pattern, log(1 + counts)", np.log1p(scan.patterns[0])),
        pictures.Panel("mean pattern, log(1 + counts)", np.log1p(scan.patterns.mean(axis=0))),
        pictures.Panel(
            "window centres (col, row) [px]",
            scan.positions_px + np.array(scan.window_px) / 2,
            points=True,
        ),
    ]
    if scan.mask is not None and not scan.mask.all():
        panels.append(pictures.Panel("mask (1 = valid)", scan.mask.astype(float), colours="gray"))
    if scan.probe is not None:
        panels.append(pictures.Panel("probe, mode 1: amplitude", np.abs(scan.probe[0])))
    if scan.object is not None:
        panels += pictures.object_panels(scan.object, "object")
    return panels


def _text(values: dict[str, Any]) -> str:
    rows = values["tree"]
    width = max((len(row["name"]) for row in rows), default=0)
    lines = [f"{values['file']}: {values['format'] or 'no known format'}", ""]
    for row in rows[:_SHOWN]:
        shape = "" if row["shape"] is None else " x ".join(map(str, row["shape"])) or "scalar"
        role = f"  <- {row['role']}" if row["role"] else ""
        lines.append(f"  {row['name']:<{width}}  {shape:<18} {row['type']}{role}")
    if len(rows) > _SHOWN:
        lines.append(f"  and {len(rows) - _SHOWN} more, see --json")
    lines.append("")
    if values["open"] is not None:
        lines += ["not readable yet:", f"  {values['open']}"]
    else:
        lines += _scan_lines(values["scan"])
    return "\n".join([*lines, *(f"written: {name}" for name in values["files"])])


def _scan_lines(scan: dict[str, Any]) -> list[str]:
    count, height, width = scan["patterns"]
    rows, cols = scan["scanned_px"]
    lines = [
        f"{count} patterns of {height} x {width} px, {scan['counts_per_pattern']:.4g} counts each "
        f"on average, at most {scan['brightest_pixel_counts']:.4g} in a pixel",
        f"windows move over {rows:.1f} x {cols:.1f} object px",
    ]
    for label, name, unit in _QUANTITIES:
        value = scan[name]
        if value is not None:
            parts = value if isinstance(value, list) else [value]
            shown = " x ".join(f"{part:.6g}" for part in parts)
            lines.append(f"{label}: {shown} {unit}".rstrip())
    if scan["missing"]:
        lines += ["missing:", *(f"  {name}: {why}" for name, why in scan["missing"].items())]
    return lines
