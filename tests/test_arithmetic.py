"""The paper against itself: intervals, the rule, and results computed by hand."""

import dataclasses
import math

import pytest

from ppn_tf.errors import DataError, OptionError
from reproduce.paper import load_paper
from reproduce.parts import arithmetic
from reproduce.parts.arithmetic import (
    CANNOT,
    DOES_NOT_HOLD,
    HOLDS,
    UNDECIDED,
    WITHIN_ROUNDING,
    Check,
)
from reproduce.parts.intervals import Interval, greatest, hypot, least, psnr_db
from reproduce.parts.published_checks import CHECKS


@pytest.fixture(scope="module")
def paper():
    return load_paper()


@pytest.fixture(scope="module")
def found(paper):
    return {finding.id: finding for finding in arithmetic.findings(paper)}


def ends(interval):
    return (interval.low, interval.value, interval.high)


def test_interval_arithmetic_by_hand():
    a, b = Interval(1.0, 2.0, 3.0), Interval(-2.0, 4.0, 5.0)
    assert ends(a + b) == (-1.0, 6.0, 8.0)
    assert ends(a - b) == (-4.0, -2.0, 5.0)
    assert ends(10 - a) == (7.0, 8.0, 9.0)
    assert ends(a * b) == (-6.0, 8.0, 15.0)
    assert ends(b / a) == (-2.0, 2.0, 5.0)
    assert ends(6.0 / a) == (2.0, 3.0, 6.0)
    assert ends(abs(b)) == (0.0, 4.0, 5.0)
    assert ends(abs(-a)) == (1.0, 2.0, 3.0)
    assert ends(greatest(a, b)) == (1.0, 4.0, 5.0)
    assert ends(least(a, b)) == (-2.0, 2.0, 3.0)
    assert ends(hypot(Interval(0.0, 3.0, 5.0), Interval(0.0, 4.0, 12.0))) == (0.0, 5.0, 13.0)
    assert ends(Interval.rounded(14.0, 0.5)) == (13.75, 14.0, 14.25)


def test_psnr_turns_the_ends_round():
    # -10 log10 of 0.1, 0.01 and 0.001
    assert ends(psnr_db(Interval(0.001, 0.01, 0.1))) == pytest.approx((10.0, 20.0, 30.0))


def test_a_divisor_that_may_be_zero_is_refused():
    with pytest.raises(DataError, match=r"the divisor may be 0: it lies between -1\.0 and 1\.0"):
        1.0 / Interval(-1.0, 0.5, 1.0)


def test_an_interval_out_of_order_is_refused():
    with pytest.raises(DataError, match=r"three finite numbers in order, received \(2\.0, 1\.0"):
        Interval(2.0, 1.0, 3.0)


@pytest.mark.parametrize(
    ("interval", "relation", "target", "expected"),
    [
        (Interval(15.8, 15.97, 16.2), "=", Interval.rounded(16.0, 0.1), HOLDS),
        (Interval(15.8, 15.94, 16.2), "=", Interval.rounded(16.0, 0.1), WITHIN_ROUNDING),
        (Interval(15.8, 15.9, 15.94), "=", Interval.rounded(16.0, 0.1), DOES_NOT_HOLD),
        (Interval(-1.0, 0.0, 1.0), ">=", Interval.exact(0.0), HOLDS),
        (Interval(-1.0, 0.0, 1.0), ">", Interval.exact(0.0), WITHIN_ROUNDING),
        (Interval(-2.0, -1.0, 0.0), ">", Interval.exact(0.0), DOES_NOT_HOLD),
        (Interval(1.0, 3.0, 4.0), "<=", Interval.exact(2.0), WITHIN_ROUNDING),
        (Interval(1.0, 1.5, 4.0), "<", Interval.exact(2.0), HOLDS),
    ],
)
def test_rule(interval, relation, target, expected):
    assert arithmetic.judge(interval, relation, target) == expected


def test_printed_numbers_are_intervals_and_counts_are_exact(paper):
    value = arithmetic.printed(paper, "table1.clean.ppn.psnr_amp")
    assert ends(value) == pytest.approx((14.415, 14.42, 14.425))
    spread = arithmetic.printed(paper, "table1.clean.ppn.psnr_amp.sd")
    assert ends(spread) == pytest.approx((0.075, 0.08, 0.085))
    assert ends(arithmetic.printed(paper, "claims.patches")) == (3721, 3721, 3721)
    assert arithmetic.printed(paper, "fig10.ptynet.gflops") is None
    with pytest.raises(OptionError, match=r"unknown published number 'claims\.nothing'"):
        arithmetic.printed(paper, "claims.nothing")


