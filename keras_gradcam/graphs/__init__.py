"""Reads the graph of a pass, and changes its gradients; knows nothing of Keras."""

from keras_gradcam.graphs import gates, graph_paths
from keras_gradcam.graphs.gradient_overrides import overridden, own_gradients
from keras_gradcam.graphs.graph_replay import replayed
from keras_gradcam.graphs.graph_traversal import (
    comes_of_variables,
    constant_value,
    graph_of,
    inner_operations,
    last_operation,
    reached_from,
)

__all__ = [
    "comes_of_variables",
    "constant_value",
    "gates",
    "graph_of",
    "graph_paths",
    "inner_operations",
    "last_operation",
    "overridden",
    "own_gradients",
    "reached_from",
    "replayed",
]
