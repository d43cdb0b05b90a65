"""Which layer a map is made of by default, on small models of all kinds."""

import keras
import pytest
from conftest import L

import keras_gradcam as kg


def conv(filters=4, name=None, strides=1, rank=2):
    kind = {2: L.Conv2D, 3: L.Conv3D}[rank]
    return kind(filters, 3, strides, padding="same", activation="relu", name=name)


def residual_block(x, name, strides=1, rank=2, padded=False):
    """A block as ResNets have it, its end the ReLU `<name>_out`."""
    kind = {2: L.Conv2D, 3: L.Conv3D}[rank]
    y = kind(4, 1, name=f"{name}_conv1")(x)
    if padded:
        y = getattr(L, f"ZeroPadding{rank}D")(1, name=f"{name}_pad")(y)
    padding = "valid" if padded else "same"
    y = kind(4, 3, strides, padding=padding, name=f"{name}_conv2")(y)
    y = L.Dropout(0.1)(L.BatchNormalization(name=f"{name}_bn")(y))
    if strides > 1:
        x = kind(4, 1, strides, name=f"{name}_short")(x)
    return L.ReLU(name=f"{name}_out")(L.Add(name=f"{name}_add")([x, y]))


def residual_network(rank=2, padded=True):
    inputs = keras.Input((16,) * rank + (1,))
    x = residual_block(conv(rank=rank)(inputs), "a", 2, rank, padded)
    x = residual_block(x, "b", 1, rank, padded)
    pool = getattr(L, f"GlobalAveragePooling{rank}D")()
    return keras.Model(inputs, L.Dense(3)(L.Dropout(0.1)(pool(x))))


def u_net(rank=2, head="softmax", resized=False):
    inputs = keras.Input((16,) * rank + (1,))
    pool = getattr(L, f"MaxPooling{rank}D")
    up = getattr(L, f"UpSampling{rank}D")
    a = conv(name="enc1", rank=rank)(inputs)
    b = conv(name="enc2", rank=rank)(pool(2)(a))
    x = conv(name="middle1", rank=rank)(pool(2)(b))
    x = conv(name="middle2", rank=rank)(x)
    for name, skip in (("dec2", b), ("dec1", a)):
        x = L.Concatenate()([up(2)(x), skip])
        x = conv(name=name, rank=rank)(x)
    kind = {2: L.Conv2D, 3: L.Conv3D}[rank]
    x = kind(2, 1, name="logits")(x)
    return keras.Model(inputs, L.Activation(head)(x) if head else x)


def gated_u_net():
    """What the decoder takes of the encoder is weighed by what the bottleneck knows."""
    inputs = keras.Input((16, 16, 1))
    a = conv(name="enc1")(inputs)
    x = conv(name="middle", strides=2)(a)
    gate = L.ReLU()(L.Conv2D(4, 1)(x) + L.Conv2D(4, 1, strides=2)(a))
    gate = L.UpSampling2D(2)(L.Conv2D(1, 1, activation="sigmoid")(gate))
    x = L.Concatenate()([L.UpSampling2D(2)(x), a * gate])
    return keras.Model(inputs, L.Conv2D(2, 1)(conv(name="dec1")(x)))


def feature_pyramid():
    inputs = keras.Input((32, 32, 3))
    a = residual_block(conv(strides=2)(inputs), "a")
    b = residual_block(a, "b", 2)
    c = residual_block(b, "c", 2)
    p = L.Conv2D(4, 1, name="lateral_c")(c)
    levels = [p]
    for name, x in (("b", b), ("a", a)):
        lateral = L.Conv2D(4, 1, name=f"lateral_{name}")(x)
        p = L.Add()([L.UpSampling2D(2)(p), lateral])
        levels.append(p)
    merged = [
        L.UpSampling2D(2 ** (2 - i))(conv(name=f"seg{i}")(x)) if i < 2 else x
        for i, x in enumerate(levels)
    ]
    x = L.Conv2D(2, 1, name="logits")(L.Concatenate()(merged))
    return keras.Model(inputs, L.Resizing(32, 32)(x))


def link_net():
    inputs = keras.Input((32, 32, 3))
    a = residual_block(conv(strides=2)(inputs), "a")
    b = residual_block(a, "b", 2)
    x = residual_block(b, "c", 2)
    for skip in (b, a, None):
        x = L.Conv2DTranspose(4, 3, 2, padding="same", activation="relu")(x)
        x = x if skip is None else L.Add()([x, skip])
    return keras.Model(inputs, L.Conv2D(2, 1, activation="softmax")(x))


def pyramid_pooling():
    """PSPNet: averages of large areas stand beside the grid that they are of."""
    inputs = keras.Input((48, 48, 3))
    x = residual_block(conv(strides=2)(inputs), "a", 2)
    x = residual_block(x, "b")
    branches = [x]
    for size in (12, 6):
        y = L.Conv2D(2, 1, activation="relu")(L.AveragePooling2D(size)(x))
        branches.append(L.Resizing(12, 12)(y))
    x = L.Conv2D(2, 1, name="logits")(conv(name="fused")(L.Concatenate()(branches)))
    return keras.Model(inputs, L.Resizing(48, 48)(x))


