"""From evidence to a finished map: formula, smoothing, fusion, size, range."""

from keras_gradcam.maps import diagnosis, fusion, heatmaps, normalization, smoothing
from keras_gradcam.maps.diagnosis import EmptyMapWarning
from keras_gradcam.maps.heatmaps import HeatmapConfig

__all__ = [
    "EmptyMapWarning",
    "HeatmapConfig",
    "diagnosis",
    "fusion",
    "heatmaps",
    "normalization",
    "smoothing",
]
