"""Files of the run store: lock, record, weights, what a kill left, and the commit."""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import json
import os
import subprocess
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ppn_tf.errors import DataError, RecordError
from ppn_tf.files import remove_unfinished
from reproduce.specification import digest

if TYPE_CHECKING:  # Keras must not be imported before the device is chosen
    import keras

#: Keys that every record has.
RECORD_KEYS = ("spec", "hash", "results", "results_digest", "cost", "environment", "data")
#: Files beside a record whose checksums it holds, by ending.
CHECKED = ("keras",)
#: Bytes that are read at a time.
_BLOCK = 1 << 20


def read_record(path: Path) -> dict[str, Any]:
    """Read a record and check that its results are as they were written.

    Raises
    ------
    RecordError
        If the file is no record, lacks a key, or was changed since it was written.
    """
    try:
        record = json.loads(Path(path).read_text(encoding="utf-8"))
    # a file of brackets alone exhausts the stack
    except (OSError, ValueError, RecursionError) as error:
        raise RecordError(f"record {path} cannot be read: {error}") from error
    missing = [key for key in RECORD_KEYS if key not in record] if isinstance(record, dict) else []
    if not isinstance(record, dict) or missing:
        raise RecordError(f"record {path} lacks the keys {', '.join(missing) or 'of a record'}")
    try:
        for part, fits in (
            ("results", digest(record["results"]) == record["results_digest"]),
            ("specification", digest(record["spec"])[:16] == record["hash"]),
            # records of before this digest have none
            ("content", record.get("digest") in (None, whole_digest(record))),
        ):
            if not fits:
                raise RecordError(f"record {path} was changed: its {part} do not fit the digest")
    except ValueError as error:
        raise RecordError(f"record {path} was changed: it holds NaN or infinity") from error
    return record


def whole_digest(record: Mapping[str, Any]) -> str:
    """Return the digest of all that a record holds beside this digest."""
    return digest({key: value for key, value in record.items() if key != "digest"})


def checksums(record_path: Path) -> dict[str, str]:
    """Return the SHA-256 of the files beside a record, by ending, for those that are there."""
    beside = {ending: record_path.with_suffix(f".{ending}") for ending in CHECKED}
    return {ending: _sha256(path) for ending, path in beside.items() if path.exists()}


def load_network(path: Path, record: dict[str, Any]) -> keras.Model:
    """Load the trained network beside a record, in safe mode.

    Parameters
    ----------
    path : Path
        The ``.keras`` file.
    record : dict
        Its record; one from before checksums were kept has none to compare with.

    Raises
    ------
    RecordError
        If the file is not the one that the run wrote, or cannot be read.
    """
    from ppn_tf import kerasfile

    advice = (
        "restore it, or train again with --retrain; without the file the older evaluation counts"
    )
    try:
        expected, received = record.get("files", {}).get("keras"), _sha256(path)
        if expected not in (None, received):
            raise RecordError(
                f"weights {path} are not those that the run wrote: expected sha256 {expected}, "
                f"received {received}: {advice}"
            )
        return kerasfile.load(path)
    except (OSError, DataError) as error:
        raise RecordError(f"weights {path} cannot be read ({error}): {advice}") from error


@contextlib.contextmanager
def lock(path: Path, label: str) -> Iterator[None]:
    """Let one process at a time make a run; the system frees the lock of a killed one.

    Raises
    ------
    RecordError
        If the lock's folder cannot be written.
    """
    with contextlib.ExitStack() as stack:
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            stream = stack.enter_context(path.open("w"))
        except OSError as error:
            raise RecordError(
                f"could not write {path}: {error.strerror or error}; nothing was changed. "
                "Choose another folder with --out, or make this one writable"
            ) from error
        try:
            fcntl.flock(stream, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            print(f"waiting for another process that trains {label}", file=sys.stderr)
            fcntl.flock(stream, fcntl.LOCK_EX)
        remove_unfinished(path.with_suffix(""))
        yield


def _sha256(path: Path) -> str:
    found = hashlib.sha256()
    with path.open("rb") as stream:
        for block in iter(lambda: stream.read(_BLOCK), b""):
            found.update(block)
    return found.hexdigest()


def commit() -> str | None:
    """Return the commit of the working tree, or $PPN_TF_COMMIT where there is no git."""
    if "PPN_TF_COMMIT" in os.environ:
        return os.environ["PPN_TF_COMMIT"]
    command = ["git", "describe", "--always", "--dirty", "--abbrev=12"]
    try:
        done = subprocess.run(
            command, cwd=Path(__file__).parent, capture_output=True, text=True, check=True
        )
    except (OSError, subprocess.CalledProcessError):
        return None
    return done.stdout.strip()
