import warnings

import numpy as np
import pandas as pd
import pytest
from scipy import stats
from statsmodels.stats.anova import AnovaRM
from statsmodels.stats.weightstats import ttost_paired

from ppn_tf import statistics
from ppn_tf.errors import DataError, OptionError

# Five subjects, three conditions, worked on paper:
# grand mean 4, condition means 2, 4, 6: SS_effect = 5 (4 + 0 + 4) = 40
# subject means 3, 4, 4, 5, 4:           SS_seed = 3 (1 + 0 + 0 + 1 + 0) = 6
# SS_total by rows 17 + 8 + 8 + 9 + 8 = 50, so SS_error = 4 and F = (40 / 2) / (4 / 8) = 40
WORKED = np.array([[1, 2, 6], [2, 4, 6], [2, 4, 6], [3, 6, 6], [2, 4, 6]], dtype=float)


@pytest.fixture
def table():
    random = np.random.default_rng(11)
    shared = random.normal(size=(10, 1))
    values = (
        14 + shared + np.array([0, 0.2, 0.9, 0.1]) + random.normal(0, [0.1, 0.5, 0.2, 1], (10, 4))
    )
    return pd.DataFrame(values, columns=["ptychonn", "ptynet", "ppn", "dpi"])


@pytest.fixture(autouse=True)
def no_warnings():
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        yield


def test_worked_example_by_hand():
    result = statistics.repeated_measures_anova(WORKED)
    assert (result.df_effect, result.df_error) == (2, 8)
    assert result.f == pytest.approx(40.0)
    # F with 2 and 8 degrees of freedom has the closed tail (1 + F / 4)^-4
    assert result.p == pytest.approx(11.0**-4)
    # only subjects 0 and 3 differ, by -(1, 2, 0) and +(1, 2, 0): the covariance has one direction,
    # so that epsilon is its lower bound 1 / (k - 1)
    assert result.epsilon_gg == pytest.approx(0.5)
    assert result.p_gg == pytest.approx(stats.f.sf(result.f, 1, 4))


def test_epsilon_from_the_covariance_matrix(table):
    # Box's form, from the entries of the sample covariance matrix
    s = np.cov(table.to_numpy().T)
    k = len(s)
    numerator = (k * (np.trace(s) / k - s.mean())) ** 2
    rows = s.mean(axis=1)
    denominator = (k - 1) * (np.sum(s**2) - 2 * k * np.sum(rows**2) + k**2 * s.mean() ** 2)
    result = statistics.repeated_measures_anova(table)
    assert result.epsilon_gg == pytest.approx(numerator / denominator, rel=1e-10)
    # and from the eigenvalues in an orthonormal basis of contrasts
    basis = np.linalg.svd(np.ones((1, k)))[2][1:]
    eigen = np.linalg.eigvalsh(basis @ s @ basis.T)
    assert result.epsilon_gg == pytest.approx(eigen.sum() ** 2 / (3 * np.sum(eigen**2)), rel=1e-10)
    assert 1 / 3 < result.epsilon_gg < 1
    expected = stats.f.sf(result.f, 3 * result.epsilon_gg, 27 * result.epsilon_gg)
    assert result.p < result.p_gg == pytest.approx(expected)


def test_f_and_p_equal_statsmodels(table):
    long = table.reset_index().melt(id_vars="index")
    row = AnovaRM(long, "value", "index", within=["variable"]).fit().anova_table.iloc[0]
    result = statistics.repeated_measures_anova(table)
    # measured: 2e-15; statsmodels may change its sums
    assert result.f == pytest.approx(row["F Value"], rel=1e-8)
    assert result.p == pytest.approx(row["Pr > F"], rel=1e-8)
    assert (result.df_effect, result.df_error) == (row["Num DF"], row["Den DF"])


def test_two_methods_are_the_paired_t_test(table):
    result = statistics.repeated_measures_anova(table[["ppn", "dpi"]])
    t = stats.ttest_rel(table["ppn"], table["dpi"])
    assert result.f == pytest.approx(t.statistic**2)
    assert result.p == pytest.approx(t.pvalue)
    assert result.epsilon_gg == 1.0
    assert result.p_gg == result.p


def test_a_large_offset_changes_nothing(table):
    plain = statistics.repeated_measures_anova(table)
    moved = statistics.repeated_measures_anova(table + 1e6)
    # measured: 3e-11; 1e6 costs six of sixteen digits
    assert moved.f == pytest.approx(plain.f, rel=1e-8)
    assert moved.epsilon_gg == pytest.approx(plain.epsilon_gg, rel=1e-8)


