"""What `reproduce/long_scan.py` measures: each row in a process of its own, the client."""

from __future__ import annotations

import contextlib
import dataclasses
import hashlib
import importlib.metadata
import os
import shutil
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from types import MappingProxyType
from typing import Any

import h5py
import numpy as np
import psutil

from ppn_tf import devices, field_parts, long_scan
from ppn_tf.errors import OptionError, RecordError
from ppn_tf.long_scan import LongScan, Settings
from reproduce.options import ROOT
from reproduce.parts import drawn_scan, local_workers

#: Raised by hand when rows measure something else: older ones are then measured again.
ROWS_VERSION = 1

#: Trained networks: of the registry, or the file beside the record of its run.
NETWORKS: Mapping[str, str] = MappingProxyType(
    {"ptynet": "results/runs/538c27c6432b3261/tensorflow.keras", "ppn-ltem": "ppn-ltem"}
)


@dataclasses.dataclass(frozen=True)
class Row:
    """One measurement.

    Attributes
    ----------
    network : str
        Of `NETWORKS`.
    grid_shape : (int, int)
        Rows and columns of the raster.
    workers : int
        Processes of one thread each; 0 for this process alone, without Dask.
    chunk : int
        Patterns of a part.
    calls : int
        2 for a second call on the same workers, which have the network by then.
    like : str
        Row whose field this one's must equal, empty for none.
    """

    network: str
    grid_shape: tuple[int, int]
    workers: int
    chunk: int = long_scan.CHUNK
    calls: int = 1
    like: str = ""


