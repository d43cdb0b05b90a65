"""Every kind of model, against Grad-CAM written by hand for that model.

Each case builds a model and takes it apart by hand: a trunk up to the layer and a head
behind it, both run eagerly. `docs/models.md` is written from these cases:
`make docs` runs this file with `--write-docs`.
"""

import functools
import pathlib

import keras
import numpy as np
import pytest
import tensorflow as tf
from conftest import ROOT, L, assert_unchanged, randomize, state_of
from networks import ClassToken, Subclassed, transformer

import keras_gradcam as kg

RAW = {"activation": None, "normalize": None, "resize": False}
CASES = {}
TOLERANCE = 1e-4


def case(group, name, **options):
    """Registers a function that returns `(model, x, layer, trunk, head, target)`.

    `trunk(x)` gives the layer's output by hand, `head(A)` the score `(batch,)`. `layer`
    `None` tests the automatic choice.
    """

    def register(function):
        CASES[name] = (group, function, options)
        return function

    return register


def noise(*shape, seed=0):
    return np.random.default_rng(seed).random(shape, dtype="float32")


def by_hand(trunk, head, x):
    """Activations, then the mean gradient of each channel, then their sum."""
    a = trunk(x)
    with tf.GradientTape() as tape:
        tape.watch(a)
        score = tf.reduce_sum(tf.cast(head(a), tf.float32))
    slope = tf.cast(tape.gradient(score, a), tf.float32).numpy()
    a = tf.cast(a, tf.float32).numpy()
    axes = tuple(range(1, a.ndim - 1))
    return (slope.mean(axes, keepdims=True) * a).sum(-1)


def called(model, x):
    """Keras marks a model when it is called for the first time, whoever calls it."""
    # Traced alone: not every processor has a convolution for channels first.
    function = tf.function(lambda x: model(x, training=False), autograph=False)
    function.get_concrete_function(x)


def error_of(name):
    """Largest deviation from the reference, relative to its largest magnitude."""
    _, build, options = CASES[name]
    keras.utils.clear_session()  # Layers that nobody named are numbered from the start.
    model, x, layer, trunk, head, target = build()
    expected = by_hand(trunk, head, x) if model.built else None
    if model.built:
        called(model, x)
        before = state_of(model)
    options = {**RAW, "target": target, **options.get("cam", {})}
    cam = kg.GradCAM(model, layer, **options)
    raw = np.asarray(cam(x))
    if expected is None:
        expected = by_hand(trunk, head, x)
    else:
        assert_unchanged(before, model)
    assert raw.shape == expected.shape
    assert np.abs(expected).max() > 0
    return np.abs(raw - expected).max() / np.abs(expected).max(), cam.layer


# 1. Plain models.


def _parts(model, layer):
    """Trunk and head of a plain stack of layers."""
    index = [one.name for one in model.layers].index(layer) + 1

    def run(layers, x):
        for one in layers:
            x = one(x, training=False)
        return x

    first = isinstance(model.layers[0], keras.layers.InputLayer)
    trunk = functools.partial(run, model.layers[int(first) : index])
    return trunk, functools.partial(run, model.layers[index:])


def _stack(head, activation=None):
    tail = [L.Flatten()] if head == "flatten" else [L.GlobalAveragePooling2D()]
    return [
        L.Conv2D(4, 3, activation="relu", name="early"),
        L.BatchNormalization(name="norm"),
        L.Conv2D(5, 3, strides=2, activation="relu", name="late"),
        *tail,
        L.Dense(3, activation=activation, name="head"),
    ]


def _plain(kind, head, layer):
    layers, x = _stack(head), noise(2, 12, 10, 3)
    if kind == "functional":
        y = inputs = keras.Input((12, 10, 3))
        for one in layers:
            y = one(y)
        model = keras.Model(inputs, y)
    else:
        model = keras.Sequential([keras.Input((12, 10, 3)), *layers])
    randomize(model)
    trunk, tail = _parts(model, layer or "late")
    return model, x, layer, trunk, lambda a: tail(a)[:, 1], 1


