"""Grad-CAM against a replica from the paper and against closed-form identities."""

import keras
import numpy as np
import pytest
import replicas
import tensorflow as tf
from conftest import RAW, L, close, make_classifier, randomize

import keras_gradcam as kg

# Random weights leave some samples without positive evidence; that is no matter here.
pytestmark = pytest.mark.filterwarnings("ignore:.* of the maps are all zeros")

BROKEN = "1 of the maps hold NaN or infinity.*`diagnose"


@pytest.mark.parametrize("head", ["gap", "flatten"])
@pytest.mark.parametrize("layer", ["first", "last"])
@pytest.mark.parametrize("target", [None, 0, 3])
def test_map_equals_replica(images, head, layer, target):
    model = make_classifier(head)
    weights = model.get_weights()
    cam = kg.GradCAM(model, layer, **RAW)
    raw = cam(images, target=target)
    activations = cam.activations(images)
    gradients = cam.gradients(images, target=target)
    final = kg.GradCAM(model, layer)(images, target=target)
    for i, image in enumerate(images):
        _, a, g, expected = replicas.classifier_gradcam(
            weights, image, layer, head, target
        )
        close(activations[i], a)
        close(gradients[i], g)
        close(raw[i], expected)
        heat = replicas.over_image(np.maximum(expected, 0), image, layer)
        np.testing.assert_allclose(final[i], heat / (heat.max() or 1), atol=1e-5)


def test_replica_runs_the_same_network(images):
    for head in ("gap", "flatten"):
        model = make_classifier(head, activation=None)
        logits = [
            replicas.classifier_gradcam(model.get_weights(), x, "last", head)[0]
            for x in images
        ]
        close(model(images), logits)


@pytest.mark.parametrize("shape", [(5, 7), (4, 6, 7), (3, 4, 5, 6)])
def test_method_equals_replica_on_any_rank(shape):
    rng = np.random.default_rng(0)
    a = rng.normal(size=(2, *shape)).astype("float32")
    g = rng.normal(size=(2, *shape)).astype("float32")
    actual = kg.methods.METHODS["gradcam"](a, g, None)
    close(actual, [replicas.gradcam(*sample) for sample in zip(a, g, strict=True)])


def test_gap_dense_is_cam_over_the_grid_size(images):
    """GAP + Dense: raw Grad-CAM = sum_k W_kc A_k / (H W)."""
    model = make_classifier("gap")
    cam = kg.GradCAM(model, **RAW)
    activations = cam.activations(images).numpy()
    weights = model.get_layer("head").get_weights()[0]
    for c in range(4):
        expected = activations @ weights[:, c] / np.prod(activations.shape[1:3])
        close(cam(images, target=c), expected)
        close(
            cam.gradients(images, target=c),
            np.broadcast_to(weights[:, c], activations.shape)
            / np.prod(activations.shape[1:3]),
        )


def test_gap_dense_map_sums_to_the_logit_without_bias(images):
    model = make_classifier("gap", activation=None)
    raw = kg.GradCAM(model, **RAW)(images, target=2).numpy()
    bias = model.get_layer("head").get_weights()[1][2]
    close(raw.sum((1, 2)) + bias, model(images)[:, 2], 1e-5)


def test_flatten_dense_gradient_sums_to_the_logit_without_bias(images):
    """The sum of G A is the logit minus the bias; Grad-CAM's own sum is not."""
    model = make_classifier("flatten", activation=None)
    cam = kg.GradCAM(model, **RAW)
    product = cam.gradients(images, target=2) * cam.activations(images)
    logit = model(images)[:, 2] - model.get_layer("head").get_weights()[1][2]
    close(tf.reduce_sum(product, [1, 2, 3]), logit)
    summed = tf.reduce_sum(cam(images, target=2), [1, 2])
    assert np.abs(summed - logit).max() > 0.05 * np.abs(logit).max()


def test_linear_in_the_score(images):
    """Raw Grad-CAM is linear in the score; its normalised map ignores a Y + b."""
    model = make_classifier("flatten", activation=None)
    cam = kg.GradCAM(model, "first", **RAW)
    one, two = cam(images, target=1), cam(images, target=2)
    mixed = cam(images, target=lambda y: 3 * y[:, 1] - 2 * y[:, 2] + 7)
    close(mixed, 3 * one - 2 * two)
    shown = kg.GradCAM(model, "first")
    close(
        shown(images, target=lambda y: 3 * y[:, 1] + 7),
        shown(images, target=lambda y: y[:, 1]),
    )


@pytest.mark.parametrize("method", ["gradcam", "hirescam", "xgradcam"])
def test_softmax_identity(images, method):
    """Grad-CAM(p_c) = p_c (Grad-CAM(Y_c) - sum_j p_j Grad-CAM(Y_j)); log p_c too."""
    model = make_classifier("flatten")
    p = model(images).numpy()
    logit_cam = kg.GradCAM(model, "first", method, **RAW)
    maps = np.stack([logit_cam(images, target=c) for c in range(4)], 1)
    mean = np.einsum("bc,bchw->bhw", p, maps)
    cam = kg.GradCAM(model, "first", method, logits=False, **RAW)
    for c in range(4):
        difference = maps[:, c] - mean
        close(cam(images, target=c), p[:, c, None, None] * difference)
        log_p = cam(images, target=lambda y, c=c: tf.math.log(y[:, c]))
        close(log_p, difference)


def test_logits_and_probabilities_differ(images):
    model = make_classifier("flatten")
    logit = kg.GradCAM(model, "first")(images, target=1)
    probability = kg.GradCAM(model, "first", logits=False)(images, target=1)
    assert np.abs(logit - probability).max() > 0.05


