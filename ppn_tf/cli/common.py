"""Options that several commands share: device, output file."""

from __future__ import annotations

import argparse
import os
from pathlib import Path

from ppn_tf.errors import OptionError


def add_device(parser: argparse.ArgumentParser) -> None:
    """Add ``--gpu``; `ppn_tf.devices.select_device` takes its value, before Keras is used."""
    parser.add_argument(
        "--gpu", default="auto", help="number of a GPU, 'cpu', or 'auto' (default: a GPU if any)"
    )


def add_output(parser: argparse.ArgumentParser, text: str, required: bool = True) -> None:
    """Add ``-o FILE`` and ``--force``.

    Parameters
    ----------
    parser : argparse.ArgumentParser
    text : str
        What the file will hold.
    required : bool
    """
    parser.add_argument("-o", "--output", type=Path, metavar="FILE", required=required, help=text)
    parser.add_argument("--force", action="store_true", help="replace FILE if it is there")


def check_output(arguments: argparse.Namespace, endings: tuple[str, ...] = ()) -> Path:
    """Return the output path; refuse it now rather than after hours of work.

    Parameters
    ----------
    arguments : argparse.Namespace
        With the options of `add_output`.
    endings : tuple of str
        Allowed endings, with their dot; empty: any.

    Raises
    ------
    OptionError
        For another ending, a folder, one that cannot be written to, or a file that is there
        already without ``--force``.
    """
    path: Path = arguments.output
    if endings and path.suffix.lower() not in endings:
        raise OptionError(f"-o expects the ending {' or '.join(endings)}, received {path}")
    if path.is_dir():
        raise OptionError(f"-o expects a file, received the folder {path}")
    # the nearest folder that is there: those below it are made
    folder = next(above for above in path.absolute().parents if above.exists())
    if not (folder.is_dir() and os.access(folder, os.W_OK | os.X_OK)):
        raise OptionError(f"-o {path}: {folder} is no folder that can be written to")
    if path.exists() and not arguments.force:
        raise OptionError(f"{path} is there already: pass --force to replace it")
    return path
