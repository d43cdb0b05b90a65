"""What is known of a user's model: its layers, their grids, its inputs."""

from keras_gradcam.model import attention_weights, spatial_grids
from keras_gradcam.model.layer_output import LayerOutput
from keras_gradcam.model.layer_table import layers
from keras_gradcam.model.target_layers import ChosenLayers, TargetLayers
from keras_gradcam.model.traced_model import TracedModel

__all__ = [
    "ChosenLayers",
    "LayerOutput",
    "TargetLayers",
    "TracedModel",
    "attention_weights",
    "layers",
    "spatial_grids",
]
