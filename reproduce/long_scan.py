"""A scan of a million patterns in chunks: patterns a second with one and two workers, memory.

Claim      None of the paper's. Memory stays bounded for any number of patterns, and
           workers of a Dask cluster share the chunks.
Command    python reproduce/long_scan.py --scratch FOLDER
Written    results/long-scan.{json,md}; about 2 GB in FOLDER for a million patterns,
           deleted at the end

The scan is simulated, noise-free: the chart repeated side by side, 32 x 32 px windows, steps of
4 px, counts as 16-bit integers. Workers are processes of one thread on this machine; a
rate leaves the first chunk of each worker out, in which it starts its backend. PtyNet has
weights as drawn: neither speed nor memory depends on them.
"""

from __future__ import annotations

import argparse
import dataclasses
import math
import resource
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from reproduce.options import ROOT, run_script

COLUMNS = 1000
STEP_PX = 4
SIDE_PX = 32

#: Patterns a second of the detector in question.
DETECTOR_HZ = 2000


@dataclasses.dataclass(frozen=True)
class Trial:
    """One network and the number of patterns that measures it in about a minute.

    Attributes
    ----------
    network : str
    rows : int
        Of `COLUMNS` patterns each.
    chunk : int
    """

    network: str
    rows: int
    chunk: int


TRIALS = (Trial("ppn-ltem", 4, 250), Trial("ptynet", 60, 5000))
WORKERS = (1, 2)


def main(argv: Sequence[str] | None = None) -> None:
    """Simulate, reconstruct, measure, and write what was found."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        "--rows", type=int, default=1000, help="rows of 1000 patterns of the long scan (1000)"
    )
    parser.add_argument("--scratch", type=Path, help="folder for the simulated scan")
    parser.add_argument("--out", type=Path, default=ROOT / "results", help="folder of the outputs")
    arguments = parser.parse_args(argv)
    with tempfile.TemporaryDirectory(dir=arguments.scratch) as name:
        folder = Path(name)
        networks = {trial.network: network(trial.network, folder) for trial in TRIALS}
        rows = [
            measure(trial, count, networks[trial.network], folder)
            for trial in TRIALS
            for count in WORKERS
        ]
        long = Trial("ptynet", arguments.rows, 10_000)
        rows.append(measure(long, max(WORKERS), networks["ptynet"], folder))
    write(rows, arguments.out)


def network(name: str, folder: Path) -> str:
    """Return what `ppn_tf.api.load_model` takes: a trained network, or a file with a drawn one."""
    if name == "ppn-ltem":
        return name
    from ppn_tf import models, training
    from ppn_tf.scaling import Scaling

    training.make_repeatable(0)
    # of noise-free counts on the raw scale, and of the chart
    scaling = Scaling("log1p", (0.0, 11.0), (0.0, 1.0), (0.0, 1.0))
    path = folder / f"{name}.keras"
    models.create(name, (SIDE_PX, SIDE_PX, 1), scaling=scaling).save(path)
    return str(path)


def simulate(path: Path, rows: int) -> None:
    """Write the patterns of a raster, a row at a time."""
    import h5py
    import numpy as np
    from tqdm import tqdm

    from ppn_tf import data
    from ppn_tf.data import forward

    name = object_name()
    chart, probe = data.load_object(name).complex, data.load_probe(name)
    last = (COLUMNS - 1) * STEP_PX + SIDE_PX
    wide = chart[:, np.arange(last) % chart.shape[1]]
    positions = np.stack([np.zeros(COLUMNS, int), np.arange(COLUMNS) * STEP_PX], axis=1)
    with h5py.File(path, "w") as file:
        shape = (rows * COLUMNS, SIDE_PX, SIDE_PX)
        patterns = file.create_dataset("dp", shape, np.uint16)
        for row in tqdm(range(rows), desc="simulate", unit="row"):
            band = wide[(row * STEP_PX + np.arange(SIDE_PX)) % len(chart)]
            counts = np.rint(forward.diffraction(band, probe, positions))
            start = row * COLUMNS
            patterns[start : start + COLUMNS] = np.minimum(counts, 65535).astype(np.uint16)


def object_name() -> str:
    """Return the paper's object, or the drawn one where its file is not at hand."""
    from ppn_tf import data
    from ppn_tf.errors import SourceMissingError

    try:
        data.load_object("ltem")
        data.load_probe("ltem")
    except SourceMissingError:
        return "stand-in"
    return "ltem"


