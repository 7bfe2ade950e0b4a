"""Files that are either whole or not there."""

from __future__ import annotations

import contextlib
import glob
import hashlib
import json
import os
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from ppn_tf.errors import RecordError


def sha256(path: Path | str) -> str:
    """Return the checksum of a file, read block by block, as hexadecimal digits."""
    digest = hashlib.sha256()
    with Path(path).open("rb") as stream:
        for block in iter(lambda: stream.read(1 << 20), b""):
            digest.update(block)
    return digest.hexdigest()


@contextlib.contextmanager
def replacing(path: Path | str) -> Iterator[Path]:
    """Give a temporary path beside `path`; rename it to `path` on success.

    The temporary file carries the ending of the target, so that writers which
    choose a format by it keep working.

    Parameters
    ----------
    path : Path or str
        The file to be written.

    Yields
    ------
    Path
        Where to write.

    Raises
    ------
    RecordError
        If the folder or the file cannot be written (no space, no permission).
        Nothing is left behind and an older `path` is untouched.
    """
    path = Path(path)
    temporary = None
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        handle, name = tempfile.mkstemp(
            prefix=f".{path.name}.", suffix=f".partial{path.suffix}", dir=path.parent
        )
        os.close(handle)
        temporary = Path(name)
        yield temporary
        with temporary.open("rb") as stream:
            os.fsync(stream.fileno())
        # mkstemp makes private files; give the usual permissions
        umask = os.umask(0)
        os.umask(umask)
        temporary.chmod(0o666 & ~umask)
        temporary.replace(path)
        temporary = None
    except OSError as error:
        raise RecordError(
            f"could not write {path}: {error.strerror or error}; nothing was changed. "
            "Free space or choose another folder, then run the command again"
        ) from error
    finally:
        if temporary is not None:
            temporary.unlink(missing_ok=True)


def remove_unfinished(path: Path | str) -> None:
    """Remove what a killed process left half-written of `path` and of `path`.*.

    `replacing` gives such files hidden names, so nothing reads them. Call it where no other
    process writes the same files.
    """
    path = Path(path)
    for found in path.parent.glob(f".{glob.escape(path.name)}.*.partial*"):
        found.unlink(missing_ok=True)


def write_text(path: Path | str, text: str) -> None:
    """Write `text` to `path` in UTF-8, whole or not at all."""
    with replacing(path) as temporary:
        temporary.write_text(text, encoding="utf-8")


def write_json(path: Path | str, value: Any) -> None:
    """Write `value` as readable JSON with sorted keys, whole or not at all."""
    text = json.dumps(value, indent=1, sort_keys=True, allow_nan=False, ensure_ascii=False)
    write_text(path, text + "\n")
