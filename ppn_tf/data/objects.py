"""Complex objects: the paper's LTEM chart, a drawn stand-in, and curved samples."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable

import numpy as np
import scipy.fft
import scipy.ndimage

from ppn_tf import tiff
from ppn_tf.data import sources
from ppn_tf.errors import DataError, OptionError, SourceMissingError
from ppn_tf.seeding import generator

#: Side of every object that `load_object` knows [px].
OBJECT_SIDE_PX = 512
#: Range of the amplitude, as the authors' release maps it.
AMPLITUDE_RANGE = (0.5, 1.0)
#: Range of the phase that the release's mapping gives the LTEM chart [rad].
PHASE_RANGE_RAD = (-1.7651935, -0.9649948)

#: Photographs that come inside the wheel of scikit-image (no network).
_PHOTOGRAPHS = ("camera", "coins")
_DRAWINGS = ("siemens-star", "spiral")
_NAMES = ("ltem", "stand-in", *_DRAWINGS, *_PHOTOGRAPHS)

# The stand-in: a chart of the 1951 USAF kind, with the phases of a magnetic film.
# Bar widths [px] of the large groups, downwards, and of the small ones.
_LARGE_BARS_PX = (10, 12, 14, 15, 17)
_SMALL_BARS_PX = (3, 4, 4, 5, 5, 6, 7, 8)
# Squares: row and column of the corner, side [px].
_SQUARES_PX = ((150, 240, 56), (166, 314, 40), (178, 372, 28), (420, 250, 72))
# Nested corners: row and column of the outer corner, outer arm and width [px], and
# the direction of the arms along rows and columns.
_CORNERS_PX = (
    (122, 232, 92, 13, (-1, 1)),
    (96, 258, 66, 9, (-1, 1)),
    (78, 276, 46, 6, (-1, 1)),
    (18, 478, 92, 13, (1, -1)),
    (44, 452, 66, 9, (1, -1)),
    (62, 434, 46, 6, (1, -1)),
)
# The magnetic phase against the electrostatic step, root mean square.
_MAGNETIC_SHARE = 0.5


@dataclasses.dataclass(frozen=True)
class ComplexObject:
    """The transmission of a thin object.

    Attributes
    ----------
    name : str
        Name of the object.
    amplitude : (H, W) float32
        Modulus of the transmission, not negative.
    phase_rad : (H, W) float32
        Argument of the transmission [rad], not wrapped.
    provenance : dict of str to str
        What the object was made from: files with sha256, or how it was drawn.
    """

    name: str
    amplitude: np.ndarray
    phase_rad: np.ndarray
    provenance: dict[str, str] = dataclasses.field(default_factory=dict)

    def __post_init__(self) -> None:
        for field in ("amplitude", "phase_rad"):
            values = np.asarray(getattr(self, field))
            if values.ndim != 2 or values.size == 0 or not np.isrealobj(values):
                raise DataError(
                    f"object {self.name!r}: {field} must be a real image (H, W), received "
                    f"{values.dtype} {values.shape}"
                )
            values = values.astype(np.float32)
            if not np.isfinite(values).all():
                row, col = np.argwhere(~np.isfinite(values))[0]
                raise DataError(
                    f"object {self.name!r}: {field} must be finite, received "
                    f"{values[row, col]} at row {row}, column {col}"
                )
            object.__setattr__(self, field, values)
        if self.amplitude.shape != self.phase_rad.shape:
            raise DataError(
                f"object {self.name!r}: amplitude and phase_rad must agree in shape, received "
                f"{self.amplitude.shape} and {self.phase_rad.shape}"
            )
        if self.amplitude.min() < 0:
            raise DataError(
                f"object {self.name!r}: amplitude must not be negative, received a minimum of "
                f"{self.amplitude.min()}; a sign belongs into the phase"
            )

    @property
    def complex(self) -> np.ndarray:
        """The transmission ``amplitude * exp(1j * phase_rad)``, (H, W) complex64."""
        phase_rad = self.phase_rad.astype(np.float64)
        return (self.amplitude * np.exp(1j * phase_rad)).astype(np.complex64)


def available_objects() -> tuple[str, ...]:
    """Return the names that `load_object` knows."""
    return _NAMES


def load_object(name: str = "ltem") -> ComplexObject:
    """Load or draw a complex object of 512 x 512 px.

    Parameters
    ----------
    name : str
        One of `available_objects`.

        - ``"ltem"``: the paper's object from its two public files.
        - ``"stand-in"``: a chart of the same kind that this package draws: bars,
          corners and squares with an electrostatic and a magnetic phase.
        - ``"siemens-star"``, ``"spiral"``: drawn, curved.
        - ``"camera"``, ``"coins"``: photographs of scikit-image.

    Returns
    -------
    ComplexObject
        Amplitude in [0.5, 1]; phase from -1.765 to -0.965 rad.

    Raises
    ------
    OptionError
        For an unknown name.
    SourceMissingError, SourceError
        If the files of ``"ltem"`` are not there, or are not the expected ones.

    Notes
    -----
    ``"ltem"`` is mapped as in the authors' release: the amplitude by minimum
    and maximum to [0.5, 1] (it has two values), the total phase ``p`` to
    ``-pi / 3 * (p + pi) / (2 pi)``, which turns 2.648..7.450 rad into
    -0.965..-1.765 rad and so inverts the sign. The paper states neither.

    A grey image (drawings and photographs, which test the step from straight
    to curved features of section IV-D) becomes an object of the same ranges:
    amplitude 1 where the image is at or above its median and 0.5 elsewhere,
    two values as in the chart; phase the image, smoothed by a Gaussian of 1 px
    standard deviation and mapped by minimum and maximum, bright to -0.965 rad.
    """
    if name == "ltem":
        return _ltem()
    if name == "stand-in":
        return _stand_in()
    if name in _DRAWINGS:
        grey = _siemens_star() if name == "siemens-star" else _spiral()
        return from_grey(name, grey, f"drawn by ppn_tf: {name}")
    if name in _PHOTOGRAPHS:
        return from_grey(name, _photograph(name), f"scikit-image photograph: {name}")
    raise OptionError(f"unknown object {name!r}: expected one of {', '.join(_NAMES)}")


def load_object_or_stand_in(name: str = "ltem") -> tuple[ComplexObject, bool]:
    """Load an object, or the stand-in where its files cannot be had.

    Returns
    -------
    (ComplexObject, bool)
        The object, and whether it is the stand-in.

    Raises
    ------
    OptionError
        For an unknown name.
    SourceError
        If a file is there and is not the expected one: that is never papered over.
    """
    try:
        return load_object(name), name == "stand-in"
    except SourceMissingError:
        return load_object("stand-in"), True


def _ltem() -> ComplexObject:
    names = ("ltem/design_amp.tiff", "ltem/design_tphi.tiff")
    shape = (OBJECT_SIDE_PX, OBJECT_SIDE_PX)
    images = []
    for name in names:
        path = sources.fetch(name)
        image = tiff.read(path).astype(np.float64)
        if image.shape != shape:
            raise DataError(f"{path}: expected an image of {shape}, received {image.shape}")
        images.append(image)
    amplitude, phase_rad = images
    provenance = {name: f"sha256:{sources.PUBLIC_FILES[name].sha256}" for name in names}
    released_phase_rad = -np.pi / 3 * (phase_rad + np.pi) / (2 * np.pi)
    return ComplexObject(
        "ltem", _to_range(amplitude, AMPLITUDE_RANGE), released_phase_rad, provenance
    )


def _stand_in() -> ComplexObject:
    labels, moments = _draw_chart(OBJECT_SIDE_PX)
    # electrostatic: one step, as high as the film is thick
    phase = (labels > 0) + _magnetic_phase(moments)
    amplitude = np.where(labels > 0, *AMPLITUDE_RANGE)
    # the release inverts the sign of the phase, so the thick bars are the most negative
    phase_rad = _to_range(-phase, PHASE_RANGE_RAD)
    return ComplexObject("stand-in", amplitude, phase_rad, {"drawn": "by ppn_tf"})


def _draw_chart(side_px: int) -> tuple[np.ndarray, np.ndarray]:
    """Draw bars, corners and squares; return labels (H, W) and moments (2, H, W).

    Labels are 0 on the background and a number of their own on every part;
    moments are the magnetisation along rows and columns, of unit length
    inside: along the length of bars, in random directions, and vortices in
    squares, as in the patterned films that Lorentz microscopy looks at.
    """
    labels = np.zeros((side_px, side_px), dtype=np.int32)
    moments = np.zeros((2, side_px, side_px))
    signs = generator(1951, "object").choice([-1.0, 1.0], size=256)

    def bar(row: int, col: int, height: int, width: int) -> None:
        # magnetised along its length: the shape anisotropy of a narrow film
        number = labels.max() + 1
        where = np.s_[row : row + height, col : col + width]
        labels[where] = number
        moments[(int(width > height), *where)] = signs[number]
        moments[(int(width <= height), *where)] = 0.0

    row = 20
    for width in _LARGE_BARS_PX:
        _group(bar, row, 22, width, vertical=False)
        _group(bar, row, 22 + 5 * width + 22, width, vertical=True)
        row += 5 * width + 32
    row = 206
    for width in _SMALL_BARS_PX:
        _group(bar, row, 488 - 10 * width - 10, width, vertical=False)
        _group(bar, row, 488 - 5 * width, width, vertical=True)
        row += 5 * width + 12
    for row, col, arm, width, (down, right) in _CORNERS_PX:
        top = row if down > 0 else row - arm
        left = col if right > 0 else col - arm
        bar(top, col if right > 0 else col - width, arm, width)
        bar(row if down > 0 else row - width, left, width, arm)
    for row, col, side in _SQUARES_PX:
        labels[row : row + side, col : col + side] = labels.max() + 1
        moments[:, row : row + side, col : col + side] = _vortex(side)
    return labels, moments


def _magnetic_phase(moments: np.ndarray) -> np.ndarray:
    """Aharonov-Bohm phase of a film with `moments` (2, H, W) in its plane, (H, W).

    In Fourier space the phase is ``i (m_x k_y - m_y k_x) / |k|^2`` up to a
    constant (M. Mansuripur, Journal of Applied Physics 69, 2455 (1991)); the
    field is padded to twice its side so that it does not meet its own copies.
    """
    height, width = moments.shape[1:]
    padded = (2 * height, 2 * width)
    along_rows, along_cols = (scipy.fft.fft2(part, s=padded) for part in moments)
    k_rows = scipy.fft.fftfreq(padded[0])[:, None]
    k_cols = scipy.fft.fftfreq(padded[1])[None, :]
    square = k_rows**2 + k_cols**2
    square[0, 0] = np.inf  # a constant phase has no meaning
    spectrum = 1j * (along_cols * k_rows - along_rows * k_cols) / square
    phase = scipy.fft.ifft2(spectrum).real[:height, :width]
    return phase * (_MAGNETIC_SHARE / np.std(phase))


def _group(
    bar: Callable[[int, int, int, int], None], row: int, col: int, width: int, *, vertical: bool
) -> None:
    """Three bars of 1 : 5, a bar's width apart: one element of the 1951 USAF chart."""
    for start in (0, 2 * width, 4 * width):
        if vertical:
            bar(row, col + start, 5 * width, width)
        else:
            bar(row + start, col, width, 5 * width)


