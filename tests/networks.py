"""Networks that the tests of several rooms use."""

import keras
from conftest import L


class Subclassed(keras.Model):
    def __init__(self, container="attributes", training=True):
        super().__init__()
        conv = [L.Conv2D(4, 3, activation="relu", name=f"conv{i}") for i in (0, 1)]
        if container == "attributes":
            self.a, self.b = conv
        elif container == "list":
            self.convs = conv
        else:
            self.convs = {"x": conv[0], "y": conv[1]}
        self.order = lambda: conv
        self.pool, self.dense = L.GlobalAveragePooling2D(), L.Dense(3)

    def call(self, x):
        for conv in self.order():
            x = conv(x)
        return self.dense(self.pool(x))


class ClassToken(L.Layer):
    def build(self, shape):
        self.token = self.add_weight(shape=(1, 1, shape[-1]), initializer="normal")

    def call(self, x):
        token = keras.ops.repeat(self.token, keras.ops.shape(x)[0], axis=0)
        return keras.ops.concatenate([token, x], axis=1)


def transformer(prefix=True, blocks=2, hybrid=False, patches="conv"):
    """A small ViT; returns the model and its layers by name."""
    keras.utils.set_random_seed(1)
    inputs = keras.Input((24, 16, 3))
    x = L.Conv2D(8, 3, strides=2, padding="same", activation="gelu")(inputs)
    if not hybrid:
        x = inputs
    size = 4 if not hybrid else 2
    grid = (24 // 4, 16 // 4)
    if patches == "conv":
        x = L.Conv2D(12, size, strides=size, name="patches")(x)
        x = L.Reshape((grid[0] * grid[1], 12))(x)
    else:
        x = keras.ops.reshape(x, (-1, grid[0], 4, grid[1], 4, 3))
        x = keras.ops.transpose(x, (0, 1, 3, 2, 4, 5))
        x = L.Dense(12, name="patches")(
            keras.ops.reshape(x, (-1, grid[0] * grid[1], 48))
        )
    if prefix:
        x = ClassToken(name="token")(x)
    for i in range(blocks):
        y = L.LayerNormalization(name=f"norm{i}")(x)
        y = L.MultiHeadAttention(2, 6, name=f"attention{i}")(y, y)
        x = L.Add(name=f"attended{i}")([x, y])
        y = L.Dense(16, activation="gelu", name=f"mlp{i}")(L.LayerNormalization()(x))
        x = L.Add(name=f"block{i}")([x, L.Dense(12)(y)])
    x = L.LayerNormalization(name="final")(x)
    x = x[:, 0] if prefix else L.GlobalAveragePooling1D()(x)
    return keras.Model(inputs, L.Dense(3, name="head")(x))
