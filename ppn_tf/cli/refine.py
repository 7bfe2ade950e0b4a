"""Improve a reconstruction: ePIE that starts from an object, such as a network's.

The start is a product (HDF5) or an own npz file of the same scan, from `ppn-tf reconstruct`
or any other program. ``--objective epie`` visits pattern by pattern; ``eq3`` minimises
Eq. (3) of the paper: moduli, sparsity of the object's gradient, proximity of the probe.
The result is a product (.h5) or an own npz file. Ctrl-C keeps what is done in
FILE.partial.npz; the same command goes on from there.

Example:
  ppn-tf refine scan.cxi --start network.h5 -o refined.h5 --iterations 50
"""

from __future__ import annotations

import argparse
import dataclasses
import time
from pathlib import Path
from typing import TYPE_CHECKING

from ppn_tf.cli import common, scans
from ppn_tf.cli.answer import Answer
from ppn_tf.errors import DataError

if TYPE_CHECKING:
    import numpy as np

    from ppn_tf import epie, refinement
    from ppn_tf.data.formats import Scan
    from ppn_tf.data.formats.starts import Start

ON_INTERRUPT = "what is done lies in the .partial.npz file beside -o: the same command goes on"


def configure(parser: argparse.ArgumentParser) -> None:
    """Add the options."""
    scans.add_scan(parser)
    scans.add_probe(parser)
    parser.add_argument(
        "--start",
        type=Path,
        required=True,
        metavar="OBJECT",
        help="product (.h5) or own npz file whose object, and probe if it fits, is the start; "
        "'flat' starts from ones",
    )
    common.add_output(parser, "the result: .h5 (ptychodus product) or .npz")
    parser.add_argument("--iterations", type=int, default=50, help="passes over the scan (50)")
    parser.add_argument(
        "--objective", default="epie", help="epie (default), or eq3: Eq. (3) of the paper"
    )
    parser.add_argument("--fixed-probe", action="store_true", help="leave the probe as it is")
    parser.add_argument(
        "--probe-start", type=int, default=0, metavar="N", help="first iteration that moves it (0)"
    )
    parser.add_argument("--alpha", type=float, default=1.0, help="ePIE: step of the object (1)")
    parser.add_argument("--beta", type=float, default=1.0, help="ePIE: step of the probe (1)")
    parser.add_argument(
        "--sparsity", type=float, default=1e-3, help="eq3: weight of gradient sparsity (0.001)"
    )
    parser.add_argument(
        "--proximity", type=float, default=0.0, help="eq3: weight of probe proximity (0)"
    )
    parser.add_argument("--seed", type=int, default=0, help="ePIE: order of the visits (0)")
    common.add_device(parser)


def run(arguments: argparse.Namespace) -> Answer:
    """Refine.

    Raises
    ------
    PpnError
        For wrong options, files that cannot be used or do not belong together.
    """
    from ppn_tf import devices, files, refinement

    output = common.check_output(arguments, (".h5", ".hdf5", ".npz"))
    options = refinement.Options(
        iterations=arguments.iterations,
        objective=arguments.objective,
        update_probe=not arguments.fixed_probe,
        probe_start=arguments.probe_start,
        alpha=arguments.alpha,
        beta=arguments.beta,
        sparsity=arguments.sparsity,
        proximity=arguments.proximity,
        seed=arguments.seed,
    )
    scan = scans.read_scan(arguments)
    # the start may have the probe
    scans.check_product(output, scan, probe=False)
    task, covered = make_task(
        scan,
        arguments.start,
        own_probe=arguments.probe is not None,
        between=options.objective == "epie",
    )
    device = devices.select_device(arguments.gpu)
    first = refinement.r_factor(task)
    checkpoint = output.with_name(output.name + ".partial.npz")
    files.remove_unfinished(output)
    started = time.perf_counter()
    found = refinement.refine(task, options, checkpoint=checkpoint, label="refine")
    seconds = time.perf_counter() - started
    last = refinement.r_factor(dataclasses.replace(task, object=found.object, probe=found.probe))
    write(output, scan, found, arguments.start, options)
    checkpoint.unlink(missing_ok=True)
    values = {
        "objective": options.objective,
        "iterations": options.iterations,
        "r_factor_start": first,
        "r_factor_end": last,
        "r_factors": [float(error) for error in found.errors],
        "start_covers": covered,
        "object_shape": list(found.object.shape),
        "probe_modes": len(found.probe),
        "seconds": seconds,
        "device": device,
        "files": [str(output)],
    }
    text = (
        f"{options.iterations} iterations of {options.objective} in {seconds:.1f} s: R-factor "
        f"{first:.4g} to {last:.4g}\nwritten: {output}"
    )
    return Answer(text, values)


def make_task(
    scan: Scan, path: Path, *, own_probe: bool = False, between: bool = False
) -> tuple[refinement.Task, float]:
    """Bring scan and start together.

    Parameters
    ----------
    scan : Scan
    path : Path
        Of the start; ``flat`` for ones.
    own_probe : bool
        Take the scan's probe even where the start has one that fits.
    between : bool
        Keep what positions have beyond whole pixels; they are rounded otherwise.

    Returns
    -------
    task : Task
        The probe scaled so that the start's moduli are nearest to the patterns.
    covered : float
        Share of the object that the start holds.

    Raises
    ------
    DataError
        If they do not belong together, or neither has a probe that fits.
    """
    import numpy as np

    from ppn_tf import refinement
    from ppn_tf.data.formats import starts

    if str(path) == "flat":
        corners, shape = starts.grid(scan)
        field, start = np.ones(shape, np.complex64), None
    else:
        start = starts.read(path)
        field, corners = starts.place(start, scan)
    covered = float(np.isfinite(field).mean())
    task = refinement.Task(
        scan.patterns,
        corners,
        refinement.filled(field),
        choose_probe(scan, None if own_probe else start),
        None if scan.mask is None or scan.mask.all() else ~scan.mask,
        starts.corners_px(scan) - corners if between else None,
    )
    scale = refinement.fitted_scale(task)
    return dataclasses.replace(task, probe=(scale * task.probe).astype(np.complex64)), covered


def choose_probe(scan: Scan, start: Start | None) -> np.ndarray:
    """Return the start's probe where it is as large as a pattern, else the scan's.

    Raises
    ------
    DataError
        If neither has one.
    """
    for found in (None if start is None else start.probe, scan.probe):
        if found is not None and found.shape[1:] == scan.window_px:
            return found
    raise DataError(
        f"neither the start nor the scan holds a probe of {scan.window_px[0]} x "
        f"{scan.window_px[1]} px: expected one in either, add it to the scan's file"
    )


def write(
    output: Path,
    scan: Scan,
    found: epie.Result,
    start: Path,
    options: refinement.Options,
) -> None:
    """Write object and probe on the scan's grid."""
    import numpy as np

    from ppn_tf.data import formats
    from ppn_tf.data.formats import starts

    result = dataclasses.replace(
        scan,
        positions_px=starts.corners_px(scan),
        object=found.object.astype(np.complex64),
        probe=found.probe.astype(np.complex64),
        provenance={
            **scan.provenance,
            "refined": {"start": start.name, **dataclasses.asdict(options)},
        },
    )
    more = {}
    if output.suffix.lower() != ".npz":
        more["losses"] = [float(error) for error in found.errors]
        more["name"] = output.stem
    formats.write(output, result, **more)
