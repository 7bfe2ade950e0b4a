"""From the detector of a scan to the input of a network: crop, bin, scale; never silently.

Cropping keeps the pixels around zero frequency: the window stays and its pixels grow.
Binning sums blocks of pixels: the pixels stay and the window shrinks. A span says what
part of the window patches show, whatever became of the patterns: a network needs no grid
on which pattern and patch are a Fourier pair. Positions of windows are those of their
centres, which nothing moves.
"""

from __future__ import annotations

import dataclasses

import numpy as np
import scipy.fft

from ppn_tf import refinement, subpixel
from ppn_tf.data.formats import starts
from ppn_tf.data.formats.scan import Scan
from ppn_tf.errors import DataError, OptionError

_AXES = (-2, -1)


@dataclasses.dataclass(frozen=True)
class Fit:
    """How patterns are made to fit a network.

    Attributes
    ----------
    crop_px : int or (int, int), optional
        Height and width of the part around zero frequency that is kept, in pixels of
        the detector; None keeps all.
    bin_px : int
        Side of the blocks that are summed afterwards.
    counts_factor : float
        Multiplies the counts.
    span_px : int, optional
        Height and width of the middle part of the window that patches show, in pixels of
        the scan's object; by default what crop and bin leave.

    Raises
    ------
    OptionError
        For values below 1, and a factor that is not finite and above 0.
    """

    crop_px: int | tuple[int, int] | None = None
    bin_px: int = 1
    counts_factor: float = 1.0
    span_px: int | None = None

    def __post_init__(self) -> None:
        if self.span_px is not None and self.span_px < 1:
            raise OptionError(f"span must be at least 1 px, received {self.span_px}")
        sides = () if self.crop_px is None else np.atleast_1d(self.crop_px).tolist()
        if len(sides) > 2 or any(side < 1 for side in (*sides, self.bin_px)):
            raise OptionError(
                f"crop and bin must be whole numbers of at least 1, received {self.crop_px} and "
                f"{self.bin_px}"
            )
        if not (np.isfinite(self.counts_factor) and self.counts_factor > 0):
            raise OptionError(f"the counts' factor must be above 0, received {self.counts_factor}")

    def cropped_px(self, detector_px: tuple[int, int]) -> tuple[int, int]:
        """Return height and width after cropping.

        Raises
        ------
        OptionError
            For a crop larger than the detector, or blocks that would not be centred.
        """
        sides = detector_px if self.crop_px is None else np.broadcast_to(self.crop_px, 2).tolist()
        for side, have in zip(sides, detector_px, strict=True):
            if side > have:
                raise OptionError(
                    f"--crop {side} is larger than the detector of {detector_px[0]} x "
                    f"{detector_px[1]} px"
                )
            # zero frequency, at side // 2, must stay at the middle pixel of the blocks
            if self.bin_px > 1 and side % (2 * self.bin_px):
                raise OptionError(
                    f"--bin {self.bin_px} needs sides that are multiples of {2 * self.bin_px} px, "
                    f"received {sides[0]} x {sides[1]} px: pass --crop too"
                )
        return (int(sides[0]), int(sides[1]))

    def window_px(self, detector_px: tuple[int, int]) -> tuple[int, int]:
        """Return height and width of what the network sees."""
        height, width = self.cropped_px(detector_px)
        return (height // self.bin_px, width // self.bin_px)

    def pixel_growth(self, detector_px: tuple[int, int]) -> np.ndarray:
        """Return by how much object pixels grow along rows and columns, (2,) float64.

        Raises
        ------
        OptionError
            For a span larger than the window.
        """
        if self.span_px is None:
            return np.array(detector_px) / self.cropped_px(detector_px)
        if self.span_px > min(detector_px):
            raise OptionError(
                f"--span {self.span_px} is larger than the window of {detector_px[0]} x "
                f"{detector_px[1]} px"
            )
        return self.span_px / np.array(self.window_px(detector_px))

    def patterns(self, patterns: np.ndarray, mask: np.ndarray | None = None) -> np.ndarray:
        """Crop, bin and scale patterns.

        Parameters
        ----------
        patterns : (N, H, W) real
            Counts, zero frequency at ``(H // 2, W // 2)``.
        mask : (H, W) bool, optional
            True where the detector is valid. A block holds the mean of its valid pixels
            times their full number, or 0 where there is none.

        Returns
        -------
        (N, h, w) float32
        """
        kept = self._crop(np.asarray(patterns))
        if mask is None and self.bin_px == 1:
            return (kept * np.float32(self.counts_factor)).astype(np.float32, copy=False)
        valid = np.ones(kept.shape[1:], bool) if mask is None else self._crop(mask[None])[0]
        living = self._blocks(valid[None].astype(np.float64))
        total = self._blocks(np.where(valid, kept, 0))
        share = np.divide(self.bin_px**2, living, out=np.zeros_like(living), where=living > 0)
        return (total * share * self.counts_factor).astype(np.float32)

    def mask(self, mask: np.ndarray) -> np.ndarray:
        """Return where a block has a valid pixel, (h, w) bool."""
        return self._blocks(self._crop(mask[None]).astype(np.float64))[0] > 0

    def corners_px(self, corners: np.ndarray, detector_px: tuple[int, int]) -> np.ndarray:
        """Return the corners of the new windows on the new grid, (N, 2) float64 [new px]."""
        centres = corners + np.array(detector_px) / 2
        growth, window = self.pixel_growth(detector_px), self.window_px(detector_px)
        return centres / growth - np.array(window) / 2

    def probe(self, modes: np.ndarray) -> np.ndarray:
        """Return the probe on the new window, at the scale of the new counts.

        Parameters
        ----------
        modes : (M, H, W) complex

        Returns
        -------
        (M, h, w) complex64
            Without binning, its patterns are those of the old probe, cropped. With
            binning, what lies outside the smaller window is lost, and a phase ramp has
            the patterns taken at the middle of each block, ``(bin_px - 1) / 2`` pixels
            beside the pixel that it begins with. Values are those at the middle of the
            new pixels, which `field` averages the object over.
        """
        detector_px = (modes.shape[1], modes.shape[2])
        kept_px = self.cropped_px(detector_px)
        aside = np.array(
            [
                _beside_middle(new) * have / new - _beside_middle(have)
                for have, new in zip(detector_px, kept_px, strict=True)
            ]
        )
        moving = scipy.fft.fftshift(subpixel.ramps(-aside, detector_px))
        # the same ramp over the window: it moves the pattern in place of the probe
        beside = np.full(2, (self.bin_px - 1) / 2)
        tilting = scipy.fft.fftshift(subpixel.ramps(beside, kept_px))
        far = scipy.fft.fftshift(
            scipy.fft.fft2(scipy.fft.ifftshift(modes, axes=_AXES), axes=_AXES), axes=_AXES
        )
        far = self._crop(far * moving)
        near = scipy.fft.fftshift(
            scipy.fft.ifft2(scipy.fft.ifftshift(far, axes=_AXES), axes=_AXES), axes=_AXES
        )
        kept = _central(near * tilting, self.window_px(detector_px))
        return (kept * self.bin_px * np.sqrt(self.counts_factor)).astype(np.complex64)

    def field(self, windows: np.ndarray) -> np.ndarray:
        """Return what the new windows show of an object: means over the larger pixels.

        Parameters
        ----------
        windows : (N, H, W) real or complex
            The object in the windows of the detector.

        Returns
        -------
        (N, h, w) float64 or complex128
        """
        detector_px = (windows.shape[1], windows.shape[2])
        rows, cols = (
            _means(have, width, growth)
            for have, width, growth in zip(
                detector_px,
                self.window_px(detector_px),
                self.pixel_growth(detector_px),
                strict=True,
            )
        )
        return rows @ windows @ cols.T

    def _crop(self, values: np.ndarray) -> np.ndarray:
        return _central(values, self.cropped_px((values.shape[1], values.shape[2])))

    def _blocks(self, values: np.ndarray) -> np.ndarray:
        count, height, width = values.shape
        block = self.bin_px
        split = values.reshape(count, height // block, block, width // block, block)
        return split.sum(axis=(2, 4), dtype=np.float64)


def on_scan(scan: Scan, fit: Fit, field: np.ndarray, corners_px: np.ndarray) -> Scan:
    """Return a scan with an object that was found on the grid of `placed`, at the scan's pixels.

    Parameters
    ----------
    scan : Scan
    fit : Fit
    field : (rows, cols) complex
        NaN where nothing is known: it becomes the mean of the rest.
    corners_px : (N, 2) float64
        From `placed`.
    """
    centres = corners_px + np.array(fit.window_px(scan.window_px)) / 2
    rows, cols = fit.pixel_growth(scan.window_px).tolist()
    found = starts.Start(refinement.filled(field), centres, (rows, cols), None)
    corners, (_, shape) = starts.corners_px(scan), starts.grid(scan)
    centres = corners + np.array(scan.window_px) / 2
    placed_field = starts.onto(found, centres, (1.0, 1.0), shape)
    return dataclasses.replace(scan, positions_px=corners, object=refinement.filled(placed_field))


def fitted(scan: Scan, fit: Fit) -> Scan:
    """Return a scan as the network sees it, without its object; not for a fit with a span.

    Raises
    ------
    OptionError
        As `Fit.cropped_px` does.
    """
    detector_px = scan.window_px
    corners = fit.corners_px(scan.positions_px, detector_px)
    growth = fit.pixel_growth(detector_px)
    pixels = {
        "object_pixel_m": None
        if scan.object_pixel_m is None
        else tuple((np.array(scan.object_pixel_m) * growth).tolist()),
        "detector_pixel_m": None
        if scan.detector_pixel_m is None
        else tuple((np.array(scan.detector_pixel_m) * fit.bin_px).tolist()),
    }
    handling = {
        "detector_px": list(detector_px),
        "crop_px": list(fit.cropped_px(detector_px)),
        "bin_px": fit.bin_px,
        "counts_factor": fit.counts_factor,
    }
    return dataclasses.replace(
        scan,
        patterns=fit.patterns(scan.patterns, scan.mask),
        positions_px=corners - corners.min(axis=0),
        probe=None if scan.probe is None else fit.probe(scan.probe),
        object=None,
        mask=None if scan.mask is None else fit.mask(scan.mask),
        **pixels,
        provenance={**scan.provenance, "fit": handling},
    )


def placed(scan: Scan, fit: Fit) -> tuple[np.ndarray, tuple[int, int]]:
    """Return corners and shape of the grid on which the result of a scan is laid.

    Where the scan has an object it is that object's grid, at the new pixel size, so that
    the two can be compared; elsewhere it begins with the first window.

    Returns
    -------
    corners_px : (N, 2) float64
    shape : (int, int)
    """
    detector_px = scan.window_px
    corners = fit.corners_px(scan.positions_px, detector_px)
    if scan.object is None:
        corners = corners - corners.min(axis=0)
        ends = corners.max(axis=0) + fit.window_px(detector_px)
    else:
        ends = np.array(scan.object.shape) / fit.pixel_growth(detector_px)
    rows, cols = np.ceil(ends - 1e-6).astype(int).tolist()
    return corners, (rows, cols)


def check_side(fit: Fit, detector_px: tuple[int, int], wanted_px: tuple[int, int]) -> None:
    """Refuse a fit that gives another size than a network takes, and name the options.

    Raises
    ------
    DataError
        With the crop and the binning of the detector that would fit.
    """
    window_px = fit.window_px(detector_px)
    if tuple(window_px) == tuple(wanted_px):
        return
    advice = f"--crop {wanted_px[0]}"
    if wanted_px[0] != wanted_px[1]:
        advice += f" {wanted_px[1]}"
    block = detector_px[0] // wanted_px[0]
    if block > 1 and (wanted_px[0] * block, wanted_px[1] * block) == tuple(detector_px):
        advice += f" (the same window, larger pixels) or --bin {block} (a smaller window)"
    raise DataError(
        f"the network takes patterns of {wanted_px[0]} x {wanted_px[1]} px, received "
        f"{window_px[0]} x {window_px[1]} px from a detector of {detector_px[0]} x "
        f"{detector_px[1]} px: pass {advice}"
    )


def _means(have: int, wanted: int, growth: float) -> np.ndarray:
    """Return the weights of the mean over pixels `growth` wide about the middle, (wanted, have)."""
    first = (have / 2 + (np.arange(wanted) - wanted / 2) * growth)[:, None]
    pixels = np.arange(have)
    ends = np.minimum(first + growth, pixels + 1)
    return np.clip(ends - np.maximum(first, pixels), 0, None) / growth


def _beside_middle(side: int) -> float:
    """Return how far the middle of pixel `side` // 2 lies beside that of the window [px]."""
    return side // 2 + 0.5 - side / 2


def _central(values: np.ndarray, sides: tuple[int, int]) -> np.ndarray:
    """Cut (N, H, W) to `sides` so that the pixel at H // 2 comes to h // 2."""
    top, left = (have // 2 - side // 2 for have, side in zip(values.shape[1:], sides, strict=True))
    return values[:, top : top + sides[0], left : left + sides[1]]
