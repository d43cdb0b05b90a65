"""Draws the panels of a training, all in the same way."""

import numpy as np

from keras_gradcam.pictures import MIN_SIZE, enlarge, grid, outline, overlay, panel

# The longest side of a JPEG.
MAX_SIDE = 65500


class PanelDrawer:
    """Draws panels.

    Args:
        name: The group of the tags.
        layer: Name of the layer, or a list of names.
        captions: A `Captions`.
        scale: A `ColorScale`.
        regions: Masks `(samples, height, width)`, whose outlines are drawn, or `None`.
        signed: Whether heatmaps keep their sign.
        grid: Whether to draw one picture of all samples, too.
    """

    def __init__(self, name, layer, captions, scale, regions, signed, grid):
        self.name = name
        self._layer = ", ".join(layer) if isinstance(layer, list) else layer
        self._captions = captions
        self.scale = scale
        self._regions = regions
        # A map that keeps its sign needs a colour for "against".
        self._colormap = "coolwarm" if signed else "jet"
        self._grid = grid

    def draw(self, explained, untrained=False):
        """Returns the panels of samples, a dict from tag to list of pictures.

        Args:
            explained: An `ExplainedSamples`.
            untrained: Whether the model has not been trained yet.
        """
        count = len(explained.labels)
        headings = ["before training" if untrained else ""] * count
        regions = [None] * count if self._regions is None else self._regions
        drawn = {
            f"{self.name}/{self._layer}": self._panels(explained, headings, regions)
        }
        if self._grid:
            rows = zip(self._rows(explained, headings), regions, strict=True)
            cells = [self._cell(*row, region, explained.names) for row, region in rows]
            drawn[f"{self.name}/all samples"] = [grid(cells)]
        return drawn

    def draw_hardest(self, found, explained):
        """Returns the panels of the samples with the highest loss in the same way.

        Args:
            found: List of tuples `(loss, sample)`.
            explained: The `ExplainedSamples` of these samples.
        """
        headings = [f"sample {one.number}, loss {loss:.3g}" for loss, one in found]
        drawn = self._panels(explained, headings, [None] * len(found))
        return {f"{self.name}/highest loss": drawn}

    def _panels(self, explained, headings, regions):
        rows = zip(self._rows(explained, headings), regions, strict=True)
        return [
            panel(
                picture,
                list(heatmaps),
                *caption,
                colormap=self._colormap,
                titles=explained.names if len(explained.names) > 1 else None,
                region=region,
            )
            for (picture, heatmaps, caption), region in rows
        ]

    def _rows(self, explained, headings):
        """A tuple `(picture, heatmaps, caption)` for each sample."""
        heatmaps = zip(*self.scale.apply(explained), strict=True)
        captions = self._captions.of(
            explained.outputs, explained.labels, headings, _remarks(explained)
        )
        return zip(explained.pictures, heatmaps, captions, strict=True)

    def _cell(self, picture, heatmaps, caption, region, names):
        """The overlays of one sample, side by side."""
        picture = enlarge(picture, MIN_SIZE, len(names))
        seen = [overlay(picture, h, colormap=self._colormap) for h in heatmaps]
        if region is not None:
            seen = [outline(overlaid, region) for overlaid in seen]
        titles = names if len(names) > 1 else None
        return panel(np.concatenate(seen, axis=1), [], *caption, titles=titles)


def check_size(pictures, columns=1):
    """Raises if panels of these pictures would be too large for a file.

    Args:
        pictures: uint8 `(samples, height, width, 3)`.
        columns: Number of heatmaps in a panel.
    """
    heatmaps = [np.zeros(pictures.shape[1:3])] * columns
    shape = panel(pictures[0], heatmaps).shape
    if max(shape) > MAX_SIDE:
        raise ValueError(
            f"Argument `images` has a form that makes panels of {shape[1]} x {shape[0]}"
            f" pixels, more than {MAX_SIDE}. Received: images of shape "
            f"{pictures.shape} as RGB"
        )


def _remarks(explained):
    """What is to be said of each sample's heatmaps, if anything."""
    peaks = [np.abs(heatmaps).max(axis=(1, 2)) for heatmaps in explained.heatmaps]
    return [
        _remark(explained.names, list(map(_flaw, of_sample)))
        for of_sample in zip(*peaks, strict=True)
    ]


def _remark(names, flaws):
    if len(set(flaws)) == 1:
        return flaws[0]
    flawed = zip(names, flaws, strict=True)
    return ", ".join(f"{name}: {flaw}" for name, flaw in flawed if flaw)


def _flaw(peak):
    if not np.isfinite(peak):
        return "heatmap is NaN"
    return "no evidence" if peak == 0 else ""
