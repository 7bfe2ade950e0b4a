"""Everything: all tables, figures, statistics and claims, then one report.

Claim      Every number of the paper is compared, or said to be beyond checking, and why.
Command    python reproduce/all.py
Written    results/<exhibit>.*, results/report.html, results/REPORT.md, results/all.json;
           runs in results/runs; tracebacks of what failed in results/all.log

The runs that any exhibit lacks are trained once, Table I first, then the others seed by
seed. Interrupt it at any time: started again, it goes on where it was. What fails is
listed at the end and in the exit status (1); the rest completes. `--plan` says what is
missing and the hours that it takes, before anything starts.
"""

from __future__ import annotations

import argparse
import contextlib
import importlib
import json
import sys
import time
import traceback
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from ppn_tf.errors import OptionError
from ppn_tf.files import write_json, write_text
from reproduce import exhibit
from reproduce.options import Session, parser, prepare, run_script

if TYPE_CHECKING:  # it imports Keras, which must not happen before the device is chosen
    from reproduce.specification import RunSpec

#: Scripts that make something of records, in the order in which they run.
EXHIBITS = (
    "table1",
    "table2",
    "table3",
    "table4",
    *(f"fig{number}" for number in range(1, 12)),
    "claims",
    "audit",
    "refine",
)

#: Scripts that measure by themselves and have options of their own.
MEASUREMENTS = ("speed",)

#: Exhibits that are made where `--only` names them.
ON_REQUEST = ("real_probe",)

#: Exhibits that only read the runs of others, and never train, whatever else is chosen.
READERS = ("claims",)

REGISTRY = (*EXHIBITS, *MEASUREMENTS)

Contexts = dict[str, tuple[exhibit.Exhibit, exhibit.Context]]


class Journal:
    """What was made and what failed, written as it happens.

    Parameters
    ----------
    out : Path
        Folder of ``all.json`` and ``all.log``.
    device : str
        Name of the device, for ``all.json``.
    keep : bool
        Write ``all.log``; False for a plan, which writes nothing.

    Attributes
    ----------
    failures : dict of str to str
        Exhibit or run to its message.
    made : dict of str to dict
        Exhibit to the seconds that it took, runs not counted, and the device.
    """

    def __init__(self, out: Path, device: str, keep: bool = True) -> None:
        self.out = out
        self.device = device
        self.keep = keep
        self.failures: dict[str, str] = {}
        self.made: dict[str, dict[str, Any]] = {}
        self._log: list[str] = []

    @contextlib.contextmanager
    def guard(self, what: str) -> Iterator[None]:
        """Keep an exception from what follows; a success clears an earlier failure."""
        start = time.perf_counter()
        try:
            yield
        except Exception as error:
            self.failed(what, error)
            return
        self.failures.pop(what, None)
        seconds = round(time.perf_counter() - start, 1)
        self.made[what] = {"seconds": seconds, "device": self.device}

    def failed(self, what: str, error: Exception) -> None:
        """List a failure and write its traceback to ``all.log``."""
        first_line = (str(error).splitlines() or [""])[0]
        self.failures[what] = f"{type(error).__name__}: {first_line}"
        print(f"FAILED {what}: {self.failures[what]}", file=sys.stderr)
        self._log.append(f"{what}\n{''.join(traceback.format_exception(error))}\n")
        if self.keep:
            write_text(self.out / "all.log", "\n".join(self._log))

    def write(self, tried: Sequence[str]) -> None:
        """Write ``all.json``; what an earlier call says of exhibits not tried now stays."""
        path = self.out / "all.json"
        before: dict[str, dict[str, Any]] = {"made": {}, "failures": {}}
        with contextlib.suppress(OSError, ValueError):
            before |= json.loads(path.read_text(encoding="utf-8"))
        failures = {
            name: message
            for name, message in before["failures"].items()
            if name in (*REGISTRY, *ON_REQUEST) and name not in tried
        }
        made = before["made"] | self.made
        write_json(path, {"made": made, "failures": failures | self.failures})


def main(argv: Sequence[str] | None = None) -> None:
    """Train what is missing, make every exhibit, write the report.

    Raises
    ------
    SystemExit
        With 1 if anything failed.
    PpnError
        For a missing GPU, a wrong option or a damaged data file.
    """
    arguments = options().parse_args(argv)
    names = chosen(arguments.only, arguments.skip)
    session = prepare(arguments)
    print(session.headline)
    journal = Journal(session.out, session.device_name, keep=not session.plan)
    here = contexts(names, session, journal)
    specs = missing(here, session)
    if session.plan:
        print(planned(here, specs, session))
    else:
        asked = arguments.only is not None
        produce(here, specs, session, journal)
        for name in names:
            if name in MEASUREMENTS and wanted(name, session, asked):
                measure(name, session, journal)
        report(names, session, journal)
    for what, message in journal.failures.items():
        print(f"failed: {what}: {message}", file=sys.stderr)
    if journal.failures:
        where = "" if session.plan else f"; tracebacks in {session.out / 'all.log'}"
        print(f"{len(journal.failures)} failed{where}", file=sys.stderr)
        sys.exit(1)


def options() -> argparse.ArgumentParser:
    """Return the options: those of every script, and which exhibits."""
    new = parser(__doc__)
    new.add_argument("--only", metavar="NAMES", help="these alone, such as table2,fig4")
    new.add_argument("--skip", metavar="NAMES", help="all but these")
    return new


