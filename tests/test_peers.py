"""The same weights in tf-keras-vis: equal, or different for a proved reason."""

import numpy as np
import pytest
import tensorflow as tf
from conftest import make_classifier
from peers.comparison import (
    CLASSES,
    EQUAL,
    IMAGES,
    apart,
    assert_documented,
    difference,
    our_map,
    rows,
    stretch_over_images,
)
from scipy.ndimage import zoom

import keras_gradcam as kg
from keras_gradcam.arrays.random_numbers import normal

pytest.importorskip("tf_keras_vis")

EQUALS = {"Gradcam": "gradcam", "Layercam": "layercam"}
OTHERS = {
    "Gradcam, where the picture lies",
    "GradcamPlusPlus",
    "Scorecam",
    "Saliency",
    "Saliency, smooth_samples above 0",
}
SAMPLES = 5
OF_RELU = {"activation": "relu"}
SHOWN = {**OF_RELU, "normalize": "minmax", "resize": True}
CASES = [(head, layer) for head in ("gap", "flatten") for layer in ("first", "last")]
each_case = pytest.mark.parametrize("head, layer", CASES)


def _peer_map(model, image, layer, target):
    """The map of tf-keras-vis 0.8 before its resizing and min-max."""
    from tf_keras_vis.gradcam import Gradcam
    from tf_keras_vis.utils.model_modifiers import ReplaceToLinear
    from tf_keras_vis.utils.scores import CategoricalScore

    peer = Gradcam(model, model_modifier=ReplaceToLinear(), clone=True)
    maps = peer(
        CategoricalScore([target]),
        image[None],
        penultimate_layer=layer,
        expand_cam=False,
        normalize_cam=False,
    )
    return np.asarray(maps)[0]


def _functional(head):
    """tf-keras-vis does not take the `Sequential` model apart; its graph it does."""
    import keras

    inputs = keras.Input((16, 12, 3))
    sequential = make_classifier(head)
    x = inputs
    for layer in sequential.layers:
        x = layer(x)
    return keras.Model(inputs, x)


# NumPy 2 and Keras 3 deprecations inside tf-keras-vis, which is not ours to mend.
pytestmark = [
    pytest.mark.filterwarnings("ignore::DeprecationWarning"),
    pytest.mark.filterwarnings("ignore::UserWarning"),
]


@pytest.fixture(autouse=True)
def laid_as_theirs(monkeypatch):
    stretch_over_images(monkeypatch)


@pytest.mark.parametrize("head", ["gap", "flatten"])
@pytest.mark.parametrize("layer", ["first", "last"])
def test_equals_tf_keras_vis(images, head, layer):
    model = _functional(head)
    raw = kg.GradCAM(model, layer, normalize=None, resize=False)
    shown = kg.GradCAM(model, layer, normalize="minmax")
    for target in (0, 3):
        for i, image in enumerate(images[:2]):
            theirs = _peer_map(model, image, layer, target)
            ours = raw(images, target=target)[i].numpy()
            scale = theirs.max()
            if scale == 0:
                assert ours.max() == 0
                continue
            np.testing.assert_allclose(ours / scale, theirs / scale, atol=1e-5)
            # Its resizing aligns the corners, ours the pixels' centres: theirs is
            # reproduced on our grid, then stretched as both do.
            factors = np.array(image.shape[:2]) / ours.shape
            zoomed = zoom(ours, factors, order=1)
            stretched = (zoomed - zoomed.min()) / (np.ptp(zoomed) + 1e-7)
            np.testing.assert_allclose(
                stretched, _peer_picture(model, image, layer, target), atol=1e-4
            )
            assert np.abs(stretched - shown(images, target=target)[i]).max() < 0.5


def _peer_picture(model, image, layer, target):
    from tf_keras_vis.gradcam import Gradcam
    from tf_keras_vis.utils.model_modifiers import ReplaceToLinear
    from tf_keras_vis.utils.scores import CategoricalScore

    peer = Gradcam(model, model_modifier=ReplaceToLinear(), clone=True)
    return peer(CategoricalScore([target]), image[None], penultimate_layer=layer)[0]


def test_picture_lies_elsewhere(monkeypatch):
    """As theirs are stretched, ours are the same but for corners, as shown above."""
    monkeypatch.undo()
    measured = []
    for head, layer in CASES:
        model = _functional(head)
        classes = _best_classes(model)
        shown = our_map(model, layer, target=classes, **SHOWN)
        pairs = zip(IMAGES, classes, shown, strict=True)
        measured += [
            np.abs(ours - _peer_picture(model, image, layer, target)).max()
            for image, target, ours in pairs
        ]
    assert_documented("tf-keras-vis", "Gradcam, where the picture lies", max(measured))


def _peer(name, model):
    from tf_keras_vis import gradcam, layercam, saliency, scorecam
    from tf_keras_vis.utils.model_modifiers import ReplaceToLinear

    module = {"Layercam": layercam, "Saliency": saliency, "Scorecam": scorecam}
    kind = getattr(module.get(name, gradcam), name)
    return kind(model, model_modifier=ReplaceToLinear(), clone=True)


def _peer_maps(name, model, layer, classes):
    """Raw maps, after the ReLU."""
    from tf_keras_vis.utils.scores import CategoricalScore

    maps = _peer(name, model)(
        CategoricalScore(list(classes)),
        IMAGES,
        penultimate_layer=layer,
        expand_cam=False,
        normalize_cam=False,
    )
    return np.asarray(maps)


def _best_classes(model):
    """Classes whose maps are not empty."""
    return model(IMAGES).numpy().argmax(-1).tolist()


def test_page_has_what_is_compared():
    assert set(rows("tf-keras-vis")) == {*EQUALS, *OTHERS}


