"""The logits behind what a model ends in, found in its graph."""

import keras
import numpy as np
import pytest
import tensorflow as tf
from conftest import RAW, L, close, make_classifier
from keras import activations, ops

import keras_gradcam as kg
from keras_gradcam.targets import class_scores, logits


def per_cent(x):
    return L.Rescaling(100, dtype=x.dtype.name)(ops.softmax(x))


FOUND = {
    "softmax": (ops.softmax, "softmax"),
    "softmax, TensorFlow": (tf.nn.softmax, "softmax"),
    "softmax, layer": (lambda x: L.Softmax(dtype=x.dtype.name)(x), "softmax"),
    "softmax, clipped": (lambda x: ops.clip(tf.nn.softmax(x), 1e-7, 1), "softmax"),
    "softmax, exp": (lambda x: ops.exp(ops.log_softmax(x)), "softmax"),
    "softmax of log_softmax": (lambda x: ops.softmax(ops.log_softmax(x)), "softmax"),
    "log_softmax, twice": (
        lambda x: ops.log_softmax(ops.log_softmax(x)),
        "log_softmax",
    ),
    "softmax, per cent": (per_cent, None),
    "softmax, smooth": (lambda x: 0.9 * tf.nn.softmax(x) + 0.025, None),
    "softmax, divided": (lambda x: (tf.nn.softmax(x) - 0.25) / 0.5, None),
    "log_softmax": (ops.log_softmax, "log_softmax"),
    "log_softmax, Keras": (activations.log_softmax, "log_softmax"),
    "log_softmax, TensorFlow": (tf.nn.log_softmax, "log_softmax"),
    "log_softmax, log": (lambda x: ops.log(ops.softmax(x)), "log_softmax"),
    "log_softmax, epsilon": (lambda x: ops.log(ops.softmax(x) + 1e-7), None),
    "sigmoid": (ops.sigmoid, "sigmoid"),
    "sigmoid, TensorFlow": (tf.nn.sigmoid, "sigmoid"),
    "sigmoid, clipped": (lambda x: ops.clip(tf.nn.sigmoid(x), 1e-7, 1), "sigmoid"),
    "hard_sigmoid": (activations.hard_sigmoid, "sigmoid"),
    "hard_sigmoid, layers": (lambda x: L.ReLU(6)(x + 3.0) * (1 / 6), "sigmoid"),
    "log_sigmoid": (activations.log_sigmoid, "log_sigmoid"),
    "log_sigmoid, log": (lambda x: tf.math.log(tf.nn.sigmoid(x)), "log_sigmoid"),
}

# Sigmoids in another unit are values of a regression; a negative multiple turns the
# order of the classes, and a number for each class changes it.
NOT_FOUND = {
    "linear": lambda x: x + 3.0,
    "tanh": ops.tanh,
    "softplus": ops.softplus,
    "negative softplus": lambda x: -tf.nn.softplus(x),
    "relu6": lambda x: ops.relu6(x + 3.0),
    "half a relu6": lambda x: ops.relu6(x + 3.0) / 2.0,
    "hard_silu": activations.hard_silu,
    "another hard sigmoid": lambda x: ops.relu6(x + 2.0) / 6.0,
    "scaled sigmoid": lambda x: 100.0 * tf.nn.sigmoid(x),
    "rest of a sigmoid": lambda x: 1.0 - tf.nn.sigmoid(x),
    "rest of a softmax": lambda x: 1.0 - tf.nn.softmax(x),
    "negative softmax": lambda x: -2.0 * tf.nn.softmax(x),
    "odds": lambda x: 1.0 / tf.nn.softmax(x),
    "weighted softmax": lambda x: tf.nn.softmax(x) * [1.0, 2.0, 3.0, 4.0],
    "gated softmax": lambda x: tf.nn.softmax(x) * x,
    "log of the logits": lambda x: tf.math.log(x),
    "sparsemax": activations.sparsemax,
}


