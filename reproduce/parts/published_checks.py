"""What the paper's own numbers let one compute: one entry per statement, tables first."""

from __future__ import annotations

import itertools
import math

from reproduce.paper import CNNS, METRICS
from reproduce.parts.arithmetic import SD, Check
from reproduce.parts.intervals import (
    Interval,
    greatest,
    higher,
    hypot,
    itself,
    less_percent,
    lower,
    more_percent,
    psnr_db,
)
from reproduce.parts.published_checks_text import INCREASE, REDUCTION, TEXT

METHODS = (*CNNS, "ppn")
CONDITIONS = {"clean": "noise-free", "noisy": "noisy"}
NAMES = {"ptychonn": "PtychoNN", "ptynet": "PtyNet", "dpi": "DPI", "ppn": "PPN"}

#: Change of a level in dB over the relative change of the quantity that causes it.
_DB_PER_UNIT = 10.0 / math.log(10.0)


def _t1(condition: str, method: str, metric: str) -> str:
    return f"table1.{condition}.{method}.{metric}"


_MSE = [_t1(c, m, "mse_amp") for c in CONDITIONS for m in ("ppn", "ptychonn")]
_PSNR = [_t1(c, m, "psnr_amp") for c in CONDITIONS for m in ("ppn", "ptychonn")]


def _spread_ratio(sd_psnr: Interval, sd_mse: Interval, mse: Interval) -> Interval:
    quotient = sd_psnr / (_DB_PER_UNIT * sd_mse / mse)
    return greatest(quotient, 1.0 / quotient)


def _improvement_ratio(a: Interval, b: Interval, c: Interval, d: Interval) -> Interval:
    return (1.0 - c / d) / (1.0 - a / b)


COMPARISON = (
    Check(
        "claims.mse_amp_vs_ptychonn_percent",
        "lower MSE of the amplitude than PtychoNN, noise-free",
        REDUCTION,
        tuple(_MSE[:2]),
        less_percent,
    ),
    Check(
        "claims.psnr_amp_vs_ptychonn_percent",
        "higher PSNR of the amplitude than PtychoNN, noise-free",
        INCREASE,
        tuple(_PSNR[:2]),
        more_percent,
    ),
    *(
        Check(
            f"statement.similar_improvement_{name}",
            f"similar improvement of the amplitude's {name.split('_')[0].upper()} when noisy",
            "improvement when noisy / improvement noise-free; similar read as at least half",
            tuple(ids),
            _improvement_ratio,
            relation=">=",
            target=0.5,
            where="Section IV-B2",
            unit="ratio",
            note="what counts as similar is not stated",
        )
        for name, ids in (("mse_amp", _MSE), ("psnr_amp", _PSNR))
    ),
    *(
        Check(
            f"statement.ppn_best_{condition}_{metric}",
            f"PPN is best, {CONDITIONS[condition]}, {metric}",
            "lead over the best CNN > 0",
            tuple(_t1(condition, method, metric) for method in ("ppn", *CNNS)),
            lower if metric.startswith("mse") else higher,
            relation=">",
            target=0.0,
            where="Table I, section IV-B2",
        )
        for condition, metric in itertools.product(CONDITIONS, METRICS)
    ),
    *(
        Check(
            f"statement.cnns_alike_{condition}_{metric}",
            f"the three CNNs do not differ, {CONDITIONS[condition]}, {metric}",
            "largest |a - b| / sqrt(sd_a^2 + sd_b^2) of two CNNs; t is sqrt(n) times that",
            tuple(_t1(condition, m, metric) + ending for m in CNNS for ending in ("", SD)),
            lambda a, sd_a, b, sd_b, c, sd_c: greatest(
                abs(a - b) / hypot(sd_a, sd_b),
                abs(a - c) / hypot(sd_a, sd_c),
                abs(b - c) / hypot(sd_b, sd_c),
            ),
            relation="<",
            target=2.0,
            where="Section IV-B2",
            unit="standard deviations",
            note="a test of means divides by the root of the number of runs, which is not stated",
            decides=False,
        )
        for condition, metric in itertools.product(CONDITIONS, METRICS)
    ),
    *(
        Check(
            f"claims.mid_frequency_attenuation_{end}",
            f"{end}imum attenuation of the mid band by a CNN relative to PPN",
            "share of the mid band in PPN / that in a CNN",
            ("claims.mid_band_share_cnn",),
            itself,
        )
        for end in ("min", "max")
    ),
)

