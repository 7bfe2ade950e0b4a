"""The diffraction pattern of Fig. 1, decomposed."""

from __future__ import annotations

import dataclasses

import numpy as np

from ppn_tf import data, polar, spectrum
from reproduce.parts.stitched import FREE_ROW_PX

#: Ranges of radius over the detector's edge: the bands of section IV-B3.
BANDS = tuple(spectrum.BANDS.values())


@dataclasses.dataclass(frozen=True, eq=False)
class ExamplePattern:
    """One pattern and what Fig. 1 draws of it.

    Attributes
    ----------
    position_px : list of int
        Row and column of its window in the object.
    log_counts : (H, W) float
        log10(1 + counts).
    phase_rad : (H, W) float
        Object phase in the window.
    polar : (radii, angles) float
        `log_counts` on circles 1 px apart.
    angle_rad : (angles,) float
    radius_px, radial_counts : (K,) float
        Mean counts of each ring.
    angular : list of (angles,) float
        Mean of `log_counts` over the radii of each band.
    log_psd : (H, W) float
        log10 power spectrum of `log_counts`, its mean removed.
    """

    position_px: list[int]
    log_counts: np.ndarray
    phase_rad: np.ndarray
    polar: np.ndarray
    angle_rad: np.ndarray
    radius_px: np.ndarray
    radial_counts: np.ndarray
    angular: list[np.ndarray]
    log_psd: np.ndarray


def pattern_of(object_name: str) -> ExamplePattern:
    """Simulate the scan and take the test pattern whose window has the most edges."""
    dataset = data.load(object_name)
    indices = data.region_indices(dataset, "lower-right")
    indices = indices[dataset.positions_px[indices, 0] >= FREE_ROW_PX]
    amplitude = dataset.amplitude[indices]
    variation = sum(np.abs(np.diff(amplitude, axis=axis)).sum(axis=(1, 2)) for axis in (1, 2))
    index = indices[int(np.argmax(variation))]
    counts = dataset.patterns[index].astype(np.float64)
    logs = np.log10(1.0 + counts)
    around, _, angle_rad = polar.polar_map(logs)
    radius_px, radial = polar.radial_profile(counts)
    edge = counts.shape[0] / 2
    angular = [polar.angular_profile(logs, (low * edge, high * edge))[1] for low, high in BANDS]
    psd = spectrum.power_spectrum(logs, remove_mean=True)
    # the removed mean leaves nothing but rounding at zero frequency
    floor = np.sort(psd.ravel())[1]
    return ExamplePattern(
        [int(value) for value in dataset.positions_px[index]],
        logs,
        dataset.phase[index],
        around,
        angle_rad,
        radius_px,
        radial,
        angular,
        np.log10(np.maximum(psd, floor)),
    )


def describe(example: ExamplePattern) -> list[str]:
    """Say what the pattern shows, in numbers."""
    counts = 10**example.log_counts - 1
    radial = example.radial_counts
    edge = int(counts.shape[0] // 2)
    row, col = example.position_px
    varying = np.nanstd(example.polar, axis=1)
    return [
        f"scan point: window at row {row}, column {col} of the object",
        f"counts: {counts.sum():.3g} in all, at most {counts.max():.3g} in a pixel; mean of the "
        f"ring at the detector's edge {radial[edge]:.2g}, at a third of it {radial[edge // 3]:.2g}",
        f"standard deviation of log10(1 + counts) along a circle: {varying[edge // 3]:.2f} at a "
        f"third of the way to the edge, {varying[2 * edge // 3]:.2f} at two thirds; 0 would be a "
        "pattern of rings alone",
    ]
