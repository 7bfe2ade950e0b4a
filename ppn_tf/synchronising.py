"""Patches whose phase is known up to a constant each, turned to each other.

A pattern does not hold the global phase of its own window, so that a network can only
give each patch a phase of its own zero. Where patches overlap, the constants follow from
each other. Wanted are the turns that maximise the energy of the stitched field; with
``C[i, j] = sum w_i w_j conj(p_i) p_j / sum w`` over the overlap of patches i and j they
maximise ``conj(z) . C z`` over numbers z of modulus 1 (angular synchronisation, Singer,
DOI 10.1016/j.acha.2010.02.001). Groups of patches, then groups of groups give the start,
Newton's method the rest: what bends slowly over a wide scan hardly changes the energy, and
the power method would leave it.
"""

from __future__ import annotations

import numpy as np
import scipy.sparse
import scipy.sparse.linalg
from scipy.sparse import csgraph
from scipy.spatial import cKDTree

from ppn_tf import stitching
from ppn_tf.errors import DataError, OptionError
from ppn_tf.field_sum import FieldSum

#: Largest turn of a patch in the last round, below which nothing moves any more [rad].
SETTLED_RAD = 1e-6

#: Most rounds: about six are usual.
ROUNDS = 50

#: Furthest that a round turns a patch [rad].
FURTHEST_RAD = 1.0

#: Nearest patches that a patch is compared with: all, at the usual overlaps.
NEIGHBOURS = 128

#: Values of patches multiplied at once.
_BATCH_VALUES = 1 << 20


def stitch(
    patches: np.ndarray,
    positions_px: np.ndarray,
    field_shape: tuple[int, int],
    *,
    weights: np.ndarray,
    rounds: int = ROUNDS,
) -> tuple[stitching.StitchedField, np.ndarray]:
    """Turn patches to each other and return their weighted mean.

    Parameters
    ----------
    patches : (N, h, w) complex
    positions_px : (N, 2) integer (row, col)
        Top-left pixels.
    field_shape : (int, int)
    weights : (h, w) float
        Positive; see `ppn_tf.stitching.weights`.
    rounds : int
        Most rounds, at least 1.

    Returns
    -------
    field : StitchedField
        Its own global phase is arbitrary.
    turns_rad : (N,) float64
        Added to the phase of each patch.

    Raises
    ------
    OptionError
        For less than one round.
    DataError
        As `ppn_tf.stitching.stitch`.
    """
    turns, _ = turns_rad(patches, positions_px, weights, rounds=rounds)
    turned = patches * np.exp(1j * turns)[:, None, None]
    return stitching.stitch(turned, positions_px, field_shape, weights=weights), turns


def turned_field(
    patches: np.ndarray, corners_px: np.ndarray, shape: tuple[int, int], weights: np.ndarray
) -> tuple[np.ndarray, int]:
    """Turn patches to each other and stitch them, at fractional positions too.

    Amplitudes are averaged by themselves, so that patches that disagree in phase do not
    lower them; the phase is that of the complex mean.

    Parameters
    ----------
    patches : (N, h, w) complex
    corners_px : (N, 2) float (row, col)
    shape : (int, int)
        Rows and columns of the field.
    weights : (h, w) float

    Returns
    -------
    field : (rows, cols) complex64
        Of mean phase 0; NaN where no patch lies.
    islands : int
        Groups of patches without an overlap between them: each has a constant of its own.

    Raises
    ------
    DataError
        As `turns_rad` and `ppn_tf.field_sum.FieldSum.add`.
    """
    turns, island = turns_rad(patches, corners_px, weights)
    turned = patches * np.exp(1j * turns)[:, None, None]
    total = FieldSum(shape, weights, 3)
    total.add(np.stack([np.abs(patches), turned.real, turned.imag], axis=1), corners_px)
    amplitude, real, imaginary = total.fields()
    mean = np.nansum(real) + 1j * np.nansum(imaginary)
    phase_rad = np.angle((real + 1j * imaginary) * np.conj(mean))
    return (amplitude * np.exp(1j * phase_rad)).astype(np.complex64), int(island.max()) + 1


def turns_rad(
    patches: np.ndarray, corners_px: np.ndarray, weights: np.ndarray, *, rounds: int = ROUNDS
) -> tuple[np.ndarray, np.ndarray]:
    """Return by how much each patch is turned so that all agree best.

    Parameters
    ----------
    patches : (N, h, w) complex
    corners_px : (N, 2) float (row, col)
        Of the patches; overlaps are taken at the nearest whole pixel.
    weights : (h, w) float
        Positive; see `ppn_tf.stitching.weights`.
    rounds : int
        Most rounds, at least 1.

    Returns
    -------
    turns_rad : (N,) float64
        To be added to the phase of each patch; a common constant is arbitrary.
    island : (N,) int
        Number, from 0, of the group of patches that each belongs to. Without an overlap
        between them, each group has a constant of its own.

    Raises
    ------
    OptionError
        For less than one round.
    DataError
        For shapes that do not belong together, NaN, or weights that are not above 0.
    """
    if rounds < 1:
        raise OptionError(f"rounds must be at least 1, received {rounds}")
    patches, corners = _checked(patches, corners_px, weights)
    overlaps = _overlaps(_shared(patches, corners, weights), corners)
    found, island = directions(overlaps, rounds)
    return np.angle(found), island