for _kind in ("functional", "Sequential"):
    for _head in ("flatten", "gap"):
        for _layer in (None, "early", "norm"):
            case(
                "plain",
                f"{_kind}, {_head} head, layer {_layer or 'automatic'}",
            )(functools.partial(_plain, _kind, _head, _layer))


@case("plain", "Sequential, unbuilt until the first call")
def _():
    model = keras.Sequential(_stack("gap"))
    x = noise(2, 12, 10, 3)

    def trunk(x):
        return _parts(randomize_once(model), "late")[0](x)

    randomize_once = functools.cache(lambda m: m)
    keras.utils.set_random_seed(3)
    return model, x, None, trunk, lambda a: _parts(model, "late")[1](a)[:, 1], 1


@case("plain", "features only, callable target")
def _():
    model = keras.Sequential([keras.Input((12, 10, 3)), *_stack("gap")[:3]])
    randomize(model)
    trunk, _ = _parts(model, "late")
    score = lambda y: tf.reduce_sum(y**2, [1, 2, 3])  # noqa: E731
    return model, noise(2, 12, 10, 3), None, trunk, score, score


@case("plain", "softmax head, explained by the logits")
def _():
    model = keras.Sequential([keras.Input((12, 10, 3)), *_stack("flatten", "softmax")])
    randomize(model)
    trunk, _ = _parts(model, "late")
    dense = model.layers[-1]

    def head(a):
        flat = tf.reshape(a, (a.shape[0], -1))
        return (flat @ dense.kernel + dense.bias)[:, 2]

    return model, noise(2, 12, 10, 3), None, trunk, head, 2


@case("plain", "softmax of TensorFlow in a Lambda layer, then a Reshape")
def _():
    layers = [*_stack("gap"), L.Lambda(tf.nn.softmax), L.Reshape((3,))]
    model = keras.Sequential([keras.Input((12, 10, 3)), *layers])
    randomize(model)
    trunk, tail = _parts(keras.Sequential(model.layers[:-2]), "late")
    return model, noise(2, 12, 10, 3), None, trunk, lambda a: tail(a)[:, 2], 2


# 2. Transfer learning.


def _base(name="base"):
    inputs = keras.Input((12, 10, 3))
    x = L.Conv2D(4, 3, activation="relu", name="inner_early")(inputs)
    x = L.Conv2D(5, 3, activation="relu", name="inner_late")(x)
    return randomize(keras.Model(inputs, x, name=name))


def _transfer(outer, layer, frozen=False):
    base = _base()
    base.trainable = not frozen
    after = L.Conv2D(6, 3, activation="relu", name="after")
    tail = [L.GlobalAveragePooling2D(), L.Dropout(0.5), L.Dense(3)]
    if outer == "functional":
        inputs = keras.Input((12, 10, 3))
        y = after(base(inputs, training=False))
        for one in tail:
            y = one(y)
        model = keras.Model(inputs, y)
    else:
        model = keras.Sequential([keras.Input((12, 10, 3)), base, after, *tail])
    after.set_weights([0.3 * noise(3, 3, 5, 6) - 0.1, noise(6)])
    inner = ["inner_early", "inner_late"]
    chain = [base.get_layer(name) for name in inner] + [after, tail[0], tail[2]]
    cut = {"base/inner_early": 1, "inner_late": 2, "base": 2, "after": 3}[layer]

    def trunk(x):
        for one in chain[:cut]:
            x = one(x)
        return x

    def head(a):
        for one in chain[cut:]:
            a = one(a)
        return a[:, 2]

    return model, noise(2, 12, 10, 3), layer, trunk, head, 2


for _outer in ("functional", "Sequential"):
    for _layer in ("base/inner_early", "inner_late", "base", "after"):
        case("transfer", f"base inside a {_outer}, layer {_layer}")(
            functools.partial(_transfer, _outer, _layer)
        )
case("transfer", "frozen base, training=False inside")(
    functools.partial(_transfer, "functional", "inner_late", frozen=True)
)


