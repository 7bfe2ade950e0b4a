"""A scan too long for memory: reconstructed chunk by chunk, on one process or a cluster.

Each chunk of patterns becomes a part: the weighted sums of its patches over the rows and
columns that it covers, written to a file of its own. Parts add up, in any order, to the
field of the whole scan, which is then written band by band. So no process holds more than
a chunk and a part, or a band; what is there already is not made again; and a worker that
is lost loses one chunk.
"""

from __future__ import annotations

import contextlib
import dataclasses
import functools
import os
import platform
import shutil
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from tqdm import tqdm

from ppn_tf import cluster, devices, field_parts, long_scan_job, pieces, stitching
from ppn_tf.data.formats import hdf5
from ppn_tf.data.formats.frames import Frames
from ppn_tf.detector import Fit, check_side
from ppn_tf.errors import ClusterError, DataError, OptionError
from ppn_tf.field_parts import Place

#: Patterns of a chunk: 32 MiB of float32 at 32 x 32 px.
CHUNK = 8192

#: What a chunk takes its time for: loading the network (once a process), reading patterns,
#: the network (compiled at its first batch), turning and adding patches up, writing the part.
STAGES = ("load", "read", "network", "add", "write")


@dataclasses.dataclass(frozen=True, eq=False)
class LongScan:
    """A scan in an HDF5 file, of which only the positions are in memory.

    Attributes
    ----------
    path : Path
    key : str
        Data set of counts, see `ppn_tf.data.formats.frames.Frames`.
    corners_px : (N, 2) float
        Row and column of the top-left corner of each patch on the field, after the fit of
        `Settings`.
    shape : (int, int)
        Rows and columns of the field [px].
    mask : (H, W) bool, optional
        True where the detector is valid; zero frequency at ``(H // 2, W // 2)``.
    place : Place, optional
        Where the field lies on the scan; written beside it.
    zero_frequency : {"centre", "corner"}
        Where it lies in the data set.
    allow_filters : tuple of int
        HDF5 filters that it may need, as for `ppn_tf.data.formats.read`.

    Raises
    ------
    DataError
        If there is no such data set, or it does not fit the positions.
    """

    path: Path
    key: str
    corners_px: np.ndarray
    shape: tuple[int, int]
    mask: np.ndarray | None = None
    place: Place | None = None
    zero_frequency: str = "centre"
    allow_filters: tuple[int, ...] = ()

    def __post_init__(self) -> None:
        with hdf5.opened(Path(self.path)) as file:
            found = hdf5.dataset(file, self.key)
            how = self.zero_frequency, self.allow_filters
            shape = None if found is None else Frames(found, *how).shape
        if shape is None or np.shape(self.corners_px) != (shape[0], 2):
            raise DataError(
                f"{self.path}: expected the key {self.key!r} with patterns (N, H, W) and positions "
                f"(N, 2), received {shape} and {np.shape(self.corners_px)}"
            )
        if self.mask is not None and self.mask.shape != shape[1:]:
            raise DataError(
                f"{self.path}: expected a mask of the detector, {shape[1:]}, received "
                f"{self.mask.shape}"
            )

    @property
    def count(self) -> int:
        """Number of patterns."""
        return len(self.corners_px)


@dataclasses.dataclass(frozen=True)
class Settings:
    """How a long scan is reconstructed.

    Attributes
    ----------
    model : str
        A ``.keras`` file, or the name of a trained network; see `ppn_tf.api.load_model`.
    chunk : int
        Patterns of a part.
    batch_size : int
        Patterns per step of the network.
    weights : {"distance", "uniform"}
        See `ppn_tf.stitching.weights`.
    fit : Fit
        Crop, bin and scale of the patterns, which masked pixels take part in.
    """

    model: str
    chunk: int = CHUNK
    batch_size: int = 32
    weights: str = "distance"
    fit: Fit = Fit()

    def __post_init__(self) -> None:
        for name in ("chunk", "batch_size"):
            if getattr(self, name) < 1:
                raise OptionError(f"{name} must be at least 1, received {getattr(self, name)}")
        if self.weights not in stitching.KINDS:
            raise OptionError(
                f"weights: expected one of {', '.join(stitching.KINDS)}, received {self.weights!r}"
            )


