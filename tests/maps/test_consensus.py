"""The consensus of depths, against a slow replica and what must hold of it."""

import keras
import numpy as np
import pytest
from conftest import L, randomize
from replicas import depth_consensus

import keras_gradcam as kg
from keras_gradcam.maps import consensus

CONV = {1: L.Conv1D, 2: L.Conv2D, 3: L.Conv3D}
POOL = {1: L.GlobalAveragePooling1D, 2: L.GlobalAveragePooling2D}
POOL[3] = L.GlobalAveragePooling3D


def network(shape, strides=(1, 2, 2), padding="same"):
    inputs = x = keras.Input((*shape, 3))
    for n, stride in enumerate(strides):
        conv = CONV[len(shape)](6, 3, stride, padding, name=f"conv{n}")
        x = L.LeakyReLU(0.3, name=f"act{n}")(conv(x))
    pooled = POOL[len(shape)]()(x)
    return randomize(keras.Model(inputs, L.Dense(4)(pooled)))


def images(shape, batch=2):
    rng = np.random.default_rng(7)
    return rng.random((batch, *shape, 3), dtype="float32")


def cam_of(model, **options):
    return kg.GradCAM(model, method="depth_consensus", resize=False, **options)


@pytest.mark.parametrize("padding", ["same", "valid"])
@pytest.mark.parametrize("shape", [(33,), (24, 20), (12, 16, 8)], ids=str)
def test_it_is_what_the_replica_makes_of_the_depths(shape, padding):
    strides = (1, 2, 1, 2) if len(shape) < 3 else (1, 2)
    model, x = network(shape, strides, padding), images(shape)
    cam = cam_of(model, target=1)
    names = ["act0", "act2", "act3"] if len(shape) < 3 else ["act0", "act1"]
    assert cam.layer == names
    signed = [
        np.sum(a * g, -1)
        for a, g in zip(cam.activations(x), cam.gradients(x), strict=True)
    ]
    places = [
        cam._target_layers.chosen.layer_outputs[n].grid_axes for n in range(len(names))
    ]
    steps = np.array([[where.step for where in axes] for axes in places])
    starts = np.array([[where.start for where in axes] for axes in places])
    expected = [depth_consensus([m[n] for m in signed], steps, starts) for n in (0, 1)]
    np.testing.assert_allclose(
        cam_of(model, target=1, normalize=None)(x), expected, atol=2e-6
    )


def test_the_triangle_is_the_kernel_that_stretches():
    """A coarse grid that is stretched is the same as its cells, smoothed."""
    coarse = np.random.default_rng(0).random((1, 5)).astype("float32")
    for ratio in (2, 3, 4):
        cells = np.zeros((1, 5 * ratio + ratio), "float32")
        cells[:, ratio - 1 : 5 * ratio : ratio] = coarse
        found = ratio * np.asarray(consensus.smoothed(cells, 1, ratio))
        places = (np.arange(cells.shape[1]) - ratio + 1) / ratio
        inside = (places >= 0) & (places <= 4)
        expected = np.interp(places, np.arange(5), coarse[0])
        np.testing.assert_allclose(found[0, inside], expected[inside], rtol=1e-5)


@pytest.mark.parametrize("width", [1, 1.5, 2, 3.7, 40])
def test_what_is_the_same_everywhere_stays_so(width):
    even = np.full((2, 9, 7), 0.3, "float32")
    for axis in (1, 2):
        np.testing.assert_allclose(consensus.smoothed(even, axis, width), even, 1e-6)


def test_of_one_layer_it_is_hirescam():
    model, x = network((24, 20)), images((24, 20))
    for layer in ("act1", ["act1"]):
        found = kg.GradCAM(model, layer, "depth_consensus", target=2)(x)
        expected = kg.GradCAM(model, "act1", "hirescam", target=2)(x)
        np.testing.assert_allclose(found, expected, atol=1e-6)


def test_the_order_of_the_layers_does_not_matter():
    model, x = network((24, 20)), images((24, 20))
    maps = [
        np.asarray(kg.GradCAM(model, layers, "depth_consensus", target=2)(x))
        for layers in (["act0", "act2"], ["act2", "act0"])
    ]
    assert maps[0].shape == (2, 24, 20)
    np.testing.assert_allclose(maps[0], maps[1], atol=1e-6)


def test_each_of_several_scores_has_a_map():
    model, x = network((24, 20)), images((24, 20))
    both = np.asarray(cam_of(model, target=kg.targets.classes([0, 3]))(x))
    for n, target in enumerate((0, 3)):
        np.testing.assert_allclose(
            both[:, n], cam_of(model, target=target)(x), atol=1e-6
        )


def test_all_depths_cost_one_pass_back():
    model, x = network((24, 20), (1, 2, 2, 2)), images((24, 20))

    def passes(**options):
        cam = kg.GradCAM(model, target=1, **options)
        cam(x)
        (graph,) = cam._calls.functions._graphs.values()
        kinds = [op.type for op in graph.graph.get_operations()]
        return kinds.count("Conv2D"), kinds.count("Conv2DBackpropInput")

    finest = passes(method="hirescam", layer="act0")
    assert passes(method="depth_consensus") == finest


def test_layers_over_different_axes_are_refused():
    inputs = keras.Input((16, 12, 3))
    x = L.Conv2D(4, 3, padding="same", name="picture", activation="relu")(inputs)
    rows = L.Conv1D(4, 3, name="rows", activation="relu")(L.Reshape((16, 48))(x))
    model = keras.Model(inputs, L.Dense(2)(L.GlobalAveragePooling1D()(rows)))
    cam = kg.GradCAM(model, ["picture", "rows"], "depth_consensus", target=1)
    with pytest.raises(ValueError, match="same axes of the same input"):
        cam(images((16, 12)))


def test_a_fusion_has_nothing_to_do():
    with pytest.raises(ValueError, match="makes one map of all its layers"):
        kg.GradCAM(network((24, 20)), ["act0", "act2"], "depth_consensus", fuse="mean")