@case("transfer", "two levels deep")
def _():
    base = _base()
    middle = keras.Sequential([keras.Input((12, 10, 3)), base], name="middle")
    pool, dense = L.GlobalAveragePooling2D(), L.Dense(2)
    model = keras.Sequential([keras.Input((12, 10, 3)), middle, pool, dense])
    early, late = base.get_layer("inner_early"), base.get_layer("inner_late")
    return (
        model,
        noise(2, 12, 10, 3),
        "middle/base/inner_early",
        early,
        lambda a: dense(pool(late(a)))[:, 0],
        0,
    )


def _siamese(which):
    base, dense, pool = _base("twin"), L.Dense(2), L.GlobalAveragePooling2D()
    a, b = keras.Input((12, 10, 3)), keras.Input((12, 10, 3))
    joined = L.Concatenate()([pool(base(a)), pool(base(b)) ** 2])
    model = keras.Model([a, b], dense(joined))
    x = [noise(2, 12, 10, 3), noise(2, 12, 10, 3, seed=1)]
    # Keras runs the calls in an order of its own; the map tells which it was.
    order = [
        layer_output.input
        for layer_output in kg.GradCAM(
            model, ["twin#0", "twin#1"]
        )._target_layers.chosen.layer_outputs
    ]
    call = order.index(which)

    def head(features):
        both = [base(x[0]), base(x[1])]
        both[which] = features
        joined = tf.concat([pool(both[0]), pool(both[1]) ** 2], -1)
        return dense(joined)[:, 1]

    return model, x, f"twin/inner_late#{call}", lambda x: base(x[which]), head, 1


for _which in (0, 1):
    case("transfer", f"siamese, the call on input {_which}")(
        functools.partial(_siamese, _which)
    )


# 3. Subclassed models.


class WithTraining(Subclassed):
    def call(self, x, training=None):
        assert not training
        return super().call(x)


class Compiled(Subclassed):
    @tf.function
    def features(self, x):
        for conv in self.order():
            x = conv(x)
        return x

    def call(self, x):
        return self.dense(self.pool(self.features(x)))


class Decorated(Subclassed):
    @tf.function
    def call(self, x):
        return super().call(x)


def _subclassed(cls, *args, layer="conv0"):
    keras.utils.set_random_seed(0)
    model = cls(*args)
    first, second = model.order()
    model(noise(1, 12, 10, 3))

    def head(a):
        a = second(a) if layer == "conv0" else a
        return model.dense(model.pool(a))[:, 1]

    trunk = first if layer == "conv0" else lambda x: second(first(x))
    return model, noise(2, 12, 10, 3), layer, trunk, head, 1


for _container in ("attributes", "list", "dict"):
    case("subclassed", f"layers in {_container}")(
        functools.partial(_subclassed, Subclassed, _container)
    )
case("subclassed", "layer automatic")(
    functools.partial(_subclassed, Subclassed, layer=None)
)
case("subclassed", "call with a training argument")(
    functools.partial(_subclassed, WithTraining)
)
case("subclassed", "a tf.function inside")(functools.partial(_subclassed, Compiled))
case("subclassed", "call is a tf.function")(functools.partial(_subclassed, Decorated))


@case("subclassed", "subclassed block inside a functional model")
def _():
    class Block(L.Layer):
        def __init__(self):
            super().__init__(name="block")
            self.conv = L.Conv2D(4, 3, padding="same", name="conv")
            self.more = L.Conv2D(4, 3, padding="same", activation="relu")

        def build(self, shape):
            self.conv.build(shape)
            self.more.build((*shape[:-1], 4))

        def call(self, x):
            return self.more(self.conv(x)) + x[..., :1]

    block, pool, dense = Block(), L.GlobalAveragePooling2D(), L.Dense(2)
    inputs = keras.Input((12, 10, 3))
    model = keras.Model(inputs, dense(pool(block(inputs))))
    x = noise(2, 12, 10, 3)
    return (
        model,
        x,
        "block/conv",
        block.conv,
        lambda a: dense(pool(block.more(a) + x[..., :1]))[:, 1],
        1,
    )


# 4. keras.applications.

APPLICATIONS = {
    "VGG16": 32,
    "ResNet50": 64,
    "ResNet50V2": 64,
    "InceptionV3": 128,
    "InceptionResNetV2": 128,
    "Xception": 96,
    "MobileNet": 64,
    "MobileNetV2": 64,
    "MobileNetV3Small": 64,
    "DenseNet121": 64,
    "NASNetMobile": 64,
    "EfficientNetB0": 64,
    "EfficientNetV2B0": 64,
    "ConvNeXtTiny": 64,
}


