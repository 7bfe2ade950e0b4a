"""Statistics of repeated runs. The subjects are seeds, never patches.

Patches of one scan overlap and share their object, so they are not
independent: a test over patches finds anything significant. One seed fixes
validation split, batch order, jitter and noise for all methods alike, which
makes the runs of one seed a block and the tests here paired.

Columns without any variance are answered without warnings: a zero difference
gives p = 1, a constant non-zero difference p = 0 and an infinite statistic.
"""

from __future__ import annotations

import dataclasses
import itertools
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd
from scipy import stats

from ppn_tf.errors import DataError, OptionError

#: Spreads below this share of the values are rounding, not variance.
_ROUNDING = 64 * np.finfo(np.float64).eps


class _Plain:
    """Results that turn into plain values for JSON."""

    def to_dict(self) -> dict[str, Any]:
        """Return plain values; an infinite statistic becomes None."""
        return {key: _plain(value) for key, value in dataclasses.asdict(self).items()}


@dataclasses.dataclass(frozen=True)
class AnovaResult(_Plain):
    """Repeated-measures analysis of variance.

    Attributes
    ----------
    f : float
    df_effect, df_error : int
        k - 1 and (n - 1)(k - 1).
    p : float
        Without sphericity correction.
    epsilon_gg : float
        Greenhouse-Geisser epsilon, in [1 / (k - 1), 1].
    p_gg : float
        p with both degrees of freedom multiplied by `epsilon_gg`.
    """

    f: float
    df_effect: int
    df_error: int
    p: float
    epsilon_gg: float
    p_gg: float


@dataclasses.dataclass(frozen=True)
class PairResult(_Plain):
    """Comparison of two methods over the same seeds.

    Attributes
    ----------
    a, b : str
        Names; differences are a - b.
    n : int
        Number of seeds.
    mean_difference : float
    ci95 : (float, float)
        Paired 95 % interval of the mean difference.
    t, p, p_bonferroni : float
        Paired t-test; p times the number of pairs, at most 1.
    welch_t, welch_p, p_welch_bonferroni : float
        The same without pairing and without equal variances.
    """

    a: str
    b: str
    n: int
    mean_difference: float
    ci95: tuple[float, float]
    t: float
    p: float
    p_bonferroni: float
    welch_t: float
    welch_p: float
    p_welch_bonferroni: float


@dataclasses.dataclass(frozen=True)
class TostResult(_Plain):
    """Two one-sided paired t-tests of equivalence.

    Attributes
    ----------
    n : int
    mean_difference : float
    margin : float
        Differences within plus or minus this count as none.
    ci90 : (float, float)
        Paired 90 % interval: inside the margin if and only if p < 0.05.
    p_lower, p_upper : float
        Against a difference of at most -margin, and of at least +margin.
    p : float
        The larger of the two.
    equivalent : bool
        p < 0.05.
    """

    n: int
    mean_difference: float
    margin: float
    ci90: tuple[float, float]
    p_lower: float
    p_upper: float
    p: float
    equivalent: bool


@dataclasses.dataclass(frozen=True)
class OnewayResult(_Plain):
    """One-way analysis of variance: F, degrees of freedom and p."""

    f: float
    df_between: int
    df_within: int
    p: float


def repeated_measures_anova(
    values: pd.DataFrame | np.ndarray, names: Sequence[str] | None = None
) -> AnovaResult:
    """Test whether k methods differ over the same n seeds.

    Parameters
    ----------
    values : (n, k) DataFrame or float array
        One row per seed (the subject), one column per method.
    names : sequence of str, optional
        Names of the columns, for messages.

    Returns
    -------
    AnovaResult

    Raises
    ------
    DataError
        For fewer than two seeds or methods, NaN, or names that do not fit.

    References
    ----------
    .. [1] S. W. Greenhouse and S. Geisser, Psychometrika 24, 95 (1959),
       doi:10.1007/BF02289823
    """
    data, _ = _table(values, names)
    n, k = data.shape
    # about the grand mean, so that large equal values cost no digits
    centred = data - data.mean()
    by_seed = centred.mean(axis=1, keepdims=True)
    by_method = centred.mean(axis=0, keepdims=True)
    residual = centred - by_seed - by_method
    df_effect, df_error = k - 1, (n - 1) * (k - 1)
    effect = n * float(np.sum(by_method**2)) / df_effect
    error = float(np.sum(residual**2)) / df_error
    scale = np.abs(data).max()
    if np.abs(residual).max() <= _ROUNDING * scale:
        differs = np.abs(by_method).max() > _ROUNDING * scale
        f, p = (float("inf"), 0.0) if differs else (0.0, 1.0)
        # no residual, no covariance to be unspherical
        return AnovaResult(f, df_effect, df_error, p, 1.0, p)
    f = effect / error
    epsilon = _greenhouse_geisser(residual)
    return AnovaResult(
        f,
        df_effect,
        df_error,
        float(stats.f.sf(f, df_effect, df_error)),
        epsilon,
        float(stats.f.sf(f, epsilon * df_effect, epsilon * df_error)),
    )


