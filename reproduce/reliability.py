"""What happens when things go wrong: run the fault tests and write what they tried.

Claim      None of the paper's. Nothing is lost by a kill or a full disk, nothing is let in
           with a damaged or hostile file, and one seed gives one record.
Command    python reproduce/reliability.py          (minutes)
           python reproduce/reliability.py --long   (20 kills, 10,000 inputs per reader, 100
                                                    runs in a process: an hour on two cores)
           python reproduce/reliability.py --suite PYTHON   (all tests, with the versions of
                                                    another interpreter)
Written    results/reliability.json
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from ppn_tf.errors import OptionError, RecordError
from ppn_tf.files import write_json
from reproduce.options import ROOT, run_script

#: Variable that tells the tests where their figures go.
VARIABLE = "PPN_TF_RELIABILITY"


def main(argv: Sequence[str] | None = None) -> None:
    """Run the tests; what an earlier call wrote here is kept where they do not replace it."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--long", action="store_true", help="also the tests that take long")
    parser.add_argument("-k", metavar="WORDS", help="only tests of these names, as in pytest")
    parser.add_argument(
        "--suite",
        metavar="PYTHON",
        help="run all tests with this interpreter, and keep the outcome",
    )
    parser.add_argument("--out", type=Path, default=ROOT / "results", help="folder of the outputs")
    arguments = parser.parse_args(argv)
    path = arguments.out.resolve() / "reliability.json"
    made = _made(path)
    if arguments.suite:
        status = _suite(arguments.suite, path)
        _stamp(path, made)
        sys.exit(status)
    command = [sys.executable, "-m", "pytest", str(ROOT / "tests" / "faults")]
    if arguments.long:
        command += ["-m", "long or not long"]
    if arguments.k:
        command += ["-k", arguments.k]
    done = subprocess.run(command, cwd=ROOT, env=os.environ | {VARIABLE: str(path)})
    _stamp(path, made)
    from reproduce.reporting import reliability

    print(reliability.markdown(path.parent))
    if done.returncode:
        raise RecordError(f"a test failed (status {done.returncode}): the figures are not complete")


def _suite(python: str, path: Path) -> int:
    """Run all tests with another interpreter and its packages; keep how many passed."""
    from reproduce.record_files import commit

    environment = os.environ | {"PYTHONPATH": str(ROOT)}
    code = "import json; from ppn_tf import devices; print(json.dumps(devices.versions()))"
    asked = subprocess.run(
        [python, "-c", code], cwd=ROOT, env=environment, capture_output=True, text=True
    )
    if asked.returncode:
        last = (asked.stderr.splitlines() or ["nothing"])[-1]
        raise OptionError(f"--suite expects a Python with the packages, {python} says: {last}")
    versions = json.loads(asked.stdout.splitlines()[-1])
    with tempfile.TemporaryDirectory() as folder:
        summary = Path(folder) / "summary.xml"
        words = ["-m", "pytest", "-p", "no:cacheprovider", f"--junitxml={summary}", "tests"]
        done = subprocess.run([python, *words], cwd=ROOT, env=environment)
        if not summary.exists():
            raise RecordError(f"pytest ended with status {done.returncode} and no summary")
        counts = ElementTree.parse(summary).getroot()[0].attrib
    failed = int(counts["failures"]) + int(counts["errors"])
    skipped = int(counts["skipped"])
    passed = int(counts["tests"]) - failed - skipped
    name = ", ".join(f"{package} {version}" for package, version in versions.items())
    record: dict[str, Any] = {}
    with contextlib.suppress(OSError, ValueError):
        record = json.loads(path.read_text(encoding="utf-8"))
    record.setdefault("versions", {})[name] = {
        "passed": passed,
        "failed": failed,
        "skipped": skipped,
        "commit": commit(),
    }
    write_json(path, record)
    return done.returncode


def _made(path: Path) -> dict[str, Any]:
    """Return by what figures are made now; figures of another machine are given up."""
    from ppn_tf import devices
    from reproduce.record_files import commit

    now = {"device": f"CPU ({devices.processor()})", "versions": devices.versions()}
    before: dict[str, Any] = {}
    with contextlib.suppress(OSError, ValueError, KeyError, AttributeError):
        before = dict(json.loads(path.read_text(encoding="utf-8"))["made"])
    if any(before.get(key) != value for key, value in now.items()) and path.exists():
        print(f"{path}: figures of another machine or other versions; made anew", file=sys.stderr)
        path.unlink()
        before = {}
    return now | {"commits": sorted({*before.get("commits", ()), str(commit())})}


def _stamp(path: Path, made: Mapping[str, Any]) -> None:
    """Say by what the figures were made."""
    if not path.exists():
        raise RecordError(f"no test wrote its figures to {path}")
    record = json.loads(path.read_text(encoding="utf-8"))
    record["made"] = dict(made)
    write_json(path, record)


if __name__ == "__main__":
    run_script(main)
