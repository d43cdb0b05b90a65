"""Choosing layers: the table, transformers, models that cannot work."""

import re

import keras
import numpy as np
import pytest
import tensorflow as tf
from conftest import L, graphs_of, make_classifier
from networks import Subclassed, transformer

import keras_gradcam as kg


def test_table_of_layers(model):
    table = kg.layers(model)
    assert [tuple(row) for row in table] == [
        ("first", (14, 10), (1, 2), 5, True, False, ""),
        ("last", (12, 8), (1, 2), 6, True, True, ""),
    ]
    assert repr(table).splitlines() == [
        "layer  grid     input axes  channels  score depends",
        "---------------------------------------------------",
        "first  14 x 10  1, 2        5         yes",
        "last   12 x 8   1, 2        6         yes            <- default",
    ]


def test_table_says_which_layers_the_score_does_not_depend_on():
    inputs = keras.Input((8, 8, 1))
    side = L.Conv2D(2, 3, name="side")(inputs)
    x = L.GlobalAveragePooling2D()(L.Conv2D(2, 3, name="used")(inputs))
    model = keras.Model(inputs, {"class": L.Dense(2)(x), "side": side})
    rows = kg.layers(model, target=lambda y: y["class"][:, 0])
    assert {row.layer: row.connected for row in rows} == {"side": False, "used": True}


def test_table_of_a_subclassed_model_needs_images(images):
    model = Subclassed()
    with pytest.raises(ValueError, match="Pass a batch of them. Received: images=None"):
        kg.layers(model)
    assert [row.layer for row in kg.layers(model, images)] == ["conv0", "conv1"]


def test_default_of_a_transformer_is_the_last_layer_whose_patches_matter():
    """After the last attention only the class token reaches the head."""
    model = transformer(prefix=True)
    cam = kg.GradCAM(model)
    assert cam.layer == "norm1"
    x = np.random.default_rng(0).random((2, 24, 16, 3), dtype="float32")
    assert np.abs(cam.gradients(x)).max() > 0
    assert cam(x).shape == (2, 24, 16)
    rows = {row.layer: row for row in kg.layers(model)}
    assert rows["block0"].connected
    assert rows["block0"].grid == (6, 4)
    assert not rows["final"].connected
    assert not rows["attended1"].connected


def test_error_of_a_layer_after_which_only_the_class_token_counts():
    with pytest.raises(ValueError) as caught:
        kg.GradCAM(transformer(prefix=True), "final")
    message = str(caught.value)
    assert "After layer 'final' only the class token reaches the score" in message
    assert "Layers that work: ['norm1', 'block0'" in message


def test_default_is_the_attention_where_it_comes_last():
    """What computes its output is inside, and has no grid of its own."""
    inputs = keras.Input((16, 16, 3))
    x = L.Reshape((16, 8))(L.Conv2D(8, 4, 4)(inputs))
    x = L.MultiHeadAttention(2, 4, name="mha")(x, x)
    model = keras.Model(inputs, L.Dense(3)(L.GlobalAveragePooling1D()(x)))
    cam = kg.GradCAM(model)
    assert cam.layer == "mha"
    assert cam(np.ones((2, 16, 16, 3), "float32")).shape == (2, 16, 16)


def test_layers_of_one_name_are_told_apart(images):
    class Namesakes(keras.Model):
        def __init__(self):
            super().__init__()
            self.a, self.b = L.Conv2D(4, 3, name="conv"), L.Conv2D(3, 3, name="conv")
            self.c = L.Dense(5, name="conv")

        def call(self, x):
            return self.c(keras.ops.mean(self.b(self.a(x)), (1, 2)))

    model = Namesakes()
    cam = kg.GradCAM(model)
    assert cam(images).shape == (5, 16, 12)
    assert cam.layer == "conv~1"
    first = kg.GradCAM(model, model.a)
    assert first.activations(images).shape == (5, 14, 10, 4)
    assert first.layer == "conv~0"
    np.testing.assert_array_equal(first(images), kg.GradCAM(model, "conv~0")(images))
    several = re.escape("stands for 3 places in the model. Pass one of ['conv~0', 'con")
    with pytest.raises(ValueError, match=several):
        kg.GradCAM(model, "conv")(images)


def test_a_model_that_takes_any_size_is_looked_at_anew_for_each():
    class Tokens(keras.Model):
        def __init__(self):
            super().__init__()
            self.patches = L.Conv2D(8, 4, 4)
            self.norm, self.dense = L.LayerNormalization(name="tokens"), L.Dense(3)

        def call(self, x):
            x = self.patches(x)
            x = keras.ops.reshape(x, (-1, x.shape[1] * x.shape[2], 8))
            return self.dense(keras.ops.mean(self.norm(x) ** 3, 1))

    model = Tokens()
    cam = kg.GradCAM(model, "tokens", activation=None)
    rng = np.random.default_rng(0)
    for size in [(16, 16), (32, 32), (8, 32), (16, 16)]:
        x = rng.random((2, *size, 3), dtype="float32")
        fresh = kg.GradCAM(model, "tokens", activation=None)
        np.testing.assert_allclose(cam(x), fresh(x), atol=1e-6)


