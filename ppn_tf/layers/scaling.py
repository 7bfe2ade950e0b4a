"""Layers that carry the scaling of input and targets in a model's configuration."""

from __future__ import annotations

from typing import Any

import keras
from keras import ops

from ppn_tf.errors import OptionError
from ppn_tf.scaling import TRANSFORMS, check_phase_zero


@keras.saving.register_keras_serializable("ppn_tf")
class PatternScaling(keras.layers.Layer):
    """Map raw counts to the network's input range; it has no weights.

    Parameters
    ----------
    transform : str
        ``"linear"`` or ``"log1p"`` (natural logarithm of 1 + counts).
    low, high : float
        Values after the transform that map to 0 and 1.

    Notes
    -----
    Call arguments: inputs of any shape, raw counts. Returns the same shape.
    """

    def __init__(self, transform: str, low: float, high: float, **kwargs: Any) -> None:
        # counts span seven decades: half precision would lose the faint pixels
        kwargs.setdefault("dtype", "float32")
        super().__init__(**kwargs)
        if transform not in TRANSFORMS:
            raise OptionError(
                f"unknown input transform {transform!r}: expected one of {', '.join(TRANSFORMS)}"
            )
        if not high > low:
            raise OptionError(f"low must be below high, received low={low}, high={high}")
        self.transform = transform
        self.low = float(low)
        self.high = float(high)

    def call(self, inputs: Any) -> Any:
        """Transform and scale raw counts."""
        x = ops.log1p(inputs) if self.transform == "log1p" else inputs
        return (x - self.low) / (self.high - self.low)

    def compute_output_shape(self, input_shape: tuple[int | None, ...]) -> tuple[int | None, ...]:
        """Return the input's shape."""
        return input_shape

    def get_config(self) -> dict[str, Any]:
        """Return the constructor's arguments."""
        return {
            **super().get_config(),
            "transform": self.transform,
            "low": self.low,
            "high": self.high,
        }


@keras.saving.register_keras_serializable("ppn_tf")
class TargetScaling(keras.layers.Layer):
    """Remember which physical values the output values 0 and 1 stand for.

    The layer returns its input: training happens on the [0, 1] target scale.

    Parameters
    ----------
    low, high : float
        Physical values at 0 and 1.
    unit : str
        Unit of `low` and `high`, such as ``"rad"``.
    zero : {"object", "light"}
        What phases count from, see `ppn_tf.scaling.PHASE_ZEROS`.
    """

    def __init__(
        self, low: float, high: float, unit: str = "", zero: str = "object", **kwargs: Any
    ) -> None:
        kwargs.setdefault("dtype", "float32")
        super().__init__(**kwargs)
        if not high > low:
            raise OptionError(f"low must be below high, received low={low}, high={high}")
        check_phase_zero(zero)
        self.low = float(low)
        self.high = float(high)
        self.unit = unit
        self.zero = zero

    def call(self, inputs: Any) -> Any:
        """Return the inputs unchanged."""
        return inputs

    def to_physical(self, values: Any) -> Any:
        """Map an array on the [0, 1] target scale to physical values."""
        return self.low + values * (self.high - self.low)

    def compute_output_shape(self, input_shape: tuple[int | None, ...]) -> tuple[int | None, ...]:
        """Return the input's shape."""
        return input_shape

    def get_config(self) -> dict[str, Any]:
        """Return the constructor's arguments."""
        values = {name: getattr(self, name) for name in ("low", "high", "unit", "zero")}
        return {**super().get_config(), **values}
