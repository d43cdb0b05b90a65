"""Numbers of fewer digits: when to widen them, and what they cannot tell."""

import keras
import ml_dtypes
import tensorflow as tf


def widened(tensor):
    """Returns float32 of half precision, which is for the model: sums need more."""
    tensor = tf.convert_to_tensor(tensor)
    return tensor if tensor.dtype == tf.float64 else tf.cast(tensor, tf.float32)


def as_input(values, like):
    """Casts values to the type of an input: to its next whole numbers where it has."""
    if like.dtype.is_floating:
        return tf.cast(values, like.dtype)
    return tf.saturate_cast(tf.round(values), like.dtype)


def rounding(values):
    """The relative error of one operation in the type of `values`."""
    dtype = keras.backend.standardize_dtype(values.dtype)
    return float(ml_dtypes.finfo(dtype).eps)