def test_table_counts_channels_first():
    model = keras.Sequential(
        [
            keras.Input((3, 16, 12)),
            L.MaxPooling2D(2, data_format="channels_first", name="pool"),
            L.Flatten(),
            L.Dense(3),
        ]
    )
    ((name, grid, _, channels, *_),) = kg.layers(model)
    assert (name, grid, channels) == ("pool", (8, 6), 3)


def test_a_head_of_zeros_proves_nothing():
    model = transformer(prefix=True)
    head = model.get_layer("head")
    head.set_weights([np.zeros_like(w) for w in head.get_weights()])
    assert kg.GradCAM(model, "final").layer == "final"


def test_tokens_that_fit_no_grid_keep_their_own_and_name_reshape():
    inputs = keras.Input((24, 16, 3))
    x = L.Conv2D(8, 4, strides=4)(inputs)
    x = L.Reshape((24, 8))(x)
    x = L.Dense(8, name="tokens")(x[:, :17])
    model = keras.Model(inputs, L.Dense(2)(L.GlobalAveragePooling1D()(x)))
    with pytest.warns(UserWarning, match=r"`reshape=\(height, width\)`"):
        cam = kg.GradCAM(model, "tokens")
    images = np.random.default_rng(0).random((2, 24, 16, 3), dtype="float32")
    assert cam(images).shape == (2, 17)
    assert kg.GradCAM(model, "tokens", reshape=(4, 4)).layer == "tokens"


def test_tokens_that_only_seem_to_fit_a_grid():
    """Eight tokens of 16x16 pixels are no 2x2 grid after four class tokens."""
    inputs = keras.Input((16, 16, 3))
    x = L.Conv2D(8, 4, strides=4, name="patches")(inputs)
    x = L.Reshape((16, 8), name="tokens")(x)
    x = L.Conv1D(8, 2, strides=2, name="pairs")(x)
    model = keras.Model(inputs, L.Dense(2)(L.GlobalAveragePooling1D()(x)))
    assert kg.GradCAM(model).layer == "patches"


def test_error_of_a_layer_that_does_not_run(images):
    class Idle(Subclassed):
        def __init__(self):
            super().__init__()
            self.spare = L.ReLU(name="spare")

    with pytest.raises(
        ValueError, match="'spare' does not run when the model is called"
    ):
        kg.GradCAM(Idle(), "spare")(images)


@pytest.mark.filterwarnings("ignore::UserWarning")
def test_error_of_an_opaque_model_says_so(tmp_path, images):
    make_classifier().export(tmp_path / "saved", verbose=False)
    opaque = L.TFSMLayer(str(tmp_path / "saved"), call_endpoint="serve", name="opaque")
    inputs = keras.Input((16, 12, 3))
    model = keras.Model(inputs, opaque(inputs))
    with pytest.raises(ValueError, match="'opaque'.*TFSMLayer.*original Keras model"):
        kg.GradCAM(model)


def test_siamese_calls_belong_to_their_own_inputs():
    base = keras.Sequential(
        [keras.Input((8, 6, 1)), L.Conv2D(3, 3, name="c")], name="b"
    )
    a, b = keras.Input((8, 6, 1)), keras.Input((8, 6, 1))
    pool = L.GlobalMaxPooling2D()
    model = keras.Model(
        [a, b], L.Dense(1)(L.Subtract()([pool(base(a)), pool(base(b))]))
    )
    cam = kg.GradCAM(model, ["c#0", "c#1"])
    assert {
        layer_output.input for layer_output in cam._target_layers.chosen.layer_outputs
    } == {0, 1}
    with pytest.raises(ValueError, match=r"Pass one of \['b/c#0', 'b/c#1'\]"):
        kg.GradCAM(model, "c")


def test_one_trace_for_all_sizes_that_the_model_leaves_free():
    model = keras.Sequential(
        [
            keras.Input((None, None, 3)),
            L.Conv2D(4, 3),
            L.GlobalMaxPooling2D(),
            L.Dense(2),
        ]
    )
    cam = kg.GradCAM(model)
    rng = np.random.default_rng(0)
    for height, width in [(9, 13), (20, 8), (7, 7)]:
        x = rng.random((2, height, width, 3), dtype="float32")
        assert cam(x).shape == (2, height, width)
    assert len(graphs_of(cam)) == 1


