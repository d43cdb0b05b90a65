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
from keras_gradcam.execution.graph_traversal import (
    comes_of_variables,
    constant_value,
    graph_of,
    last_operation,
    reached_from,
)

__all__ = [
    "ConcreteFunctions",
    "ForwardPass",
    "Request",
    "UnconnectedError",
    "XLARefusalError",
    "comes_of_variables",
    "constant_value",
    "graph_of",
    "differentiation",
    "distribution",
    "graph_loops",
    "last_operation",
    "model_call",
    "model_inputs",
    "reached_from",
    "run_model",
    "score_variants",
    "input_signatures",
]
