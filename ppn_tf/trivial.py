"""Predictors without a network: what a number must beat to mean anything.

``constant``
    The mean value of the training targets, for every pixel.
``mean-image``
    The mean training patch: a constant per pixel.
``nearest``
    The targets of the training pattern nearest in input space.
``ridge``
    Linear regression with a penalty chosen on the validation part.

All work on scaled inputs and on targets on the [0, 1] scale, in float64, with
NumPy alone.
"""

from __future__ import annotations

import dataclasses

import numpy as np

from ppn_tf.errors import DataError, OptionError

#: Penalties tried by `predict`, relative to the mean eigenvalue of the input
#: covariance: linear and log1p inputs differ in it by orders of magnitude.
RELATIVE_PENALTIES = (1e-8, 1e-7, 1e-6, 1e-5, 1e-4, 1e-3, 1e-2, 1e-1, 1.0, 10.0)

_NAMES = ("constant", "mean-image", "nearest", "ridge")

#: Distances computed at once by `nearest`: 32 MiB of float64.
_BATCH_VALUES = 1 << 22


def available() -> list[str]:
    """Return the names that `predict` knows."""
    return list(_NAMES)


def predict(
    name: str,
    train_inputs: np.ndarray,
    train_amplitude: np.ndarray,
    train_phase: np.ndarray,
    validation_inputs: np.ndarray,
    validation_amplitude: np.ndarray,
    validation_phase: np.ndarray,
    test_inputs: np.ndarray,
) -> tuple[np.ndarray, np.ndarray]:
    """Fit a trivial predictor and return its amplitude and phase patches.

    Parameters
    ----------
    name : str
        One of `available`.
    train_inputs, validation_inputs, test_inputs : (N, H, W) or (N, H, W, 1) float
        Scaled diffraction patterns. Only ``"ridge"`` looks at the validation
        part, to choose its penalty for each channel.
    train_amplitude, train_phase, validation_amplitude, validation_phase :
        (N, H, W) or (N, H, W, 1) float
        Targets on the [0, 1] scale.

    Returns
    -------
    amplitude, phase : (N_test, H, W) float32

    Raises
    ------
    OptionError
        For an unknown name.
    DataError
        For empty or unfit arrays, NaN or infinity.
    """
    if name not in _NAMES:
        raise OptionError(f"unknown predictor {name!r}: expected one of {', '.join(_NAMES)}")
    inputs = _stack(train_inputs, "train_inputs")
    test = _like(_stack(test_inputs, "test_inputs"), inputs, "test_inputs")
    targets = [
        _paired(values, inputs, label)
        for label, values in (("train_amplitude", train_amplitude), ("train_phase", train_phase))
    ]
    if name == "constant":
        found = [np.full((len(test), *t.shape[1:]), constant(t)) for t in targets]
    elif name == "mean-image":
        found = [np.repeat(mean_image(t)[None], len(test), axis=0) for t in targets]
    elif name == "nearest":
        index = nearest(inputs, test)
        found = [t[index] for t in targets]
    else:
        held_out = (validation_inputs, validation_amplitude, validation_phase)
        found = _chosen_ridge(inputs, targets, *_checked_validation(inputs, *held_out), test)
    return found[0].astype(np.float32), found[1].astype(np.float32)


def constant(train_targets: np.ndarray) -> float:
    """Return the mean value of all pixels of the training targets.

    Parameters
    ----------
    train_targets : (N, H, W) or (N, H, W, 1) float
        One channel.

    Returns
    -------
    float

    Raises
    ------
    DataError
        For empty or unfit arrays, NaN or infinity.
    """
    return float(_stack(train_targets, "train_targets").mean())


def mean_image(train_targets: np.ndarray) -> np.ndarray:
    """Return the mean of the training targets of one channel.

    Parameters
    ----------
    train_targets : (N, H, W) or (N, H, W, 1) float

    Returns
    -------
    (H, W) float64

    Raises
    ------
    DataError
        For empty or unfit arrays, NaN or infinity.
    """
    return _stack(train_targets, "train_targets").mean(axis=0)