# id, recomputed by hand, and what follows from it
BY_HAND = [
    # (4.32 - 3.63) / 4.32
    ("claims.mse_amp_vs_ptychonn_percent", 69 / 4.32, HOLDS),
    # 0.90 / 13.52
    ("claims.psnr_amp_vs_ptychonn_percent", 90 / 13.52, HOLDS),
    # (0.75 / 6.66) / (0.69 / 4.32), and (0.58 / 11.76) / (0.90 / 13.52)
    ("statement.similar_improvement_mse_amp", 0.75 / 6.66 / (0.69 / 4.32), HOLDS),
    ("statement.similar_improvement_psnr_amp", 0.58 / 11.76 / (0.90 / 13.52), HOLDS),
    # 0.667 / 1.049
    ("claims.flops_vs_dpi_percent", 66.7 / 1.049, DOES_NOT_HOLD),
    # 62.84 / 68.96
    ("claims.params_vs_ptychoformer_percent", 6284 / 68.96, HOLDS),
    # 0.723 / 1.105
    ("claims.flops_vs_ptychoformer_percent", 72.3 / 1.105, HOLDS),
    ("claims.params_ratio_ptychoformer", 68.96 / 6.12, HOLDS),
    # 6.12 and 68.96 times 262,144 parameters
    ("claims.params_ppn_million", 1.60432128, DOES_NOT_HOLD),
    ("claims.params_ptychoformer_million", 18.07745024, DOES_NOT_HOLD),
    # 6.12 would be printed as 6.1, 68.96 as 69.0 and not as 68.9
    ("statement.ppn_size_printed_twice", 6.12, HOLDS),
    ("statement.ptychoformer_size_printed_twice", 68.96, DOES_NOT_HOLD),
    ("claims.speedup_overlap_30", 125 / 0.15, WITHIN_ROUNDING),
    ("statement.thousand_times_faster_overlap_30", 852.0, DOES_NOT_HOLD),
    ("statement.thousand_times_faster_overlap_60", 1767.0, HOLDS),
    ("claims.acquisition_ratio_90_30", 49.0, HOLDS),
    ("statement.acquisition_ratio_whole_pixels", (22 / 3) ** 2, DOES_NOT_HOLD),
    ("claims.combined_efficiency", 41748.0, HOLDS),
    # 0.06 / 0.92; 1 - 0.865 / 0.915 = 5.46 % would print as 5 %
    ("claims.degradation_overlap_30_percent", 6 / 0.92, WITHIN_ROUNDING),
    # 0.60 / 14.42, 3.1 / 87, 3.40 / 14.42, 26.5 / 87
    ("claims.mhsa_psnr_amp_drop_percent", 60 / 14.42, HOLDS),
    ("claims.mhsa_ssim_amp_drop_percent", 310 / 87, HOLDS),
    ("claims.without_decoder_psnr_amp_drop_percent", 340 / 14.42, HOLDS),
    ("claims.without_decoder_ssim_amp_drop_percent", 2650 / 87, HOLDS),
    ("statement.ptychonn_50_patches_above_constant_amp", 0.3 * 13.52, DOES_NOT_HOLD),
    ("statement.ptychonn_50_patches_above_constant_phase", 0.3 * 19.09, DOES_NOT_HOLD),
    ("statement.ppn_50_patches_above_constant_amp", 0.65 * 14.42, HOLDS),
    # below the 9.5 dB of 100 patches
    ("statement.ppn_50_patches_psnr_amp", 0.65 * 14.42, HOLDS),
    ("claims.grid_side", 61.0, HOLDS),
    ("claims.patches", 3721.0, HOLDS),
    ("claims.train_percent", 100 * 48 / 61, DOES_NOT_HOLD),
    ("statement.train_rows", 48.0, HOLDS),
    ("claims.real_patterns", 25921.0, DOES_NOT_HOLD),
    ("statement.real_lines", 100.0, HOLDS),
    ("statement.table4_mse_equals_table1_psnr_phase", 19.47, DOES_NOT_HOLD),
    ("statement.table4_mse_equals_table1_psnr_amp", 14.42, HOLDS),
    ("statement.table2_full_equals_table1_psnr_phase", 19.41, HOLDS),
    # 0.74 / 13.68 and 3.5 / 83.5
    ("claims.v1_psnr_percent", 74 / 13.68, HOLDS),
    ("claims.v1_ssim_percent", 350 / 83.5, HOLDS),
    # 0.17 / sqrt(0.03^2 + 0.03^2): PtyNet and DPI
    ("statement.cnns_alike_clean_mse_amp", 0.17 / math.hypot(0.03, 0.03), UNDECIDED),
    # 3.2 / sqrt(1^2 + 1.5^2): PtychoNN and PtyNet against 3.1 / sqrt(1^2 + 1.2^2) with DPI
    ("statement.cnns_alike_noisy_ssim_phase", 3.1 / math.hypot(1.0, 1.2), UNDECIDED),
    # 13.52 + 10 log10(0.0432), log10(0.0432) = -1.36452
    ("consistency.clean.ptychonn.psnr_amp", -0.1252, DOES_NOT_HOLD),
    # 0.17 / (4.342945 * 0.0002 / 0.0432)
    ("consistency.clean.ptychonn.psnr_amp_sd", 8.4551, DOES_NOT_HOLD),
    ("consistency.clean.ppn.psnr_phase", -0.0210, WITHIN_ROUNDING),
]


