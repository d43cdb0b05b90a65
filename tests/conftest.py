import os
import pathlib

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import keras
import numpy as np
import pytest
import tensorflow as tf

import keras_gradcam as kg

L = keras.layers

# What is traced is traced a fifth faster; errors are as they are, their frames are not.
tf.debugging.disable_traceback_filtering()

TESTS = pathlib.Path(__file__).parent
ROOT = TESTS.parent

# The map as the formula gives it.
RAW = {"activation": None, "normalize": None, "resize": False}


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


def state_of(model):
    """All attributes of a model and its layers, and the values of all variables."""
    layers = model._flatten_layers()
    values = [variable.numpy() for variable in model.variables]
    return [(layer, layer.trainable, dict(layer.__dict__)) for layer in layers], values


def assert_unchanged(before, model):
    """Compares attribute by attribute, by identity or else by value."""
    (old_layers, old_values), (new_layers, new_values) = before, state_of(model)
    for (layer, trainable, old), (_, now, new) in zip(
        old_layers, new_layers, strict=True
    ):
        assert trainable == now
        assert old.keys() == new.keys(), layer.name
        for key in old:
            assert old[key] is new[key] or old[key] == new[key], (layer.name, key)
    for old, new in zip(old_values, new_values, strict=True):
        np.testing.assert_array_equal(old, new)


# One method or more for each way of looking at a model; the others take the same ways.
QUICK_METHODS = {
    "gradcam",
    "layercam",
    "scorecam",
    "ablationcam",
    "eigencam",
    "saliency",
    "smoothgrad",
    "integrated_gradients",
    "guided_gradcam",
    "fullgrad",
}


# Those of transformers look for attention, and find none in a CNN.
OF_ATTENTION = [
    name
    for name, method in kg.methods.METHODS.items()
    if "attention" in method.row.evidence
]
OF_CNNS = [name for name in kg.methods.METHODS if name not in OF_ATTENTION]


def methods_of(names):
    """Methods as parameters; tests of those that take another's way are slow ones."""
    return [
        name if name in QUICK_METHODS else pytest.param(name, marks=pytest.mark.slow)
        for name in names
    ]


def close(actual, expected, tolerance=1e-5):
    """Compares relative to the largest expected magnitude."""
    expected = np.asarray(expected)
    scale = np.abs(expected).max()
    assert scale > 0, "comparing with nothing"
    np.testing.assert_allclose(
        np.asarray(actual) / scale, expected / scale, rtol=0, atol=tolerance
    )


def graphs_of(cam):
    """The graphs that the calls of a `GradCAM` have traced."""
    return list(cam._calls.functions._graphs.values())


@pytest.fixture
def model():
    return make_classifier()


def pytest_addoption(parser):
    parser.addoption(
        "--write-docs", action="store_true", help="write docs/models.md from the tests"
    )


def pytest_terminal_summary(terminalreporter, config):
    if config.getoption("--write-docs"):
        reports = terminalreporter.stats.get("passed", [])
        properties = [p for report in reports for p in report.user_properties]
        _write_models_page([value for name, value in properties if name == "case"])


def _write_models_page(cases):
    from test_models import CASES

    # Several workers finish in no order.
    cases = sorted(cases, key=lambda case: list(CASES).index(case[1]))
    rows = [
        f"| {group} | {name} | `{layer}` | {error:.0e} |"
        for group, name, layer, error in cases
    ]
    page = ROOT / "docs" / "models.md"
    # `docs/architectures.py` writes the rest.
    _, heading, rest = page.read_text().partition("## Default layers")
    page.write_text("\n".join([MODELS_PAGE, *rows, "", heading + rest]))


MODELS_PAGE = """# Models

Every row is a test: the raw Grad-CAM map of a model with random weights, compared with
Grad-CAM written by hand for that model. The error is the largest deviation relative to
the largest magnitude of the map. `make docs` runs the tests and writes this page.

Layers are named as `GradCAM.layer` names them: `model/layer` inside nested models, `#n`
for the n-th call of a layer that is used several times, `[key]` for one of several
tensors that a layer returns.

| group | model | layer | error |
|---|---|---|---|"""
