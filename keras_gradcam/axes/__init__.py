"""Where the axes of a tensor lie in the inputs of its model."""

from keras_gradcam.axes import measuring
from keras_gradcam.axes.parts import with_joined_copies
from keras_gradcam.axes.reshape_rule import VIEW
from keras_gradcam.axes.tensor_axes import BATCH, Axis, Digit, TensorAxes
from keras_gradcam.axes.tracing import lost_tensors, trace

__all__ = [
    "BATCH",
    "VIEW",
    "Axis",
    "Digit",
    "TensorAxes",
    "lost_tensors",
    "measuring",
    "trace",
    "with_joined_copies",
]
