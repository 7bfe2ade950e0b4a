"""What pty-chi computes for `reproduce/parts/beside_ptychi.py`, in the interpreter that has it.

pty-chi and this package need not be able to live in one environment, so that this file is
started as a script and imports nothing of this repository. It answers one line of JSON to
each line of JSON on standard input; what the libraries print goes to standard error.
"""

from __future__ import annotations

import importlib.metadata
import json
import logging
import os
import sys
import time
from typing import Any

import numpy as np

#: The object is larger than the scan by this much on every side: pty-chi asks for 1 px.
MARGIN_PX = 2


class Worker:
    """One scan and the reconstruction of it that was built last.

    Attributes
    ----------
    versions : dict of str
        Of pty-chi and of what it computes with.
    """

    def __init__(self) -> None:
        import ptychi.api.task
        import torch

        self._api, self._torch = ptychi.api, torch
        # one line an epoch otherwise, which would be timed too
        for name in ("ptychi", "ptychi.reconstructors.base"):
            logging.getLogger(name).setLevel(logging.ERROR)
        self.versions = {
            name: importlib.metadata.version(name) for name in ("ptychi", "torch", "numpy")
        }
        self._scan: dict[str, np.ndarray] = {}
        self._task: Any = None

    def load(self, path: str) -> dict[str, Any]:
        """Read the patterns, positions_px, probe and object_shape of a scan."""
        with np.load(path, allow_pickle=False) as archive:
            self._scan = {name: archive[name] for name in archive.files}
        return {"positions": len(self._scan["positions_px"])}

    def build(
        self, batch: int, batching: str, step: float, threads: int, device: str
    ) -> dict[str, Any]:
        """Make a reconstruction with a known probe that starts from an object of ones."""
        api, torch = self._api, self._torch
        torch.set_num_threads(threads)
        options = api.EPIEOptions()
        self._describe_scan(options)
        options.object_options.optimizer = api.Optimizers.SGD
        options.object_options.step_size = step
        options.object_options.alpha = 1.0
        options.probe_options.optimizable = False
        # nothing is ambiguous between an object and a known probe
        options.object_options.remove_object_probe_ambiguity.enabled = False
        options.probe_options.orthogonalize_incoherent_modes.enabled = False
        options.probe_options.orthogonalize_opr_modes.enabled = False
        options.probe_position_options.optimizable = False
        chosen = options.reconstructor_options
        chosen.batch_size = batch
        chosen.batching_mode = api.BatchingModes(batching)
        chosen.default_dtype = api.Dtypes.FLOAT32
        gpu = device == "gpu" and torch.cuda.is_available()
        chosen.default_device = api.Devices.GPU if gpu else api.Devices.CPU
        options.data_options.save_data_on_device = gpu
        chosen.use_double_precision_for_fft = False
        chosen.random_seed = 0
        self._task = api.task.PtychographyTask(options)
        return {"device": "gpu" if gpu else "cpu", "threads": torch.get_num_threads()}

    def _describe_scan(self, options: Any) -> None:
        api, torch, scan = self._api, self._torch, self._scan
        side = scan["probe"].shape[-1]
        positions = scan["positions_px"].astype(np.float32)
        middle = np.round((positions.min(axis=0) + positions.max(axis=0)) / 2)
        rows, cols = (int(size) + 2 * MARGIN_PX for size in scan["object_shape"])
        options.data_options.data = scan["patterns"].astype(np.float32)
        options.object_options.initial_guess = torch.ones([1, rows, cols], dtype=torch.complex64)
        options.object_options.pixel_size_m = 1.0
        # a position is a window's centre in pty-chi
        options.object_options.determine_position_origin_coords_by = (
            api.ObjectPosOriginCoordsMethods.SPECIFIED
        )
        options.object_options.position_origin_coords = torch.tensor(
            middle + (side - 1) / 2 + MARGIN_PX, dtype=torch.float32
        )
        # returns at once for whole pixels; the default pays two more Fourier transforms
        options.object_options.patch_interpolation_method = api.PatchInterpolationMethods.BILINEAR
        options.probe_options.initial_guess = torch.tensor(
            scan["probe"][None, None].astype(np.complex64)
        )
        options.probe_position_options.position_y_px = torch.tensor(positions[:, 0] - middle[0])
        options.probe_position_options.position_x_px = torch.tensor(positions[:, 1] - middle[1])

    def run(self, iterations: int) -> dict[str, Any]:
        """Go on for some iterations; return the seconds."""
        started = time.perf_counter()
        self._task.run(iterations)
        if self._torch.cuda.is_available():
            self._torch.cuda.synchronize()
        return {"seconds": time.perf_counter() - started}

    def save(self, path: str) -> dict[str, Any]:
        """Write the object, without the margin."""
        found = self._task.get_data_to_cpu("object", as_numpy=True)[0]
        np.save(path, found[MARGIN_PX:-MARGIN_PX, MARGIN_PX:-MARGIN_PX])
        return {}


def main() -> None:
    """Say which versions are there, or what is missing; then answer requests."""
    answers = os.fdopen(os.dup(1), "w", encoding="utf-8")
    # whatever a library prints must not come between the answers
    os.dup2(2, 1)

    def answer(values: dict[str, Any]) -> None:
        answers.write(json.dumps(values) + "\n")
        answers.flush()

    try:
        worker = Worker()
    except ImportError as error:
        answer({"missing": str(error)})
        return
    answer({"versions": worker.versions})
    for line in sys.stdin:
        request = json.loads(line)
        answer(getattr(worker, request.pop("do"))(**request))


if __name__ == "__main__":
    main()
