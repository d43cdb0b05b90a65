"""One forward pass of a model: the outputs of some layers, and the scores."""

from collections.abc import Callable
from typing import Any, NamedTuple

import tensorflow as tf
from keras import tree

from keras_gradcam.execution import model_call


class Request(NamedTuple):
    """What to run, and what is wanted of it.

    Attributes:
        model: A built `keras.Model`.
        inputs: Structure of tensors, as the model takes it.
        layer_outputs: List of `LayerOutput`: what the maps are made of.
        scorer: Callable from the model's outputs to scores, see `Scorer`.
        layers: List of `LayerOutput`, for evidence over an input that needs a layer,
            too: one for each of `layer_outputs`.
        inline: See `model_call.run`.
        chunk_size: How many changed inputs to run through the model at once.
        gradient_rules: Callable from a `ForwardPass` to its `overrides`, `None` for
            gradients as they are.
    """

    model: Any
    inputs: Any
    layer_outputs: list
    scorer: Callable
    layers: list = []
    inline: bool = False
    chunk_size: int = 1
    gradient_rules: Callable | None = None


class ForwardPass(NamedTuple):
    """One forward pass.

    Attributes:
        tensors: List with the tensor of each layer output, as the model has it.
        scores: Tensor `(batch,)` or `(batch, n)`.
        outputs: The model's own outputs, as it returned them.
        inputs: Structure of tensors that it ran on.
        overrides: Dict of gradients that differ from those of TensorFlow, see
            `gradient_overrides.overridden`.
    """

    tensors: list
    scores: tf.Tensor
    outputs: Any
    inputs: Any = None
    overrides: dict = {}


def run_model(request, inputs=None, layer_outputs=None):
    """Runs the model once.

    Args:
        request: A `Request`.
        inputs: Structure of tensors. Defaults to `None`, the request's inputs.
        layer_outputs: List of `LayerOutput`. Defaults to `None`, those of
            the request.

    Returns:
        A `ForwardPass`.
    """
    inputs = request.inputs if inputs is None else inputs
    layer_outputs = request.layer_outputs if layer_outputs is None else layer_outputs
    inputs = model_call.identity(inputs)
    found = {(id(None), 0): inputs}

    def record(layer, call, output):
        found[id(layer), call] = model_call.identity(output)
        return found[id(layer), call]

    outputs = _run(request, inputs, layer_outputs, record)
    tensors = [x.pick(found[id(x.layer), x.call]) for x in layer_outputs]
    made = ForwardPass(tensors, request.scorer(outputs), outputs, inputs)
    if request.gradient_rules is None:
        return made
    return made._replace(overrides=request.gradient_rules(made))


def score_variants(request, inputs, count, layer_output=None, tensor=None):
    """Runs the model on variants of the batch, and scores each.

    Args:
        request: A `Request` that `run_model` was called with before.
        inputs: Structure of tensors for `count * batch` samples.
        count: Number of variants, an int or a scalar tensor.
        layer_output: A `LayerOutput` of which `tensor` takes the place. What only the
            replaced tensor needs is not computed. Defaults to `None`.
        tensor: Tensor for `count * batch` samples. Defaults to `None`.

    Returns:
        Scores `(count, batch)` or `(count, batch, n)`.
    """

    def replace(layer, call, output):
        flat = tree.flatten(output)
        flat[layer_output.item] = tensor
        return tree.pack_sequence_as(output, flat)

    replaced = [] if layer_output is None else [layer_output]
    outputs = _run(request, inputs, replaced, replace)
    return request.scorer.of_each(outputs, count)


def _run(request, inputs, layer_outputs, hook):
    wanted = {(id(x.layer), x.call) for x in layer_outputs}
    layers = {id(x.layer): x.layer for x in layer_outputs if x.layer is not None}

    def selective(layer, call, output):
        return hook(layer, call, output) if (id(layer), call) in wanted else output

    outputs, _ = model_call.run(
        request.model, inputs, list(layers.values()), selective, request.inline
    )
    return outputs