def nearest(train_inputs: np.ndarray, test_inputs: np.ndarray) -> np.ndarray:
    """Return which training pattern is nearest to each test pattern.

    Parameters
    ----------
    train_inputs, test_inputs : (N, H, W) or (N, H, W, 1) float
        Scaled patterns; distance is the Euclidean norm over all pixels.

    Returns
    -------
    (N_test,) int64
        Index of the training pattern; the first one of equals.

    Raises
    ------
    DataError
        For empty or unfit arrays, NaN or infinity.
    """
    train = _stack(train_inputs, "train_inputs")
    test = _like(_stack(test_inputs, "test_inputs"), train, "test_inputs")
    train, test = train.reshape(len(train), -1), test.reshape(len(test), -1)
    # about the mean: |a - b|^2 = |a|^2 - 2 ab + |b|^2 loses digits far from the origin
    centre = train.mean(axis=0)
    train, test = train - centre, test - centre
    lengths = np.sum(train**2, axis=1)
    found = np.empty(len(test), dtype=np.int64)
    step = max(1, _BATCH_VALUES // len(train))
    for start in range(0, len(test), step):
        part = slice(start, start + step)
        found[part] = np.argmin(lengths - 2.0 * (test[part] @ train.T), axis=1)
    return found


@dataclasses.dataclass(frozen=True, eq=False)
class Ridge:
    """A fitted linear map from pattern to patch.

    Attributes
    ----------
    coefficients : (D, P) float64
        D input pixels, P target pixels.
    input_mean : (D,) float64
    target_mean : (P,) float64
    target_shape : (int, int)
    """

    coefficients: np.ndarray
    input_mean: np.ndarray
    target_mean: np.ndarray
    target_shape: tuple[int, int]

    def __call__(self, inputs: np.ndarray) -> np.ndarray:
        """Return the (N, h, w) float64 predictions for (N, H, W) inputs."""
        values = _stack(inputs, "inputs")
        flat = values.reshape(len(values), -1)
        if flat.shape[1] != len(self.input_mean):
            raise DataError(
                f"inputs must have {len(self.input_mean)} pixels as in training, "
                f"received shape {values.shape}"
            )
        predicted = (flat - self.input_mean) @ self.coefficients + self.target_mean
        return predicted.reshape(len(values), *self.target_shape)


def ridge(train_inputs: np.ndarray, train_targets: np.ndarray, alpha: float) -> Ridge:
    """Fit ridge regression in closed form.

    Minimises ``sum |Y - X B|^2 + alpha |B|^2`` over the deviations X, Y from
    the training means, so that the offset carries no penalty.

    Parameters
    ----------
    train_inputs, train_targets : (N, H, W) or (N, H, W, 1) float
        Scaled patterns, and one channel of targets.
    alpha : float
        Penalty, in squared units of the input.

    Returns
    -------
    Ridge

    Raises
    ------
    OptionError
        For an alpha that is not positive.
    DataError
        For empty or unfit arrays, NaN or infinity.

    References
    ----------
    .. [1] A. E. Hoerl and R. W. Kennard, Technometrics 12, 55 (1970),
       doi:10.1080/00401706.1970.10488634
    """
    if not (np.isfinite(alpha) and alpha > 0):
        raise OptionError(f"alpha must be a positive number, received {alpha!r}")
    inputs = _stack(train_inputs, "train_inputs")
    return _Solver(inputs).fit(_paired(train_targets, inputs, "train_targets"), alpha)


class _Solver:
    """One eigendecomposition of the inputs that serves all penalties and targets."""

    def __init__(self, inputs: np.ndarray) -> None:
        flat = inputs.reshape(len(inputs), -1)
        self.mean = flat.mean(axis=0)
        centred = flat - self.mean
        # the smaller of X^T X and X X^T: both have the same non-zero eigenvalues
        primal = flat.shape[0] >= flat.shape[1]
        values, vectors = np.linalg.eigh(centred.T @ centred if primal else centred @ centred.T)
        self.values = np.maximum(values, 0.0)
        # a constant input has no eigenvalues to be relative to
        self.scale = float(self.values.sum()) / flat.shape[1] or 1.0
        # coefficients = basis @ (projection @ targets / (values + alpha))
        self.basis = vectors if primal else centred.T @ vectors
        self.projection = vectors.T @ centred.T if primal else vectors.T

    def project(self, targets: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Return the targets' mean and their deviations along the eigenvectors."""
        flat = targets.reshape(len(targets), -1)
        mean = flat.mean(axis=0)
        return mean, self.projection @ (flat - mean)

    def fit(self, targets: np.ndarray, alpha: float) -> Ridge:
        mean, projected = self.project(targets)
        coefficients = self.basis @ (projected / (self.values + alpha)[:, None])
        return Ridge(coefficients, self.mean, mean, targets.shape[1:])


def _chosen_ridge(
    inputs: np.ndarray,
    targets: list[np.ndarray],
    validation: np.ndarray,
    validation_targets: list[np.ndarray],
    test: np.ndarray,
) -> list[np.ndarray]:
    solver = _Solver(inputs)
    seen = (validation.reshape(len(validation), -1) - solver.mean) @ solver.basis
    found = []
    for target, truth in zip(targets, validation_targets, strict=True):
        mean, projected = solver.project(target)
        wanted = truth.reshape(len(truth), -1) - mean
        alphas = [share * solver.scale for share in RELATIVE_PENALTIES]
        errors = [
            np.mean((seen / (solver.values + alpha) @ projected - wanted) ** 2) for alpha in alphas
        ]
        found.append(solver.fit(target, alphas[int(np.argmin(errors))])(test))
    return found


def _checked_validation(
    inputs: np.ndarray, patterns: np.ndarray, amplitude: np.ndarray, phase: np.ndarray
) -> tuple[np.ndarray, list[np.ndarray]]:
    patterns = _like(_stack(patterns, "validation_inputs"), inputs, "validation_inputs")
    return patterns, [
        _paired(amplitude, patterns, "validation_amplitude"),
        _paired(phase, patterns, "validation_phase"),
    ]


def _stack(values: np.ndarray, name: str) -> np.ndarray:
    values = np.asarray(values)
    if values.ndim == 4 and values.shape[-1] == 1:
        values = values[..., 0]
    if values.ndim != 3 or values.size == 0:
        raise DataError(f"{name} must be (N, H, W) with N of at least 1, received {values.shape}")
    values = values.astype(np.float64)
    if not np.isfinite(values).all():
        raise DataError(f"{name} has NaN or infinite values")
    return values


def _like(values: np.ndarray, reference: np.ndarray, name: str) -> np.ndarray:
    if values.shape[1:] != reference.shape[1:]:
        raise DataError(
            f"{name} must have patches of {reference.shape[1:]} as train_inputs, "
            f"received {values.shape}"
        )
    return values


def _paired(values: np.ndarray, inputs: np.ndarray, name: str) -> np.ndarray:
    values = _stack(values, name)
    if len(values) != len(inputs):
        raise DataError(
            f"{name} must have one patch for each of {len(inputs)} patterns, received {len(values)}"
        )
    return values
