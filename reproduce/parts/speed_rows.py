"""What `reproduce/speed.py` measures: each row in a process of its own."""

from __future__ import annotations

import dataclasses
import os
import subprocess
import sys
from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Any

import numpy as np

from ppn_tf import devices
from reproduce.parts import beside_ptychi
from reproduce.parts.speed_epie import epie, epie_scan
from reproduce.parts.timing import best_s, distance, median_s, timed

#: Raised by hand when rows measure something else: older ones are then measured again.
ROWS_VERSION = 2

#: The same of rows of block-wise attention, and what it had before each version.
BLOCK_VERSION = 4
EARLIER_BLOCKS = MappingProxyType(
    {3: "doubled features in place of a modulation", 4: "one program for all slices"}
)

#: Patterns of the row that streams.
STREAM_PATTERNS = 512

#: Rows and columns of the matrix product that tells the arithmetic a device is good for.
PRODUCT_SIDE = 2048

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
        ``"block"``, ``"plain"``, ``"fused"`` or None; of the layer alone, blocks with doubled
        features in place of a modulation (``"widened"``), or in one program for all slices
        (``"one-program"``).
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

    @property
    def version(self) -> int:
        """Which form of the measurement this is."""
        return BLOCK_VERSION if self.attention == "block" else ROWS_VERSION


def _rows() -> dict[str, Row]:
    rows: dict[str, Row] = {}
    for model in ("ppn-released", "ppn", LAYER):
        name, infer = model.replace(" ", "-"), model != LAYER
        rows[f"{name}-block"] = Row(model, "block", infer=infer, rounds=3)
        rows[f"{name}-plain"] = Row(model, "plain", infer=infer, jit=True, rounds=3)
        rows[f"{name}-plain-graph"] = Row(model, "plain", infer=infer, jit=False, rounds=3)
        rows[f"{name}-fused"] = Row(model, "fused", infer=infer, gpu=True)
    for form in ("widened", "one-program"):
        rows[f"PoCA-layer-{form}"] = Row(LAYER, form, infer=False, rounds=3)
    rows["ppn-fused-bfloat16"] = Row("ppn", "fused", policy="mixed_bfloat16", gpu=True)
    rows["ppn-64px-fused"] = Row("ppn", "fused", 64, 8, gpu=True)
    rows["ppn-128px-fused"] = Row("ppn", "fused", 128, 4, train=False, gpu=True)
    for model in ("ptychonn", "ptynet", "dpi", "ptychoformer", "segformer", "transunet"):
        rows[model] = Row(model)
    rows["ppn-64px"] = Row("ppn", "block", 64, 8)
    rows["ppn-released-64px"] = Row("ppn-released", "block", 64, 8)
    rows["ppn-128px"] = Row("ppn", "block", 128, 4, train=False)
    rows["product"] = Row(work="product", rounds=3)
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
        "version": row.version,
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
    return distance(*(np.stack([part[name] for name in sorted(part)]) for part in outputs))


def _model(row: Row) -> Any:
    from ppn_tf import models

    options = {} if row.attention is None else {"attention_implementation": row.attention}
    return models.create(row.model, (row.side_px, row.side_px, 1), **options)


def _layer(row: Row) -> Any:
    import keras

    from ppn_tf.layers import PolarCoordinateAttention, blockwise

    inputs = keras.Input((row.side_px, row.side_px, 32))
    form = row.attention
    if form == "one-program":
        # this process measures nothing else
        blockwise.programs, form = (lambda: 1), "block"
    layer = (
        _widened() if form == "widened" else PolarCoordinateAttention(2, 32, implementation=form)
    )
    return keras.Model(inputs, layer(inputs))


def _widened() -> Any:
    """Return a PoCA layer that goes by blocks with doubled features."""
    from ppn_tf.layers import PolarCoordinateAttention
    from ppn_tf.layers.attention import widened

    class Widened(PolarCoordinateAttention):
        def modulation(self, height: int, width: int) -> None:
            return None

        def attended(self, query: Any, key: Any, value: Any, height: int, width: int) -> Any:
            wide = widened(query, key, super().modulation(height, width))
            return super().attended(*wide, value, height, width)

    return Widened(2, 32, implementation="block")


def product() -> dict[str, Any]:
    """Time a large matrix product, and count what the networks need at least.

    Operations are those of plain attention for one pattern, a multiply-add being two.
    """
    import keras

    from ppn_tf import complexity

    matrix = keras.ops.convert_to_tensor(
        np.random.default_rng(0).random((PRODUCT_SIDE, PRODUCT_SIDE), dtype=np.float32)
    )
    # one number is fetched, so that the product is there
    seconds = best_s(lambda: np.asarray(keras.ops.matmul(matrix, matrix)[0, 0]))
    found: dict[str, Any] = {"product_s": seconds}
    found["gflop_per_s"] = round(2e-9 * PRODUCT_SIDE**3 / seconds, 1)
    if keras.backend.backend() == "tensorflow":
        found["gflop"] = {
            name: round(complexity.flops(_model(Row(name, "plain"))) / 1e9, 5)
            for name in ("ppn-released", "ppn")
        }
    return found


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
        "product": product,
        "simulation": simulation,
        "stitching": stitching,
        "psd": psd,
        "start": start,
    }
)