def in_a_graph(function, look, dtype="float32"):
    """What is seen of a function's input and output in the graph of its call."""
    seen = []

    def call(x):
        x = tf.identity(x)
        seen.append(look(x, function(x)))

    spec = tf.TensorSpec([None, 4], dtype)
    tf.function(call, autograph=False).get_concrete_function(spec)
    return seen[0]


@pytest.mark.parametrize("name", FOUND)
@pytest.mark.parametrize("dtype", ["float32", "float16"])
def test_logits_are_the_input_of_the_head(name, dtype):
    function, kind = FOUND[name]

    def rounded(x):
        return tf.cast(function(x), "float32") if dtype == "float16" else function(x)

    def look(x, output):
        assert class_scores.head_of(output) == kind
        return logits.find_logits(output) is x

    assert in_a_graph(rounded, look, dtype)


@pytest.mark.parametrize("name", NOT_FOUND)
def test_what_has_no_logits(name):
    assert in_a_graph(NOT_FOUND[name], lambda x, y: logits.find_head(y)) is None


def test_logits_have_no_logits():
    """Those of a softmax of a softmax are probabilities, and yet what is asked for."""

    def look(x, output):
        return logits.find_head(class_scores.with_logits(output))

    assert in_a_graph(lambda x: ops.softmax(ops.softmax(x)), look) is None


def test_a_part_is_of_the_kind_of_the_whole():
    def look(x, output):
        return logits.find_head(logits.marked_as(output, output[:1])).kind

    assert in_a_graph(activations.log_sigmoid, look) == "log_sigmoid"


@pytest.mark.parametrize("name", ["sigmoid", "hard_sigmoid", "log_sigmoid"])
@pytest.mark.parametrize("score", ["logits", "outputs"])
def test_one_unit_has_two_classes(name, score):
    """With z = 1.5: -z and z, 1 - p and p, log(1 - p) and log p."""
    p = (1.5 + 3) / 6 if name == "hard_sigmoid" else 1 / (1 + np.exp(-1.5))
    expected = np.log([1 - p, p]) if name == "log_sigmoid" else [1 - p, p]

    @tf.function(autograph=False)
    def columns(z):
        outputs = FOUND[name][0](z)
        outputs = class_scores.with_logits(outputs) if score == "logits" else outputs
        return class_scores.class_columns(outputs)

    expected = [-1.5, 1.5] if score == "logits" else expected
    np.testing.assert_allclose(columns(tf.constant([[1.5]])), [expected], rtol=1e-5)


class Ending(keras.Model):
    """The classifier, and a function of its logits in `call`."""

    def __init__(self, classifier, function):
        super().__init__()
        self.classifier, self.function = classifier, function

    def call(self, x):
        return self.function(self.classifier(x))


def ending(function, how="operation"):
    """A classifier whose logits a function is applied to."""
    model = make_classifier("flatten", activation=None)
    if how == "dense":
        model.layers[-1].activation = activations.get(function)
        return model
    if how == "subclass":
        return Ending(model, function)
    inputs = keras.Input((16, 12, 3))
    outputs = L.Activation(function) if how == "layer" else function
    return keras.Model(inputs, outputs(model(inputs)))


def layer_of(model):
    inner = [x for x in model._flatten_layers() if x.name == "last"]
    return inner[0]


def by_tape(images, score):
    """Grad-CAM of a score of the logits."""
    model = make_classifier("flatten", activation=None)
    last = model.get_layer("last").output
    activations_of = keras.Model(model.inputs[0], last)
    tail = keras.Model(last, model.outputs[0])
    with tf.GradientTape() as tape:
        a = activations_of(images)
        tape.watch(a)
        scores = score(tail(a))
    gradients = tape.gradient(scores, a)
    weights = tf.reduce_mean(gradients, (1, 2), keepdims=True)
    return tf.reduce_sum(weights * a, -1)


