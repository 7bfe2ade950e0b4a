"""Findings on the released network: its branch, its centre, its radial weight, its size."""

from __future__ import annotations

import statistics
from collections.abc import Mapping, Sequence
from typing import Any

from reproduce import compare
from reproduce.parts.audit_finding import Finding

#: A branch whose output varies less than this over images, relative to its size, is blind.
BLIND = 1e-4

#: Two-sided 5 % point of Student's t for 8 batches and 8 coordinates (Bonferroni): 2 layers,
#: 2 seeds, 2 axes.
T_LIMIT = 3.86


def branch(measured: Mapping[str, Any], operations: Mapping[str, float] | None) -> Finding:
    """Say whether the Non-Local branch tells images apart."""
    rows = []
    every = sorted(
        {s for by in measured["series"].values() for o in by.values() for s in o["steps"]}
    )
    for name, by_seed in measured["series"].items():
        for seed, one in by_seed.items():
            ratios = {f"step {step}": "" for step in every}
            for step, value in one["steps"].items():
                ratios[f"step {step}"] = f"{value['sd'] / value['level']:.1e}"
            change = f"{one['constant_branch_change']:.1e}"
            rows.append({"network": name, "seed": seed, **ratios, "made constant": change})
    released = [
        one
        for name, by_seed in measured["series"].items()
        if name in ("ppn-released", "ppn-released, linear input")
        for one in by_seed.values()
    ]
    late = max(v["sd"] / v["level"] for one in released for s, v in one["steps"].items() if s)
    alive = min(
        one["steps"][max(one["steps"])]["sd"] / one["steps"][max(one["steps"])]["level"]
        for name, by_seed in measured["series"].items()
        if not name.startswith("ppn-released") or name.endswith("repaired")
        for one in by_seed.values()
    )
    cost = (
        f"It costs {operations['branch']:.3f} of {operations['whole']:.3f} GFLOP "
        f"({100 * operations['share']:.0f} %). "
        if operations
        else ""
    )
    text = (
        "The released branch takes the pattern as three identical channels and begins with a "
        "LayerNorm over them. Identical channels have no variance, so that LayerNorm returns its "
        "offset whatever the pattern holds. The table has the standard deviation over test images "
        "of what the branch gives the fusion, over its root mean square. At initialisation all "
        "offsets are zero, and chained LayerNorms enlarge rounding: the first column is rounding, "
        f"not content. From the first Adam step on (batch 8) it is at most {late:.1e} in the "
        f"released graph, and at least {alive:.1e} after the last step in its repair and in the "
        f"network of section III-B. {cost}"
        '"Made constant" is the largest change of any output pixel on the [0, 1] scale after the '
        "last step if the branch gives its mean over images instead: for the released graph the "
        "branch is worth one learned vector, so that with and without it the network can differ "
        "by a constant and by the noise of training alone."
    )
    return Finding(
        "branch",
        "The released Non-Local branch carries no information on the image",
        text,
        rows,
        {"series": measured["series"], "operations": operations},
        "test_the_released_branch_is_blind_from_the_first_step_on_and_its_repair_is_not",
    )