def _vortex(side: int) -> np.ndarray:
    axis = np.arange(side) - (side - 1) / 2
    rows, cols = np.meshgrid(axis, axis, indexing="ij")
    radius = np.sqrt(rows**2 + cols**2 + 4.0)  # a core of 2 px, where the moment turns up
    return np.stack([cols, -rows]) / radius


def from_grey(name: str, grey: np.ndarray, source: str) -> ComplexObject:
    """Make an object of a picture: its bright half transmits 1, its dark half 0.5.

    The phase follows the grey values, smoothed by 1 px, over `PHASE_RANGE_RAD`.

    Parameters
    ----------
    name : str
    grey : (H, W) real
    source : str
        For the provenance.

    Raises
    ------
    DataError
        For another rank, NaN, or a picture without contrast.
    """
    grey = np.asarray(grey, dtype=np.float64)
    if grey.ndim != 2 or grey.size == 0 or not np.isfinite(grey).all():
        raise DataError(f"{name}: expected a finite grey picture (H, W), received {grey.shape}")
    if grey.max() == grey.min():
        raise DataError(f"{name}: the picture is plain (all values {grey.min()})")
    amplitude = np.where(grey >= np.median(grey), AMPLITUDE_RANGE[1], AMPLITUDE_RANGE[0])
    smooth = scipy.ndimage.gaussian_filter(grey, 1.0, mode="nearest")
    return ComplexObject(name, amplitude, _to_range(smooth, PHASE_RANGE_RAD), {"source": source})


