"""Where a map lies on the input, with places that were worked out by hand."""

import keras
import numpy as np
import pytest
import tensorflow as tf
from conftest import L, randomize

import keras_gradcam as kg


def network(shape, *layers, dtype="float32", classes=3):
    inputs = outputs = keras.Input(shape, dtype=dtype)
    for layer in layers:
        outputs = layer(outputs)
    if len(outputs.shape) > 2:
        outputs = L.GlobalAveragePooling1D()(
            L.Reshape((-1, outputs.shape[-1]))(outputs)
        )
    model = randomize(keras.Model(inputs, L.Dense(classes)(outputs)))
    # No channel speaks against a class, so that no map is empty.
    head = model.layers[-1]
    head.set_weights([np.abs(w) for w in head.get_weights()])
    return model


def by_hand(model, layer, x, score=lambda outputs: outputs[:, 1]):
    """Grad-CAM on the grid of a layer whose channels come last."""
    parts = keras.Model(model.input, [model.get_layer(layer).output, model.output])
    with tf.GradientTape() as tape:
        features, outputs = parts(x)
        y = score(outputs)
    gradients = tape.gradient(y, features).numpy()
    axes = tuple(range(1, gradients.ndim - 1))
    weights = gradients.mean(axes, keepdims=True)
    return np.maximum((weights * features).numpy().sum(-1), 0)


def over(maps, *axes):
    """Lays maps over axes given as `(length, centre of the first cell, step)`.

    Behind the step may come how many places the grid sees.
    """
    for number, (length, start, step, *_) in enumerate(axes, start=1):
        centres = start + step * np.arange(maps.shape[number])
        maps = np.apply_along_axis(
            lambda values, length, centres: np.interp(
                np.arange(length), centres, values
            ),
            number,
            maps,
            length,
            centres,
        )
    for number, (*_, seen) in enumerate(axes, start=1):
        if len(axes[number - 1]) == 4:
            np.moveaxis(maps, number, 0)[seen:] = 0
    return maps / maps.max(tuple(range(1, maps.ndim)), keepdims=True)


def noise(model):
    rng = np.random.default_rng(5)
    if model.input.dtype == "int32":
        return rng.integers(0, 20, (2, *model.input_shape[1:]))
    return rng.random((2, *model.input_shape[1:]), dtype="float32")


class Interpolation(L.Layer):
    """A series at other places, from those before and behind each."""

    def __init__(self, length):
        super().__init__()
        self.length = length

    def call(self, x):
        scale = x.shape[1] / self.length
        places = (tf.range(self.length, dtype="float32") + 0.5) * scale - 0.5
        places = tf.clip_by_value(places, 0, x.shape[1] - 1)
        low = tf.floor(places)
        high = tf.minimum(low + 1, x.shape[1] - 1)
        share = (places - low)[:, None]
        lower, upper = (tf.gather(x, tf.cast(n, "int32"), axis=1) for n in (low, high))
        return (1 - share) * lower + share * upper


CONV = {"activation": "relu", "name": "conv"}

