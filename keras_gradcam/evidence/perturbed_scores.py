"""Evidence without gradients: the scores of masked inputs and of ablated channels.

All channels of a batch are asked for in chunks, inside the graph: memory does not grow
with their number. A chunk has as many changed copies of the batch as
`Question.chunk_size` allows, and one at least.
"""

import tensorflow as tf
from keras import ops, tree

from keras_gradcam.arrays import (
    as_input,
    most_varying,
    normal,
    of_channels,
    stretched,
    widened,
)
from keras_gradcam.evidence import perturbable_inputs
from keras_gradcam.execution import graph_loops, score_variants


def masked(request, forward_pass, channels=None):
    """The score of the input behind each channel's mask, `(batch, channels)`."""
    return _all_masked(request, forward_pass, channels, lambda masks: masks)


def noisy_masked(request, forward_pass, samples, noise, seed, channels=None):
    """The same with noise on the masks, the mean over `samples`."""

    def sample(step):
        def change(masks):
            shape = tf.concat([[1], tf.shape(masks)[1:]], 0)
            return masks + noise * normal(shape, seed, step, masks.dtype)

        return _all_masked(request, forward_pass, channels, change)

    return graph_loops.mean_over(samples, sample)


def faded_masked(request, forward_pass, steps, channels=None):
    """The same with the masked input fading in, the mean over `steps`."""

    def sample(step):
        def change(masks):
            return masks * (tf.cast(step + 1, masks.dtype) / steps)

        return _all_masked(request, forward_pass, channels, change)

    return graph_loops.mean_over(steps, sample)


def _all_masked(request, forward_pass, channels, change):
    return [
        _masked(request, forward_pass.scores, layer_output, tensor, channels, change)
        for layer_output, tensor in zip(
            request.layer_outputs, forward_pass.tensors, strict=True
        )
    ]


def _masked(request, scores, layer_output, tensor, channels, change):
    perturbable_inputs.check(layer_output, request.inputs)
    activations = layer_output.to_grid(widened(tensor))
    activations = of_channels(activations, most_varying(activations, channels))
    flat = tree.flatten(request.inputs)
    image = flat[layer_output.input]
    size = layer_output.lengths(request.inputs)
    by_channel = ops.moveaxis(activations, -1, 0)

    def scores_of(indices):
        count = tf.shape(indices)[0]
        grids = _merged(tf.gather(by_channel, indices))
        resized = layer_output.place(grids, size, size)
        masks = change(stretched(resized, tuple(range(1, len(resized.shape)))))
        inputs = [_copies(x, count) for x in flat]
        values = widened(inputs[layer_output.input])
        masks = tf.cast(_over_input(masks, layer_output, image), values.dtype)
        inputs[layer_output.input] = as_input(values * masks, image)
        inputs = tree.pack_sequence_as(request.inputs, inputs)
        return score_variants(request, inputs, count)

    return _for_each_channel(request, scores, activations.shape[-1], scores_of)


def ablated(request, forward_pass):
    """The score without each channel, `(batch, channels)`."""
    return [
        _ablated(request, forward_pass.scores, layer_output, tensor)
        for layer_output, tensor in zip(
            request.layer_outputs, forward_pass.tensors, strict=True
        )
    ]


def _ablated(request, scores, layer_output, tensor):
    axis = layer_output.channel_axis % tensor.shape.rank
    channels = tensor.shape[axis]
    if layer_output.to_grid(tensor).shape[-1] != channels:
        raise ValueError(
            f"Channels of layer '{layer_output.name}' are set to 0 one by one, and "
            "argument `reshape` moves them from the last axis of "
            f"{tuple(tensor.shape)}. Take a method that uses gradients, or a layer "
            "whose channels come last."
        )
    over = [channels if i == axis else 1 for i in range(tensor.shape.rank)]

    def scores_of(indices):
        count = tf.shape(indices)[0]
        kept = 1 - tf.one_hot(indices, channels, dtype=tensor.dtype)
        changed = _merged(tensor * tf.reshape(kept, [-1, *over]))
        changed.set_shape([None, *tensor.shape[1:]])
        inputs = tree.map_structure(lambda x: _copies(x, count), request.inputs)
        return score_variants(request, inputs, count, layer_output, changed)

    return _for_each_channel(request, scores, channels, scores_of)


def _for_each_channel(request, scores, channels, function):
    """`(batch, channels)`, or `(batch, n, channels)`."""
    batch = ops.shape(scores)[0]
    size = ops.maximum(request.chunk_size // batch, 1)
    found = graph_loops.in_chunks(channels, size, function, scores.dtype)
    found = tf.ensure_shape(found, [channels, *scores.shape])
    return ops.moveaxis(found, 0, -1)


def _merged(tensor):
    """`(count * batch, ...)` of `(count, batch, ...)`."""
    return tf.reshape(tensor, tf.concat([[-1], tf.shape(tensor)[2:]], 0))


def _copies(tensor, count):
    """`count` copies of the batch, one after the other."""
    repeats = tf.concat([[count], tf.ones(tensor.shape.rank - 1, tf.int32)], 0)
    copies = tf.tile(tensor, repeats)
    copies.set_shape([None, *tensor.shape[1:]])
    return copies


def _over_input(masks, layer_output, image):
    """Brings masks `(count, *size)` into the rank of the input."""
    if not all(isinstance(axis, int) for axis in layer_output.input_axes):
        # A picture that the model makes of a flat input.
        lengths = [-1, *[1] * (image.shape.rank - 2)]
        return tf.reshape(masks, [tf.shape(masks)[0], *lengths])
    shape = tf.shape(masks)
    axes = {axis: shape[1 + i] for i, axis in enumerate(layer_output.input_axes)}
    lengths = [axes.get(axis, 1) for axis in range(1, image.shape.rank)]
    return tf.reshape(masks, [shape[0], *lengths])
