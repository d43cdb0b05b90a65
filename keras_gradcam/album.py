"""The album of a training: draws the panels of each look, all in the same way."""

import numpy as np

from keras_gradcam import panels
from keras_gradcam.images import overlay

# The longest side of a JPEG.
MAX_SIDE = 65500


class Album:
    """Draws panels.

    Args:
        captions: A `captions.Captions`.
        scale: A `scale.Scale`.
        regions: Masks `(samples, height, width)`, whose outlines are drawn, or `None`.
        signed: Whether heatmaps keep their sign.
    """

    def __init__(self, captions, scale, regions=None, signed=False):
        self._captions = captions
        self._scale = scale
        self._regions = regions
        # A map that keeps its sign needs a colour for "against".
        self._colormap = "coolwarm" if signed else "jet"

    def panels(self, look, headings, outlined=True):
        """Returns a panel for each sample of a `watch.Look`.

        Args:
            look: A `watch.Look`.
            headings: List of strings, what is said first of each sample.
            outlined: Whether these are the samples that the regions belong to.
        """
        regions = self._regions if outlined else None
        rows = zip(
            self._rows(look, headings),
            [None] * len(headings) if regions is None else regions,
            strict=True,
        )
        return [
            panels.panel(
                picture,
                list(heatmaps),
                *caption,
                colormap=self._colormap,
                titles=look.names if len(look.names) > 1 else None,
                region=region,
            )
            for (picture, heatmaps, caption), region in rows
        ]

    def sheet(self, look, headings):
        """Returns one picture with the overlays of all samples."""
        return panels.grid(
            [self._cell(*row, look.names) for row in self._rows(look, headings)]
        )

    def _rows(self, look, headings):
        """A tuple `(picture, heatmaps, caption)` for each sample."""
        heatmaps = zip(*self._scale.apply(look), strict=True)
        captions = self._captions.of(
            look.outputs, look.labels, headings, _remarks(look)
        )
        return zip(look.pictures, heatmaps, captions, strict=True)

    def _cell(self, picture, heatmaps, caption, names):
        picture = panels.enlarge(picture, panels.MIN_SIZE)
        seen = [overlay(picture, h, colormap=self._colormap) for h in heatmaps]
        if len(names) > 1:
            seen = [panels.headed(x, n) for x, n in zip(seen, names, strict=True)]
        return panels.panel(np.concatenate(seen, axis=1), [], *caption)


def check_size(pictures, columns=1):
    """Raises if panels of these pictures would be too large for a file.

    Args:
        pictures: uint8 `(samples, height, width, 3)`.
        columns: Number of heatmaps in a panel.
    """
    heatmaps = [np.zeros(pictures.shape[1:3])] * columns
    shape = panels.panel(pictures[0], heatmaps).shape
    if max(shape) > MAX_SIDE:
        raise ValueError(
            f"Argument `images` has a form that makes panels of {shape[1]} x {shape[0]}"
            f" pixels, more than {MAX_SIDE}. Received: images of shape "
            f"{pictures.shape} as RGB"
        )


def _remarks(look):
    """What is to be said of each sample's heatmaps, if anything."""
    peaks = [np.abs(heatmaps).max(axis=(1, 2)) for heatmaps in look.heatmaps]
    return [
        ", ".join(filter(None, map(_remark, look.names, of_sample)))
        for of_sample in zip(*peaks, strict=True)
    ]


def _remark(name, peak):
    if not np.isfinite(peak):
        return f"{name}: NaN" if name else "heatmap is NaN"
    if peak == 0:
        return f"{name}: no evidence" if name else "no evidence"
    return ""