PLACED = {
    "a series of variables by steps": (
        [(6, 50), L.Permute((2, 1)), L.Conv1D(4, 5, strides=2, **CONV)],
        [(50, 2, 2, 49)],
    ),
    "pictures with channels first": (
        [(3, 24, 32), L.Permute((2, 3, 1)), L.Conv2D(4, 3, strides=2, **CONV)],
        [(24, 1, 2, 23), (32, 1, 2, 31)],
    ),
    "pictures on their side": (
        [(24, 32, 3), L.Permute((2, 1, 3)), L.Conv2D(4, (3, 5), **CONV), None],
        [(24, 2, 1), (32, 1, 1)],
    ),
    "a picture in a row": (
        [(784,), L.Reshape((28, 28, 1)), L.Conv2D(4, 3, strides=2, **CONV)],
        [(28, 1, 2, 27), (28, 1, 2, 27)],
    ),
    "a picture in a row with a channel": (
        [(784, 1), L.Reshape((28, 28, 1)), L.Conv2D(4, 3, **CONV)],
        [(28, 1, 1), (28, 1, 1)],
    ),
    "words": (
        [(12,), L.Embedding(20, 8), L.Conv1D(4, 4, **CONV)],
        [(12, 1.5, 1)],
    ),
    "a signal that is halved twice": (
        [(64, 2), L.Conv1D(4, 3, strides=2, padding="same"), L.AveragePooling1D(2)]
        + [L.Conv1D(4, 1, **CONV)],
        # Of an even length, "same" pads behind: cell i of the first sees 2i to 2i + 2.
        [(64, 2, 4)],
    ),
    "a volume": (
        [(8, 12, 10, 1), L.Conv3D(4, 3, **CONV)],
        [(8, 1, 1), (12, 1, 1), (10, 1, 1)],
    ),
    "dilated": (
        [(20, 30, 1), L.Conv2D(4, 3, dilation_rate=2, **CONV)],
        [(20, 2, 1), (30, 2, 1)],
    ),
    "patches": (
        [(24, 32, 3), L.Conv2D(4, 8, strides=8, **CONV)],
        [(24, 3.5, 8), (32, 3.5, 8)],
    ),
    "a finer grid": (
        [(6, 8, 3), L.UpSampling2D(2), L.Conv2D(4, 3, **CONV)],
        # Pixel i is cells 2i and 2i + 1 of the finer grid, whose centres lie at
        # i - 0.25 and i + 0.25.
        [(6, 0.25, 0.5), (8, 0.25, 0.5)],
    ),
    "a finer series": (
        [(8, 3), Interpolation(16), L.Conv1D(4, 3, **CONV)],
        [(8, 0.25, 0.5)],
    ),
    "a coarser series": (
        [(24, 3), Interpolation(16), L.Conv1D(4, 3, **CONV)],
        [(24, 1.75, 1.5)],
    ),
}


@pytest.mark.parametrize("name", PLACED)
def test_a_map_lies_along_the_axes_that_the_grid_follows(name):
    (shape, *layers), axes = PLACED[name]
    is_turned = layers[-1] is None
    dtype = "int32" if isinstance(layers[0], L.Embedding) else "float32"
    model = network(shape, *filter(None, layers), dtype=dtype)
    x = noise(model)
    raw = by_hand(model, "conv", x)
    expected = over(raw.transpose(0, 2, 1) if is_turned else raw, *axes)
    cam = kg.GradCAM(model, target=1)
    assert cam.layer == "conv"
    np.testing.assert_allclose(cam(x), expected, atol=1e-5)
    assert expected.std() > 0.05


def handwriting():
    inputs = keras.Input((16, 40, 1))
    x = L.Conv2D(4, 3, padding="same", activation="relu")(inputs)
    x = L.MaxPooling2D()(x)
    x = L.Conv2D(6, 3, padding="same", activation="relu", name="conv")(x)
    x = L.MaxPooling2D(name="pool")(x)
    x = L.Reshape((10, 24), name="steps")(L.Permute((2, 1, 3))(x))
    rnn = L.Bidirectional(L.LSTM(5, return_sequences=True), name="rnn")
    return keras.Model(inputs, L.Dense(11, activation="softmax")(rnn(x)))


def second_letter(outputs):
    return outputs[:, 1, 3]


def test_steps_of_handwriting_run_along_the_width():
    model = handwriting()
    x = noise(model)
    assert kg.GradCAM(model).layer == "conv"
    raw = by_hand(model, "rnn", x, second_letter)
    expected = np.repeat(over(raw, (40, 1.5, 4))[:, None], 16, axis=1)
    actual = kg.GradCAM(model, "rnn", target=second_letter, logits=False)(x)
    np.testing.assert_allclose(actual, expected, atol=1e-5)


def test_the_layer_of_a_bidirectional_that_runs_back_is_turned_round():
    model = handwriting()
    x = noise(model)
    parts = keras.Model(model.input, [model.get_layer("rnn").output, model.output])
    with tf.GradientTape() as tape:
        features, outputs = parts(x)
        y = second_letter(outputs)
    back = features.numpy()[..., 5:]
    weights = tape.gradient(y, features).numpy()[..., 5:].mean(1, keepdims=True)
    raw = np.maximum((weights * back).sum(-1), 0)
    expected = np.repeat(over(raw, (40, 1.5, 4))[:, None], 16, axis=1)
    (name,) = [layer.name for layer in [model.get_layer("rnn").backward_layer]]
    cam = kg.GradCAM(model, f"rnn/{name}", target=second_letter, logits=False)
    np.testing.assert_allclose(cam(x), expected, atol=1e-5)


