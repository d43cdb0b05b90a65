"""Methods for transformers: against replicas, and on every kind of attention."""

import keras
import numpy as np
import pytest
import replicas
import tensorflow as tf
from conftest import OF_ATTENTION, RAW, L, close, make_classifier, randomize
from transformers import (
    GRID,
    HEADS,
    KINDS,
    RULES,
    SIZE,
    TOKENS,
    ByHand,
    Prefix,
    hybrid,
    in_windows,
    of_words,
    on_grid,
    vit,
)

import keras_gradcam as kg
from keras_gradcam.evidence.attention_evidence import Attention

METHODS = [*OF_ATTENTION, "attnlrp", "libragrad"]

pytestmark = pytest.mark.filterwarnings("ignore:.* of the maps are all zeros")


def raw(model, images, method, target=1, **options):
    cam = kg.GradCAM(model, method=method, target=target, **{**RAW, **options})
    return cam(images).numpy()


def evidence_by_hand(replica, images, target=1):
    """Weights and gradients of all attention, and the scores, of the replica."""
    embedded = replica.layer("prefix")(
        replica.layer("tokens")(replica.layer("patches")(images))
    )
    shape = (len(images), HEADS, embedded.shape[1], embedded.shape[1])
    added = [tf.zeros(shape) for _ in range(2)]
    with tf.GradientTape() as tape:
        tape.watch(added)
        score = replica.behind(embedded, added)[:, target]
    gradients = tape.gradient(score, added)
    return [x.numpy() for x in replica.weights], [g.numpy() for g in gradients]


@pytest.mark.parametrize("pool", ["token", "mean"])
@pytest.mark.parametrize(
    "name", ["attention_rollout", "transformer_attribution", "gradsam"]
)
def test_maps_are_those_of_the_replica(images, name, pool):
    model = vit(pool=pool)
    weights, gradients = evidence_by_hand(ByHand(model, pool), images)
    expected = [
        replicas.METHODS[name](
            None,
            Attention(
                [w[i] for w in weights],
                [g[i] for g in gradients],
                [lambda keys: on_grid(keys[None])[0]] * 2,
            ),
        )
        for i in range(len(images))
    ]
    close(raw(model, images, name), expected)


def test_legrad_takes_the_scores_of_each_depth(images):
    model = vit()
    replica = ByHand(model)
    x = replica.layer("prefix")(
        replica.layer("tokens")(replica.layer("patches")(images))
    )
    shape = (len(images), HEADS, TOKENS + 1, TOKENS + 1)
    expected = 0
    for depth in (1, 2):
        added = [tf.zeros(shape) for _ in range(2)]
        with tf.GradientTape() as tape:
            tape.watch(added)
            replica.behind(x, added)
            score = replica.head(replica.tokens[depth - 1])[:, 1]
        gradient = tape.gradient(score, added[depth - 1])
        expected += tf.reduce_mean(tf.nn.relu(gradient), (1, 2)) / 2.0
    close(raw(model, images, "legrad"), on_grid(expected))


@pytest.mark.parametrize("rules", RULES)
@pytest.mark.parametrize("pool", ["token", "mean"])
def test_balanced_gradients_are_those_of_the_replica(images, rules, pool):
    model = vit(pool=pool)
    cam = kg.GradCAM(model, "prefix", target=1, gradient_rules=rules)
    replica = ByHand(model, pool, **RULES[rules])
    x = replica.layer("prefix")(
        replica.layer("tokens")(replica.layer("patches")(images))
    )
    with tf.GradientTape() as tape:
        tape.watch(x)
        score = replica.behind(x)[:, 1]
    expected = tape.gradient(score, x).numpy()[:, 1:].reshape(-1, *GRID, x.shape[-1])
    close(cam.gradients(images), expected)
    if rules != "cp_lrp":
        product = expected * x.numpy()[:, 1:].reshape(expected.shape)
        close(raw(model, images, rules), product.sum(-1))


def _total(activations, terms, scores):
    """The input and all biases times their gradients, summed; the same everywhere."""
    sums = [tf.reduce_sum(x.values, range(1, len(x.values.shape))) for x in terms]
    return tf.reshape(sum(sums), (-1, 1, 1)) * tf.ones_like(activations[..., 0])


_total.evidence = "biases"
_total.place = "input"

ACTIVATIONS = ["gelu", "silu", "hard_silu", "tanh", "elu"]


@pytest.mark.parametrize("activation", ACTIVATIONS)
def test_shares_of_the_input_and_the_biases_sum_to_the_logit(images, activation):
    """LibraGrad is complete: what the input and all biases add is the score."""
    model = vit(prefix=0, pool="mean", activation=activation)
    positions = model.get_layer("prefix").positions
    positions.assign(0 * positions)
    # Biases of single heads are none of the map's.
    for n in range(2):
        bias = model.get_layer(f"attention_{n}")._value_dense.bias
        bias.assign(0 * bias)
    expected = model(images).numpy()[:, 1] - model.get_layer("head").bias.numpy()[1]
    sums = [
        raw(model, images, _total, gradient_rules=rules)[:, 0, 0]
        for rules in ("libragrad", None)
    ]
    close(sums[0], expected, 1e-5)
    assert np.abs(sums[1] - expected).max() > 1e-2


