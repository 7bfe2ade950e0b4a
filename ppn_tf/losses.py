"""Losses of section V-B: MSE, MAE, Huber, NPCC, NSSIM and their combination.

Each applies to one output, amplitude or phase; training adds the two (Eq. 12). A loss has
one name, which is part of the name of a run:

``mse``, ``mae``
    Those of Keras.
``huber``, ``huber:DELTA``
    `Huber`, with its default delta of 1 or with another one.
``npcc``
    `NPCC`, negative Pearson correlation coefficient of each image.
``nssim``
    `NSSIM`, 1 - SSIM.
``combined:WEIGHT``
    `Combined`, WEIGHT NSSIM + (1 - WEIGHT) MSE with 0 < WEIGHT < 1.

The paper does not say which term its alpha weights. If it weights NSSIM, as in the work that
it builds on [1]_, alpha is WEIGHT; if it weights MSE, alpha is 1 - WEIGHT. The two readings
are mirror images of one family of losses, hence one name.

References
----------
.. [1] H. Zhao et al., IEEE Trans. Comput. Imaging 3, 47 (2017), doi:10.1109/TCI.2016.2644865
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import keras
import numpy as np
from keras import ops

from ppn_tf.errors import DataError, OptionError

__all__ = ["NPCC", "NSSIM", "Combined", "Huber", "available", "create"]

#: Axes of an image in (B, H, W, C).
_IMAGE = (1, 2, 3)


@keras.saving.register_keras_serializable("ppn_tf")
class Huber(keras.losses.Loss):
    """Quadratic for errors up to `delta`, linear beyond [1]_.

    ``e^2 / 2`` where ``|e| <= delta``, else ``delta |e| - delta^2 / 2``.

    Parameters
    ----------
    delta : float
        On the target scale. The paper gives none; 1 is the default of TensorFlow, which the
        paper used. Targets lie in [0, 1]: with predictions in [0, 1] no error exceeds 1, and
        the loss with delta 1 is half the MSE, exactly. It then differs from MSE only where
        the size of a loss counts: Adam's epsilon and the plateau rule's smallest change.

    Notes
    -----
    The values are those of ``keras.losses.huber``. The class of that name in Keras 3.15
    leaves delta out of its configuration, so that a saved model comes back with delta 1.

    References
    ----------
    .. [1] P. J. Huber, Ann. Math. Stat. 35, 73 (1964), doi:10.1214/aoms/1177703732
    """

    def __init__(self, delta: float = 1.0, name: str = "huber", **kwargs: Any) -> None:
        super().__init__(name=name, **kwargs)
        if not 0 < delta < math.inf:
            raise OptionError(f"Huber's delta must be positive and finite, received {delta}")
        self.delta = float(delta)

    def call(self, y_true: Any, y_pred: Any) -> Any:
        """Return the loss averaged over the last axis."""
        return keras.losses.huber(y_true, y_pred, self.delta)

    def get_config(self) -> dict[str, Any]:
        """Return the constructor's arguments."""
        return {**super().get_config(), "delta": self.delta}


@keras.saving.register_keras_serializable("ppn_tf")
class NPCC(keras.losses.Loss):
    """Negative Pearson correlation coefficient of prediction and target, image by image.

    ``-cov(x, y) / sqrt((var x + epsilon) (var y + epsilon))`` over the pixels of one patch,
    averaged over the batch: -1 is best. It does not change when a prediction is multiplied
    by a positive number or shifted: gain and offset of every patch stay undetermined, and a
    patch whose target is constant gives neither loss nor gradient.

    Parameters
    ----------
    epsilon : float
        Keeps loss and gradient finite for constant images; 1e-8 is the variance of an image
        with standard deviation 1e-4.

    References
    ----------
    .. [1] S. Li et al., Optica 5, 803 (2018), doi:10.1364/OPTICA.5.000803
    """

    def __init__(self, epsilon: float = 1e-8, name: str = "npcc", **kwargs: Any) -> None:
        super().__init__(name=name, **kwargs)
        if not 0 < epsilon < math.inf:
            raise OptionError(f"NPCC's epsilon must be positive and finite, received {epsilon}")
        self.epsilon = float(epsilon)

    def call(self, y_true: Any, y_pred: Any) -> Any:
        """Return the loss of each image, (B,), from (B, H, W, C)."""
        _check_images(y_true, y_pred)
        x = y_pred - ops.mean(y_pred, axis=_IMAGE, keepdims=True)
        y = y_true - ops.mean(y_true, axis=_IMAGE, keepdims=True)
        variances = [ops.mean(ops.square(z), axis=_IMAGE) + self.epsilon for z in (x, y)]
        return -ops.mean(x * y, axis=_IMAGE) / ops.sqrt(variances[0] * variances[1])

    def get_config(self) -> dict[str, Any]:
        """Return the constructor's arguments."""
        return {**super().get_config(), "epsilon": self.epsilon}