def pairwise_paired(
    values: pd.DataFrame | np.ndarray,
    names: Sequence[str] | None = None,
    *,
    family: int | None = None,
) -> list[PairResult]:
    """Compare every pair of methods over the same seeds, Bonferroni-corrected.

    Parameters
    ----------
    values : (n, k) DataFrame or float array
        One row per seed (the subject), one column per method.
    names : sequence of str, optional
        Names of the columns; those of the DataFrame by default.
    family : int, optional
        Comparisons that p is corrected for; by default the pairs of these columns.

    Returns
    -------
    list of PairResult
        k (k - 1) / 2 pairs in column order.

    Raises
    ------
    DataError
        For fewer than two seeds or methods, NaN, or names that do not fit.
    """
    data, labels = _table(values, names)
    pairs = list(itertools.combinations(range(data.shape[1]), 2))
    results = []
    for i, j in pairs:
        a, b = data[:, i], data[:, j]
        mean, error = _paired(a, b)
        t, p = _t_test(mean, error, len(a) - 1)
        welch_t, welch_p = _welch(a, b)
        half = error * float(stats.t.ppf(0.975, len(a) - 1))
        interval = (mean - half, mean + half)
        corrected = [min(1.0, value * (family or len(pairs))) for value in (p, welch_p)]
        paired = (len(a), mean, interval, t, p, corrected[0])
        results.append(PairResult(labels[i], labels[j], *paired, welch_t, welch_p, corrected[1]))
    return results


def equivalence(a: np.ndarray, b: np.ndarray, *, margin: float) -> TostResult:
    """Test whether two methods are equal within a margin (paired TOST).

    A difference that is not significant is no evidence of equality; this is.

    Parameters
    ----------
    a, b : (n,) float
        Values of two methods for the same seeds (the subjects).
    margin : float
        Largest difference that counts as none, in the unit of the values; to
        be fixed before looking.

    Returns
    -------
    TostResult

    Raises
    ------
    DataError
        For fewer than two seeds, different lengths, or NaN.
    OptionError
        For a margin that is not positive.

    References
    ----------
    .. [1] D. J. Schuirmann, J. Pharmacokinet. Biopharm. 15, 657 (1987),
       doi:10.1007/BF01068419
    """
    if not (np.isfinite(margin) and margin > 0):
        raise OptionError(f"margin must be a positive number, received {margin!r}")
    a, b = np.asarray(a, np.float64), np.asarray(b, np.float64)
    if a.ndim != 1 or a.shape != b.shape:
        raise DataError(
            f"a and b must be (n,) with one value per seed, received {a.shape} and {b.shape}"
        )
    _table(np.stack([a, b], axis=1), None)
    n = len(a)
    mean, error = _paired(a, b)
    if error == 0.0:
        p_lower = 0.0 if mean > -margin else 1.0
        p_upper = 0.0 if mean < margin else 1.0
    else:
        p_lower = float(stats.t.sf((mean + margin) / error, n - 1))
        p_upper = float(stats.t.cdf((mean - margin) / error, n - 1))
    p = max(p_lower, p_upper)
    half = error * float(stats.t.ppf(0.95, n - 1))
    interval = (mean - half, mean + half)
    return TostResult(n, mean, float(margin), interval, p_lower, p_upper, p, p < 0.05)


