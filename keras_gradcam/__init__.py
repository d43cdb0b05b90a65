"""Grad-CAM for any Keras model: see what it looks at, also while it trains."""

from keras_gradcam import methods, targets
from keras_gradcam.callback import GradCAMCallback
from keras_gradcam.gradcam import GradCAM, explain
from keras_gradcam.images import colorize, load_image, overlay, panel, show

__version__ = "0.1.0"