def dilated_pyramid():
    """DeepLabV3+."""
    inputs = keras.Input((32, 32, 3))
    low = residual_block(conv(strides=2)(inputs), "a", 2)
    x = residual_block(low, "b", 2)
    branches = [
        L.Conv2D(4, 3, padding="same", dilation_rate=rate, activation="relu")(x)
        for rate in (1, 2)
    ]
    pooled = L.Conv2D(4, 1)(L.GlobalAveragePooling2D(keepdims=True)(x))
    branches.append(L.UpSampling2D(4)(pooled))
    x = L.Conv2D(4, 1, activation="relu", name="aspp")(L.Concatenate()(branches))
    x = L.Concatenate()([L.UpSampling2D(2)(x), L.Conv2D(2, 1)(low)])
    x = L.Conv2D(2, 1, activation="softmax")(conv(name="decoder")(x))
    return keras.Model(inputs, L.UpSampling2D(4, interpolation="bilinear")(x))


class Attention(L.Layer):
    """Attention of its own layers, as libraries of transformers have it."""

    def __init__(self, dim, **kwargs):
        super().__init__(**kwargs)
        self.q, self.k = L.Dense(dim, name="q_proj"), L.Dense(dim, name="k_proj")
        self.v, self.out = L.Dense(dim, name="v_proj"), L.Dense(dim, name="out_proj")
        self.dropout = L.Dropout(0.1, name="drop")

    def call(self, x):
        weights = keras.ops.einsum("bqc,bkc->bqk", self.q(x), self.k(x))
        weights = self.dropout(keras.ops.softmax(weights))
        return self.out(keras.ops.einsum("bqk,bkc->bqc", weights, self.v(x)))


def attention_network(pooled):
    inputs = keras.Input((16, 24, 3))
    x = L.Conv2D(8, 4, 4, name="patches")(inputs)
    x = L.Reshape((24, 8))(x)
    for name in "ab":
        y = Attention(8, name=f"{name}_attention")(L.LayerNormalization()(x))
        x = L.Add(name=f"{name}_attended")([x, y])
        y = L.Dense(8, name=f"{name}_down")(L.Dense(16, activation="gelu")(x))
        x = L.Add(name=f"{name}_block")([x, y])
    x = L.LayerNormalization(name="norm")(x)
    x = L.GlobalAveragePooling1D()(x) if pooled else L.Flatten()(x)
    return keras.Model(inputs, L.Dense(3)(x))


