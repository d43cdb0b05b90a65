"""What a method needs to know about a layer: asks the model; the only gradient tape."""

from typing import Any, NamedTuple

import tensorflow as tf
from keras import tree

from keras_gradcam import forward

# float16 gradients underflow where a mean over the grid divides them by its size:
# measured 2 % error at 224 x 224. A score 1024 times as large keeps them at 2e-4.
FLOAT16_SCALE = 1024.0


class UnconnectedError(ValueError):
    """The score does not depend on a layer."""


class Evidence(NamedTuple):
    """One forward pass and its gradients, float32 (float64 for a float64 model).

    Attributes:
        activations: List of tensors `(batch, *grid, channels)`, one for each
            site.
        gradients: List of tensors of the same shapes, dy/dA; or, where each
            sample has n scores, `(batch, n, *grid, channels)`.
        scores: Tensor `(batch,)` or `(batch, n)`, the target score y.
        outputs: The model's own outputs, as it returned them.
    """

    activations: list
    gradients: list
    scores: tf.Tensor
    outputs: Any


def gradients(model, inputs, sites, score, inline=False, unconnected="raise"):
    """Runs `model` once and differentiates a score with respect to layers' outputs.

    Only the part of the network that follows the first of `sites` is recorded, and no
    gradient with respect to a weight is ever computed.

    Args:
        model: A built `keras.Model`.
        inputs: Structure of tensors, as the model takes it.
        sites: List of `anatomy.Site`.
        score: Callable from the model's outputs to scores `(batch,)`.
        inline: See `forward.run`.
        unconnected: What to do about a site that the score does not depend on:
            `"raise"`, or `"zero"` gradients.

    Returns:
        An `Evidence`.

    Raises:
        UnconnectedError: If the score does not depend on one of `sites`.
    """
    found = {}

    def listener(layer, call, output):
        if (id(layer), call) not in wanted:
            return output
        output = forward.identity(output)
        found[id(layer), call] = output
        tape.watch([x for x in tree.flatten(output) if _is_differentiable(x)])
        return output

    wanted = {(id(site.layer), site.call) for site in sites}
    layers = list({id(site.layer): site.layer for site in sites}.values())
    with tf.GradientTape(persistent=True, watch_accessed_variables=False) as tape:
        outputs, _ = forward.run(model, inputs, layers, listener, inline)
        scores = _widened(score(outputs))
        activations = [site.pick(found[id(site.layer), site.call]) for site in sites]
        scale = _scale(activations)
        several = scores.shape.rank == 2
        columns = tf.unstack(scores, axis=1) if several else [scores]
        totals = [scale * tf.reduce_sum(column) for column in columns]
    missing = "zero" if unconnected == "zero" else "none"
    slopes = [tape.gradient(t, activations, None, missing) for t in totals]
    _check_dependence(sites, slopes[0])
    return Evidence(
        [site.to_grid(_widened(a)) for a, site in zip(activations, sites, strict=True)],
        [
            _joined([site.to_grid(_widened(g)) / scale for g in of_site], several)
            for site, of_site in zip(sites, zip(*slopes, strict=True), strict=True)
        ],
        scores,
        outputs,
    )


def _widened(tensor):
    # Half precision is for the model; sums over a grid need more.
    tensor = tf.convert_to_tensor(tensor)
    return tensor if tensor.dtype == tf.float64 else tf.cast(tensor, tf.float32)


def _joined(slopes, several):
    return tf.stack(slopes, axis=1) if several else slopes[0]


def _is_differentiable(tensor):
    return tf.is_tensor(tensor) and tensor.dtype.is_floating


def _scale(activations):
    return FLOAT16_SCALE if any(a.dtype == tf.float16 for a in activations) else 1.0


def _check_dependence(sites, slopes):
    for site, slope in zip(sites, slopes, strict=True):
        if slope is None:
            raise UnconnectedError(
                f"The score does not depend on layer '{site.name}': no gradient "
                "reaches it. The layer comes after the logits, feeds only another "
                "output, or is cut off by a step without a gradient such as `argmax` "
                "or `stop_gradient`. Choose an earlier layer, a target that uses what "
                "this layer computes, or leave out `layer`."
            )


def passes_on(model, signature, sites, score, inline=False):
    """Tells which sites still pass something of their grid on to a score.

    After the last attention of a transformer only the class token may reach the head:
    the graph does not show that, a gradient does. Runs the model once, on noise.

    Args:
        model: A built `keras.Model`.
        signature: Structure of `tf.TensorSpec`, as the model takes it.
        sites: List of `anatomy.Site`.
        score: Callable from the model's outputs to scores `(batch,)`.
        inline: See `forward.run`.

    Returns:
        List of booleans.
    """

    def run():
        inputs = tree.map_structure(_noise, signature)
        found = gradients(model, inputs, sites, score, inline, unconnected="zero")
        return [tf.reduce_any(slope != 0) for slope in found.gradients]

    graph = tf.function(run, autograph=False).get_concrete_function()
    return [bool(passed) for passed in graph()]


def _noise(spec):
    shape = [length or 1 for length in spec.shape]
    if not spec.dtype.is_floating:
        return tf.zeros(shape, spec.dtype)
    return tf.random.stateless_uniform(shape, seed=(0, 0), dtype=spec.dtype)
