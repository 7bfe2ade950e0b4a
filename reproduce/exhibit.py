"""What every exhibit is: the runs that it needs, and what it makes of their records."""

from __future__ import annotations

import dataclasses
import sys
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from ppn_tf.errors import TrainingError
from reproduce.options import Session, parser, prepare

if TYPE_CHECKING:  # they import Keras, which must not happen before the device is chosen
    from reproduce.added import Added
    from reproduce.experiments import Block, Grid, Profile
    from reproduce.runs import RunStore
    from reproduce.specification import RunSpec
    from reproduce.tables import Cell

Record = dict[str, Any]


@dataclasses.dataclass(frozen=True)
class Context:
    """What an exhibit is made from.

    Attributes
    ----------
    session : Session
    profile : Profile
    store : RunStore
    grid : dict
        Of this exhibit.
    """

    session: Session
    profile: Profile
    store: RunStore
    grid: Grid

    def found(self, *key: str) -> list[tuple[RunSpec, Record]]:
        """Return the finished runs of one entry of the grid with their records."""
        pairs = ((spec, self.store.find(spec)) for spec in self.grid.get(key, ()))
        return [(spec, record) for spec, record in pairs if record is not None]

    def records(self) -> dict[str, Record]:
        """Return all finished runs of the grid by hash."""
        return {record["hash"]: record for key in self.grid for _, record in self.found(*key)}

    def blocks(self) -> list[Block]:
        """Return the protocol blocks that the grid names."""
        from reproduce.experiments import PROFILES, block

        names = dict.fromkeys(name for key in self.grid for name in key)
        return [block(name) for name in PROFILES["paper"].blocks if name in names]


@dataclasses.dataclass(frozen=True)
class Output:
    """What an exhibit gives.

    Attributes
    ----------
    body : str
        Markdown below the title and the profile: tables, notes, statistics.
    cells : sequence of Cell
        Every compared number.
    rows : sequence of mappings
        Rows of the table for LaTeX; empty where there is no table.
    figures : sequence of str
        File names of the figures, written to the session's folder by `figures.save`.
    extra : mapping
        More for the JSON document: statistics, curves, measurements.
    about : str
        What the exhibit shows, in place of the session's headline.
    """

    body: str
    cells: Sequence[Cell] = ()
    rows: Sequence[Mapping[str, Any]] = ()
    figures: Sequence[str] = ()
    extra: Mapping[str, Any] = dataclasses.field(default_factory=dict)
    about: str = ""


@dataclasses.dataclass(frozen=True)
class Exhibit:
    """One table, figure or list of numbers of the paper.

    Attributes
    ----------
    name : str
        Of the script and of the files that it writes.
    title : str
    grid : callable
        From (profile, object name, seeds or None) to the runs that it needs.
    make : callable
        From `Context` to `Output`; reads records, trains nothing.
    refresh : bool
        Make it again after every finished run, not only at the end.
    own_backend : bool
        Train on the active backend what only another one has a record of.
    """

    name: str
    title: str
    grid: Callable[[Profile, str, int | None], Grid]
    make: Callable[[Context], Output]
    refresh: bool = False
    own_backend: bool = False


def run(exhibit: Exhibit, description: str, argv: Sequence[str] | None = None) -> None:
    """Read the options, train what is missing and write the exhibit.

    Parameters
    ----------
    exhibit : Exhibit
    description : str
        The script's docstring, for ``--help``.
    argv : sequence of str, optional
        Options; those of the command line by default.

    Raises
    ------
    PpnError
        For a missing GPU, a wrong option or a damaged data file.
    """
    session = prepare(parser(description).parse_args(argv))
    session = dataclasses.replace(session, own_backend=exhibit.own_backend)
    print(session.headline)
    produce(exhibit, session)


def context(exhibit: Exhibit, session: Session) -> Context:
    """Return what an exhibit is made from."""
    from reproduce import experiments, schedule

    profile = dataclasses.replace(experiments.PROFILES[session.profile], added=session.added)
    if profile.name == "paper":
        selected = experiments.selected_block(session.out)
        profile = dataclasses.replace(profile, selected=selected)
    grid = exhibit.grid(profile, session.object_name, session.seeds)
    return Context(session, profile, schedule.store_of(session), grid)


