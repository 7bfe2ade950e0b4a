"""What the paper's own numbers let one compute: set-up, limited data, cost, abstract."""

from __future__ import annotations

import math

from reproduce.parts.arithmetic import Check
from reproduce.parts.intervals import (
    Interval,
    itself,
    least,
    less_percent,
    more_percent,
    product,
    ratio,
)

REDUCTION, INCREASE = "100 (1 - a / b)", "100 (a / b - 1)"

#: PSNR at a data range of 1 of a constant 0.5, whose squared error is at most 0.25
#: whatever the target in [0, 1].
CONSTANT_HALF_DB = -10.0 * math.log10(0.25)

_SIDE, _PATCHES, _TRAIN = "claims.grid_side", "claims.patches", "claims.train_patches"


def _remaining(value: Interval, drop_percent: Interval) -> Interval:
    return value * (1.0 - drop_percent / 100.0)


def _grid_side(obj: Interval, patch: Interval, overlap: Interval) -> Interval:
    return (obj - patch) / (patch * (1.0 - overlap / 100.0)) + 1.0


def _density_ratio(patch: Interval) -> Interval:
    step = (patch * 0.7) / (patch * 0.1)
    return step * step


def _whole_pixel_ratio(patch: Interval) -> Interval:
    steps = [(patch * share).increasing(math.floor) for share in (0.7, 0.1)]
    return (steps[0] / steps[1]).increasing(lambda quotient: quotient**2)


def _million(mib: Interval) -> Interval:
    # float32: 4 bytes a parameter
    return mib * (2**20 / 4 / 1e6)


SET_UP = (
    Check(
        _SIDE,
        "scan positions a side",
        "(object - patch) / (patch (1 - overlap)) + 1",
        ("claims.object_side_px", "claims.patch_side_px", "claims.overlap_percent"),
        _grid_side,
    ),
    Check(_PATCHES, "patches of the scan", "side squared", (_SIDE, _SIDE), product),
    Check(
        "claims.train_percent",
        "share of the patches that train",
        "100 a / b",
        (_TRAIN, _PATCHES),
        lambda train, patches: 100.0 * train / patches,
    ),
    Check(
        "statement.train_rows",
        "the training patches are the first 48 of 61 rows of the scan",
        "training patches / patches a row",
        (_TRAIN, _SIDE),
        ratio,
        target=48.0,
        where="Section IV-E1",
        unit="rows",
        note="48 rows are those of the authors' code",
    ),
    Check(
        "claims.real_patterns",
        "patterns of the measured scan",
        "side squared",
        ("claims.real_grid_side", "claims.real_grid_side"),
        product,
    ),
    Check(
        "statement.real_lines",
        "the measured patterns are 100 lines of the scan",
        "patterns / points a line",
        ("claims.real_patterns", "claims.real_grid_side"),
        ratio,
        target=100.0,
        where="Section IV-A2",
        unit="lines",
        note="that is the training part of PtychoNN, which the paper splits again",
    ),
)

_TABLE1 = "table1.clean.{}.psnr_{}"

LIMITED_DATA = (
    Check(
        "statement.ppn_50_patches_psnr_amp",
        "PPN on 50 patches is no better than on 100",
        "PSNR (1 - drop) at 50 patches <= lowest PSNR at 100 patches",
        (_TABLE1.format("ppn", "amp"), "claims.ppn_psnr_amp_drop_percent"),
        _remaining,
        relation="<=",
        target="claims.overlap_psnr_amp_min",
        where="Section IV-E, Fig. 7",
        unit="dB",
    ),
    *(
        Check(
            f"statement.{method}_50_patches_above_constant_{channel}",
            f"{name} on 50 patches is better than a constant 0.5, {channel}",
            "PSNR (1 - drop) > -10 log10(0.25), which a constant 0.5 reaches on any "
            "target in [0, 1]",
            (_TABLE1.format(method, channel), f"claims.{method}_psnr_{channel}_drop_percent"),
            _remaining,
            relation=">",
            target=CONSTANT_HALF_DB,
            where="Section IV-E1, Fig. 7(a)",
            unit="dB",
            note="if not, training diverged",
        )
        for method, name in (("ppn", "PPN"), ("ptychonn", "PtychoNN"))
        for channel in ("amp", "phase")
    ),
    Check(
        "claims.degradation_overlap_30_percent",
        "degradation of PPN at 30 % overlap",
        "100 (1 - a / b) of the ends of its range of SSIM: the largest drop that it allows",
        ("claims.ppn_ssim_min", "claims.ppn_ssim_max"),
        less_percent,
        note="which overlaps the ends belong to is not stated",
    ),
    Check(
        "claims.speedup_overlap_30",
        "speed-up over ePIE at 30 % overlap",
        "a / b",
        ("claims.epie_seconds_overlap_30", "claims.ppn_seconds_overlap_30"),
        ratio,
    ),
    *(
        Check(
            f"statement.thousand_times_faster_overlap_{overlap}",
            f"1000 times faster than ePIE at {overlap} % overlap",
            "speed-up >= headline",
            (f"claims.speedup_overlap_{overlap}",),
            itself,
            relation=">=",
            target="claims.speedup_headline",
            where="Introduction",
            unit="ratio",
        )
        for overlap in (30, 60)
    ),
    Check(
        "claims.acquisition_ratio_90_30",
        "acquisition of a fixed area: positions at 90 % over positions at 30 % overlap",
        "((1 - 0.30) / (1 - 0.90))^2",
        ("claims.patch_side_px",),
        _density_ratio,
    ),
    Check(
        "statement.acquisition_ratio_whole_pixels",
        "the same ratio with steps of whole pixels, as in the authors' code, is 49",
        "(floor(0.7 patch) / floor(0.1 patch))^2",
        ("claims.patch_side_px",),
        _whole_pixel_ratio,
        target=49.0,
        where="Section IV-E3",
        unit="ratio",
    ),
    Check(
        "claims.combined_efficiency",
        "combined efficiency",
        "a b",
        ("claims.acquisition_ratio_90_30", "claims.speedup_overlap_30"),
        product,
        note="the product is right, but an acquisition ratio times a computing ratio is no "
        "speed-up of either, and ePIE's SSIM is 0.12 where it is taken",
    ),
)

