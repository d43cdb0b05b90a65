"""A question to a model: one forward pass, seen at some places, and its scores."""

from collections.abc import Callable
from typing import Any, NamedTuple

import tensorflow as tf
from keras import tree

from keras_gradcam import forward


class Question(NamedTuple):
    """What is asked of a model.

    Attributes:
        model: A built `keras.Model`.
        inputs: Structure of tensors, as the model takes it.
        sites: List of `anatomy.Site`: what the maps lie over.
        scorer: Callable from the model's outputs to scores, see `scoring.Scorer`.
        layers: List of `anatomy.Site`, for evidence over an input that needs a layer,
            too: one for each of `sites`.
        inline: See `forward.run`.
        chunk_size: How many changed inputs to run through the model at once.
    """

    model: Any
    inputs: Any
    sites: list
    scorer: Callable
    layers: list = []
    inline: bool = False
    chunk_size: int = 1


class Pass(NamedTuple):
    """One forward pass.

    Attributes:
        tensors: List with the tensor of each site, as the model has it.
        scores: Tensor `(batch,)` or `(batch, n)`.
        outputs: The model's own outputs, as it returned them.
    """

    tensors: list
    scores: tf.Tensor
    outputs: Any


def look(question, inputs=None, sites=None):
    """Runs the model once.

    Args:
        question: A `Question`.
        inputs: Structure of tensors. Defaults to `None`, the question's inputs.
        sites: List of `anatomy.Site`. Defaults to `None`, the question's sites.

    Returns:
        A `Pass`.
    """
    inputs = question.inputs if inputs is None else inputs
    sites = question.sites if sites is None else sites
    inputs = forward.identity(inputs)
    found = {(id(None), 0): inputs}

    def hear(layer, call, output):
        found[id(layer), call] = forward.identity(output)
        return found[id(layer), call]

    outputs = _run(question, inputs, sites, hear)
    tensors = [site.pick(found[id(site.layer), site.call]) for site in sites]
    return Pass(tensors, question.scorer(outputs), outputs)


def look_again(question, inputs, count, site=None, tensor=None):
    """Runs the model on variants of the batch, and scores each.

    Args:
        question: A `Question` whose scores were looked at before.
        inputs: Structure of tensors for `count * batch` samples.
        count: Number of variants, an int or a scalar tensor.
        site: An `anatomy.Site` of which `tensor` takes the place. What only the
            replaced tensor needs is not computed. Defaults to `None`.
        tensor: Tensor for `count * batch` samples. Defaults to `None`.

    Returns:
        Scores `(count, batch)` or `(count, batch, n)`.
    """

    def replace(layer, call, output):
        flat = tree.flatten(output)
        flat[site.item] = tensor
        return tree.pack_sequence_as(output, flat)

    outputs = _run(question, inputs, [] if site is None else [site], replace)
    return question.scorer.of_each(outputs, count)


def _run(question, inputs, sites, listener):
    wanted = {(id(site.layer), site.call) for site in sites}
    layers = {id(site.layer): site.layer for site in sites if site.layer is not None}

    def selective(layer, call, output):
        return listener(layer, call, output) if (id(layer), call) in wanted else output

    outputs, _ = forward.run(
        question.model, inputs, list(layers.values()), selective, question.inline
    )
    return outputs


def as_input(values, like):
    """Casts values to the type of an input: to its next whole numbers where it has."""
    if like.dtype.is_floating:
        return tf.cast(values, like.dtype)
    return tf.saturate_cast(tf.round(values), like.dtype)
