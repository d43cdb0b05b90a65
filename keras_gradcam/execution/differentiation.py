"""Gradients of the score, in a layer or an input: the only place that differentiates.

They are taken in the graph of a pass. Only the part of the network that follows the
first of these tensors is differentiated, and nothing with respect to a weight.
"""

import tensorflow as tf
from keras import tree

from keras_gradcam.arrays import widened
from keras_gradcam.graphs import overridden

# float16 gradients underflow where a mean over the grid divides them by its size:
# measured 2 % error at 224 x 224. A score 1024 times as large keeps them at 2e-4.
FLOAT16_SCALE = 1024.0


class UnconnectedError(ValueError):
    """The score does not depend on a layer, or on an input."""


def of_layer_outputs(forward_pass, layer_outputs, missing="raise"):
    """dy/dA of each layer output, on its grid.

    Args:
        forward_pass: A `ForwardPass`.
        layer_outputs: List of the `LayerOutput` that its tensors belong to.
        missing: What to do about a layer output that the score does not depend on:
            `"raise"`, or `"zero"` gradients.

    Returns:
        List of tensors `(batch, [n,] *grid, channels)`.

    Raises:
        UnconnectedError: If the score does not depend on one of `layer_outputs`.
    """
    columns = of_tensors(forward_pass, forward_pass.tensors)
    if missing == "zero":
        columns = [_with_zeros(column, forward_pass.tensors) for column in columns]
    for layer_output, gradient in zip(layer_outputs, columns[0], strict=True):
        _check_dependence(layer_output, gradient)
    return _on_grids(columns, layer_outputs, forward_pass)


def of_tensors(forward_pass, tensors):
    """dy/dT of tensors of a pass.

    Args:
        forward_pass: A `ForwardPass`.
        tensors: List of tensors of its graph.

    Returns:
        A list for each score, of tensors of the shapes of `tensors`, float32 or
        float64; `None` where the score does not depend on one.
    """
    scale = _scale(forward_pass)
    with overridden(forward_pass.overrides):
        return [
            [
                None if gradient is None else widened(gradient) / scale
                for gradient in tf.gradients(scale * tf.reduce_sum(score), tensors)
            ]
            for score in _columns(forward_pass.scores)
        ]


def hessian_products(forward_pass, layer_outputs):
    """H A of each layer output: the Hessian of y in A, times A, on its grid."""
    scale = _scale(forward_pass)
    with overridden(forward_pass.overrides):
        columns = [
            [
                _hessian_product(scale * tf.reduce_sum(score), tensor) / scale
                for tensor in forward_pass.tensors
            ]
            for score in _columns(forward_pass.scores)
        ]
    return _on_grids(columns, layer_outputs, forward_pass)


def _hessian_product(score, tensor):
    gradient = tf.gradients(score, tensor)[0]
    product = tf.reduce_sum(widened(gradient) * tf.stop_gradient(widened(tensor)))
    # Pieces that are linear have none.
    return widened(tf.gradients(product, tensor, unconnected_gradients="zero")[0])


def joined(columns, forward_pass):
    """One tensor, or structure, `(batch, n, ...)` of those `(batch, ...)` of n scores.

    Args:
        columns: List with one structure for each score.
        forward_pass: A `ForwardPass`. If it has one score, its structure is returned.
    """
    if forward_pass.scores.shape.rank != 2:
        return columns[0]
    return tree.map_structure(lambda *parts: tf.stack(parts, axis=1), *columns)


def for_each_score(tensor, forward_pass):
    """Repeats what is the same for all scores, `(batch, ...)`, to `(batch, n, ...)`."""
    return joined([tensor] * len(_columns(forward_pass.scores)), forward_pass)


def _on_grids(columns, layer_outputs, forward_pass):
    by_output = zip(layer_outputs, zip(*columns, strict=True), strict=True)
    return [
        joined([layer_output.to_grid(x) for x in gradients], forward_pass)
        for layer_output, gradients in by_output
    ]


def _columns(scores):
    return tf.unstack(scores, axis=1) if scores.shape.rank == 2 else [scores]


def _scale(forward_pass):
    # Of any layer: a signal on its way to a float32 input passes all of them.
    operations = forward_pass.scores.graph.get_operations()
    halves = any(x.dtype == tf.float16 for op in operations for x in op.outputs)
    return FLOAT16_SCALE if halves else 1.0


def _with_zeros(gradients, tensors):
    pairs = zip(gradients, tensors, strict=True)
    return [tf.zeros_like(x) if gradient is None else gradient for gradient, x in pairs]


def _check_dependence(layer_output, gradient):
    if gradient is None and layer_output.layer is None:
        raise UnconnectedError(
            f"The score does not depend on input '{layer_output.name}': no gradient "
            "reaches it. A step without a gradient, such as `argmax`, `round` or a "
            "cast to an integer, cuts it off. Take a method that explains a layer."
        )
    if gradient is None:
        raise UnconnectedError(
            f"The score does not depend on layer '{layer_output.name}': no gradient "
            "reaches it. The layer comes after the logits, feeds only another "
            "output, or is cut off by a step without a gradient such as `argmax` "
            "or `stop_gradient`. Choose an earlier layer, a target that uses what "
            "this layer computes, or leave out `layer`."
        )