def test_frames_of_a_spectrum_run_along_the_time():
    """The map is the mean over the bins of frequency, which are no place in time."""
    mel = L.MelSpectrogram(
        fft_length=256, sequence_stride=128, num_mel_bins=22, sampling_rate=4000
    )
    model = network((4000,), mel, L.Reshape((22, -1, 1)), L.Conv2D(4, (3, 1), **CONV))
    x = noise(model)
    raw = by_hand(model, "conv", x).mean(1)
    # The windows of 256 samples lie around every 128th.
    expected = over(raw, (4000, -0.5, 128))
    cam = kg.GradCAM(model, target=1)
    np.testing.assert_allclose(cam(x), expected, atol=2e-2)
    table = kg.layers(model)
    assert [row.input_axes for row in table if row.layer == "conv"] == [(None, 1)]


def test_words_of_a_text_have_their_own_grid():
    words = L.TextVectorization(output_sequence_length=9)
    words.adapt(["a cat sat on the mat", "dogs bark"])
    model = network(
        (1,),
        words,
        L.Embedding(20, 8),
        L.Conv1D(4, 3, padding="same", **CONV),
        dtype="string",
    )
    texts = tf.constant([["a cat sat on dogs"], ["dogs bark on the mat"]])
    expected = by_hand(model, "conv", texts)
    with pytest.warns(UserWarning, match=r"grid \(9,\) of layer 'conv' lies along no"):
        cam = kg.GradCAM(model, target=1)
    actual = cam(texts)
    np.testing.assert_allclose(actual, over(expected, (9, 0, 1)), atol=1e-5)


def test_a_decoder_has_its_own_grid():
    inputs = keras.Input((16,))
    x = L.Reshape((4, 4, 8))(L.Dense(128)(inputs))
    x = L.Conv2DTranspose(8, 3, strides=2, activation="relu", name="up")(x)
    model = keras.Model(inputs, L.Conv2DTranspose(1, 3, strides=2)(x))
    x = noise(model)
    with pytest.warns(UserWarning, match=r"`resize=False`"):
        cam = kg.GradCAM(model)
    assert cam(x).shape == (2, 9, 9)
    assert kg.GradCAM(model, resize=(18, 27))(x).shape == (2, 18, 27)


