"""A trained network for other runtimes: raw counts in, object amplitude and radians out."""

from __future__ import annotations

import importlib.util
import math
import shutil
import tempfile
from pathlib import Path
from typing import Any, Final

import keras
import numpy as np

from ppn_tf import inference
from ppn_tf.errors import OptionError, RecordError
from ppn_tf.layers import PatternScaling

#: Packages that ONNX needs, see the extra ``onnx``.
ONNX_PACKAGES: Final = ("tf2onnx", "onnx")
#: Format by ending; a name without one is the folder of a SavedModel.
FORMATS: Final = {"": "savedmodel", ".onnx": "onnx"}
_OUTPUTS: Final = ("amplitude", "phase")
#: What a SavedModel's folder holds.
_SAVED: Final = {"assets", "fingerprint.pb", "saved_model.pb", "variables"}


class _LogScaling(keras.layers.Layer):
    """`PatternScaling` by ``log(1 + x)``: ONNX has no ``log1p``."""

    def __init__(self, scaling: PatternScaling) -> None:
        super().__init__(name=scaling.name, dtype="float32")
        self.transform, self.low, self.high = scaling.transform, scaling.low, scaling.high

    def call(self, inputs: Any) -> Any:
        """Transform and scale raw counts."""
        return (keras.ops.log(1.0 + inputs) - self.low) / (self.high - self.low)


def _gelu(x: Any) -> Any:
    """Return ``x Phi(x)`` by erf: Keras takes erfc, which ONNX has not."""
    return 0.5 * x * (1.0 + keras.ops.erf(x / math.sqrt(2.0)))


def physical(model: keras.Model) -> keras.Model:
    """Return a network whose outputs are object amplitude and phase [rad].

    Raises
    ------
    OptionError
        If the network carries no scaling.
    """
    scaling = inference.scaling_of(model)
    ranges = {"amplitude": scaling.amplitude_range, "phase": scaling.phase_range_rad}
    inputs = keras.Input(model.input_shape[1:], name="counts")
    scaled = model(inputs)
    outputs = {}
    for name in _OUTPUTS:
        low, high = ranges[name]
        outputs[name] = keras.layers.Rescaling(high - low, offset=low, name=name)(scaled[name])
    return keras.Model(inputs, outputs, name=f"{model.name}_physical")


def portable(model: keras.Model) -> keras.Model:
    """Return a network that computes the same without operations that ONNX lacks.

    Attention is plain, which needs no operation of XLA, ``log1p`` a logarithm, and GELU has
    the error function itself, not its complement.
    """

    def clone(layer: keras.layers.Layer) -> keras.layers.Layer:
        if isinstance(layer, PatternScaling) and layer.transform == "log1p":
            return _LogScaling(layer)
        config = layer.get_config()
        if "implementation" in config:
            config["implementation"] = "plain"
        new = type(layer).from_config(config)
        if getattr(layer, "activation", None) is keras.activations.gelu:
            new.activation = _gelu
        return new

    made = keras.models.clone_model(model, clone_function=clone)
    made.set_weights(model.get_weights())
    return made


def export(model: keras.Model, path: Path | str) -> str:
    """Write a network as SavedModel (a folder) or ONNX (``.onnx``).

    Parameters
    ----------
    model : keras.Model
        With a scaling.
    path : Path or str
        An export that is there is replaced; a folder that holds anything else is refused.

    Returns
    -------
    str
        ``savedmodel`` or ``onnx``.

    Raises
    ------
    OptionError
        For another ending, the JAX backend, where a package is missing, or for a folder that
        is no SavedModel alone.
    RecordError
        If it cannot be written.
    """
    path = Path(path)
    form = FORMATS.get(path.suffix.lower())
    if form is None:
        raise OptionError(
            f"export expects a folder name without ending (SavedModel) or .onnx, received {path}"
        )
    _check_replaceable(path)
    if keras.backend.backend() != "tensorflow":
        raise OptionError(
            f"export needs the TensorFlow backend, received {keras.backend.backend()!r}: unset "
            "KERAS_BACKEND"
        )
    if form == "onnx":
        missing = [name for name in ONNX_PACKAGES if importlib.util.find_spec(name) is None]
        if missing:
            raise OptionError(
                f"ONNX needs {' and '.join(missing)}: pip install 'ppn-tf[onnx]', or export a "
                "SavedModel (a folder name without ending)"
            )
    network = physical(portable(model) if form == "onnx" else model)
    # Keras exports to ONNX only what was called before
    network(np.zeros((1, *model.input_shape[1:]), np.float32))
    path.parent.mkdir(parents=True, exist_ok=True)
    # beside the target, so that renaming stays on one disk
    with tempfile.TemporaryDirectory(prefix=f".{path.name}.", dir=path.parent) as folder:
        made = Path(folder) / f"export{path.suffix}"
        keras_format = "onnx" if form == "onnx" else "tf_saved_model"
        try:
            network.export(made, format=keras_format, verbose=False)
            if path.is_dir():
                shutil.rmtree(path)
            made.replace(path)
        except OSError as error:
            raise RecordError(f"could not write {path}: {error}") from error
    return form


def _check_replaceable(path: Path) -> None:
    foreign = {entry.name for entry in path.iterdir()} - _SAVED if path.is_dir() else set()
    if foreign:
        raise OptionError(
            f"{path} is a folder that holds {min(foreign)}, which is no part of a SavedModel: it "
            "is left alone, choose another name"
        )


def run_exported(path: Path | str, patterns: np.ndarray) -> dict[str, np.ndarray] | None:
    """Run an export on patterns, as its user would.

    Parameters
    ----------
    path : Path or str
    patterns : (N, H, W) float32
        Counts.

    Returns
    -------
    dict of (N, H, W) float32, or None
        ``amplitude`` and ``phase``; None for ONNX without onnxruntime.
    """
    path = Path(path)
    counts = np.asarray(patterns, np.float32)[..., None]
    if path.suffix.lower() == ".onnx":
        if importlib.util.find_spec("onnxruntime") is None:
            return None
        runtime = importlib.import_module("onnxruntime")
        session = runtime.InferenceSession(str(path), providers=["CPUExecutionProvider"])
        names = [output.name for output in session.get_outputs()]
        values = session.run(names, {session.get_inputs()[0].name: counts})
        found = dict(zip(names, values, strict=True))
    else:
        import tensorflow as tf

        # held by a name: its variables go with it
        loaded = tf.saved_model.load(str(path))
        found = loaded.serve(counts)
    return {name: np.asarray(found[name])[..., 0] for name in _OUTPUTS}
