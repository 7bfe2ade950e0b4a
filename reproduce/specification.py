"""What one run is: everything that decides its numbers, and its name."""

from __future__ import annotations

import dataclasses
import hashlib
import json
from pathlib import PurePath
from typing import Any

from ppn_tf.data.forward import NOISE_MODELS
from ppn_tf.numerics import NUMERICS_VERSION
from ppn_tf.training import TrainingConfig


@dataclasses.dataclass(frozen=True)
class RunSpec:
    """One training (or fit of a trivial predictor) and its evaluation.

    Attributes
    ----------
    model : str
        Name in `ppn_tf.models`, ``trivial:NAME`` from `ppn_tf.trivial`, or
        ``custom:SOURCE@SHA256``: a network of `reproduce.added` and the checksum of
        its file, so that a changed network is another run.
    seed : int
        Decides validation split, batch order, jitter, noise, and initial weights.
    training : TrainingConfig
    options : tuple of (str, value)
        Options of the network that differ from its defaults.
    object_name : str
        ``"ltem"`` or ``"stand-in"``.
    transform : str
        Input transform, ``"linear"`` or ``"log1p"``.
    jitter_px : int
        Largest displacement of a scan position.
    noise : str
        Name in `ppn_tf.data.forward.NOISE_MODELS`, in training and test.
    train_size : int or None
        Patches that train and validate together; None for all 2928.
    evaluation : str
        ``"full"``, or ``"rows"`` for the test rows alone (smoke and quick profiles).
    epoch_patches : int or None
        Patches that one epoch goes through, repeating the training patches as often as
        that takes; None for every training patch once.
    """

    model: str
    seed: int
    training: TrainingConfig
    options: tuple[tuple[str, Any], ...] = ()
    object_name: str = "ltem"
    transform: str = "log1p"
    jitter_px: int = 0
    noise: str = "none"
    train_size: int | None = None
    evaluation: str = "full"
    epoch_patches: int | None = None

    @property
    def trivial(self) -> str | None:
        """Name of the trivial predictor, None for a network."""
        prefix, _, name = self.model.partition(":")
        return name if prefix == "trivial" else None

    @property
    def custom(self) -> bool:
        """Whether the network is a developer's own."""
        return self.model.startswith("custom:")

    @property
    def name(self) -> str:
        """Network as people read it: without folder and checksum where it is their own."""
        if not self.custom:
            return self.model
        return PurePath(self.model.removeprefix("custom:").rpartition("@")[0]).name

    @property
    def method(self) -> str:
        """Network and its options, as tables name them."""
        options = ",".join(f"{name}={value}" for name, value in self.options)
        return f"{self.name}[{options}]" if options else self.name

    def to_dict(self) -> dict[str, Any]:
        """Return all that the name stands for, as plain values."""
        values = dataclasses.asdict(self)
        values["options"] = dict(self.options)
        if self.custom:
            # where its file lies says nothing about the network
            values["model"] = f"custom:{self.name}@{self.model.rpartition('@')[2]}"
        if self.epoch_patches is None:
            # runs from before this field keep their names
            del values["epoch_patches"]
        # the numbers behind the name, so that a changed noise model is another run
        values["noise"] = dataclasses.asdict(NOISE_MODELS[self.noise])
        values["numerics_version"] = NUMERICS_VERSION
        return values

    @property
    def hash(self) -> str:
        """Name of the run: 16 hexadecimal digits of the SHA-256 of `to_dict`."""
        return digest(self.to_dict())[:16]

    @property
    def label(self) -> str:
        """Short name for people."""
        parts = [self.name, *(f"{name}={value}" for name, value in self.options)]
        if self.training.loss != "mse":
            parts.append(self.training.loss)
        if self.train_size is not None:
            parts.append(f"{self.train_size} patches")
        if self.epoch_patches is not None:
            parts.append(f"repeated to {self.epoch_patches} an epoch")
        parts += [self.transform, f"jitter {self.jitter_px} px", f"noise {self.noise}"]
        return ", ".join([*parts, f"seed {self.seed}"])


def digest(value: Any) -> str:
    """Return the SHA-256 of a value's canonical JSON."""
    text = json.dumps(value, sort_keys=True, separators=(",", ":"), allow_nan=False)
    return hashlib.sha256(text.encode()).hexdigest()