def reconstruct(
    scan: LongScan,
    settings: Settings,
    output: Path | str,
    *,
    scheduler: str | None = None,
    gpu: bool = False,
    label: str = "chunks",
) -> dict[str, Any]:
    """Reconstruct a long scan to an HDF5 file.

    Interrupted, it goes on when it is called again with the same arguments: finished parts
    lie in ``OUTPUT.parts`` until the field is written.

    Parameters
    ----------
    scan : LongScan
    settings : Settings
    output : Path or str
        See `ppn_tf.field_parts.stitch`.
    scheduler : str, optional
        Of a Dask cluster whose workers see scan, model and output under the same paths.
    gpu : bool
        Whether workers use GPUs, and a chunk takes one ``GPU`` where they state any.
    label : str
        Of the progress bars on standard error.

    Returns
    -------
    dict
        ``patterns``, ``parts``, ``parts_found`` (left by an earlier call), ``islands`` (see
        `field_parts.stitch`), ``seconds``, ``stitch_seconds``, and ``log``: what `make_part`
        returned of every part made now.

    Raises
    ------
    RecordError
        If the parts that are there belong to another reconstruction.
    ClusterError, DataError, OptionError
        Also from workers: patterns that the network does not take, patches outside the field.
    """
    started, folder = time.perf_counter(), Path(f"{output}.parts")
    identity = long_scan_job.begun(folder, scan, settings)
    jobs = list(_jobs(scan, settings, folder))
    waiting = [job for job in jobs if not Path(job["part"]).exists()]
    log = _distribute(waiting, scheduler, gpu, label)
    made = time.perf_counter()
    parts = [Path(job["part"]) for job in jobs]
    about = scan.place, long_scan_job.provenance(identity)
    islands = field_parts.stitch(parts, scan.shape, Path(output), label, *about)
    shutil.rmtree(folder)
    return {
        "patterns": scan.count,
        "parts": len(jobs),
        "parts_found": len(jobs) - len(waiting),
        "islands": islands,
        "seconds": time.perf_counter() - started,
        "stitch_seconds": time.perf_counter() - made,
        "log": log,
    }


def make_part(job: dict[str, Any]) -> dict[str, Any]:
    """Reconstruct one chunk and write its sums; also what a worker does.

    Parameters
    ----------
    job : dict
        Made by `reconstruct`.

    Returns
    -------
    dict
        ``patterns``, ``process``, ``begun`` and ``ended`` [s since 1970], ``stage_s``, the
        seconds of each of `STAGES`, ``cpu_s``, the processor time of all threads,
        ``part_bytes``, the size of the file written, and ``peak_rss_mib``, the largest
        memory that the process ever had.
    """
    begun, spent_s, stage_s = time.time(), time.process_time(), dict.fromkeys(STAGES, 0.0)
    with _timed(stage_s, "load"):
        from ppn_tf import inference, reconstruction

        model = _model(job["model"], job["model_sha256"])
    window = model.input_shape[1:3]
    with _timed(stage_s, "read"), hdf5.opened(Path(job["path"])) as file:
        counts = Frames(hdf5.dataset(file, job["key"]), job["zero_frequency"], job["allow_filters"])
        check_side(job["fit"], counts.shape[1:], window)
        patterns = job["fit"].patterns(counts[job["start"] : job["stop"]], job["mask"])
    with _timed(stage_s, "network"):
        found = inference.infer(model, patterns, batch_size=job["batch_size"])
    with _timed(stage_s, "add"):
        where = job["corners_px"], stitching.weights(window, job["weights"]), job["shape"]
        if reconstruction.needs_turns(model):
            parts = pieces.turned(found.amplitude, found.phase, *where)
        else:
            parts = [pieces.Piece.of(np.stack([found.amplitude, found.phase], axis=1), *where)]
    with _timed(stage_s, "write"):
        field_parts.write(Path(job["part"]), parts)
    return {
        "patterns": len(patterns),
        "process": f"{platform.node()}:{os.getpid()}",
        "begun": begun,
        "ended": time.time(),
        "stage_s": stage_s,
        "cpu_s": time.process_time() - spent_s,
        "part_bytes": Path(job["part"]).stat().st_size,
        "peak_rss_mib": devices.peak_rss_mib(),
    }


