"""Trained networks that come with the package: names, checksums, and where they were trained."""

from __future__ import annotations

import dataclasses
import importlib.resources
from collections.abc import Mapping
from types import MappingProxyType

import keras

from ppn_tf import files
from ppn_tf.errors import OptionError, RecordError
from ppn_tf.models.files import load_file


@dataclasses.dataclass(frozen=True)
class TrainedModel:
    """A trained network of the registry.

    Attributes
    ----------
    name : str
        Name for `load`.
    sha256 : str
        Checksum of its file, 64 hexadecimal digits.
    size_bytes : int
    record : str
        Hash of the run that trained it: ``results/runs/<record>/tensorflow.json`` in the
        repository says how, and what it scored.
    counts_per_pattern : float
        Mean of the total counts of the patterns that it was trained on: counts of
        another scale are outside what it knows.
    description : str
        One line.
    """

    name: str
    sha256: str
    size_bytes: int
    record: str
    counts_per_pattern: float
    description: str


_TRAINED = (
    TrainedModel(
        "ppn-ltem",
        "6096858d70a81ac18dfff0ffdd2ecdbe7444bcb2e0097b8cc91ff5999e1d6494",
        2_421_922,
        "8beb67866e9b84f2",
        52_535.0,
        "ppn of Table I, noise-free, sound block, seed 0: the LTEM chart and the probe of the "
        "paper, 32 x 32 px",
    ),
)

#: Every trained network, by its name.
TRAINED: Mapping[str, TrainedModel] = MappingProxyType({item.name: item for item in _TRAINED})


def trained(name: str) -> TrainedModel:
    """Return what is known about the trained network `name`.

    Raises
    ------
    OptionError
        If there is no such network.
    """
    if name not in TRAINED:
        raise OptionError(
            f"unknown trained model {name!r}: expected one of {', '.join(TRAINED)}, or the path "
            "of a .keras file"
        )
    return TRAINED[name]


def load(name: str) -> keras.Model:
    """Load a trained network that comes with the package.

    Parameters
    ----------
    name : str
        One of `TRAINED`.

    Returns
    -------
    keras.Model
        Takes raw counts (B, H, W, 1) and knows the physical range of its outputs; see
        `ppn_tf.inference.infer`.

    Raises
    ------
    OptionError
        For an unknown name.
    RecordError
        If its file is missing or is not the one that was released.
    """
    entry = trained(name)
    source = importlib.resources.files("ppn_tf.models") / "weights" / f"{name}.keras"
    with importlib.resources.as_file(source) as path:
        if not path.is_file():
            raise RecordError(
                f"the weights of {name!r} are missing ({path}): install the package again"
            )
        received = files.sha256(path)
        if received != entry.sha256:
            raise RecordError(
                f"the weights of {name!r} are not those that were released: expected sha256 "
                f"{entry.sha256}, received {received} ({path}): install the package again"
            )
        return load_file(path)
