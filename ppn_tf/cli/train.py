"""Train a network on a scan with its object, or on simulations with the scan's probe.

Without --simulate the object in the scan's file is the target: one that was measured
before, or found by ePIE. With --simulate N, N patterns of random objects are computed
with all modes of the scan's probe, at the scan's counts; no object is needed. The network
learns this probe, this pixel size and these counts: first let ppn-tf refine find the probe.

A pattern does not hold the phase of its window. So the phase of a target counts from the
mean that the probe's light sees, and reconstruct turns patches to each other where they
overlap. With --phase-zero object it counts from the object's own zero, as in the paper:
for samples of the same kind that have one.

Every epoch is kept beside -o: after Ctrl-C or a crash, the same command goes on.

Example:
  ppn-tf train chart.npz -o own.keras --epochs 30
  ppn-tf train scan_para.h5 --probe epie.h5 -o own.keras --simulate 8192 --crop 64 --bin 2
"""

from __future__ import annotations

import argparse
import hashlib
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ppn_tf.cli import common, scans
from ppn_tf.cli.answer import Answer

if TYPE_CHECKING:
    from ppn_tf.data.formats import Scan
    from ppn_tf.fitting import Pairs

ON_INTERRUPT = "finished epochs are kept beside -o: the same command goes on"


def configure(parser: argparse.ArgumentParser) -> None:
    """Add the options."""
    from ppn_tf.cli.reconstruct import add_crop_and_bin

    scans.add_scan(parser)
    scans.add_probe(parser)
    common.add_output(parser, "the trained network, .keras; FILE.json beside it says how")
    parser.add_argument("--network", default="ppn", help="ppn (default), ptychonn, ptynet, dpi ...")
    parser.add_argument("--epochs", type=int, default=30, help="passes over the pairs (30)")
    parser.add_argument("--batch-size", type=int, default=32, help="pairs per step (32)")
    parser.add_argument("--seed", type=int, default=0, help="of all that is drawn (0)")
    parser.add_argument(
        "--phase-zero",
        choices=("light", "object"),
        default="light",
        help="what the phase of a target counts from (light)",
    )
    add_crop_and_bin(parser)
    group = parser.add_argument_group("simulation")
    group.add_argument("--simulate", type=int, metavar="N", help="patterns of random objects")
    group.add_argument(
        "--amplitude-range",
        type=float,
        nargs=2,
        default=(0.5, 1.0),
        metavar=("LOW", "HIGH"),
        help="of the random objects (0.5 1)",
    )
    group.add_argument(
        "--phase-range",
        type=float,
        nargs=2,
        default=(-1.0, 1.0),
        metavar=("LOW", "HIGH"),
        help="of the random objects [rad] (-1 1)",
    )
    group.add_argument("--no-noise", action="store_true", help="no Poisson noise")
    common.add_device(parser)


def run(arguments: argparse.Namespace) -> Answer:
    """Train.

    Raises
    ------
    PpnError
        For wrong options, files that cannot be used, or a training that fails.
    """
    from ppn_tf import api, devices, files, fitting, models

    output = common.check_output(arguments, (".keras",))
    chosen = models.spec(arguments.network)
    scan, pairs = make_pairs(arguments)
    device = devices.select_device(arguments.gpu)
    settings = _settings(arguments, scan, pairs)
    checkpoint = output.with_name(output.name + ".checkpoint.npz")
    files.remove_unfinished(output)
    model, history = fitting.fit(
        pairs,
        arguments.network,
        fitting.FitOptions(arguments.epochs, arguments.batch_size, arguments.seed),
        checkpoint=checkpoint,
        label="train",
    )
    api.save_model(output, model)
    record = {"settings": settings, "device": device, "history": _plain(history)}
    beside = _write_record(output, record)
    checkpoint.unlink(missing_ok=True)
    last = history[-1]
    values = {
        "network": chosen.name,
        "pairs": len(pairs),
        "window_px": list(pairs.patterns.shape[1:]),
        "epochs": len(history),
        "loss": float(last["loss"]),
        "val_loss": float(last["val_loss"]),
        "held_out": settings["held_out"],
        "history": record["history"],
        "parameters": model.count_params(),
        "device": device,
        "files": [str(output), str(beside)],
    }
    text = (
        f"{chosen.name}, {len(pairs)} pairs of {pairs.patterns.shape[1]} x "
        f"{pairs.patterns.shape[2]} px, {len(history)} epochs: loss {last['loss']:.4g}, held out "
        f"({settings['held_out']}) {last['val_loss']:.4g}\nwritten: {output}\nwritten: {beside}"
    )
    return Answer(text, values)