class Windows(L.Layer):
    """What a Swin does: cuts windows, attends in each, and puts them together."""

    def __init__(self, size, **kwargs):
        super().__init__(**kwargs)
        self.size, self.dense = size, L.Dense(8, activation="relu", name="inside")

    def call(self, x):
        _, height, width, channels = x.shape
        s = self.size
        x = keras.ops.reshape(x, (-1, height // s, s, width // s, s, channels))
        x = keras.ops.transpose(x, (0, 1, 3, 2, 4, 5))
        x = self.dense(keras.ops.reshape(x, (-1, s * s, channels)))
        x = keras.ops.reshape(x, (-1, height // s, width // s, s, s, channels))
        x = keras.ops.transpose(x, (0, 1, 3, 2, 4, 5))
        return keras.ops.reshape(x, (-1, height, width, channels))


def test_a_table_of_windows_is_no_grid():
    patches = L.Conv2D(8, 4, strides=4, name="patches")
    model = network((32, 64, 3), patches, Windows(4, name="windows"))
    x = noise(model)
    cam = kg.GradCAM(model, target=1)
    assert cam.layer == "windows"
    expected = over(by_hand(model, "windows", x), (32, 1.5, 4), (64, 1.5, 4))
    np.testing.assert_allclose(cam(x), expected, atol=1e-5)
    assert "windows/inside" not in [row.layer for row in kg.layers(model)]


def marked(size, rows, columns):
    image = np.zeros((1, *size, 1), "float32")
    image[:, rows[0] : rows[1] + 1, columns[0] : columns[1] + 1] = 1.0
    return image


# The front of the model, the size of the image, the rows and columns of the mark, and
# the first and last row that the network sees.
MARKS = {
    "nothing": (lambda: [], (64, 64), (16, 19), (40, 43), None),
    "Cropping2D of the upper half": (
        lambda: [L.Cropping2D(((40, 0), (0, 0)))],
        (80, 64),
        (70, 73),
        (20, 23),
        (40, 79),
    ),
    "Resizing": (lambda: [L.Resizing(32, 32)], (64, 64), (16, 19), (40, 43), None),
    "Resizing, cropped": (
        lambda: [L.Resizing(24, 24, crop_to_aspect_ratio=True)],
        (64, 48),
        (16, 19),
        (20, 23),
        (8, 55),
    ),
    "Resizing, padded": (
        lambda: [L.Resizing(32, 32, pad_to_aspect_ratio=True)],
        (64, 48),
        (30, 33),
        (40, 43),
        None,
    ),
    "CenterCrop": (
        lambda: [L.CenterCrop(40, 40)],
        (64, 64),
        (16, 19),
        (40, 43),
        (12, 51),
    ),
    "RandomCrop": (
        lambda: [L.RandomCrop(40, 40)],
        (64, 64),
        (16, 19),
        (40, 43),
        (12, 51),
    ),
    "ZeroPadding2D": (
        lambda: [L.ZeroPadding2D(16)],
        (64, 64),
        (16, 19),
        (40, 43),
        None,
    ),
    "Rescaling": (lambda: [L.Rescaling(2.0)], (64, 64), (16, 19), (40, 43), None),
    "a slice": (
        lambda: [L.Lambda(lambda x: x[:, 10:60, 4:])],
        (64, 64),
        (16, 19),
        (40, 43),
        (10, 59),
    ),
    "every second row and column": (
        lambda: [L.Lambda(lambda x: x[:, ::2, ::2])],
        (64, 64),
        (16, 19),
        (40, 43),
        None,
    ),
    "turned over": (
        lambda: [L.Lambda(lambda x: x[:, ::-1])],
        (64, 64),
        (16, 19),
        (40, 43),
        None,
    ),
    "a mirror at the edge": (
        lambda: [
            L.Lambda(lambda x: tf.pad(x, [[0, 0], [8, 0], [8, 0], [0, 0]], "REFLECT"))
        ],
        (64, 64),
        (16, 19),
        (40, 43),
        None,
    ),
}


@pytest.mark.parametrize("padding", ["same", "valid"])
@pytest.mark.parametrize("name", MARKS)
def test_heat_lies_on_the_mark_that_the_network_sees(name, padding):
    front, size, rows, columns, seen = MARKS[name]
    sums = {"padding": padding, "use_bias": False, "kernel_initializer": "ones"}
    inputs = outputs = keras.Input((*size, 1))
    for layer in [*front(), L.Conv2D(1, 3, 2, **sums), L.Conv2D(1, 1, **sums)]:
        outputs = layer(outputs)
    model = keras.Model(inputs, L.GlobalAveragePooling2D()(outputs))
    heat = kg.GradCAM(model, normalize=None, target=lambda y: y[:, 0])(
        marked(size, rows, columns)
    ).numpy()[0]
    assert heat.shape == size
    for axis, (first, last) in enumerate([rows, columns]):
        profile = heat.sum(1 - axis)
        centre = (profile * np.arange(size[axis])).sum() / profile.sum()
        assert abs(centre - (first + last) / 2) <= 1.0, (axis, centre)
    if seen:
        outside = np.delete(heat, range(seen[0], seen[1] + 1), axis=0)
        assert not outside.any() and outside.size


def test_nothing_is_drawn_where_the_network_does_not_look():
    """Up to the border of what it sees the map is drawn, and none of it beyond."""
    model = network(
        (80, 64, 3), L.Cropping2D(((40, 0), (0, 8))), L.Conv2D(4, 3, **CONV)
    )
    x = noise(model)
    raw = by_hand(model, "conv", x)
    expected = over(raw, (80, 41, 1), (64, 1, 1))
    expected[:, :40], expected[:, :, 56:] = 0, 0
    expected /= expected.max((1, 2), keepdims=True)
    for smooth in (None, kg.smoothing.tta(flip=False, scales=(1.0,))):
        cam = kg.GradCAM(model, target=1, smooth=smooth)
        np.testing.assert_allclose(cam(x), expected, atol=1e-5)


def test_flipped_copies_are_flipped_back_around_the_picture():
    """Not around the part of it that the network sees."""
    model = network(
        (24, 32, 3), L.Cropping2D(((0, 0), (10, 2))), L.Conv2D(4, 3, **CONV)
    )
    x = noise(model)
    alone = kg.GradCAM(model, target=1, normalize=None)
    flipped = alone(x[:, :, ::-1]).numpy()[:, :, ::-1]
    both = kg.GradCAM(
        model,
        target=1,
        normalize=None,
        smooth=kg.smoothing.tta(scales=(1.0,)),
    )
    # Where both have seen the picture.
    kept = slice(11, 21)
    expected = (alone(x).numpy() + flipped)[:, :, kept] / 2
    np.testing.assert_allclose(both(x).numpy()[:, :, kept], expected, atol=1e-4)


def test_layers_of_different_places_are_fused_where_they_lie():
    model = network(
        (32, 40, 3),
        L.Cropping2D(((8, 0), (0, 0))),
        L.Conv2D(4, 3, activation="relu", name="early"),
        L.Conv2D(4, 3, strides=2, **CONV),
    )
    x = noise(model)
    early, late = kg.GradCAM(model, ["early", "conv"], target=1)(x)
    fused = kg.GradCAM(model, ["early", "conv"], target=1, fuse="mean")(x)
    expected = (early + late).numpy() / 2
    expected /= expected.max((1, 2), keepdims=True)
    np.testing.assert_allclose(fused, expected, atol=1e-5)
    assert not fused[:, :8].numpy().any()


class Reversed(L.Layer):
    """Reverses a series in a way that no rule knows, without a usable gradient."""

    def __init__(self, gradient):
        super().__init__()
        self.gradient = gradient

    def call(self, x):
        x = tf.custom_gradient(lambda x: (tf.identity(x), self.gradient))(x)
        back = tf.tile(tf.range(12)[::-1][None], (tf.shape(x)[0], 1))
        return tf.gather(x, back, batch_dims=1)


def no_kernel(upstream):
    """As of operations that the device has no gradient of, found as it runs."""
    one = tf.random.uniform((), 1, 2, "int32")
    return tf.reshape(upstream, tf.shape(upstream) + one)


def no_gradient(upstream):
    """As of operations without a gradient, found as the graph is built."""
    raise LookupError("No gradient defined for operation.")


@pytest.mark.parametrize("gradient", [no_kernel, no_gradient])
def test_what_cannot_be_measured_is_said(gradient):
    model = network((12, 3), Reversed(gradient), L.Conv1D(4, 1, **CONV))
    with pytest.warns(UserWarning, match=r"Where the grid \(12,\) of layer 'conv'"):
        cam = kg.GradCAM(model, "conv", target=1)
    assert cam(noise(model)).shape == (2, 12)


def halved(x):
    return L.Conv2D(4, 3, 2, "same", activation="relu")(x)


def dilation(x):
    kernel = tf.zeros((3, 3, 4))
    return tf.nn.dilation2d(x, kernel, [1, 2, 2, 1], "SAME", "NHWC", [1, 1, 1, 1])


FREE = {
    "same": lambda x: halved(halved(halved(x))),
    "padded": lambda x: L.Conv2D(4, 3, 2)(L.ZeroPadding2D(((0, 1), (0, 1)))(halved(x))),
    "transposed": lambda x: L.Conv2DTranspose(4, 3, 2, "same")(halved(halved(x))),
    "enlarged": lambda x: L.UpSampling2D(2)(halved(x)),
    "no rule": lambda x: L.Lambda(dilation)(halved(x)),
}


@pytest.mark.parametrize("name", FREE)
def test_a_free_size_is_placed_as_that_size(name):
    def build(size):
        inputs = keras.Input((size, size, 3))
        pooled = L.GlobalAveragePooling2D()(FREE[name](inputs))
        return keras.Model(inputs, L.Dense(3)(pooled))

    free = randomize(build(None))
    # No channel speaks against a class, so that no map is empty.
    head = free.layers[-1]
    head.set_weights([np.abs(w) for w in head.get_weights()])
    cam = kg.GradCAM(free)
    rng = np.random.default_rng(0)
    for size in (32, 33, 47):
        x = rng.random((2, size, size, 3)).astype("float32")
        fixed = build(size)
        fixed.set_weights(free.get_weights())
        expected = kg.GradCAM(fixed)(x, 1)
        np.testing.assert_allclose(cam(x, 1), expected, atol=1e-6)
