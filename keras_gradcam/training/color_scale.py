"""The scale of colours: how strong a raw map is drawn."""

import numbers

import numpy as np

from keras_gradcam.maps import normalization
from keras_gradcam.training.heatmap_metrics import key_of


class ColorScale:
    """Brings raw maps to values that can be coloured, up to 1 or from -1 to 1.

    Args:
        scale: `"sample"`, `"run"` or a number, see `GradCAMCallback`.
        normalize: See `GradCAM`; for `"sample"`.
    """

    def __init__(self, scale, normalize=None):
        self._scale = scale
        self._normalize = normalization.get_normalization(normalize or "max")
        self._strengths = {}
        self._known = {}

    def begin(self, goes_on, known):
        """Begins a training.

        Args:
            goes_on: Whether it goes on where an earlier one ended, on its scale.
            known: Dict of numbers, those of the scale as `numbers` gave them there.
        """
        if not goes_on:
            self._strengths = {}
        self._known = known

    def is_open(self, explained):
        """Whether nothing is known yet of the strengths of a training."""
        return self._scale == "run" and not set(self._strengths) & set(explained.names)

    def fix(self, explained):
        """Fixes the scale of the maps that have none, where there is something in them.

        Args:
            explained: An `ExplainedSamples` of a model that has been trained.
        """
        if self._scale != "run":
            return
        for name, heatmaps in zip(explained.names, explained.heatmaps, strict=True):
            strength = self._known.get(key_of(name, "scale"), _mean_peak(heatmaps))
            if strength is not None:
                self._strengths.setdefault(name, strength)

    def numbers(self):
        """The strengths in the middle of the colours, a dict from name to float."""
        return {key_of(name, "scale"): x for name, x in self._strengths.items()}

    def apply(self, explained):
        """Returns an array for each of the heatmaps."""
        if self._scale == "sample":
            # A second time where another normalisation leaves values above 1.
            return [
                np.asarray(normalization.normalize_max(self._normalize(heatmaps)))
                for heatmaps in explained.heatmaps
            ]
        # No maximum is known in advance, and a map that grows must not end in one flat
        # red: half the scale is up to the strength, the rest for what exceeds it.
        columns = zip(explained.names, explained.heatmaps, strict=True)
        with np.errstate(invalid="ignore"):  # Infinity becomes NaN, which is drawn so.
            return [
                np.asarray(x / (np.abs(x) + self._strength(name, x)), "float32")
                for name, x in columns
            ]

    def _strength(self, name, heatmaps):
        if isinstance(self._scale, numbers.Real):
            return self._scale
        # Without a scale, maps of an untrained model whose training began with none.
        return self._strengths.get(name) or _mean_peak(heatmaps) or 1.0


def _mean_peak(heatmaps):
    """The mean peak of the maps that have one, `None` if there are none."""
    peaks = np.abs(heatmaps).max(axis=(1, 2))
    peaks = peaks[np.isfinite(peaks) & (peaks > 0)]
    return float(peaks.mean()) if len(peaks) else None