#: Do MSE and PSNR of a cell of Table I, and their spreads, come from the same results?
CONSISTENCY = tuple(
    entry
    for condition, method, channel in itertools.product(CONDITIONS, METHODS, ("amp", "phase"))
    for place in [f"Table I, {CONDITIONS[condition]}, {NAMES[method]}, {channel}"]
    for pair in [tuple(_t1(condition, method, f"{m}_{channel}") for m in ("psnr", "mse"))]
    for entry in (
        Check(
            f"consistency.{condition}.{method}.psnr_{channel}",
            "MSE and PSNR are means over the same results",
            "PSNR + 10 log10(MSE) >= 0 (Jensen: -log is convex; data range 1)",
            pair,
            lambda psnr, mse: psnr - psnr_db(mse),
            relation=">=",
            target=0.0,
            where=place,
            unit="dB",
        ),
        Check(
            f"consistency.{condition}.{method}.psnr_{channel}_sd",
            "the spreads of MSE and PSNR are of the same results",
            "r = sd(PSNR) / (10 / ln 10 * sd(MSE) / MSE), first order: "
            "the larger of r and 1 / r <= 2",
            (pair[0] + SD, pair[1] + SD, pair[1]),
            _spread_ratio,
            relation="<=",
            target=2.0,
            where=place,
            unit="ratio",
        ),
    )
)

_SHORT = tuple(metric for metric in METRICS if not metric.startswith("mse"))
_T2_DROPS = (
    ("mhsa", "psnr_amp", "PoCA replaced by standard attention"),
    ("mhsa", "ssim_amp", "PoCA replaced by standard attention"),
    ("without-decoder", "psnr_amp", "no convolutional decoder"),
    ("without-decoder", "ssim_amp", "no convolutional decoder"),
)

TABLES = (
    *(
        Check(
            f"claims.{row.replace('-', '_')}_{metric}_drop_percent",
            f"drop of {metric}: {what}",
            REDUCTION,
            (f"table2.{row}.{metric}", f"table2.full.{metric}"),
            less_percent,
        )
        for row, metric, what in _T2_DROPS
    ),
    *(
        Check(
            f"statement.{table}_{best}_best_{metric}",
            f"{says}, {metric}",
            "lead over the best other row > 0",
            tuple(f"{table}.{row}.{metric}" for row in (best, *others)),
            higher,
            relation=">",
            target=0.0,
            where=where,
        )
        for table, best, others, says, where in (
            (
                "table2",
                "full",
                ("without-nlb", "mhsa", "without-decoder"),
                "the full model is best",
                "Table II, section IV-F",
            ),
            (
                "table3",
                "ppn",
                ("transunet", "segformer", "ptychoformer"),
                "PPN is better than the hybrid networks",
                "Table III, section IV-G",
            ),
            (
                "table4",
                "combined",
                ("mse", "mae", "huber", "npcc", "nssim"),
                "the combined loss is best",
                "Table IV, section V-B",
            ),
        )
        for metric in _SHORT
    ),
    *(
        Check(
            f"statement.{table}_{row}_equals_table1_{metric}",
            f"the {row} row of {where} is PPN of Table I, {metric}",
            "value of the row = value of Table I",
            (f"{table}.{row}.{metric}",),
            itself,
            target=_t1("clean", "ppn", metric),
            where=where,
        )
        for table, row, where in (
            ("table2", "full", "Table II"),
            ("table3", "ppn", "Table III"),
            ("table4", "mse", "Table IV"),
        )
        for metric in _SHORT
    ),
)

#: All of them, in the order in which they are printed.
CHECKS: tuple[Check, ...] = (*COMPARISON, *TABLES, *TEXT, *CONSISTENCY)