@pytest.mark.parametrize("policy", ["mixed_float16", "mixed_bfloat16"])
def test_half_precision_maps_are_those_of_single_precision(policy):
    """Maps are float32, and a confident softmax does not underflow to nothing."""
    x = np.random.default_rng(0).random((2, 224, 224, 3), dtype="float32")

    def build(policy):
        return keras.Sequential(
            [
                keras.Input((224, 224, 3)),
                L.Conv2D(8, 3, activation="relu", dtype=policy, name="early"),
                L.Conv2D(8, 3, activation="relu", dtype=policy),
                L.GlobalAveragePooling2D(dtype=policy),
                L.Dense(3, activation="softmax", dtype=policy),
            ]
        )

    single, half = build("float32"), build(policy)
    *others, shift = single.get_weights()
    weights = [*others, shift + [0, 30, 0]]
    single.set_weights(weights)
    half.set_weights(weights)
    assert np.all(half(x)[:, 1] == 1)
    raw = {"activation": None, "normalize": None, "resize": False}
    expected = kg.GradCAM(single, "early", **raw)(x, target=1).numpy()
    actual = kg.GradCAM(half, "early", **raw)(x, target=1)
    assert actual.dtype == tf.float32
    # Of the half types' own rounding; without its scale float16 would be 1 % off.
    tolerance = 2e-3 if policy == "mixed_float16" else 5e-2
    assert np.abs(actual - expected).max() < tolerance * np.abs(expected).max()


class FoldsFrames(L.Layer):
    """Runs a convolution on all frames as one batch."""

    def __init__(self, **kwargs):
        super().__init__(**kwargs)
        self.conv = L.Conv2D(2, 3, name="conv")

    def build(self, shape):
        self.conv.build((None, *shape[2:]))

    def call(self, x):
        maps = self.conv(keras.ops.reshape(x, (-1, *x.shape[2:])))
        return keras.ops.reshape(maps, (-1, x.shape[1], *maps.shape[1:]))


@pytest.mark.parametrize(
    "layer",
    [FoldsFrames(name="frames"), L.TimeDistributed(L.Conv2D(2, 3, name="conv"))],
    ids=["folded into the batch", "TimeDistributed"],
)
def test_a_layer_that_sees_frames_one_by_one_is_one_layer(layer):
    model = keras.Sequential(
        [keras.Input((5, 10, 8, 3)), layer, L.GlobalMaxPooling3D()]
    )
    cam = kg.GradCAM(model, "conv", normalize=None)
    x = np.random.default_rng(0).random((2, 5, 10, 8, 3), dtype="float32")
    outer = kg.GradCAM(model, layer.name, normalize=None)
    assert cam.activations(x).shape == (2, 5, 8, 6, 2)
    np.testing.assert_allclose(cam.activations(x), outer.activations(x), atol=1e-6)
    np.testing.assert_allclose(cam(x, target=1), outer(x, target=1), atol=1e-6)


VIDEO = (5, 10, 8, 3)
FRAMES = [L.TimeDistributed(L.Conv2D(2, 3)), L.TimeDistributed(L.GlobalMaxPooling2D())]


@pytest.mark.parametrize(
    ("shape", "network", "expected"),
    [
        ((32, 2), [L.Conv1D(3, 3), L.GlobalMaxPooling1D()], (32,)),
        ((8, 7, 6, 2), [L.Conv3D(3, 3), L.GlobalMaxPooling3D()], (8, 7, 6)),
        (VIDEO, [L.ConvLSTM2D(2, 3), L.GlobalMaxPooling2D()], (10, 8)),
        (VIDEO, [FRAMES[0], L.GlobalMaxPooling3D()], (5, 10, 8)),
        (VIDEO, [*FRAMES, L.LSTM(4)], (5, 10, 8)),
        ((15,), [L.Embedding(9, 4), L.Conv1D(3, 3), L.GlobalMaxPooling1D()], (15,)),
    ],
    ids=["signal", "volume", "ConvLSTM", "video", "frames", "words"],
)
@pytest.mark.filterwarnings("ignore:.* of the maps are all zeros")
def test_a_map_has_the_size_of_what_the_layer_looks_at(shape, network, expected):
    model = keras.Sequential([keras.Input(shape), *network, L.Dense(2)])
    x = np.random.default_rng(0).random((2, *shape), dtype="float32")
    assert kg.GradCAM(model)(x).shape == (2, *expected)


@pytest.mark.slow
def test_predict_under_a_strategy_with_two_devices(tmp_path):
    """In a process of its own: devices are made once."""
    import subprocess
    import sys

    code = """
import numpy as np, tensorflow as tf, keras
cpu = tf.config.list_physical_devices("CPU")[0]
two = [tf.config.LogicalDeviceConfiguration()] * 2
tf.config.set_logical_device_configuration(cpu, two)
import keras_gradcam as kg
x = np.random.default_rng(0).random((7, 12, 10, 3)).astype("float32")
with tf.distribute.MirroredStrategy(["CPU:0", "CPU:1"]).scope():
    model = keras.Sequential([keras.Input((12, 10, 3)), keras.layers.Conv2D(4, 3),
        keras.layers.GlobalMaxPooling2D(), keras.layers.Dense(3)])
    cam = kg.GradCAM(model)
plain = kg.GradCAM(model)
assert cam.distribute_strategy.num_replicas_in_sync == 2
np.testing.assert_allclose(cam.predict(x, batch_size=4, verbose=0), plain(x), atol=1e-6)
"""
    subprocess.run([sys.executable, "-c", code], check=True)
