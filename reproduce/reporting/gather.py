"""All that the report says, read once from the folder of the outputs."""

from __future__ import annotations

import collections
import dataclasses
from collections.abc import Mapping
from pathlib import Path

from reproduce import compare
from reproduce.reporting import answers, documents, heatmap
from reproduce.reporting.answers import Answer, Number
from reproduce.reporting.documents import Document, Run
from reproduce.reporting.heatmap import Heatmap


@dataclasses.dataclass(frozen=True)
class Report:
    """What is known of a folder of outputs.

    Attributes
    ----------
    folder : Path
    profile, about : str
    documents : list of Document
        In the order of the paper.
    answers : dict of str to list of Answer
        By exhibit.
    numbers : list of Number
        Every published number once.
    runs : dict
        Those that a document rests on, by hash and backend.
    heatmaps : list of Heatmap
    failures : dict of str to str
        What failed in the last call of ``all.py``, and ids that are not the paper's.
    """

    folder: Path
    profile: str
    about: str
    documents: list[Document]
    answers: dict[str, list[Answer]]
    numbers: list[Number]
    runs: dict[tuple[str, str], Run]
    heatmaps: list[Heatmap]
    failures: dict[str, str]

    @property
    def comparisons(self) -> list[Answer]:
        """All answers with a value."""
        every = (answer for own in self.answers.values() for answer in own)
        return [answer for answer in every if answer.cell.get("ours") is not None]

    @property
    def states(self) -> collections.Counter[str]:
        """Number of published numbers by state."""
        return collections.Counter(number.state for number in self.numbers)

    @property
    def facts(self) -> list[tuple[str, str]]:
        """What the report rests on."""
        runs = self.runs.values()
        devices = ", ".join(sorted({run.device for run in runs})) or "none"
        seconds = answers.duration(sum(run.seconds for run in runs))
        last = max((run.finished for run in runs), default="")
        commits = sorted({run.commit for run in runs})
        return [
            ("Object", self.about or "unknown: no exhibit has been made yet"),
            ("Profile", self.profile),
            ("Devices", devices),
            ("Runs", f"{len(self.runs)}, {seconds} in all" if self.runs else "none"),
            ("Last run", last.replace("T", " ").replace("+00:00", " UTC") or "none"),
            ("Commits of the runs", ", ".join(commits) or "none"),
        ]

    @property
    def sentence(self) -> str:
        """Say how many published numbers have an answer."""
        states = self.states
        return (
            f"The paper prints {len(self.numbers)} numbers in the text available to us: "
            f"{states[answers.COMPARED]} are compared with ours, {states[answers.NO_RECORD]} have "
            f"no record yet, and of {states[answers.MISSING_VALUE]} the value is missing from "
            "that text. A number of a table is compared under every protocol block and for both "
            f"forms of PPN: {len(self.comparisons)} comparisons so far."
        )

    @property
    def no_verdicts(self) -> bool:
        """Whether the profile gives no verdicts."""
        return self.profile != "paper"


def gather(folder: Path) -> Report:
    """Read the folder of the outputs.

    Parameters
    ----------
    folder : Path
        With the documents of the exhibits and ``runs``.
    """
    found = documents.read_documents(folder)
    journal = documents.read_journal(folder)
    every_run = documents.read_runs(folder / "runs")
    paper = compare.load_paper()
    # a folder belongs to one profile
    profile = found[0].profile if found else _profile_of(folder)
    by_exhibit = {
        document.exhibit: answers.answers_of(document, paper, every_run, journal["made"])
        for document in found
    }
    used = {key for document in found for key in _runs_of(document)}
    runs = {key: run for key, run in every_run.items() if key in used}
    return Report(
        folder,
        profile,
        found[0].about if found else "",
        found,
        by_exhibit,
        answers.numbers(paper, [one for own in by_exhibit.values() for one in own], profile),
        runs,
        heatmap.heatmaps(found, runs.values(), paper),
        journal["failures"] | _unknown(found, paper),
    )


def _unknown(found: list[Document], paper: Mapping[str, compare.Published]) -> dict[str, str]:
    """Name the ids that an exhibit compares with and ``paper.yaml`` lacks."""
    unknown = {}
    for document in found:
        names = {cell.get("id") for cell in document.cells} - {None, ""} - paper.keys()
        if names:
            unknown[document.exhibit] = f"ids that paper.yaml lacks: {', '.join(sorted(names))}"
    return unknown


def _profile_of(folder: Path) -> str:
    return folder.name if folder.name in compare.PROFILES else "paper"


def _runs_of(document: Document) -> list[tuple[str, str]]:
    return [(key, made.get("backend", "")) for key, made in document.environments.items()]


def used_by(report: Report) -> dict[str, list[str]]:
    """Return the titles of the exhibits that rest on each run, by hash."""
    found: dict[str, list[str]] = {}
    for document in report.documents:
        for key in document.environments:
            found.setdefault(key, []).append(document.title)
    return found
