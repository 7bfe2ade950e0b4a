"""What `reproduce/speed.py` measures: each row in a process of its own."""

from __future__ import annotations

import dataclasses
import os
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Any

import numpy as np

from ppn_tf import devices
from reproduce.parts import beside_ptychi

#: Raised by hand when rows measure something else: older ones are then measured again.
ROWS_VERSION = 2

#: A call is repeated until so many seconds are gone, between 3 and 9 times; one that takes
#: longer by itself is counted once.
REPEAT_S = 6.0

#: Patterns of the row that streams.
STREAM_PATTERNS = 512

#: Positions updated at once by ePIE, in the comparison of convergence.
BATCHES = (1, 4, 16, 64)

#: The same PoCA layer alone, forward and backward: where the memory is.
LAYER = "PoCA layer"


@dataclasses.dataclass(frozen=True)
class Row:
    """One measurement.

    Attributes
    ----------
    model : str
        A network, or `LAYER`; empty where something else is measured.
    attention : str or None
        ``"block"``, ``"plain"``, ``"fused"`` or None.
    side_px, batch : int
    train, infer : bool
        What is timed of a network.
    jit : bool or "auto"
        Compile the network's step by XLA; ``"auto"`` as a training does, which on a machine
        without a GPU leaves it out (Keras).
    work : str
        Name of another measurement of this module.
    rounds : int
        Processes that measure it, in turn with the other rows.
    policy : str
        Global policy of Keras.
    gpu : bool
        Measured where there is a GPU alone.
    """

    model: str = ""
    attention: str | None = None
    side_px: int = 32
    batch: int = 32
    train: bool = True
    infer: bool = True
    jit: bool | str = "auto"
    work: str = ""
    rounds: int = 1
    policy: str = "float32"
    gpu: bool = False


def _rows() -> dict[str, Row]:
    rows: dict[str, Row] = {}
    for model in ("ppn-released", "ppn", LAYER):
        name, infer = model.replace(" ", "-"), model != LAYER
        rows[f"{name}-block"] = Row(model, "block", infer=infer, rounds=3)
        rows[f"{name}-plain"] = Row(model, "plain", infer=infer, jit=True, rounds=3)
        rows[f"{name}-plain-graph"] = Row(model, "plain", infer=infer, jit=False, rounds=3)
        rows[f"{name}-fused"] = Row(model, "fused", infer=infer, gpu=True)
    rows["ppn-fused-bfloat16"] = Row("ppn", "fused", policy="mixed_bfloat16", gpu=True)
    rows["ppn-64px-fused"] = Row("ppn", "fused", 64, 8, gpu=True)
    rows["ppn-128px-fused"] = Row("ppn", "fused", 128, 4, train=False, gpu=True)
    for model in ("ptychonn", "ptynet", "dpi", "ptychoformer", "segformer", "transunet"):
        rows[model] = Row(model)
    rows["ppn-64px"] = Row("ppn", "block", 64, 8)
    rows["ppn-released-64px"] = Row("ppn-released", "block", 64, 8)
    rows["ppn-128px"] = Row("ppn", "block", 128, 4, train=False)
    for work in (
        "epie-32px",
        "epie-128px",
        "epie-modes",
        *beside_ptychi.SCANS,
        "simulation",
        "stitching",
        "psd",
        "start",
    ):
        rows[work] = Row(work=work)
    return rows


ROWS: Mapping[str, Row] = MappingProxyType(_rows())


