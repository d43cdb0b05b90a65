"""Loops inside a graph: their bodies are traced once, their memory does not grow."""

import tensorflow as tf
from keras import tree


def mean_over(count, function):
    """The mean of `function(0)` to `function(count - 1)`.

    Args:
        count: Number of steps, an int from 1 on.
        function: Callable from a scalar int32 tensor to a structure of float tensors.

    Returns:
        The structure that `function` returns.
    """
    # As a function of its own it is traced once, for the first step and the others.
    step = tf.function(function, autograph=False)
    first = step(tf.constant(0))
    flat = tree.flatten(first)
    shapes = [tf.TensorShape([None] * x.shape.rank) for x in flat]

    def add(index, *sums):
        found = tree.flatten(step(index))
        return index + 1, *[a + b for a, b in zip(sums, found, strict=True)]

    _, *sums = tf.while_loop(
        lambda index, *_: index < count,
        add,
        (tf.constant(1), *flat),
        (tf.TensorShape([]), *shapes),
        parallel_iterations=1,
    )
    means = [
        tf.ensure_shape(total / tf.cast(count, total.dtype), x.shape)
        for total, x in zip(sums, flat, strict=True)
    ]
    return tree.pack_sequence_as(first, means)


def in_chunks(count, size, function, dtype):
    """Stacks `function` of all ints below `count`, `size` at a time.

    Args:
        count: Number of ints.
        size: How many to hand to `function` at once, an int or a scalar tensor.
        function: Callable from int32 `(size,)` to a tensor `(size, ...)`.
        dtype: Type of that tensor.

    Returns:
        Tensor `(count, ...)`.
    """
    size = tf.minimum(size, count)

    def chunk(step):
        # The last chunk is as large as the others; what it has twice is cut off.
        return function(tf.minimum(step * size + tf.range(size), count - 1))

    steps = (count + size - 1) // size
    found = tf.map_fn(
        chunk, tf.range(steps), fn_output_signature=dtype, parallel_iterations=1
    )
    shape = tf.concat([[steps * size], tf.shape(found)[2:]], 0)
    return tf.reshape(found, shape)[:count]
