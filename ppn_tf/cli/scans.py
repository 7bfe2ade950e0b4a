"""Options that say how a scan's file is meant; shared by all commands that read one."""

from __future__ import annotations

import argparse
import contextlib
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import numpy as np

    from ppn_tf.data.formats import Scan

#: Options of all formats: keyword of `ppn_tf.data.formats.read`, number of values, help.
_NUMBERS = (
    ("energy_eV", 1, "photon energy [eV], where the file does not state it"),
    ("distance_m", 1, "object to detector [m]"),
    ("detector_pixel_m", 2, "height and width of a detector pixel [m]; one value for both"),
    ("object_pixel_m", 2, "height and width of an object pixel [m]; one value for both"),
)


def add_scan(parser: argparse.ArgumentParser, name: str = "scan") -> None:
    """Add the positional path of a scan and the options of `formats.read`.

    Parameters
    ----------
    parser : argparse.ArgumentParser
    name : str
        Of the positional argument.
    """
    parser.add_argument(name, metavar=name.upper(), help="npz, ptychodus pair, CXI or ptyd file")
    group = parser.add_argument_group("how the file is meant (docs/conventions.md)")
    group.add_argument("--format", help="npz, ptychodus, cxi or ptyd; by default by content")
    for keyword, count, text in _NUMBERS:
        group.add_argument(
            option(keyword),
            dest=keyword,
            type=float,
            nargs="+" if count == 2 else None,
            metavar="M" if keyword.endswith("_m") else "EV",
            help=text,
        )
    group.add_argument(
        "--memory-limit-gib", type=float, default=None, help="largest size of its arrays (8)"
    )
    group.add_argument(
        "--mask",
        type=Path,
        metavar="FILE.npy",
        help="bool (H, W), True where the detector is valid, zero frequency at (H // 2, W // 2); "
        "excludes pixels beside those of the file's own mask",
    )
    group.add_argument(
        "--allow-filter",
        type=int,
        action="append",
        default=[],
        metavar="N",
        help="unpack patterns with this HDF5 filter too, foreign code: 32008 is bitshuffle, 32004 "
        "LZ4 (pip install hdf5plugin)",
    )
    group.add_argument(
        "--flag",
        action="append",
        default=[],
        metavar="NAME=VALUE",
        help="what else the format leaves open, as the error message names it, such as "
        "positions=scan_true or zero_frequency=corner; may be given several times",
    )


def joined_mask(path: Path, own: np.ndarray | None, window_px: tuple[int, int]) -> np.ndarray:
    """Return where both a file and a scan's own mask say that the detector is valid.

    Parameters
    ----------
    path : Path
        Of ``--mask``.
    own : (H, W) bool, optional
    window_px : (int, int)

    Returns
    -------
    (H, W) bool

    Raises
    ------
    DataError
        If the file holds something else, or nothing is valid.
    """
    import numpy as np

    from ppn_tf.data.formats.illumination import read_npy
    from ppn_tf.errors import DataError

    valid = read_npy(path)
    if valid.dtype != bool or valid.shape != window_px or not valid.any():
        raise DataError(
            f"{path}: expected bool of shape {window_px}, True where the detector is valid, "
            f"received {valid.dtype} {valid.shape}, {int(np.count_nonzero(valid))} set (of a mask "
            "that counts faults: numpy.save(FILE, faults == 0))"
        )
    return valid if own is None else valid & own


def _with_mask(scan: Scan, path: Path) -> Scan:
    import dataclasses

    from ppn_tf.files import sha256

    mask = joined_mask(path, scan.mask, scan.window_px)
    source = {"file": path.name, "sha256": sha256(path)}
    return dataclasses.replace(scan, mask=mask, provenance={**scan.provenance, "mask": source})


def add_probe(parser: argparse.ArgumentParser) -> None:
    """Add ``--probe``."""
    parser.add_argument(
        "--probe",
        type=Path,
        metavar="FILE",
        help="take the probe, in all its modes, from here: a product or npz file such as ppn-tf "
        "refine writes, a CXI file, or a complex .npy; by default the scan's own",
    )


def option(keyword: str) -> str:
    """Return the option of a keyword: ``energy_eV`` is ``--energy-ev``."""
    return "--" + keyword.lower().replace("_", "-")