def _application(name, size):
    build = getattr(keras.applications, name)
    model = build(weights=None, input_shape=(size, size, 3), classes=7)
    cam = kg.GradCAM(model)
    names = [operation.name for operation in model.operations]
    index = names.index(cam.layer)
    tail = model.operations[index + 1 :]
    trunk = keras.Model(model.input, model.operations[index].output)

    def head(a):
        for layer in tail[:-1]:
            a = layer(a, training=False) if isinstance(layer, L.Layer) else layer(a)
        if isinstance(tail[-1], L.Dense):
            return (tf.reshape(a, (a.shape[0], -1)) @ tail[-1].kernel + tail[-1].bias)[
                :, 3
            ]
        return tf.reshape(a, (a.shape[0], -1))[:, 3]  # MobileNet: softmax layer last

    x = 255 * noise(2, size, size, 3)
    return model, x, None, functools.partial(trunk, training=False), head, 3


for _name, _size in APPLICATIONS.items():
    case("keras.applications", _name)(functools.partial(_application, _name, _size))


# 5. Bypassed layers, lists and dicts.


@case("topology", "residual: the layer's output and a path around it")
def _():
    inputs = keras.Input((10, 8, 3))
    stem, conv = L.Conv2D(4, 3), L.Conv2D(4, 3, padding="same", name="branch")
    pool, dense = L.GlobalAveragePooling2D(), L.Dense(2)
    stem_out = stem(inputs)
    y = L.Add()([conv(stem_out), stem_out])
    model = keras.Model(inputs, dense(pool(L.ReLU()(y) ** 2)))
    x = noise(2, 10, 8, 3)
    return (
        model,
        x,
        "branch",
        lambda x: conv(stem(x)),
        lambda a: dense(pool(tf.nn.relu(a + stem(x)) ** 2))[:, 0],
        0,
    )


@case("topology", "a layer that returns its input, which a skip path uses too")
def _():
    inputs = keras.Input((10, 8, 3))
    conv, drop = L.Conv2D(4, 3), L.Dropout(0.5, name="drop")
    pool, dense = L.GlobalAveragePooling2D(), L.Dense(2)
    c = conv(inputs)
    model = keras.Model(inputs, dense(pool(L.Multiply()([drop(c), c, c]))))
    x = noise(2, 10, 8, 3)
    return (
        model,
        x,
        "drop",
        conv,
        lambda a: dense(pool(a * conv(x) ** 2))[:, 1],
        1,
    )


@case("topology", "inception: one of several branches")
def _():
    inputs = keras.Input((10, 8, 3))
    one = L.Conv2D(2, 1, activation="relu", name="one")
    three = L.Conv2D(3, 3, padding="same", activation="relu", name="three")
    flat, dense = L.Flatten(), L.Dense(2)
    model = keras.Model(
        inputs, dense(flat(L.Concatenate()([one(inputs), three(inputs)])))
    )
    x = noise(2, 10, 8, 3)
    return (
        model,
        x,
        "three",
        three,
        lambda a: dense(flat(tf.concat([one(x), a], -1)))[:, 1],
        1,
    )


@case("topology", "U-Net: bottleneck under a skip connection, segmentation target")
def _():
    inputs = keras.Input((8, 8, 3))
    enter = L.Conv2D(4, 3, padding="same", activation="relu", name="enter")
    down = L.Conv2D(6, 3, strides=2, padding="same", activation="relu", name="down")
    up, last = L.UpSampling2D(), L.Conv2D(3, 1, name="classes")
    e = enter(inputs)
    y = last(L.Concatenate()([up(down(e)), e]))
    model = keras.Model(inputs, L.Softmax()(y))
    x = noise(2, 8, 8, 3)
    mask = np.zeros((8, 8), "float32")
    mask[2:5, 1:4] = 1

    def head(a):
        y = last(tf.concat([up(a), enter(x)], -1))
        return tf.reduce_sum(y[..., 1] * mask, [1, 2])

    target = kg.targets.segmentation(1, mask=mask)
    return model, x, "down", lambda x: down(enter(x)), head, target


