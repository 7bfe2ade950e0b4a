"""Findings on the data: leaks, metrics, stitching, noise, ePIE's cost."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from reproduce import compare
from reproduce.parts.audit_finding import Finding


def leaks(shared: Sequence[Mapping[str, Any]], scored: Sequence[Mapping[str, Any]]) -> Finding:
    """Say what test regions share with training, and what runs score in each."""
    rows = [
        {
            "jitter (px)": str(one["jitter_px"]),
            "region": one["region"],
            "patches": str(one["patches"]),
            "in training": f"{100 * one['patches_in_training'] / one['patches']:.1f} %",
            "patch pixels shared": f"{100 * one['patch_pixels_shared']:.1f} %",
            "object pixels shared": f"{100 * one['field_pixels_shared']:.1f} %",
        }
        for one in shared
    ]
    first = next(o for o in shared if o["region"] == "first-release" and not o["jitter_px"])
    text = (
        "Training patches reach object row 408, and the test rows begin at row 384: the first "
        "three test rows share three quarters, half and a quarter of their pixels with training. "
        "Validation patches are drawn from the training rows and overlap their neighbours as "
        "well. The region of the release's first public version holds "
        f"{100 * first['patches_in_training'] / first['patches']:.1f} % patches that are training "
        "patches. `gap` is the part of the test rows that shares no pixel. "
    )
    if scored:
        told = "; ".join(
            f"{one['method']} (n = {one['n']}) " + ", ".join(
                f"{region} {value:+.2f} dB / {ssim:+.1f} points"
                for region, (value, ssim) in one["against_gap"].items()
            )
            for one in scored
        )  # fmt: skip
        text += (
            "The runs there are, amplitude PSNR and per-image SSIM against the same run's in "
            f"`gap`: {told}. The regions differ by their content too, so that these differences "
            "are not the leak's alone."
        )
    return Finding(
        "leaks",
        "What test regions share with training",
        text,
        rows,
        {"shared": list(shared), "scored": list(scored)},
        "test_shared_pixels_follow_from_the_raster",
        "the same networks trained without the rows next to the test region",
    )


def flattened_ssim(scored: Sequence[Mapping[str, Any]]) -> Finding:
    """Say what SSIM on the flattened array measures."""
    rows = [
        {
            "degradation": one["degradation"],
            "channel": one["channel"],
            "PSNR (dB)": f"{one['psnr_db']:.2f}",
            "per image": f"{one['per-image']:.3f}",
            "flattened": f"{one['flattened']:.3f}",
            "flattened, shuffled": "{:.3f} to {:.3f}".format(*one["flattened_orders"]),
            "stitched field": f"{one['field']:.3f}",
        }
        for one in scored
    ]
    differences = [100 * (one["flattened"] - one["per-image"]) for one in scored]
    gains = [100 * (min(one["flattened_orders"]) - one["flattened"]) for one in scored]
    text = (
        "The release flattens n patches to one array of n rows and 1024 columns and takes SSIM of "
        "that. A window of 7 x 7 then spans 7 neighbouring pixels of an image row and the same "
        "pixels of 7 consecutive patches, which lie 8 px apart on the object: no vertical "
        "structure enters, and windows run over the ends of image rows and of scan lines. "
        "The table has controlled errors on the 169 test patches of the release, clipped to "
        "[0, 1] as the network's sigmoid does. Against one SSIM per image, flattening moves the "
        f"number by {min(differences):+.1f} to {max(differences):+.1f} points, up for blur, low "
        "rank and white noise, down for offsets and smooth errors of each patch. It also "
        "depends on the order of the patches: shuffled, which no image quality can depend on, the "
        f"same predictions score {min(gains):+.1f} to {max(gains):+.1f} points against the scan's "
        "order. MSE and PSNR do not depend on it."
    )
    return Finding(
        "flattened_ssim",
        "SSIM on the flattened array is another quantity",
        text,
        rows,
        {"degradations": list(scored)},
        "test_flattened_ssim_depends_on_the_order_of_patches_and_the_others_do_not",
    )


def stitching(scored: Sequence[Mapping[str, Any]]) -> Finding:
    """Say what the released pitch costs perfect patches."""
    rows = [
        {
            "pitch, comparison": one["pitch"],
            "channel": one["channel"],
            "PSNR (dB)": "infinite" if one["psnr_db"] is None else f"{one['psnr_db']:.2f}",
            "SSIM": f"{one['ssim']:.3f}",
        }
        for one in scored
    ]
    text = (
        "The released stitching places neighbouring patches 9 px apart; the scan's step is 8 px. "
        "Perfect patches of its test region then give a field of 140 px where the object has "
        "128, with every overlap displaced. The cost depends on whether the truth is stitched "
        "alike: against the truth as it lies the field is wrong by its scale, and even against "
        "the truth magnified to its size it is blurred. At the true step the field is the truth. "
        "Table I is said to be of the full field, the release scores unstitched patches."
    )
    return Finding(
        "stitching",
        "Stitching at 9 px with a step of 8",
        text,
        rows,
        {"scores": list(scored)},
        "test_the_released_pitch_blurs_perfect_patches_and_the_true_step_does_not",
    )


def noise(measured: Sequence[Mapping[str, Any]]) -> Finding:
    """Say how large the noise is on the networks' inputs."""
    rows = [
        {
            "noise": one["noise"],
            "input": one["transform"],
            "counts a pattern": f"{one['counts_per_pattern']:.3g}",
            "largest pixel": f"{one['counts_max']:.3g}",
            "rms change of the input": f"{one['rms']:.1e}",
            "over the input's sd": f"{one['rms_ratio']:.1e}",
        }
        for one in measured
    ]
    text = (
        "The release has functions for noise and calls none of them; they add a Gaussian of "
        "standard deviation 0.01 or Poisson counts, never both, and the paper does not state its "
        "level. On the raw intensity of the release, whose brightest pixel is 3.9e4, that Gaussian "
        "is 2.5e-7 of full scale and cannot be seen on a linear input. Our model `reference` has "
        "5e4 photons a pattern, Poisson counts and a readout of 1 photon. On a linear input even "
        "it is small; after the logarithm faint pixels count, and it is not. So the published "
        "noisy half says little without its level and its input."
    )
    return Finding(
        "noise",
        "Noise is small or large by input transform and dose",
        text,
        rows,
        {"noise": list(measured)},
        "test_noise_on_the_inputs_follows_from_its_definition",
        "Table I's noisy half at three doses, and noise in the test alone",
    )