def directions(
    overlaps: scipy.sparse.csr_matrix, rounds: int = ROUNDS
) -> tuple[np.ndarray, np.ndarray]:
    """Return the z of modulus 1 that maximise ``conj(z) . C z``, within each island.

    Parameters
    ----------
    overlaps : (N, N) complex
        Hermitian: `C`.
    rounds : int
        Most rounds of Newton's method.

    Returns
    -------
    directions : (N,) complex128
    island : (N,) int
        See `turns_rad`.
    """
    found, island = _start(overlaps)
    return _settled(overlaps, found, rounds), island


def _start(overlaps: scipy.sparse.csr_matrix) -> tuple[np.ndarray, np.ndarray]:
    """Return directions that agree over groups, groups of groups and so on, and islands.

    Along a single tree of patches errors would add up to whole turns. Groups agree by all
    their links at once.
    """
    count = overlaps.shape[0]
    found, group = np.ones(count, np.complex128), np.arange(count)
    while (near := _nearest(overlaps)) is not None:
        _, joined = csgraph.connected_components(near, directed=False)
        links = overlaps.tocoo()
        within = joined[links.row] == joined[links.col]
        inside = scipy.sparse.csr_matrix(
            (links.data[within], (links.row[within], links.col[within])), overlaps.shape
        )
        turned = _settled(inside, _tree(inside), ROUNDS)
        found, group = found * turned[group], joined[group]
        members = scipy.sparse.csr_matrix((turned, (np.arange(len(joined)), joined)))
        overlaps = (members.conj().T @ overlaps @ members).tocsr()
    return found, group


def _nearest(overlaps: scipy.sparse.csr_matrix) -> scipy.sparse.csr_matrix | None:
    """Return the link of each to what it overlaps most with; None where nothing overlaps."""
    links = overlaps.tocoo()
    sizes = np.where(links.row == links.col, 0.0, np.abs(links.data))
    order = np.argsort(sizes, kind="stable")
    order = order[sizes[order] > 0]
    if not len(order):
        return None
    best = np.full(overlaps.shape[0], -1)
    best[links.row[order]] = links.col[order]
    rows = np.flatnonzero(best >= 0)
    return scipy.sparse.csr_matrix((np.ones(len(rows)), (rows, best[rows])), overlaps.shape)


def _settled(overlaps: scipy.sparse.csr_matrix, found: np.ndarray, rounds: int) -> np.ndarray:
    """Return directions of the largest energy near those given, by Newton's method."""
    links = overlaps.tocoo()
    rows, cols, values = (x[links.row != links.col] for x in (links.row, links.col, links.data))
    for _ in range(rounds):
        # the energy's gradient is twice the imaginary part's sum, its curvature the real part's
        agreed = np.conj(found[rows]) * values * found[cols]
        step, before = _step(agreed, rows, cols, len(found)), _energy(overlaps, found)
        new = found * np.exp(1j * step)
        while _energy(overlaps, new) < before and np.abs(step).max() > 0:
            step = np.where(np.abs(step) > SETTLED_RAD, step / 2, 0.0)
            new = found * np.exp(1j * step)
        found = new
        if np.abs(step).max() < SETTLED_RAD:
            break
    return found


def _energy(overlaps: scipy.sparse.csr_matrix, found: np.ndarray) -> float:
    return float(np.vdot(found, overlaps @ found).real)


def _step(agreed: np.ndarray, rows: np.ndarray, cols: np.ndarray, count: int) -> np.ndarray:
    """Return the turns of one round [rad]: a Laplacian's solution, none too large."""
    # links that pull the other way would make the curvature indefinite
    pull = scipy.sparse.csr_matrix((np.maximum(agreed.real, 0), (rows, cols)), (count, count))
    total = np.asarray(pull.sum(axis=1)).ravel()
    slope = np.bincount(rows, agreed.imag, count)
    if not total.any():
        return np.zeros(count)
    # one constant an island is free: what is next to nothing holds it
    total = total + 1e-12 * total.max()
    laplacian = scipy.sparse.diags(total) - pull
    step, _ = scipy.sparse.linalg.cg(laplacian, slope, M=scipy.sparse.diags(1 / total))
    return step * min(1.0, FURTHEST_RAD / max(np.abs(step).max(), FURTHEST_RAD))