class Pyramid(L.Layer):
    def __init__(self, kind, **kwargs):
        super().__init__(**kwargs)
        self.kind = kind
        self.fine, self.coarse = L.Conv2D(2, 3), L.Conv2D(3, 3, strides=2)

    def build(self, shape):
        self.fine.build(shape)
        self.coarse.build(shape)

    def call(self, x):
        pair = [self.fine(x), self.coarse(x)]
        return pair if self.kind == "list" else {"p1": pair[0], "p2": pair[1]}


def _pyramid(kind, key):
    inputs = keras.Input((10, 8, 3))
    pyramid, pool, dense = Pyramid(kind, name="fpn"), L.GlobalMaxPooling2D(), L.Dense(2)
    outputs = pyramid(inputs)
    fine, coarse = outputs if kind == "list" else outputs.values()
    model = keras.Model(inputs, dense(L.Concatenate()([pool(fine), pool(coarse)])))
    x = noise(2, 10, 8, 3)
    return (
        model,
        x,
        f"fpn[{key}]",
        pyramid.coarse,
        lambda a: dense(tf.concat([pool(pyramid.fine(x)), pool(a)], -1))[:, 1],
        1,
    )


case("topology", "a layer that returns a list")(functools.partial(_pyramid, "list", 1))
case("topology", "a layer that returns a dict")(
    functools.partial(_pyramid, "dict", "p2")
)


# 6. Several inputs and outputs.


def _table_model(as_dict):
    picture, table = (
        keras.Input((12, 10, 3), name="picture"),
        keras.Input((4,), name="t"),
    )
    conv = L.Conv2D(5, 3, activation="relu", name="conv")
    pool, dense = L.GlobalAveragePooling2D(), L.Dense(3)
    y = dense(L.Concatenate()([pool(conv(picture)), table]))
    inputs = {"picture": picture, "t": table} if as_dict else [picture, table]
    model = keras.Model(inputs, y)
    p, t = noise(2, 12, 10, 3), noise(2, 4)
    x = {"picture": p, "t": t} if as_dict else [p, t]
    return (
        model,
        x,
        None,
        lambda x: conv(p),
        lambda a: dense(tf.concat([pool(a), t], -1))[:, 2],
        2,
    )


for _as_dict in (True, False):
    case(
        "inputs and outputs", f"image and table, as a {'dict' if _as_dict else 'list'}"
    )(functools.partial(_table_model, _as_dict))


@case("inputs and outputs", "two images of different size")
def _():
    small, large = keras.Input((6, 5, 3)), keras.Input((12, 10, 3))
    one, two = L.Conv2D(3, 3, name="one"), L.Conv2D(4, 3, activation="relu", name="two")
    pool, dense = L.GlobalAveragePooling2D(), L.Dense(2)
    y = dense(L.Concatenate()([pool(one(small)), pool(two(large)) ** 2]))
    model = keras.Model([small, large], y)
    x = [noise(2, 6, 5, 3), noise(2, 12, 10, 3)]
    return (
        model,
        x,
        "two",
        lambda x: two(x[1]),
        lambda a: dense(tf.concat([pool(one(x[0])), pool(a) ** 2], -1))[:, 0],
        0,
    )


def _outputs(kind):
    inputs = keras.Input((12, 10, 3))
    conv, pool = L.Conv2D(5, 3, activation="relu"), L.GlobalAveragePooling2D()
    age, sex = L.Dense(1), L.Dense(1, activation="sigmoid")
    shared = pool(conv(inputs))
    pair = {"age": age(shared), "sex": sex(shared)}
    model = keras.Model(inputs, pair if kind == "dict" else list(pair.values()))
    key = "sex" if kind == "dict" else 1
    target = kg.targets.output(key, 0)

    def head(a):
        return -(pool(a) @ sex.kernel + sex.bias)[:, 0]

    return model, noise(2, 12, 10, 3), None, conv, head, target


