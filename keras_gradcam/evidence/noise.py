"""Noise on the inputs that maps lie over."""

import tensorflow as tf
from keras import tree

from keras_gradcam.arrays import as_input, normal, widened
from keras_gradcam.evidence import perturbable_inputs


def noisy_inputs(request, noise, seed, step):
    """The request's inputs with normal noise on those that the maps lie over.

    The noise is the same for all samples of a batch, so that a map does not depend on
    the batch.

    Args:
        request: A `Request`.
        noise: Standard deviation relative to the range of each input.
        seed: Int.
        step: Which noise, an int or a scalar tensor.
    """
    flat = list(tree.flatten(request.inputs))
    for index in perturbable_inputs.axes_of_inputs(request):
        flat[index] = _noisy(flat[index], noise, seed, step)
    return tree.pack_sequence_as(request.inputs, flat)


def _noisy(tensor, noise, seed, step):
    axes = range(1, tensor.shape.rank)
    values = widened(tensor)
    low = tf.reduce_min(values, axes, keepdims=True)
    high = tf.reduce_max(values, axes, keepdims=True)
    shape = tf.concat([[1], tf.shape(values)[1:]], 0)
    drawn = normal(shape, seed, step, values.dtype)
    return as_input(values + noise * (high - low) * drawn, tensor)