_SIZE, _FLOPS, _EPOCHS = "fig10.{}.size_mib", "fig10.{}.gflops", "fig10.{}.epochs"

COST = (
    Check(
        "claims.flops_vs_dpi_percent",
        "fewer operations than DPI",
        REDUCTION,
        (_FLOPS.format("ppn"), _FLOPS.format("dpi")),
        less_percent,
    ),
    Check(
        "claims.params_vs_ptychoformer_percent",
        "fewer parameters than PtychoFormer",
        REDUCTION,
        (_SIZE.format("ppn"), _SIZE.format("ptychoformer")),
        less_percent,
    ),
    Check(
        "claims.flops_vs_ptychoformer_percent",
        "fewer operations than PtychoFormer",
        REDUCTION,
        (_FLOPS.format("ppn"), _FLOPS.format("ptychoformer")),
        less_percent,
    ),
    Check(
        "claims.params_ratio_ptychoformer",
        "times fewer parameters than PtychoFormer",
        "a / b",
        (_SIZE.format("ptychoformer"), _SIZE.format("ppn")),
        ratio,
    ),
    *(
        Check(
            f"claims.params_{method}_million",
            f"parameters of {name}",
            "size 2^20 / 4 bytes / 10^6",
            (_SIZE.format(method),),
            _million,
        )
        for method, name in (("ppn", "PPN"), ("ptychoformer", "PtychoFormer"))
    ),
    *(
        Check(
            f"statement.{method}_size_printed_twice",
            f"the {printed} million parameters of {name} are its size in MiB",
            "size in MiB = published number of parameters in millions",
            (_SIZE.format(method),),
            itself,
            target=f"claims.params_{method}_million",
            where="Introduction, section V-A",
        )
        for method, name, printed in (
            ("ppn", "PPN", "6.1"),
            ("ptychoformer", "PtychoFormer", "68.9"),
        )
    ),
    Check(
        "statement.size_between_ptynet_and_dpi",
        "PPN's size lies between those of PtyNet and DPI",
        "smaller of (PPN - PtyNet, DPI - PPN) > 0",
        tuple(_SIZE.format(method) for method in ("ptynet", "ppn", "dpi")),
        lambda low, size, high: least(size - low, high - size),
        relation=">",
        target=0.0,
        where="Section V-A",
        unit="MiB",
    ),
    *(
        Check(
            f"statement.fewer_epochs_than_{method}",
            f"PPN converges in fewer epochs than {name}",
            "epochs of PPN < epochs of the other",
            (_EPOCHS.format("ppn"),),
            itself,
            relation="<",
            target=_EPOCHS.format(method),
            where="Section V-A",
            unit="epochs",
        )
        for method, name in (("ptychonn", "PtychoNN"), ("dpi", "DPI"))
    ),
    Check(
        "statement.epochs_as_ptychoformer",
        "PPN needs as many epochs as PtychoFormer",
        "epochs of PPN = epochs of PtychoFormer",
        (_EPOCHS.format("ppn"),),
        itself,
        target=_EPOCHS.format("ptychoformer"),
        where="Section V-A",
        unit="epochs",
    ),
    *(
        Check(
            f"statement.flops_comparable_to_{method}",
            f"operations comparable to a lightweight CNN: {name}",
            "operations of PPN / operations of the CNN = 1",
            (_FLOPS.format("ppn"), _FLOPS.format(method)),
            ratio,
            target=1.0,
            where="Introduction",
            unit="ratio",
            note="fig10 counts them on our networks",
        )
        for method, name in (("ptychonn", "PtychoNN"), ("ptynet", "PtyNet"))
    ),
)

FIRST_VERSION = (
    Check(
        "claims.v1_psnr_percent",
        "higher PSNR, read as that of the amplitude over DPI",
        INCREASE,
        (_TABLE1.format("ppn", "amp"), _TABLE1.format("dpi", "amp")),
        more_percent,
    ),
    Check(
        "claims.v1_ssim_percent",
        "higher SSIM, read as that of the amplitude over PtychoNN",
        INCREASE,
        ("table1.clean.ppn.ssim_amp", "table1.clean.ptychonn.ssim_amp"),
        more_percent,
    ),
)

TEXT = (*SET_UP, *LIMITED_DATA, *COST, *FIRST_VERSION)