def chosen(only: str | None, skip: str | None) -> tuple[str, ...]:
    """Return the names to run, in the order of the registry.

    Raises
    ------
    OptionError
        For a name that is not in the registry, or if none is left.
    """
    named = {}
    for option, text in (("--only", only), ("--skip", skip)):
        named[option] = [name.strip() for name in (text or "").split(",") if name.strip()]
        known = (*REGISTRY, *ON_REQUEST)
        unknown = [name for name in named[option] if name not in known]
        if unknown:
            raise OptionError(
                f"{option} expects names of {', '.join(known)}; received {', '.join(unknown)}"
            )
    kept = named["--only"] or REGISTRY
    names = tuple(name for name in known if name in kept and name not in named["--skip"])
    if not names:
        raise OptionError(f"--only {only} and --skip {skip} leave nothing to run")
    return names


def contexts(names: Sequence[str], session: Session, journal: Journal) -> Contexts:
    """Import the exhibits and ask each for its grid; those that fail are left out."""
    here: Contexts = {}
    for name in names:
        if name in MEASUREMENTS:
            continue
        try:
            found = importlib.import_module(f"reproduce.{name}").EXHIBIT
            here[name] = (found, exhibit.context(found, session))
        except Exception as error:
            journal.failed(name, error)
    return here


def missing(here: Contexts, session: Session) -> list[RunSpec]:
    """Return the runs that any exhibit lacks: Table I first, then seed by seed."""
    from reproduce import experiments, schedule

    names = [name for name in here if name not in READERS]
    first = {key: runs for name in names if name == "table1" for key, runs in _grid(here, name)}
    others = {
        (name, *key): runs for name in names if name != "table1" for key, runs in _grid(here, name)
    }
    specs = {
        spec.hash: spec
        for grid in (first, others)
        for spec in experiments.most_informative_first(grid)
    }
    return schedule.missing(list(specs.values()), schedule.store_of(session), session.retrain)


def _grid(here: Contexts, name: str) -> list[tuple[tuple[str, ...], list[RunSpec]]]:
    return list(here[name][1].grid.items())


def planned(here: Contexts, specs: Sequence[RunSpec], session: Session) -> str:
    """List what is missing, by exhibit and by run, and its hours per device."""
    from reproduce import schedule

    folder = schedule.store_of(session).folder
    seconds = schedule.measured_steps(session)
    lines = [schedule.plan(specs, seconds), ""] if specs else []
    lines.append("By exhibit, runs that several share counted in each:")
    to_do = {spec.hash for spec in specs}
    for name in here:
        runs = {spec.hash: spec for _, found in _grid(here, name) for spec in found}
        lack = [spec for key, spec in runs.items() if key in to_do]
        need = schedule.estimate(lack, seconds) if lack else "nothing missing"
        lines.append(f"  {name}: {len(runs) - len(lack)} of {len(runs)} runs there; {need}")
    lines += ["", f"On this device, {session.device_name}: {schedule.estimate(specs, seconds)}"]
    others = schedule.measured_elsewhere(folder, session.device_name)
    for device, known in others.items():
        lines.append(f"On {device}, by its records: {schedule.estimate(specs, known)}")
    if not any("T4" in device for device in (*others, session.device_name)):
        lines.append(
            "On a T4-class GPU, not measured, by arithmetic (operations of fig10.json, three "
            f"forward passes a step, {schedule.T4_SHARE:.0%} of {schedule.T4_PEAK_FLOPS / 1e12:g} "
            f"TFLOP/s): {schedule.estimate(specs, schedule.t4_step_seconds(folder.parent))}"
        )
    return "\n".join(lines)


def produce(here: Contexts, specs: Sequence[RunSpec], session: Session, journal: Journal) -> None:
    """Train the missing runs, refreshing tables on the way, then make every exhibit."""
    from reproduce import schedule, trainings

    if specs and session.train:
        print(schedule.forecast(specs, session), file=sys.stderr)
        for spec, error in trainings.outcomes(specs, session):
            if error is not None:
                journal.failed(f"run {spec.hash} ({spec.label})", error)
                continue
            for name in touched(here, spec):
                with journal.guard(name):
                    exhibit.write(*here[name])
    for name, (found, context) in here.items():
        with journal.guard(name):
            text = exhibit.write(found, context)
            print(f"{found.title}: {text.splitlines()[-1]}", flush=True)


def touched(here: Contexts, spec: RunSpec) -> list[str]:
    """Return the exhibits to refresh when a run is finished."""
    return [
        name
        for name, (found, _) in here.items()
        if found.refresh
        and any(spec.hash == own.hash for _, runs in _grid(here, name) for own in runs)
    ]


def wanted(name: str, session: Session, asked: bool) -> bool:
    """Tell whether to measure: when asked, else once, in the paper profile that trains."""
    there = (session.out / f"{name}.json").exists()
    return asked or (session.train and session.profile == "paper" and not there)


def measure(name: str, session: Session, journal: Journal) -> None:
    """Run a script that measures by itself."""
    with journal.guard(name):
        script = importlib.import_module(f"reproduce.{name}")
        script.main(["--gpu", session.device, "--out", str(session.out)])


def report(names: Sequence[str], session: Session, journal: Journal) -> None:
    """Write the report from all that lies in the folder."""
    with journal.guard("all.json"):
        # before the report, which lists the failures
        journal.write(names)
    with journal.guard("report"):
        from reproduce import report as script

        print(script.write(session.out))


if __name__ == "__main__":
    run_script(main)
