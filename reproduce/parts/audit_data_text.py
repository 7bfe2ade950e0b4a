"""Findings on the data: leaks, metrics, stitching, noise, ePIE's cost."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from reproduce import compare
from reproduce.parts import audit_dose, audit_leaks
from reproduce.parts.audit_data import RELEASED_NOISE_SD
from reproduce.parts.audit_finding import Finding
from reproduce.parts.audit_measured_text import REMEDY, how
from reproduce.parts.audit_records import results


def leaks(
    shared: Sequence[Mapping[str, Any]],
    scored: Sequence[Mapping[str, Any]],
    record: Mapping[str, Any] | None = None,
) -> Finding:
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
            f"{one['method']} (n = {one['n']}) "
            + ", ".join(
                f"{region} {value:+.2f} dB / {ssim:+.1f} points"
                for region, (value, ssim) in one["against_gap"].items()
            )
            for one in scored
        )
        text += (
            "The runs there are, amplitude PSNR and per-image SSIM against the same run's in "
            f"`gap`: {told}. The regions differ by their content too, so that these differences "
            "are not the leak's alone."
        )
    worth = audit_leaks.worth(results(record)) if record else []
    if record:
        text += _worth(worth, record)
    return Finding(
        "leaks",
        "What test regions share with training, and what that is worth",
        text,
        rows,
        {"shared": list(shared), "scored": list(scored), "worth": worth},
        "test_shared_pixels_follow_from_the_raster",
        "" if record else f"what each leak is worth ({REMEDY.format(audit_leaks.NAME)})",
        audit_leaks.table(worth),
    )


def _worth(worth: Sequence[Mapping[str, Any]], record: Mapping[str, Any]) -> str:
    by_leak = {one["leak"]: one for one in worth if one["metric"] == "psnr_amplitude"}
    told = "; ".join(
        f"{leak}: the gain is {audit_leaks.told(one['shared'])} where something is shared and "
        f"{audit_leaks.told(one['unshared'])} where nothing is, so that the leak alone is worth "
        f"{audit_leaks.told(one['leak_alone'])}"
        for leak, one in by_leak.items()
    )
    settings = record["settings"]
    away = [one for one in worth if one["leak_alone"]["ci95"][0] * one["leak_alone"]["ci95"][1] > 0]
    return (
        f" To tell them apart, {settings['model']} is trained on {settings['patches']} patches "
        f"for {settings['epochs']} epochs, with the leak and without it, "
        "and tested where pixels are shared and where none are. "
        f"Amplitude PSNR, mean and 95 % interval over {worth[0]['leak_alone']['n']} paired "
        f"seeds: {told}. The second table has all metrics: of its {len(worth)} intervals of a leak "
        f"alone, {len(away)} exclude 0. {how(record)}"
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
        f"number by {min(differences):+.1f} to {max(differences):+.1f} points, {_signs(scored)}. "
        "It also depends on the order of the patches: shuffled, which no image quality can "
        f"depend on, the same predictions score {min(gains):+.1f} to {max(gains):+.1f} points "
        "against the scan's order. MSE and PSNR do not depend on it."
    )
    return Finding(
        "flattened_ssim",
        "SSIM on the flattened array is another quantity",
        text,
        rows,
        {"degradations": list(scored)},
        "test_flattened_ssim_depends_on_the_order_of_patches_and_the_others_do_not",
    )


def _signs(scored: Sequence[Mapping[str, Any]]) -> str:
    """Name the degradations that flattening raises and lowers in both channels."""
    by_name: dict[str, list[float]] = {}
    for one in scored:
        difference = one["flattened"] - one["per-image"]
        by_name.setdefault(one["degradation"], []).append(difference)
    parts = [
        f"{word} for {', '.join(names)}"
        for word, names in (
            ("up", [name for name, values in by_name.items() if min(values) > 0]),
            ("down", [name for name, values in by_name.items() if max(values) < 0]),
        )
        if names
    ]
    return "; ".join(parts) or "in one direction for amplitude and in the other for phase"


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


def noise(
    measured: Sequence[Mapping[str, Any]], record: Mapping[str, Any] | None = None
) -> Finding:
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
        f"level. {_released_level(measured)}Our model `reference` has "
        "5e4 photons a pattern, Poisson counts and a readout of 1 photon. On a linear input even "
        "it is small; after the logarithm faint pixels count, and it is not. So the published "
        "noisy half says little without its level and its input."
    )
    lost = _lost(record) if record else []
    if record:
        text += _doses(lost, record)
    return Finding(
        "noise",
        "Noise is small or large by input transform and dose",
        text,
        rows,
        {"noise": list(measured), "lost": lost},
        "test_noise_on_the_inputs_follows_from_its_definition",
        ""
        if record
        else f"scores by dose, and noise in the test alone ({REMEDY.format(audit_dose.NAME)})",
        [
            {
                "network": one["network"],
                "noise in": one["where"],
                "dose": one["dose"],
                "PSNR amplitude lost (dB)": f"{one['mean']:.2f}",
                "n": str(len(one["values"])),
            }
            for one in lost
        ],
    )


def _released_level(measured: Sequence[Mapping[str, Any]]) -> str:
    """Put the released noise in units of the brightest pixel."""
    released = [
        one
        for one in measured
        if one["noise"].startswith("released") and one["transform"] == "linear"
    ]
    if not released:
        return ""
    brightest = released[0]["counts_max"]
    return (
        f"On the raw intensity of the release, whose brightest pixel is {brightest:.2g}, that "
        f"Gaussian is {RELEASED_NOISE_SD / brightest:.1e} of full scale and cannot be seen on a "
        "linear input. "
    )


def _lost(record: Mapping[str, Any]) -> list[dict[str, Any]]:
    return audit_dose.losses(results(record), "psnr_amplitude")


def _doses(lost: Sequence[Mapping[str, Any]], record: Mapping[str, Any]) -> str:
    at = [one for one in lost if one["dose"] == "reference"]
    told = "; ".join(
        f"{one['network']}, noise in {one['where']}: {one['mean']:.2f} dB (n = "
        f"{len(one['values'])})"
        for one in at
    )
    return (
        " What it costs, as amplitude PSNR in `gap` without noise less that with it, at "
        f"5e4 photons a pattern: {told}. The second table has ten times fewer and more photons. "
        "Noise in the test alone is a sensitivity, not Table I's noisy half, which trains with "
        f"it. {how(record)}"
    )


def speed(positions: Mapping[str, int], measured: Sequence[Mapping[str, Any]] = ()) -> Finding:
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
        "is two Fourier transforms of 32 x 32 px and a few products. " + _remains(measured)
    )
    return Finding(
        "speed",
        "What one ePIE update must have cost",
        text,
        rows,
        {"positions": dict(positions), "ms_per_update": updates, "measured": list(measured)},
        "test_cost_of_an_epie_update",
        "" if measured else "times of ePIE at 30 % overlap (`python reproduce/fig8.py`)",
        [
            {
                "device": one["device"],
                "ePIE": engine,
                "ms an update": f"{one['ms_per_update'][engine]:.3f}",
                f"s for {one['iterations']} iterations": f"{one['seconds'][engine]:.2f}",
                **{
                    f"times {name}": f"{network['ratio'][engine]:.1f}"
                    for name, network in one["networks"].items()
                },
            }
            for one in measured
            for engine in one["seconds"]
        ],
    )


def _remains(measured: Sequence[Mapping[str, Any]]) -> str:
    if not measured:
        return ""
    one = measured[0]
    engines = "; ".join(
        f"{engine} {one['ms_per_update'][engine]:.3f} ms an update" for engine in one["seconds"]
    )
    ratios = "; ".join(
        f"{name} ({network['weights']}) "
        + ", ".join(f"{value:.1f} ({engine})" for engine, value in network["ratio"].items())
        for name, network in one["networks"].items()
    )
    return (
        f"Fig. 8 measures both on one machine ({one['device']}, {one['patterns']} positions, "
        f"{one['iterations']} iterations): {engines}. Its time over the network's, the ratio "
        f"that remains of the published 852: {ratios}. The slower the loop around the "
        "transforms, the larger the ratio."
    )
