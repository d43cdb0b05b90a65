import os

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import keras
import numpy as np
import pytest

L = keras.layers


@pytest.fixture(autouse=True)
def _seed():
    keras.utils.set_random_seed(0)


@pytest.fixture
def images():
    """Five images that are not square, so that swapped axes cannot hide."""
    return np.random.default_rng(0).random((5, 16, 12, 3)).astype("float32")


def make_classifier(head="gap", activation="softmax", classes=4, convolution="relu"):
    """Conv, conv (valid), then a GAP or Flatten head; random biases throughout."""
    model = keras.Sequential(
        [
            keras.Input((16, 12, 3)),
            L.Conv2D(5, 3, activation=convolution, name="first"),
            L.Conv2D(6, 3, activation=convolution, name="last"),
            L.GlobalAveragePooling2D() if head == "gap" else L.Flatten(),
            L.Dense(classes, activation=activation, name="head"),
        ],
        name="classifier",
    )
    randomize(model)
    return model


def randomize(model, scale=0.5, seed=1):
    """Gives every weight a random value, biases and batch statistics included."""
    rng = np.random.default_rng(seed)
    model.set_weights(
        [
            abs(rng.normal(1, 0.3, w.shape)) if "var" in v.path else scale * w
            for v, w in (
                (v, rng.normal(size=v.shape).astype("float32")) for v in model.weights
            )
        ]
    )
    return model


@pytest.fixture
def model():
    return make_classifier()