def _polar() -> tuple[np.ndarray, np.ndarray]:
    axis = np.arange(OBJECT_SIDE_PX) - (OBJECT_SIDE_PX - 1) / 2
    return np.hypot(axis[:, None], axis[None, :]), np.arctan2(axis[:, None], axis[None, :])


def _siemens_star(spokes: int = 36, hub_px: float = 16.0) -> np.ndarray:
    """Star of `spokes` spokes over the whole square; the hub, where they blur, is plain."""
    radius_px, angle_rad = _polar()
    return np.where(radius_px < hub_px, 0.0, np.cos(spokes * angle_rad))


def _spiral(arms: int = 3, pitch_px: float = 24.0) -> np.ndarray:
    """Archimedean spiral of `arms` arms, `pitch_px` from one arm to the next."""
    radius_px, angle_rad = _polar()
    return np.cos(2 * np.pi * radius_px / pitch_px - arms * angle_rad)


def _photograph(name: str) -> np.ndarray:
    """Central square of a photograph, resized by cubic splines to 512 x 512."""
    # imported here: the other objects do not need scikit-image, and it loads slowly
    from skimage import data as photographs
    from skimage.transform import resize

    image = np.asarray(getattr(photographs, name)(), dtype=np.float64) / 255
    side = min(image.shape)
    top, left = ((length - side) // 2 for length in image.shape)
    square = image[top : top + side, left : left + side]
    return resize(square, (OBJECT_SIDE_PX, OBJECT_SIDE_PX), order=3, mode="edge", clip=True)


def _to_range(values: np.ndarray, ends: tuple[float, float]) -> np.ndarray:
    low, high = float(values.min()), float(values.max())
    return ends[0] + (ends[1] - ends[0]) * (values - low) / (high - low)
