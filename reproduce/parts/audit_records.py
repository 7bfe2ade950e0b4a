"""Measurements of the audit that cost minutes: small records, made unit by unit.

A record is ``results/audit/<name>.json``. While it is being made its finished units lie in
``<name>.partial.json``, from which an interrupted measurement goes on.
"""

from __future__ import annotations

import dataclasses
import json
import sys
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from tqdm import tqdm

from ppn_tf import devices
from ppn_tf.errors import RecordError
from ppn_tf.files import write_json
from reproduce import runs
from reproduce.specification import digest

Unit = Callable[[], dict[str, Any]]


@dataclasses.dataclass(frozen=True)
class Plan:
    """What a measurement does.

    Attributes
    ----------
    name : str
        Of the record.
    settings : mapping
        Everything that decides its numbers: a record of other settings is not read.
    units : mapping of str to callable
        Parts that are measured and kept one after the other; each gives plain values.
    """

    name: str
    settings: Mapping[str, Any]
    units: Mapping[str, Unit]


def path(folder: Path, name: str, partial: bool = False) -> Path:
    """Return the path of a record below the folder of the outputs."""
    return Path(folder) / "audit" / f"{name}{'.partial' if partial else ''}.json"


def measure(plan: Plan, folder: Path, device: str, *, again: bool = False) -> dict[str, Any]:
    """Make a record, going on from the units that are there.

    Parameters
    ----------
    plan : Plan
    folder : Path
        Of the outputs.
    device : str
        Name of the device, for the record.
    again : bool
        Measure all units anew.

    Returns
    -------
    dict
        ``settings``, ``units`` (key to ``result``, ``seconds`` and ``commit``), ``how``.
    """
    begun = path(folder, plan.name, partial=True)
    units = {} if again else _kept(plan, folder)
    # now, since a measurement outlasts a commit
    commit = runs.commit()
    waiting = [key for key in plan.units if key not in units]
    for key in tqdm(waiting, desc=plan.name, unit="unit"):
        started = time.perf_counter()
        result = plan.units[key]()
        seconds = round(time.perf_counter() - started, 1)
        units[key] = {"result": result, "seconds": seconds, "commit": commit}
        write_json(begun, _document(plan, units, device))
    document = _document(plan, {key: units[key] for key in plan.units}, device)
    write_json(path(folder, plan.name), document)
    begun.unlink(missing_ok=True)
    return read(folder, plan.name, plan.settings)


def _document(plan: Plan, units: Mapping[str, Any], device: str) -> dict[str, Any]:
    import keras

    # as they will be read: JSON makes strings of numbers that are keys, which sort otherwise
    units = json.loads(json.dumps(units))
    return {
        "name": plan.name,
        "settings": dict(plan.settings),
        "units": units,
        "digest": digest(units),
        "how": {
            "backend": keras.backend.backend(),
            "device": device,
            "versions": devices.versions(),
            "commits": sorted({str(unit["commit"]) for unit in units.values()}),
            "seconds": round(sum(unit["seconds"] for unit in units.values()), 1),
        },
    }


def _kept(plan: Plan, folder: Path) -> dict[str, Any]:
    """Return the units of an unfinished record, or of a finished one with fewer units."""
    for partial in (True, False):
        found = _read(path(folder, plan.name, partial), plan.settings)
        if found is not None:
            return {key: unit for key, unit in found["units"].items() if key in plan.units}
    return {}


def read(folder: Path, name: str, settings: Mapping[str, Any]) -> dict[str, Any] | None:
    """Return a finished record; None where there is none of these settings."""
    return _read(path(folder, name), settings)


def _read(file: Path, settings: Mapping[str, Any]) -> dict[str, Any] | None:
    if not file.exists():
        return None
    try:
        record = json.loads(file.read_text(encoding="utf-8"))
        if record["digest"] != digest(record["units"]):
            raise RecordError("its units do not fit their digest")
        # as JSON has them: lists in place of tuples
        if record["settings"] != json.loads(json.dumps(settings)):
            raise RecordError("it was made with other settings")
    except (OSError, ValueError, KeyError, TypeError, RecordError) as error:
        print(
            f"warning: {file} counts as missing ({error}): measure again with "
            f"python reproduce/audit.py --measure {file.name.split('.')[0]}",
            file=sys.stderr,
        )
        return None
    return record


def results(record: Mapping[str, Any] | None) -> dict[str, Any]:
    """Return key to result of a record's units; empty without a record."""
    return {key: unit["result"] for key, unit in record["units"].items()} if record else {}
