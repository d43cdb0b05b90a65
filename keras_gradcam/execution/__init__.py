"""Runs a user's model inside TensorFlow graphs, and changes nothing of it."""

from keras_gradcam.execution import (
    differentiation,
    distribution,
    graph_loops,
    input_signatures,
    model_call,
    model_inputs,
)
from keras_gradcam.execution.concrete_functions import (
    ConcreteFunctions,
    XLARefusalError,
)
from keras_gradcam.execution.differentiation import UnconnectedError
from keras_gradcam.execution.forward_pass import (
    ForwardPass,
    Request,
    run_model,
    score_variants,
)

__all__ = [
    "ConcreteFunctions",
    "ForwardPass",
    "Request",
    "UnconnectedError",
    "XLARefusalError",
    "differentiation",
    "distribution",
    "graph_loops",
    "model_call",
    "model_inputs",
    "run_model",
    "score_variants",
    "input_signatures",
]