def centre(
    measured: Mapping[str, Any], paths: Mapping[str, Mapping[str, Any]], side_px: int = 32
) -> Finding:
    """Say whether the centre learns, and how far it goes."""
    rows = []
    for seed, layers in measured["gradients"].items():
        for name, one in layers.items():
            rows.append(
                {
                    "network": "ppn",
                    "seed": seed,
                    "layer": name,
                    "mean norm of the gradient": f"{one['norm']:.1e}",
                    "t (row)": f"{one['t'][0]:.1f}",
                    "t (col)": f"{one['t'][1]:.1f}",
                }
            )
    for name, by_seed in measured["series"].items():
        if not name.startswith("ppn-released"):
            continue
        for seed, one in by_seed.items():
            for layer, gradient in one["first_center_gradient"].items():
                rows.append(
                    {
                        "network": name,
                        "seed": seed,
                        "layer": layer,
                        "mean norm of the gradient": "none" if not any(gradient) else gradient,
                        "t (row)": "",
                        "t (col)": "",
                    }
                )
    t_values = [
        abs(t) for by in measured["gradients"].values() for one in by.values() for t in one["t"]
    ]
    beyond = sum(t > T_LIMIT for t in t_values)
    text = (
        "The release computes radii and angles once, when the layer is built, with the centre at "
        "zero: the two numbers of the centre are counted as parameters and get no gradient. "
        "In the network of section III-B, as built here, the gradient is finite, and small. Over "
        f"8 batches at the initial weights its mean differs from zero in {beyond} of "
        f"{len(t_values)} coordinates (|t| > {T_LIMIT}); the others are noise. These patterns lie "
        "centred, and what is significant changes axis or sign with the initial weights, so it "
        "is no estimate of a displacement. Adam divides a gradient by its own size, so that "
        "even noise moves the centre by about the learning rate a step. "
        f"{_paths(paths, side_px)} Whether a centre finds a shift of the pattern is the next "
        "finding."
    )
    return Finding(
        "centre",
        "The released centre gets no gradient; ours gets a finite one",
        text,
        rows,
        {"gradients": measured["gradients"], "paths": dict(paths)},
        "test_the_released_centre_stays_and_ours_moves",
    )


def _paths(paths: Mapping[str, Mapping[str, Any]], side_px: int) -> str:
    if not paths:
        return "There is no record of a whole training of ppn yet."
    told = []
    for run, path in paths.items():
        ends = [
            f"({', '.join(f'{side_px * v:+.2f}' for v in points[-1])}) px in {layer}"
            for layer, points in path["centers"].items()
        ]
        told.append(
            f"In run {run} the centre ends at {' and '.join(ends)}; pure noise under the same "
            f"learning rates would carry a coordinate {side_px * path['random_walk']:.2f} px "
            "(root mean square). The pattern's own centre is at (0, 0)."
        )
    return " ".join(told)


def radial_weight(
    polar: Mapping[str, Any],
    shares: Mapping[str, Mapping[str, float]],
    attention: Mapping[int, Mapping[str, float]],
) -> Finding:
    """Say what the released radial weight does at the brightest pixel."""
    rows = [
        {"radius (px)": f"{r:.2f}", "released": f"{a:.3f}", "section III-B": f"{b:.3f}"}
        for r, a, b in zip(polar["radii_px"], polar["released"], polar["paper"], strict=True)
    ]
    mean = {
        key: statistics.fmean(one[key] for one in attention.values())
        for key in next(iter(attention.values()))
    }
    factors = ", ".join(f"{f:.2g} (logit {s})" for s, f in polar["factor"].items())
    text = (
        "The released weight is 1 / (1 + ln r / ln r_max) with r = distance + 1e-6. It has a pole "
        f"at {polar['pole_px']:.3f} px, and the centre pixel lies on its far side: its weight is "
        f"{polar['centre']:.3f}, where the next pixel has 1. That is {polar['negative_pixels']} "
        f"of 1024 keys, but the one that holds {100 * shares['linear']['centre']:.0f} % of the "
        f"variance over patterns of the linear input ({100 * shares['linear']['3x3']:.0f} % within "
        "3 x 3 px; after the logarithm "
        f"{100 * shares['log1p']['centre']:.2f} %). A query that matches this key is turned away "
        "from it: against a weight of 1 its unnormalised attention falls by a factor of "
        f"{factors}. In the repaired release after 16 steps, queries whose unweighted logit with "
        f"the centre is positive give it {mean['liked_released']:.2f} of an even share, and "
        f"{mean['liked_one']:.2f} with a weight of 1; those with a negative logit "
        f"{mean['disliked_released']:.2f} and {mean['disliked_one']:.2f}. In the graph as released "
        "it changes nothing, since its branch sees no image. The form of section III-B, with "
        "ln(1 + r), has no pole and no negative weight."
    )
    return Finding(
        "radial_weight",
        "The released radial weight changes sign at the centre pixel",
        text,
        rows,
        {"polar": dict(polar), "variance_share": dict(shares), "attention": dict(attention)},
        "test_the_released_weight_is_negative_at_the_centre_pixel_alone",
    )