def _rows(rates: tuple[int, int], few: tuple[int, int], whole: tuple[int, int], chunks: int) -> Any:
    """Return rows of a profile: rasters for rates, and a whole scan with its tenth."""
    rows = {}
    for network, grid in (("ptynet", rates), ("ppn-ltem", few)):
        chunk = min(long_scan.CHUNK, -(-grid[0] * grid[1] // chunks))
        rows[f"{network}-here"] = Row(network, grid, 0, chunk, 2)
        for workers in (1, 2):
            name = f"{network}-{workers}"
            rows[name] = Row(network, grid, workers, chunk, 2, f"{network}-here")
    chunk = min(long_scan.CHUNK, -(-whole[0] * whole[1] // chunks))
    rows["tenth"] = Row("ptynet", (whole[0] // 10, whole[1]), 2, chunk)
    rows["whole"] = Row("ptynet", whole, 2, chunk)
    rows["whole-1"] = Row("ptynet", whole, 1, chunk, like="whole")
    return MappingProxyType(rows)


#: By profile and name. Rates are of chunks enough for two workers; the whole scan is of a
#: million patterns.
ROWS: Mapping[str, Mapping[str, Row]] = MappingProxyType(
    {
        "smoke": _rows((10, 20), (6, 10), (20, 20), 8),
        "paper": _rows((80, 1000), (4, 1000), (1000, 1000), 20),
    }
)


def measure(profile: str, name: str, scratch: Path) -> dict[str, Any]:
    """Measure one row; the client's memory is that of this process.

    Parameters
    ----------
    profile, name : str
        Of `ROWS`.
    scratch : Path
        Folder of the simulated scans and of the fields.

    Returns
    -------
    dict
        The record of the row, without `environment`: plain values.

    Raises
    ------
    PpnError
        If scan, network or workers cannot be had, or the disk is too small.
    """
    row = ROWS[profile][name]
    scan = _scan(row, scratch)
    settings = Settings(_network(row.network), row.chunk)
    output = scratch / f"{profile}-{name}.h5"
    if row.calls > 1:
        # rates are those of every chunk, so nothing is taken over
        shutil.rmtree(output.with_name(output.name + ".parts"), ignore_errors=True)
    begun, before = time.perf_counter(), _busy_s([])
    with _workers(row.workers) as (address, processes):
        start_s = time.perf_counter() - begun
        calls = [_call(scan, settings, output, address) for _ in range(row.calls)]
        busy = [after - first for after, first in zip(_busy_s(processes), before, strict=True)]
        peaks = [devices.peak_rss_mib(process) for process in processes]
    seconds = time.perf_counter() - begun
    return {
        "row": name,
        "version": ROWS_VERSION,
        "profile": profile,
        **dataclasses.asdict(row),
        "model_sha256": _sha256(row.network),
        "patterns": scan.count,
        "bytes_per_pattern": _bytes_per_pattern(scan),
        "field_shape": list(scan.shape),
        "field_bytes": output.stat().st_size,
        "cluster_start_s": start_s if row.workers else None,
        "calls": calls,
        "client_peak_mib": devices.peak_rss_mib(),
        "scheduler_peak_mib": peaks[0] if row.workers else None,
        "worker_peaks_mib": peaks[1:],
        # what else the machine did, in cores: 0 on a quiet one
        "other_cores_busy": max(0.0, busy[0] - busy[1]) / seconds,
        **_compared(output, scratch / f"{profile}-{row.like}.h5" if row.like else None),
        "error": _error(output),
    }


def _scan(row: Row, scratch: Path) -> LongScan:
    rows, columns = row.grid_shape
    path = scratch / f"scan-{rows}x{columns}.h5"
    if not path.exists():
        _check_disk(row, scratch)
    return drawn_scan.made(path, row.grid_shape)


def _check_disk(row: Row, scratch: Path) -> None:
    """Refuse a disk that cannot hold scan, parts and field."""
    scratch.mkdir(parents=True, exist_ok=True)
    rows, columns = row.grid_shape
    height, width = drawn_scan.field_shape(row.grid_shape)
    # each part reaches a window and the jitter beyond its rows; sums of three float64
    parts = -(-rows * columns // row.chunk)
    part_rows = height + parts * (32 + 2 * drawn_scan.JITTER_PX + 2 * drawn_scan.STEP_PX)
    needed = rows * columns * 2 * 32 * 32 + 24 * part_rows * width + 2 * 12 * height * width
    free = shutil.disk_usage(scratch).free
    if free < needed:
        raise OptionError(
            f"{scratch}: expected {needed / 2**30:.1f} GiB of free disk for scan, parts and field, "
            f"received {free / 2**30:.1f} GiB: choose another folder with --scratch"
        )


def _network(name: str) -> str:
    """Return what `Settings` takes."""
    source = NETWORKS[name]
    return str(ROOT / source) if source.endswith(".keras") else source


def check_network(name: str) -> None:
    """Compare the weights with the record of their run; not in a client, since it loads Keras.

    Raises
    ------
    RecordError
        If the file is missing, or is not the one that the run wrote.
    """
    from reproduce import record_files

    if not NETWORKS[name].endswith(".keras"):
        return
    path = (ROOT / NETWORKS[name]).with_suffix(".json")
    expected = record_files.read_record(path).get("files", {}).get("keras")
    received = record_files.checksums(path).get("keras")
    if received is None or expected not in (None, received):
        raise RecordError(
            f"{path.with_suffix('.keras')}: expected the weights that its run wrote, sha256 "
            f"{expected}, received {received}: restore the file"
        )


def _sha256(name: str) -> str:
    source = NETWORKS[name]
    path = ROOT / source
    if not source.endswith(".keras"):
        path = ROOT / "ppn_tf" / "models" / "weights" / f"{source}.keras"
    return hashlib.sha256(path.read_bytes()).hexdigest()


@contextlib.contextmanager
def _workers(count: int) -> Iterator[tuple[str | None, list[int]]]:
    if count == 0:
        yield None, []
        return
    with local_workers.started(count) as found:
        yield found


def _call(scan: LongScan, settings: Settings, output: Path, address: str | None) -> dict[str, Any]:
    """Reconstruct once; a log of 123 parts becomes a summary of each worker."""
    done = long_scan.reconstruct(scan, settings, output, scheduler=address)
    log = done.pop("log")
    by_process: dict[str, list[dict[str, Any]]] = {}
    for part in sorted(log, key=lambda part: part["ended"]):
        by_process.setdefault(part["process"], []).append(part)
    workers = [_worker(parts) for parts in by_process.values()]
    rates = [worker["steady_per_s"] for worker in workers]
    made = sum(worker["patterns"] for worker in workers)
    return {
        **done,
        "made": made,
        "per_s": made / done["seconds"],
        "chunks_per_s": made / (done["seconds"] - done["stitch_seconds"]),
        # without the first chunk of each worker, which loads and compiles the network
        "steady_per_s": None if None in rates else sum(rates),
        "part_bytes": sum(part["part_bytes"] for part in log),
        "workers": workers,
    }


def _worker(parts: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """Summarise the parts of one worker, in the order in which they ended."""
    rest = parts[1:]
    patterns = sum(part["patterns"] for part in rest)
    # from the end of the first chunk, so that the waits between chunks count
    seconds = parts[-1]["ended"] - parts[0]["ended"]
    return {
        "parts": len(parts),
        "patterns": patterns + parts[0]["patterns"],
        "first_chunk_s": parts[0]["ended"] - parts[0]["begun"],
        "steady_per_s": patterns / seconds if rest else None,
        "steady_cores_busy": sum(part["cpu_s"] for part in rest) / seconds if rest else None,
        "stage_us_per_pattern": {
            stage: 1e6 * sum(part["stage_s"][stage] for part in rest) / patterns
            for stage in long_scan.STAGES
            if rest
        },
        "wait_s_per_chunk": (
            (seconds - sum(part["ended"] - part["begun"] for part in rest)) / len(rest)
            if rest
            else None
        ),
        "peak_rss_mib": max(part["peak_rss_mib"] for part in parts),
    }


def _busy_s(processes: Sequence[int]) -> tuple[float, float]:
    """Return the processor seconds of the machine, and of this process and of `processes`."""
    machine = psutil.cpu_times()
    own = [psutil.Process(number).cpu_times() for number in (os.getpid(), *processes)]
    # idle and waiting for the disk are not busy; guests are in user already
    idle = machine.idle + getattr(machine, "iowait", 0.0) + getattr(machine, "guest", 0.0)
    return sum(machine) - idle, sum(times.user + times.system for times in own)


def _bytes_per_pattern(scan: LongScan) -> int:
    with h5py.File(scan.path) as file:
        found = file[scan.key]
        return int(np.prod(found.shape[1:]) * found.dtype.itemsize)


def _bands(path: Path) -> Iterator[tuple[int, np.ndarray]]:
    with h5py.File(path) as file:
        field = file["object"]
        for top in range(0, field.shape[0], field_parts.BAND_ROWS):
            yield top, field[top : top + field_parts.BAND_ROWS]


def _compared(output: Path, other: Path | None) -> dict[str, Any]:
    """Return the checksum of a field, and its largest distance from another one."""
    digest = hashlib.sha256()
    for _, band in _bands(output):
        digest.update(band.tobytes())
    found: dict[str, Any] = {"field_sha256": digest.hexdigest(), "largest_difference": None}
    if other is not None and other.exists():
        differences = [
            np.abs(np.nan_to_num(one) - np.nan_to_num(two)).max()
            for (_, one), (_, two) in zip(_bands(output), _bands(other), strict=True)
        ]
        found["largest_difference"] = float(max(differences))
    return found


def _error(output: Path) -> float:
    """Return |c O - T| / |T| over the covered pixels, with the complex c that fits best."""
    power, overlap, reference = 0.0, 0j, 0.0
    for top, band in _bands(output):
        true = drawn_scan.truth(top, top + len(band), band.shape[1])
        covered = np.isfinite(band)
        one, two = band[covered].astype(complex), true[covered].astype(complex)
        power += np.vdot(one, one).real
        overlap += np.vdot(one, two)
        reference += np.vdot(two, two).real
    return float(np.sqrt(max(0.0, 1.0 - abs(overlap) ** 2 / (power * reference))))


def environment() -> dict[str, Any]:
    """Return what a row is measured with, for its record; not in a client either."""
    from reproduce import record_files

    own = {name: importlib.metadata.version(name) for name in ("dask", "distributed")}
    return {
        "commit": record_files.commit(),
        "device": f"CPU ({devices.processor()})",
        "backend": os.environ.get("KERAS_BACKEND", "tensorflow"),
        "versions": {**devices.versions(), **own},
    }
