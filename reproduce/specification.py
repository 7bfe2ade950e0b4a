"""What one run is: everything that decides its numbers, and its name."""

from __future__ import annotations

import dataclasses
import hashlib
import json
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
        Name in `ppn_tf.models`, or ``trivial:NAME`` from `ppn_tf.trivial`.
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

    @property
    def trivial(self) -> str | None:
        """Name of the trivial predictor, None for a network."""
        prefix, _, name = self.model.partition(":")
        return name if prefix == "trivial" else None

    @property
    def method(self) -> str:
        """Network and its options, as tables name them."""
        options = ",".join(f"{name}={value}" for name, value in self.options)
        return f"{self.model}[{options}]" if options else self.model

    def to_dict(self) -> dict[str, Any]:
        """Return all that the name stands for, as plain values."""
        values = dataclasses.asdict(self)
        values["options"] = dict(self.options)
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
        parts = [self.model, *(f"{name}={value}" for name, value in self.options)]
        if self.training.loss != "mse":
            parts.append(self.training.loss)
        if self.train_size is not None:
            parts.append(f"{self.train_size} patches")
        parts += [self.transform, f"jitter {self.jitter_px} px", f"noise {self.noise}"]
        return ", ".join([*parts, f"seed {self.seed}"])


def digest(value: Any) -> str:
    """Return the SHA-256 of a value's canonical JSON."""
    text = json.dumps(value, sort_keys=True, separators=(",", ":"), allow_nan=False)
    return hashlib.sha256(text.encode()).hexdigest()