@keras.saving.register_keras_serializable("ppn_tf")
class NSSIM(keras.losses.Loss):
    """One minus the structural similarity of prediction and target, image by image.

    Gaussian window of 11 x 11 px with sigma 1.5 px, population covariance, K1 = 0.01, K2 =
    0.03 [1]_, averaged over the windows that fit into the image (22 x 22 of them in 32 x 32
    px). 0 is best, 2 the worst. -SSIM has the same gradients. The metric,
    `ppn_tf.metrics.ssim`, has a uniform 7 x 7 window.

    Parameters
    ----------
    data_range : float
        Largest minus smallest possible value; 1 on the target scale.
    window_px : int
        Side of the window, odd.
    sigma_px : float
        Standard deviation of the window.

    References
    ----------
    .. [1] Z. Wang et al., IEEE Trans. Image Process. 13, 600 (2004),
       doi:10.1109/TIP.2003.819861
    """

    def __init__(
        self,
        data_range: float = 1.0,
        window_px: int = 11,
        sigma_px: float = 1.5,
        name: str = "nssim",
        **kwargs: Any,
    ) -> None:
        super().__init__(name=name, **kwargs)
        for option, value in (("data_range", data_range), ("sigma_px", sigma_px)):
            if not 0 < value < math.inf:
                raise OptionError(f"NSSIM's {option} must be positive and finite, received {value}")
        if not (isinstance(window_px, int) and window_px >= 3 and window_px % 2):
            raise OptionError(f"NSSIM's window_px must be odd and at least 3, received {window_px}")
        self.data_range = float(data_range)
        self.window_px = window_px
        self.sigma_px = float(sigma_px)

    def call(self, y_true: Any, y_pred: Any) -> Any:
        """Return the loss of each image, (B,), from (B, H, W, C)."""
        _check_images(y_true, y_pred)
        sides = [side for side in y_pred.shape[1:3] if side is not None]
        if min(sides, default=self.window_px) < self.window_px:
            raise DataError(
                f"NSSIM with a window of {self.window_px} px needs images at least as large, "
                f"received shape {tuple(y_pred.shape)}: choose a smaller window_px"
            )
        x, y = y_pred, y_true
        maps = ops.concatenate([x, y, ops.square(x) + ops.square(y), x * y], axis=-1)
        mean_x, mean_y, squares, product = ops.split(self._local_mean(maps), 4, axis=-1)
        means = mean_x * mean_y
        mean_squares = ops.square(mean_x) + ops.square(mean_y)
        c1, c2 = (0.01 * self.data_range) ** 2, (0.03 * self.data_range) ** 2
        similarity = (2.0 * means + c1) * (2.0 * (product - means) + c2)
        similarity = similarity / ((mean_squares + c1) * (squares - mean_squares + c2))
        return 1.0 - ops.mean(similarity, axis=_IMAGE)

    def _local_mean(self, x: Any) -> Any:
        # shifted sums, not a convolution or a matrix product: on a GPU those may round to
        # 10 bits (TF32), and the variance is a difference of nearly equal numbers
        offsets = np.arange(self.window_px) - self.window_px // 2
        weights = np.exp(-0.5 * (offsets / self.sigma_px) ** 2)
        last = self.window_px - 1
        for axis in (1, 2):
            terms = []
            for start, weight in enumerate(weights / weights.sum()):
                window = [slice(None)] * 4
                window[axis] = slice(start, (start - last) or None)
                terms.append(float(weight) * x[tuple(window)])
            x = sum(terms[1:], start=terms[0])
        return x

    def get_config(self) -> dict[str, Any]:
        """Return the constructor's arguments."""
        return {
            **super().get_config(),
            "data_range": self.data_range,
            "window_px": self.window_px,
            "sigma_px": self.sigma_px,
        }


