"""Networks of ``--add-model``: a developer's own, under the protocol of the paper.

A source is ``package.module:function`` or a ``.keras`` file. The function is written like
those of `ppn_tf.models`: from the scaled patterns, a Keras tensor (B, H, W, 1) in [0, 1],
to the tensors (amplitude, phase), (B, H, W, 1) each on the [0, 1] target scale. Scaling,
split, seeds, training and scores are those of every other network.

Of a ``.keras`` file only the architecture is taken, in safe mode; every run draws new
weights. The checksum of the file is part of a run's name. It does not cover what the file
imports: keep what belongs to the network in one file.
"""

from __future__ import annotations

import dataclasses
import functools
import hashlib
import importlib
import importlib.util
import re
import sys
import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path, PurePath
from typing import TYPE_CHECKING, Any

from ppn_tf.errors import DataError, OptionError

if TYPE_CHECKING:  # they import Keras, which must not happen before the device is chosen
    import keras

    from ppn_tf.scaling import Scaling

_FUNCTION = re.compile(r"[A-Za-z_]\w*(\.[A-Za-z_]\w*)*:[A-Za-z_]\w*")

#: Shape of the patterns of all exhibits that take a network.
INPUT_SHAPE = (32, 32, 1)

_OUTPUTS = ("amplitude", "phase")


@dataclasses.dataclass(frozen=True)
class Added:
    """A network of ``--add-model``.

    Attributes
    ----------
    source : str
        ``package.module:function`` or the path of a ``.keras`` file.
    sha256 : str
        Checksum of the file behind it.
    epochs : int
        Epochs of its trainings.
    """

    source: str
    sha256: str
    epochs: int

    @property
    def model(self) -> str:
        """Name for `RunSpec.model`."""
        return f"custom:{self.source}@{self.sha256}"

    @property
    def name(self) -> str:
        """Name of its row."""
        return PurePath(self.source).name


def read(sources: Sequence[str], epochs: int) -> tuple[Added, ...]:
    """Find the files of networks and check that every network can be built and saved.

    Parameters
    ----------
    sources : sequence of str
    epochs : int

    Returns
    -------
    tuple of Added

    Raises
    ------
    OptionError
        For fewer than one epoch, a name that two sources share, or a network that is
        not found or does not fit.
    """
    if epochs < 1:
        raise OptionError(f"--added-epochs expects at least 1, received {epochs}")
    found = [Added(source, _sha256(_file(source)), epochs) for source in sources]
    names = [added.name for added in found]
    for name in names:
        if names.count(name) > 1:
            raise OptionError(f"--add-model names {name!r} more than once: rename one of them")
    for added in found:
        _check(added)
    return tuple(found)


def build(
    model: str, input_shape: tuple[int, int, int] = INPUT_SHAPE, scaling: Scaling | None = None
) -> keras.Model:
    """Create an added network, untrained, as `ppn_tf.models.create` does its own.

    Parameters
    ----------
    model : str
        `Added.model`.
    input_shape : (H, W, 1)
    scaling : Scaling, optional
        See `ppn_tf.models.create`.

    Returns
    -------
    keras.Model

    Raises
    ------
    OptionError
        If the network is not found, has changed since it was named, or does not fit.
    """
    import keras

    from ppn_tf.layers.scaling import PatternScaling, TargetScaling

    source, network = model.removeprefix("custom:").rpartition("@")[0], load(model)
    inputs = keras.Input(input_shape, name="pattern")
    scaled = inputs
    if scaling is not None:
        layer = PatternScaling(scaling.transform, *scaling.input_range, name="pattern_scaling")
        scaled = layer(inputs)
    amplitude, phase = _outputs(source, network(scaled), input_shape)
    if scaling is not None:
        amplitude = TargetScaling(*scaling.amplitude_range, name="amplitude_scaling")(amplitude)
        phase = TargetScaling(*scaling.phase_range_rad, unit="rad", name="phase_scaling")(phase)
    return keras.Model(inputs, dict(zip(_OUTPUTS, (amplitude, phase), strict=True)), name="added")


def load(model: str) -> Callable[[Any], Any]:
    """Return what builds an added network on a tensor; its file is read once a process.

    Parameters
    ----------
    model : str
        `Added.model`.

    Raises
    ------
    OptionError
        If the network is not found, or has changed since it was named.
    """
    source, _, sha256 = model.removeprefix("custom:").rpartition("@")
    return _load(source, sha256)


