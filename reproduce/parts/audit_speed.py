"""What one ePIE update costs here: from the measurements of Fig. 8 at 30 % overlap."""

from __future__ import annotations

import json
import statistics
import sys
from pathlib import Path
from typing import Any

OVERLAP = 0.3

#: Way to run ePIE to the key of its seconds.
ENGINES = {"plain NumPy loop": "python_s", "compiled": "compiled_s"}


def measured(folder: Path) -> list[dict[str, Any]]:
    """Return cost per update and what remains of the ratio, by device.

    Parameters
    ----------
    folder : Path
        Of the outputs; `epie` in it holds Fig. 8's records.

    Returns
    -------
    list of dict
        ``device``, ``patterns``, ``iterations``, ``ms_per_update`` by engine, ``networks``:
        name to ``seconds``, ``weights`` and ``ratio`` by engine; empty without a record.
    """
    found = []
    for path in sorted((Path(folder) / "epie").glob("*.json")):
        try:
            record = json.loads(path.read_text(encoding="utf-8"))
            if "cost" in record and record["settings"]["overlap"] == OVERLAP:
                found.append(_costs(record))
        except (OSError, ValueError, KeyError, TypeError) as error:
            print(f"warning: {path} is not read: {error!r}", file=sys.stderr)
    return found


def _costs(record: dict[str, Any]) -> dict[str, Any]:
    settings, cost = record["settings"], record["cost"]
    updates = settings["iterations"] * record["results"]["patterns"]
    seconds = {name: statistics.fmean(cost[key]) for name, key in ENGINES.items()}
    networks = {}
    for name, one in cost["networks"].items():
        own = statistics.fmean(one["seconds"])
        networks[name] = {
            "seconds": own,
            "weights": one["weights"],
            "ratio": {engine: value / own for engine, value in seconds.items()},
        }
    return {
        "device": settings["device"],
        "patterns": record["results"]["patterns"],
        "iterations": settings["iterations"],
        "seconds": seconds,
        "ms_per_update": {name: 1e3 * value / updates for name, value in seconds.items()},
        "networks": networks,
    }
