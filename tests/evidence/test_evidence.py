"""What the methods make of a network, against replicas of method and network."""

import functools
import random
import statistics
from typing import NamedTuple

import keras
import numpy as np
import pytest
import replicas
import tensorflow as tf
from conftest import OF_CNNS, RAW, L, close, make_classifier, methods_of, randomize

import keras_gradcam as kg

# Random weights leave some samples without positive evidence; that is no matter here.
pytestmark = pytest.mark.filterwarnings("ignore:.* of the maps are all zeros")

TARGET = 2
HEADS = pytest.mark.parametrize("head", ["gap", "flatten"])
LAYERS = pytest.mark.parametrize("layer", ["first", "last"])
INPUT_METHODS = [
    "saliency",
    "smoothgrad",
    "guided_backprop",
    "integrated_gradients",
    "fullgrad",
]
# Options that the replica of the formula takes, and not that of its evidence.
OF_FORMULAS = ("k", "kernel", "gamma", "rescale")
# Few passes, to be quick.
OPTIONS = {
    "smoothgradcam++": {"samples": 3, "noise": 0.1, "seed": 7},
    "sscam": {"samples": 3, "noise": 0.5, "seed": 1},
    "iscam": {"steps": 4},
    "smoothgrad": {"samples": 4, "noise": 0.2, "seed": 5},
    "integrated_gradients": {"steps": 5, "baseline": 0.25},
}
FACTORIES = {
    "smoothgradcam++": kg.methods.smoothgradcam_plus_plus,
    "smoothgrad": kg.methods.smoothgrad,
    "sscam": kg.methods.sscam,
    "iscam": kg.methods.iscam,
    "scorecam": kg.methods.scorecam,
    "kpcacam": kg.methods.kpcacam,
    "fem": kg.methods.fem,
    "random": kg.methods.random,
    "integrated_gradients": kg.methods.integrated_gradients,
    "fullgrad": kg.methods.fullgrad,
}
SEEDED = ["smoothgradcam++", "smoothgrad", "sscam", "random"]


@pytest.fixture
def images(images):
    return images[:2]


@pytest.fixture
def double():
    keras.config.set_floatx("float64")
    keras.config.set_dtype_policy("float64")
    yield
    keras.config.set_floatx("float32")
    keras.config.set_dtype_policy("float32")


def maps(model, images, method, layer=None, target=TARGET, **options):
    """Raw maps as users get them."""
    cam = kg.GradCAM(model, layer, method=method, target=target, **RAW, **options)
    return cam(images).numpy()


def method_of(name, **options):
    options = OPTIONS.get(name, {}) | options
    return FACTORIES[name](**options) if options else name


def layer_of(name):
    return None if name in INPUT_METHODS else "first"


class Asked(NamedTuple):
    """What is asked of the replica of `conftest.make_classifier`."""

    weights: list
    image: np.ndarray
    layer: str
    head: str
    target: int

    @property
    def activations(self):
        return replicas.forward(self.weights, self.image, self.head)[0][self.layer]

    @property
    def score(self):
        return replicas.forward(self.weights, self.image, self.head)[1][self.target]

    @property
    def slopes(self):
        return replicas.backward(self.weights, self.image, self.head, self.target)[
            self.layer
        ]

    def at_input(self, find, *options):
        return find(self.weights, self.image, self.head, self.target, *options)


def normal(shape, seed, step):
    """The noise of a step: 23 bits of Philox, and the inverse of the distribution."""
    bits = tf.random.stateless_uniform(
        (1, *shape), [seed, step], None, None, tf.uint32, alg="philox"
    )
    middles = ((bits.numpy()[0] >> 9) + 0.5) / 2**23
    return np.vectorize(statistics.NormalDist().inv_cdf)(middles)


def mean_of_masked(asked, changes, channels):
    scores = [replicas.masked_scores(*asked, change) for change in changes]
    scores = sum(scores) / len(scores)
    if channels is None:
        return scores
    return scores[replicas.varied_channels(asked.activations, channels)]


def masked(asked, channels=None):
    return mean_of_masked(asked, [None], channels)


def faded(asked, steps, channels=None):
    """The masks are faded in by equal steps up to 1, not beyond."""
    changes = [lambda h, n=n: h * n / steps for n in range(1, steps + 1)]
    return mean_of_masked(asked, changes, channels)


def noisy_masked(asked, samples, noise, seed, channels=None):
    grid = asked.image.shape[:-1]
    draws = [noise * normal(grid, seed, i) for i in range(samples)]
    return mean_of_masked(asked, [lambda h, d=d: h + d for d in draws], channels)


