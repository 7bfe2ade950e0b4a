"""The numbers of the paper, from ``paper.yaml``, and what they say of each other."""

from __future__ import annotations

import dataclasses
import functools
import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ppn_tf import yamlfile
from ppn_tf.errors import DataError, OptionError

METRICS = ("mse_amp", "psnr_amp", "ssim_amp", "mse_phase", "psnr_phase", "ssim_phase")
CNNS = ("ptychonn", "ptynet", "dpi")

_PAPER = Path(__file__).with_name("paper.yaml")
_REQUIRED = {"id", "where", "value", "unit", "printed_unit", "sd"}
_OPTIONAL = {"metric", "condition", "method", "contradicted_by", "note"}


@dataclasses.dataclass(frozen=True)
class Published:
    """One number of the paper.

    Attributes
    ----------
    id, where, unit, note : str
    value : float or None
        In `unit`; None if the available text lacks it.
    printed_unit : float or None
        One unit of the last printed digit.
    sd : float or None
        Standard deviation as printed.
    sd_used : float
        `sd`; where none is printed, that of Table I's PPN row in the same
        column; 0 for numbers without a column there.
    metric, condition, method : str or None
        Column and row, for the values of a table.
    contradicted_by : tuple of str
        Ids of published numbers that cannot hold together with this one.
    """

    id: str
    where: str
    value: float | None
    unit: str
    printed_unit: float | None = None
    sd: float | None = None
    sd_used: float = 0.0
    metric: str | None = None
    condition: str | None = None
    method: str | None = None
    contradicted_by: tuple[str, ...] = ()
    note: str = ""


def load_paper(path: Path | str | None = None) -> dict[str, Published]:
    """Read and check the published numbers.

    Parameters
    ----------
    path : Path or str, optional
        A file like ``paper.yaml``, which is the default.

    Returns
    -------
    dict of str to Published
        By id, in the order of the file.

    Raises
    ------
    DataError
        For a file that cannot be read, or an entry with missing or unknown
        keys, a doubled id, a wrong type, or a reference to an unknown id.
    """
    # the published numbers do not change while a script runs, and parsing takes 0.3 s
    return dict(_parsed(_PAPER)) if path is None else _read(Path(path))


@functools.cache
def _parsed(path: Path) -> dict[str, Published]:
    return _read(path)


def _read(path: Path) -> dict[str, Published]:
    entries = yamlfile.read(path)
    if not isinstance(entries, list):
        raise DataError(f"{path}: expected a list of entries, received {type(entries).__name__}")
    paper: dict[str, Published] = {}
    for number, entry in enumerate(entries):
        published = _published(entry, f"{path}: entry {number}")
        if published.id in paper:
            raise DataError(f"{path}: entry {number}: the id {published.id!r} is there already")
        paper[published.id] = published
    for published in paper.values():
        unknown = [other for other in published.contradicted_by if other not in paper]
        if unknown:
            raise DataError(f"{path}: {published.id}: contradicted_by unknown {', '.join(unknown)}")
    return {key: _with_spread(published, paper) for key, published in paper.items()}


def column_gap(paper: Mapping[str, Published], condition: str, metric: str) -> float:
    """Return the published distance from PPN to the best CNN in a Table I column.

    Parameters
    ----------
    paper : mapping of str to Published
        From `load_paper`.
    condition : {"clean", "noisy"}
    metric : str
        One of `METRICS`.

    Returns
    -------
    float
        Positive, in the unit of the column.

    Raises
    ------
    OptionError
        For an unknown condition or metric.
    """
    ids = [f"table1.{condition}.{method}.{metric}" for method in ("ppn", *CNNS)]
    for key in ids:
        if key not in paper or paper[key].value is None:
            raise OptionError(
                f"no published value {key}: expected a condition clean or noisy and a metric of "
                f"{', '.join(METRICS)}"
            )
    ppn, *cnns = (paper[key].value for key in ids)
    best = min(cnns) if metric.startswith("mse") else max(cnns)
    return abs(ppn - best)


def published_sign(paper: Mapping[str, Published], ppn_id: str, other_id: str) -> int:
    """Return the sign of PPN minus another published value.

    Parameters
    ----------
    paper : mapping of str to Published
    ppn_id, other_id : str
        Such as ``"table2.full.psnr_amp"`` and ``"table2.mhsa.psnr_amp"``.

    Returns
    -------
    int
        -1, 0 or 1; 0 also if either value is missing: no ordering is published.

    Raises
    ------
    OptionError
        For an unknown id.
    """
    for key in (ppn_id, other_id):
        if key not in paper:
            raise OptionError(f"unknown published number {key!r}: see reproduce/paper.yaml")
    ppn, other = paper[ppn_id].value, paper[other_id].value
    if ppn is None or other is None:
        return 0
    return (ppn > other) - (ppn < other)


def _published(entry: Any, where: str) -> Published:
    if not isinstance(entry, dict):
        raise DataError(f"{where}: expected a mapping, received {type(entry).__name__}")
    missing, unknown = _REQUIRED - entry.keys(), entry.keys() - _REQUIRED - _OPTIONAL
    if missing or unknown:
        raise DataError(
            f"{where}: missing keys {sorted(missing)}, unknown keys {sorted(unknown, key=str)}"
        )
    for key in ("id", "where", "unit", *(_OPTIONAL - {"contradicted_by"})):
        if key in entry and not (isinstance(entry[key], str) and entry[key]):
            raise DataError(f"{where}: {key} must be text, received {entry[key]!r}")
    _check_numbers(entry, where)
    if entry.get("metric", METRICS[0]) not in METRICS:
        raise DataError(f"{where}: metric must be one of {METRICS}, received {entry['metric']!r}")
    others = entry.get("contradicted_by", [])
    if not (isinstance(others, list) and all(isinstance(other, str) for other in others)):
        raise DataError(f"{where}: contradicted_by must be a list of ids, received {others!r}")
    return Published(**(entry | {"contradicted_by": tuple(others)}))


def _check_numbers(entry: dict[str, Any], where: str) -> None:
    for key in ("value", "printed_unit", "sd"):
        number = entry[key]
        usable = isinstance(number, (int, float)) and not isinstance(number, bool)
        if number is not None and not (usable and math.isfinite(number)):
            raise DataError(f"{where}: {key} must be a number or null, received {number!r}")
    unit, sd = entry["printed_unit"], entry["sd"]
    if entry["value"] is not None and not (unit is not None and unit > 0):
        raise DataError(f"{where}: printed_unit must be positive, received {unit!r}")
    if sd is not None and sd < 0:
        raise DataError(f"{where}: sd must not be negative, received {sd!r}")


def _with_spread(published: Published, paper: Mapping[str, Published]) -> Published:
    sd = published.sd
    if sd is None and published.metric is not None:
        row = paper.get(f"table1.{published.condition or 'clean'}.ppn.{published.metric}")
        sd = None if row is None else row.sd
    return dataclasses.replace(published, sd_used=0.0 if sd is None else float(sd))
