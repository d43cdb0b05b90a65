"""Gradients of the score, in a layer or an input: the only place that differentiates.

They are taken in the graph of a pass. Only the part of the network that follows the
first of the places is differentiated, and nothing with respect to a weight.
"""

import tensorflow as tf
from keras import tree

from keras_gradcam.scoring import widened

# float16 gradients underflow where a mean over the grid divides them by its size:
# measured 2 % error at 224 x 224. A score 1024 times as large keeps them at 2e-4.
FLOAT16_SCALE = 1024.0


class UnconnectedError(ValueError):
    """The score does not depend on a layer, or on an input."""


def of_sites(seen, sites, missing="raise"):
    """dy/dA of each site, on its grid.

    Args:
        seen: A `question.Pass`.
        sites: List of the `anatomy.Site` that its tensors belong to.
        missing: What to do about a site that the score does not depend on: `"raise"`,
            or `"zero"` gradients.

    Returns:
        List of tensors `(batch, [n,] *grid, channels)`.

    Raises:
        UnconnectedError: If the score does not depend on one of `sites`.
    """
    columns = of_tensors(seen, seen.tensors)
    if missing == "zero":
        columns = [_with_zeros(column, seen.tensors) for column in columns]
    for site, slope in zip(sites, columns[0], strict=True):
        _check_dependence(site, slope)
    return _on_grids(columns, sites, seen)


def of_tensors(seen, tensors):
    """dy/dT of tensors of a pass.

    Args:
        seen: A `question.Pass`.
        tensors: List of tensors of its graph.

    Returns:
        A list for each score, of tensors of the shapes of `tensors`, float32 or
        float64; `None` where the score does not depend on one.
    """
    scale = _scale(seen)
    return [
        [
            None if slope is None else widened(slope) / scale
            for slope in tf.gradients(scale * tf.reduce_sum(score), tensors)
        ]
        for score in _columns(seen.scores)
    ]


def of_slopes(seen, sites):
    """H A of each site: the Hessian of y in A, times A, on its grid."""
    scale = _scale(seen)
    columns = [
        [
            _hessian_product(scale * tf.reduce_sum(score), tensor) / scale
            for tensor in seen.tensors
        ]
        for score in _columns(seen.scores)
    ]
    return _on_grids(columns, sites, seen)


def _hessian_product(score, tensor):
    slope = tf.gradients(score, tensor)[0]
    product = tf.reduce_sum(widened(slope) * tf.stop_gradient(widened(tensor)))
    # Pieces that are linear have none.
    return widened(tf.gradients(product, tensor, unconnected_gradients="zero")[0])


def joined(columns, seen):
    """One tensor, or structure, `(batch, n, ...)` of those `(batch, ...)` of n scores.

    Args:
        columns: List with one structure for each score.
        seen: A `question.Pass`. If it has one score, its structure is returned.
    """
    if seen.scores.shape.rank != 2:
        return columns[0]
    return tree.map_structure(lambda *parts: tf.stack(parts, axis=1), *columns)


def for_each_score(tensor, seen):
    """Repeats what is the same for all scores, `(batch, ...)`, to `(batch, n, ...)`."""
    return joined([tensor] * len(_columns(seen.scores)), seen)


def _on_grids(columns, sites, seen):
    by_site = zip(sites, zip(*columns, strict=True), strict=True)
    return [joined([site.to_grid(x) for x in slopes], seen) for site, slopes in by_site]


def _columns(scores):
    return tf.unstack(scores, axis=1) if scores.shape.rank == 2 else [scores]


def _scale(seen):
    # Of any layer: a signal on its way to a float32 input passes all of them.
    operations = seen.scores.graph.get_operations()
    halves = any(x.dtype == tf.float16 for op in operations for x in op.outputs)
    return FLOAT16_SCALE if halves else 1.0


def _with_zeros(slopes, tensors):
    pairs = zip(slopes, tensors, strict=True)
    return [tf.zeros_like(x) if slope is None else slope for slope, x in pairs]


def _check_dependence(site, slope):
    if slope is None and site.layer is None:
        raise UnconnectedError(
            f"The score does not depend on input '{site.name}': no gradient reaches "
            "it. A step without a gradient, such as `argmax`, `round` or a cast to an "
            "integer, cuts it off. Take a method that explains a layer."
        )
    if slope is None:
        raise UnconnectedError(
            f"The score does not depend on layer '{site.name}': no gradient "
            "reaches it. The layer comes after the logits, feeds only another "
            "output, or is cut off by a step without a gradient such as `argmax` "
            "or `stop_gradient`. Choose an earlier layer, a target that uses what "
            "this layer computes, or leave out `layer`."
        )
