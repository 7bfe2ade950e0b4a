"""The paper's objective of ptychographic retrieval (Eq. (3)), with its gradient.

The formula itself is lost from the text that we have; its symbols are explained:
the squared Euclidean norm of a residual, a term that "enforces sparsity in the object
gradient", one that keeps the probe near an initial estimate, and two weights. Our
reading::

    sum_j ||I_j - |F(P O_j)|^2||^2 + sparsity_weight ||grad O||_1
        + proximity_weight ||P - P_0||^2

with forward differences along both axes in the gradient. ``data="amplitude"`` compares
moduli in place of intensities. The paper names this objective; none of its experiments
uses it.
"""

from __future__ import annotations

import dataclasses

import numpy as np

from ppn_tf.data import forward
from ppn_tf.errors import DataError, OptionError

DATA_TERMS = ("intensity", "amplitude")


@dataclasses.dataclass(frozen=True)
class Objective:
    """The terms of Eq. (3), weights included.

    Attributes
    ----------
    data : float
        Squared residual of the patterns [counts squared, or counts for moduli].
    sparsity : float
    proximity : float
    """

    data: float
    sparsity: float
    proximity: float

    @property
    def total(self) -> float:
        """Sum of the three terms."""
        return self.data + self.sparsity + self.proximity


@dataclasses.dataclass(frozen=True)
class Weights:
    """What turns the three terms into one objective.

    Attributes
    ----------
    sparsity, proximity : float
        Weights of gradient sparsity and probe proximity, at least 0.
    data : {"intensity", "amplitude"}
    """

    sparsity: float = 0.0
    proximity: float = 0.0
    data: str = "intensity"

    def __post_init__(self) -> None:
        for name in ("sparsity", "proximity"):
            value = getattr(self, name)
            if not (np.isfinite(value) and value >= 0):
                raise OptionError(f"the weight {name} must be at least 0, received {value}")
        if self.data not in DATA_TERMS:
            raise OptionError(
                f"unknown data term {self.data!r}: expected one of {', '.join(DATA_TERMS)}"
            )


def objective(
    obj: np.ndarray,
    probe: np.ndarray,
    patterns: np.ndarray,
    positions_px: np.ndarray,
    *,
    initial_probe: np.ndarray | None = None,
    weights: Weights | None = None,
) -> Objective:
    """Return the terms of Eq. (3).

    Parameters
    ----------
    obj : (rows, cols) complex
    probe : (H, H) complex
    patterns : (N, H, H) real
        Counts, at least 0.
    positions_px : (N, 2) integer
        Row and column of the top-left corners.
    initial_probe : (H, H) complex, optional
        P_0; needed where its weight is not 0.
    weights : Weights, optional
        Default: the data term alone.

    Returns
    -------
    Objective

    Raises
    ------
    DataError
        For shapes that disagree, counts that are negative or not finite, a missing
        `initial_probe`, and as in `ppn_tf.data.forward.exit_waves`.
    """
    weights = weights or Weights()
    obj, probe = _double(obj), _double(probe)
    fields = _fields(obj, probe, patterns, positions_px)
    residual = _residual(fields, patterns, weights)
    sparsity = sum(float(np.abs(np.diff(obj, axis=axis)).sum()) for axis in (0, 1))
    away = _away(probe, initial_probe, weights)
    return Objective(
        float((residual**2).sum()),
        weights.sparsity * sparsity,
        weights.proximity * float((np.abs(away) ** 2).sum()),
    )


def gradient(
    obj: np.ndarray,
    probe: np.ndarray,
    patterns: np.ndarray,
    positions_px: np.ndarray,
    *,
    initial_probe: np.ndarray | None = None,
    weights: Weights | None = None,
) -> tuple[np.ndarray, np.ndarray]:
    """Return the gradient of `objective` with respect to object and probe.

    Parameters
    ----------
    obj, probe, patterns, positions_px, initial_probe, weights
        As for `objective`, which lists what it raises.

    Returns
    -------
    (rows, cols) complex128, (H, H) complex128
        ``g`` such that a small step d changes the total by ``Re sum conj(g) d``. Where
        the modulus in a term is 0, its slope counts as 0.
    """
    weights = weights or Weights()
    obj, probe = _double(obj), _double(probe)
    fields = _fields(obj, probe, patterns, positions_px)
    residual = _residual(fields, patterns, weights)
    slope = 4 * residual * fields if weights.data == "intensity" else 2 * residual * _sign(fields)
    waves = forward.far_field_adjoint(slope)
    by_object = forward.exit_waves_adjoint(waves, probe, positions_px, obj.shape)
    windows = forward.extract_patches(obj, probe.shape, positions_px)
    by_probe = (np.conj(windows) * waves).sum(axis=0)
    for axis in (0, 1):
        direction = weights.sparsity * _sign(np.diff(obj, axis=axis))
        edge = [(1, 1) if other == axis else (0, 0) for other in (0, 1)]
        by_object -= np.diff(np.pad(direction, edge), axis=axis)
    return by_object, by_probe + 2 * weights.proximity * _away(probe, initial_probe, weights)


def _double(values: np.ndarray) -> np.ndarray:
    values = np.asarray(values)
    return values.astype(np.complex128) if np.iscomplexobj(values) else values


def _fields(
    obj: np.ndarray, probe: np.ndarray, patterns: np.ndarray, positions_px: np.ndarray
) -> np.ndarray:
    fields = forward.far_field(forward.exit_waves(obj, probe, positions_px))
    patterns = np.asarray(patterns)
    if patterns.shape != fields.shape or not np.isrealobj(patterns):
        raise DataError(
            f"patterns must be real with the shape (N, H, H) = {fields.shape} of positions and "
            f"probe, received {patterns.dtype} {patterns.shape}"
        )
    if not (np.isfinite(patterns).all() and patterns.min() >= 0):
        raise DataError("patterns must be finite counts of at least 0: mask or repair them")
    return fields


def _residual(fields: np.ndarray, patterns: np.ndarray, weights: Weights) -> np.ndarray:
    measured = np.asarray(patterns, dtype=np.float64)
    if weights.data == "amplitude":
        return np.abs(fields) - np.sqrt(measured)
    return np.abs(fields) ** 2 - measured


def _away(probe: np.ndarray, initial_probe: np.ndarray | None, weights: Weights) -> np.ndarray:
    if weights.proximity == 0:
        return np.zeros_like(probe)
    if initial_probe is None or np.shape(initial_probe) != probe.shape:
        raise DataError(
            f"initial_probe must have the probe's shape {probe.shape} where the weight of "
            f"proximity is not 0, received "
            f"{None if initial_probe is None else np.shape(initial_probe)}"
        )
    return probe - initial_probe


def _sign(values: np.ndarray) -> np.ndarray:
    modulus = np.abs(values)
    return np.divide(values, modulus, out=np.zeros_like(values), where=modulus > 0)
