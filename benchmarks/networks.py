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


def vit(size=224, patch=16, dim=192, heads=3, depth=12, classes=1000):
    """A vision transformer with a class token, by default as large as ViT-Ti/16."""
    inputs = keras.Input((size, size, 3))
    x = L.Conv2D(dim, patch, patch, name="patches")(inputs)
    x = L.Reshape((-1, dim))(x)
    x = ClassToken()(x)
    for _ in range(depth):
        h = L.LayerNormalization(epsilon=1e-6)(x)
        x = x + L.MultiHeadAttention(heads, dim // heads)(h, h)
        h = L.LayerNormalization(epsilon=1e-6)(x)
        x = x + L.Dense(dim)(L.Dense(4 * dim, activation="gelu")(h))
    x = L.LayerNormalization(epsilon=1e-6)(x)[:, 0]
    return keras.Model(inputs, L.Dense(classes, activation="softmax")(x))


class ClassToken(L.Layer):
    """Puts a learned token in front of the others, and adds learned positions."""

    def build(self, shape):
        self.token = self.add_weight(shape=(1, 1, shape[-1]), initializer="normal")
        self.positions = self.add_weight(
            shape=(1, shape[1] + 1, shape[-1]), initializer="normal"
        )

    def call(self, x):
        token = keras.ops.broadcast_to(
            self.token, (keras.ops.shape(x)[0], 1, x.shape[-1])
        )
        return keras.ops.concatenate([token, x], axis=1) + self.positions


def images(batch, size=224):
    shape = (batch, size, size, 3)
    return np.random.default_rng(0).random(shape, dtype="float32")