def speed(positions: Mapping[str, int]) -> Finding:
    """Put the published ePIE time in time per position update."""
    paper = compare.load_paper()
    seconds, low, high = (
        paper[f"claims.{name}"].value
        for name in ("epie_seconds_overlap_30", "epie_iterations_min", "epie_iterations_max")
    )
    rows, updates = [], {}
    for name, count in positions.items():
        updates[name] = [1e3 * seconds / (count * n) for n in (high, low)]
        rows.append(
            {
                "field at 30 % overlap": name,
                "positions": str(count),
                "updates in 125 s": f"{count * low:,.0f} to {count * high:,.0f}",
                "ms an update": "{:.2f} to {:.2f}".format(*updates[name]),
            }
        )
    text = (
        f"At 30 % overlap the paper gives ePIE {seconds:g} s. An iteration updates every position "
        "once, so that the time is iterations x positions x cost of one update, and the table "
        f"has what that cost would be at the paper's {low:g} to {high:g} iterations. One update "
        "is two Fourier transforms of 32 x 32 px and a few products. Fig. 8 "
        "(`python reproduce/fig8.py`) measures a compiled ePIE and a plain NumPy loop on one "
        "machine, next to the network, and the ratio that remains."
    )
    return Finding(
        "speed",
        "What one ePIE update must have cost",
        text,
        rows,
        {"positions": dict(positions), "ms_per_update": updates},
        "test_cost_of_an_epie_update",
    )


def no_record_yet() -> Finding:
    """List what the audit asks for and has no runs of."""
    text = (
        "Not answered here: the value of each leak by training with and without it; training on "
        "shifted patterns; the noisy half by dose and noise in the test alone; and whether PoCA "
        "helps, by the ablations of Table II and variants of the attention in the sound block. "
        "Table II (`python reproduce/table2.py`) holds the first of these ablations for the "
        "three forms of the network, with intervals. Nor are the receptive fields of the "
        "convolutional networks measured yet."
    )
    return Finding("open", "What needs runs that are not there", text)
