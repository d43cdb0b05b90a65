"""Where grids lie, against a reference that moves one pixel through random stacks."""

import functools

import keras
import numpy as np
import pytest
import tensorflow as tf
from keras import tree

from keras_gradcam import axes
from keras_gradcam.axes import measuring
from keras_gradcam.execution import input_signatures, model_inputs
from keras_gradcam.model import candidate_layers

L = keras.layers


def random_stack(seed):
    """A model of positive weights: what it sees of a pixel is never cancelled."""
    rng = np.random.default_rng(seed)
    height, width = rng.permutation([13, 18]).tolist()
    shape, front = (height, width, 2), []
    if rng.random() < 0.3:
        shape, front = (2, height, width), [L.Permute((2, 3, 1))]
    elif rng.random() < 0.2:
        shape, front = (height * width * 2,), [L.Reshape((height, width, 2))]
    inputs = keras.Input(shape)
    outputs = functools.reduce(lambda x, layer: layer(x), front, inputs)
    for _ in range(5):
        layers = OPERATIONS[rng.integers(len(OPERATIONS))](rng, outputs.shape)
        found = functools.reduce(lambda x, layer: layer(x), layers, outputs)
        if min(found.shape[1:3]) > 2:
            outputs = found
    model = keras.Model(inputs, outputs)
    for weight in model.weights:
        weight.assign(rng.uniform(0.1, 1.0, weight.shape))
    return model, (height, width)


def _convolution(rng, shape):
    strides = _pair(rng, 1, 2)
    return [
        L.Conv2D(
            2,
            _pair(rng, 1, 3),
            strides=strides,
            dilation_rate=int(rng.integers(1, 3)) if strides == (1, 1) else 1,
            padding=rng.choice(["valid", "same"]),
            use_bias=False,
        )
    ]


def _pooling(rng, shape):
    kind = L.MaxPooling2D if rng.random() < 0.5 else L.AveragePooling2D
    padding = rng.choice(["valid", "same"])
    return [kind(_pair(rng, 1, 3), strides=_pair(rng, 1, 2), padding=padding)]


def _cropping(rng, shape):
    return [L.Cropping2D((_pair(rng, 0, 2), _pair(rng, 0, 2)))]


def _padding(rng, shape):
    return [L.ZeroPadding2D((_pair(rng, 0, 2), _pair(rng, 0, 2)))]


def _transposition(rng, shape):
    return [L.Permute((2, 1, 3))]


def _tokens(rng, shape):
    _, height, width, channels = shape
    return [
        L.Reshape((height * width, channels)),
        L.Dense(2, use_bias=False),
        L.Reshape((height, width, 2)),
    ]


def _turned_tokens(rng, shape):
    """Columns of a picture as steps, as in the recognition of text, and back."""
    _, height, width, channels = shape
    return [
        L.Permute((2, 1, 3)),
        L.Reshape((width, height * channels)),
        L.Reshape((width, height, channels)),
    ]


def _pair(rng, low, high):
    return tuple(int(n) for n in rng.integers(low, high + 1, 2))


# Each of their cells looks over an end of the picture.
UNCHECKED = (18,)

OPERATIONS = [
    *[_convolution] * 3,
    *[_pooling] * 2,
    _cropping,
    _padding,
    _transposition,
    _tokens,
    _turned_tokens,
]


def last_grid(model):
    """The `LayerOutput` of the last layer."""
    inputs = input_signatures.exact(model_inputs.declared_inputs(model))
    traced = candidate_layers.trace_candidates(model, inputs, None, True, None)
    return traced.layer_outputs[-1]


