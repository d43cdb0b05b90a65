"""Evidence without gradients: the scores of masked inputs and of ablated channels.

All channels of a batch are asked for in chunks, inside the graph: memory does not grow
with their number. A chunk has as many changed copies of the batch as
`Question.chunk_size` allows, and one at least.
"""

import tensorflow as tf
from keras import ops, tree

from keras_gradcam import loops, maps, pixels, randomness
from keras_gradcam.question import as_input, look_again
from keras_gradcam.score_methods import most_varying, of_channels
from keras_gradcam.scoring import widened


def masked(question, seen, channels=None):
    """The score of the input behind each channel's mask, `(batch, channels)`."""
    return _all_masked(question, seen, channels, lambda masks: masks)


def noisy_masked(question, seen, samples, noise, seed, channels=None):
    """The same with noise on the masks, the mean over `samples`."""

    def sample(step):
        def change(masks):
            shape = tf.concat([[1], tf.shape(masks)[1:]], 0)
            return masks + noise * randomness.normal(shape, seed, step, masks.dtype)

        return _all_masked(question, seen, channels, change)

    return loops.mean_over(samples, sample)


def faded_masked(question, seen, steps, channels=None):
    """The same with the masked input fading in, the mean over `steps`."""

    def sample(step):
        def change(masks):
            return masks * (tf.cast(step + 1, masks.dtype) / steps)

        return _all_masked(question, seen, channels, change)

    return loops.mean_over(steps, sample)


def _all_masked(question, seen, channels, change):
    return [
        _masked(question, seen.scores, site, tensor, channels, change)
        for site, tensor in zip(question.sites, seen.tensors, strict=True)
    ]


def _masked(question, scores, site, tensor, channels, change):
    pixels.check(site, question.inputs)
    activations = site.to_grid(widened(tensor))
    activations = of_channels(activations, most_varying(activations, channels))
    flat = tree.flatten(question.inputs)
    image = flat[site.input]
    size = [ops.shape(image)[axis] for axis in site.input_axes]
    by_channel = ops.moveaxis(activations, -1, 0)

    def scores_of(indices):
        count = tf.shape(indices)[0]
        grids = _merged(tf.gather(by_channel, indices))
        resized = maps.resize(grids, size)
        masks = change(maps.stretched(resized, tuple(range(1, len(resized.shape)))))
        inputs = [_copies(x, count) for x in flat]
        values = widened(inputs[site.input])
        masks = tf.cast(_over_input(masks, site, image), values.dtype)
        inputs[site.input] = as_input(values * masks, image)
        inputs = tree.pack_sequence_as(question.inputs, inputs)
        return look_again(question, inputs, count)

    return _for_each_channel(question, scores, activations.shape[-1], scores_of)


def ablated(question, seen):
    """The score without each channel, `(batch, channels)`."""
    return [
        _ablated(question, seen.scores, site, tensor)
        for site, tensor in zip(question.sites, seen.tensors, strict=True)
    ]


def _ablated(question, scores, site, tensor):
    axis = site.channel_axis % tensor.shape.rank
    channels = tensor.shape[axis]
    if site.to_grid(tensor).shape[-1] != channels:
        raise ValueError(
            f"Channels of layer '{site.name}' are set to 0 one by one, and argument "
            f"`reshape` moves them from the last axis of {tuple(tensor.shape)}. Take a "
            "method that uses gradients, or a layer whose channels come last."
        )
    over = [channels if i == axis else 1 for i in range(tensor.shape.rank)]

    def scores_of(indices):
        count = tf.shape(indices)[0]
        kept = 1 - tf.one_hot(indices, channels, dtype=tensor.dtype)
        changed = _merged(tensor * tf.reshape(kept, [-1, *over]))
        changed.set_shape([None, *tensor.shape[1:]])
        inputs = tree.map_structure(lambda x: _copies(x, count), question.inputs)
        return look_again(question, inputs, count, site, changed)

    return _for_each_channel(question, scores, channels, scores_of)


def _for_each_channel(question, scores, channels, function):
    """`(batch, channels)`, or `(batch, n, channels)`."""
    batch = ops.shape(scores)[0]
    size = ops.maximum(question.chunk_size // batch, 1)
    found = loops.in_chunks(channels, size, function, scores.dtype)
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


def _over_input(masks, site, image):
    """Brings masks `(count, *size)` into the rank of the input."""
    shape = tf.shape(masks)
    axes = {axis: shape[1 + i] for i, axis in enumerate(site.input_axes)}
    lengths = [axes.get(axis, 1) for axis in range(1, image.shape.rank)]
    return tf.reshape(masks, [shape[0], *lengths])
