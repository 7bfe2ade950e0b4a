"""What every exhibit takes in the paper profile: trainings, and hours by device."""

from __future__ import annotations

import collections
import importlib
import json
from collections.abc import Mapping, Sequence
from pathlib import Path

from reproduce import experiments, schedule
from reproduce.reporting.gather import Report
from reproduce.specification import RunSpec

#: Exhibits whose runs depend on the files of the computer: their grid is not counted here.
MEASURED_DATA = ("fig5",)

#: The object of the paper.
OBJECT = "ltem"


def markdown(report: Report) -> str:
    """Return the table as Markdown.

    Parameters
    ----------
    report : Report
        Its folder has the records whose measured steps give the hours of their device.
    """
    device, seconds = _best_known(report)
    speeds = (seconds, schedule.t4_step_seconds(report.folder))
    names = [document.exhibit for document in report.documents]
    grids = {name: _specs(name) for name in names if name not in MEASURED_DATA}
    rows = [
        [f"`{name}`", str(len(specs)), str(_there(specs, report)), *_hours(specs, speeds)]
        for name, specs in grids.items()
        if specs
    ]
    every = {key: spec for specs in grids.values() for key, spec in specs.items()}
    rows.append(
        ["all, shared ones once", str(len(every)), str(_there(every, report))]
        + _hours(every, speeds)
    )
    head = ["exhibit", "trainings", "with a record", f"{device}, h", "T4-class GPU, h"]
    lines = [head, ["---"] + ["---:"] * (len(head) - 1), *rows]
    table = "\n".join(f"| {' | '.join(line)} |" for line in lines)
    note = (
        "Training alone, for all seeds of the paper profile. The first column of hours is from "
        "measured steps; that of the T4 is arithmetic, not measured: three forward passes a step "
        f"at {schedule.T4_SHARE:.0%} of {schedule.T4_PEAK_FLOPS / 1e12:g} TFLOP/s."
        f"{_memory_and_disk(report.folder / 'runs')}"
    )
    return f"{table}\n\n{note}"


def _best_known(report: Report) -> tuple[str, Mapping[str, float]]:
    """Return the device with a measured step of most networks, of most runs among equals."""
    devices = collections.Counter(run.device for run in report.runs.values())
    known = {
        device: schedule.step_seconds(report.folder / "runs", device)
        for device, _ in devices.most_common()
    }
    device = max(known, key=lambda name: len(known[name]), default="")
    return device, known.get(device, {})


def _memory_and_disk(folder: Path) -> str:
    """Say what the records there needed, from the records and their files."""
    paths = sorted(folder.glob("*/[!.]*.json"))
    records = [json.loads(path.read_text(encoding="utf-8")) for path in paths]
    peaks = [epoch["peak_rss_mib"] or 0 for record in records for epoch in record["cost"]["epochs"]]
    if not peaks:
        return ""
    # networks and predictions beside them are left out: not every checkout has them
    largest = max(path.stat().st_size for path in paths) / 1e3
    return (
        f" The trainings recorded so far held at most {max(peaks) / 1024:.1f} GiB of memory; a "
        f"record takes up to {largest:.0f} kB of disk, and its network 4 bytes a parameter."
    )


def _specs(name: str) -> Mapping[str, RunSpec]:
    """Return the trainings of an exhibit by hash."""
    found = getattr(importlib.import_module(f"reproduce.{name}"), "EXHIBIT", None)
    if found is None:
        # a script that measures and trains nothing
        return {}
    grid = found.grid(experiments.PROFILES["paper"], OBJECT, None)
    specs = (spec for runs in grid.values() for spec in runs)
    return {spec.hash: spec for spec in specs if spec.trivial is None}


def _there(specs: Mapping[str, RunSpec], report: Report) -> int:
    return sum(key in {name for name, _ in report.runs} for key in specs)


def _hours(specs: Mapping[str, RunSpec], speeds: Sequence[Mapping[str, float]]) -> list[str]:
    """Return the hours of all runs at each speed; a dash where a network's is unknown."""
    found = []
    for seconds in speeds:
        each = [(spec, schedule.seconds_of(spec, seconds)) for spec in specs.values()]
        if any(step is None for _, step in each):
            found.append("-")
            continue
        total = sum(schedule.steps(spec) * step for spec, step in each)
        found.append(f"{total / 3600:.1f}" if total < 36000 else f"{total / 3600:.0f}")
    return found
