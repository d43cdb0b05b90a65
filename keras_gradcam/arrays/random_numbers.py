"""Random numbers of a seed: the same on every device, and none of the global state."""

import tensorflow as tf


def uniform(shape, seed, step, dtype):
    """Numbers between 0 and 1, both excluded.

    Args:
        shape: Shape of the tensor.
        seed: Int.
        step: Int or scalar tensor: each has numbers of its own.
        dtype: Type of the tensor.
    """
    # Only the bits are the same under XLA; TensorFlow makes other floats of them there.
    bits = tf.random.stateless_uniform(
        shape, tf.stack([seed, step]), None, None, tf.uint32, alg="philox"
    )
    # 23 of them, so that the middle of each step is a float32, and below 1.
    steps = tf.cast(tf.bitwise.right_shift(bits, tf.constant(9, tf.uint32)), tf.float32)
    return tf.cast((steps + 0.5) * 2.0**-23, dtype)


def normal(shape, seed, step, dtype):
    """Normal numbers of mean 0 and deviation 1, see `uniform`."""
    return tf.math.ndtri(uniform(shape, seed, step, dtype))