@pytest.mark.parametrize("kind", [kind for kind in KINDS if kind != "fused"])
def test_every_kind_of_attention_gives_the_same_map(images, kind):
    model, other = vit(), vit(kind=kind)
    for n in range(2):
        _copy(model.get_layer(f"attention_{n}"), other.get_layer(f"attention_{n}"))
    close(other(images), model(images))
    for name in ("gradsam", "attention_rollout", "attnlrp", "libragrad"):
        close(raw(other, images, name), raw(model, images, name))


def _copy(attention, other):
    weights = [x.numpy() for x in attention.weights]
    kernels, biases = weights[::2], weights[1::2]
    if kernels[0].shape == other.weights[1].shape:
        weights = [*kernels, *biases]
    other.set_weights(weights)


@pytest.mark.parametrize(
    ("prefix", "pool"), [(2, "token"), (5, "token"), (4, "mean"), (0, "attention")]
)
def test_registers_and_pooling_by_attention(images, prefix, pool):
    """The maps cover the tokens of the picture, and no others."""
    model = vit(prefix, pool)
    maps = {name: raw(model, images, name) for name in METHODS}
    assert {x.shape for x in maps.values()} == {(5, *GRID)}
    assert all(np.ptp(x, axis=(1, 2)).min() > 0 for x in maps.values())
    # The columns of the tokens of the picture, by hand.
    if pool == "token":
        weights, gradients = evidence_by_hand(ByHand(model, pool, prefix), images)
        terms = zip(weights, gradients, strict=True)
        summed = sum((a * np.maximum(g, 0)).mean((1, 2)) for a, g in terms)
        close(maps["gradsam"], on_grid(summed, prefix))


@pytest.mark.parametrize("shift", [0, 1])
def test_attention_in_windows_is_laid_where_its_keys_are(shift):
    """Each window by itself: what a cell gets is the sum of its column."""
    images = np.random.default_rng(0).random((3, 16, 24, 3), "float32")
    model = in_windows((shift,))
    normed = keras.Model(model.input, model.get_layer("norm_0").output)(images)
    layer, behind = model.get_layer("attention_0"), model.layers
    attention = layer.attention

    def score(x, added):
        """The layer without windows: a mask keeps to those of the cell's own."""
        kernels, biases = attention.kernels, attention.biases
        q, k, v = [
            tf.einsum("btd,dhe->bhte", x, kernel) + bias[:, None]
            for kernel, bias in zip(kernels[:3], biases[:3], strict=True)
        ]
        scores = tf.matmul(q, k, transpose_b=True) / 2.0
        weights = tf.nn.softmax(tf.where(_same_window(shift), scores, -1e9)) + added
        mixed = tf.einsum("bhte,hed->btd", tf.matmul(weights, v), kernels[3])
        patches = model.get_layer("patches")(images)
        return patches + tf.reshape(mixed + biases[3], patches.shape), weights

    flat = tf.reshape(normed, (3, 24, 8))
    added = tf.zeros((3, HEADS, 24, 24))
    with tf.GradientTape() as tape:
        tape.watch(added)
        x, weights = score(flat, added)
        x = x + model.get_layer("dense_0")(x)
        y = behind[-1](behind[-2](x))[:, 1]
    np.testing.assert_allclose(y, model(images)[:, 1], rtol=1e-4)
    gradient = tape.gradient(y, added).numpy() * _same_window(shift)
    # Means over the four queries of a window.
    expected = (weights * np.maximum(gradient, 0)).numpy().sum((1, 2)) / HEADS / 4
    close(raw(model, images, "gradsam"), expected.reshape(3, 4, 6))


def _same_window(shift, rows=4, columns=6):
    """Whether two cells are in one window, `(cells, cells)`."""
    row, column = np.divmod(np.arange(rows * columns), columns)
    windows = (row - shift) % rows // 2 * columns + (column - shift) % columns // 2
    return windows[:, None] == windows


def test_windows_have_no_rollout():
    images = np.zeros((1, 16, 24, 3), "float32")
    for name in ("attention_rollout", "transformer_attribution"):
        cam = kg.GradCAM(in_windows(), method=name, target=1)
        with pytest.raises(ValueError, match="over windows.*Take 'gradsam'"):
            cam(images)


@pytest.mark.parametrize("name", ["attention_rollout", "libragrad"])
def test_a_hybrid_of_convolutions_and_attention(images, name):
    """The map is on the grid of the last convolution, and over the input."""
    model = hybrid()
    cam = kg.GradCAM(model, method=name, target=1)
    assert cam.layer.startswith("reshape")
    assert cam(images).shape == (5, 16, 12)
    assert raw(model, images, name).shape == (5, 4, 3)


@pytest.mark.parametrize("name", ["gradsam", "legrad", "attnlrp"])
def test_words_have_weights(name):
    words = np.random.default_rng(0).integers(0, 20, (3, 7))
    maps = kg.GradCAM(of_words(), method=name, target=1, activation=None)(words)
    assert maps.shape == (3, 7)
    assert np.isfinite(maps).all()
    assert np.ptp(maps, axis=1).min() > 0


