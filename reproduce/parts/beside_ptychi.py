"""ePIE of this package beside pty-chi's: the same scan, known probe, start and iterations.

Both are judged by the object that they return, with one forward model in double precision:
R-factor against the patterns, and distance from the true object where the scan lights it.
"""

from __future__ import annotations

import dataclasses
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from types import MappingProxyType
from typing import Any

import numpy as np

from ppn_tf.errors import PpnError

#: Side and step of the scan of each row.
SCANS: Mapping[str, tuple[int, int]] = MappingProxyType(
    {"epie-ptychi-32px": (32, 8), "epie-ptychi-128px": (128, 32)}
)

#: Iterations after which the objects are compared.
ITERATIONS = 20

#: Positions updated at once: 1 is ePIE, the others are how pty-chi is used.
BATCHES = (1, 16, 64)

#: pty-chi adds the updates of overlapping windows: the best of these steps is taken.
STEPS = (1.0, 0.3, 0.1)

#: How pty-chi may choose what it updates at once; the best is taken.
BATCHINGS = ("random", "uniform")

#: Turns of both, of which the median counts.
TURNS = 5

#: Iterations of the two runs whose difference is timed.
OURS, THEIRS = (10, 40), (1, 4)

#: How to have what the rows beside pty-chi need.
HOW = (
    "python -m pip install ptychi, or name an interpreter that has it: "
    "python reproduce/speed.py --ptychi-python PATH"
)

#: A pixel counts where it is lit by this share of the brightest one.
LIT_SHARE = 0.05


class LibraryMissingError(PpnError):
    """The interpreter that was named does not have pty-chi."""


@dataclasses.dataclass(frozen=True, eq=False)
class Scan:
    """A simulated scan with a known probe.

    Attributes
    ----------
    patterns : (N, H, W) float32
    positions_px : (N, 2) int
        Row and column of the top-left corners.
    probe : (H, W) complex64
    truth : (rows, cols) complex64
    """

    patterns: np.ndarray
    positions_px: np.ndarray
    probe: np.ndarray
    truth: np.ndarray

    def judge(self, obj: np.ndarray) -> dict[str, float]:
        """Return R-factor and distance from the truth of an object."""
        from ppn_tf.data.forward import diffraction
        from ppn_tf.phase import align

        obj, probe = obj.astype(np.complex128), self.probe.astype(np.complex128)
        found = np.sqrt(diffraction(obj, probe, self.positions_px))
        moduli = np.sqrt(self.patterns.astype(np.float64))
        lit = self._light()
        lit = lit > LIT_SHARE * lit.max()
        field = align(obj, self.truth, region=lit).field
        distance = np.linalg.norm((field - self.truth)[lit]) / np.linalg.norm(self.truth[lit])
        return {
            "r_factor": _short(np.abs(found - moduli).sum() / moduli.sum()),
            "object_error": _short(distance),
        }

    def _light(self) -> np.ndarray:
        light = np.zeros(self.truth.shape)
        height, width = self.probe.shape
        for row, col in self.positions_px:
            light[row : row + height, col : col + width] += np.abs(self.probe) ** 2
        return light


class Library:
    """pty-chi in a process of its own.

    Parameters
    ----------
    python : str
        An interpreter that has pty-chi.

    Raises
    ------
    LibraryMissingError
        If it has not.
    """

    def __init__(self, python: str = sys.executable) -> None:
        worker = Path(__file__).with_name("ptychi_worker.py")
        # a file: a pipe that nobody reads would stop the process when it is full
        self._errors = tempfile.TemporaryFile("w+", encoding="utf-8")  # noqa: SIM115
        try:
            self._process = subprocess.Popen(
                [python, str(worker)],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=self._errors,
                text=True,
            )
        except OSError as error:
            raise LibraryMissingError(
                f"no Python can be started as {python} ({error.strerror}): {HOW}"
            ) from error
        found = self._answer()
        if "missing" in found:
            self.close()
            raise LibraryMissingError(f"pty-chi is not installed ({found['missing']}): {HOW}")
        self.versions: dict[str, str] = found["versions"]

    def ask(self, do: str, **values: Any) -> dict[str, Any]:
        """Send a request of `ptychi_worker.Worker` and return the answer."""
        assert self._process.stdin is not None
        self._process.stdin.write(json.dumps({"do": do, **values}) + "\n")
        self._process.stdin.flush()
        return self._answer()

    def close(self) -> None:
        """End the process."""
        self._process.communicate()

    def _answer(self) -> dict[str, Any]:
        assert self._process.stdout is not None
        line = self._process.stdout.readline()
        if not line:
            self._process.communicate()
            self._errors.seek(0)
            raise PpnError(f"pty-chi failed: {self._errors.read()[-2000:]}")
        return json.loads(line)


