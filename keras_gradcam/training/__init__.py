"""Heatmaps and their numbers while a model trains."""

from keras_gradcam.training.callback import GradCAMCallback

__all__ = [
    "GradCAMCallback",
]