def _checked(
    patches: np.ndarray, corners_px: np.ndarray, weights: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Return patches and their nearest whole corners."""
    patches, corners = np.asarray(patches), np.asarray(corners_px, dtype=np.float64)
    if patches.ndim != 3 or corners.shape != (len(patches), 2) or not len(patches):
        raise DataError(
            "expected patches (N, h, w) and corners (N, 2), one N of at least 1, received shapes "
            f"{patches.shape} and {corners.shape}"
        )
    if not (np.isfinite(patches).all() and np.isfinite(corners).all()):
        raise DataError("patches and corners must be finite, received NaN or infinity")
    if np.shape(weights) != patches.shape[1:] or not np.min(weights) > 0:
        raise DataError(
            f"weights must have the patch shape {patches.shape[1:]} and be above 0, received "
            f"{np.shape(weights)} and a minimum of {np.min(weights)}"
        )
    return patches, np.round(corners).astype(np.int64)


def _shared(patches: np.ndarray, corners: np.ndarray, weights: np.ndarray) -> np.ndarray:
    """Return patches times their share of the field, so that their products make `C`."""
    window = patches.shape[1:]
    places = corners - corners.min(axis=0)
    rows, cols = (places.max(axis=0) + window).tolist()
    total = stitching.accumulate(
        np.broadcast_to(weights, patches.shape), places, (int(rows), int(cols))
    )
    return patches * (weights / np.sqrt(stitching.extract(total, places, window)))


def _pairs(corners: np.ndarray, window: tuple[int, int]) -> np.ndarray:
    """Return the pairs of overlapping patches, (M, 2), each once."""
    count = len(corners)
    wanted = min(NEIGHBOURS + 1, count)
    tree = cKDTree(corners / np.array(window))
    _, near = tree.query(
        tree.data, k=np.arange(1, wanted + 1), p=np.inf, distance_upper_bound=1 - 1e-9
    )
    first = np.repeat(np.arange(count), wanted)
    second = near.ravel()
    kept = (second < count) & (second != first)
    both = np.sort(np.stack([first[kept], second[kept]], axis=1), axis=1)
    return np.unique(both, axis=0)


def _overlaps(patches: np.ndarray, corners: np.ndarray) -> scipy.sparse.csr_matrix:
    """Return the Hermitian matrix of inner products over the overlaps, (N, N) complex128."""
    count, height, width = patches.shape
    pairs = _pairs(corners, (height, width))
    offsets = corners[pairs[:, 1]] - corners[pairs[:, 0]]
    # the second patch of a pair is the lower one: fewer kinds of offsets
    swapped = offsets[:, 0] < 0
    pairs[swapped] = pairs[swapped][:, ::-1]
    offsets[swapped] *= -1
    kinds, which = np.unique(offsets, axis=0, return_inverse=True)
    order = np.argsort(which.ravel(), kind="stable")
    ends = np.cumsum(np.bincount(which.ravel(), minlength=len(kinds)))
    products = np.empty(len(pairs), np.complex128)
    for (down, across), start, stop in zip(
        kinds, ends - np.diff(ends, prepend=0), ends, strict=True
    ):
        members = order[start:stop]
        upper = (slice(down, None), slice(max(across, 0), width + min(across, 0)))
        lower = (slice(None, height - down), slice(max(-across, 0), width - max(across, 0)))
        step = max(1, _BATCH_VALUES // ((height - down) * (width - abs(across))))
        for first in range(0, len(members), step):
            some = members[first : first + step]
            a = patches[pairs[some, 0]][(slice(None), *upper)]
            b = patches[pairs[some, 1]][(slice(None), *lower)]
            products[some] = np.einsum("nhw,nhw->n", np.conj(a), b)
    own = np.einsum("nhw,nhw->n", np.conj(patches), patches)
    rows = np.concatenate([pairs[:, 0], pairs[:, 1], np.arange(count)])
    cols = np.concatenate([pairs[:, 1], pairs[:, 0], np.arange(count)])
    values = np.concatenate([products, np.conj(products), own])
    return scipy.sparse.csr_matrix((values, (rows, cols)), shape=(count, count))


def _tree(overlaps: scipy.sparse.csr_matrix) -> np.ndarray:
    """Return directions that agree along the largest overlaps."""
    count = overlaps.shape[0]
    links = overlaps.tocoo()
    used = (links.row < links.col) & (np.abs(links.data) > 0)
    costs = (1 / np.abs(links.data[used]), (links.row[used], links.col[used]))
    tree = csgraph.minimum_spanning_tree(scipy.sparse.csr_matrix(costs, shape=(count, count)))
    _, group = csgraph.connected_components(tree, directed=False)
    before = np.arange(count)
    for root in np.unique(group, return_index=True)[1]:
        order, parents = csgraph.breadth_first_order(tree, root, directed=False)
        before[order[1:]] = parents[order[1:]]
    values = np.asarray(overlaps[np.arange(count), before]).ravel()
    sizes = np.abs(values)
    found = np.divide(values, sizes, out=np.ones_like(values), where=sizes > 0)
    # every round doubles how far towards the root a patch looks
    while not np.array_equal(before, before[before]):
        found, before = found * found[before], before[before]
    return found