@keras.saving.register_keras_serializable("ppn_tf")
class Combined(keras.losses.Loss):
    """Weighted sum of structural similarity and mean squared error.

    ``nssim_weight NSSIM + (1 - nssim_weight) MSE``, the terms as in `NSSIM` on the target
    scale and in Keras.

    Parameters
    ----------
    nssim_weight : float
        Between 0 and 1. See the module docstring for the paper's alpha.
    """

    def __init__(self, nssim_weight: float, name: str = "combined", **kwargs: Any) -> None:
        super().__init__(name=name, **kwargs)
        if not 0 < nssim_weight < 1:
            raise OptionError(
                f"the weight of NSSIM must lie between 0 and 1, received {nssim_weight}: "
                "the losses at the ends are 'mse' and 'nssim'"
            )
        self.nssim_weight = float(nssim_weight)
        self._nssim = NSSIM()

    def call(self, y_true: Any, y_pred: Any) -> Any:
        """Return the loss of each image, (B,), from (B, H, W, C)."""
        squared = ops.mean(ops.square(y_pred - y_true), axis=_IMAGE)
        structural = self._nssim.call(y_true, y_pred)
        return self.nssim_weight * structural + (1.0 - self.nssim_weight) * squared

    def get_config(self) -> dict[str, Any]:
        """Return the constructor's arguments."""
        return {**super().get_config(), "nssim_weight": self.nssim_weight}


#: Name to what Keras compiles: a name of its own, or a loss.
_NAMED: dict[str, Callable[[], keras.losses.Loss | str]] = {
    "mse": lambda: "mse",
    "mae": lambda: "mae",
    "huber": Huber,
    "npcc": NPCC,
    "nssim": NSSIM,
}
#: The same for names that a number follows, and what the number is.
_NUMBERED: dict[str, tuple[type[keras.losses.Loss], str]] = {
    "huber": (Huber, "DELTA"),
    "combined": (Combined, "WEIGHT"),
}


def available() -> list[str]:
    """Return the names that `create` takes; capitals stand for a number."""
    return [*_NAMED, *(f"{name}:{number}" for name, (_, number) in _NUMBERED.items())]


def create(text: str) -> keras.losses.Loss | str:
    """Return the loss of a name, as ``keras.Model.compile`` takes it.

    Parameters
    ----------
    text : str
        One of `available`, such as ``"mse"``, ``"huber:0.1"`` or ``"combined:0.9"``. Numbers
        are written the shortest way: the text is part of a run's name, and one loss shall
        have one name.

    Returns
    -------
    keras.losses.Loss or str
        A name where the loss is one of Keras's own.

    Raises
    ------
    OptionError
        For an unknown name, a missing, superfluous or unusable number, or a number or loss
        that has a shorter name.
    """
    name, colon, number = text.partition(":")
    if text in _NAMED:
        return _NAMED[text]()
    if not colon or name not in _NUMBERED:
        raise OptionError(f"unknown loss {text!r}: expected one of {', '.join(available())}")
    try:
        value = float(number)
    except ValueError:
        raise OptionError(f"loss {text!r}: expected a number after {name!r}") from None
    loss = _NUMBERED[name][0](value)
    shortest = "huber" if (name, value) == ("huber", 1.0) else f"{name}:{value:g}"
    if text != shortest:
        raise OptionError(f"loss {text!r}: write {shortest!r}, so that one loss has one name")
    return loss


def _check_images(y_true: Any, y_pred: Any) -> None:
    for name, values in (("y_true", y_true), ("y_pred", y_pred)):
        if len(values.shape) != 4:
            raise DataError(
                f"{name} must have shape (batch, height, width, channels), "
                f"received {tuple(values.shape)}"
            )