@contextmanager
def library(python: str, scan: Scan) -> Iterator[Library]:
    """Start pty-chi and hand it the scan."""
    found = Library(python)
    try:
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / "scan.npz"
            np.savez(
                path,
                patterns=scan.patterns,
                positions_px=scan.positions_px,
                probe=scan.probe,
                object_shape=np.array(scan.truth.shape),
            )
            found.ask("load", path=str(path))
        yield found
    finally:
        found.close()


def lacking(python: str) -> str | None:
    """Return why an interpreter cannot run pty-chi, None where it can."""
    try:
        Library(python).close()
    except LibraryMissingError as error:
        return str(error)
    return None


def compare(scan: Scan, python: str, device: str) -> dict[str, Any]:
    """Measure both on one scan, in turn.

    Parameters
    ----------
    scan : Scan
    python : str
        An interpreter that has pty-chi.
    device : {"cpu", "gpu"}
        Where pty-chi computes.

    Returns
    -------
    dict
        ``compiled_us`` and ``ptychi_us`` a position one by one and their ``ratio``; ``cases``
        of both libraries by batch; ``library``, the versions of pty-chi.
    """
    cases = []
    with library(python, scan) as theirs:
        for batch in BATCHES:
            chosen = _best(theirs, scan, batch, device)
            micros = _timed_in_turn(theirs, scan, batch, chosen, device)
            ours = scan.judge(_ours(scan, ITERATIONS, batch).object)
            cases += [
                {"engine": "ppn_tf", "batch": batch, "us": micros["ppn_tf"], **ours},
                {"engine": "pty-chi", "batch": batch, "us": micros["pty-chi"], **chosen},
            ]
        versions = theirs.versions
    one, other = (case["us"] for case in cases[:2])
    return {
        "positions": len(scan.positions_px),
        "iterations": ITERATIONS,
        "compiled_us": one,
        "ptychi_us": other,
        "ratio": round(other / one, 2),
        "cases": cases,
        "library": versions,
    }


def _ours(scan: Scan, iterations: int, batch: int) -> Any:
    from ppn_tf import epie

    return epie.reconstruct(
        scan.patterns,
        scan.positions_px,
        scan.probe,
        iterations=iterations,
        batch=batch,
        update_probe=False,
        object_shape=scan.truth.shape,
    )


def _best(theirs: Library, scan: Scan, batch: int, device: str) -> dict[str, Any]:
    """Return how pty-chi comes closest to the patterns, and how many threads are faster."""
    tried = [
        {"batching": batching, "step": step}
        # one position at once leaves nothing to choose, and the step of ePIE is 1
        for batching in (BATCHINGS if batch > 1 else BATCHINGS[:1])
        for step in (STEPS if batch > 1 else STEPS[:1])
    ]
    scores = []
    for options in tried:
        theirs.ask("build", batch=batch, threads=1, device=device, **options)
        theirs.ask("run", iterations=ITERATIONS)
        found = _theirs(theirs)
        if np.isfinite(found).all():
            scores.append(options | scan.judge(found))
    if not scores:
        raise PpnError(f"pty-chi diverged with a batch of {batch} at every step of {STEPS}")
    best = min(scores, key=lambda score: score["r_factor"])
    seconds = {}
    for threads in sorted({1, os.cpu_count() or 1}):
        options = {key: best[key] for key in ("batching", "step")}
        built = theirs.ask("build", batch=batch, threads=threads, device=device, **options)
        theirs.ask("run", iterations=1)
        seconds[threads] = theirs.ask("run", iterations=THEIRS[1])["seconds"]
    fastest = min(seconds, key=lambda count: seconds[count])
    return best | {"threads": fastest, "device": built["device"]}


def _timed_in_turn(
    theirs: Library, scan: Scan, batch: int, chosen: Mapping[str, Any], device: str
) -> dict[str, float]:
    options = {key: chosen[key] for key in ("batching", "step", "threads")}
    theirs.ask("build", batch=batch, device=device, **options)
    theirs.ask("run", iterations=1)
    _ours(scan, OURS[0], batch)
    calls: dict[str, tuple[Callable[[int], float], tuple[int, int]]] = {
        "ppn_tf": (lambda count: _seconds(lambda: _ours(scan, count, batch)), OURS),
        "pty-chi": (lambda count: theirs.ask("run", iterations=count)["seconds"], THEIRS),
    }
    micros: dict[str, list[float]] = {name: [] for name in calls}
    for _ in range(TURNS):
        # in turn, so that a change of the machine's speed meets both
        for name, (call, (few, many)) in calls.items():
            short, long = call(few), call(many)
            micros[name].append(1e6 * (long - short) / (many - few) / len(scan.positions_px))
    return {name: round(statistics.median(values), 2) for name, values in micros.items()}


def _theirs(theirs: Library) -> np.ndarray:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "object.npy"
        theirs.ask("save", path=str(path))
        return np.load(path, allow_pickle=False)


def _seconds(work: Callable[[], Any]) -> float:
    started = time.perf_counter()
    work()
    return time.perf_counter() - started


def _short(value: float) -> float:
    return float(f"{value:.4g}")
