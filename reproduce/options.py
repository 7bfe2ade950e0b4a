"""What every script of this folder takes on the command line, and what it makes of it."""

from __future__ import annotations

import argparse
import dataclasses
import os
import shlex
import sys
from collections.abc import Sequence
from pathlib import Path

from ppn_tf.errors import OptionError, PpnError, SourceMissingError
from reproduce import added

#: Root of the repository.
ROOT = Path(__file__).resolve().parents[1]

STAND_IN = "stand-in object"


@dataclasses.dataclass(frozen=True)
class Session:
    """One call of a script.

    Attributes
    ----------
    profile : str
    seeds : int or None
    object_name : str
        ``"ltem"``, or ``"stand-in"`` where its files cannot be had.
    device : str
        Device as asked for: ``"cpu"``, ``"auto"`` or a number.
    device_name : str
    out : Path
        Folder of the outputs; runs lie in its ``runs``.
    retrain, train, plan, deterministic, tensorboard : bool
    jobs : int
    added : tuple of Added
        Networks of ``--add-model``.
    scheduler : str or None
        Address of a Dask scheduler that distributes the runs.
    devices : int
        Devices that share every training.
    own_backend : bool
        Whether a record of another backend leaves a run to do.
    """

    profile: str
    seeds: int | None
    object_name: str
    device: str
    device_name: str
    out: Path
    retrain: bool = False
    train: bool = False
    plan: bool = False
    deterministic: bool = False
    tensorboard: bool = False
    jobs: int = 1
    added: tuple[added.Added, ...] = ()
    scheduler: str | None = None
    devices: int = 1
    own_backend: bool = False

    @property
    def headline(self) -> str:
        """First line of every output."""
        if self.object_name == "stand-in":
            return (
                f"{STAND_IN}: a drawn chart and a computed probe, since the paper's files "
                "were neither found nor downloaded"
            )
        return "the paper's object (design_amp.tiff, design_tphi.tiff) and probe"


def parser(description: str) -> argparse.ArgumentParser:
    """Return the options that all scripts share."""
    new = argparse.ArgumentParser(
        description=description, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    new.add_argument(
        "--profile",
        choices=("smoke", "quick", "paper"),
        default="paper",
        help="smoke: does it run; quick: a first look; paper: the paper's protocol (default)",
    )
    new.add_argument("--seeds", type=int, help="seeds per method, in place of the profile's")
    new.add_argument(
        "--gpu", default="auto", help="number of a GPU, 'cpu', or 'auto' (default: a GPU if any)"
    )
    new.add_argument("--retrain", action="store_true", help="train again, replacing the records")
    new.add_argument(
        "--no-train", action="store_true", help="use the records that are there, train nothing"
    )
    new.add_argument(
        "--plan", action="store_true", help="list the missing runs and their time, train nothing"
    )
    new.add_argument("--jobs", type=int, default=1, help="runs side by side (default 1)")
    new.add_argument(
        "--scheduler",
        metavar="ADDRESS",
        help="tcp://HOST:8786 of a Dask cluster that makes the runs (docs/cluster.md)",
    )
    new.add_argument(
        "--devices",
        type=int,
        default=1,
        metavar="N",
        help="GPUs that share every training, from that of --gpu on; virtual ones on a CPU",
    )
    new.add_argument(
        "--deterministic",
        action="store_true",
        help="deterministic kernels, one thread for each run: slower, repeatable",
    )
    new.add_argument(
        "--tensorboard", action="store_true", help="write TensorBoard logs beside the records"
    )
    new.add_argument(
        "--add-model",
        action="append",
        default=[],
        metavar="SOURCE",
        help="package.module:function or a .keras file: your own network, in table1, fig4, fig7 "
        "and fig10; may be given several times",
    )
    new.add_argument(
        "--added-epochs", type=int, default=30, help="epochs of added networks (default 30)"
    )
    new.add_argument("--out", type=Path, default=ROOT / "results", help="folder of the outputs")
    return new


def prepare(arguments: argparse.Namespace) -> Session:
    """Choose device, object and folders; import no backend before the options are read.

    Raises
    ------
    PpnError
        For a missing GPU, a wrong option, or a data file with a wrong checksum.
    """
    for name in ("jobs", "seeds", "devices"):
        value = getattr(arguments, name)
        if value is not None and value < 1:
            raise OptionError(f"--{name} expects at least 1, received {value}")
    if arguments.scheduler and arguments.jobs > 1:
        raise OptionError("--jobs is for this machine: with --scheduler, start more workers")
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
    from ppn_tf.devices import select_device, set_threads

    object_name = _object_name()
    out = arguments.out
    # their outputs must never be taken for, or overwrite, those of the paper's protocol
    if object_name == "stand-in":
        out = out / "stand-in"
    if arguments.profile != "paper":
        out = out / arguments.profile
    if arguments.jobs == 1 and not arguments.scheduler:
        set_threads(threads_per_run(1, arguments.deterministic), 0)
    # with a scheduler they are the workers'
    here = 1 if arguments.scheduler else arguments.devices
    device_name = select_device(arguments.gpu, here)
    return Session(
        arguments.profile,
        arguments.seeds,
        object_name,
        arguments.gpu,
        device_name,
        out,
        retrain=arguments.retrain,
        train=not (arguments.no_train or arguments.plan),
        plan=arguments.plan,
        deterministic=arguments.deterministic,
        tensorboard=arguments.tensorboard,
        jobs=arguments.jobs,
        # they may import Keras, and the device is chosen now
        added=added.read(arguments.add_model, arguments.added_epochs),
        scheduler=arguments.scheduler,
        devices=arguments.devices,
    )


def threads_per_run(jobs: int, deterministic: bool) -> int | None:
    """Return how many threads each run on this machine has, None for the backend's choice.

    Parameters
    ----------
    jobs : int
        Runs side by side.
    deterministic : bool
        One thread: a sum that threads share has other last digits for another number of them.
    """
    if deterministic:
        return 1
    return None if jobs == 1 else max(1, (os.cpu_count() or 1) // jobs)


def _object_name() -> str:
    from ppn_tf.data import load_object, load_probe

    try:
        load_object("ltem")
        load_probe("ltem")
    except SourceMissingError as error:
        print(f"note: {error}", file=sys.stderr)
        return "stand-in"
    return "ltem"


def run_script(main: object, argv: Sequence[str] | None = None) -> None:
    """Call a script's main; turn refusals and Ctrl-C into a message and an exit status."""
    try:
        main(argv)
        sys.stdout.flush()
    except PpnError as error:
        print(f"error: {error}", file=sys.stderr)
        sys.exit(2)
    except BrokenPipeError:
        # who reads the output, such as head, has seen enough
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    except KeyboardInterrupt:
        print(
            "\ninterrupted: finished runs and epochs are kept; the same command goes on:\n    "
            + shlex.join(["python", *sys.argv] if argv is None else ["python", sys.argv[0], *argv]),
            file=sys.stderr,
        )
        sys.exit(130)