def read_scan(arguments: argparse.Namespace, name: str = "scan") -> Scan:
    """Read the scan that the options of `add_scan` and `add_probe` name.

    Raises
    ------
    OptionError
        For a malformed flag, or where the file leaves something open.
    DataError
        If the file cannot be used.
    """
    from ppn_tf.data import formats

    given = keywords(arguments)
    with asking_for_flags():
        scan = formats.read(getattr(arguments, name), **given)
    if arguments.mask is not None:
        scan = _with_mask(scan, arguments.mask)
    probe = getattr(arguments, "probe", None)
    return scan if probe is None else _with_probe(scan, probe)


@contextlib.contextmanager
def asking_for_flags() -> Iterator[None]:
    """Turn the keywords that readers ask for into options of the command line."""
    from ppn_tf.errors import OptionError, UnstatedError

    try:
        yield
    except OptionError as error:
        flag = error.flags[0] if isinstance(error, UnstatedError) else "NAME"
        raise OptionError(
            f"{error}. On the command line: --flag {flag}=VALUE, once for "
            "each name; energy, distance and pixel sizes have options of their own"
        ) from error


def _with_probe(scan: Scan, path: Path) -> Scan:
    """Return the scan with the probe of a file in place of its own."""
    import dataclasses

    from ppn_tf.data.formats.illumination import read_probe
    from ppn_tf.errors import DataError
    from ppn_tf.files import sha256

    probe = read_probe(path)
    if probe.shape[1:] != scan.window_px:
        raise DataError(
            f"{path}: the scan needs a probe of {scan.window_px[0]} x {scan.window_px[1]} px, "
            f"received {probe.shape[1]} x {probe.shape[2]} px: it must be of the same detector, "
            "before crop and bin"
        )
    source = {"file": path.name, "sha256": sha256(path)}
    return dataclasses.replace(
        scan, probe=probe.astype("complex64"), provenance={**scan.provenance, "probe": source}
    )


def check_product(output: Path, scan: Scan, *, probe: bool = True) -> None:
    """Refuse a product that would lack something, before the work is done.

    Parameters
    ----------
    output : Path
        What ends in ``.npz`` is no product.
    scan : Scan
    probe : bool
        Whether the probe must come from the scan.

    Raises
    ------
    DataError
        With the flags that would supply it.
    """
    from ppn_tf.errors import DataError

    if output.suffix.lower() == ".npz":
        return
    names = ("energy_eV", "distance_m", "object_pixel_m")
    numbers = [name for name in names if getattr(scan, name) is None]
    missing = [*numbers, *(["probe"] if probe and scan.probe is None else [])]
    if missing:
        flags = " ".join(f"{option(name)} VALUE" for name in numbers)
        advice = f"pass {flags}, or " if numbers else ""
        raise DataError(
            f"{output}: a ptychodus product needs {', '.join(missing)}, which the scan lacks: "
            f"{advice}write an .npz file"
        )


def keywords(arguments: argparse.Namespace) -> dict[str, Any]:
    """Return the keywords of `formats.read` that were given.

    Raises
    ------
    OptionError
        For a flag without ``=``, given twice, or a pixel size of more than two values.
    """
    from ppn_tf.errors import OptionError

    given: dict[str, Any] = {}
    for keyword, count, _ in _NUMBERS:
        value = getattr(arguments, keyword)
        if value is None:
            continue
        if count == 2:
            if len(value) > 2:
                raise OptionError(
                    f"{option(keyword)} expects one or two values, received {len(value)}"
                )
            value = (value[0], value[-1])
        given[keyword] = value
    if arguments.format is not None:
        given["format"] = arguments.format
    if arguments.memory_limit_gib is not None:
        given["memory_limit_gib"] = arguments.memory_limit_gib
    if arguments.allow_filter:
        given["allow_filters"] = tuple(arguments.allow_filter)
    for flag in arguments.flag:
        key, value = _flag(flag)
        if key in given:
            raise OptionError(f"--flag {key} was given twice: give it once")
        given[key] = value
    return given


def _flag(flag: str) -> tuple[str, Any]:
    """Return name and value of ``NAME=VALUE``."""
    from ppn_tf.errors import OptionError

    key, sign, text = flag.partition("=")
    key = key.replace("-", "_")
    if not sign or not key:
        raise OptionError(f"--flag expects NAME=VALUE, received {flag!r}")
    if key in ("path", "allow_filters"):
        raise OptionError(f"--flag {key} is none: pass it as FILE or --allow-filter")
    return key, _value(text)


def _value(text: str) -> Any:
    """Turn the text of a flag into what readers take: a truth value, numbers or the text."""
    if text.lower() in ("true", "false"):
        return text.lower() == "true"
    try:
        numbers = tuple(float(part) for part in text.split(","))
    except ValueError:
        return text
    return numbers[0] if len(numbers) == 1 else numbers
