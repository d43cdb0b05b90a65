"""Runs a layer inside `TimeDistributed` once, on all frames as one batch.

Keras calls it once for each frame, which would be as many layer outputs. What comes out
is the same. Of a free number of frames Keras makes a loop, and that stays.
"""

import contextlib
import functools

import keras
from keras import ops, tree


@contextlib.contextmanager
def frames_in_batch(model):
    """Folds frames into the batch in all `TimeDistributed` layers of a model."""
    layers = [layer for layer in model._flatten_layers() if _is_foldable(layer)]
    before = [layer.__dict__.get("call") for layer in layers]
    for layer in layers:
        # Not `setattr`: Keras tracks attributes, and locks a built layer.
        layer.__dict__["call"] = functools.partial(_call, layer)
    try:
        yield
    finally:
        for layer, call in zip(layers, before, strict=True):
            del layer.__dict__["call"]
            if call is not None:
                layer.__dict__["call"] = call


def _is_foldable(layer):
    if getattr(type(layer), "call", None) is not keras.layers.TimeDistributed.call:
        return False
    shapes = [x.shape for x in tree.flatten(getattr(layer.layer, "inputs", None) or [])]
    return all(shape[0] is None for shape in shapes)


def _call(layer, inputs, training=None, mask=None):
    frames = inputs.shape[1]
    if frames is None:
        return type(layer).call(layer, inputs, training=training, mask=mask)
    inner, options = layer.layer, {}
    if mask is not None and inner._call_has_mask_arg:
        options["mask"] = _folded(mask)
    if inner._call_has_training_arg:
        options["training"] = training
    outputs = inner.call(_folded(inputs), **options)
    return tree.map_structure(functools.partial(_unfolded, frames=frames), outputs)


def _folded(tensor):
    return ops.reshape(tensor, (-1, *ops.shape(tensor)[2:]))


def _unfolded(tensor, frames):
    return ops.reshape(tensor, (-1, frames, *ops.shape(tensor)[1:]))
