"""Speed and memory: block-wise against plain attention, and every model's step.

Claim      None of the paper's. The exact block-wise attention of this package against
           the N x N matrices of the authors' code, on the same network, in one run.
Command    python reproduce/speed.py
Written    results/speed.{json,md}

Every row is measured in a fresh process, so that its peak memory is its own; ratios are
between rows of one run. Times are medians of several repeats after one that compiles.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from reproduce.options import ROOT, run_script

BATCH = 32
SIDE_PX = 32

#: Model, attention implementation; the plain rows are what the ratios refer to.
ROWS = (
    ("ppn-released", "block"),
    ("ppn-released", "plain"),
    ("ppn", "block"),
    ("ppn", "plain"),
    ("ptychonn", None),
    ("ptynet", None),
    ("dpi", None),
    ("ptychoformer", None),
    ("segformer", None),
    ("transunet", None),
)
#: One PoCA layer alone, forward and backward: where the memory is.
LAYER = "PoCA layer"


def main(argv: Sequence[str] | None = None) -> None:
    """Measure all rows, or one of them in this process."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--gpu", default="auto", help="number of a GPU, 'cpu' or 'auto'")
    parser.add_argument("--repeats", type=int, default=7, help="timed repeats (default 7)")
    parser.add_argument("--out", type=Path, default=ROOT / "results", help="folder of the outputs")
    parser.add_argument("--row", nargs=2, metavar=("MODEL", "IMPLEMENTATION"))
    arguments = parser.parse_args(argv)
    if arguments.row:
        model, implementation = arguments.row
        implementation = None if implementation == "None" else implementation
        print(json.dumps(measure(model, implementation, arguments.gpu, arguments.repeats)))
        return
    rows = []
    for model, implementation in (*ROWS, (LAYER, "block"), (LAYER, "plain")):
        print(f"measuring {model}, attention {implementation}", file=sys.stderr)
        rows.append(fresh(model, implementation, arguments))
    write(rows, arguments.out)


def fresh(model: str, implementation: str | None, arguments: argparse.Namespace) -> dict[str, Any]:
    """Measure one row in a process of its own."""
    command = [sys.executable, __file__, "--gpu", arguments.gpu, "--row", model]
    command += [str(implementation), "--repeats", str(arguments.repeats)]
    done = subprocess.run(
        command, capture_output=True, text=True, env=os.environ | {"TF_CPP_MIN_LOG_LEVEL": "2"}
    )
    if done.returncode:
        raise RuntimeError(f"measuring {model} failed:\n{done.stderr[-2000:]}")
    return json.loads(done.stdout.splitlines()[-1])


def measure(model: str, implementation: str | None, gpu: str, repeats: int) -> dict[str, Any]:
    """Time training step and inference of one row; return them with the peak memory."""
    from ppn_tf.devices import select_device, versions

    device = select_device(gpu)
    before = peak_mib()
    steps = layer_steps(implementation) if model == LAYER else model_steps(model, implementation)
    row: dict[str, Any] = {"model": model, "attention": implementation, "batch": BATCH}
    for name, step in steps.items():
        start = time.perf_counter()
        step()
        row[f"{name}_first_s"] = round(time.perf_counter() - start, 3)
        row[f"{name}_s"] = round(median_seconds(step, repeats), 4)
    return row | {
        "peak_mib": round(peak_mib(), 1),
        "peak_above_start_mib": round(peak_mib() - before, 1),
        "device": device,
        "load_average": os.getloadavg()[0],
        "versions": versions(),
    }


def median_seconds(step: Callable[[], Any], repeats: int) -> float:
    """Return the median time of a call."""
    seconds = []
    for _ in range(repeats):
        start = time.perf_counter()
        step()
        seconds.append(time.perf_counter() - start)
    return statistics.median(seconds)


def peak_mib() -> float:
    """Return the peak resident memory of this process."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def model_steps(model: str, implementation: str | None) -> dict[str, Callable[[], Any]]:
    """Return a training step and a prediction of one batch."""
    import keras
    import numpy as np

    from ppn_tf import models

    options = {} if implementation is None else {"attention_implementation": implementation}
    network = models.create(model, (SIDE_PX, SIDE_PX, 1), **options)
    network.compile(optimizer=keras.optimizers.Adam(1e-3), loss="mse")
    x = np.random.default_rng(0).random((BATCH, SIDE_PX, SIDE_PX, 1), dtype=np.float32)
    targets = {"amplitude": x, "phase": x}
    return {
        "train_step": lambda: network.train_on_batch(x, targets),
        "predict": lambda: network.predict_on_batch(x),
    }


def layer_steps(implementation: str) -> dict[str, Callable[[], Any]]:
    """Return forward and backward of one PoCA layer, as a model of that layer alone."""
    import keras
    import numpy as np

    from ppn_tf.layers import PolarCoordinateAttention

    inputs = keras.Input((SIDE_PX, SIDE_PX, 32))
    layer = PolarCoordinateAttention(2, 32, implementation=implementation)
    network = keras.Model(inputs, layer(inputs))
    network.compile(optimizer=keras.optimizers.SGD(1e-3), loss="mse")
    x = np.random.default_rng(0).random((BATCH, SIDE_PX, SIDE_PX, 32), dtype=np.float32)
    return {"train_step": lambda: network.train_on_batch(x, x)}


def write(rows: list[dict[str, Any]], out: Path) -> None:
    """Write and print the table, with the ratios of plain to block."""
    from ppn_tf.files import write_json, write_text
    from reproduce.compare import markdown_table
    from reproduce.render import aligned

    found = {(row["model"], row["attention"]): row for row in rows}
    ratios = {}
    for model in dict.fromkeys(row["model"] for row in rows):
        block, plain = found.get((model, "block")), found.get((model, "plain"))
        if block and plain:
            ratios[model] = {
                key: round(plain[key] / block[key], 2)
                for key in ("train_step_s", "predict_s", "peak_mib", "peak_above_start_mib")
                if key in block
            }
    columns = ("model", "attention", "train_step_s", "predict_s", "peak_mib")
    columns += ("peak_above_start_mib",)
    text = "\n".join(
        [
            f"# Speed, {rows[0]['device']}",
            "",
            f"Batch {BATCH}, {SIDE_PX} x {SIDE_PX} px, float32; medians after compilation.",
            "",
            aligned(markdown_table([{name: row.get(name) for name in columns} for row in rows])),
            "Plain over block, in this run:",
            "",
            aligned(markdown_table([{"model": m, **values} for m, values in ratios.items()])),
        ]
    )
    models = [row for row in rows if row["model"] != LAYER and row["attention"] != "plain"]
    write_json(out / "speed.json", {"rows": rows, "ratios": ratios, "models": models})
    write_text(out / "speed.md", text)
    print(text)


if __name__ == "__main__":
    run_script(main)
