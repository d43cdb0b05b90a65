"""Small transformers, with random weights, and one written by hand to compare with."""

import keras
import numpy as np
import tensorflow as tf
from conftest import L, randomize
from keras import ops

SIZE, PATCH, DIM, HEADS, CLASSES = (16, 12), 4, 8, 2, 4
GRID = (SIZE[0] // PATCH, SIZE[1] // PATCH)
TOKENS = GRID[0] * GRID[1]


class Prefix(L.Layer):
    """Puts learned tokens, a class token for instance, in front; adds positions."""

    def __init__(self, count, **kwargs):
        super().__init__(**kwargs)
        self.count = count

    def build(self, shape):
        if self.count:
            self.tokens = self.add_weight(
                shape=(1, self.count, shape[-1]), name="tokens"
            )
        self.positions = self.add_weight(
            shape=(1, shape[1] + self.count, shape[-1]), name="positions"
        )

    def call(self, x):
        if self.count:
            tokens = ops.broadcast_to(
                self.tokens, (ops.shape(x)[0], *self.tokens.shape[1:])
            )
            x = ops.concatenate([tokens, x], axis=1)
        return x + self.positions


class Attention(L.Layer):
    """Attention written by hand; `kind` is how."""

    def __init__(self, kind, **kwargs):
        super().__init__(**kwargs)
        self.kind = kind

    def build(self, shape):
        size = DIM // HEADS
        self.kernels = [
            self.add_weight(shape=s, name=n)
            for n, s in [
                ("query", (DIM, HEADS, size)),
                ("key", (DIM, HEADS, size)),
                ("value", (DIM, HEADS, size)),
                ("output", (HEADS, size, DIM)),
            ]
        ]
        self.biases = [
            self.add_weight(shape=s, name=f"bias_{n}")
            for n, s in enumerate([(HEADS, size)] * 3 + [(DIM,)])
        ]

    def call(self, x):
        projected = [
            ops.einsum("btd,dhe->bthe", x, kernel) + bias
            for kernel, bias in zip(self.kernels[:3], self.biases[:3], strict=True)
        ]
        q, k, v = [ops.transpose(each, (0, 2, 1, 3)) for each in projected]
        scores = ops.matmul(q, ops.transpose(k, (0, 1, 3, 2))) / (DIM / HEADS) ** 0.5
        if self.kind == "softmax":
            weights = ops.softmax(scores)
        else:
            raised = ops.exp(scores - ops.max(scores, axis=-1, keepdims=True))
            weights = raised / ops.sum(raised, axis=-1, keepdims=True)
        mixed = ops.transpose(ops.matmul(weights, v), (0, 2, 1, 3))
        return ops.einsum("bthe,hed->btd", mixed, self.kernels[3]) + self.biases[3]


KINDS = {
    "fused": lambda name: L.MultiHeadAttention(HEADS, DIM // HEADS, name=name),
    # With dropout Keras takes another way.
    "explicit": lambda name: L.MultiHeadAttention(
        HEADS, DIM // HEADS, dropout=0.1, name=name
    ),
    "grouped": lambda name: L.GroupQueryAttention(
        DIM // HEADS, HEADS, HEADS, name=name
    ),
    "softmax": lambda name: Attention("softmax", name=name),
    "quotient": lambda name: Attention("quotient", name=name),
}


def vit(prefix=1, pool="token", kind="fused", depth=2, activation="gelu", **options):
    """A vision transformer with norms before attention and dense layers.

    Args:
        prefix: How many learned tokens come before those of the picture.
        pool: `"token"`, the first one goes on; `"mean"` of those of the picture; or
            `"attention"`, a learned query that attends to all.
        kind: A key of `KINDS`.
        depth: Number of blocks.
        activation: That of the dense layers.
        **options: Of the last layer.
    """
    inputs = keras.Input((*SIZE, 3))
    x = L.Conv2D(DIM, PATCH, PATCH, name="patches")(inputs)
    x = L.Reshape((TOKENS, DIM), name="tokens")(x)
    x = Prefix(prefix, name="prefix")(x)
    for n in range(depth):
        h = L.LayerNormalization(epsilon=1e-6, name=f"norm_a{n}")(x)
        attention = KINDS[kind](f"attention_{n}")
        h = attention(h) if isinstance(attention, Attention) else attention(h, h)
        x = L.Add(name=f"add_a{n}")([x, h])
        h = L.LayerNormalization(epsilon=1e-6, name=f"norm_b{n}")(x)
        h = L.Dense(2 * DIM, activation=activation, name=f"up_{n}")(h)
        x = L.Add(name=f"add_b{n}")([x, L.Dense(DIM, name=f"down_{n}")(h)])
    x = L.LayerNormalization(epsilon=1e-6, name="norm")(x)
    if pool == "attention":
        query = Query(name="query")(x)
        x = L.MultiHeadAttention(HEADS, DIM // HEADS, name="pooling")(query, x)
        x = L.Flatten(name="flat")(x)
    elif pool == "token":
        x = x[:, 0]
    else:
        x = L.GlobalAveragePooling1D(name="mean")(x[:, prefix:])
    outputs = L.Dense(CLASSES, name="head", **options)(x)
    return randomize(keras.Model(inputs, outputs))


class Query(L.Layer):
    """One learned query for each sample."""

    def build(self, shape):
        self.query = self.add_weight(shape=(1, 1, shape[-1]), name="query")

    def call(self, x):
        return ops.broadcast_to(self.query, (ops.shape(x)[0], 1, x.shape[-1]))


class ByHand:
    """A `vit` of kind "fused", token or mean pooling and GELU, in plain TensorFlow.

    Args:
        model: What `vit` returned.
        constant: What no gradient passes: some of "softmax", "norms" and "gates".
        halves: Whether products of two give one half of the gradient to each.
    """

    def __init__(self, model, pool="token", prefix=1, constant=(), halves=False):
        self.model, self.pool, self.prefix = model, pool, prefix
        self.constant, self.halves = constant, halves
        self.weights = []

    def __call__(self, images):
        x = self.layer("patches")(images)
        return self.behind(self.layer("prefix")(self.layer("tokens")(x)))

    def layer(self, name):
        return self.model.get_layer(name)

    def behind(self, x, added=None, depth=2):
        """Logits of the embedded tokens; `added` is, to the attention weights."""
        self.weights, self.tokens = [], []
        for n in range(depth):
            h = self.norm(x, f"norm_a{n}")
            h = self.attention(h, f"attention_{n}", None if added is None else added[n])
            x = x + h
            h = self.layer(f"up_{n}")
            h = self.gelu(self.norm(x, f"norm_b{n}") @ h.kernel + h.bias)
            x = x + self.layer(f"down_{n}")(h)
            self.tokens.append(x)
        return self.head(x)

    def head(self, x):
        x = self.norm(x, "norm")
        x = x[:, 0] if self.pool == "token" else tf.reduce_mean(x[:, self.prefix :], 1)
        return x @ self.layer("head").kernel + self.layer("head").bias

    def held(self, x, what):
        return tf.stop_gradient(x) if what in self.constant else x

    def product(self, a, b):
        """Both factors get a half, or all of the gradient."""
        if not self.halves:
            return a * b
        return (tf.stop_gradient(a) * b + a * tf.stop_gradient(b)) / 2.0

    def matrix_product(self, a, b, **how):
        plain = tf.matmul(a, b, **how)
        if not self.halves:
            return plain
        first = tf.matmul(tf.stop_gradient(a), b, **how)
        second = tf.matmul(a, tf.stop_gradient(b), **how)
        return (first + second) / 2.0

    def norm(self, x, name):
        layer = self.layer(name)
        centered = x - tf.reduce_mean(x, -1, keepdims=True)
        variance = tf.reduce_mean(centered**2, -1, keepdims=True)
        inverse = self.held(1 / tf.sqrt(variance + 1e-6), "norms")
        return centered * inverse * layer.gamma + layer.beta

    def gelu(self, x):
        gate = self.held(0.5 * (1 + tf.math.erf(x / 2**0.5)), "gates")
        return gate * x

    def attention(self, x, name, added):
        layer = self.layer(name)
        q, k, v = [
            tf.einsum("btd,dhe->bhte", x, dense.kernel) + dense.bias[:, None]
            for dense in (layer._query_dense, layer._key_dense, layer._value_dense)
        ]
        scores = self.matrix_product(q, k, transpose_b=True) / (DIM / HEADS) ** 0.5
        weights = self.held(tf.nn.softmax(scores), "softmax")
        weights = weights if added is None else weights + added
        self.weights.append(weights)
        mixed = (
            tf.matmul(weights, v)
            if "softmax" in self.constant
            else self.matrix_product(weights, v)
        )
        output = layer._output_dense
        return tf.einsum("bhte,hed->btd", mixed, output.kernel) + output.bias


RULES = {
    "libragrad": {"constant": ("softmax", "norms", "gates"), "halves": True},
    "attnlrp": {"constant": ("norms", "gates"), "halves": True},
    "cp_lrp": {"constant": ("softmax", "norms")},
}


def on_grid(tokens, prefix=1):
    """What there is of each token `(batch, tokens)`, on the grid."""
    return np.asarray(tokens)[:, prefix:].reshape(-1, *GRID)


class WindowAttention(L.Layer):
    """Attention in windows of 2 x 2 cells of a grid, moved by `shift`, as in Swin."""

    def __init__(self, shift, **kwargs):
        super().__init__(**kwargs)
        self.shift = shift
        self.attention = Attention("softmax")

    def build(self, shape):
        self.attention.build((None, 4, DIM))

    def call(self, x):
        rows, columns = x.shape[1:3]
        x = ops.roll(x, (-self.shift, -self.shift), axis=(1, 2))
        x = ops.reshape(x, (-1, rows // 2, 2, columns // 2, 2, DIM))
        x = ops.transpose(x, (0, 1, 3, 2, 4, 5))
        x = self.attention(ops.reshape(x, (-1, 4, DIM)))
        x = ops.reshape(x, (-1, rows // 2, columns // 2, 2, 2, DIM))
        x = ops.reshape(ops.transpose(x, (0, 1, 3, 2, 4, 5)), (-1, rows, columns, DIM))
        return ops.roll(x, (self.shift, self.shift), axis=(1, 2))


def in_windows(shifts=(0, 1), size=(16, 24)):
    """A transformer of attention in windows on a grid of 4 x 6 cells."""
    inputs = keras.Input((*size, 3))
    x = L.Conv2D(DIM, PATCH, PATCH, name="patches")(inputs)
    for n, shift in enumerate(shifts):
        h = L.LayerNormalization(name=f"norm_{n}")(x)
        x = x + WindowAttention(shift, name=f"attention_{n}")(h)
        x = x + L.Dense(DIM, activation="gelu", name=f"dense_{n}")(x)
    x = L.GlobalAveragePooling2D()(x)
    return randomize(keras.Model(inputs, L.Dense(CLASSES, name="head")(x)))


def hybrid():
    """Convolutions, then attention over all cells of their grid, as in CoAtNet."""
    inputs = keras.Input((*SIZE, 3))
    x = L.Conv2D(DIM, 3, 2, "same", activation="relu", name="stem")(inputs)
    x = L.Conv2D(DIM, 3, 2, "same", name="stage")(x)
    x = L.BatchNormalization(name="batch_norm")(x)
    rows, columns = x.shape[1:3]
    x = L.Reshape((rows * columns, DIM))(x)
    h = L.LayerNormalization(name="norm_0")(x)
    x = x + L.MultiHeadAttention(HEADS, DIM // HEADS, name="attention_0")(h, h)
    x = L.Reshape((rows, columns, DIM))(x)
    x = L.GlobalAveragePooling2D()(x)
    return randomize(keras.Model(inputs, L.Dense(CLASSES, name="head")(x)))


def of_words(length=7):
    """A classifier of texts: words, attention between them, their mean."""
    inputs = keras.Input((length,), dtype="int32")
    x = L.Embedding(20, DIM, name="embedding")(inputs)
    h = L.LayerNormalization(name="norm_0")(x)
    x = x + L.MultiHeadAttention(HEADS, DIM // HEADS, name="attention_0")(h, h)
    x = L.GlobalAveragePooling1D()(x)
    return randomize(keras.Model(inputs, L.Dense(CLASSES, name="head")(x)))
