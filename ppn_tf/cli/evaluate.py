"""Compare a reconstruction with another one of the same scan, or with the truth.

Both files are ptychodus products or own npz files; they are laid over each other by their
positions, and resampled where pixel sizes differ. Scored is the scanned area that both
cover. Data range of PSNR and SSIM (7 x 7 px, uniform): that of the reference there.

Example:
  ppn-tf evaluate object.npz --reference chart.npz
  ppn-tf evaluate network.h5 --reference epie.h5 --align ramp --picture both.png --json
"""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ppn_tf.cli.answer import Answer

if TYPE_CHECKING:
    import numpy as np

    from ppn_tf.comparison import Comparison


def configure(parser: argparse.ArgumentParser) -> None:
    """Add the options."""
    parser.add_argument("result", type=Path, metavar="RESULT", help="product (.h5) or own npz")
    parser.add_argument(
        "--reference", type=Path, required=True, metavar="FILE", help="truth, or another result"
    )
    parser.add_argument(
        "--align",
        default="phase",
        metavar="none|phase|scale|ramp|shift",
        help="what is taken out first: nothing, the global phase (default), also the scale of the "
        "amplitude, also a phase ramp, also a shift (the last two: after a free probe)",
    )
    parser.add_argument("--picture", type=Path, metavar="PNG", help="draw both, and the errors")


def run(arguments: argparse.Namespace) -> Answer:
    """Evaluate.

    Raises
    ------
    PpnError
        For files that cannot be used or do not belong together.
    """
    from ppn_tf import comparison, pictures
    from ppn_tf.data.formats import starts

    if arguments.picture is not None:
        pictures.check_path(arguments.picture)
    result, reference = starts.read(arguments.result), starts.read(arguments.reference)
    shape = (reference.field.shape[0], reference.field.shape[1])
    field = starts.onto(result, reference.centres_px, reference.pixel_m, shape)
    found = comparison.compare(field, reference.field, reference.centres_px, arguments.align)
    files = []
    if arguments.picture is not None:
        _draw(arguments.picture, found)
        files.append(str(arguments.picture))
    values: dict[str, Any] = {
        **found.scores,
        "alignment": arguments.align,
        "shift_px": list(found.shift_px),
        "box_px": [[part.start, part.stop] for part in found.box],
        "frc": {"frequency": found.frequency.tolist(), "correlation": found.frc.tolist()},
        "files": files,
    }
    return Answer(_text(values, found), values)


def _draw(path: Path, found: Comparison) -> None:
    import numpy as np

    from ppn_tf import pictures

    panels = [
        *pictures.object_panels(found.found, "result:"),
        *pictures.object_panels(found.reference, "reference:"),
        pictures.Panel(
            "error of the amplitude",
            np.abs(found.found) - np.abs(found.reference),
            colours="RdBu_r",
            signed=True,
        ),
        pictures.Panel(
            "error of the phase [rad]",
            np.angle(found.found * np.conj(found.reference)),
            colours="RdBu_r",
            signed=True,
        ),
    ]
    pictures.draw(path, panels)


def _text(values: dict[str, Any], found: Comparison) -> str:
    rows, cols = found.reference.shape
    lines = [f"{rows} x {cols} px compared, alignment: {values['alignment']}"]
    if values["alignment"] == "shift":
        lines.append(f"moved by {found.shift_px[0]:.2f} rows and {found.shift_px[1]:.2f} columns")
    for name, unit in (("amplitude", ""), ("phase", " rad")):
        part = values[name]
        psnr = "infinite" if part["psnr_db"] is None else f"{part['psnr_db']:.2f} dB"
        lines.append(
            f"{name}: PSNR {psnr}, SSIM {part['ssim']:.3f} (data range "
            f"{part['data_range']:.4g}{unit})"
        )
    lines.append(f"relative error of the complex field: {values['relative_error']:.4f}")
    lines.append(f"FRC with the reference: {_frc_text(values['frc_band'], found.frequency)}")
    return "\n".join([*lines, *(f"written: {name}" for name in values["files"])])


def _frc_text(band: tuple[float, float] | None, rings: np.ndarray) -> str:
    if band is None:
        return "below 0.5 at all frequencies"
    low, high = band
    begin = "" if low == rings[1] else f"from {low:.3f} "
    if high == rings[-1]:
        return f"0.5 or more {begin}up to the Nyquist frequency"
    return f"0.5 or more {begin}up to {high:.3f} of the Nyquist frequency"
