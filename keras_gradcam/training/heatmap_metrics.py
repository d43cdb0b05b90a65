"""The numbers of a training: how strong, spread out and well placed the heat is."""

import math

from keras_gradcam import metrics


class HeatmapMetrics:
    """Measures the heatmaps of the same samples, one time after the other.

    Args:
        names: List of strings, what tells the heatmaps of a sample apart; one empty
            string for one.
        regions: Masks of the samples, see `metrics`, or `None`.
    """

    def __init__(self, names, regions=None):
        self._names = names
        self._regions = regions
        self.begin()

    def begin(self):
        """Begins a training, whose first maps drift from nothing."""
        self._before = None

    def follow(self, earlier):
        """Goes on with another `HeatmapMetrics` of the same heatmaps."""
        self._before = earlier._before

    def of(self, explained):
        """Returns the numbers of an `ExplainedSamples`, a dict from name to float.

        They are always the same: `peak`, `entropy`, `empty` and `drift`, and where
        regions are known `pointing` and `inside`. Of several heatmaps each has its own,
        such as `true_peak`. The drift is since the last time, `None` for the first one.
        """
        before = self._before or [None] * len(self._names)
        self._before = explained.heatmaps
        return {
            key_of(name, number): value
            for name, *maps in zip(self._names, before, explained.heatmaps, strict=True)
            for number, value in self._of_one(*maps).items()
        }

    def unknown(self):
        """The same numbers, all NaN, where explaining has failed."""
        numbers = ["peak", "entropy", "empty", "drift"]
        numbers += [] if self._regions is None else ["pointing", "inside"]
        return {key_of(name, n): math.nan for name in self._names for n in numbers}

    def _of_one(self, before, heatmaps):
        numbers = {
            "peak": metrics.peak_strength(heatmaps),
            "entropy": metrics.entropy(heatmaps),
            "empty": metrics.empty_share(heatmaps),
            "drift": None if before is None else metrics.drift(before, heatmaps),
        }
        if self._regions is not None:
            numbers["pointing"] = metrics.pointing_accuracy(heatmaps, self._regions)
            numbers["inside"] = metrics.heat_inside(heatmaps, self._regions)
        return numbers


def key_of(name, number):
    """The key of a number of the heatmaps `name`."""
    return f"{name}_{number}".replace("/", "_").replace(" ", "_") if name else number
