"""A detector image in polar coordinates about its centre."""

from __future__ import annotations

import numpy as np
import scipy.ndimage

from ppn_tf.errors import DataError


def polar_map(
    image: np.ndarray,
    center_px: tuple[float, float] | None = None,
    *,
    radii: int | None = None,
    angles: int = 180,
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Resample an image on circles about a point, by bilinear interpolation.

    Parameters
    ----------
    image : (H, W) float
    center_px : (float, float), optional
        Row and column; the zero frequency (H//2, W//2) by default.
    radii : int, optional
        Number of radii, 1 px apart from 0; by default as many as circles fit into the
        image.
    angles : int
        Number of angles, evenly over 2 pi from 0.

    Returns
    -------
    values : (radii, angles) float64
        NaN outside the image.
    radius_px : (radii,) float64
    angle_rad : (angles,) float64
        atan2(row, col) about the centre: 0 to the right, pi / 2 downwards.

    Raises
    ------
    DataError
        For an image that is not (H, W) or not finite.
    """
    image = _image(image)
    row, col = _center(image, center_px)
    if radii is None:
        height, width = image.shape
        radii = int(min(row, col, height - 1 - row, width - 1 - col)) + 1
    radius_px = np.arange(radii, dtype=np.float64)
    angle_rad = 2 * np.pi * np.arange(angles) / angles
    rows = row + radius_px[:, None] * np.sin(angle_rad)
    cols = col + radius_px[:, None] * np.cos(angle_rad)
    # rounding must not put a point of the border outside
    points = np.round([rows, cols], 9)
    values = scipy.ndimage.map_coordinates(image, points, order=1, mode="constant", cval=np.nan)
    return values, radius_px, angle_rad


def radial_profile(
    image: np.ndarray, center_px: tuple[float, float] | None = None
) -> tuple[np.ndarray, np.ndarray]:
    """Return the mean over rings about a point; every pixel counts once.

    Parameters
    ----------
    image, center_px
        As in `polar_map`.

    Returns
    -------
    radius_px : (K,) float64
        0, 1, 2, ... to the farthest corner; a ring holds the pixels whose distance
        rounds to it.
    mean : (K,) float64
        NaN for a ring without pixels.

    Raises
    ------
    DataError
        As in `polar_map`.
    """
    image = _image(image)
    rows, cols = np.indices(image.shape)
    row, col = _center(image, center_px)
    ring = np.rint(np.hypot(rows - row, cols - col)).astype(np.int64).ravel()
    count = np.bincount(ring)
    total = np.bincount(ring, image.ravel())
    mean = np.divide(total, count, out=np.full(len(count), np.nan), where=count > 0)
    return np.arange(len(count), dtype=np.float64), mean


def angular_profile(
    image: np.ndarray,
    radius_px: tuple[float, float],
    center_px: tuple[float, float] | None = None,
    *,
    angles: int = 180,
) -> tuple[np.ndarray, np.ndarray]:
    """Return the mean over a range of radii, by angle.

    Parameters
    ----------
    image, center_px, angles
        As in `polar_map`.
    radius_px : (float, float)
        First and last radius of the range; circles of whole pixels within it count
        alike.

    Returns
    -------
    angle_rad : (angles,) float64
    mean : (angles,) float64

    Raises
    ------
    DataError
        As in `polar_map`, and for a range without a circle inside the image.
    """
    values, radii, angle_rad = polar_map(image, center_px, angles=angles)
    inside = (radii >= radius_px[0]) & (radii <= radius_px[1])
    if not inside.any():
        raise DataError(
            f"no circle of a whole radius lies within {radius_px} px: circles reach to "
            f"{radii[-1]:.0f} px inside the image"
        )
    return angle_rad, values[inside].mean(axis=0)


def _center(image: np.ndarray, center_px: tuple[float, float] | None) -> tuple[float, float]:
    if center_px is None:
        return image.shape[0] // 2, image.shape[1] // 2
    return float(center_px[0]), float(center_px[1])


def _image(image: np.ndarray) -> np.ndarray:
    image = np.asarray(image, dtype=np.float64)
    if image.ndim != 2 or image.size == 0 or not np.isfinite(image).all():
        raise DataError(f"expected a finite image (H, W), received shape {image.shape}")
    return image