def measure(name: str, gpu: str, ptychi_python: str = sys.executable) -> dict[str, Any]:
    """Measure a row in this process; return plain values.

    Parameters
    ----------
    name : str
        A row of `ROWS`.
    gpu : str
        As for `ppn_tf.devices.select_device`.
    ptychi_python : str
        An interpreter that has pty-chi, for the rows that are measured beside it.
    """
    row = ROWS[name]
    device = devices.select_device(gpu)
    before = devices.peak_rss_mib()
    if row.work in beside_ptychi.SCANS:
        scan = epie_scan(*beside_ptychi.SCANS[row.work])
        where = "cpu" if device.startswith("CPU") else "gpu"
        found = beside_ptychi.compare(scan, ptychi_python, where)
    else:
        found = WORK[row.work]() if row.work else network(row)
    return {
        "row": name,
        "version": ROWS_VERSION,
        **dataclasses.asdict(row),
        **found,
        "peak_mib": round(devices.peak_rss_mib(), 1),
        "peak_above_start_mib": round(devices.peak_rss_mib() - before, 1),
        "device": device,
        "load_average": os.getloadavg()[0],
        "versions": devices.versions(),
    }


def network(row: Row) -> dict[str, Any]:
    """Time training step, prediction and stream of a network; all compile first."""
    import keras

    from ppn_tf import callbacks, inference

    keras.config.set_dtype_policy(row.policy)
    model = _layer(row) if row.model == LAYER else _model(row)
    model.compile(optimizer=keras.optimizers.Adam(1e-3), loss="mse", jit_compile=row.jit)
    rng = np.random.default_rng(0)
    x = rng.random((row.batch, *model.input_shape[1:]), dtype=np.float32)
    targets = x if row.model == LAYER else {"amplitude": x, "phase": x}
    found: dict[str, Any] = {}
    if row.model == LAYER:
        # what compiling takes is there already: the rest is what the attention of a batch needs
        model.train_on_batch(x[:1], x[:1])
        after_one = devices.peak_rss_mib()
    if row.infer:
        patterns = rng.random((STREAM_PATTERNS, row.side_px, row.side_px), dtype=np.float32)
        first, _ = timed(
            lambda: next(iter(inference.stream(model, patterns, batch_size=row.batch)))
        )
        found["first_result_s"] = round(first, 3)
        found["predict_s"] = median_s(lambda: model.predict_on_batch(x))
        if row.side_px == 32 and row.attention != "plain":
            seconds = median_s(lambda: inference.predict(model, patterns, batch_size=row.batch))
            found["patterns_per_s"] = round(len(patterns) / seconds, 1)
    if row.train:
        found["train_first_s"] = round(timed(lambda: model.train_on_batch(x, targets))[0], 3)
        found["train_step_s"] = median_s(lambda: model.train_on_batch(x, targets))
    if row.model == LAYER:
        found["peak_above_one_mib"] = round(devices.peak_rss_mib() - after_one, 1)
    gpu_mib = callbacks.gpu_peak_memory_mib()
    if gpu_mib is not None:
        found["gpu_peak_mib"] = round(gpu_mib, 1)
    if row.gpu and row.infer and row.side_px == 32:
        found["output_distance"] = _from_plain(row, model, x)
    return found


def _from_plain(row: Row, model: Any, x: np.ndarray) -> float:
    """Return the relative distance of a network's output from that of plain attention."""
    import keras

    keras.config.set_dtype_policy("float32")
    plain = _model(dataclasses.replace(row, attention="plain"))
    plain.set_weights(model.get_weights())
    outputs = (each.predict_on_batch(x) for each in (model, plain))
    return _distance(*(np.stack([part[name] for name in sorted(part)]) for part in outputs))


def _model(row: Row) -> Any:
    from ppn_tf import models

    options = {} if row.attention is None else {"attention_implementation": row.attention}
    return models.create(row.model, (row.side_px, row.side_px, 1), **options)


def _layer(row: Row) -> Any:
    import keras

    from ppn_tf.layers import PolarCoordinateAttention

    inputs = keras.Input((row.side_px, row.side_px, 32))
    layer = PolarCoordinateAttention(2, 32, implementation=row.attention)
    return keras.Model(inputs, layer(inputs))


