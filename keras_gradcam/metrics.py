"""How good is a map: its place against what is known of the image."""

import numpy as np


def pointing_accuracy(heatmaps, boxes):
    """Returns how often a map's peak falls inside its object's box.

    This is the pointing game, played to the pixel: the paper's tolerance of 15 pixels
    around the object is left out. A map without a positive peak, all zero for instance,
    and a map with NaN point nowhere and count as misses. A random map scores the mean
    share of the image that the boxes cover.

    Args:
        heatmaps: Array of shape `(batch, height, width)`, in any unit. Of several
            equal peaks the first in reading order counts.
        boxes: Array of shape `(batch, 4)`, each `(top, left, bottom, right)` in pixels
            of the heatmap; bottom and right are exclusive.

    Returns:
        A float in `[0, 1]`.

    Raises:
        ValueError: If there are no heatmaps, or not one box for each.

    Example:

    >>> pointing_accuracy([[[0.0, 0.2], [1.0, 0.1]]], [(1, 0, 2, 1)])
    1.0

    Reference:
        [Zhang et al., 2016](https://arxiv.org/abs/1608.00507), Top-down Neural
        Attention by Excitation Backprop, section 4.1.
    """
    heatmaps, boxes = np.asarray(heatmaps), np.asarray(boxes)
    if heatmaps.ndim != 3 or boxes.shape != (len(heatmaps), 4) or not heatmaps.size:
        raise ValueError(
            "`heatmaps` must have shape `(batch, height, width)` and `boxes` one "
            "`(top, left, bottom, right)` for each. Received: "
            f"heatmaps.shape={heatmaps.shape}, boxes.shape={boxes.shape}"
        )
    flat = heatmaps.reshape(len(heatmaps), -1)
    rows, columns = np.unravel_index(flat.argmax(axis=1), heatmaps.shape[1:])
    top, left, bottom, right = boxes.T
    inside = (top <= rows) & (rows < bottom) & (left <= columns) & (columns < right)
    # NaN is not above zero either: `max` hands it on.
    return float(np.mean(inside & (flat.max(axis=1) > 0)))