@contextlib.contextmanager
def _timed(stage_s: dict[str, float], name: str) -> Iterator[None]:
    start = time.perf_counter()
    yield
    stage_s[name] += time.perf_counter() - start


def network(settings: Settings) -> Any:
    """Return the network of a reconstruction, loaded once a process.

    Raises
    ------
    DataError, OptionError, RecordError
        See `ppn_tf.api.load_model`.
    """
    return _model(_source(settings.model), long_scan_job.sha256_of(settings.model))


@functools.lru_cache(maxsize=1)
def _model(source: str, sha256: str) -> Any:
    """Load the network once a process."""
    if source.endswith(".keras") and long_scan_job.checksum(Path(source)) != sha256:
        raise DataError(f"{source} is another file here than where the reconstruction began")
    from ppn_tf import api

    return api.load_model(source)


def make_part_on_worker(job: dict[str, Any]) -> dict[str, Any]:
    """Do `make_part` with the threads of a Dask task.

    Raises
    ------
    ClusterError
        If this machine does not see the scan, or the folder of the parts.
    """
    from ppn_tf import fresh_process

    for name in (job["path"], Path(job["part"]).parent):
        if not Path(name).exists():
            raise ClusterError(
                f"the worker does not see {name}: give the scan and the output on a file system "
                "that all machines share"
            )
    os.environ.setdefault("KERAS_BACKEND", job["backend"])
    _prepared(fresh_process.task_threads(), job["device"])
    return make_part(job)


@functools.lru_cache(maxsize=1)
def _prepared(threads: int, device: str) -> None:
    """Set threads and device, once a process: the backend takes them only before its start."""
    devices.set_threads(threads)
    devices.select_device(device)


def _distribute(
    jobs: Sequence[dict[str, Any]], scheduler: str | None, gpu: bool, label: str
) -> list[dict[str, Any]]:
    """Make parts, on the workers of a scheduler where there is one; return what each returned."""
    if scheduler is None or not jobs:
        return [make_part(job) for job in tqdm(jobs, desc=label, unit="chunk")]
    common = {
        "backend": os.environ.get("KERAS_BACKEND", "tensorflow"),
        "device": "auto" if gpu else "cpu",
    }
    tasks = [
        cluster.Task(f"chunk-{job['start']:09d}", ({**job, **common},), len(job["corners_px"]))
        for job in jobs
    ]
    failed, log = {}, []
    for task, answer in cluster.outcomes(
        scheduler, make_part_on_worker, tasks, gpu=gpu, label=label
    ):
        if isinstance(answer, Exception):
            failed[task.name] = answer
        else:
            log.append(answer)
    if failed:
        name, error = next(iter(failed.items()))
        raise ClusterError(
            f"{len(failed)} of {len(tasks)} chunks failed, the others are kept; the first, "
            f"{name}: {type(error).__name__}: {error}"
        ) from error
    return log


def _jobs(scan: LongScan, settings: Settings, folder: Path) -> Iterator[dict[str, Any]]:
    for start in range(0, scan.count, settings.chunk):
        stop = min(start + settings.chunk, scan.count)
        yield {
            "path": str(Path(scan.path).resolve()),
            "key": scan.key,
            "zero_frequency": scan.zero_frequency,
            "allow_filters": scan.allow_filters,
            "start": start,
            "stop": stop,
            "corners_px": np.asarray(scan.corners_px[start:stop], dtype=np.float64),
            "shape": scan.shape,
            "mask": scan.mask,
            "fit": settings.fit,
            "part": str((folder / f"part-{start:09d}.npz").resolve()),
            "model": _source(settings.model),
            "model_sha256": long_scan_job.sha256_of(settings.model),
            "batch_size": settings.batch_size,
            "weights": settings.weights,
        }


def _source(model: str) -> str:
    return str(Path(model).resolve()) if model.endswith(".keras") else model
