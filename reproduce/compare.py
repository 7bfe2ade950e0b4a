"""Published numbers, the rule that judges ours against them, and plain tables.

The rule was fixed before any run, but for the condition on numbers without a column: it was
added when runs were there, and can only take a *reproduced* away. For a published value p
with standard deviation s_p, and ours with mean m and standard deviation s over n seeds:

* the bound is the larger of half a printed unit and 2 sqrt(s_p^2 + s^2);
* *reproduced*: |m - p| is within the bound, and the bound is below half the
  column's published gap from PPN to the best CNN;
* *cannot be checked (spread)*: the bound is not below that, so that it could
  not tell the methods apart; the reason says whether m lies within it. A number
  without a column is *reproduced* only where the bound, if spreads make it, is below
  half its distance from no effect (1 for a ratio, else 0): otherwise the noisiest
  number would be the best reproduced;
* *same ordering*: not reproduced, but the paired 95 % interval of PPN minus
  this method excludes 0 on the published side;
* *differs*: neither;
* *cannot be checked*: the published value is missing, or another published
  number contradicts it.

Fewer than 5 seeds make a verdict provisional; the profiles smoke and quick
give none.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping, Sequence
from typing import Any

from ppn_tf.errors import DataError, OptionError
from reproduce.paper import (
    CNNS,
    METRICS,
    Published,
    column_gap,
    load_paper,
    published_sign,
)

__all__ = [
    "CNNS",
    "METRICS",
    "Published",
    "Verdict",
    "column_gap",
    "latex_table",
    "load_paper",
    "markdown_table",
    "ordering_verdict",
    "published_sign",
    "verdict",
    "with_ordering",
]

PROFILES = ("smoke", "quick", "paper")

REPRODUCED = "reproduced"
SAME_ORDERING = "same ordering"
DIFFERS = "differs"
CANNOT = "cannot be checked"
CANNOT_SPREAD = "cannot be checked (spread)"
STATUSES = (REPRODUCED, SAME_ORDERING, DIFFERS, CANNOT, CANNOT_SPREAD)

#: Seeds from which a verdict is no longer provisional.
SEEDS = 5


@dataclasses.dataclass(frozen=True)
class Verdict:
    """What holds of one published number.

    Attributes
    ----------
    status : str
        One of `STATUSES`.
    bound : float or None
        Largest difference that counts as reproduced; None without a value.
    difference : float or None
        Ours minus published.
    reason : str
        The numbers behind the status, in one sentence.
    provisional : bool
        True for fewer than 5 seeds.
    """

    status: str
    bound: float | None
    difference: float | None
    reason: str
    provisional: bool = False

    @property
    def text(self) -> str:
        """The status as it is printed, with what makes a check impossible."""
        text = f"{self.status}: {self.reason}" if self.status == CANNOT else self.status
        return f"{text}, provisional" if self.provisional else text

    def to_dict(self) -> dict[str, Any]:
        """Return plain values for JSON, `text` included."""
        return dataclasses.asdict(self) | {"text": self.text}


def verdict(
    published: Published,
    ours_mean: float,
    ours_sd: float | None,
    n: int | None,
    *,
    column_gap: float | None,
    profile: str,
) -> Verdict | None:
    """Judge one of our numbers by the rule in the module docstring.

    Parameters
    ----------
    published : Published
    ours_mean : float
        Mean over seeds, in ``published.unit`` (SSIM of a table in percent).
    ours_sd : float or None
        Standard deviation over seeds; not used below 2 seeds.
    n : int or None
        Number of seeds; None for numbers that depend on no seed, such as
        parameter counts, which are never provisional.
    column_gap : float or None
        From `column_gap`; None for numbers without a column, see the module's docstring.
    profile : {"smoke", "quick", "paper"}

    Returns
    -------
    Verdict or None
        None for the profiles smoke and quick. The ordering is not looked at:
        see `with_ordering`.

    Raises
    ------
    OptionError
        For an unknown profile, n below 1, or a gap that is not positive.
    DataError
        If ours is NaN or infinite, or has no spread in spite of 2 seeds.
    """
    spread = _checked_ours(published.id, ours_mean, ours_sd, n, column_gap, profile)
    if profile != "paper":
        return None
    if published.value is None:
        return Verdict(CANNOT, None, None, "value missing")
    bound = max(published.printed_unit / 2, 2 * math.hypot(published.sd_used, spread))
    difference = ours_mean - published.value
    if published.contradicted_by:
        others = ", ".join(published.contradicted_by)
        return Verdict(CANNOT, bound, difference, f"contradicts {others}")
    # a difference of exactly the bound must not fail by rounding
    within = abs(difference) <= bound + 1e-9 * max(1.0, abs(published.value))
    provisional = n is not None and n < SEEDS
    place = "within" if within else "beyond"
    facts = f"a difference of {difference:+.4g} is {place} the bound of {bound:.4g}"
    gap, named = _gap(published, column_gap, bound, within)
    # nor may a bound of exactly half the gap pass by rounding
    if gap is not None and bound >= gap / 2 * (1 - 1e-9):
        facts += f", which is not below half the {named} of {gap:.4g}"
        return Verdict(CANNOT_SPREAD, bound, difference, facts, provisional)
    return Verdict(REPRODUCED if within else DIFFERS, bound, difference, facts, provisional)


def _gap(
    published: Published, column_gap: float | None, bound: float, within: bool
) -> tuple[float | None, str]:
    """Return what a bound must tell apart, and its name; None where there is no such thing."""
    if column_gap is not None:
        return column_gap, "published gap"
    # a difference beyond the bound is one; nor is there anything to tell where rounding makes it
    if not within or bound <= published.printed_unit / 2:
        return None, ""
    return abs(published.value - (published.unit == "ratio")), "distance from no effect"


def ordering_verdict(pair_ci: tuple[float, float], published_sign: int) -> str:
    """Compare the ordering of PPN and another method with the published one.

    Parameters
    ----------
    pair_ci : (float, float)
        Paired 95 % interval of PPN minus the method.
    published_sign : int
        From `published_sign`.

    Returns
    -------
    str
        ``"same"`` if the interval excludes 0 on the published side,
        ``"reversed"`` on the other, ``"open"`` if it includes 0, and
        ``"none"`` if no ordering is published.

    Raises
    ------
    DataError
        For an interval that is not two numbers in order.
    OptionError
        For a sign other than -1, 0 and 1.
    """
    low, high = pair_ci
    if not (math.isfinite(low) and math.isfinite(high) and low <= high):
        raise DataError(f"an interval is two finite numbers in order, received {pair_ci}")
    if published_sign not in (-1, 0, 1):
        raise OptionError(f"published_sign must be -1, 0 or 1, received {published_sign!r}")
    if published_sign == 0:
        return "none"
    if low <= 0 <= high:
        return "open"
    return "same" if (low > 0) == (published_sign > 0) else "reversed"


def with_ordering(judged: Verdict | None, ordering: str) -> Verdict | None:
    """Combine the verdict on a value with the one on its ordering.

    A value that differs but keeps its published ordering becomes *same
    ordering*. Every other status stays, and the reason names the ordering.

    Parameters
    ----------
    judged : Verdict or None
        From `verdict`.
    ordering : {"same", "reversed", "open", "none"}
        From `ordering_verdict`.

    Returns
    -------
    Verdict or None

    Raises
    ------
    OptionError
        For an unknown ordering.
    """
    said = {
        "same": "the paired 95 % interval keeps the published ordering",
        "reversed": "the paired 95 % interval reverses the published ordering",
        "open": "the paired 95 % interval includes 0",
        "none": "",
    }
    if ordering not in said:
        raise OptionError(f"unknown ordering {ordering!r}: expected one of {', '.join(said)}")
    if judged is None or ordering == "none":
        return judged
    status = SAME_ORDERING if (judged.status, ordering) == (DIFFERS, "same") else judged.status
    return dataclasses.replace(judged, status=status, reason=f"{judged.reason}; {said[ordering]}")


def markdown_table(rows: Sequence[Mapping[str, Any]], columns: Sequence[str] | None = None) -> str:
    """Return rows as a Markdown table, numbers to the right.

    Parameters
    ----------
    rows : sequence of mappings
        Values print as ``str`` gives them: format numbers first. None and a
        missing key leave the cell empty.
    columns : sequence of str, optional
        Keys and headings; those of the first row by default.

    Returns
    -------
    str
        Ends with a newline.

    Raises
    ------
    DataError
        Without rows and columns, or for a row with a key that is no column.
    """
    columns, cells, numeric = _cells(rows, columns)

    def line(values: Sequence[str]) -> str:
        plain = [" ".join(value.replace("|", "\\|").split()) for value in values]
        return f"| {' | '.join(plain)} |"

    rule = f"| {' | '.join('---:' if number else '---' for number in numeric)} |"
    return "\n".join([line(columns), rule, *map(line, cells)]) + "\n"


def latex_table(rows: Sequence[Mapping[str, Any]], columns: Sequence[str] | None = None) -> str:
    r"""Return rows as a LaTeX tabular without packages, special characters escaped.

    Parameters
    ----------
    rows, columns
        As in `markdown_table`.

    Returns
    -------
    str
        From ``\begin{tabular}`` to ``\end{tabular}`` and a newline.

    Raises
    ------
    DataError
        As in `markdown_table`.
    """
    columns, cells, numeric = _cells(rows, columns)

    def line(values: Sequence[str]) -> str:
        return " & ".join(" ".join(v.translate(_LATEX).split()) for v in values) + r" \\"

    layout = "".join("r" if number else "l" for number in numeric)
    body = [line(columns), r"\hline", *map(line, cells)]
    lines = [rf"\begin{{tabular}}{{{layout}}}", r"\hline", *body, r"\hline", r"\end{tabular}"]
    return "\n".join(lines) + "\n"


_LATEX = str.maketrans(
    {character: f"\\{character}" for character in "&%$#_{}"}
    | {"\\": r"\textbackslash{}", "~": r"\textasciitilde{}", "^": r"\textasciicircum{}"}
    | {"<": "$<$", ">": "$>$", "|": "$|$", "±": r"$\pm$"}
)


def _cells(
    rows: Sequence[Mapping[str, Any]], columns: Sequence[str] | None
) -> tuple[list[str], list[list[str]], list[bool]]:
    """Return headings, cells as text, and which columns hold numbers alone."""
    if columns is None:
        if not rows:
            raise DataError("a table without rows needs its columns named")
        columns = list(rows[0])
    columns = list(columns)
    for index, row in enumerate(rows):
        extra = [key for key in row if key not in columns]
        if extra:
            raise DataError(f"row {index} has {extra}, expected keys of {columns}")
    cells = [
        ["" if row.get(column) is None else str(row[column]) for column in columns] for row in rows
    ]
    numeric = [
        any(row[index] for row in cells) and all(_is_number(row[index]) for row in cells)
        for index in range(len(columns))
    ]
    return columns, cells, numeric


def _is_number(cell: str) -> bool:
    """Tell whether a cell is empty or starts with a number, such as ``14.4 ± 0.1``."""
    try:
        float(cell.split("±")[0] or "0")
    except ValueError:
        return False
    return True


def _checked_ours(
    name: str,
    mean: float,
    sd: float | None,
    n: int | None,
    gap: float | None,
    profile: str,
) -> float:
    """Return the spread to use: 0 where seeds give none."""
    if profile not in PROFILES:
        raise OptionError(f"unknown profile {profile!r}: expected one of {', '.join(PROFILES)}")
    if n is not None and n < 1:
        raise OptionError(f"{name}: n must be at least 1, received {n}")
    if gap is not None and not gap > 0:
        raise OptionError(f"{name}: column_gap must be positive, received {gap}")
    if not math.isfinite(mean):
        raise DataError(f"{name}: our value must be finite, received {mean}")
    if n is None or n < 2:
        return 0.0
    if sd is None or not (math.isfinite(sd) and sd >= 0):
        raise DataError(f"{name}: {n} seeds need a standard deviation, received {sd}")
    return float(sd)
