"""The scale of colours: how strong a raw map is drawn."""

import numbers

import numpy as np

from keras_gradcam import maps
from keras_gradcam.measures import key_of


class Scale:
    """Brings raw maps to values that can be coloured, up to 1 or from -1 to 1.

    Args:
        scale: `"sample"`, `"run"` or a number, see `GradCAMCallback`.
        normalize: See `GradCAM`; for `"sample"`.
    """

    def __init__(self, scale, normalize=None):
        self._scale = scale
        self._normalize = maps.get_normalization(normalize or "max")
        self._strengths = {}

    def is_open(self, look):
        """Whether nothing is known yet of the strengths of a training."""
        return self._scale == "run" and not set(self._strengths) & set(look.names)

    def fix(self, look, known):
        """Fixes the scale of the maps that have none, where there is something in them.

        Args:
            look: A `watch.Look` at a model that has been trained.
            known: Dict of numbers, those of the scale as `numbers` gave them for an
                earlier part of this training.
        """
        if self._scale != "run":
            return
        for name, heatmaps in zip(look.names, look.heatmaps, strict=True):
            peaks = np.abs(heatmaps).max(axis=(1, 2))
            peaks = peaks[np.isfinite(peaks) & (peaks > 0)]
            strength = known.get(key_of(name, "scale"))
            if strength is None and len(peaks):
                strength = float(peaks.mean())
            if strength is not None:
                self._strengths.setdefault(name, strength)

    def numbers(self):
        """The strengths in the middle of the colours, a dict from name to float."""
        return {key_of(name, "scale"): x for name, x in self._strengths.items()}

    def apply(self, look):
        """Returns an array for each of the look's heatmaps."""
        if self._scale == "sample":
            # A second time where another normalisation leaves values above 1.
            return [
                np.asarray(maps.normalize_max(self._normalize(heatmaps)))
                for heatmaps in look.heatmaps
            ]
        # No maximum is known in advance, and a map that grows must not end in one flat
        # red: half the scale is up to the strength, the rest for what exceeds it. A map
        # without strength has nothing in it, and is drawn the same by any.
        fixed = self._scale if isinstance(self._scale, numbers.Real) else 1.0
        strengths = [self._strengths.get(name, fixed) for name in look.names]
        return [
            np.asarray(heatmaps / (np.abs(heatmaps) + strength), "float32")
            for heatmaps, strength in zip(look.heatmaps, strengths, strict=True)
        ]
