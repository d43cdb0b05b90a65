"""`GradCAM`: a Keras model that returns heatmaps of another; the only state."""

from keras_gradcam.gradcam import arguments
from keras_gradcam.gradcam.gradcam import GradCAM

__all__ = [
    "GradCAM",
    "arguments",
]