def moments(asked, samples, noise, seed, layer=None):
    image = asked.image
    scale = noise * (image.max() - image.min())
    noisy = [image + scale * normal(image.shape, seed, i) for i in range(samples)]
    layer = layer or asked.layer
    return replicas.moments(asked.weights, noisy, layer, asked.head, asked.target)


def path(asked, steps, baseline):
    mean = asked.at_input(replicas.path_gradient, baseline, steps)
    return asked.image - baseline, mean


def guided_at_layer(asked):
    guided = asked.at_input(replicas.guided_input_gradient)
    place = functools.partial(replicas.over_image, image=asked.image, layer=asked.layer)
    return asked.activations, asked.slopes, guided, place


def gradients(asked):
    return asked.slopes


def nothing(asked):
    return None


EVIDENCE = {
    "gradcam": gradients,
    "gradcam++": gradients,
    "smoothgradcam++": moments,
    "xgradcam": gradients,
    "layercam": gradients,
    "hirescam": gradients,
    "elementwise": gradients,
    "cam": gradients,
    # The logits of a network with ReLU have no Hessian; others are below.
    "shapleycam": lambda asked: (asked.slopes, 0 * asked.slopes),
    "scorecam": masked,
    "sscam": noisy_masked,
    "iscam": faded,
    "ablationcam": lambda asked: replicas.ablated_scores(*asked),
    "eigencam": nothing,
    "eigengradcam": gradients,
    "kpcacam": nothing,
    "fem": nothing,
    "saliency": lambda asked: asked.at_input(replicas.input_gradient),
    "smoothgrad": functools.partial(moments, layer="image"),
    "guided_backprop": lambda asked: asked.at_input(replicas.guided_input_gradient),
    "guided_gradcam": guided_at_layer,
    "integrated_gradients": path,
    "fullgrad": lambda asked: asked.at_input(replicas.bias_products),
}


def replica_of(name, asked, **options):
    """The raw map of one image by replicas of network and method."""
    options = OPTIONS.get(name, {}) | options
    own = {key: options.pop(key) for key in OF_FORMULAS if key in options}
    over_input = name in INPUT_METHODS or name == "guided_gradcam"
    place = asked.image if over_input else asked.activations
    evidence = EVIDENCE[name](asked, **options)
    return replicas.METHODS[name](place, evidence, asked.score, **own)


def check(model, images, name, layer, head, target, tolerance=1e-5, **options):
    weights = model.get_weights()
    expected = [
        replica_of(name, Asked(weights, image, layer, head, target), **options)
        for image in images
    ]
    method = method_of(name, **options)
    layer = None if name in INPUT_METHODS else layer
    close(maps(model, images, method, layer, target), expected, tolerance)


def cases():
    """All that a method can be asked of the network."""
    for name in EVIDENCE:
        for head in ("gap",) if name == "cam" else ("gap", "flatten"):
            # What lies over the input has no layer, and CAM the last one.
            alone = name in INPUT_METHODS or name == "cam"
            for layer in ("last",) if alone else ("first", "last"):
                yield name, layer, head


@pytest.mark.parametrize("name, layer, head", list(cases()))
def test_a_map_equals_its_replica(images, name, layer, head):
    check(make_classifier(head), images, name, layer, head, TARGET)


@pytest.mark.parametrize("name, layer, head", list(cases()))
@pytest.mark.usefixtures("double")
def test_in_double_precision(images, name, layer, head):
    """Nothing on the way is rounded to float32, nor moved by an epsilon."""
    model = make_classifier(head)
    check(model, images.astype("float64"), name, layer, head, 0, 1e-10)


@LAYERS
@pytest.mark.parametrize(
    "name, options",
    [
        ("fem", {"k": 1.0}),
        ("kpcacam", {"gamma": 0.02}),
        ("kpcacam", {"kernel": "rbf"}),
        ("kpcacam", {"kernel": "rbf", "gamma": 0.05}),
        ("fullgrad", {"rescale": "channel"}),
        ("fullgrad", {"rescale": None}),
        ("scorecam", {"channels": 3}),
        ("scorecam", {"channels": 50}),
        ("sscam", {"channels": 3}),
        ("iscam", {"channels": 2}),
        ("iscam", {"steps": 1}),
    ],
)
def test_options(images, name, options, layer):
    model = make_classifier("flatten")
    check(model, images, name, layer, "flatten", TARGET, **options)


@pytest.mark.parametrize("name", ["smoothgrad", "integrated_gradients"])
def test_images_of_other_ranges(images, name):
    """Each has a range of its own, which is not 1, and does not begin at 0."""
    images = images * np.float32([3, 0.5])[:, None, None, None] - np.float32(0.4)
    check(make_classifier("flatten"), images, name, "last", "flatten", TARGET)


