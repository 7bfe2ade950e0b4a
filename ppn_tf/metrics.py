"""Error, PSNR and SSIM of predictions, with an explicit data range.

Nothing here guesses: a data range taken from the arrays would change the
number with the test set. All sums run in float64.

Three SSIM conventions are in use for this problem and differ by more than the
methods do, so the caller names one:

``per-image``
    The mean SSIM of the single patches, the usual meaning.
``flattened``
    Patches flattened to one (N, H*W) picture, as the authors' release does:
    the 7x7 window then spans 7 neighbouring pixels and 7 consecutive patches.
    The value depends on the order of the patches.
``field``
    The SSIM of one stitched field.
"""

from __future__ import annotations

import dataclasses
from typing import Any

import numpy as np
from scipy.ndimage import uniform_filter

from ppn_tf.errors import DataError, OptionError

CONVENTIONS = ("per-image", "flattened", "field")

#: Side of the uniform SSIM window, and the constants of Wang et al. (2004).
WINDOW_PX = 7
_K1, _K2 = 0.01, 0.03


@dataclasses.dataclass(frozen=True)
class Score:
    """Quality of one channel.

    Attributes
    ----------
    mse : float
        Mean squared error, in squared units of the channel.
    psnr_db : float
        PSNR of the pooled error in decibel; infinite for a zero error.
    ssim : float
        SSIM in [-1, 1] under the convention asked for.
    """

    mse: float
    psnr_db: float
    ssim: float

    def to_dict(self) -> dict[str, float | None]:
        """Return plain values for JSON; an infinite PSNR becomes None."""
        values = dataclasses.asdict(self)
        return {name: value if np.isfinite(value) else None for name, value in values.items()}


def mse(
    prediction: np.ndarray, truth: np.ndarray, *, clip: tuple[float, float] | None = None
) -> float:
    """Return the mean squared error over all pixels of all patches.

    Parameters
    ----------
    prediction, truth : (...) float
        Arrays of one shape, without NaN.
    clip : (float, float), optional
        Clip the prediction to these ends first. Off by default.

    Returns
    -------
    float

    Raises
    ------
    DataError
        For different shapes, empty or complex arrays, NaN or infinity.
    OptionError
        For clip ends out of order.
    """
    prediction, truth = _checked_pair(prediction, truth, clip)
    return float(np.mean((prediction - truth) ** 2))


def psnr(
    prediction: np.ndarray,
    truth: np.ndarray,
    *,
    data_range: float | None = None,
    clip: tuple[float, float] | None = None,
) -> float:
    """Return the peak signal-to-noise ratio of the pooled error.

    ``10 log10(data_range^2 / mse)`` with the mean squared error over all
    pixels of all patches. A zero error gives infinity.

    Parameters
    ----------
    prediction, truth : (...) float
        Arrays of one shape, without NaN.
    data_range : float
        Largest minus smallest possible value; 1 on the target scale. Required.
    clip : (float, float), optional
        Clip the prediction to these ends first. Off by default.

    Returns
    -------
    float [dB]

    Raises
    ------
    DataError
        For different shapes, empty or complex arrays, NaN or infinity.
    OptionError
        For a missing or non-positive data range.
    """
    data_range = _checked_range(data_range)
    return _decibel(mse(prediction, truth, clip=clip), data_range)


def psnr_image_mean(
    prediction: np.ndarray,
    truth: np.ndarray,
    *,
    data_range: float | None = None,
    clip: tuple[float, float] | None = None,
) -> float:
    """Return the mean over patches of each patch's own PSNR.

    Never below `psnr` (Jensen). One patch without error makes it infinite.

    Parameters
    ----------
    prediction, truth : (N, H, W) or (N, H, W, 1) float
    data_range : float
        As in `psnr`.
    clip : (float, float), optional
        As in `psnr`.

    Returns
    -------
    float [dB]

    Raises
    ------
    DataError, OptionError
        As in `psnr`, and for arrays that are not stacks of patches.
    """
    data_range = _checked_range(data_range)
    prediction, truth = _checked_pair(prediction, truth, clip)
    prediction, truth = _stack(prediction), _stack(truth)
    errors = np.mean((prediction - truth) ** 2, axis=(1, 2))
    if not errors.all():
        return float("inf")
    return float(np.mean(10.0 * np.log10(data_range**2 / errors)))


def ssim(
    prediction: np.ndarray,
    truth: np.ndarray,
    *,
    data_range: float | None = None,
    convention: str = "per-image",
    clip: tuple[float, float] | None = None,
) -> float:
    """Return the structural similarity under a named convention.

    Uniform 7x7 window, sample covariance, border of 3 pixels left out, K1 =
    0.01 and K2 = 0.03: the defaults of ``skimage.metrics``, here computed for
    all patches at once.

    Parameters
    ----------
    prediction, truth : (N, H, W), (N, H, W, 1) or, for ``"field"``, (H, W) float
    data_range : float
        Largest minus smallest possible value; 1 on the target scale. Required.
    convention : {"per-image", "flattened", "field"}
        See the module docstring.
    clip : (float, float), optional
        Clip the prediction to these ends first. Off by default.

    Returns
    -------
    float

    Raises
    ------
    DataError
        For different or unfit shapes, fewer than 7 patches under
        ``"flattened"``, NaN or infinity.
    OptionError
        For a missing or non-positive data range, or an unknown convention.

    References
    ----------
    .. [1] Z. Wang et al., IEEE Trans. Image Process. 13, 600 (2004),
       doi:10.1109/TIP.2003.819861
    """
    data_range = _checked_range(data_range)
    if convention not in CONVENTIONS:
        raise OptionError(
            f"unknown SSIM convention {convention!r}: expected one of {', '.join(CONVENTIONS)}"
        )
    images = _pictures(*_checked_pair(prediction, truth, clip), convention)
    height, width = images[0].shape[1:]
    if min(height, width) < WINDOW_PX:
        what = "patches" if convention == "flattened" and height < WINDOW_PX else "pixels a side"
        raise DataError(
            f"SSIM with convention {convention!r} needs at least {WINDOW_PX} {what}, "
            f"received shape {truth.shape}: take a larger region or another convention"
        )
    return _mean_ssim(*images, data_range)


