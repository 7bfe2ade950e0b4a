"""Which reconstruction of a long scan the parts in a folder belong to."""

from __future__ import annotations

import dataclasses
import functools
import hashlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from ppn_tf import files
from ppn_tf.errors import DataError, RecordError

if TYPE_CHECKING:
    from ppn_tf.long_scan import LongScan, Settings

#: Beside the parts.
_NAME = "job.json"


def begun(folder: Path, scan: LongScan, settings: Settings) -> dict[str, Any]:
    """Return the identity, written beside the parts, or equal to the one that is there.

    Raises
    ------
    RecordError
        If the parts belong to another reconstruction.
    """
    path, identity = folder / _NAME, identity_of(scan, settings)
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        files.write_json(path, identity)
        return identity
    except ValueError:
        found = {}
    other = sorted(name for name, value in identity.items() if found.get(name) != value)
    if other:
        raise RecordError(
            f"{folder} holds parts of another reconstruction (other {', '.join(other)}): delete "
            "the folder, or choose another output"
        )
    return identity


def identity_of(scan: LongScan, settings: Settings) -> dict[str, Any]:
    """Return what decides the parts, as a JSON file gives it back."""
    file = Path(scan.path).stat()
    positions = np.ascontiguousarray(scan.corners_px, dtype=np.float64)
    mask = b"" if scan.mask is None else np.packbits(scan.mask).tobytes()
    identity = {
        "path": str(Path(scan.path).resolve()),
        "bytes": file.st_size,
        "changed_ns": file.st_mtime_ns,
        "key": scan.key,
        "zero_frequency": scan.zero_frequency,
        "positions_sha256": hashlib.sha256(positions.tobytes()).hexdigest(),
        "mask_sha256": hashlib.sha256(mask).hexdigest(),
        "shape": list(scan.shape),
        "model_sha256": sha256_of(settings.model),
        **dataclasses.asdict(settings),
    }
    return json.loads(json.dumps(identity))


def provenance(identity: Mapping[str, Any]) -> dict[str, Any]:
    """Return an identity for other machines: names of files without their folders."""
    import ppn_tf

    names = {name: Path(identity[name]).name for name in ("path", "model")}
    return {**identity, **names, "program": f"ppn_tf {ppn_tf.__version__} long_scan"}


@functools.lru_cache(maxsize=4)
def sha256_of(model: str) -> str:
    """Return the checksum of a ``.keras`` file, read once; nothing for a released name."""
    return checksum(Path(model)) if model.endswith(".keras") else ""


def checksum(path: Path) -> str:
    """Return the checksum of a network as it is now.

    Raises
    ------
    DataError
        If it is not there.
    """
    if not path.is_file():
        raise DataError(f"there is no model {path}: check the path")
    return files.sha256(path)
