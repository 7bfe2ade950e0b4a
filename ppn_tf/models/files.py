"""Networks in ``.keras`` files: read in safe mode, written whole or not at all."""

from __future__ import annotations

import zipfile
from pathlib import Path

import keras

from ppn_tf import kerasfile
from ppn_tf.errors import DataError, RecordError
from ppn_tf.files import replacing


def load_file(path: Path | str) -> keras.Model:
    """Load a network from a ``.keras`` file, in Keras' safe mode: no code, no pickle.

    Raises
    ------
    RecordError
        If the file is missing, is no ``.keras`` file, or needs layers that are not known.
    """
    path = Path(path)
    if not path.is_file():
        raise RecordError(f"model {path} does not exist: check the path")
    if not zipfile.is_zipfile(path):
        raise RecordError(
            f"model {path}: expected a .keras file (a zip archive), received something else: save "
            "it with model.save('name.keras')"
        )
    try:
        return kerasfile.load(path)
    except DataError as error:
        raise RecordError(
            f"model {path} cannot be loaded ({error}): expected a network "
            "that ppn_tf saved, or one whose layers are registered with Keras"
        ) from error


def save_file(path: Path | str, model: keras.Model) -> None:
    """Write a network without its optimiser, whose moments are twice the network's size.

    Raises
    ------
    RecordError
        For another ending than ``.keras``, or if the file cannot be written.
    """
    path = Path(path)
    if path.suffix != ".keras":
        raise RecordError(f"model {path}: expected the ending .keras, received {path.suffix!r}")
    bare = keras.Model.from_config(model.get_config())
    bare.set_weights(model.get_weights())
    with replacing(path) as temporary:
        bare.save(temporary)