def measure(trial: Trial, workers: int, model: str, folder: Path) -> dict[str, Any]:
    """Reconstruct a scan with so many workers; return rates and memory."""
    import numpy as np
    from distributed import LocalCluster

    from ppn_tf import long_scan

    path = folder / f"scan-{trial.rows}.h5"
    if not path.exists():
        simulate(path, trial.rows)
    grid = np.stack(np.meshgrid(np.arange(trial.rows), np.arange(COLUMNS), indexing="ij"), -1)
    corners = STEP_PX * grid.reshape(-1, 2)
    shape = tuple((corners.max(axis=0) + SIDE_PX).tolist())
    scan = long_scan.LongScan(path, "/dp", corners, shape)
    settings = long_scan.Settings(model, trial.chunk)
    output = folder / "field.h5"
    label = f"{trial.network}, {workers} workers"
    with LocalCluster(
        n_workers=workers, threads_per_worker=1, dashboard_address=None, memory_limit=0
    ) as cluster:
        started = time.perf_counter()
        done = long_scan.reconstruct(
            scan, settings, output, scheduler=cluster.scheduler_address, label=label
        )
        seconds = time.perf_counter() - started
    return {
        "network": trial.network,
        "workers": workers,
        "patterns": scan.count,
        "chunk": trial.chunk,
        "field_px": list(shape),
        "scan_mib": round(path.stat().st_size / 2**20, 1),
        "seconds": round(seconds, 1),
        "stitch_seconds": round(done["stitch_seconds"], 2),
        "patterns_per_second": round(rate(done["log"]), 1),
        "worker_peak_mib": round(max(part["peak_rss_mib"] for part in done["log"])),
        "own_peak_mib": round(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024),
    }


def rate(log: Sequence[Mapping[str, Any]]) -> float:
    """Return patterns a second, added over the workers, without the first chunk of each."""
    total = 0.0
    for process in {part["process"] for part in log}:
        own = sorted((part for part in log if part["process"] == process), key=_begun)[1:]
        if own:
            patterns = sum(part["patterns"] for part in own)
            total += patterns / (own[-1]["ended"] - own[0]["begun"])
    return total


def _begun(part: Mapping[str, Any]) -> float:
    return part["begun"]


def needed(rows: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """Return what keeps up with the detector, for each network of `TRIALS`, by arithmetic.

    The gain from one to two workers is continued: ``r n^e`` patterns a second of n workers
    with r those of one, and e from the two measurements.
    """
    found = []
    for trial in TRIALS:
        one, two = (
            row["patterns_per_second"]
            for row in rows
            if row["network"] == trial.network and row["patterns"] == trial.rows * COLUMNS
        )
        exponent = min(math.log2(two / one), 1.0)
        workers = math.inf if exponent <= 0 else (DETECTOR_HZ / one) ** (1 / exponent)
        found.append(
            {
                "network": trial.network,
                "one_worker": one,
                "two_workers": two,
                "gain": round(two / one, 2),
                "workers_for_2_kHz": None if math.isinf(workers) else math.ceil(workers),
            }
        )
    return found


def write(rows: list[dict[str, Any]], out: Path) -> None:
    """Write and print what was measured and what follows from it."""
    from ppn_tf.devices import processor, versions
    from ppn_tf.files import write_json, write_text
    from reproduce.compare import markdown_table
    from reproduce.render import aligned

    enough, long = needed(rows), rows[-1]
    stream_mib = DETECTOR_HZ * SIDE_PX**2 * 2 / 2**20
    text = "\n".join(
        [
            f"# A long scan in chunks, {processor()}",
            "",
            f"Workers of one thread each. The object is {object_name()}, repeated; 16-bit counts.",
            "",
            aligned(markdown_table(rows)),
            f"The long scan: {long['patterns']:,} patterns, {long['scan_mib']:,.0f} MiB on disk. A "
            f"worker held at most {long['worker_peak_mib']} MiB, backend and network included, "
            f"the process that adds up the parts {long['own_peak_mib']} MiB. With "
            f"{TRIALS[1].rows * COLUMNS:,} patterns a worker held "
            f"{rows[-2]['worker_peak_mib']} MiB.",
            "",
            f"## A detector of {DETECTOR_HZ} patterns a second",
            "",
            aligned(markdown_table(enough)),
            f"By arithmetic: the measured gain from one to two workers, continued. Patterns of "
            f"{SIDE_PX} x {SIDE_PX} px and 16 bits are then {stream_mib:.1f} MiB a second, which a "
            "disk or a network carries easily: the network's arithmetic decides. A detector of "
            "more pixels must be cropped or binned first, and that is not measured here; nor is a "
            "GPU.",
            "",
        ]
    )
    write_json(
        out / "long-scan.json",
        {"rows": rows, "needed": enough, "processor": processor(), "versions": versions()},
    )
    write_text(out / "long-scan.md", text)
    print(text)


if __name__ == "__main__":
    run_script(main)
