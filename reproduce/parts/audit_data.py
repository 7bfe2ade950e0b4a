"""What the audit measures on the data alone: leaks, metrics, stitching, noise."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
import scipy.ndimage

from ppn_tf import data, degradations, metrics, stitching
from ppn_tf.data.dataset import Dataset
from ppn_tf.scaling import Scaling
from ppn_tf.seeding import generator

CHANNELS = ("amplitude", "phase")
CONVENTIONS = metrics.CONVENTIONS

#: Test area of the authors' release: 13 x 13 patches.
RELEASE_REGION = "lower-left"
RELEASE_GRID = (13, 13)
RELEASE_PITCH_PX = 9
STEP_PX = 8
WINDOW_PX = 32

#: Standard deviation of the noise that the release could add, in its own raw units.
RELEASED_NOISE_SD = 0.01

#: Orders of the patches in which the flattened SSIM is taken once more.
ORDERS = 10

Degrade = Callable[[np.ndarray, np.ndarray, np.random.Generator], np.ndarray]

#: Name to degradation: patches, training patches, generator.
DEGRADATIONS: dict[str, Degrade] = {
    "blur, sigma 1 px": lambda x, _, rng: degradations.blur(x, 1.0),
    "blur, sigma 2 px": lambda x, _, rng: degradations.blur(x, 2.0),
    "blur, sigma 3 px": lambda x, _, rng: degradations.blur(x, 3.0),
    "shift 2 px to the right": lambda x, _, rng: degradations.shift(x, 0, 2),
    "shift 2 px down": lambda x, _, rng: degradations.shift(x, 2, 0),
    "white noise, sd 0.1": lambda x, _, rng: degradations.white_noise(x, 0.1, rng),
    "smooth error, sd 0.1, 3 px": lambda x, _, rng: degradations.smooth_error(x, 0.1, 3.0, rng),
    "offset of each patch, sd 0.15": lambda x, _, rng: degradations.patch_offset(x, 0.15, rng),
    "20 principal components": lambda x, train, rng: degradations.low_rank(x, train, 20),
}


def leaks(datasets: Mapping[int, Dataset]) -> list[dict[str, Any]]:
    """Return what every test region shares with training, by jitter [px]."""
    found = []
    for jitter_px, dataset in datasets.items():
        for region in data.REGIONS:
            shared = data.shared_pixels(dataset, region)
            found.append(
                {
                    "jitter_px": jitter_px,
                    "region": region,
                    "patches": len(data.region_indices(dataset, region)),
                    "patches_in_training": shared.patches_in_training,
                    "patch_pixels_shared": shared.patch_pixels_shared_fraction,
                    "field_pixels_shared": shared.field_pixels_shared_fraction,
                }
            )
    return found


def targets(dataset: Dataset, indices: np.ndarray) -> dict[str, np.ndarray]:
    """Return true patches on the [0, 1] target scale of the training part."""
    scaling = dataset.fit_scaling(data.train_indices(dataset), "linear")
    return {
        "amplitude": scaling.target_amplitude(dataset.amplitude[indices]),
        "phase": scaling.target_phase(dataset.phase[indices]),
    }


def ssim_conventions(dataset: Dataset) -> list[dict[str, Any]]:
    """Score controlled degradations of the released test patches under every convention.

    ``flattened_orders`` holds lowest and highest flattened SSIM over random orders of the
    same patches, which changes nothing else.
    """
    indices = data.region_indices(dataset, RELEASE_REGION)
    truth = targets(dataset, indices)
    train = targets(dataset, data.train_indices(dataset))
    positions_px = dataset.positions_px[indices]
    found = []
    for number, (name, degrade) in enumerate(DEGRADATIONS.items()):
        for channel in CHANNELS:
            true = truth[channel].astype(np.float64)
            # one stream for both channels: they differ by their content alone
            worse = degrade(true, train[channel], generator(0, "noise", number))
            # the released network ends in a sigmoid: it cannot leave the target scale
            worse = np.clip(worse, 0.0, 1.0)
            found.append(
                {"degradation": name, "channel": channel}
                | _under_conventions(worse, true, positions_px, dataset.object_shape)
            )
    return found


def _under_conventions(
    worse: np.ndarray, true: np.ndarray, positions_px: np.ndarray, shape: tuple[int, int]
) -> dict[str, Any]:
    from reproduce import evaluate

    pair = evaluate.stitched_pair(worse, true, positions_px, shape)
    found: dict[str, Any] = {"psnr_db": metrics.psnr(worse, true, data_range=1.0)}
    for convention in CONVENTIONS:
        images = pair if convention == "field" else (worse, true)
        found[convention] = metrics.ssim(*images, data_range=1.0, convention=convention)
    rng = generator(0, "order")
    orders = [rng.permutation(len(true)) for _ in range(ORDERS)]
    again = [
        metrics.ssim(worse[order], true[order], data_range=1.0, convention="flattened")
        for order in orders
    ]
    return found | {"flattened_orders": [min(again), max(again)]}


def released_stitching(dataset: Dataset) -> list[dict[str, Any]]:
    """Score perfect patches, stitched at 9 px as released and at their true 8 px.

    The released field is larger than the truth. It is compared with the truth as it lies,
    pixel on pixel from the first corner, and with the truth magnified to its size.
    """
    indices = data.region_indices(dataset, RELEASE_REGION)
    positions_px = dataset.positions_px[indices]
    rows, cols = (
        slice(int(positions_px[:, axis].min()), int(positions_px[:, axis].max()) + WINDOW_PX)
        for axis in (0, 1)
    )
    found = []
    for channel, true in targets(dataset, indices).items():
        field = stitching.stitch(
            true, positions_px, dataset.object_shape, weights=stitching.weights(WINDOW_PX)
        ).field[rows, cols]
        wrong = stitching.stitch_released(true, RELEASE_GRID, RELEASE_PITCH_PX, crop_px=0)
        # the released weights reach 0 at the very first pixel: leave one row and column out
        side = wrong.shape[0]
        magnified = scipy.ndimage.zoom(field, side / len(field), order=1)
        right = stitching.stitch(
            true,
            positions_px - positions_px.min(axis=0),
            field.shape,
            weights=stitching.weights(WINDOW_PX),
        ).field
        for name, made, wanted in (
            ("9 px, against the truth as it lies", wrong[: len(field), : len(field)], field),
            ("9 px, against the truth magnified 140/128", wrong, magnified),
            ("8 px", right, field),
        ):
            inner = (slice(1, None), slice(1, None))
            score = metrics.evaluate(made[inner], wanted[inner], data_range=1.0, convention="field")
            found.append({"pitch": name, "channel": channel, "side_px": side} | score.to_dict())
    return found


def noise(object_name: str, models: tuple[str, ...]) -> list[dict[str, Any]]:
    """Return how far noise moves the inputs, by noise model and input transform.

    ``rms`` is the root mean square change of the scaled input; ``rms_ratio`` the same over
    the input's standard deviation over patterns and pixels.
    """
    clean = data.load(object_name)
    noisy = {
        f"released, Gaussian sd {RELEASED_NOISE_SD:g} on raw intensity": (
            clean.patterns,
            clean.patterns
            + RELEASED_NOISE_SD
            * generator(0, "noise").standard_normal(clean.patterns.shape, dtype=np.float32),
        )
    }
    for name in models:
        made = data.load(object_name, noise=name)
        model = data.NOISE_MODELS[name]
        silent = data.load(
            object_name,
            noise=data.NoiseModel("silent", model.photons_per_pattern, False, 0.0),
        )
        noisy[name] = (silent.patterns, made.patterns)
    found = []
    for name, (without, within) in noisy.items():
        for transform in ("linear", "log1p"):
            before, after = (_input(x, transform, without) for x in (without, within))
            change = float(np.sqrt(np.mean((after - before) ** 2)))
            found.append(
                {
                    "noise": name,
                    "transform": transform,
                    "counts_per_pattern": float(without.sum(axis=(1, 2)).mean()),
                    "counts_max": float(without.max()),
                    "rms": change,
                    "rms_ratio": change / float(before.std()),
                }
            )
    return found


def _input(patterns: np.ndarray, transform: str, reference: np.ndarray) -> np.ndarray:
    """Scale patterns as an input, by the range of `reference`."""
    # a detector reports no negative counts; the release's noise may be below zero
    values = np.maximum(patterns.astype(np.float64), 0.0)
    ends = np.array([reference.min(), reference.max()], dtype=np.float64)
    if transform == "log1p":
        values, ends = np.log1p(values), np.log1p(ends)
    return (values - ends[0]) / (ends[1] - ends[0])


def dc_share(dataset: Dataset, scaling: Scaling) -> dict[str, float]:
    """Return the share of the input's variance over patterns at the centre pixel and 3x3."""
    values = _input(dataset.patterns, scaling.transform, dataset.patterns)
    variance = values.var(axis=0)
    row, col = (side // 2 for side in variance.shape)
    around = variance[row - 1 : row + 2, col - 1 : col + 2]
    return {
        "centre": float(variance[row, col] / variance.sum()),
        "3x3": float(around.sum() / variance.sum()),
    }


def against_gap(records: Mapping[str, Sequence[Mapping[str, Any]]]) -> list[dict[str, Any]]:
    """Return what runs score in each region, less what the same runs score in ``gap``.

    Parameters
    ----------
    records : mapping
        Method to its records.

    Returns
    -------
    list of dict
        ``against_gap``: region to (PSNR [dB], per-image SSIM [%]) of the amplitude, mean
        over seeds.
    """
    found = []
    for method, held in records.items():
        scores = [
            {
                region: np.array([one["psnr_db"], 100 * one["ssim"]])
                for region, channels in record["results"]["regions"].items()
                for one in [channels["amplitude"]["per-image"]]
            }
            for record in held
        ]
        regions = [name for name in scores[0] if name != "gap"]
        differences = {
            name: np.mean([one[name] - one["gap"] for one in scores], axis=0).tolist()
            for name in regions
        }
        found.append({"method": method, "n": len(held), "against_gap": differences})
    return found


def positions_at(overlap: float) -> dict[str, int]:
    """Return the number of scan positions at an overlap, of the object and of its corner."""
    step_px = data.step_from_overlap(WINDOW_PX, overlap)
    return {
        f"{side} x {side} px": len(data.raster((side, side), WINDOW_PX, step_px).positions_px)
        for side in (512, 128)
    }
