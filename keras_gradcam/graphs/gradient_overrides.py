"""Gradients of single operations of a graph, replaced while it is differentiated.

TensorFlow asks each operation for a function of its own before it looks for that of its
type. The graph that is left behind, and what is saved of it, knows nothing of these.
"""

import contextlib

from tensorflow.python.framework import ops


@contextlib.contextmanager
def overridden(functions):
    """Inside, operations have other gradients.

    Args:
        functions: Dict from an operation to a callable `(operation, *gradients)` to the
            list of the gradients of its inputs, `None` for one that gets none.
    """
    before = {operation: operation._gradient_function for operation in functions}
    try:
        for operation, function in functions.items():
            operation._gradient_function = function
        yield
    finally:
        for operation, function in before.items():
            operation._gradient_function = function


def own_gradients(operation, *gradients):
    """The gradients of the inputs of an operation, as its type has them: a list."""
    found = ops.gradient_registry.lookup(operation.type)(operation, *gradients)
    return list(found) if isinstance(found, (list, tuple)) else [found]