@each_case
@pytest.mark.parametrize("name", EQUALS)
def test_raw_maps_are_equal(head, layer, name):
    model = _functional(head)
    classes = _best_classes(model)
    theirs = _peer_maps(name, model, layer, classes)
    ours = our_map(model, layer, EQUALS[name], classes, **OF_RELU)
    assert_documented("tf-keras-vis", name, apart(ours, theirs))


def _plus_plus(cam, classes, normalized):
    """Chattopadhay 2018, equation 19; `normalized`, a channel's alphas sum to 1."""
    activations = cam.activations(IMAGES).numpy().astype(np.float64)
    gradients = cam.gradients(IMAGES, target=classes).numpy().astype(np.float64)
    below = 2 + gradients * activations.sum((1, 2), keepdims=True)
    alphas = np.where(gradients != 0, 1 / np.where(gradients != 0, below, 1), 0)
    if normalized:
        total = alphas.sum((1, 2), keepdims=True)
        alphas = alphas / np.where(total == 0, 1, total)
    weights = (alphas * np.maximum(gradients, 0)).sum((1, 2), keepdims=True)
    return np.maximum((weights * activations).sum(-1), 0)


def test_grad_cam_plus_plus_normalizes_its_alphas():
    measured = []
    for head, layer in CASES:
        model = _functional(head)
        classes = _best_classes(model)
        theirs = _peer_maps("GradcamPlusPlus", model, layer, classes)
        ours = our_map(model, layer, "gradcam++", classes, **OF_RELU)
        cam = kg.GradCAM(model, layer)
        # Its factor exp(y) is the same in all of a map. Alphas of both signs add up
        # to its divisor, which costs digits.
        assert difference(_plus_plus(cam, classes, True), theirs) < 10 * EQUAL
        assert apart(_plus_plus(cam, classes, False), ours) < EQUAL
        measured.append(difference(ours, theirs))
    assert_documented("tf-keras-vis", "GradcamPlusPlus", max(measured))


def _masked_logits(model, masks):
    """Of each image behind each of its masks `(batch, height, width, channels)`."""
    masks = np.moveaxis(masks - masks.min((1, 2), keepdims=True), -1, 0)
    high = masks.max((2, 3), keepdims=True)
    masks = masks / np.where(high > 0, high, 1)
    logits = [model(IMAGES * mask[..., None]).numpy() for mask in masks]
    return np.moveaxis(logits, 0, 1)


def _softmax(values, axis):
    powers = np.exp(values - values.max(axis, keepdims=True))
    return powers / powers.sum(axis, keepdims=True)


def test_score_cam_takes_the_softmax_over_the_classes():
    measured = []
    for head, layer in CASES:
        model = _functional(head)
        linear = make_classifier(head, activation=None)
        theirs = _peer_maps("Scorecam", model, layer, CLASSES)
        ours = our_map(model, layer, "scorecam", **OF_RELU)
        measured.append(difference(ours, theirs))
        activations = kg.GradCAM(model, layer).activations(IMAGES).numpy()
        factors = (16 / activations.shape[1], 12 / activations.shape[2])
        corners = zoom(activations, (1, *factors, 1), order=1, mode="nearest")
        centres = tf.image.resize(activations, (16, 12)).numpy()

        def undone(masks, axis, linear=linear, activations=activations):
            weights = _softmax(_masked_logits(linear, masks), axis)
            own = np.stack([weights[i, :, c] for i, c in enumerate(CLASSES)])
            return np.maximum((activations * own[:, None, None]).sum(-1), 0)

        assert apart(undone(corners, axis=2), theirs) < EQUAL
        assert apart(undone(centres, axis=1), ours) < EQUAL
    assert_documented("tf-keras-vis", "Scorecam", max(measured))


def _saliency(model, classes, **options):
    from tf_keras_vis.utils.scores import CategoricalScore

    score = CategoricalScore(list(classes))
    maps = _peer("Saliency", model)(score, IMAGES, normalize_map=False, **options)
    return np.asarray(maps)


@pytest.mark.parametrize("head", ["gap", "flatten"])
def test_saliency_is_equal(head):
    model = _functional(head)
    ours = our_map(model, None, "saliency")
    measured = apart(ours, _saliency(model, CLASSES, smooth_samples=0))
    assert_documented("tf-keras-vis", "Saliency", measured)


def test_smoothgrad_averages_magnitudes(monkeypatch):
    drawn = np.stack(
        [normal(IMAGES.shape[1:], 0, n, "float32") for n in range(SAMPLES)]
    )[:, None]
    monkeypatch.setattr(np.random, "normal", lambda mean, std, shape: std * drawn)
    options = {"smooth_samples": SAMPLES, "smooth_noise": 0.15}
    measured = []
    for head in ("gap", "flatten"):
        model = _functional(head)
        theirs = _saliency(model, CLASSES, **options)
        ours = our_map(model, None, kg.methods.smoothgrad(samples=SAMPLES, noise=0.15))
        measured.append(difference(ours, theirs))
        linear = make_classifier(head, activation=None)
        span = np.ptp(IMAGES, (1, 2, 3), keepdims=True)
        slopes = [_slopes(linear, IMAGES + 0.15 * span * one) for one in drawn]
        assert apart(np.abs(slopes).mean(0).max(-1), theirs) < EQUAL
        assert apart(np.abs(np.mean(slopes, 0)).max(-1), ours) < EQUAL
    assert_documented("tf-keras-vis", "Saliency, smooth_samples above 0", max(measured))


def _slopes(model, images):
    images = tf.constant(images)
    with tf.GradientTape() as tape:
        tape.watch(images)
        score = tf.gather(model(images), CLASSES, axis=1, batch_dims=1)
    return tape.gradient(score, images).numpy()
