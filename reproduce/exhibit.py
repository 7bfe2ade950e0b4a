"""What every exhibit is: the runs that it needs, and what it makes of their records."""

from __future__ import annotations

import dataclasses
import sys
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from reproduce.options import Session, parser, prepare

if TYPE_CHECKING:  # they import Keras, which must not happen before the device is chosen
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
    """

    body: str
    cells: Sequence[Cell] = ()
    rows: Sequence[Mapping[str, Any]] = ()
    figures: Sequence[str] = ()
    extra: Mapping[str, Any] = dataclasses.field(default_factory=dict)


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
    """

    name: str
    title: str
    grid: Callable[[Profile, str, int | None], Grid]
    make: Callable[[Context], Output]
    refresh: bool = False


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
    print(session.headline)
    produce(exhibit, session)


def context(exhibit: Exhibit, session: Session) -> Context:
    """Return what an exhibit is made from."""
    from reproduce import experiments, schedule

    profile = experiments.PROFILES[session.profile]
    grid = exhibit.grid(profile, session.object_name, session.seeds)
    return Context(session, profile, schedule.store_of(session), grid)


def produce(exhibit: Exhibit, session: Session) -> None:
    """Train what is missing and write the exhibit, or print the plan."""
    from reproduce import experiments, schedule

    here = context(exhibit, session)
    print(f"Profile {here.profile.name}: {here.profile.note}")
    wanted = experiments.most_informative_first(here.grid)
    to_do = schedule.missing(wanted, here.store, session.retrain)
    seconds = schedule.step_seconds(here.store.folder, session.device_name)
    if session.plan:
        if to_do:
            print(schedule.plan(to_do, seconds))
        print(schedule.estimate(to_do, seconds))
        return
    if to_do and session.train:
        if exhibit.refresh and len(to_do) < len(wanted):
            print(write(exhibit, here))
        print(schedule.estimate(to_do, seconds), file=sys.stderr)
        finished = (lambda: write(exhibit, here)) if exhibit.refresh else None
        schedule.run_all(to_do, session, finished)
    print(write(exhibit, here))


def write(exhibit: Exhibit, here: Context) -> str:
    """Write all outputs from the records there are; return the text for the screen."""
    from ppn_tf.files import write_json, write_text
    from reproduce import compare, tables

    made = exhibit.make(here)
    session, out = here.session, here.session.out
    markdown = "\n".join(
        [
            f"# {exhibit.title}: {session.headline}",
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
        "about": session.headline,
        "profile": here.profile.name,
        "command": command(exhibit.name, here.profile.name),
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
        text = f"# {session.headline}\n" + tables.csv_text(made.cells)
        write_text(out / f"{exhibit.name}.csv", text)
        endings.append(".csv")
    if made.rows:
        text = f"% {session.headline}\n" + compare.latex_table(made.rows)
        write_text(out / f"{exhibit.name}.tex", text)
        endings.append(".tex")
    written = [f"{exhibit.name}{ending}" for ending in endings] + list(made.figures)
    return f"{markdown}\n\nwritten to {out}: {', '.join(written)}"


def command(name: str, profile: str) -> str:
    """Return the command that makes an exhibit."""
    return f"python reproduce/{name}.py" + ("" if profile == "paper" else f" --profile {profile}")


def cost(here: Context) -> dict[str, Any]:
    """Return how many runs the exhibit rests on, how long they took, and where."""
    records = here.records().values()
    wanted = {spec.hash for specs in here.grid.values() for spec in specs}
    return {
        "runs_found": len(records),
        "runs_wanted": len(wanted),
        "hours": round(sum(r["cost"]["total_seconds"] for r in records) / 3600, 3),
        "devices": sorted({r["environment"]["device"] for r in records}),
    }
