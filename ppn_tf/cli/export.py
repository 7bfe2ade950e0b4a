"""Export a trained network for other programs: SavedModel (a folder) or ONNX.

The export takes raw counts (batch, H, W, 1) and gives ``amplitude`` and ``phase`` [rad].
It is run once on random counts and compared with the network before the command ends.
ONNX needs the extra: pip install 'ppn-tf[onnx]'.

Example:
  ppn-tf export ppn-ltem -o ppn_savedmodel
  ppn-tf export own.keras -o own.onnx
"""

from __future__ import annotations

import argparse
from typing import TYPE_CHECKING

from ppn_tf.cli import common
from ppn_tf.cli.answer import Answer

if TYPE_CHECKING:
    from pathlib import Path

    import keras

#: Patterns of the comparison.
_TRIED = 4
#: Largest difference that is rounding [object amplitude, rad].
_TOLERANCE = 1e-3


def configure(parser: argparse.ArgumentParser) -> None:
    """Add the options."""
    parser.add_argument("model", metavar="MODEL", help="a .keras file, or a name: ppn-ltem")
    common.add_output(parser, "a folder (SavedModel), or a file .onnx")


def run(arguments: argparse.Namespace) -> Answer:
    """Export.

    Raises
    ------
    PpnError
        For wrong options, a missing package, or an export that computes something else.
    """
    from ppn_tf import api, exporting, inference, reconstruction
    from ppn_tf.errors import OptionError

    output = arguments.output
    if output.exists() and not arguments.force:
        raise OptionError(f"{output} is there already: pass --force to replace it")
    model = api.load_model(arguments.model)
    form = exporting.export(model, output)
    difference = _difference(model, output)
    checked = (
        "not run: onnxruntime is not installed"
        if difference is None
        else f"run on {_TRIED} patterns: differs from the network by at most {difference:.1e}"
    )
    turned = reconstruction.needs_turns(model)
    values = {
        "format": form,
        "phase_zero": inference.scaling_of(model).phase_zero,
        "input_shape": list(model.input_shape[1:]),
        "largest_difference": difference,
        "files": [str(output)],
    }
    note = (
        "\nnote: each patch's phase counts from the mean that its light sees: turn patches to each "
        "other before they are averaged (ppn_tf.stitch, turn=True)"
    )
    return Answer(f"{form}, {checked}{note if turned else ''}\nwritten: {output}", values)


def _difference(model: keras.Model, output: Path) -> float | None:
    """Return how far an export is from its network on random counts, None if it cannot run."""
    import numpy as np

    from ppn_tf import exporting, inference, reconstruction
    from ppn_tf.errors import RecordError

    shape = (_TRIED, *model.input_shape[1:3])
    # from dark to the brightest of training, evenly in the logarithm
    top = np.log1p(reconstruction.brightest_known(model))
    counts = np.expm1(top * np.random.default_rng(0).random(shape)).astype(np.float32)
    try:
        found = exporting.run_exported(str(output), counts)
    # a foreign runtime raises errors of its own
    except Exception as error:
        _withdraw(output)
        other = "a SavedModel" if output.suffix else "to ONNX (a name that ends in .onnx)"
        raise RecordError(
            f"{output} cannot be run ({type(error).__name__}: {error}) and was removed: export "
            f"{other} instead"
        ) from error
    if found is None:
        return None
    expected = inference.infer(model, counts)
    worst = max(
        float(np.abs(found["amplitude"] - expected.amplitude).max()),
        float(np.abs(found["phase"] - expected.phase).max()),
    )
    if not worst <= _TOLERANCE:
        _withdraw(output)
        raise RecordError(
            f"{output} differs from the network by {worst}, more than {_TOLERANCE}, and was removed"
        )
    return worst


def _withdraw(output: Path) -> None:
    """Remove an export that is no use."""
    import shutil

    if output.is_dir():
        shutil.rmtree(output)
    else:
        output.unlink(missing_ok=True)
