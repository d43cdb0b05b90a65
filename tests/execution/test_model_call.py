"""What a call leaves on a model: nothing."""

import keras
import numpy as np
import pytest
from conftest import L

import keras_gradcam as kg


class KeepsItsOutput(L.Layer):
    """As people keep the weights of an attention, to look at them afterwards."""

    latest = None

    def call(self, x):
        self.latest = keras.ops.relu(x)
        return self.latest


def picture(*layers):
    return keras.Sequential(
        [keras.Input((8, 8, 3)), *layers, L.GlobalAveragePooling2D(), L.Dense(3)]
    )


def series(*layers, **options):
    return keras.Sequential([keras.Input((5, 3), **options), *layers, L.Dense(3)])


def with_lora():
    model = picture(L.Conv2D(4, 3))
    model.layers[0].enable_lora(2)
    model.layers[-1].enable_lora(2)
    return model


def quantized():
    model = picture(L.Conv2D(4, 3))
    for layer in model.layers:
        if isinstance(layer, L.Dense):
            layer.quantize("int8")
    return model


def stateful():
    lstm = L.LSTM(4, stateful=True, return_sequences=True)
    inputs = keras.Input(batch_shape=(2, 5, 3))
    return keras.Model(inputs, L.Dense(3)(L.GRU(3)(lstm(inputs))))


MODELS = {
    "never called": lambda: picture(L.Conv2D(4, 3), L.BatchNormalization()),
    "nested": lambda: picture(keras.Sequential([L.Conv2D(4, 3), L.Dropout(0.5)])),
    "LoRA": with_lora,
    "quantised": quantized,
    "stateful": stateful,
    "masked": lambda: series(
        L.Masking(),
        L.Bidirectional(L.LSTM(4, dropout=0.5, return_sequences=True)),
        L.GRU(3, recurrent_dropout=0.5),
    ),
    "a layer that keeps its output": lambda: picture(L.Conv2D(4, 3), KeepsItsOutput()),
}


def attributes(model):
    """All attributes of all layers, lists and dicts with what is in them."""
    return {
        (layer.path, name): (value, copied(value))
        for layer in model._flatten_layers()
        for name, value in layer.__dict__.items()
    }


def copied(value):
    kind = next((x for x in (list, set, dict) if isinstance(value, x)), None)
    return kind and kind(value)


@pytest.mark.parametrize("name", MODELS)
@pytest.mark.filterwarnings("ignore:.* of the maps are all zeros")
def test_no_attribute_of_a_layer_changes(name):
    model = MODELS[name]()
    x = np.random.default_rng(0).random((2, *model.input_shape[1:]), dtype="float32")
    before = attributes(model)
    cam = kg.GradCAM(model)
    cam(x)
    cam.gradients(x, target=1)
    after = attributes(model)
    assert after.keys() == before.keys()
    for key, (value, inside) in before.items():
        assert after[key][0] is value, key
        assert after[key][1] == inside, key


def test_a_layer_keeps_what_it_kept_of_the_users_own_call():
    model = picture(L.Conv2D(4, 3), KeepsItsOutput())
    x = np.ones((2, 8, 8, 3), "float32")
    model(x)
    latest = model.layers[1].latest
    kg.GradCAM(model)(x)
    assert model.layers[1].latest is latest
