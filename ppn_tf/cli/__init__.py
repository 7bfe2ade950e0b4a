"""The command ``ppn-tf``: from a scan on disk to a reconstruction.

Importing this package imports the standard library only: ``ppn-tf --help`` answers at
once, and a command imports Keras when it has read its options.
"""

from __future__ import annotations

import argparse
import importlib
import json
import os
import sys
from collections.abc import Mapping, Sequence
from types import MappingProxyType, ModuleType

import ppn_tf
from ppn_tf.cli.answer import Answer
from ppn_tf.errors import PpnError

#: Commands in the order of their use; each is the module of its name.
COMMANDS: Mapping[str, str] = MappingProxyType(
    {
        "inspect": "what a file holds, what it lacks, and a quick look at it",
        "fetch": "download the public data, with checksums",
        "simulate": "make a scan: an object, a probe, noise",
        "train": "train a network on a scan, or on simulations with its probe",
        "reconstruct": "patterns of a scan to a complex object, by a trained network",
        "refine": "improve a reconstruction by ePIE",
        "evaluate": "compare a reconstruction with another, or with the truth",
        "export": "a trained network as SavedModel or ONNX",
    }
)

#: Exit status: bad input or options, as argparse has it.
REFUSED = 2
INTERRUPTED = 130


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command.

    Parameters
    ----------
    argv : sequence of str, optional
        By default those of the process.

    Returns
    -------
    int
        Exit status: 0, 2 where the input was refused, 130 after Ctrl-C. argparse itself
        ends the process for ``--help`` (0) and for unknown options (2).
    """
    argv = list(sys.argv[1:] if argv is None else argv)
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
    parser, command = _parser(argv)
    arguments = parser.parse_args(argv)
    if command is None:
        parser.print_help()
        return REFUSED
    try:
        _print(command.run(arguments), arguments)
        sys.stdout.flush()
    except PpnError as error:
        print(f"ppn-tf {arguments.command}: {error}", file=sys.stderr)
        return REFUSED
    except BrokenPipeError:
        # who reads the output, such as head, has seen enough
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    except KeyboardInterrupt:
        hint = getattr(command, "ON_INTERRUPT", "nothing was written")
        print(f"\nppn-tf {arguments.command}: interrupted: {hint}", file=sys.stderr)
        return INTERRUPTED
    return 0


def _parser(argv: Sequence[str]) -> tuple[argparse.ArgumentParser, ModuleType | None]:
    """Return the parser, with the options of the one command that was asked for."""
    parser = argparse.ArgumentParser(
        prog="ppn-tf", description=__doc__.splitlines()[0] if __doc__ else None
    )
    parser.add_argument("--version", action="version", version=f"ppn-tf {ppn_tf.__version__}")
    subparsers = parser.add_subparsers(dest="command", metavar="COMMAND", title="commands")
    wanted = next((word for word in argv if word in COMMANDS), None)
    command = None
    for name, summary in COMMANDS.items():
        # only one is used: the others need no options, and no import
        module = importlib.import_module(f"ppn_tf.cli.{name}") if name == wanted else None
        sub = subparsers.add_parser(
            name,
            help=summary,
            description=None if module is None else module.__doc__,
            formatter_class=argparse.RawDescriptionHelpFormatter,
        )
        if module is not None:
            module.configure(sub)
            sub.add_argument(
                "--json", action="store_true", help="print one JSON object instead of text"
            )
            command = module
    return parser, command


def _print(answer: Answer, arguments: argparse.Namespace) -> None:
    if arguments.json:
        print(json.dumps(answer.values, indent=1, sort_keys=True, allow_nan=False))
    else:
        print(answer.text)