def seen(model, layer_output, size):
    """What each cell of the grid, `(*grid, height, width)`, sees of each pixel."""
    height, width = size
    pixels = np.eye(height * width, dtype="float32").reshape(-1, height, width, 1)
    shape = model.input_shape[1:]
    pixels = np.concatenate([pixels, pixels], axis=-1)
    pixels = pixels.transpose(0, 3, 1, 2) if shape[0] == 2 else pixels
    outputs = model(pixels.reshape(-1, *shape))
    grid = np.asarray(layer_output.to_grid(outputs)).sum(-1)
    return np.moveaxis(grid, 0, -1).reshape(*grid.shape[1:], height, width) != 0


def ends(sees):
    """The first and the last pixel of each row of booleans."""
    return sees.argmax(1), sees.shape[1] - 1 - sees[:, ::-1].argmax(1)


def place_of(where, model):
    """0 for the height of the picture, 1 for the width."""
    if isinstance(where.axis, tuple):  # Of a picture in a flat input.
        return where.axis[2]
    return where.axis - (2 if model.input_shape[1] == 2 else 1)


@pytest.mark.parametrize("seed", range(40))
def test_a_grid_lies_where_one_pixel_is_seen(seed):
    model, size = random_stack(seed)
    layer_output = last_grid(model)
    sees = seen(model, layer_output, size)
    checked = 0
    for number, where in enumerate(layer_output.grid_axes):
        along = place_of(where, model)
        cells = sees.any((1 - number, 3 - along))
        (pixels,) = np.nonzero(cells.any(0))
        # None that is seen is left out, and none of another cell comes in.
        assert pixels[0] - where.step < where.first <= pixels[0]
        assert pixels[-1] <= where.last < pixels[-1] + where.step
        lows, highs = ends(cells)
        # Of a cell that looks over an end only a part is seen.
        whole = cells.any(1) & (lows > pixels[0]) & (highs < pixels[-1])
        whole &= highs - lows == (highs - lows)[cells.any(1)].max()
        predicted = where.start + where.step * np.arange(len(cells))
        np.testing.assert_allclose(predicted[whole], ((lows + highs) / 2)[whole])
        checked += whole.sum()
        # Along the other axis it stands still.
        other = sees.any((1 - number, 2 + along))[cells.any(1)]
        assert (other == other[0]).all()
    assert checked or seed in UNCHECKED
    assert len({place_of(where, model) for where in layer_output.grid_axes}) == 2


def test_stacks_are_of_all_kinds():
    kinds = {
        type(layer).__name__
        for seed in range(40)
        for layer in random_stack(seed)[0].layers[1:]
    }
    assert kinds == {
        *("Permute", "Reshape", "Cropping2D", "ZeroPadding2D", "Conv2D", "Dense"),
        *("MaxPooling2D", "AveragePooling2D"),
    }


@pytest.mark.parametrize("seed", range(12))
def test_what_is_measured_is_what_follows_from_the_graph(seed):
    model, _ = random_stack(seed)
    kept = {}

    def measure(x):
        outputs = model(x, training=False)
        kept["known"] = axes.trace([x])[outputs.name]
        kept["inputs"], kept["outputs"] = [x], [outputs]
        return measuring.weights([outputs], [x])

    shape = [3, *model.input_shape[1:]]
    function = tf.function(measure, autograph=False)
    function = function.get_concrete_function(tf.TensorSpec(shape))
    noise = tf.random.stateless_uniform(shape, (0, 0))
    measured = tree.map_structure(lambda x: x.numpy(), function(noise))
    found = measuring.found_in(measured, kept["outputs"], kept["inputs"])
    (outputs,) = kept["outputs"]
    found, known = found[outputs.name], kept["known"]
    for measured, followed in zip(found.axes[1:], known.axes[1:], strict=True):
        # Of few cells, most of them at an end, there is nothing to measure.
        if not measured.is_mapped or "view" in str(followed):
            continue
        ((key, step),), ((same, expected),) = measured.steps, followed.steps
        assert key == same
        assert step == pytest.approx(expected, rel=0.15)
        field = known.fields[key]
        centre = (field.low + field.high) / 2
        assert found.fields[key].low == pytest.approx(centre, abs=0.5 * expected)
