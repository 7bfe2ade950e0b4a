"""The networks: a registry of names, and one way to create them."""

from __future__ import annotations

from typing import Any

import keras

from ppn_tf.errors import OptionError
from ppn_tf.layers.scaling import PatternScaling, TargetScaling
from ppn_tf.models import (
    dpi,
    ppn,
    ppn_released,
    ptychoformer,
    ptychonn,
    ptynet,
    segformer,
    transunet,
)
from ppn_tf.models.files import load_file, save_file
from ppn_tf.models.spec import ModelSpec
from ppn_tf.models.trained_models import TRAINED, TrainedModel, load, trained
from ppn_tf.scaling import Scaling

__all__ = [
    "TRAINED",
    "ModelSpec",
    "TrainedModel",
    "available",
    "create",
    "load",
    "load_file",
    "save_file",
    "spec",
    "trained",
]

_SPECS = {
    module.SPEC.name: module.SPEC
    for module in (
        ppn,
        ppn_released,
        ptychonn,
        ptynet,
        dpi,
        ptychoformer,
        segformer,
        transunet,
    )
}


def available() -> list[str]:
    """Return the names that `create` takes."""
    return list(_SPECS)


def spec(name: str) -> ModelSpec:
    """Return what the network `name` declares about itself.

    Raises
    ------
    OptionError
        If there is no such network.
    """
    if name not in _SPECS:
        raise OptionError(f"unknown model {name!r}: expected one of {', '.join(_SPECS)}")
    return _SPECS[name]


def create(
    name: str,
    input_shape: tuple[int, int, int] = (32, 32, 1),
    *,
    scaling: Scaling | None = None,
    **options: Any,
) -> keras.Model:
    """Create an untrained network.

    Parameters
    ----------
    name : str
        One of `available`.
    input_shape : (H, W, 1)
        Shape of one pattern in pixels; sides are multiples of the network's
        ``side_multiple``.
    scaling : Scaling, optional
        With it the network takes raw counts and remembers the physical range of
        its outputs, also after saving; without it, it takes scaled patterns.
    **options
        Options of the network, see ``spec(name).options``.

    Returns
    -------
    keras.Model
        From (B, H, W, 1) to ``{"amplitude": (B, H, W, 1), "phase": (B, H, W, 1)}``,
        both on the [0, 1] target scale, not clipped.

    Raises
    ------
    OptionError
        For an unknown network or option, or a side that the network does not take.
    """
    chosen = spec(name)
    _check_options(chosen, options)
    _check_shape(chosen, input_shape)
    inputs = keras.Input(input_shape, name="pattern")
    scaled = inputs
    if scaling is not None:
        scaled = PatternScaling(scaling.transform, *scaling.input_range, name="pattern_scaling")(
            inputs
        )
    amplitude, phase = chosen.build(scaled, **options)
    if scaling is not None:
        amplitude = TargetScaling(*scaling.amplitude_range, name="amplitude_scaling")(amplitude)
        phase = TargetScaling(
            *scaling.phase_range_rad, unit="rad", zero=scaling.phase_zero, name="phase_scaling"
        )(phase)
    return keras.Model(inputs, {"amplitude": amplitude, "phase": phase}, name=name)


def _check_options(chosen: ModelSpec, options: dict[str, Any]) -> None:
    for option, value in options.items():
        if option not in chosen.options:
            known = ", ".join(chosen.options) or "none"
            raise OptionError(
                f"model {chosen.name!r} has no option {option!r}: its options are {known}"
            )
        if value not in chosen.options[option]:
            allowed = ", ".join(map(repr, chosen.options[option]))
            raise OptionError(
                f"option {option!r} of model {chosen.name!r} must be one of {allowed}, "
                f"received {value!r}"
            )


def _check_shape(chosen: ModelSpec, shape: tuple[int, ...]) -> None:
    if len(shape) != 3 or shape[2] != 1:
        raise OptionError(f"input_shape must be (height, width, 1), received {tuple(shape)}")
    multiple = chosen.side_multiple
    if any(side < multiple or side % multiple for side in shape[:2]):
        raise OptionError(
            f"model {chosen.name!r} takes sides that are multiples of {multiple} px, received "
            f"{shape[0]} x {shape[1]} px: crop or bin the patterns first"
        )
    limit = chosen.max_side
    if limit is not None and max(shape[:2]) > limit:
        raise OptionError(
            f"model {chosen.name!r} takes sides of at most {limit} px, received "
            f"{shape[0]} x {shape[1]} px: its fully connected layer would not fit in memory"
        )
