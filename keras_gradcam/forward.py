"""Runs a user's model once, for inference, listening to its layers; changes nothing.

The only place that knows how a Keras model is run inside a TensorFlow graph. What it
relies on beyond Keras' public API is listed here, and pinned by one test:
the lookup of `call` and `quantized_call` on the instance (see `tap.py`), `_keras_mask`
and `_keras_logits` on tensors, `_flatten_layers`, `_remat_mode`, `_losses` and
`_loss_ids` on layers, and `_inputs_struct` on functional models.
"""

import collections
import contextlib
import threading

import keras
import tensorflow as tf
from keras import tree

from keras_gradcam.tap import tap


def run(model, inputs, layers, listener, inline=False):
    """Runs `model` on `inputs` as `predict` would, and listens to `layers`.

    Nothing is updated: no batch statistics, no recurrent state, no seed, no losses.

    Args:
        model: A built `keras.Model`.
        inputs: Structure of tensors, as the model takes it.
        layers: List of `keras.Layer` to listen to.
        listener: Callable `(layer, call, output) -> output` where `call` counts this
            layer's calls from 0 in order of execution, and `output` is a structure of
            tensors of the graph that is being built. See `foreign`.
        inline: Whether to run functions that the user compiled with `tf.function`
            as part of this graph, so that the layers inside can be heard.

    Returns:
        The tuple `(outputs, foreign)`: the model's outputs, and whether a layer ran
        inside a `tf.function` of the user's, out of the listener's reach.
    """
    graph = _current_graph()
    calls = collections.Counter()
    foreign = False

    def filtered(layer, output):
        nonlocal foreign
        tensors = tree.flatten(output)
        if not any(tf.is_tensor(x) for x in tensors):
            return output  # Keras is inferring shapes.
        if any(_graph_of(x) is not graph for x in tensors if tf.is_tensor(x)):
            foreign = foreign or any(_is_user_function(x, graph) for x in tensors)
            return output
        calls[id(layer)] += 1
        return listener(layer, calls[id(layer)] - 1, output)

    with contextlib.ExitStack() as stack:
        stack.enter_context(_lock)
        stack.enter_context(_without_rematerialization(model))
        stack.enter_context(_losses_kept(model))
        if inline:
            stack.enter_context(_functions_run_inline())
        stack.enter_context(tap(layers, filtered))
        stack.enter_context(keras.StatelessScope(collect_losses=True))
        outputs = model(inputs, training=False)
    return outputs, foreign


def declared_inputs(model):
    """The inputs that a model declares.

    Args:
        model: A `keras.Model`.

    Returns:
        Structure of `KerasTensor` as the model takes it, a single tensor where it has
        one input, or `None` for a model that takes what it is called with: a subclassed
        one, or one that is not built yet.
    """
    if not hasattr(model, "inputs"):
        return None
    struct = getattr(model, "_inputs_struct", model.inputs)
    flat = tree.flatten(struct)
    return flat[0] if len(flat) == 1 else struct


def input_names(model, signature):
    """Names of a model's flattened inputs: their own, or where they are in the inputs.

    Args:
        model: A `keras.Model`.
        signature: Structure of `tf.TensorSpec`, as the model takes it.
    """
    declared = tree.flatten(declared_inputs(model))
    paths = [path for path, _ in tree.flatten_with_path(signature)]
    if len(declared) == len(paths) and all(hasattr(x, "name") for x in declared):
        return [x.name for x in declared]
    return ["".join(f"[{key}]" for key in path) or "input" for path in paths]


def identity(output):
    """A copy of each tensor in `output`, which a skip connection cannot bypass.

    A layer may return its own input (`Dropout` at inference does) while another path
    uses that input too; only a tensor of its own stands for the layer's output alone.
    """
    return tree.map_structure(_identity, output)


def _identity(tensor):
    if not tf.is_tensor(tensor):
        return tensor
    copy = tf.identity(tensor)
    for name in ("_keras_mask", "_keras_logits"):
        if hasattr(tensor, name):
            setattr(copy, name, getattr(tensor, name))
    return copy


def _current_graph():
    return None if tf.executing_eagerly() else tf.compat.v1.get_default_graph()


def _graph_of(tensor):
    return tensor.graph if tf.is_symbolic_tensor(tensor) else None


def _is_user_function(tensor, graph):
    # The bodies of TensorFlow's own loops and conditions are subclasses of FuncGraph.
    inner = _graph_of(tensor) if tf.is_tensor(tensor) else None
    return inner not in (None, graph) and type(inner).__name__ == "FuncGraph"


# What is set for the whole process, or on a layer, must be put back in order.
_lock = threading.RLock()


@contextlib.contextmanager
def _functions_run_inline():
    before = tf.config.functions_run_eagerly()
    tf.config.run_functions_eagerly(True)
    try:
        yield
    finally:
        tf.config.run_functions_eagerly(before)


@contextlib.contextmanager
def _losses_kept(model):
    # Every call of a model begins by clearing what `add_loss` has collected.
    kept = [
        (collection, collection.copy())
        for layer in model._flatten_layers()
        for collection in (layer._losses, layer._loss_ids)
    ]
    try:
        yield
    finally:
        for collection, before in kept:
            collection.clear()
            (collection.update if isinstance(before, set) else collection.extend)(
                before
            )


@contextlib.contextmanager
def _without_rematerialization(model):
    # Rematerialised layers of Keras do not run inside a TensorFlow graph,
    # and there is nothing to save: only what follows the layer is recorded.
    modes = [
        (layer, layer.__dict__["_remat_mode"])
        for layer in model._flatten_layers()
        if layer.__dict__.get("_remat_mode") is not None
    ]
    for layer, _ in modes:
        layer.__dict__["_remat_mode"] = None
    try:
        yield
    finally:
        for layer, mode in modes:
            layer.__dict__["_remat_mode"] = mode