for _kind in ("dict", "list"):
    case("inputs and outputs", f"one of several outputs, as a {_kind}")(
        functools.partial(_outputs, _kind)
    )


# 7. Other dimensions.


def _rank(rank):
    shape = {1: (32, 2), 3: (8, 7, 6, 2)}[rank]
    conv = getattr(L, f"Conv{rank}D")
    one, two = conv(4, 3, activation="relu"), conv(5, 3, activation="relu", name="two")
    pool = getattr(L, f"GlobalAveragePooling{rank}D")()
    dense = L.Dense(3)
    model = keras.Sequential([keras.Input(shape), one, two, pool, dense])
    return (
        model,
        noise(2, *shape),
        None,
        lambda x: two(one(x)),
        lambda a: dense(pool(a))[:, 1],
        1,
    )


case("dimensions", "1-D: signals and series")(functools.partial(_rank, 1))
case("dimensions", "3-D: volumes")(functools.partial(_rank, 3))


@case("dimensions", "words: Embedding and Conv1D")
def _():
    embed, conv = L.Embedding(20, 6), L.Conv1D(5, 3, activation="relu", name="conv")
    pool, dense = L.GlobalMaxPooling1D(), L.Dense(2)
    model = keras.Sequential(
        [keras.Input((15,), dtype="int32"), embed, conv, pool, dense]
    )
    x = np.random.default_rng(0).integers(0, 20, (2, 15)).astype("int32")
    return (
        model,
        x,
        None,
        lambda x: conv(embed(x)),
        lambda a: dense(pool(a))[:, 1],
        1,
    )


@case("dimensions", "video: TimeDistributed convolutions")
def _():
    inner = L.Conv2D(4, 3, activation="relu", name="inner")
    spread = L.TimeDistributed(inner, name="spread")
    pool, dense = L.GlobalAveragePooling3D(), L.Dense(2)
    model = keras.Sequential([keras.Input((5, 10, 8, 3)), spread, pool, dense])
    return (
        model,
        noise(2, 5, 10, 8, 3),
        None,
        spread,
        lambda a: dense(pool(a))[:, 1],
        1,
    )


@case("dimensions", "video: ConvLSTM2D")
def _():
    lstm = L.ConvLSTM2D(4, 3, name="lstm")
    pool, dense = L.GlobalAveragePooling2D(), L.Dense(2)
    model = keras.Sequential([keras.Input((5, 10, 8, 3)), lstm, pool, dense])
    return (
        model,
        noise(2, 5, 10, 8, 3),
        None,
        lstm,
        lambda a: dense(pool(a))[:, 1],
        1,
    )


@case(
    "dimensions", "channels_first (compiled by XLA on CPU)", cam={"jit_compile": True}
)
def _():
    conv = L.Conv2D(4, 3, activation="relu", name="c", data_format="channels_first")
    flat, dense = L.Flatten(data_format="channels_last"), L.Dense(2)
    inputs = keras.Input((3, 12, 10))
    model = keras.Model(inputs, dense(flat(conv(inputs))))

    def trunk(x):
        kernel, bias = conv.kernel, conv.bias
        x = tf.transpose(x, (0, 2, 3, 1))
        return tf.nn.relu(tf.nn.conv2d(x, kernel, 1, "VALID") + bias)

    return (
        model,
        noise(2, 3, 12, 10),
        "c",
        trunk,
        lambda a: dense(flat(tf.transpose(a, (0, 3, 1, 2))))[:, 1],
        1,
    )


@case("dimensions", "free input size (None, None, 3)")
def _():
    conv, pool, dense = L.Conv2D(4, 3), L.GlobalMaxPooling2D(), L.Dense(2)
    model = keras.Sequential([keras.Input((None, None, 3)), conv, pool, dense])
    return model, noise(2, 9, 13, 3), None, conv, lambda a: dense(pool(a))[:, 1], 1


# 8. Transformers.


