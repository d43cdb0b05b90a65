"""How good is a map: its place against what is known of the image, and its shape.

Heatmaps are arrays `(batch, *grid)`, of any rank and in any unit. A map that keeps its
sign counts with its magnitude where strength or spread is asked for, and with what
speaks for the target where a place is. NaN stays NaN, but for places: a map with NaN
points nowhere.
"""

import numpy as np


def pointing_accuracy(heatmaps, regions):
    """Returns how often a map's peak falls inside its object.

    This is the pointing game, played to the pixel: the paper's tolerance of 15 pixels
    around the object is left out. A map without a positive peak, all zero for instance,
    and a map with NaN point nowhere and count as misses. A random map scores the mean
    share of the image that the objects cover.

    Args:
        heatmaps: Array of shape `(batch, height, width)`, in any unit. Of several
            equal peaks the first in reading order counts.
        regions: The objects: boxes of shape `(batch, 4)`, each `(top, left, bottom,
            right)` in pixels of the heatmap, bottom and right exclusive; or masks of
            the shape of `heatmaps`, not zero inside.

    Returns:
        A float in `[0, 1]`.

    Raises:
        ValueError: If there are no heatmaps, or not one region for each.

    Example:

    >>> pointing_accuracy([[[0.0, 0.2], [1.0, 0.1]]], [(1, 0, 2, 1)])
    1.0

    Reference:
        [Zhang et al., 2016](https://arxiv.org/abs/1608.00507), Top-down Neural
        Attention by Excitation Backprop, section 4.1.
    """
    heatmaps = _as_heatmaps(heatmaps)
    inside = _flat(as_masks(regions, heatmaps.shape))
    flat = _flat(heatmaps)
    hit = np.take_along_axis(inside, flat.argmax(axis=1)[:, None], axis=1)[:, 0]
    # NaN is not above zero either: `max` hands it on.
    return float(np.mean(hit & (flat.max(axis=1) > 0)))


def heat_inside(heatmaps, regions):
    """Returns the mean share of a map's heat that lies inside its object.

    This is the energy-based pointing game: `sum_inside(map) / sum(map)`, with negative
    values as zero. A map without heat and a map with NaN have none inside. A uniform
    map scores the mean share of the image that the objects cover.

    Args:
        heatmaps: Array of shape `(batch, height, width)`, in any unit.
        regions: See `pointing_accuracy`.

    Returns:
        A float in `[0, 1]`.

    Raises:
        ValueError: If there are no heatmaps, or not one region for each.

    Example:

    >>> heat_inside([[[0.0, 1.0], [3.0, 0.0]]], [(1, 0, 2, 1)])
    0.75

    Reference:
        [Wang et al., 2020](https://arxiv.org/abs/1910.01279), Score-CAM, section 4.3.
    """
    heatmaps = _as_heatmaps(heatmaps)
    shares = _shares(np.maximum(heatmaps, 0))
    inside = _flat(as_masks(regions, heatmaps.shape))
    return float(np.mean(np.sum(np.nan_to_num(shares), axis=1, where=inside)))


def peak_strength(heatmaps):
    """Returns the mean over the maps of their largest magnitude.

    Args:
        heatmaps: Array of shape `(batch, *grid)`, raw: `GradCAM(normalize=None)`.

    Returns:
        A float of at least 0, in units of the score.

    Raises:
        ValueError: If there are no heatmaps.
    """
    return float(np.mean(_peaks(_as_heatmaps(heatmaps))))


def empty_share(heatmaps):
    """Returns the share of maps that are zero everywhere.

    Args:
        heatmaps: Array of shape `(batch, *grid)`, in any unit.

    Returns:
        A float in `[0, 1]`.

    Raises:
        ValueError: If there are no heatmaps.
    """
    return float(np.mean(_peaks(_as_heatmaps(heatmaps)) == 0))


