"""Grad-CAM for any Keras model: see what it looks at, also while it trains."""

from keras_gradcam import methods as methods
from keras_gradcam import metrics as metrics
from keras_gradcam import sinks as sinks
from keras_gradcam import smoothing as smoothing
from keras_gradcam import targets as targets
from keras_gradcam.explain import explain as explain
from keras_gradcam.gradcam import GradCAM as GradCAM
from keras_gradcam.jobs import explain_dataset as explain_dataset
from keras_gradcam.jobs import read_explanations as read_explanations
from keras_gradcam.maps import diagnosis as diagnosis
from keras_gradcam.model import layers as layers
from keras_gradcam.pictures import colorize as colorize
from keras_gradcam.pictures import load_image as load_image
from keras_gradcam.pictures import overlay as overlay
from keras_gradcam.pictures import panel as panel
from keras_gradcam.pictures import show as show
from keras_gradcam.pictures import to_uint8 as to_uint8
from keras_gradcam.training import GradCAMCallback as GradCAMCallback

__version__ = "0.1.0"