def produce(exhibit: Exhibit, session: Session) -> None:
    """Train what is missing and write the exhibit, or print the plan.

    Raises
    ------
    TrainingError
        If runs failed, after all others are finished and the exhibit is written.
    """
    from reproduce import experiments, schedule

    here = context(exhibit, session)
    print(f"Profile {here.profile.name}: {here.profile.note}")
    wanted = experiments.most_informative_first(here.grid)
    to_do = schedule.missing(wanted, here.store, session.retrain)
    if session.plan:
        if to_do:
            print(schedule.plan(to_do, schedule.measured_steps(session)))
        print(schedule.forecast(to_do, session))
        return
    failures: list[str] = []
    if to_do and session.train:
        if exhibit.refresh and len(to_do) < len(wanted):
            print(write(exhibit, here))
        print(schedule.forecast(to_do, session), file=sys.stderr)
        failures = train(exhibit, here, to_do)
    print(write(exhibit, here))
    if failures:
        raise TrainingError(
            f"{len(failures)} of {len(to_do)} runs failed, the others are kept: "
            + "; ".join(failures)
        )


def train(exhibit: Exhibit, here: Context, specs: Sequence[RunSpec]) -> list[str]:
    """Make runs; return what failed, a line each."""
    from reproduce import trainings

    failures = []
    for spec, error in trainings.outcomes(specs, here.session):
        if error is not None:
            failures.append(f"{spec.hash} ({spec.label}): {type(error).__name__}: {error}")
            print(f"FAILED {failures[-1]}", file=sys.stderr)
        elif exhibit.refresh:
            write(exhibit, here)
    return failures


def write(exhibit: Exhibit, here: Context) -> str:
    """Write all outputs from the records there are; return the text for the screen."""
    from ppn_tf.files import write_json, write_text
    from reproduce import compare, tables

    made = exhibit.make(here)
    session, out = here.session, here.session.out
    about = made.about or session.headline
    markdown = "\n".join(
        [
            f"# {exhibit.title}: {about}",
            "",
            f"Profile {here.profile.name}: {here.profile.note}.",
            "",
            made.body.rstrip(),
            "",
            *(f"![{name}]({name})" for name in made.figures if name.endswith(".png")),
            "",
        ]
    ).rstrip()
    document = {
        "exhibit": exhibit.name,
        "title": exhibit.title,
        "about": about,
        "profile": here.profile.name,
        "command": command(exhibit.name, session.profile, session.added),
        "body": made.body,
        "figures": list(made.figures),
        "cost": cost(here),
        "cells": [cell.to_dict() for cell in made.cells],
        **made.extra,
        "environments": {key: r["environment"] for key, r in here.records().items()},
    }
    write_json(out / f"{exhibit.name}.json", document)
    write_text(out / f"{exhibit.name}.md", markdown + "\n")
    endings = [".json", ".md"]
    if made.cells:
        text = f"# {about}\n" + tables.csv_text(made.cells)
        write_text(out / f"{exhibit.name}.csv", text)
        endings.append(".csv")
    if made.rows:
        text = f"% {about}\n" + compare.latex_table(made.rows)
        write_text(out / f"{exhibit.name}.tex", text)
        endings.append(".tex")
    written = [f"{exhibit.name}{ending}" for ending in endings] + list(made.figures)
    return f"{markdown}\n\nwritten to {out}: {', '.join(written)}"


def command(name: str, profile: str, added: Sequence[Added] = ()) -> str:
    """Return the command that makes an exhibit."""
    words = [f"python reproduce/{name}.py"]
    if profile != "paper":
        words.append(f"--profile {profile}")
    words += [f"--add-model {network.name}" for network in added]
    return " ".join(words)


def _seconds(cost: Mapping[str, float]) -> float:
    return cost["train_seconds"] + cost["evaluate_seconds"]


def cost(here: Context) -> dict[str, Any]:
    """Return how many runs the exhibit rests on, how long they took, and where."""
    records = here.records().values()
    wanted = {spec.hash for specs in here.grid.values() for spec in specs}
    return {
        "runs_found": len(records),
        "runs_wanted": len(wanted),
        # not the total, which counts the last call alone where a run was evaluated again
        "hours": round(sum(_seconds(r["cost"]) for r in records) / 3600, 3),
        "devices": sorted({r["environment"]["device"] for r in records}),
    }
