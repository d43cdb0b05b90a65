"""The album of a training: draws the panels of each look, all in the same way."""

import numbers

import numpy as np

from keras_gradcam import maps, panels
from keras_gradcam.images import overlay

# The longest side of a JPEG.
MAX_SIDE = 65535


class Album:
    """Draws panels.

    Args:
        name: The group of the tags.
        layer: Name of the layer, or a list of names.
        captions: A `captions.Captions`.
        regions: Masks `(samples, height, width)`, whose outlines are drawn, or `None`.
        scale: See `GradCAMCallback`.
        grid: See `GradCAMCallback`.
        normalize: See `GradCAM`; for `scale="sample"`.
        signed: Whether heatmaps keep their sign.
    """

    def __init__(self, name, layer, captions, regions, scale, grid, normalize, signed):
        self._name = name
        self._tag = ", ".join(layer) if isinstance(layer, list) else layer
        self._captions = captions
        self._regions = regions
        self._grid = grid
        self._normalize = maps.get_normalization(normalize or "max")
        # A map that keeps its sign needs a colour for "against".
        self._colormap = "coolwarm" if signed else "jet"
        self._is_run = scale != "sample"
        self._strengths = scale if isinstance(scale, numbers.Real) else None

    @property
    def is_calibrated(self):
        """Whether the scale of the colours is known."""
        return not self._is_run or self._strengths is not None

    def calibrate(self, look):
        """Fixes the scale of the colours, of this look and of all later ones."""
        peaks = [np.abs(column).max(axis=(1, 2)) for column in look.heatmaps]
        peaks = [column[np.isfinite(column) & (column > 0)] for column in peaks]
        if all(map(len, peaks)):
            self._strengths = [float(column.mean()) for column in peaks]

    def draw(self, look, heading=""):
        """Returns the panels of a `watch.Look`, a dict from tag to list of pictures.

        Args:
            look: A `watch.Look`.
            heading: String, what is said first of all samples.
        """
        colors = list(zip(*self._colored(look.heatmaps), strict=True))
        captions = self._captions.of(
            look.outputs, look.labels, _headings(look, heading), _remarks(look)
        )
        rows = list(zip(look.pictures, colors, captions, strict=True))
        titles = look.names if len(look.names) > 1 else None
        count = len(rows) - len(look.losses)
        regions = [None] * len(rows)
        if self._regions is not None:
            regions[:count] = self._regions
        drawn = [
            panels.panel(
                picture,
                list(heatmaps),
                *caption,
                colormap=self._colormap,
                titles=titles,
                region=region,
            )
            for (picture, heatmaps, caption), region in zip(rows, regions, strict=True)
        ]
        tags = {self._tag: drawn[:count]}
        if look.losses:
            tags["highest loss"] = drawn[count:]
        if self._grid:
            tags["all samples"] = [panels.grid([self._cell(*r) for r in rows[:count]])]
        return {f"{self._name}/{tag}": pictures for tag, pictures in tags.items()}

    def _colored(self, heatmaps):
        """Raw maps on the scale of the colours: up to 1, with a sign from -1."""
        if not self._is_run:
            # A second time where another normalisation leaves values above 1.
            return [
                np.asarray(maps.normalize_max(self._normalize(column)))
                for column in heatmaps
            ]
        # No maximum is known in advance, and a map that grows must not end in one flat
        # red: half the scale is up to the strength, the rest is for what exceeds it.
        strengths = np.broadcast_to(self._strengths or 1.0, len(heatmaps))
        return [
            np.asarray(column / (np.abs(column) + strength), "float32")
            for column, strength in zip(heatmaps, strengths, strict=True)
        ]

    def _cell(self, picture, heatmaps, caption):
        """Only the overlays of a sample, for the picture of all samples."""
        picture = panels.enlarge(picture, panels.MIN_SIZE)
        seen = [overlay(picture, h, colormap=self._colormap) for h in heatmaps]
        return panels.panel(np.concatenate(seen, axis=1), [], *caption)


def check_size(pictures):
    """Raises if panels of these pictures would be too large for a file."""
    shape = panels.panel(pictures[0], np.zeros(pictures.shape[1:3])).shape
    if max(shape) > MAX_SIDE:
        raise ValueError(
            f"Argument `images` has a form that makes panels of {shape[1]} x {shape[0]}"
            f" pixels, more than {MAX_SIDE}. Received: images of shape "
            f"{pictures.shape} as RGB"
        )


def _headings(look, heading):
    shown = len(look.labels) - len(look.losses)
    return [heading] * shown + [f"loss {loss:.3g}" for loss in look.losses]


def _remarks(look):
    """What is to be said of each sample's heatmaps, if anything."""
    peaks = np.stack([np.abs(column).max(axis=(1, 2)) for column in look.heatmaps])
    nan = ~np.isfinite(peaks).all(axis=0)
    empty = (peaks == 0).all(axis=0)
    return [
        "heatmap is NaN" if bad else "no evidence" if none else ""
        for bad, none in zip(nan, empty, strict=True)
    ]