def oneway_anova(groups: Mapping[str, np.ndarray] | Sequence[np.ndarray]) -> OnewayResult:
    """Test whether independent groups of runs differ.

    Parameters
    ----------
    groups : mapping or sequence of (n_i,) float
        One value per seed (the subject) in each group.

    Returns
    -------
    OnewayResult

    Raises
    ------
    DataError
        For fewer than two groups, a group of fewer than two values, or NaN.
    """
    if not isinstance(groups, Mapping):
        groups = {f"group {index}": group for index, group in enumerate(groups)}
    if len(groups) < 2:
        raise DataError(f"an analysis of variance needs at least 2 groups, received {len(groups)}")
    arrays = [np.asarray(group, np.float64) for group in groups.values()]
    for name, array in zip(groups, arrays, strict=True):
        if array.ndim != 1 or len(array) < 2:
            raise DataError(
                f"{name} needs at least 2 seeds as an (n,) array, received shape {array.shape}: "
                "run more seeds"
            )
        _finite(array, name)
    everything = np.concatenate(arrays)
    centre, scale = everything.mean(), np.abs(everything).max()
    df_between, df_within = len(arrays) - 1, len(everything) - len(arrays)
    within = max(float(np.abs(array - array.mean()).max()) for array in arrays)
    if within <= _ROUNDING * scale:
        differs = max(abs(array.mean() - centre) for array in arrays) > _ROUNDING * scale
        f, p = (float("inf"), 0.0) if differs else (0.0, 1.0)
        return OnewayResult(f, df_between, df_within, p)
    f, p = stats.f_oneway(*arrays)
    return OnewayResult(float(f), df_between, df_within, float(p))


def _greenhouse_geisser(residual: np.ndarray) -> float:
    """Epsilon from the doubly centred (n, k) residuals.

    They have the covariance C S C with C the centring matrix, so that epsilon
    = tr(CSC)^2 / ((k - 1) tr(CSC CSC)) (Greenhouse and Geisser 1959).
    """
    # scaled first: the ratio has no unit, fourth powers may underflow
    residual = residual / np.abs(residual).max()
    product = residual.T @ residual
    k = len(product)
    epsilon = np.trace(product) ** 2 / ((k - 1) * np.sum(product**2))
    return float(np.clip(epsilon, 1.0 / (k - 1), 1.0))


def _paired(a: np.ndarray, b: np.ndarray) -> tuple[float, float]:
    """Mean and standard error of the differences; rounding counts as zero."""
    difference = a - b
    mean = float(difference.mean())
    scale = _ROUNDING * max(np.abs(a).max(), np.abs(b).max())
    if np.abs(difference - mean).max() <= scale:
        return (0.0 if abs(mean) <= scale else mean), 0.0
    return mean, float(difference.std(ddof=1) / np.sqrt(len(difference)))


def _t_test(mean: float, error: float, df: float) -> tuple[float, float]:
    if error == 0.0:
        return (0.0, 1.0) if mean == 0.0 else (float(np.copysign(np.inf, mean)), 0.0)
    t = mean / error
    return t, float(2.0 * stats.t.sf(abs(t), df))


def _welch(a: np.ndarray, b: np.ndarray) -> tuple[float, float]:
    scale = _ROUNDING * max(np.abs(a).max(), np.abs(b).max())
    if max(np.ptp(a), np.ptp(b)) <= scale:
        mean = float(a.mean() - b.mean())
        return _t_test(0.0 if abs(mean) <= scale else mean, 0.0, 1.0)
    parts = [values.var(ddof=1) / len(values) for values in (a, b)]
    df = sum(parts) ** 2 / sum(part**2 / (len(a) - 1) for part in parts)
    return _t_test(float(a.mean() - b.mean()), float(np.sqrt(sum(parts))), float(df))


def _table(
    values: pd.DataFrame | np.ndarray, names: Sequence[str] | None
) -> tuple[np.ndarray, list[str]]:
    if names is None and isinstance(values, pd.DataFrame):
        names = [str(name) for name in values.columns]
    data = np.asarray(values, dtype=np.float64)
    if data.ndim != 2:
        raise DataError(f"values must be (seeds, methods), received shape {data.shape}")
    n, k = data.shape
    if n < 2:
        raise DataError(f"paired statistics need at least 2 seeds, received {n}: run more seeds")
    if k < 2:
        raise DataError(f"paired statistics need at least 2 methods, received {k}")
    names = [f"column {index}" for index in range(k)] if names is None else list(names)
    if len(names) != k:
        raise DataError(f"{k} columns need {k} names, received {len(names)}: {names}")
    for index, name in enumerate(names):
        _finite(data[:, index], name)
    return data, names


def _finite(values: np.ndarray, name: str) -> None:
    if not np.isfinite(values).all():
        raise DataError(
            f"{name} has NaN or infinite values: a failed run belongs out of the table, "
            "for all methods of its seed"
        )


def _plain(value: Any) -> Any:
    if isinstance(value, (tuple, list)):
        return [_plain(part) for part in value]
    if isinstance(value, float) and not np.isfinite(value):
        return None
    return value