def epie_scan(side_px: int, step_px: int, modes: int = 1) -> beside_ptychi.Scan:
    """Simulate 13 x 13 positions of a rough object with the stand-in probe, without noise."""
    from ppn_tf import data
    from ppn_tf.probe_modes import initial_modes

    probe = data.stand_in_probe(side_px).astype(np.complex64)
    if modes > 1:
        probe = initial_modes(probe, modes)
    side = 12 * step_px + side_px
    rng = np.random.default_rng(0)
    coarse = rng.random((2, side // 4 + 1, side // 4 + 1))
    amplitude, phase = (np.kron(part, np.ones((4, 4)))[:side, :side] for part in coarse)
    obj = ((0.6 + 0.4 * amplitude) * np.exp(1j * phase)).astype(np.complex64)
    places = np.arange(13) * step_px
    positions = np.stack(np.meshgrid(places, places, indexing="ij"), -1).reshape(-1, 2)
    each = probe.reshape(-1, side_px, side_px)
    patterns = sum(data.simulate(obj, mode, positions) for mode in each)
    return beside_ptychi.Scan(patterns, positions, probe, obj)


def epie(side_px: int, step_px: int, modes: int = 1) -> dict[str, Any]:
    """Time a visit of one position, compiled and as a NumPy loop, and compare the two."""
    from ppn_tf import epie as engine

    scan = epie_scan(side_px, step_px, modes)
    patterns, positions, probe = scan.patterns, scan.positions_px, scan.probe
    options = {"update_probe": False, "object_shape": scan.truth.shape}

    def run(iterations: int, which: str, batch: int = 1) -> Any:
        chosen = options | {"iterations": iterations, "engine": which, "batch": batch}
        return engine.reconstruct(patterns, positions, probe, **chosen)

    found: dict[str, Any] = {"positions": len(positions), "first_call_s": 0.0}
    found["first_call_s"] = round(timed(lambda: run(10, "compiled"))[0], 3)
    sweeps = {"compiled": (10, 40), "numpy": (1, 11)}
    micros: dict[str, list[float]] = {which: [] for which in sweeps}
    for _ in range(5):
        # in turn, so that a change of the machine's speed meets both
        for which, (few, many) in sweeps.items():
            short, long = (timed(lambda n=n, w=which: run(n, w))[0] for n in (few, many))
            micros[which].append(1e6 * (long - short) / (many - few) / len(positions))
    for which, values in micros.items():
        found[f"{which}_us"] = round(statistics.median(values), 2)
    found["ratio"] = round(found["numpy_us"] / found["compiled_us"], 2)
    found["precision"] = precision(scan)
    found["object_distance"] = found["precision"]["flat"]["compiled_numpy"]
    curves = [run(20, which).errors for which in sweeps]
    found["error_distance"] = float(np.max(np.abs(curves[0] / curves[1] - 1)))
    if modes == 1:
        found["r_factor_20"] = {
            str(batch): float(f"{run(20, 'compiled', batch).errors[-1]:.4g}") for batch in BATCHES
        }
        found["batched_us"] = {}
        for batch in BATCHES[1:]:
            run(10, "compiled", batch)
            short, long = (timed(lambda n=n, b=batch: run(n, "compiled", b))[0] for n in (10, 40))
            found["batched_us"][str(batch)] = round(1e6 * (long - short) / 30 / len(positions), 2)
    return found


def precision(scan: beside_ptychi.Scan) -> dict[str, dict[str, float]]:
    """Compare the objects of both engines after one sweep, in single and double precision.

    From a flat start the smooth probe's far field is rounding errors where it should be
    zero, and their phase is anyone's; a rough start lights all of the detector.
    """
    from ppn_tf import epie as engine

    rng = np.random.default_rng(1)
    noise = 0.1 * rng.standard_normal((2, *scan.truth.shape))
    starts = {"flat": np.ones(scan.truth.shape), "rough": (1 + noise[0]) * np.exp(1j * noise[1])}
    found = {}
    for name, start in starts.items():
        swept = {
            (which, kind): engine.reconstruct(
                scan.patterns,
                scan.positions_px,
                scan.probe.astype(kind),
                iterations=1,
                engine=which,
                update_probe=False,
                initial_object=start.astype(kind),
            ).object
            for which in engine.ENGINES
            for kind in (np.complex64, np.complex128)
        }
        double = swept["numpy", np.complex128]
        found[name] = {
            "compiled_numpy": _distance(
                swept["compiled", np.complex64], swept["numpy", np.complex64]
            ),
            "compiled_double": _distance(swept["compiled", np.complex64], double),
            "numpy_double": _distance(swept["numpy", np.complex64], double),
            "in_double": _distance(swept["compiled", np.complex128], double),
        }
    return found


def _distance(found: np.ndarray, reference: np.ndarray) -> float:
    return float(f"{np.linalg.norm(found - reference) / np.linalg.norm(reference):.3g}")


def simulation() -> dict[str, Any]:
    """Time the patterns of the paper's 61 x 61 scan."""
    from ppn_tf import data

    obj, probe = data.load_object("stand-in"), data.load_probe("stand-in")
    places = np.arange(61) * 8
    positions = np.stack(np.meshgrid(places, places, indexing="ij"), -1).reshape(-1, 2)
    return {
        f"{noise}_s": median_s(lambda n=noise: data.simulate(obj.complex, probe, positions, n))
        for noise in ("none", "reference")
    } | {"patterns": len(positions)}


def stitching() -> dict[str, Any]:
    """Time the stitching of 26,000 patches of 32 x 32 px."""
    from ppn_tf import stitching as stitcher

    rng = np.random.default_rng(0)
    patches = rng.random((26_000, 32, 32), dtype=np.float32)
    positions = rng.integers(0, 512 - 32, (len(patches), 2))
    weights = stitcher.weights(32)
    seconds = median_s(lambda: stitcher.stitch(patches, positions, (512, 512), weights=weights))
    return {"stitch_s": seconds, "patches": len(patches)}


def psd() -> dict[str, Any]:
    """Time the mean power spectrum of the patches of the paper's scan."""
    from ppn_tf import spectrum

    patches = np.random.default_rng(0).random((3721, 32, 32), dtype=np.float32)
    return {"psd_s": median_s(lambda: spectrum.mean_power_spectrum(patches)), "patches": 3721}


def start() -> dict[str, Any]:
    """Time fresh interpreters that import the package, and that print the help."""
    calls = {"import_s": ["-c", "import ppn_tf"], "help_s": ["-m", "ppn_tf.cli", "--help"]}

    def run(words: list[str]) -> None:
        subprocess.run([sys.executable, *words], check=True, capture_output=True)

    return {name: median_s(lambda w=words: run(w)) for name, words in calls.items()}


WORK: Mapping[str, Callable[[], dict[str, Any]]] = MappingProxyType(
    {
        "epie-32px": lambda: epie(32, 8),
        "epie-128px": lambda: epie(128, 32),
        "epie-modes": lambda: epie(32, 8, modes=3),
        "simulation": simulation,
        "stitching": stitching,
        "psd": psd,
        "start": start,
    }
)


def timed(work: Callable[[], Any]) -> tuple[float, Any]:
    """Return the seconds of a call and what it returned."""
    started = time.perf_counter()
    found = work()
    return time.perf_counter() - started, found


def median_s(work: Callable[[], Any]) -> float:
    """Return the median seconds of a call, after one that is not counted."""
    # one call of a large network may take a minute: noise of seconds is small beside it
    least = 3 if timed(work)[0] < REPEAT_S else 1
    seconds: list[float] = []
    while len(seconds) < least or (sum(seconds) < REPEAT_S and len(seconds) < 9):
        seconds.append(timed(work)[0])
    return round(statistics.median(seconds), 5)
