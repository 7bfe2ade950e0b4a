"""Every published number, and what the exhibits found for it."""

from __future__ import annotations

import collections
import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any

from reproduce import compare
from reproduce.compare import Published
from reproduce.reporting import documents
from reproduce.reporting.documents import Document, Run

#: States of a published number.
COMPARED = "compared"
MISSING_VALUE = "cannot be checked: value missing"
NO_RECORD = "no record yet"
STATES = (COMPARED, MISSING_VALUE, NO_RECORD)

#: Digits of each metric, as published.
_DIGITS = {"mse": ".4f", "psnr": ".2f", "ssim": ".2f"}


@dataclasses.dataclass(frozen=True)
class Answer:
    """One number of ours beside a published one.

    Attributes
    ----------
    document : Document
        That holds it.
    cell : dict
        See `reproduce.tables.Cell`.
    where : str
        Place of the published number.
    runs : tuple of Run
        That it rests on.
    made : dict
        Seconds and device of the making of its exhibit, for numbers without runs.
    """

    document: Document
    cell: Mapping[str, Any]
    where: str = ""
    runs: tuple[Run, ...] = ()
    made: Mapping[str, Any] = dataclasses.field(default_factory=dict)

    @property
    def source(self) -> str:
        """Protocol block and method, as far as they apply."""
        parts = [self.cell.get("condition"), self.cell.get("block"), self.cell.get("method")]
        return ", ".join(part for part in parts if part) or self.document.title

    @property
    def status(self) -> str:
        """Verdict without what makes it provisional; empty where there is none."""
        return (self.cell.get("verdict") or {}).get("status", "")

    @property
    def provisional(self) -> bool:
        """Whether the verdict rests on fewer than 5 seeds."""
        return bool((self.cell.get("verdict") or {}).get("provisional"))

    @property
    def reason(self) -> str:
        """The numbers behind the verdict."""
        return (self.cell.get("verdict") or {}).get("reason", "")

    def number(self, key: str, form: str = "") -> str:
        """Return one of the cell's numbers as it is printed."""
        return number(self.cell.get(key), self.cell.get("metric") or "", form)

    @property
    def ours(self) -> str:
        """Mean and standard deviation."""
        return spread(self.number("ours"), self.number("ours_sd"))

    @property
    def published(self) -> str:
        """Published value and standard deviation."""
        return spread(self.number("published"), self.number("published_sd"))


@dataclasses.dataclass(frozen=True)
class Number:
    """One published number with all that answers it.

    Attributes
    ----------
    published : Published
    answers : tuple of Answer
        Those with a value.
    commands : tuple of str
        That answer it.
    """

    published: Published
    answers: tuple[Answer, ...]
    commands: tuple[str, ...]

    @property
    def state(self) -> str:
        """One of `STATES`."""
        if self.published.value is None:
            return MISSING_VALUE
        return COMPARED if self.answers else NO_RECORD

    @property
    def printed(self) -> str:
        """Published value and standard deviation."""
        metric = self.published.metric or ""
        return spread(number(self.published.value, metric), number(self.published.sd, metric))


def number(value: float | None, metric: str, form: str = "") -> str:
    """Return a number with the digits of its metric; empty for None."""
    if value is None:
        return ""
    if metric.split("_")[0] in _DIGITS:
        return format(value, form + _DIGITS[metric.split("_")[0]])
    return format(value, f"{form}.5g")


def spread(value: str, sd: str) -> str:
    """Join value and standard deviation."""
    return f"{value} ± {sd}" if value and sd else value


def cost(answers: Sequence[Answer]) -> tuple[str, str]:
    """Return the time that numbers took, their common runs counted once, and the devices."""
    runs = {(run.hash, run.backend): run for answer in answers for run in answer.runs}
    if runs:
        seconds = sum(run.seconds for run in runs.values())
        return duration(seconds), ", ".join(sorted({run.device for run in runs.values()}))
    made = next((answer.made for answer in answers if answer.made), {})
    return duration(made.get("seconds")), made.get("device", "")


def duration(seconds: float | None) -> str:
    """Return a time in the unit that fits; empty for None."""
    if seconds is None:
        return ""
    for limit, unit, size in ((0.95, "s", 1), (120, "s", 1), (7200, "min", 60)):
        if seconds < limit:
            return f"{seconds / size:{'.2g' if limit < 1 else '.0f'}} {unit}"
    return f"{seconds / 3600:.1f} h"


def answers_of(
    document: Document,
    paper: Mapping[str, Published],
    runs: Mapping[tuple[str, str], Run],
    made: Mapping[str, Any],
) -> list[Answer]:
    """Return the compared numbers of an exhibit.

    Parameters
    ----------
    document : Document
    paper : dict
        From `compare.load_paper`; cells with an id that it lacks are left out.
    runs : dict
        From `documents.read_runs`.
    made : dict
        From `documents.read_journal`.
    """
    found = []
    for cell in document.cells:
        published = paper.get(cell.get("id") or "")
        if published is None:
            continue
        keys = [_run(document, name) for name in cell.get("runs", ())]
        own = tuple(runs[key] for key in keys if key in runs)
        making = {} if keys else dict(made.get(document.exhibit, {}))
        if making and document.device:
            making["device"] = document.device
        found.append(Answer(document, cell, published.where, own, making))
    return found


def _run(document: Document, name: str) -> tuple[str, str]:
    """Return hash and backend of a cell's run; see `reproduce.paired.name`."""
    key, _, backend = name.partition("/")
    known = document.environments.get(key, {}).get("backend", "tensorflow")
    return key, backend or known


def numbers(
    paper: Mapping[str, Published], answers: Sequence[Answer], profile: str
) -> list[Number]:
    """Arrange answers by published number, in the order of ``paper.yaml``."""
    by_id: dict[str, list[Answer]] = {}
    for answer in answers:
        by_id.setdefault(answer.cell["id"], []).append(answer)
    found = []
    for key, published in paper.items():
        own = by_id.get(key, [])
        commands = dict.fromkeys(answer.document.command for answer in own)
        if not commands:
            commands = {documents.command(key.split(".")[0], profile): None}
        with_value = tuple(answer for answer in own if answer.cell.get("ours") is not None)
        found.append(Number(published, with_value, tuple(commands)))
    return found


def group(published: Published) -> str:
    """Return the place of a published number, without its details."""
    return published.where.split(",")[0]


def counts(answers: Sequence[Answer]) -> dict[tuple[str, str], collections.Counter[str]]:
    """Count comparisons by exhibit and block, then by verdict.

    Besides the verdicts, ``"provisional"``, ``"no verdict"`` and ``"comparisons"``.
    """
    found: dict[tuple[str, str], collections.Counter[str]] = {}
    for answer in answers:
        if answer.cell.get("ours") is None:
            continue
        key = (answer.document.title, answer.cell.get("block") or "")
        counter = found.setdefault(key, collections.Counter())
        counter["comparisons"] += 1
        counter[answer.status or "no verdict"] += 1
        counter["provisional"] += answer.provisional
    return found


#: Letter and CSS class of each verdict.
LETTERS = {
    compare.REPRODUCED: "R",
    compare.SAME_ORDERING: "O",
    compare.DIFFERS: "D",
    compare.CANNOT_SPREAD: "S",
    compare.CANNOT: "?",
}
