"""Each cause of an empty map has a model that shows it."""

import keras
import numpy as np
import pytest
from conftest import L, make_classifier

import keras_gradcam as kg


def causes(cam, images, **options):
    return [found.cause for found in cam.diagnose(images, **options)]


def test_fine(model, images):
    assert causes(kg.GradCAM(model), images) == ["fine"] * 5


def test_not_finite_names_the_sample(images):
    model = make_classifier(convolution="tanh")
    images[3, 2, 2] = np.nan
    assert causes(kg.GradCAM(model), images, target=0) == [
        "fine" if i != 3 else "not finite" for i in range(5)
    ]


def test_saturated_probability(model, images):
    kernel, bias = model.get_layer("head").get_weights()
    model.get_layer("head").set_weights([kernel, bias + [0, 0, 200, 0]])
    assert causes(kg.GradCAM(model, logits=False), images) == ["saturated"] * 5
    assert causes(kg.GradCAM(model), images, target=2) != ["saturated"] * 5


def test_no_gradient(model, images):
    kernel, bias = model.get_layer("head").get_weights()
    model.get_layer("head").set_weights([0 * kernel, bias])
    assert causes(kg.GradCAM(model), images) == ["no gradient"] * 5


def test_an_unbounded_output_is_not_saturated(images):
    model = make_classifier(activation=None)
    kernel, _ = model.get_layer("head").get_weights()
    model.get_layer("head").set_weights([0 * kernel, np.full(4, -5.0)])
    assert causes(kg.GradCAM(model), images) == ["no gradient"] * 5


def test_no_activation(model, images):
    kernel, bias = model.get_layer("last").get_weights()
    model.get_layer("last").set_weights([kernel, bias - 1e3])
    assert causes(kg.GradCAM(model), images) == ["no activation"] * 5


def test_negative(model, images):
    kernel, bias = model.get_layer("head").get_weights()
    model.get_layer("head").set_weights([-np.abs(kernel), bias])
    cam = kg.GradCAM(model)
    assert causes(cam, images) == ["negative"] * 5
    with pytest.warns(UserWarning, match="5 of the maps are all zeros.*diagnose"):
        assert np.max(cam(images)) == 0
    assert np.min(kg.GradCAM(model, activation=None)(images)) == -1


def test_not_connected(images):
    inputs = keras.Input((16, 12, 3))
    side = L.Conv2D(2, 3, name="side")(inputs)
    x = L.GlobalAveragePooling2D()(L.Conv2D(2, 3)(inputs))
    model = keras.Model(inputs, [L.Dense(2)(x), side])
    cam = kg.GradCAM(model, "side", target=lambda y: y[0][:, 0])
    assert causes(cam, images) == ["not connected"] * 5


def test_several_layers_have_a_list_each(model, images):
    found = kg.GradCAM(model, ["first", "last"]).diagnose(images)
    assert [len(layer) for layer in found] == [5, 5]
    assert str(found[0][0]).startswith("fine: ")


def test_probabilities_without_logits_are_warned_of(images):
    inputs = keras.Input((16, 12, 3))
    models = [make_classifier(), make_classifier("flatten")]
    models[1].name = "other"
    average = keras.Model(inputs, L.Average()([m(inputs) for m in models]))
    cam = kg.GradCAM(average, models[0].get_layer("last"))
    with pytest.warns(UserWarning, match="logits behind them cannot be found"):
        cam(images)
    kg.GradCAM(average, models[0].get_layer("last"), logits=False)(images)