def _file(source: str) -> Path:
    """Return the file behind a source; nothing of it is run but parent packages."""
    if source.endswith(".keras"):
        path = Path(source)
        if not path.is_file():
            raise OptionError(f"--add-model: there is no file {source}")
        return path
    if not _FUNCTION.fullmatch(source):
        raise OptionError(
            f"--add-model expects package.module:function or a .keras file, received {source!r}"
        )
    folder = str(Path.cwd())
    if folder not in sys.path:
        # last, so that nothing installed is hidden by a file of the user's folder
        sys.path.append(folder)
    module = source.partition(":")[0]
    try:
        found = importlib.util.find_spec(module)
    except ModuleNotFoundError:
        found = None
    if found is None or not found.has_location:
        raise OptionError(
            f"--add-model {source}: no module {module!r} in the current folder, among the "
            "installed packages or on PYTHONPATH"
        )
    return Path(found.origin)


def _sha256(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


# cached, so that a file that is edited while runs go on does not change them
@functools.cache
def _load(source: str, sha256: str) -> Callable[[Any], Any]:
    """Return what builds the network on a tensor, from the file that has this checksum."""
    path = _file(source)
    if _sha256(path) != sha256:
        raise OptionError(
            f"--add-model {source}: {path.name} has changed since this command started; "
            "start it again to train the network as it is now"
        )
    return _architecture(source) if path.suffix == ".keras" else _function(source)


def _function(source: str) -> Callable[[Any], Any]:
    module, _, name = source.partition(":")
    function = getattr(importlib.import_module(module), name, None)
    if not callable(function):
        raise OptionError(f"--add-model {source}: module {module!r} has no function {name!r}")
    return function


def _architecture(source: str) -> Callable[[Any], Any]:
    from ppn_tf import kerasfile

    try:
        saved = kerasfile.load(source)
    except DataError as error:
        raise OptionError(
            f"--add-model {_first_line(error)}; give networks with layers of their own as "
            "package.module:function"
        ) from error

    def network(inputs: Any) -> Any:
        # new weights for every run: those of the file may have seen the test set
        fresh = type(saved).from_config(saved.get_config())
        try:
            return fresh(inputs)
        except ValueError as error:
            raise OptionError(
                f"--add-model {source}: the network does not take patterns of shape "
                f"{tuple(inputs.shape)}: {_first_line(error)}"
            ) from error

    return network


def _outputs(source: str, outputs: Any, input_shape: tuple[int, int, int]) -> tuple[Any, Any]:
    """Return (amplitude, phase) of what a network gave, or say what it should have given."""
    wanted = (
        f"--add-model {source}: expected two tensors (amplitude, phase), or a dict with these "
        "keys, "
    )
    if isinstance(outputs, dict):
        if set(outputs) != set(_OUTPUTS):
            raise OptionError(f"{wanted}received a dict with the keys {sorted(outputs)}")
        outputs = [outputs[name] for name in _OUTPUTS]
    if not isinstance(outputs, (tuple, list)) or len(outputs) != len(_OUTPUTS):
        raise OptionError(f"{wanted}received {_described(outputs)}")
    for name, tensor in zip(_OUTPUTS, outputs, strict=True):
        shape = tuple(getattr(tensor, "shape", ()))
        if shape != (None, *input_shape):
            raise OptionError(
                f"--add-model {source}: expected {name} of shape {(None, *input_shape)}, as the "
                f"patterns, received {shape or _described(tensor)}"
            )
    return tuple(outputs)


def _described(value: Any) -> str:
    if isinstance(value, (tuple, list)):
        return f"{len(value)} of them"
    shape = getattr(value, "shape", None)
    return type(value).__name__ if shape is None else f"one tensor of shape {tuple(shape)}"


def _check(added: Added) -> None:
    """Refuse at once what would fail after hours: a network that cannot be read back."""
    import keras

    from ppn_tf.scaling import Scaling

    network = build(added.model, scaling=Scaling("linear", (0.0, 1.0), (0.0, 1.0), (0.0, 1.0)))
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "network.keras"
        try:
            network.save(path)
            keras.saving.load_model(path, safe_mode=True)
        except (ValueError, TypeError, NotImplementedError) as error:
            raise OptionError(
                f"--add-model {added.source}: the network cannot be saved and loaded in safe "
                f"mode: {_first_line(error)}; register layers of your own with "
                "keras.saving.register_keras_serializable and use no Lambda layer"
            ) from error
    print(f"added: {added.name}, {network.count_params():,} parameters, {added.epochs} epochs")


def _first_line(error: Exception) -> str:
    # Keras prints in bold
    text = re.sub(r"\x1b\[[0-9;]*m", "", str(error))
    return " ".join(text.split())[:200].rstrip(". ")
