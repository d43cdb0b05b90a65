"""What the benchmarks run on: networks without weights of a training, and images."""

import keras
import numpy as np

L = keras.layers


def build(name, size=224):
    """A network of `keras.applications`, or the small one; all end in softmax."""
    if name == "small CNN":
        return small_cnn(size)
    make = getattr(keras.applications, name)
    return make(weights=None, input_shape=(size, size, 3))


def small_cnn(size):
    """Four convolutions with 61,000 weights; its last grid is a sixteenth of `size`."""
    # Functional: tf-explain fails on a Sequential model.
    inputs = keras.Input((size, size, 3))
    x = L.Rescaling(1 / 255)(inputs)
    for filters in (16, 32, 64, 64):
        x = L.Conv2D(filters, 3, padding="same", activation="relu")(x)
        x = L.MaxPooling2D()(x)
    x = L.GlobalAveragePooling2D()(x)
    return keras.Model(inputs, L.Dense(10, activation="softmax")(x))


def images(batch, size=224):
    shape = (batch, size, size, 3)
    return np.random.default_rng(0).random(shape, dtype="float32")