def _transformer(layer, behind, **options):
    """`layer` is what is asked for, `behind` the tensor it should stand for."""
    model = transformer(**options)
    prefix = int(options.get("prefix", True))
    trunk = keras.Model(model.input, model.get_layer(behind).output)
    x = noise(2, 24, 16, 3)
    tail = _tail_of(model, behind)

    def on_grid(x):
        return tf.reshape(trunk(x)[:, prefix:], (2, 6, 4, 12))

    def head(a):
        tokens = tf.reshape(a, (2, 24, 12))
        return tail(tf.concat([trunk(x)[:, :prefix], tokens], 1))[:, 1]

    return model, x, layer, on_grid, head, 1


def _tail_of(model, name):
    """The transformer from the output of a layer on, written out again."""
    layer = model.get_layer

    def tail(x):
        names = [one.name for one in model.layers]
        start = names.index(name)
        if name == "final":
            return _classify(model, x)
        for i in (0, 1):
            if f"block{i}" in names and names.index(f"block{i}") > start:
                y = layer(f"norm{i}")(x)
                x = x + layer(f"attention{i}")(y, y)
                add = names.index(f"attended{i}")
                norm, up, down = (model.layers[add + k] for k in (1, 2, 3))
                x = x + down(up(norm(x)))
        return _classify(model, layer("final")(x))

    return tail


def _classify(model, x):
    prefix = any(isinstance(one, ClassToken) for one in model.layers)
    pooled = x[:, 0] if prefix else tf.reduce_mean(x, 1)
    return model.get_layer("head")(pooled)


case("transformers", "ViT without a class token, layer automatic")(
    functools.partial(_transformer, None, "final", prefix=False)
)
case("transformers", "ViT with a class token")(
    functools.partial(_transformer, "block0", "block0")
)
case("transformers", "hybrid of convolutions and a transformer")(
    functools.partial(_transformer, "block0", "block0", hybrid=True)
)
case("transformers", "patches without a convolution: the grid from the image's size")(
    functools.partial(_transformer, "block0", "block0", patches="reshape")
)
case("transformers", "reshape=(height, width)", cam={"reshape": (6, 4)})(
    functools.partial(_transformer, "block0", "block0")
)
case(
    "transformers",
    "reshape=callable",
    cam={"reshape": lambda x: tf.reshape(x[:, 1:], (-1, 6, 4, 12))},
)(functools.partial(_transformer, "block0", "block0"))


# 9. Precision, quantisation, saved models, strategies.


def _policy(policy):
    keras.config.set_dtype_policy(policy)
    try:
        keras.utils.set_random_seed(0)
        conv = L.Conv2D(4, 3, activation="relu", name="conv")
        pool, dense = L.GlobalAveragePooling2D(), L.Dense(3)
        model = keras.Sequential(
            [keras.Input((12, 10, 3)), conv, pool, dense, L.Softmax(dtype="float32")]
        )
    finally:
        keras.config.set_dtype_policy("float32")
    x = noise(2, 12, 10, 3)
    return model, x, None, conv, lambda a: dense(pool(a))[:, 1], 1


for _dtype in ("mixed_float16", "mixed_bfloat16"):
    case("precision and storage", _dtype, tolerance=1e-2)(
        functools.partial(_policy, _dtype)
    )


@case("precision and storage", "float64")
def _():
    keras.config.set_floatx("float64")
    keras.config.set_dtype_policy("float64")
    try:
        conv, pool, dense = L.Conv2D(4, 3, name="c"), L.GlobalMaxPooling2D(), L.Dense(2)
        model = keras.Sequential([keras.Input((12, 10, 3)), conv, pool, dense])
    finally:
        keras.config.set_floatx("float32")
        keras.config.set_dtype_policy("float32")
    x = tf.constant(noise(2, 12, 10, 3))
    return model, x, None, conv, lambda a: dense(pool(a))[:, 1], 1


@case("precision and storage", "int8-quantised dense layers")
def _():
    conv, pool = (
        L.Conv2D(8, 3, activation="relu", name="conv"),
        L.GlobalAveragePooling2D(),
    )
    hidden, dense = L.Dense(16, activation="relu"), L.Dense(3)
    model = keras.Sequential([keras.Input((12, 10, 3)), conv, pool, hidden, dense])
    model.quantize("int8")
    x = noise(2, 12, 10, 3)
    return model, x, None, conv, lambda a: dense(hidden(pool(a)))[:, 1], 1


