"""Speed and memory: networks, attention, ePIE, simulation, stitching and start-up.

Claim      None of the paper's. The exact block-wise attention of this package against
           the N x N matrices of the authors' code, on the same network; ePIE compiled
           against a NumPy loop with scipy.fft, and beside pty-chi; all in one run.
Command    python reproduce/speed.py [--only ROW,ROW] [--again] [--ptychi-python PATH]
Written    results/speed.{json,md,png,pdf}; a record of each row in results/speed/<device>

Every row is measured in fresh processes, so that its peak memory is its own; rows that are
compared take turns. Times are medians after the call that compiles. Rows measured before
on this device are kept, so that an interrupted run goes on; --again measures anew. Those of
other devices stay, and are reported beside them: no ratio mixes two devices. The rows
of the backend's own attention (``fused``) are measured where there is a GPU. Those
beside pty-chi need it, here or in an environment of its own (--ptychi-python); without it
they are left out, and the report says so.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import statistics
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from reproduce.options import ROOT, run_script


def main(argv: Sequence[str] | None = None) -> None:
    """Measure what is missing, or one row in this process, and write the outputs."""
    from ppn_tf.errors import OptionError
    from reproduce.parts import beside_ptychi, speed_report
    from reproduce.parts.speed_rows import ROWS, measure

    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--gpu", default="auto", help="number of a GPU, 'cpu' or 'auto'")
    parser.add_argument("--only", default="", help=f"rows, of {', '.join(ROWS)}")
    parser.add_argument("--again", action="store_true", help="measure rows that are there again")
    parser.add_argument("--out", type=Path, default=ROOT / "results", help="folder of the outputs")
    parser.add_argument(
        "--ptychi-python",
        default=sys.executable,
        metavar="PATH",
        help="an interpreter that has pty-chi (python -m pip install ptychi); this one by default",
    )
    parser.add_argument("--row", help=argparse.SUPPRESS)
    arguments = parser.parse_args(argv)
    if arguments.row:
        print(json.dumps(measure(arguments.row, arguments.gpu, arguments.ptychi_python)))
        return
    device = _device(arguments.gpu)
    wanted = [name for name in arguments.only.split(",") if name] or [
        name for name, row in ROWS.items() if not (row.gpu and device.startswith("CPU"))
    ]
    unknown = [name for name in wanted if name not in ROWS]
    if unknown:
        raise OptionError(f"unknown row {', '.join(unknown)}: expected of {', '.join(ROWS)}")
    folder = arguments.out / "speed" / folder_name(device)
    parts = there(wanted, folder, arguments.again)
    beside = [
        name
        for name in wanted
        if name in beside_ptychi.SCANS and len(parts[name]) < ROWS[name].rounds
    ]
    reason = beside_ptychi.lacking(arguments.ptychi_python) if beside else None
    if reason is not None:
        print(f"not measured: {', '.join(beside)}: {reason}", file=sys.stderr)
        parts = {name: each for name, each in parts.items() if name not in beside}
    missing(parts, folder, ["--gpu", arguments.gpu, "--ptychi-python", arguments.ptychi_python])
    print(speed_report.write(recorded(arguments.out / "speed"), arguments.out, reason or ""))


def folder_name(device: str) -> str:
    """Return the name of a device's folder: its words, joined by hyphens."""
    return "-".join(re.findall(r"[a-z0-9]+", device.lower()))


def recorded(folder: Path) -> list[dict[str, Any]]:
    """Return the rows of all devices, one device after another, of whatever version."""
    from reproduce.parts.speed_rows import ROWS

    rows = (read(place, name) for place in sorted(folder.glob("*")) for name in ROWS)
    return [row for row in rows if row is not None]


def there(wanted: Sequence[str], folder: Path, again: bool) -> dict[str, list[dict[str, float]]]:
    """Return what was measured of each row on a device: nothing if all is measured again."""
    rows = {name: None if again else kept(folder, name) for name in wanted}
    return {name: [] if row is None else row["each"] for name, row in rows.items()}


def missing(
    parts: Mapping[str, list[dict[str, float]]], folder: Path, options: Sequence[str]
) -> None:
    """Measure the rounds that rows lack, in turn; record each at once."""
    from tqdm import tqdm

    from ppn_tf.files import write_json
    from reproduce.parts.speed_rows import ROWS

    wanted = list(parts)
    to_do = [
        (number, name) for name in wanted for number in range(len(parts[name]), ROWS[name].rounds)
    ]
    bar = tqdm(sorted(to_do, key=lambda item: (item[0], wanted.index(item[1]))), unit="process")
    for _, name in bar:
        bar.set_postfix_str(name)
        row = fresh(name, options)
        parts[name].append({key: x for key, x in row.items() if isinstance(x, float)})
        # at once: what is measured survives an interruption
        write_json(folder / f"{name}.json", merged(row, parts[name]))


def kept(folder: Path, name: str) -> dict[str, Any] | None:
    """Return the record of a row, or None where there is none of this version."""
    from reproduce.parts.speed_rows import ROWS

    row = read(folder, name)
    return row if row is not None and row["version"] == ROWS[name].version else None


def read(folder: Path, name: str) -> dict[str, Any] | None:
    """Return the record of a row, or None where there is none that can be read."""
    from reproduce.parts.speed_rows import ROWS_VERSION

    try:
        row = json.loads((folder / f"{name}.json").read_text(encoding="utf-8"))
        return row if row["version"] >= ROWS_VERSION else None
    except (OSError, ValueError, KeyError, TypeError):
        return None


def fresh(name: str, options: Sequence[str]) -> dict[str, Any]:
    """Measure one row in a process of its own."""
    from ppn_tf.errors import TrainingError

    done = subprocess.run(
        [sys.executable, __file__, *options, "--row", name],
        capture_output=True,
        text=True,
        env=os.environ | {"TF_CPP_MIN_LOG_LEVEL": "2"},
    )
    if done.returncode:
        raise TrainingError(f"measuring {name} failed: {done.stderr[-2000:]}")
    return json.loads(done.stdout.splitlines()[-1])


def merged(row: dict[str, Any], each: Sequence[dict[str, float]]) -> dict[str, Any]:
    """Return a row with the median of each number over its processes, and all of them."""
    medians = {key: statistics.median(part[key] for part in each) for key in each[0]}
    return row | medians | {"each": list(each)}


def _device(gpu: str) -> str:
    from ppn_tf.devices import select_device

    return select_device(gpu)


if __name__ == "__main__":
    run_script(main)