@pytest.mark.parametrize(("name", "value", "status"), BY_HAND, ids=[row[0] for row in BY_HAND])
def test_recomputed_by_hand(found, name, value, status):
    # the hand-computed values have at least 4 digits after the point
    assert found[name].recomputed == pytest.approx(value, abs=5e-5)
    assert found[name].status == status


def test_missing_values_are_named(found):
    flops = found["statement.flops_comparable_to_ptynet"]
    assert (flops.status, flops.missing) == (CANNOT, ("fig10.ptynet.gflops",))
    assert flops.recomputed is None
    assert {f.id for f in found.values() if f.id.startswith("statement.table3")} == {
        f.id for f in found.values() if f.status == CANNOT and "table3" in f.id
    }


def test_ppn_is_published_as_best_everywhere(found):
    best = [f for f in found.values() if f.id.startswith("statement.ppn_best_")]
    assert len(best) == 12
    assert {f.status for f in best} == {HOLDS}


def test_contradictions_are_those_that_the_file_names(paper, found):
    """16 pairs of MSE and PSNR; the ones that fail must be marked in paper.yaml, no others."""
    pairs = {
        f.uses
        for f in found.values()
        if f.id.startswith("consistency.") and not f.id.endswith("_sd")
    }
    failing = {
        f.uses
        for f in found.values()
        if f.id.startswith("consistency.")
        and not f.id.endswith("_sd")
        and f.status == DOES_NOT_HOLD
    }
    marked = {
        (key, other)
        for key, published in paper.items()
        if key.startswith("table1.") and ".psnr_" in key
        for other in published.contradicted_by
    }
    assert len(pairs) == 16
    assert failing == marked
    assert len(failing) == 5


def test_spreads_that_cannot_belong_together(found):
    spreads = [f for f in found.values() if f.id.endswith("_sd")]
    assert len(spreads) == 16
    assert sum(f.status == DOES_NOT_HOLD for f in spreads) == 10


def test_every_check_uses_known_numbers_and_says_where(paper, found):
    assert len(found) == len(CHECKS)  # no id twice
    for finding in found.values():
        assert finding.where and finding.says and finding.formula, finding.id
        assert finding.status in arithmetic.STATUSES
        for name in finding.uses:
            assert name.removesuffix(arithmetic.SD) in paper


def test_a_changed_number_changes_the_outcome(paper):
    """Nothing is fixed but the rule: with 0.381 GFLOP the reduction would be 63.7 %."""
    key = "fig10.ppn.gflops"
    changed = {**paper, key: dataclasses.replace(paper[key], value=0.381)}
    (flops,) = [
        arithmetic.check(changed, one) for one in CHECKS if one.id == "claims.flops_vs_dpi_percent"
    ]
    assert flops.status == HOLDS
    assert flops.recomputed == pytest.approx(66.8 / 1.049)


def test_an_unknown_relation_is_refused(paper):
    wrong = Check("claims.patches", "", "", (), lambda: None, relation="about")
    with pytest.raises(OptionError, match="unknown relation 'about'"):
        arithmetic.check(paper, wrong)


def test_a_target_that_is_a_published_number_counts_as_used(found):
    headline = found["statement.thousand_times_faster_overlap_30"]
    assert headline.uses == ("claims.speedup_overlap_30", "claims.speedup_headline")
    assert headline.target == 1000
    same = found["statement.table3_ppn_equals_table1_psnr_amp"]
    assert same.missing == ("table3.ppn.psnr_amp",)


def test_a_finding_becomes_plain_values(found):
    plain = found["claims.patches"].to_dict()
    assert plain["uses"] == ["claims.grid_side", "claims.grid_side"]
    assert plain["status"] == HOLDS