class WindowAttention(Attention):
    """Each window of 2 x 2 x 2 attends by itself."""

    def call(self, x):
        _, a, b, c, dim = x.shape
        x = keras.ops.reshape(x, (-1, a // 2, 2, b // 2, 2, c // 2, 2, dim))
        x = keras.ops.transpose(x, (0, 1, 3, 5, 2, 4, 6, 7))
        x = super().call(keras.ops.reshape(x, (-1, 8, dim)))
        x = keras.ops.reshape(x, (-1, a // 2, b // 2, c // 2, 2, 2, 2, dim))
        x = keras.ops.transpose(x, (0, 1, 4, 2, 5, 3, 6, 7))
        return keras.ops.reshape(x, (-1, a, b, c, dim))


def window_network():
    inputs = keras.Input((16, 16, 16, 1))
    x = L.Conv3D(4, 4, 4, name="patches")(inputs)
    for name in "ab":
        y = WindowAttention(4, name=f"{name}_attention")(L.LayerNormalization()(x))
        x = L.Add(name=f"{name}_stage")([x, L.Dropout(0.1)(y)])
    x = L.GlobalAveragePooling3D()(x)
    return keras.Model(inputs, L.Dense(3)(x))


def attention_to_few_places():
    """SegFormer: the keys of early attention lie on a grid as coarse as the last."""
    inputs = keras.Input((32, 32, 3))
    a = conv(strides=2, name="a_block")(inputs)
    b = conv(strides=4, name="b_patches")(a)
    keys = L.Conv2D(4, 2, 2, name="keys")(b)
    flat = [L.Reshape((-1, 4))(x) for x in (b, keys)]
    y = L.MultiHeadAttention(2, 2, name="attention")(*flat)
    b = L.Add(name="b_block")([b, L.Reshape((4, 4, 4))(y)])
    c = residual_block(b, "c", 2)
    levels = [L.Conv2D(4, 1, name=f"level{n}")(x) for n, x in enumerate((a, b, c))]
    finer = [L.UpSampling2D(n)(x) for n, x in zip((4, 8), levels[1:], strict=True)]
    x = L.Concatenate()([levels[0], *finer])
    return keras.Model(inputs, L.UpSampling2D(2)(L.Conv2D(2, 1, name="logits")(x)))


def late_skip():
    """Tokens are laid out as a picture only where a decoder of pictures takes them."""
    inputs = keras.Input((16, 16, 1))
    x = L.Reshape((16, 4))(conv(name="patches", strides=4)(inputs))
    skip = L.LayerNormalization(name="early")(L.Dense(4, activation="gelu")(x))
    x = L.LayerNormalization(name="late")(L.Dense(4, activation="gelu")(skip))
    for name in ("fine1", "fine2"):
        x = L.Reshape((4, 4, 4))(x) if x.ndim == 3 else x
        x = L.Conv2DTranspose(4, 3, strides=2, padding="same", name=name)(x)
        x = conv(name=f"{name}_conv")(x)
    skip = L.Reshape((4, 4, 4))(skip)
    for name in ("skip1", "skip2"):
        skip = L.Conv2DTranspose(4, 3, strides=2, padding="same", name=name)(skip)
    return keras.Model(inputs, L.Conv2D(2, 1)(L.Concatenate()([x, skip])))


def sequential(shape, *layers):
    return keras.Sequential([keras.Input(shape), *layers])


def vgg():
    return sequential(
        (32, 32, 3),
        conv(name="conv1"),
        L.MaxPooling2D(),
        conv(name="conv2"),
        L.MaxPooling2D(name="last_pool"),
        L.Flatten(),
        L.Dense(8, activation="relu"),
        L.Dense(3, activation="softmax"),
    )


def video():
    frames = [
        L.TimeDistributed(conv(name="conv"), name="frames"),
        L.TimeDistributed(L.GlobalAveragePooling2D()),
    ]
    return sequential((5, 12, 10, 3), *frames, L.LSTM(4), L.Dense(3))


def video_of_a_base():
    base = sequential((12, 10, 3), conv(name="conv"), L.MaxPooling2D(), L.Flatten())
    base.name = "base"
    head = [L.TimeDistributed(base, name="frames"), L.GRU(4), L.Dense(3)]
    return sequential((5, 12, 10, 3), *head)


def squeeze_and_excite():
    """The factors of the channels come by a way of their own, without places."""
    inputs = keras.Input((16, 16, 3))
    x = conv(name="conv")(inputs)
    factors = L.GlobalAveragePooling2D(keepdims=True)(x)
    factors = L.Conv2D(4, 1, activation="sigmoid")(factors)
    x = L.Multiply(name="excited")([x, factors])
    return keras.Model(inputs, L.Dense(3)(L.GlobalAveragePooling2D()(x)))


def trimmed():
    """Padding, cropping, dropout and resizing behind the last convolution."""
    return sequential(
        (16, 16, 3),
        conv(name="conv"),
        L.ZeroPadding2D(1),
        L.Cropping2D(1),
        L.Dropout(0.5),
        L.Resizing(8, 8),
        L.GlobalAveragePooling2D(),
        L.Dense(3),
    )


MODELS = {
    "ResNet": (residual_network, "b_out"),
    "3-D ResNet": (lambda: residual_network(3), "b_out"),
    "VGG": (vgg, "conv2"),
    "squeeze and excite": (squeeze_and_excite, "excited"),
    "what only moves values behind it": (trimmed, "conv"),
    "U-Net": (u_net, "middle2"),
    "U-Net, logits": (lambda: u_net(head=None), "middle2"),
    "3-D U-Net": (lambda: u_net(3, "sigmoid"), "middle2"),
    "U-Net, gated": (gated_u_net, "middle"),
    "FPN": (feature_pyramid, "lateral_c"),
    "Linknet": (link_net, "c_out"),
    "PSPNet": (pyramid_pooling, "fused"),
    "DeepLabV3+": (dilated_pyramid, "aspp"),
    "UNETR": (late_skip, "late"),
    "SegFormer": (attention_to_few_places, "level2"),
    "attention, pooled": (lambda: attention_network(True), "norm"),
    "attention, flattened": (lambda: attention_network(False), "norm"),
    "windows in a volume": (window_network, "b_stage"),
    "video": (video, "frames/conv"),
    "video of a base": (video_of_a_base, "frames/base/conv"),
}


@pytest.mark.parametrize("name", MODELS)
def test_default_layer(name):
    make, expected = MODELS[name]
    keras.utils.set_random_seed(0)
    assert kg.GradCAM(make()).layer == expected


def test_the_table_says_why_it_is_the_bottleneck():
    table = kg.layers(u_net())
    (row,) = [row for row in table if row.default]
    assert row.layer == "middle2"
    assert "bottleneck, as an output is a picture" in str(table)
    # The decoder is to be had by its name.
    assert kg.GradCAM(u_net(), "dec1").layer == "dec1"


def test_the_map_of_a_clip_has_one_maximum():
    """A frame that does not matter is not as red as one that does."""
    import numpy as np

    model = video()
    clip = np.random.default_rng(0).random((2, 5, 12, 10, 3), dtype="float32")
    clip[:, 1] *= 0.1
    heat = kg.GradCAM(model, target=lambda y: keras.ops.sum(y**2, -1))(clip).numpy()
    assert heat.shape == (2, 5, 12, 10)
    peaks = heat.max((2, 3))
    np.testing.assert_allclose(peaks.max(1), 1.0, rtol=1e-6)
    assert (peaks.min(1) < 0.9).all()
