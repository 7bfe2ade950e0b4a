"""The paper against itself: a rule, and the list of what its own numbers let one compute.

Every printed number stands for the interval that rounds to it (counts are exact). A
statement *holds* if it does for the digits as printed, *holds within rounding* if it
does for some numbers that would be printed alike, and *does not hold* if it does for
none. It *cannot be checked* where a number is missing, or where the statement is a test
whose number of runs is not printed. The list is in
``published_checks.py``.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping
from typing import Any

from ppn_tf.errors import OptionError
from reproduce.paper import Published
from reproduce.parts.intervals import Interval

HOLDS = "holds"
WITHIN_ROUNDING = "holds within rounding"
DOES_NOT_HOLD = "does not hold"
CANNOT = "cannot be checked: value missing"
UNDECIDED = "cannot be checked: number of runs missing"
STATUSES = (HOLDS, WITHIN_ROUNDING, DOES_NOT_HOLD, CANNOT, UNDECIDED)

#: Units of counts, which nobody rounds.
COUNTS = ("patches", "points", "patterns", "px", "epochs", "runs", "iterations")

#: Ending that turns the id of a number into that of its printed standard deviation.
SD = ".sd"

#: Relation to whether the difference from the target meets it.
_MEETS: dict[str, Callable[[float], bool]] = {
    ">=": lambda d: d >= 0,
    ">": lambda d: d > 0,
    "<=": lambda d: d <= 0,
    "<": lambda d: d < 0,
}

#: Far below any printed digit, far above float rounding.
_TOLERANCE = 1e-9


@dataclasses.dataclass(frozen=True)
class Check:
    """One statement of the paper that other published numbers decide.

    Attributes
    ----------
    id : str
        That of the published number where the statement is one, else
        ``statement.NAME``.
    says : str
        What the paper says.
    formula : str
        The computation in words and symbols.
    uses : tuple of str
        Ids of published numbers, in the order in which `compute` takes them; with the
        ending ``.sd`` their standard deviations.
    compute : callable
        From one `Interval` per id to the recomputed `Interval`.
    relation : {"=", ">=", ">", "<=", "<"}
        What must hold between the recomputed number and `target`.
    target : float, str or None
        A number, the id of a published one, or None for the published value of `id`.
    where : str
        Place in the paper, for statements that are no published number.
    unit, note : str
    decides : bool
        False for a number that informs and decides nothing.
    """

    id: str
    says: str
    formula: str
    uses: tuple[str, ...]
    compute: Callable[..., Interval]
    relation: str = "="
    target: float | str | None = None
    where: str = ""
    unit: str = ""
    note: str = ""
    decides: bool = True


@dataclasses.dataclass(frozen=True)
class Finding:
    """What came of one check.

    Attributes
    ----------
    id, says, formula, where, unit, relation, note : str
    uses : tuple of str
        All ids, that of the target included where it is not `id`.
    target : float or None
    recomputed, low, high : float or None
        From the digits as printed, and the ends that rounding allows.
    status : str
        One of `STATUSES`.
    missing : tuple of str
        Ids without a value.
    """

    id: str
    says: str
    formula: str
    where: str
    unit: str
    relation: str
    note: str
    uses: tuple[str, ...]
    target: float | None
    recomputed: float | None
    low: float | None
    high: float | None
    status: str
    missing: tuple[str, ...] = ()

    def to_dict(self) -> dict[str, Any]:
        """Return plain values for JSON."""
        values = dataclasses.asdict(self)
        return values | {"uses": list(self.uses), "missing": list(self.missing)}


def printed(paper: Mapping[str, Published], name: str) -> Interval | None:
    """Return a published number as the interval that rounds to it; None if missing.

    Parameters
    ----------
    paper : mapping of str to Published
    name : str
        An id; with the ending ``.sd`` the standard deviation printed with it.

    Raises
    ------
    OptionError
        For an unknown id.
    """
    key = name.removesuffix(SD)
    if key not in paper:
        raise OptionError(f"unknown published number {key!r}: see reproduce/paper.yaml")
    published = paper[key]
    value = published.sd if name.endswith(SD) else published.value
    if value is None:
        return None
    if published.unit in COUNTS:
        return Interval.exact(value)
    return Interval.rounded(value, published.printed_unit)


def check(paper: Mapping[str, Published], one: Check) -> Finding:
    """Decide one statement.

    Raises
    ------
    OptionError
        For an unknown id or relation.
    """
    if one.relation != "=" and one.relation not in _MEETS:
        raise OptionError(f"unknown relation {one.relation!r}: expected = {' '.join(_MEETS)}")
    wanted = one.id if one.target is None else one.target
    target = printed(paper, wanted) if isinstance(wanted, str) else Interval.exact(wanted)
    values = [printed(paper, name) for name in one.uses]
    missing = [name for name, value in zip(one.uses, values, strict=True) if value is None]
    if target is None:
        missing.append(wanted)
    found = None if missing else one.compute(*values)
    published = paper.get(one.id)
    return Finding(
        one.id,
        one.says,
        one.formula,
        one.where or (published.where if published else ""),
        one.unit or (published.unit if published else ""),
        one.relation,
        one.note or (published.note if published else ""),
        (*one.uses, wanted) if isinstance(one.target, str) else one.uses,
        target and target.value,
        found and found.value,
        found and found.low,
        found and found.high,
        CANNOT if missing else judge(found, one.relation, target) if one.decides else UNDECIDED,
        tuple(missing),
    )


def judge(found: Interval, relation: str, target: Interval) -> str:
    """Compare a recomputed number with its target.

    For ``=`` the recomputed number as it stands must print as the target does.
    """
    slack = _TOLERANCE * max(1.0, abs(target.value))
    difference = found - target
    if relation == "=":
        prints_alike = target.low - slack <= found.value <= target.high + slack
        overlap = difference.low <= slack and difference.high >= -slack
    else:
        meets = _MEETS[relation]
        ends = (round(end, 12) for end in (difference.low, difference.high))
        prints_alike, overlap = meets(round(difference.value, 12)), any(map(meets, ends))
    return HOLDS if prints_alike else WITHIN_ROUNDING if overlap else DOES_NOT_HOLD


def findings(paper: Mapping[str, Published]) -> list[Finding]:
    """Decide every statement of the list."""
    from reproduce.parts.published_checks import CHECKS

    return [check(paper, one) for one in CHECKS]