def evaluate(
    prediction: np.ndarray,
    truth: np.ndarray,
    *,
    data_range: float | None = None,
    convention: str = "per-image",
    clip: tuple[float, float] | None = None,
) -> Score:
    """Return MSE, PSNR and SSIM of one channel.

    Parameters
    ----------
    prediction, truth, data_range, convention, clip
        As in `ssim`. A stitched field with uncovered (NaN) pixels is refused:
        cut it with `ppn_tf.stitching.covered_crop` first.

    Returns
    -------
    Score

    Raises
    ------
    DataError, OptionError
        As in `ssim`.
    """
    data_range = _checked_range(data_range)
    error = mse(prediction, truth, clip=clip)
    similarity = ssim(prediction, truth, data_range=data_range, convention=convention, clip=clip)
    return Score(error, _decibel(error, data_range), similarity)


def _pictures(
    prediction: np.ndarray, truth: np.ndarray, convention: str
) -> tuple[np.ndarray, np.ndarray]:
    """Return the pair as stacks of pictures (N, H, W) that SSIM is taken of."""
    if convention == "field":
        if truth.ndim != 2:
            raise DataError(
                f"convention 'field' expects one (H, W) field, received shape {truth.shape}: "
                "stitch the patches first, or use convention='per-image'"
            )
        return prediction[None], truth[None]
    pair = _stack(prediction), _stack(truth)
    if convention == "flattened":
        # one picture whose rows are the patches
        return tuple(values.reshape(1, len(values), -1) for values in pair)
    return pair


def _mean_ssim(x: np.ndarray, y: np.ndarray, data_range: float) -> float:
    """Mean SSIM of (N, H, W) pictures: every picture weighs the same."""
    pixels = WINDOW_PX**2
    border = WINDOW_PX // 2

    def local_mean(values: np.ndarray) -> np.ndarray:
        # a window of one along the stack keeps the pictures apart
        means = uniform_filter(values, size=(1, WINDOW_PX, WINDOW_PX))
        return means[:, border:-border, border:-border]

    mean_x, mean_y = local_mean(x), local_mean(y)
    sample = pixels / (pixels - 1)
    variance_x = sample * (local_mean(x * x) - mean_x**2)
    variance_y = sample * (local_mean(y * y) - mean_y**2)
    covariance = sample * (local_mean(x * y) - mean_x * mean_y)
    c1, c2 = (_K1 * data_range) ** 2, (_K2 * data_range) ** 2
    numerator = (2.0 * mean_x * mean_y + c1) * (2.0 * covariance + c2)
    denominator = (mean_x**2 + mean_y**2 + c1) * (variance_x + variance_y + c2)
    return float(np.mean(numerator / denominator))


def _decibel(error: float, data_range: float) -> float:
    return float("inf") if error == 0.0 else float(10.0 * np.log10(data_range**2 / error))


def _checked_range(data_range: Any) -> float:
    usable = isinstance(data_range, (int, float, np.integer, np.floating))
    if not usable or isinstance(data_range, bool) or not 0 < data_range < float("inf"):
        raise OptionError(
            f"data_range must be a positive number, received {data_range!r}: it is never "
            "guessed; give 1.0 for values on the [0, 1] target scale"
        )
    return float(data_range)


def _checked_pair(
    prediction: np.ndarray, truth: np.ndarray, clip: tuple[float, float] | None
) -> tuple[np.ndarray, np.ndarray]:
    prediction, truth = np.asarray(prediction), np.asarray(truth)
    if prediction.shape != truth.shape:
        raise DataError(
            f"prediction and truth must have one shape, received {prediction.shape} "
            f"and {truth.shape}"
        )
    for name, values in (("prediction", prediction), ("truth", truth)):
        if values.dtype.kind not in "fiub":
            raise DataError(
                f"{name} must be real numbers, received dtype {values.dtype}: "
                "give amplitude or phase"
            )
        if values.size == 0:
            raise DataError(f"{name} is empty, received shape {values.shape}")
        if not np.isfinite(values).all():
            bad = int(values.size - np.isfinite(values).sum())
            raise DataError(
                f"{name} has {bad} NaN or infinite values of {values.size}: cut uncovered "
                "pixels away with ppn_tf.stitching.covered_crop, or look at the training"
            )
    prediction = prediction.astype(np.float64)
    if clip is not None:
        low, high = clip
        if not low < high:
            raise OptionError(f"clip must be (low, high) with low < high, received {clip}")
        prediction = np.clip(prediction, low, high)
    return prediction, truth.astype(np.float64)


def _stack(values: np.ndarray) -> np.ndarray:
    """Return (N, H, W) from (N, H, W) or (N, H, W, 1)."""
    if values.ndim == 4 and values.shape[-1] == 1:
        values = values[..., 0]
    if values.ndim != 3:
        raise DataError(
            f"expected patches of shape (N, H, W) or (N, H, W, 1), received {values.shape}; "
            "for one (H, W) field use convention='field'"
        )
    return values