def make_pairs(arguments: argparse.Namespace) -> tuple[Scan, Pairs]:
    """Return the scan, and what is trained on.

    Raises
    ------
    PpnError
        If the scan lacks what is needed.
    """
    from ppn_tf import pairs
    from ppn_tf.cli.reconstruct import crop_and_bin

    fit = crop_and_bin(arguments)
    scan = scans.read_scan(arguments)
    if arguments.simulate is None:
        return scan, pairs.of_scan(scan, fit, arguments.phase_zero)
    options = pairs.Simulation(
        arguments.simulate,
        (arguments.amplitude_range[0], arguments.amplitude_range[1]),
        (arguments.phase_range[0], arguments.phase_range[1]),
        not arguments.no_noise,
        arguments.seed,
        arguments.phase_zero,
    )
    return scan, pairs.simulated(scan, fit, options, label="simulate")


def _settings(arguments: argparse.Namespace, scan: Scan, pairs: Pairs) -> dict[str, Any]:
    """Return all that decides the result, for the record."""
    import numpy as np

    import ppn_tf
    from ppn_tf.numerics import NUMERICS_VERSION

    digest = hashlib.sha256()
    for values in (pairs.patterns, pairs.amplitude, pairs.phase_rad):
        digest.update(np.ascontiguousarray(values))
    return {
        "program": f"ppn-tf {ppn_tf.__version__} train",
        "numerics_version": NUMERICS_VERSION,
        "network": arguments.network,
        "epochs": arguments.epochs,
        "batch_size": arguments.batch_size,
        "seed": arguments.seed,
        "scan": Path(arguments.scan).name,
        "simulated": arguments.simulate,
        "probe": None if arguments.probe is None else arguments.probe.name,
        "probe_sha256": None
        if scan.probe is None
        else hashlib.sha256(np.ascontiguousarray(scan.probe)).hexdigest(),
        "object_pixel_m": None if scan.object_pixel_m is None else list(scan.object_pixel_m),
        "phase_zero": pairs.phase_zero,
        "crop_px": arguments.crop,
        "bin_px": arguments.bin,
        "span_px": arguments.span,
        "pairs": len(pairs),
        "held_out": _held_out(arguments, scan, pairs),
        "pairs_sha256": digest.hexdigest(),
        "counts_per_pattern": float(pairs.patterns.sum(axis=(1, 2), dtype=float).mean()),
    }


def _held_out(arguments: argparse.Namespace, scan: Scan, pairs: Pairs) -> str:
    if pairs.held_out is None:
        return "windows that overlap those trained on"
    count = int(pairs.held_out.sum())
    if arguments.simulate is not None:
        return f"{count} windows of objects of their own"
    away = len(scan.patterns) - len(pairs)
    return f"{count} windows of a corner; {away} that overlap them or leave the object are not used"


def _write_record(output: Path, record: dict[str, Any]) -> Path:
    from ppn_tf.files import write_json

    path = output.with_name(output.name + ".json")
    write_json(path, record)
    return path


def _plain(history: list[dict[str, Any]]) -> list[dict[str, Any]]:
    kept = ("epoch", "loss", "val_loss", "learning_rate", "seconds")
    return [{name: epoch[name] for name in kept if name in epoch} for epoch in history]
