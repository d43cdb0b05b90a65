"""Grad-CAM for any Keras model: see what it looks at, also while it trains."""

from keras_gradcam import methods as methods
from keras_gradcam import metrics as metrics
from keras_gradcam import sinks as sinks
from keras_gradcam import smoothing as smoothing
from keras_gradcam import targets as targets
from keras_gradcam.callback import GradCAMCallback as GradCAMCallback
from keras_gradcam.explain import explain as explain
from keras_gradcam.explain_dataset import explain_dataset as explain_dataset
from keras_gradcam.gradcam import GradCAM as GradCAM
from keras_gradcam.images import colorize as colorize
from keras_gradcam.images import load_image as load_image
from keras_gradcam.images import overlay as overlay
from keras_gradcam.images import to_uint8 as to_uint8
from keras_gradcam.layer_table import layers as layers
from keras_gradcam.panels import panel as panel
from keras_gradcam.panels import show as show
from keras_gradcam.read_explanations import read_explanations as read_explanations

__version__ = "0.1.0"