def parameters(counted: Mapping[str, Any]) -> Finding:
    """Put Fig. 10's sizes in parameters, MiB and MB."""
    paper = compare.load_paper()
    rows = []
    for name, one in counted.items():
        key = f"fig10.{'ppn' if name == 'ppn-released' else name}.size_mib"
        published = paper[key].value if key in paper else None
        rows.append(
            {
                "network": name,
                "parameters": f"{one.total:,}",
                "trainable": f"{one.trainable:,}",
                "MiB (2^20 bytes)": f"{one.mib:.2f}",
                "MB (10^6 bytes)": f"{one.total * 4 / 1e6:.2f}",
                "published MB": "" if published is None else f"{published:.2f}",
                "parameters that it means": ""
                if published is None
                else f"{published * 2**20 / 4 / 1e6:.2f} M",
            }
        )
    total = counted["ppn-released"].total
    text = (
        "The sizes of Fig. 10 are float32 parameters, BatchNorm statistics included, in units of "
        f"2^20 bytes: the released graph has {total:,} parameters, {total * 4 / 2**20:.2f} MiB, "
        "which is the printed number, and PtyNet and DPI agree as well. The introduction gives "
        f"the same numbers as millions of parameters; in parameters they are {_millions(counted)} "
        "million. The ratio of the two does not depend on the unit. The network of section III-B "
        "without the fully connected expansion of the release has "
        f"{counted['ppn'].total:,} parameters, {100 * counted['ppn'].total / total:.0f} % of it."
    )
    return Finding(
        "parameters",
        "The sizes of Fig. 10 are MiB, not millions of parameters",
        text,
        rows,
        {name: {"total": one.total, "mib": one.mib} for name, one in counted.items()},
        "test_sizes_are_mebibytes_of_float32",
    )


def _millions(counted: Mapping[str, Any]) -> str:
    names = [name for name in ("ppn-released", "ptychoformer") if name in counted]
    return " and ".join(f"{counted[name].total / 1e6:.2f}" for name in names)


def consistency(findings: Sequence[Any]) -> Finding:
    """Count what the paper's own numbers say of each other."""
    from reproduce.parts import arithmetic

    count = {status: sum(f.status == status for f in findings) for status in arithmetic.STATUSES}
    rows = [
        {
            "statement": f.says,
            "where": f.where,
            "printed": "" if f.target is None else f"{f.relation} {f.target:.6g}",
            "recomputed": f"{f.recomputed:.4g}",
            "range from rounding": f"{f.low:.4g} to {f.high:.4g}",
        }
        for f in findings
        if f.status == arithmetic.DOES_NOT_HOLD
    ]
    told = ", ".join(f"{status}: {number}" for status, number in count.items())
    broken = [f.id for f in findings if f.status == arithmetic.DOES_NOT_HOLD]
    spreads = sum(name.startswith("consistency.") and name.endswith("_sd") for name in broken)
    text = (
        f"{len(findings)} checks of printed numbers of the paper against each other: MSE against "
        "PSNR, spreads, one table against another, percentages, ratios. Every printed number "
        f"counts as the interval that rounds to it. {told}. Of those that do not hold, {spreads} "
        "compare the spreads of MSE and PSNR, to first order and with a factor of 2 to spare: they "
        "take both to be of the same runs. The table has all that do not hold whatever was "
        "rounded; `results/claims.md` has the others too, with formulas and notes."
    )
    measured = {"counts": count, "not_holding": broken}
    return Finding(
        "consistency",
        "Which printed numbers contradict each other",
        text,
        rows,
        measured,
        "test_contradictions_are_counted_from_the_printed_numbers",
    )