def test_confident_softmax_does_not_give_an_empty_map(images):
    model = make_classifier("gap")
    kernel, bias = model.get_layer("head").get_weights()
    model.get_layer("head").set_weights([kernel, bias + [0, 0, 200, 0]])
    assert model(images).numpy()[:, 2].min() == 1.0
    raw = kg.GradCAM(model, **RAW)(images)
    assert np.abs(raw).max() > 1e-3
    with pytest.warns(UserWarning, match="all zeros"):
        vanished = kg.GradCAM(model, logits=False, **RAW)(images)
    assert np.abs(vanished).max() == 0


def test_finite_differences_in_double_precision():
    """dY/dA on a smooth network, against central differences."""
    keras.config.set_floatx("float64")
    keras.config.set_dtype_policy("float64")
    try:
        inputs = keras.Input((7, 6, 2))
        x = L.Conv2D(3, 3, activation="gelu", name="target")(inputs)
        head = keras.Sequential(
            [L.Conv2D(4, 2, activation="gelu"), L.AveragePooling2D(2), L.Flatten()]
        )
        outputs = L.Dense(2)(head(x))
        model = randomize(keras.Model(inputs, outputs))
        tail = keras.Model(x, outputs)
        images = np.random.default_rng(0).normal(size=(1, 7, 6, 2))
        cam = kg.GradCAM(model, "target")
        gradients = cam.gradients(images, target=1).numpy()[0]
        a = model.get_layer("target")(images).numpy()
        for cell in [(0, 0, 0), (2, 3, 1), (4, 3, 2), (1, 2, 0)]:
            step = np.zeros_like(a)
            step[(0, *cell)] = 1e-5
            slope = (tail(a + step) - tail(a - step)).numpy()[0, 1] / 2e-5
            np.testing.assert_allclose(gradients[cell], slope, rtol=1e-7, atol=1e-10)
    finally:
        keras.config.set_floatx("float32")
        keras.config.set_dtype_policy("float32")


def test_a_map_does_not_depend_on_its_batch(images):
    cam = kg.GradCAM(make_classifier("flatten"), "first")
    together = cam(images).numpy()
    alone = np.concatenate([cam(images[i : i + 1]) for i in range(len(images))])
    np.testing.assert_allclose(together, alone, atol=1e-6)
    order = [3, 0, 4, 2, 1]
    np.testing.assert_allclose(cam(images[order]), together[order], atol=1e-6)


def test_permuted_and_rescaled_channels_change_nothing(images):
    model, twin = make_classifier("flatten"), make_classifier("flatten")
    k1, b1, k2, b2, *rest = model.get_weights()
    order, scale = [4, 2, 0, 1, 3], np.array([1, 2, 0.5, 3, 4], "float32")
    twin.set_weights(
        [
            k1[..., order] * scale,
            b1[order] * scale,
            k2[:, :, order] / scale[:, None],
            b2,
            *rest,
        ]
    )
    close(
        kg.GradCAM(twin, "first", **RAW)(images),
        kg.GradCAM(model, "first", **RAW)(images),
    )


def test_flipped_twin_gives_the_flipped_map(images):
    model, twin = make_classifier("gap"), make_classifier("gap")
    weights = model.get_weights()
    twin.set_weights([w[::-1] if w.ndim == 4 else w for w in weights])
    close(
        kg.GradCAM(twin, "first", **RAW)(images[:, ::-1]),
        kg.GradCAM(model, "first", **RAW)(images)[:, ::-1],
    )


def test_transposed_twin_gives_the_transposed_map(images):
    model = make_classifier("gap")
    swapped = keras.models.clone_model(model, input_tensors=keras.Input((12, 16, 3)))
    swapped.set_weights(
        [np.swapaxes(w, 0, 1) if w.ndim == 4 else w for w in model.get_weights()]
    )
    close(
        kg.GradCAM(swapped, "first")(np.swapaxes(images, 1, 2)),
        np.swapaxes(kg.GradCAM(model, "first")(images), 1, 2),
    )


def test_zero_gradients_give_a_zero_map(images):
    model = make_classifier("gap")
    kernel, bias = model.get_layer("head").get_weights()
    model.get_layer("head").set_weights([kernel * 0, bias])
    with pytest.warns(UserWarning, match="5 of the maps are all zeros"):
        maps = kg.GradCAM(model)(images)
    assert np.array_equal(maps, np.zeros((5, 16, 12)))


def test_nan_image_spoils_only_its_own_map(images):
    # A fused convolution and ReLU on CPU turns NaN into 0: tanh keeps it.
    model = make_classifier("gap", convolution="tanh")
    clean = kg.GradCAM(model)(images).numpy()
    images[2, 5, 5] = np.nan
    for normalize in ("max", "minmax"):
        with pytest.warns(UserWarning, match=BROKEN):
            maps = kg.GradCAM(model, normalize=normalize)(images, target=0).numpy()
        assert np.isnan(maps[2]).any()
        assert np.isfinite(np.delete(maps, 2, 0)).all()
    with pytest.warns(UserWarning, match=BROKEN):
        batch = kg.GradCAM(model, normalize="batch")(images, target=0).numpy()
    assert np.isfinite(np.delete(batch, 2, 0)).all()
    with pytest.warns(UserWarning, match=BROKEN):
        spoilt = kg.GradCAM(model)(images).numpy()
    np.testing.assert_array_equal(np.delete(spoilt, 2, 0), np.delete(clean, 2, 0))


def test_xla_equals_the_plain_graph(images):
    model = make_classifier("flatten")
    plain = kg.GradCAM(model, "first")(images)
    compiled = kg.GradCAM(model, "first", jit_compile=True)(images)
    np.testing.assert_allclose(compiled, plain, atol=1e-4)