def entropy(heatmaps):
    """Returns how spread out the maps are, the mean of their normalised entropies.

    `-sum_i p_i log(p_i) / log(n)` with the shares `p_i` of the heat in `n` positions:
    0 where all heat is in one position, 1 where it is the same everywhere. Maps without
    heat have no shares and are left out.

    Args:
        heatmaps: Array of shape `(batch, *grid)`, in any unit.

    Returns:
        A float in `[0, 1]`, NaN if all maps are without heat.

    Raises:
        ValueError: If there are no heatmaps.

    Example:

    >>> entropy([[[1.0, 0.0], [1.0, 0.0]]])
    0.5

    Reference:
        Shannon, 1948, A Mathematical Theory of Communication, section 6.
    """
    shares = _shares(np.abs(_as_heatmaps(heatmaps)))
    shares = shares[(shares != 0).any(axis=1)]
    if not len(shares):
        return float("nan")
    logarithms = np.log(np.where(shares == 0, 1, shares))
    surprise = -np.sum(shares * logarithms, axis=1)
    return float(np.mean(surprise / max(np.log(shares.shape[1]), 1e-9)))


def drift(before, after):
    """Returns how much of the heat has moved elsewhere, the mean over the maps.

    The total variation distance of two maps of one sample, `sum_i |p_i - q_i| / 2` with
    their shares of the heat: 0 for the same shape, whatever the strength, 1 where they
    have no position in common. A map that lost all its heat, or got its first, has
    drifted by 1.

    Args:
        before: Array of shape `(batch, *grid)`, in any unit.
        after: Array of the same shape.

    Returns:
        A float in `[0, 1]`.

    Raises:
        ValueError: If there are no heatmaps, or the shapes differ.

    Example:

    >>> drift([[[1.0, 1.0]]], [[[4.0, 0.0]]])
    0.5
    """
    before, after = _as_heatmaps(before), _as_heatmaps(after)
    if before.shape != after.shape:
        raise ValueError(
            "`before` and `after` must be maps of the same samples. Received: "
            f"before.shape={before.shape}, after.shape={after.shape}"
        )
    before, after = _shares(np.abs(before)), _shares(np.abs(after))
    moved = np.sum(np.abs(before - after), axis=1) / 2
    one_empty = (before != 0).any(axis=1) != (after != 0).any(axis=1)
    return float(np.mean(np.where(one_empty, 2 * moved, moved)))


def as_masks(regions, shape):
    """Returns regions as boolean masks.

    Args:
        regions: See `pointing_accuracy`.
        shape: Tuple `(batch, *grid)`, the shape of the heatmaps.

    Raises:
        ValueError: If the regions do not fit `shape`.
    """
    regions = np.asarray(regions)
    if regions.shape == tuple(shape):
        return regions.astype(bool)
    if len(shape) != 3 or regions.shape != (shape[0], 4):
        raise ValueError(
            "`regions` must be boxes `(top, left, bottom, right)` of shape `(batch, "
            "4)`, or masks of the shape of the heatmaps. Received: "
            f"heatmaps.shape={tuple(shape)}, regions.shape={regions.shape}"
        )
    top, left, bottom, right = regions.T[..., None, None]
    rows, columns = np.arange(shape[1])[:, None], np.arange(shape[2])
    return (top <= rows) & (rows < bottom) & (left <= columns) & (columns < right)


def _as_heatmaps(heatmaps):
    heatmaps = np.asarray(heatmaps)
    if heatmaps.ndim < 2 or not heatmaps.size:
        raise ValueError(
            "`heatmaps` must have shape `(batch, height, width)`, or another grid "
            f"behind the batch. Received: heatmaps.shape={heatmaps.shape}"
        )
    return heatmaps


def _flat(maps):
    return maps.reshape(len(maps), -1)


def _peaks(heatmaps):
    return np.abs(_flat(heatmaps)).max(axis=1)


def _shares(magnitudes):
    """Each position's share of its map's sum, zero for a map without heat."""
    flat = _flat(magnitudes)
    # By the peak first: a sum of raw values may overflow, or be too small for floats.
    peaks = flat.max(axis=1, keepdims=True)
    with np.errstate(invalid="ignore"):  # Infinity becomes NaN, which is news enough.
        flat = flat / np.where(peaks == 0, 1, peaks)
    sums = flat.sum(axis=1, keepdims=True, dtype="float64")
    return flat / np.where(sums == 0, 1, sums)
