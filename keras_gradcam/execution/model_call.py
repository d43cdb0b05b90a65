"""Runs a user's model once, for inference, with hooks on its layers; changes nothing.

The only place that knows how a Keras model is run inside a TensorFlow graph. What it
relies on beyond Keras' public API is listed here, and pinned by one test:
the lookup of `call` and `quantized_call` on the instance (see `forward_hooks.py`),
`_keras_mask` and `_keras_logits` on tensors, `_flatten_layers`, `_remat_mode`,
those in `COLLECTIONS`, `_call_has_mask_arg` and `_call_has_training_arg` on layers,
and, in `model_inputs.py`, `_inputs_struct` on functional models.
"""

import collections
import contextlib
import threading

import keras
import tensorflow as tf
from keras import tree

from keras_gradcam.execution.forward_hooks import forward_hooks
from keras_gradcam.execution.time_distributed import frames_in_batch


def run(model, inputs, layers, hook, inline=False):
    """Runs `model` on `inputs` as `predict` would, with a hook on `layers`.

    Nothing is updated: no batch statistics, no recurrent state, no seed, no losses.

    Args:
        model: A built `keras.Model`.
        inputs: Structure of tensors, as the model takes it.
        layers: List of `keras.Layer` that the hook is on.
        hook: Callable `(layer, call, output) -> output` where `call` counts this
            layer's calls from 0 in order of execution, and `output` is a structure of
            tensors of the graph that is being built. See `foreign`.
        inline: Whether to run functions that the user compiled with `tf.function`
            as part of this graph, so that the hook sees the layers inside.

    Returns:
        The tuple `(outputs, foreign)`: the model's outputs, and whether a layer ran
        inside a `tf.function` of the user's, out of the hook's reach.
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
        return hook(layer, calls[id(layer)] - 1, output)

    with contextlib.ExitStack() as stack:
        stack.enter_context(_lock)
        stack.enter_context(_attributes_kept(model))
        _switch_off_rematerialization(model)
        stack.enter_context(frames_in_batch(model))
        if inline:
            stack.enter_context(_functions_run_inline())
        stack.enter_context(forward_hooks(layers, filtered))
        stack.enter_context(keras.StatelessScope(collect_losses=True))
        outputs = model(inputs, training=False)
    return outputs, foreign


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


# What a call changes in place: it clears what `add_loss` has collected, and Keras notes
# the names of attributes that are set.
COLLECTIONS = ("_losses", "_loss_ids", "_tracked")


@contextlib.contextmanager
def _attributes_kept(model):
    # A call leaves marks on layers: that it was called, dropout masks, and what a layer
    # of the user's keeps of it, here tensors of a graph that nothing else may use.
    layers = [layer for layer in model._flatten_layers() if layer.built]
    kept = [(layer, dict(layer.__dict__)) for layer in layers]
    held = [layer.__dict__.get(name) for layer in layers for name in COLLECTIONS]
    contents = [(x, x.copy()) for x in held if x is not None]
    try:
        yield
    finally:
        for layer, before in kept:
            for name in layer.__dict__.keys() - before.keys():
                del layer.__dict__[name]
            for name, value in before.items():
                if layer.__dict__.get(name, kept) is not value:
                    layer.__dict__[name] = value
        for collection, before in contents:
            collection.clear()
            (collection.update if isinstance(before, set) else collection.extend)(
                before
            )


def _switch_off_rematerialization(model):
    # Rematerialised layers of Keras do not run inside a TensorFlow graph,
    # and there is nothing to save: only what follows the layer is recorded.
    for layer in model._flatten_layers():
        if layer.__dict__.get("_remat_mode") is not None:
            layer.__dict__["_remat_mode"] = None