def test_cam_needs_no_gradient(images):
    model = make_classifier("gap")
    weights = model.get_layer("head").get_weights()[0]
    activations = kg.GradCAM(model, "last").activations(images).numpy()
    expected = activations @ weights[:, TARGET]
    close(maps(model, images, "cam", "last"), expected)


def log_likelihood(y):
    """A score with curvature, as the paper of ShapleyCAM has it."""
    return y[:, TARGET] + tf.nn.log_softmax(y)[:, TARGET]


@HEADS
@LAYERS
def test_shapleycam_of_a_network_of_pieces(images, layer, head):
    """Between the kinks of ReLU logits are linear, and the score's curvature is known.

    The gradient of the log of softmax is 1 - p, its Hessian p p' - diag(p).
    """
    model = make_classifier(head)
    weights, expected = model.get_weights(), []
    for image in images:
        found, logits = replicas.forward(weights, image, head)
        a = found[layer]
        p = np.exp(logits - logits.max()) / np.exp(logits - logits.max()).sum()
        slopes = [
            replicas.backward(weights, image, head, c)[layer] for c in range(len(p))
        ]
        along = np.array([(slope * a).sum() for slope in slopes])
        first = 2 * np.eye(len(p))[TARGET] - p
        second = p * (p @ along) - p * along
        gradients = sum(part * slope for part, slope in zip(first, slopes, strict=True))
        products = sum(part * slope for part, slope in zip(second, slopes, strict=True))
        expected.append(replicas.shapleycam(a, (gradients, products)))
    close(maps(model, images, "shapleycam", layer, log_likelihood), expected)


@pytest.mark.parametrize("convolution", ["tanh", "gelu"])
@HEADS
@LAYERS
@pytest.mark.usefixtures("double")
def test_shapleycam_by_finite_differences(images, layer, head, convolution):
    """The Hessian's product with A is the change of the gradient along A."""
    images = images.astype("float64")
    model = make_classifier(head, activation=None, convolution=convolution)
    trunk = keras.Model(model.inputs[0], model.get_layer(layer).output)
    tail = keras.Model(model.get_layer(layer).output, model.outputs[0])

    def slope(a):
        with tf.GradientTape() as tape:
            tape.watch(a)
            score = log_likelihood(tail(a))
        return tape.gradient(score, a).numpy()

    a, step = trunk(images), 1e-4
    products = (slope(a * (1 + step)) - slope(a * (1 - step))) / (2 * step)
    expected = [
        replicas.shapleycam(sample, evidence)
        for sample, *evidence in zip(a.numpy(), slope(a), products, strict=True)
    ]
    # The error of central differences is about the square of the step.
    close(maps(model, images, "shapleycam", layer, log_likelihood), expected, 1e-6)


@pytest.mark.parametrize(
    "convolution, steps, tolerance",
    # The midpoint rule errs by the square of a step; a kink by about a step.
    [("tanh", 200, 1e-4), ("gelu", 200, 1e-4), ("relu", 2000, 1e-3)],
)
def test_integrated_gradients_are_complete(images, convolution, steps, tolerance):
    model = make_classifier("flatten", activation=None, convolution=convolution)
    method = kg.methods.integrated_gradients(steps=steps, baseline=0.25)
    total = maps(model, images, method).sum((1, 2))
    baseline = np.full_like(images, 0.25)
    close(total, (model(images) - model(baseline))[:, TARGET], tolerance)


@pytest.mark.usefixtures("double")
def test_integrated_gradients_of_a_smooth_network(images):
    """The shares of the way are no more rounded than the rest."""
    images = images.astype("float64")
    model = make_classifier("flatten", activation=None, convolution="tanh")
    total = 0
    for n in range(1, 6):
        with tf.GradientTape() as tape:
            point = tf.constant(0.25 + (n - 0.5) / 5 * (images - 0.25))
            tape.watch(point)
            score = model(point)[:, TARGET]
        total = total + tape.gradient(score, point).numpy()
    expected = [
        replicas.integrated_gradients(None, evidence)
        for evidence in zip(images - 0.25, total / 5, strict=True)
    ]
    method = kg.methods.integrated_gradients(steps=5, baseline=0.25)
    close(maps(model, images, method), expected, 1e-10)


@HEADS
def test_products_of_fullgrad_are_complete(images, head):
    """Input and biases, with that of the head, are the whole logit."""
    weights = make_classifier(head).get_weights()
    for image in images:
        asked = Asked(weights, image, "last", head, TARGET)
        products = asked.at_input(replicas.bias_products)
        complete = sum(product.sum() for product, _ in products) + weights[5][TARGET]
        close(complete, asked.score, 1e-10)


