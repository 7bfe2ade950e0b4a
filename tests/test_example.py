"""The worked example runs as it is printed, on little."""

import os
import subprocess
import sys
from pathlib import Path

import numpy as np

from ppn_tf.data.formats import starts

ROOT = Path(__file__).resolve().parents[1]


def test_the_worked_example_runs(tmp_path):
    command = [sys.executable, str(ROOT / "examples" / "own_scan.py"), "--out", str(tmp_path)]
    command += ["--patterns", "64", "--epochs", "1", "--network", "ptychonn"]
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "TF_CPP_MIN_LOG_LEVEL": "3"}
    done = subprocess.run(
        command, cwd=tmp_path, env=environment, capture_output=True, text=True, timeout=300
    )
    assert done.returncode == 0, done.stderr
    assert "amplitude: PSNR" in done.stdout
    assert "written:" in done.stdout
    assert (tmp_path / "object.png").read_bytes().startswith(b"\x89PNG")
    found = starts.read(tmp_path / "object.h5")
    assert np.isfinite(found.field).all()
    assert found.pixel_m == (1e-8, 1e-8)
