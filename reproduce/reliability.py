"""What happens when things go wrong: run the fault tests and write what they tried.

Claim      None of the paper's. Nothing is lost by a kill or a full disk, nothing is let in
           with a damaged or hostile file, and one seed gives one record.
Command    python reproduce/reliability.py          (minutes)
           python reproduce/reliability.py --long   (20 kills, 10,000 inputs per reader, 100
                                                    runs in a process: an hour on two cores)
Written    results/reliability.json
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from ppn_tf.errors import RecordError
from ppn_tf.files import write_json
from reproduce.options import ROOT, run_script

#: Variable that tells the tests where their figures go.
VARIABLE = "PPN_TF_RELIABILITY"


def main(argv: Sequence[str] | None = None) -> None:
    """Run the tests; what an earlier call wrote is kept where they do not replace it."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--long", action="store_true", help="also the tests that take long")
    parser.add_argument("-k", metavar="WORDS", help="only tests of these names, as in pytest")
    parser.add_argument("--out", type=Path, default=ROOT / "results", help="folder of the outputs")
    arguments = parser.parse_args(argv)
    path = arguments.out.resolve() / "reliability.json"
    command = [sys.executable, "-m", "pytest", str(ROOT / "tests" / "faults")]
    if arguments.long:
        command += ["-m", "long or not long"]
    if arguments.k:
        command += ["-k", arguments.k]
    done = subprocess.run(command, cwd=ROOT, env=os.environ | {VARIABLE: str(path)})
    _stamp(path)
    from reproduce.reporting import reliability

    print(reliability.markdown(path.parent))
    if done.returncode:
        raise RecordError(f"a test failed (status {done.returncode}): the figures are not complete")


def _stamp(path: Path) -> None:
    """Say by what the figures were made."""
    if not path.exists():
        raise RecordError(f"no test wrote its figures to {path}")
    from ppn_tf import devices
    from reproduce.record_files import commit

    record = json.loads(path.read_text(encoding="utf-8"))
    record["made"] = {
        "commit": commit(),
        "device": f"CPU ({devices.processor()})",
        "versions": devices.versions(),
    }
    write_json(path, record)


if __name__ == "__main__":
    run_script(main)