@pytest.mark.parametrize(
    ("function", "how"),
    [
        ("log_softmax", "layer"),
        ("log_softmax", "dense"),
        (ops.log_softmax, "operation"),
        (tf.nn.log_softmax, "subclass"),
        ("hard_sigmoid", "dense"),
        (per_cent, "subclass"),
    ],
)
def test_a_map_is_that_of_the_logits(images, function, how):
    model = ending(function, how)
    cam = kg.GradCAM(model, layer_of(model), target=1, **RAW)
    close(cam(images), by_tape(images, lambda z: z[:, 1]))
    kind = {"hard_sigmoid": "sigmoid", per_cent: None}.get(function, "log_softmax")
    assert cam.head == kind


def test_without_logits_the_score_is_the_logarithm(images):
    """`log p_c = z_c - log sum_j exp z_j`, whose gradient is that of z times 1 - p."""
    cam = kg.GradCAM(ending("log_softmax", "dense"), "last", logits=False, **RAW)
    score = lambda z: tf.math.log(tf.nn.softmax(z)[:, 2])  # noqa: E731
    close(cam(images, target=2), by_tape(images, score), tolerance=1e-4)


@pytest.mark.parametrize("name", ["log_softmax", "hard_sigmoid"])
def test_a_confident_head_does_not_give_an_empty_map(images, name):
    model = ending(name, "dense")
    kernel, bias = model.layers[-1].get_weights()
    model.layers[-1].set_weights([kernel, bias + [0, 0, 200, 0]])
    cam = kg.GradCAM(model, "last", target=2, **RAW)
    close(cam(images), by_tape(images, lambda z: z[:, 2]))
    outputs = kg.GradCAM(model, "last", target=2, logits=False, **RAW)
    with pytest.warns(UserWarning, match="5 of the maps are all zeros"):
        assert not np.any(outputs(images))


def test_several_outputs_have_logits_of_their_own(images):
    classifier = make_classifier("flatten", activation=None)
    z = classifier.outputs[0]
    ends = {"log": ops.log_softmax(z), "hard": ops.hard_sigmoid(z)}
    model = keras.Model(classifier.inputs[0], ends)
    for key, index in (("log", 3), ("hard", 0)):
        target = kg.targets.output(key, index)
        found = kg.GradCAM(model, "last", target=target, **RAW)(images)
        close(found, by_tape(images, lambda z, index=index: z[:, index]))


def test_in_mixed_precision(images):
    keras.config.set_dtype_policy("mixed_float16")
    try:
        models = [make_classifier("flatten", activation=None) for _ in range(2)]
    finally:
        keras.config.set_dtype_policy("float32")
    ended = keras.Sequential(
        [*models[1].layers, L.Activation("log_softmax", dtype="float32")]
    )
    logits_map, found = (
        kg.GradCAM(model, "last", target=1, **RAW)(images)
        for model in (models[0], ended)
    )
    close(found, logits_map)


def log_of_sums(x):
    return x - ops.logsumexp(x, axis=-1, keepdims=True)


@pytest.mark.filterwarnings("ignore:.* of the maps are all zeros")
@pytest.mark.parametrize("function", [log_of_sums, activations.sparsemax])
def test_logits_that_are_not_found_are_warned_of(images, function):
    model = ending(function, "subclass")
    with pytest.warns(UserWarning, match="or their logarithms, and the logits behind"):
        kg.GradCAM(model, layer_of(model), target=1, **RAW)(images)


@pytest.mark.parametrize(
    ("function", "logits"), [("log_softmax", False), ("tanh", True)]
)
def test_a_bounded_output_at_its_end_is_saturated(images, function, logits):
    model = ending(function, "dense")
    kernel, bias = model.layers[-1].get_weights()
    model.layers[-1].set_weights([kernel, bias + 400 * np.float32([-1, -1, 1, -1])])
    cam = kg.GradCAM(model, "last", target=2, logits=logits)
    assert {found.cause for found in cam.diagnose(images)} == {"saturated"}