def test_fullgrad_with_batch_normalization(images):
    """Batch norm at rest has a bias of its own: beta - mean gamma / deviation."""
    model = keras.Sequential(
        [
            keras.Input(images.shape[1:]),
            L.Conv2D(5, 3),
            L.BatchNormalization(),
            L.ReLU(),
            L.Conv2D(6, 3, activation="relu"),
            L.GlobalAveragePooling2D(),
            L.Dense(4, activation="softmax"),
        ]
    )
    weights, expected = randomize(model).get_weights(), []
    for image in images:
        logit, products = replicas.normalized_bias_products(weights, image, TARGET)
        expected.append(replicas.fullgrad(image, products))
        complete = sum(product.sum() for product, _ in products) + weights[9][TARGET]
        close(complete, logit, 1e-10)
        probabilities = model(image[None]).numpy()[0]
        others = [
            replicas.normalized_bias_products(weights, image, c)[0] for c in range(4)
        ]
        close(probabilities, np.exp(others) / np.exp(others).sum())
    close(maps(model, images, "fullgrad"), expected)


@pytest.mark.slow
@pytest.mark.parametrize("name", methods_of(OF_CNNS))
def test_a_map_does_not_depend_on_chunks_nor_on_its_batch(images, name):
    model = make_classifier("flatten" if name != "cam" else "gap")
    layer = "last" if name == "cam" else layer_of(name)
    method = method_of(name)
    expected = maps(model, images, method, layer)
    for size in (1, 3, 100):
        close(maps(model, images, method, layer, chunk_size=size), expected)
    if name == "random":
        # By its documentation each place in the batch has noise of its own.
        return
    # All samples of a batch get the same noise, so that none depends on its place.
    for order in ([1], [1, 1, 0]):
        close(maps(model, images[order], method, layer), expected[order])


@pytest.mark.parametrize("name", SEEDED)
def test_a_seed_is_a_map(images, name):
    model = make_classifier("flatten")
    same, again, other = (
        maps(model, images, method_of(name, seed=seed), layer_of(name))
        for seed in (3, 3, 4)
    )
    np.testing.assert_array_equal(same, again)
    assert np.abs(same - other).max() > 1e-3 * np.abs(same).max()
    # And one explainer says the same of the same images.
    method = method_of(name, seed=3)
    cam = kg.GradCAM(model, layer_of(name), method=method, target=TARGET, **RAW)
    np.testing.assert_array_equal(cam(images), same)
    np.testing.assert_array_equal(cam(images), same)


@pytest.mark.parametrize("name", SEEDED)
def test_no_global_state_of_chance_is_touched(images, name):
    model = make_classifier("flatten")
    cam = kg.GradCAM(model, layer_of(name), method=method_of(name), target=TARGET)

    def draws():
        return [
            random.random(),
            np.random.random(),
            float(tf.random.normal(())),
            float(keras.random.normal(())),
        ]

    # Setting a seed leaves this generator as it is.
    generator = tf.random.get_global_generator()
    keras.utils.set_random_seed(3)
    draws()
    expected = draws()
    keras.utils.set_random_seed(3)
    draws()
    state = generator.state.numpy()
    cam(images)
    np.testing.assert_array_equal(generator.state.numpy(), state)
    assert draws() == expected


@pytest.mark.parametrize("shape", [(9, 11), (4, 5), (7, 3)])
def test_replica_of_linear_resizing(shape):
    raw = np.random.default_rng(0).normal(size=(4, 5))
    close(replicas.linear(raw, shape), replicas.bilinear(raw, *shape), 1e-12)
    # Rank by rank: along an axis that has one value it copies it.
    line = replicas.linear(raw[:, 0], shape[:1])
    volume = replicas.linear(raw[:, :1, None], (shape[0], 2, 3))
    close(volume, np.broadcast_to(line[:, None, None], volume.shape), 1e-12)


@HEADS
def test_replica_of_the_gradients(images, head):
    """Against central differences of the replica's own logit."""
    weights = make_classifier(head).get_weights()
    image, rng = images[0].astype("float64"), np.random.default_rng(0)
    way = 1e-6 * rng.normal(size=image.shape)
    after, before = (
        replicas.forward(weights, image + step, head)[1][TARGET] for step in (way, -way)
    )
    slope = replicas.input_gradient(weights, image, head, TARGET)
    close((after - before) / 2, (slope * way).sum(), 1e-6)