def _reloaded(suffix):
    import tempfile

    model, x, layer, *_ = _plain("functional", "flatten", None)
    with tempfile.TemporaryDirectory() as folder:
        path = pathlib.Path(folder) / f"model{suffix}"
        model.save(path)
        model = keras.models.load_model(path)
    trunk, tail = _parts(model, "late")
    return model, x, layer, trunk, lambda a: tail(a)[:, 1], 1


case("precision and storage", "reloaded from .keras")(
    functools.partial(_reloaded, ".keras")
)
case("precision and storage", "reloaded from .h5")(functools.partial(_reloaded, ".h5"))


@case("precision and storage", "built under MirroredStrategy")
def _():
    with tf.distribute.MirroredStrategy(["CPU:0"]).scope():
        model, x, layer, *_ = _plain("functional", "gap", None)
    trunk, tail = _parts(model, "late")
    return model, x, layer, trunk, lambda a: tail(a)[:, 1], 1


@case("precision and storage", "rematerialised layers")
def _():
    with keras.RematScope(mode="full"):
        conv = L.Conv2D(4, 3, activation="relu", name="conv")
        hidden = L.Conv2D(3, 3, name="hidden")
    pool, dense = L.GlobalAveragePooling2D(), L.Dense(2)
    model = keras.Sequential([keras.Input((12, 10, 3)), conv, hidden, pool, dense])
    x = noise(2, 12, 10, 3)
    kernels = [(one.kernel, one.bias) for one in (conv, hidden)]

    def convolve(x, kernel, bias):
        return tf.nn.conv2d(x, kernel, 1, "VALID") + bias

    return (
        model,
        x,
        "conv",
        lambda x: tf.nn.relu(convolve(x, *kernels[0])),
        lambda a: dense(pool(convolve(a, *kernels[1])))[:, 1],
        1,
    )


# 10. Layers that behave otherwise in training.


@case("inference", "Dropout, BatchNormalization, noise and augmentation inside")
def _():
    conv, norm = L.Conv2D(4, 3, name="conv"), L.BatchNormalization(name="norm")
    flat, dense = L.Flatten(), L.Dense(2)
    model = keras.Sequential(
        [
            keras.Input((12, 10, 3)),
            L.RandomFlip(),
            L.RandomRotation(0.4),
            L.RandomContrast(0.9),
            conv,
            norm,
            L.GaussianNoise(0.9),
            L.SpatialDropout2D(0.5),
            flat,
            L.Dropout(0.5),
            dense,
        ]
    )
    randomize(model)
    return (
        model,
        noise(2, 12, 10, 3),
        "conv",
        conv,
        lambda a: dense(flat(norm(a, training=False)))[:, 1],
        1,
    )


@case("inference", "augmentation in a subclassed model without a training argument")
def _():
    class Augments(Subclassed):
        def __init__(self):
            super().__init__()
            self.augment = L.RandomRotation(0.5)

        def call(self, x):
            return super().call(self.augment(x))

    return _subclassed(Augments)


def cases_as_parameters():
    """Most networks of `keras.applications` take seconds to build."""
    slow = set(APPLICATIONS) - {"MobileNetV2", "ResNet50"}
    return [
        pytest.param(name, marks=pytest.mark.slow) if name in slow else name
        for name in CASES
    ]


@pytest.mark.filterwarnings("ignore:.*HDF5 file:UserWarning")
@pytest.mark.filterwarnings("ignore:Layer .* does not have a `quantize`:UserWarning")
@pytest.mark.filterwarnings("ignore:You are saving your model:UserWarning")
@pytest.mark.parametrize("name", cases_as_parameters())
def test_equals_the_reference(name, record_property):
    error, layer = error_of(name)
    record_property("case", (CASES[name][0], name, layer, float(error)))
    assert error < CASES[name][2].get("tolerance", TOLERANCE)


def test_docs_list_every_case():
    page = ROOT / "docs" / "models.md"
    rows = [
        line.split("|")[2].strip()
        for line in page.read_text().partition("## Default layers")[0].splitlines()
        if "|" in line
    ]
    assert rows[2:] == [name.replace("|", "\\|") for name in CASES]
