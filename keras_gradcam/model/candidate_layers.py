"""Which layers of a model a map can be made of: those that a score depends on."""

import dataclasses

import tensorflow as tf
from keras import tree

from keras_gradcam.execution import Request, differentiation, run_model
from keras_gradcam.model import traced_model
from keras_gradcam.targets import scorer


def trace_candidates(model, signature, target=None, logits=True, reshape=None):
    """Traces a model, and finds which of its layers a score depends on.

    Args:
        model: A built `keras.Model`.
        signature: Structure of `tf.TensorSpec`, as the model takes it.
        target: See `GradCAM`.
        logits: See `GradCAM`.
        reshape: See `GradCAM`.

    Returns:
        A `TracedModel`.
    """

    def basis(outputs):
        return scorer.basis(outputs, target, logits)

    found = traced_model.trace(model, signature, basis, reshape)
    # Of tokens the score may depend on the class token alone.
    doubtful = [x for x in found.layer_outputs if x.prefix and x.is_candidate()]
    lengths = [length for spec in tree.flatten(signature) for length in spec.shape[1:]]
    if not doubtful or None in lengths:
        return found
    passed = passes_on(
        model, signature, doubtful, lambda y: _total(basis(y)), found.inline
    )
    # A head of zeros, as new transformers have it, lets nothing pass and proves
    # nothing.
    if not any(passed):
        return found
    cut = {x.name for x, ok in zip(doubtful, passed, strict=True) if not ok}
    layer_outputs = [
        dataclasses.replace(x, passes_on=x.name not in cut) for x in found.layer_outputs
    ]
    return found._replace(layer_outputs=layer_outputs)


def _total(basis):
    totals = [
        tf.reduce_sum(tf.cast(x, tf.float32), axis=range(1, x.shape.rank))
        for x in tree.flatten(basis)
    ]
    return tf.add_n(totals)


def passes_on(model, signature, layer_outputs, score, inline=False):
    """Tells which layers still pass something of their grid on to a score.

    After the last attention of a transformer only the class token may reach the head:
    the graph does not show that, a gradient does. Runs the model once, on noise.

    Args:
        model: A built `keras.Model`.
        signature: Structure of `tf.TensorSpec`, as the model takes it.
        layer_outputs: List of `LayerOutput`.
        score: Callable from the model's outputs to scores `(batch,)`.
        inline: See `model_call.run`.

    Returns:
        List of booleans.
    """

    def run():
        inputs = tree.map_structure(_noise, signature)
        forward_pass = run_model(
            Request(model, inputs, layer_outputs, score, inline=inline)
        )
        found = differentiation.of_layer_outputs(
            forward_pass, layer_outputs, missing="zero"
        )
        return [tf.reduce_any(gradient != 0) for gradient in found]

    graph = tf.function(run, autograph=False).get_concrete_function()
    return [bool(passed) for passed in graph()]


def _noise(spec):
    shape = [length or 1 for length in spec.shape]
    if not spec.dtype.is_floating:
        return tf.zeros(shape, spec.dtype)
    return tf.random.stateless_uniform(shape, seed=(0, 0), dtype=spec.dtype)