def test_pairs_equal_scipy(table):
    results = statistics.pairwise_paired(table)
    assert len(results) == 6
    assert [(r.a, r.b) for r in results][:3] == [
        ("ptychonn", "ptynet"),
        ("ptychonn", "ppn"),
        ("ptychonn", "dpi"),
    ]
    for result in results:
        a, b = table[result.a], table[result.b]
        paired = stats.ttest_rel(a, b)
        assert result.n == 10
        assert result.mean_difference == pytest.approx((a - b).mean())
        assert (result.t, result.p) == pytest.approx((paired.statistic, paired.pvalue))
        assert result.ci95 == pytest.approx(tuple(paired.confidence_interval(0.95)))
        assert result.p_bonferroni == pytest.approx(min(1, 6 * paired.pvalue))
        welch = stats.ttest_ind(a, b, equal_var=False)
        assert (result.welch_t, result.welch_p) == pytest.approx((welch.statistic, welch.pvalue))
        assert result.p_welch_bonferroni == pytest.approx(min(1, 6 * welch.pvalue))


def test_equivalence_equals_statsmodels(table):
    for margin in (0.3, 1.0, 3.0):
        expected, lower, upper = ttost_paired(
            table["ptynet"].to_numpy(), table["ptychonn"].to_numpy(), -margin, margin
        )
        result = statistics.equivalence(table["ptynet"], table["ptychonn"], margin=margin)
        assert result.p == pytest.approx(expected)
        assert (result.p_lower, result.p_upper) == pytest.approx((lower[1], upper[1]))
        inside = -margin < result.ci90[0] and result.ci90[1] < margin
        assert result.equivalent == inside == (result.p < 0.05)
    assert statistics.equivalence(table["ptynet"], table["ptychonn"], margin=3.0).equivalent
    assert not statistics.equivalence(table["ptynet"], table["ptychonn"], margin=0.01).equivalent


def test_oneway_equals_scipy(table):
    groups = {"0 %": table["ppn"], "25 %": table["dpi"][:7], "50 %": table["ptynet"]}
    expected = stats.f_oneway(*groups.values())
    result = statistics.oneway_anova(groups)
    assert (result.f, result.p) == pytest.approx((expected.statistic, expected.pvalue))
    assert (result.df_between, result.df_within) == (2, 24)
    assert statistics.oneway_anova(list(groups.values())) == result


def test_columns_without_variance_raise_no_warning():
    same = np.full((5, 3), 13.52)
    anova = statistics.repeated_measures_anova(same)
    assert (anova.f, anova.p, anova.epsilon_gg, anova.p_gg) == (0.0, 1.0, 1.0, 1.0)
    # a difference that is the same for every seed, up to rounding
    shifted = np.random.default_rng(0).random((5, 1)) + np.array([0.0, 0.1, 0.2])
    anova = statistics.repeated_measures_anova(shifted)
    assert (anova.f, anova.p, anova.p_gg) == (float("inf"), 0.0, 0.0)
    assert anova.to_dict()["f"] is None
    pair = statistics.pairwise_paired(same, ["a", "b", "c"])[0]
    assert (pair.t, pair.p, pair.ci95, pair.welch_p) == (0.0, 1.0, (0.0, 0.0), 1.0)
    pair = statistics.pairwise_paired(shifted)[0]
    assert (pair.a, pair.t, pair.p) == ("column 0", float("-inf"), 0.0)
    assert pair.ci95 == pytest.approx((-0.1, -0.1))
    assert pair.to_dict()["ci95"] == pytest.approx([-0.1, -0.1])
    assert statistics.equivalence(same[:, 0], same[:, 1], margin=0.1).equivalent
    assert not statistics.equivalence(shifted[:, 0], shifted[:, 2], margin=0.1).equivalent
    assert statistics.oneway_anova([same[:, 0], same[:, 1]]).p == 1.0
    assert statistics.oneway_anova([same[:, 0], same[:, 1] + 1]).p == 0.0


def test_refusals(table):
    for call in (statistics.repeated_measures_anova, statistics.pairwise_paired):
        with pytest.raises(DataError, match="need at least 2 seeds, received 1: run more seeds"):
            call(table[:1])
        with pytest.raises(DataError, match="need at least 2 methods, received 1"):
            call(table[["ppn"]])
        with pytest.raises(DataError, match=r"\(seeds, methods\), received shape \(10,\)"):
            call(table["ppn"])
        with pytest.raises(DataError, match="4 columns need 4 names, received 2"):
            call(table, ["a", "b"])
        with pytest.raises(DataError, match="dpi has NaN or infinite values: a failed run"):
            call(table.assign(dpi=np.nan))
    with pytest.raises(DataError, match="need at least 2 seeds, received 1"):
        statistics.equivalence([1.0], [1.0], margin=1.0)
    with pytest.raises(DataError, match=r"received \(2,\) and \(3,\)"):
        statistics.equivalence([1.0, 2.0], [1.0, 2.0, 3.0], margin=1.0)
    with pytest.raises(OptionError, match="margin must be a positive number, received 0"):
        statistics.equivalence([1.0, 2.0], [1.0, 2.0], margin=0)
    with pytest.raises(DataError, match="at least 2 groups, received 1"):
        statistics.oneway_anova([[1.0, 2.0]])
    with pytest.raises(DataError, match=r"group 1 needs at least 2 seeds.*shape \(1,\)"):
        statistics.oneway_anova([[1.0, 2.0], [1.0]])