def test_attention_over_channels_has_no_place_and_no_rollout(images):
    """It is left out of a sum over layers, and would leave a hole in a product."""
    inputs = keras.Input((*SIZE, 3))
    x = L.Reshape((TOKENS, 8))(L.Conv2D(8, 4, 4)(inputs))
    x = x + L.MultiHeadAttention(HEADS, 4)(x, x)
    weights = keras.ops.softmax(keras.ops.einsum("btd,bte->bde", x, x))
    x = x + keras.ops.einsum("bde,bte->btd", weights, x)
    outputs = L.Dense(4)(L.GlobalAveragePooling1D()(x))
    model = randomize(keras.Model(inputs, outputs))
    assert np.ptp(raw(model, images, "gradsam")) > 0
    with pytest.raises(ValueError, match="such as channels. Take 'gradsam'"):
        raw(model, images, "attention_rollout")


def test_without_attention_there_is_a_way_out(images):
    for name in OF_ATTENTION:
        cam = kg.GradCAM(make_classifier(), method=name)
        with pytest.raises(ValueError, match="no attention.*Take a method"):
            cam(images)


def test_attention_in_a_loop_is_out_of_reach(images):
    inputs = keras.Input((3, *SIZE, 3))
    x = L.TimeDistributed(vit())(inputs)
    model = keras.Model(inputs, L.GlobalAveragePooling1D()(x))
    cam = kg.GradCAM(model, method="gradsam", target=1)
    with pytest.raises(ValueError, match="no attention over.*Take a method"):
        cam(np.repeat(images[:, None], 3, axis=1))


def test_unknown_rules_and_rules_of_no_use_raise_at_once():
    model = make_classifier()
    with pytest.raises(ValueError, match="must be one of.*gradient_rules='lrp'"):
        kg.GradCAM(model, gradient_rules="lrp")
    with pytest.raises(ValueError, match="takes no gradients"):
        kg.GradCAM(model, method="scorecam", gradient_rules="libragrad")
    with pytest.raises(ValueError, match="has the rules 'attnlrp'"):
        kg.GradCAM(model, method="attnlrp", gradient_rules="libragrad")


# As all methods do.


@pytest.mark.parametrize("name", METHODS)
def test_saved_predicted_and_of_several_classes(images, name, tmp_path):
    model = vit()
    cam = kg.GradCAM(model, method=name, target=1)
    expected = cam(images).numpy()
    np.testing.assert_array_equal(cam(images), expected)
    np.testing.assert_allclose(cam.predict(images, verbose=0), expected, atol=1e-5)
    several = kg.GradCAM(model, method=name, target=kg.targets.top_k(2))
    classes = model(images).numpy().argsort(-1)[:, ::-1]
    maps = several(images)
    for n in range(2):
        of_one = cam(images, target=classes[:, n])
        np.testing.assert_allclose(maps[:, n], of_one, atol=1e-5)
    cam.save(tmp_path / "cam.keras")
    with keras.saving.custom_object_scope({"Prefix": Prefix}):
        loaded = keras.models.load_model(tmp_path / "cam.keras", safe_mode=False)
    np.testing.assert_allclose(loaded(images), expected, atol=1e-5)


@pytest.mark.slow
@pytest.mark.parametrize("name", ["legrad", "transformer_attribution", "libragrad"])
def test_compiled_by_xla(images, name):
    model = vit()
    expected = kg.GradCAM(model, method=name, target=1)(images)
    compiled = kg.GradCAM(model, method=name, target=1, jit_compile=True)
    np.testing.assert_allclose(compiled(images), expected, atol=1e-4)
    assert compiled.jit_compile


@pytest.mark.slow
@pytest.mark.parametrize("name", METHODS)
def test_mixed_precision(images, name):
    model = vit()
    expected = kg.GradCAM(model, method=name, target=1, normalize="max")(images)
    keras.mixed_precision.set_global_policy("mixed_float16")
    try:
        half = vit()
    finally:
        keras.mixed_precision.set_global_policy("float32")
    maps = kg.GradCAM(half, method=name, target=1, normalize="max")(images)
    assert maps.dtype == "float32"
    np.testing.assert_allclose(maps, expected, atol=0.05)


@pytest.mark.parametrize("rules", ["libragrad", None])
@pytest.mark.parametrize("name", ["gradcam", "saliency", "gradsam"])
def test_rules_are_for_every_method_of_gradients(images, name, rules):
    """And leave nothing behind: the next map is as before."""
    model = vit(pool="mean")
    layer = None if name in ("saliency", "gradsam") else "prefix"
    plain = raw(model, images, name, layer=layer)
    other = raw(model, images, name, layer=layer, gradient_rules=rules)
    close_to_plain = np.abs(other - plain).max() <= 1e-6 * np.abs(plain).max()
    assert close_to_plain == (rules is None)
    np.testing.assert_array_equal(raw(model, images, name, layer=layer), plain)
