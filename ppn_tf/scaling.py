"""How raw counts become network input and network output becomes an object."""

from __future__ import annotations

import dataclasses
from typing import Any

import numpy as np

from ppn_tf.errors import DataError, OptionError

#: Input transforms: raw intensity, and the paper's logarithm (section III-B).
#: The paper gives neither base nor offset; log1p is defined at zero counts.
TRANSFORMS = ("linear", "log1p")

#: What the phase of a patch counts from: the object's own zero, as in the paper, or the
#: mean phase that the probe's light sees in the window. A pattern holds the second alone.
PHASE_ZEROS = ("object", "light")


def check_phase_zero(phase_zero: str) -> None:
    """Refuse what is none of `PHASE_ZEROS`.

    Raises
    ------
    OptionError
        With what was expected.
    """
    if phase_zero not in PHASE_ZEROS:
        raise OptionError(
            f"unknown phase_zero {phase_zero!r}: expected one of {', '.join(PHASE_ZEROS)}"
        )


@dataclasses.dataclass(frozen=True)
class Scaling:
    """Input transform and target ranges, fitted on training patches only.

    Attributes
    ----------
    transform : str
        ``"linear"`` or ``"log1p"``, applied to raw counts.
    input_range : (float, float)
        Values after the transform that map to 0 and 1.
    amplitude_range : (float, float)
        Object amplitudes that map to 0 and 1.
    phase_range_rad : (float, float)
        Object phases in radians that map to 0 and 1.
    phase_zero : {"object", "light"}
        What phases count from, see `PHASE_ZEROS`.
    """

    transform: str
    input_range: tuple[float, float]
    amplitude_range: tuple[float, float]
    phase_range_rad: tuple[float, float]
    phase_zero: str = "object"

    def __post_init__(self) -> None:
        if self.transform not in TRANSFORMS:
            raise OptionError(
                f"unknown input transform {self.transform!r}: expected one of "
                f"{', '.join(TRANSFORMS)}"
            )
        check_phase_zero(self.phase_zero)
        for name in ("input_range", "amplitude_range", "phase_range_rad"):
            low, high = (float(value) for value in getattr(self, name))
            if not (np.isfinite(low) and np.isfinite(high) and high > low):
                raise DataError(
                    f"{name} must be two finite numbers, the first below the second, "
                    f"received {(low, high)}: are the training patches constant?"
                )
            object.__setattr__(self, name, (low, high))

    @classmethod
    def fit(
        cls, patterns: np.ndarray, amplitude: np.ndarray, phase_rad: np.ndarray, transform: str
    ) -> Scaling:
        """Fit the ranges to arrays of training patches, by minimum and maximum."""
        if transform not in TRANSFORMS:
            raise OptionError(
                f"unknown input transform {transform!r}: expected one of {', '.join(TRANSFORMS)}"
            )
        ends = np.array([patterns.min(), patterns.max()], dtype=np.float64)
        if transform == "log1p":
            ends = np.log1p(ends)
        return cls(
            transform,
            (float(ends[0]), float(ends[1])),
            (float(amplitude.min()), float(amplitude.max())),
            (float(phase_rad.min()), float(phase_rad.max())),
        )

    def target_amplitude(self, amplitude: np.ndarray) -> np.ndarray:
        """Map object amplitude to the [0, 1] target scale, float32."""
        return _to_unit(amplitude, self.amplitude_range)

    def target_phase(self, phase_rad: np.ndarray) -> np.ndarray:
        """Map object phase in radians to the [0, 1] target scale, float32."""
        return _to_unit(phase_rad, self.phase_range_rad)

    def to_dict(self) -> dict[str, Any]:
        """Return plain values for JSON and for layer configurations."""
        return dataclasses.asdict(self)

    @classmethod
    def from_dict(cls, values: dict[str, Any]) -> Scaling:
        """Rebuild a `Scaling` from `to_dict`, tuples or lists alike."""
        return cls(
            values["transform"],
            tuple(values["input_range"]),
            tuple(values["amplitude_range"]),
            tuple(values["phase_range_rad"]),
            # records from before there was a choice
            values.get("phase_zero", "object"),
        )


def _to_unit(values: np.ndarray, ends: tuple[float, float]) -> np.ndarray:
    low, high = ends
    return ((np.asarray(values, dtype=np.float64) - low) / (high - low)).astype(np.float32)
