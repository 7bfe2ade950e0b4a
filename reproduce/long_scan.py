"""A million patterns over workers: patterns a second, memory, and what 2 kHz would need.

Claim      None of the paper's. A scan too long for memory is reconstructed and stitched
           chunk by chunk on a Dask cluster, in memory that does not grow with the scan, and
           the field does not depend on the number of workers.
Command    python reproduce/long_scan.py [--only ROW,ROW] [--again] [--scratch FOLDER]
Written    results/long_scan.{json,md,png,pdf}; a record of each row in results/long_scan

The scan is simulated: the chart over and over, Poisson counts, 1000 x 1000 positions. It
and the fields lie in the scratch folder (about 9 GB at most), which may be deleted
afterwards. Every row starts a scheduler and workers of its own, a thread each. Rows measured
before on this device are kept, so that an interrupted run goes on; --again measures anew.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from reproduce.options import ROOT, run_script


def main(argv: Sequence[str] | None = None) -> None:
    """Measure what is missing, or one row in this process, and write the outputs."""
    from ppn_tf.errors import OptionError
    from reproduce.parts import long_scan_report
    from reproduce.parts.long_scan_rows import ROWS, measure

    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        "--profile", choices=tuple(ROWS), default="paper", help="smoke: a few hundred patterns"
    )
    parser.add_argument("--only", default="", help=f"rows, of {', '.join(ROWS['paper'])}")
    parser.add_argument("--again", action="store_true", help="measure rows that are there again")
    parser.add_argument("--no-measure", action="store_true", help="write outputs from the records")
    parser.add_argument(
        "--scratch",
        type=Path,
        default=Path(tempfile.gettempdir()) / "ppn-tf-long-scan",
        help="folder of the simulated scans and the fields",
    )
    parser.add_argument("--out", type=Path, default=ROOT / "results", help="folder of the outputs")
    parser.add_argument("--row", help=argparse.SUPPRESS)
    arguments = parser.parse_args(argv)
    rows = ROWS[arguments.profile]
    scratch = arguments.scratch.resolve()
    if arguments.row:
        if rows[arguments.row].workers == 0:
            _as_a_worker()
        print(json.dumps(measure(arguments.profile, arguments.row, scratch)))
        return
    wanted = [name for name in arguments.only.split(",") if name] or list(rows)
    unknown = [name for name in wanted if name not in rows]
    if unknown:
        raise OptionError(f"unknown row {', '.join(unknown)}: expected of {', '.join(rows)}")
    out = arguments.out if arguments.profile == "paper" else arguments.out / arguments.profile
    folder = out / "long_scan"
    if not arguments.no_measure:
        missing(arguments.profile, wanted, folder, scratch, arguments.again)
    found = {name: row for name in rows if (row := kept(folder, name)) is not None}
    print(long_scan_report.write(found, out, scratch / f"{arguments.profile}-whole.h5"))


def missing(profile: str, wanted: Sequence[str], folder: Path, scratch: Path, again: bool) -> None:
    """Measure rows that have no record of this device, one after the other."""
    from tqdm import tqdm

    from ppn_tf import devices
    from ppn_tf.files import write_json
    from reproduce.parts.long_scan_rows import ROWS, check_network, environment

    device = f"CPU ({devices.processor()})"
    records = {} if again else {name: kept(folder, name) for name in wanted}
    to_do = [
        name
        for name in wanted
        if (row := records.get(name)) is None or row["environment"]["device"] != device
    ]
    bar = tqdm(to_do, unit="row")
    for name in bar:
        bar.set_postfix_str(name)
        # at once: what is measured survives an interruption
        check_network(ROWS[profile][name].network)
        row = fresh(profile, name, scratch) | {"environment": environment()}
        write_json(folder / f"{name}.json", row)


def kept(folder: Path, name: str) -> dict[str, Any] | None:
    """Return the record of a row, or None where there is none of this version."""
    from reproduce.parts.long_scan_rows import ROWS_VERSION

    try:
        row = json.loads((folder / f"{name}.json").read_text(encoding="utf-8"))
        return row if row["version"] == ROWS_VERSION else None
    except (OSError, ValueError, KeyError, TypeError):
        return None


def fresh(profile: str, name: str, scratch: Path) -> dict[str, Any]:
    """Measure one row in a process of its own; its bars go to standard error."""
    from ppn_tf.errors import ClusterError

    words = ["--profile", profile, "--scratch", str(scratch), "--row", name]
    done = subprocess.run(
        [sys.executable, __file__, *words], stdout=subprocess.PIPE, text=True, check=False
    )
    if done.returncode:
        raise ClusterError(f"measuring {name} failed, status {done.returncode}: see above")
    return json.loads(done.stdout.splitlines()[-1])


def _as_a_worker() -> None:
    """Give this process the thread and the device of a worker; the client needs neither."""
    from ppn_tf import devices

    devices.set_threads(1)
    devices.select_device("cpu")


if __name__ == "__main__":
    run_script(main)
