"""Fusion: one map of several layers."""

import keras
import numpy as np
import pytest
from conftest import OF_CNNS, close, make_classifier

import keras_gradcam as kg
from keras_gradcam.maps import fusion

pytestmark = pytest.mark.filterwarnings("ignore:.* of the maps are all zeros")

LAYERS = ["first", "last"]


def fused(model, images, fuse, **options):
    options = {"target": 2, "normalize": None, **options}
    return kg.GradCAM(model, LAYERS, fuse=fuse, **options)(images).numpy()


EXPECTED = {
    "mean": lambda a, b: (a + b) / 2,
    "max": np.maximum,
    "product": lambda a, b: a * b,
    "tanh_max": lambda a, b: np.maximum(np.tanh(2 * a), np.tanh(2 * b)),
}


@pytest.mark.parametrize("fuse", EXPECTED)
def test_fused_maps_of_the_input_size(images, fuse):
    model = make_classifier("flatten")
    parts = kg.GradCAM(model, LAYERS, target=2)(images)
    expected = EXPECTED[fuse](*[part.numpy() for part in parts])
    close(fused(model, images, fuse), expected)
    shown = fused(model, images, fuse, normalize="max")
    peaks = expected.max((1, 2), keepdims=True)
    close(shown, expected / np.where(peaks > 0, peaks, 1))


def test_every_fusion_is_tested():

    assert set(EXPECTED) == set(fusion.FUSIONS)


def test_on_the_largest_grid_without_resizing(images):
    model = make_classifier("flatten")
    cam = kg.GradCAM(model, LAYERS[::-1], target=2, fuse="mean", resize=False)
    first, last = kg.GradCAM(model, LAYERS, target=2, resize=(14, 10))(images)
    expected = (first + last).numpy() / 2
    peaks = expected.max((1, 2), keepdims=True)
    close(cam(images), expected / np.where(peaks > 0, peaks, 1))
    assert cam(images).shape == (5, 14, 10)


def test_a_size_of_its_own_and_several_scores(images):
    model = make_classifier("flatten")
    maps = fused(model, images, "max", resize=(8, 9), target=kg.targets.top_k(2))
    assert maps.shape == (5, 2, 8, 9)
    one = fused(model, images, "max", resize=(8, 9), target=kg.targets.top_k(1))
    close(maps[:, :1], one)


def test_any_size_of_input():
    inputs = keras.Input((None, None, 3))
    x = keras.layers.Conv2D(4, 3, strides=2, name="first")(inputs)
    x = keras.layers.Conv2D(5, 3, strides=2, name="last")(x)
    x = keras.layers.GlobalAveragePooling2D()(x)
    model = keras.Model(inputs, keras.layers.Dense(3)(x))
    cam = kg.GradCAM(model, LAYERS, fuse="max", resize=False)
    for size in (32, 41):
        images = np.random.default_rng(0).random((2, size, size, 3)).astype("float32")
        expected = model.get_layer("first")(images).shape[1:3]
        assert cam(images).shape == (2, *expected)


def test_a_callable_of_ones_own(images):
    model = make_classifier("flatten")
    lowest = fused(model, images, lambda maps: maps[0] * maps[1])
    close(lowest, fused(model, images, "product"))


@pytest.mark.slow
def test_with_every_method_of_layers(images):
    model = make_classifier("gap")
    for name in OF_CNNS:
        method = kg.methods.METHODS[name]
        fuses = method.row.needs_layer and not method.row.joins_depths
        if fuses and name != "cam":
            maps = fused(model, images, "mean", method=name, normalize="max")
            assert maps.shape == (5, 16, 12)
            assert np.isfinite(maps).all()


def test_saved_predicted_and_compiled(images, tmp_path):
    model = make_classifier("flatten")
    cam = kg.GradCAM(model, LAYERS, fuse="tanh_max", target=2)
    expected = cam(images).numpy()
    np.testing.assert_allclose(cam.predict(images, verbose=0), expected, atol=1e-6)
    cam.save(tmp_path / "cam.keras")
    loaded = keras.models.load_model(tmp_path / "cam.keras")
    np.testing.assert_allclose(loaded(images), expected, atol=1e-6)
    compiled = kg.GradCAM(model, LAYERS, fuse="tanh_max", target=2, jit_compile=True)
    np.testing.assert_allclose(compiled(images), expected, atol=1e-4)
    # Of each layer, as for maps that are not fused.
    apart = kg.GradCAM(model, LAYERS, target=2)
    assert cam.diagnose(images) == apart.diagnose(images)


def test_wrong_fusions_raise_at_once(model):
    with pytest.raises(ValueError, match=r"one of \['max', 'mean'.*fuse='sum'"):
        kg.GradCAM(model, LAYERS, fuse="sum")
    with pytest.raises(ValueError, match="pass a list as `layer`"):
        kg.GradCAM(model, "last", fuse="mean")
    with pytest.raises(ValueError, match="two that speak against the target"):
        kg.GradCAM(model, LAYERS, fuse="product", activation=None)
    for wrong in (lambda maps: maps, lambda maps: None, lambda maps: maps[0][0, 0, 0]):
        cam = kg.GradCAM(model, LAYERS, fuse=wrong)
        with pytest.raises(ValueError, match="must return one map of the size"):
            cam(np.zeros((1, 16, 12, 3)))
    with pytest.raises(ValueError, match=r"fuse=\['mean'\]"):
        kg.GradCAM(model, LAYERS, fuse=["mean"])


def test_layers_of_different_inputs_are_not_fused():
    left, right = keras.Input((9, 8, 1)), keras.Input((7, 8, 1))
    columns = [
        keras.layers.Conv2D(3, 3, name=name)(x)
        for name, x in (("first", left), ("last", right))
    ]
    pooled = [keras.layers.GlobalAveragePooling2D()(x) for x in columns]
    outputs = keras.layers.Dense(2)(keras.layers.Concatenate()(pooled))
    cam = kg.GradCAM(keras.Model([left, right], outputs), LAYERS, fuse="mean")
    with pytest.raises(ValueError, match="over the same axes of the same input"):
        cam([np.ones((1, 9, 8, 1)), np.ones((1, 7, 8, 1))])


def test_the_callback_draws_one_map(images, tmp_path):
    model = make_classifier("gap")
    model.compile("sgd", "sparse_categorical_crossentropy")
    labels = np.arange(5) % 4
    callback = kg.GradCAMCallback(
        images, labels, layer=LAYERS, fuse="mean", smooth="noise", log_dir=tmp_path
    )
    model.fit(images, labels, verbose=0, callbacks=[callback])
    assert list(tmp_path.rglob("*tfevents*"))
