"""What users call: arguments, batches, `predict`, saving, serving, errors."""

import copy
import re
import warnings

import keras
import numpy as np
import pytest
import tensorflow as tf
from conftest import L, assert_unchanged, make_classifier, randomize, state_of

import keras_gradcam as kg


@keras.saving.register_keras_serializable("tests")
def second_logit(outputs):
    return outputs[:, 1]


@keras.saving.register_keras_serializable("tests")
class CountsTraces(L.Layer):
    """Passes its input on and counts how often Python ran it."""

    traces = 0

    def call(self, x):
        type(self).traces += 1
        return x


def test_heatmaps_have_the_images_size_and_a_maximum_of_one(model, images):
    heatmaps = kg.GradCAM(model)(images)
    assert heatmaps.shape == (5, 16, 12)
    assert heatmaps.dtype == tf.float32
    assert np.min(heatmaps) >= 0
    np.testing.assert_array_equal(np.max(heatmaps, (1, 2)), np.ones(5))


def test_default_target_is_the_predicted_class(images):
    model = make_classifier("flatten")
    predicted = np.argmax(model(images), -1)
    assert len(set(predicted)) > 1, "the test needs samples of several classes"
    cam = kg.GradCAM(model)
    for target in (predicted, list(predicted), tf.constant(predicted)):
        np.testing.assert_array_equal(cam(images), cam(images, target=target))


@pytest.mark.parametrize(
    "target", [2, np.int64(2), [2] * 5, (2,) * 5, tf.fill([5], 2), lambda y: y[:, 2]]
)
def test_every_way_to_name_a_class(model, images, target):
    expected = np.concatenate([kg.explain(model, x[None], target=2) for x in images])
    np.testing.assert_allclose(
        kg.GradCAM(model)(images, target=target), expected, atol=1e-6
    )
    in_constructor = kg.GradCAM(model, target=target)
    np.testing.assert_allclose(in_constructor(images), expected, atol=1e-6)


def test_one_class_per_image(model, images):
    cam = kg.GradCAM(model)
    mixed = cam(images, target=[0, 1, 2, 3, 0])
    for i, c in enumerate([0, 1, 2, 3, 0]):
        np.testing.assert_allclose(
            mixed[i], cam(images[i : i + 1], target=c)[0], atol=1e-6
        )


def test_a_callable_may_return_several_scores(model, images):
    both = kg.GradCAM(model)(images, target=lambda y: y[:, 1:3])
    assert both.shape == (5, 2, 16, 12)
    for i in (0, 1):
        one = kg.GradCAM(model)(images, target=i + 1)
        np.testing.assert_allclose(both[:, i], one, atol=1e-6)


def test_layers_by_name_path_object_and_list(images):
    base = make_classifier()
    outer = keras.Sequential([keras.Input((16, 12, 3)), base])
    maps = [
        kg.GradCAM(outer, layer)(images).numpy()
        for layer in ("first", "classifier/first", base.get_layer("first"))
    ]
    np.testing.assert_array_equal(maps[0], maps[1])
    np.testing.assert_array_equal(maps[0], maps[2])
    cam = kg.GradCAM(outer, ["first", base.get_layer("last")])
    assert cam.layer == ["classifier/first", "classifier/last"]
    first, last = cam(images)
    np.testing.assert_allclose(first, maps[0], atol=1e-6)
    np.testing.assert_allclose(last, kg.GradCAM(outer)(images), atol=1e-6)


def test_default_layer_is_the_last_with_a_grid():
    cam = kg.GradCAM(make_classifier())
    assert cam.layer == "last"
    # A grid of 1x1 has nothing to show, and a dropout computes nothing.
    model = keras.Sequential(
        [
            keras.Input((8, 8, 1)),
            L.Conv2D(2, 3, name="wanted"),
            L.Dropout(0.5),
            L.Conv2D(4, 6, name="one_by_one"),
            L.Flatten(),
            L.Dense(2),
        ]
    )
    assert kg.GradCAM(model).layer == "wanted"


def test_one_sigmoid_unit_has_two_classes(images):
    model = make_classifier(activation="sigmoid", classes=1)
    raw = {"activation": None, "normalize": None}
    cam = kg.GradCAM(model, **raw)
    np.testing.assert_allclose(cam(images, target=0), -cam(images, target=1).numpy())
    predicted = (model(images)[:, 0] > 0.5).numpy().astype(int)
    np.testing.assert_allclose(cam(images), cam(images, target=predicted))
    probability = kg.GradCAM(model, logits=False, **raw)
    np.testing.assert_allclose(
        probability(images, target=0), -probability(images, target=1).numpy(), atol=1e-7
    )
    for answer in (0, 1):
        model.get_layer("head").bias.assign([20 * answer - 10])
        np.testing.assert_array_equal(
            probability(images), probability(images, target=answer)
        )


def test_activation_none_keeps_the_sign(model, images):
    signed = kg.GradCAM(model, activation=None, normalize=None)(images, target=1)
    assert np.min(signed) < 0 < np.max(signed)
    relu = kg.GradCAM(model, normalize=None, resize=False)(images, target=1)
    grid = kg.GradCAM(model, activation=None, normalize=None, resize=False)
    np.testing.assert_allclose(relu, np.maximum(grid(images, target=1), 0))
    softplus = kg.GradCAM(
        model, activation=keras.activations.softplus, normalize=None, resize=False
    )
    np.testing.assert_allclose(
        softplus(images, target=1), np.log1p(np.exp(grid(images, target=1))), rtol=1e-5
    )


def test_normalizations(model, images):
    def maps(normalize, **options):
        return kg.GradCAM(model, normalize=normalize, **options)(images).numpy()

    raw = maps(None)
    peaks = raw.max((1, 2), keepdims=True)
    np.testing.assert_allclose(maps("max"), raw / peaks, atol=1e-6)
    np.testing.assert_allclose(maps("batch"), raw / peaks.max(), atol=1e-6)
    signed = maps(None, activation=None)
    low, high = signed.min((1, 2), keepdims=True), signed.max((1, 2), keepdims=True)
    np.testing.assert_allclose(
        maps("minmax", activation=None), (signed - low) / (high - low), atol=1e-5
    )
    np.testing.assert_allclose(
        maps("max", activation=None),
        signed / np.abs(signed).max((1, 2), keepdims=True),
        atol=1e-6,
    )


def test_tiny_raw_maps_are_not_drowned(images):
    model = make_classifier(activation=None)
    expected = kg.GradCAM(model)(images, target=1)
    kernel, bias = model.get_layer("head").get_weights()
    model.get_layer("head").set_weights([kernel * 1e-20, bias])
    np.testing.assert_allclose(kg.GradCAM(model)(images, target=1), expected, atol=1e-5)


def test_resize(model, images):
    assert kg.GradCAM(model, resize=False)(images).shape == (5, 12, 8)
    assert kg.GradCAM(model, resize=(20, 30))(images).shape == (5, 20, 30)


def test_return_predictions_come_from_the_same_pass(images):
    CountsTraces.traces = 0
    inner = make_classifier()
    model = keras.Sequential([keras.Input((16, 12, 3)), CountsTraces(), inner])
    cam = kg.GradCAM(model, return_predictions=True)
    before = CountsTraces.traces
    result = cam(images)
    assert CountsTraces.traces == before + 1
    np.testing.assert_allclose(result["predictions"], model(images), atol=1e-6)
    np.testing.assert_array_equal(result["heatmaps"], kg.GradCAM(model)(images))
    assert set(cam.predict(images, verbose=0)) == {"heatmaps", "predictions"}


def test_raw_parts(model, images):
    cam = kg.GradCAM(model)
    assert cam.activations(images).shape == (5, 12, 8, 6)
    assert cam.gradients(images).shape == (5, 12, 8, 6)
    features = keras.Sequential(model.layers[:2])
    np.testing.assert_allclose(cam.activations(images), features(images), atol=1e-6)


# Batches.


@pytest.mark.parametrize("jit_compile", [False, True])
def test_predict_equals_call(model, images, jit_compile):
    cam = kg.GradCAM(model, jit_compile=jit_compile)
    expected = kg.GradCAM(model)(images)
    dataset = tf.data.Dataset.from_tensor_slices((images, np.zeros(5))).batch(2)
    for data in (images, dataset):
        maps = cam.predict(data, batch_size=None if data is dataset else 2, verbose=0)
        assert isinstance(maps, np.ndarray)
        np.testing.assert_allclose(maps, expected, atol=1e-5)


def test_the_last_batch_does_not_compile_again(model, images, monkeypatch):
    cam = kg.GradCAM(model, jit_compile=True)
    sizes = []
    monkeypatch.setattr(
        cam._calls,
        "functions",
        _Recording(cam._calls.functions, lambda images: sizes.append(len(images))),
    )
    maps = cam.predict(images, batch_size=2, verbose=0)
    assert sizes == [2, 2, 2]
    assert maps.shape == (5, 16, 12)


class _Recording:
    def __init__(self, graphs, record):
        self.graphs, self.record = graphs, record

    def __call__(self, static, tensors, *options):
        self.record(tensors[0])
        return self.graphs(static, tensors, *options)


def test_one_trace_for_all_batch_sizes_and_classes(images):
    CountsTraces.traces = 0
    model = keras.Sequential(
        [keras.Input((16, 12, 3)), CountsTraces(), make_classifier()]
    )
    cam = kg.GradCAM(model)
    cam(images)
    start = CountsTraces.traces
    cam(images[:3])
    cam(images.astype("float64"))
    cam(tf.constant(images[:1]))
    cam.predict(images, batch_size=2, verbose=0)
    assert CountsTraces.traces == start
    cam(images, target=1)
    cam(images, target=[0, 1, 2, 3, 0])
    assert CountsTraces.traces == start + 1


def test_maps_follow_the_weights(model, images):
    cam = kg.GradCAM(model)
    before = cam(images).numpy()
    randomize(model, seed=7)
    after = cam(images).numpy()
    assert np.abs(before - after).max() > 0.1
    np.testing.assert_array_equal(after, kg.GradCAM(model)(images))


def test_pictures_of_any_integer_type_are_what_the_model_takes(images):
    model = keras.Sequential(
        [keras.Input((16, 12, 3)), L.Rescaling(1 / 255), make_classifier()]
    )
    pictures = np.uint8(images * 255)
    np.testing.assert_allclose(
        kg.GradCAM(model)(pictures), kg.GradCAM(model)(pictures.astype("float32"))
    )


def test_explain_takes_one_image_or_a_batch(model, images):
    batch = kg.explain(model, images, target=1)
    assert isinstance(batch, np.ndarray)
    one = kg.explain(model, images[0], target=1)
    assert one.shape == (16, 12)
    np.testing.assert_allclose(one, batch[0], atol=1e-6)
    layers = kg.explain(model, images[0], layer=["first", "last"])
    assert [m.shape for m in layers] == [(16, 12)] * 2


# A Keras model like any other.


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"target": 2, "layer": "first"},
        {"layer": ["first", "last"]},
        {"target": second_logit},
    ],
)
def test_save_and_load(model, images, options, tmp_path):
    cam = kg.GradCAM(model, return_predictions=True, **options)
    cam.save(tmp_path / "cam.keras")
    loaded = keras.models.load_model(tmp_path / "cam.keras")
    assert loaded.layer == cam.layer
    expected, actual = cam(images), loaded(images)
    np.testing.assert_array_equal(actual["predictions"], expected["predictions"])
    np.testing.assert_array_equal(
        np.asarray(actual["heatmaps"]), np.asarray(expected["heatmaps"])
    )


def test_export_serves_heatmaps(model, images, tmp_path):
    cam = kg.GradCAM(model, return_predictions=True)
    cam.export(tmp_path / "served", verbose=False)
    artifact = tf.saved_model.load(tmp_path / "served")
    served = artifact.serve(images)
    np.testing.assert_allclose(served["heatmaps"], cam(images)["heatmaps"], atol=1e-6)
    np.testing.assert_allclose(served["predictions"], model(images), atol=1e-6)


def test_inside_another_functional_model(model, images):
    inputs = keras.Input((16, 12, 3))
    both = keras.Model(
        inputs, {"class": model(inputs), "map": kg.GradCAM(model)(inputs)}
    )
    assert both.output["map"].shape == (None, 16, 12)
    np.testing.assert_allclose(
        both.predict(images, verbose=0)["map"], kg.GradCAM(model)(images), atol=1e-6
    )


def test_weights_are_shared_not_copied(model):
    cam = kg.GradCAM(model)
    assert [id(w) for w in cam.weights] == [id(w) for w in model.weights]


def test_nothing_of_the_model_is_left_changed(model, images):
    model.compile("sgd", "sparse_categorical_crossentropy")
    model.get_layer("first").trainable = False
    model(images)
    weights, state = model.get_weights(), state_of(model)
    generator = keras.random.SeedGenerator(3)
    seeds = [generator.state.numpy(), np.random.get_state()[1].copy()]
    cam = kg.GradCAM(model)
    cam(images)
    cam.gradients(images, target=1)
    cam.predict(images, verbose=0)
    assert_unchanged(state, model)
    for old, new in zip(weights, model.get_weights(), strict=True):
        np.testing.assert_array_equal(old, new)
    np.testing.assert_array_equal(seeds[0], generator.state)
    np.testing.assert_array_equal(seeds[1], np.random.get_state()[1])
    assert model.compiled
    assert model.optimizer.iterations == 0


def test_nothing_is_left_changed_by_an_exception(images):
    class Fails(L.Layer):
        armed = False

        def call(self, x):
            if self.armed:
                raise RuntimeError("in the middle")
            return x

    fails = Fails()
    model = keras.Sequential(
        [
            keras.Input((16, 12, 3)),
            L.Conv2D(2, 3, name="target"),
            fails,
            L.GlobalAveragePooling2D(),
        ]
    )
    cam = kg.GradCAM(model, "target")
    state = state_of(model)
    Fails.armed = True
    with pytest.raises(RuntimeError, match="in the middle"):
        cam(images)
    Fails.armed = False
    assert_unchanged(state, model)
    assert cam(images).shape == (5, 16, 12)


def test_training_statistics_and_seeds_stay(images):
    model = keras.Sequential(
        [
            keras.Input((16, 12, 3)),
            L.RandomFlip(seed=1),
            L.Conv2D(3, 3),
            L.BatchNormalization(),
            L.GaussianNoise(1.0, seed=2),
            L.Activation("relu"),
            L.Dropout(0.5, seed=3),
            L.GlobalAveragePooling2D(),
            L.Dense(2),
        ]
    )
    before = [v.numpy() for v in model.variables]
    cam = kg.GradCAM(model)
    np.testing.assert_array_equal(cam(images), cam(images))
    for old, new in zip(before, model.variables, strict=True):
        np.testing.assert_array_equal(old, new)


@pytest.mark.filterwarnings("ignore:.* of the maps are all zeros")
def test_recurrent_state_and_losses_stay():
    inputs = keras.Input(batch_shape=(2, 6, 4))
    x = L.Conv1D(5, 2, activity_regularizer="l2", name="conv")(inputs)
    lstm = L.LSTM(3, stateful=True)
    model = keras.Model(inputs, L.Dense(2)(lstm(x)))
    x = np.random.default_rng(0).random((2, 6, 4), dtype="float32")
    model(x)
    before, losses = state_of(model), [float(loss) for loss in model.losses]
    states = [state.numpy() for state in lstm.states]
    cam = kg.GradCAM(model, "conv")
    cam(x)
    assert_unchanged(before, model)
    assert [float(loss) for loss in model.losses] == losses
    for old, new in zip(states, lstm.states, strict=True):
        np.testing.assert_array_equal(old, new.numpy())


# XLA.


def test_a_model_that_xla_refuses_runs_without_it(images):
    @keras.saving.register_keras_serializable("tests")
    class Bicubic(L.Layer):
        def call(self, x):
            return tf.image.resize(x, (16, 12), method="bicubic")

    model = keras.Sequential(
        [
            keras.Input((16, 12, 3)),
            L.Conv2D(2, 3, name="target"),
            Bicubic(),
            L.GlobalAveragePooling2D(),
            L.Dense(2),
        ]
    )
    cam = kg.GradCAM(model, "target", jit_compile=True)
    with pytest.warns(UserWarning, match="XLA cannot compile model .*ResizeBicubic"):
        maps = cam(images)
    np.testing.assert_allclose(maps, kg.GradCAM(model, "target")(images), atol=1e-6)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        cam(images)


def test_auto_is_no_xla_on_cpu(model):
    assert kg.GradCAM(model).jit_compile is bool(tf.config.list_physical_devices("GPU"))


# Errors.


def _raises(error, text, function):
    with pytest.raises(error) as caught:
        function()
    message = " ".join(str(caught.value).split())
    assert re.search(text, message), message


class Unhashable:
    __hash__ = None

    def __call__(self, outputs):
        return outputs[:, 0]


UNHASHABLE = {"target": Unhashable()}
NO_LOGITS = {"logits": "no"}
NO_XLA = {"jit_compile": 0}


@pytest.mark.parametrize(
    ("error", "text", "options"),
    [
        (
            ValueError,
            r"no layer 'lastt'. Layers that work: \['last', 'first'\]",
            {"layer": "lastt"},
        ),
        (
            ValueError,
            r"'head' has no spatial grid .* \(None, 4\).*'last'",
            {"layer": "head"},
        ),
        (TypeError, r"`layer` must be .* Received: layer=3 of type int", {"layer": 3}),
        (
            ValueError,
            r"`method` must be one of .*'gradcam'.*='grad'",
            {"method": "grad"},
        ),
        (
            ValueError,
            r"`activation` must be .*Received: activation='elu'",
            {"activation": "elu"},
        ),
        (ValueError, r"`normalize` must be one of .*'sum'", {"normalize": "sum"}),
        (
            ValueError,
            r"`resize` must be .*Received: resize=\(0, 3\)",
            {"resize": (0, 3)},
        ),
        (TypeError, r"`target` must be .*'cat' of type str", {"target": "cat"}),
        (TypeError, r"`target` must be .*1.5 of type float", {"target": 1.5}),
        (TypeError, r"`target` must be .*True of type bool", {"target": True}),
        (TypeError, "`target` must be hashable.* of type Unhashable", UNHASHABLE),
        (ValueError, "range 0 to 3: the model has 4 classes.*4", {"target": 4}),
        (ValueError, r"range 0 to 3.*Received: target=\[-1\]", {"target": -1}),
        (ValueError, r"range 0 to 3.*Received: target=\[7\]", {"target": [1, 7]}),
        (
            ValueError,
            "`k` must be at most 4, as the model has so many classes.*k=9",
            {"target": kg.targets.top_k(9)},
        ),
        (
            ValueError,
            r"`indices` must be in the range 0 to 3.*\[0, 4\]",
            {"target": kg.targets.classes([0, 4])},
        ),
        (
            ValueError,
            "`similar` must be at most 3",
            {"target": kg.targets.contrast(1, similar=4)},
        ),
        (
            ValueError,
            "`target` must be in the range 0 to 3.*=-1",
            {"target": kg.targets.counterfactual(-1)},
        ),
        (TypeError, "`logits` must be True or False.*'no' of type str", NO_LOGITS),
        (TypeError, "`return_predictions` must be .*=1", {"return_predictions": 1}),
        (ValueError, "`jit_compile` must be True, False or 'auto'.*=0", {**NO_XLA}),
        (ValueError, "`reshape` must be .*reshape=0", {"reshape": 0}),
        (ValueError, r"`reshape` must be .*\(3.5, 2\)", {"reshape": (3.5, 2)}),
    ],
)
def test_errors_of_the_constructor(model, error, text, options):
    _raises(error, text, lambda: kg.GradCAM(model, **options))


def test_error_of_a_foreign_layer(model):
    foreign = L.Conv2D(2, 3, name="foreign")
    _raises(
        ValueError,
        "The model has no layer 'foreign'",
        lambda: kg.GradCAM(model, foreign),
    )


def test_error_of_a_model_of_keras_2():
    """The class of such a model bears the name of its package."""

    class Functional:
        __module__ = "tf_keras.src.engine.functional"

    _raises(
        TypeError,
        r"a model of Keras 2.*`TF_USE_LEGACY_KERAS`.*`model.save\('model.h5'\)`",
        lambda: kg.GradCAM(Functional()),
    )


def test_error_of_something_that_is_no_model():
    _raises(
        TypeError,
        "`model` must be a `keras.Model`.*builtins.str",
        lambda: kg.GradCAM("x"),
    )


@pytest.mark.parametrize(
    ("error", "text", "target"),
    [
        (ValueError, r"has 2 classes for a batch of 5 images.*target=\[1, 2\]", [1, 2]),
        (ValueError, r"in the range 0 to 3: the model has 4 classes.*\[4\]", 4),
        (ValueError, r"in the range 0 to 3.*target=\[-1, 9\]", [0, 1, 2, -1, 9]),
        (TypeError, "`target` must be None, an int", [0.5] * 5),
        (
            ValueError,
            r"one score for each sample.*It returned shape \(\)",
            lambda y: y[0, 0],
        ),
    ],
)
def test_errors_of_a_target_come_before_the_model_runs(images, error, text, target):
    CountsTraces.traces = 0
    model = keras.Sequential(
        [keras.Input((16, 12, 3)), CountsTraces(), make_classifier()]
    )
    cam = kg.GradCAM(model)
    traced = CountsTraces.traces
    _raises(error, text, lambda: cam(images, target=target))
    assert CountsTraces.traces == traced or callable(target)


def test_error_of_a_layer_after_the_logits():
    inputs = keras.Input((8, 8, 1))
    side = L.Conv2D(2, 3, name="side")(inputs)
    x = L.GlobalAveragePooling2D()(L.Conv2D(2, 3, name="used")(inputs))
    model = keras.Model(inputs, {"class": L.Dense(2)(x), "side": side})
    cam = kg.GradCAM(model, "side", target=lambda y: y["class"][:, 0])
    _raises(
        ValueError,
        "The score does not depend on layer 'side'.*Choose an earlier layer",
        lambda: cam(np.zeros((1, 8, 8, 1), "float32")),
    )


def test_error_of_a_model_without_a_grid():
    model = keras.Sequential([keras.Input((3,)), L.Dense(2, name="only")])
    _raises(
        ValueError,
        r"no layer with a spatial grid larger than 1x1.*only \(None, 2\)",
        lambda: kg.GradCAM(model),
    )


def test_error_of_several_outputs_without_a_target(images):
    inputs = keras.Input((16, 12, 3))
    x = L.GlobalAveragePooling2D()(L.Conv2D(2, 3)(inputs))
    model = keras.Model(inputs, {"a": L.Dense(2)(x), "b": L.Dense(3)(x)})
    cam = kg.GradCAM(model)
    _raises(
        ValueError,
        r"several outputs.*targets.output\(key, class\).*'b': \(None, 3\)",
        lambda: cam(images),
    )
    assert cam(images, target=lambda y: y["b"][:, 2]).shape == (5, 16, 12)


def test_error_of_one_image_instead_of_a_batch(model, images):
    _raises(
        ValueError,
        r"must be a batch of shape \(None, 16, 12, 3\). Received one sample of shape "
        r"\(16, 12, 3\). Pass `images\[None\]`",
        lambda: kg.GradCAM(model)(images[0]),
    )


def test_error_of_a_list_of_images(model, images):
    _raises(
        ValueError,
        r"takes 1 input\(s\). Received 5.*np.stack",
        lambda: kg.GradCAM(model)(list(images)),
    )


def test_predict_in_threads(model, images):
    from concurrent.futures import ThreadPoolExecutor

    cam = kg.GradCAM(model, **{"activation": None, "normalize": None})
    expected = [cam(images, target=c).numpy() for c in range(4)]

    def worst(c):
        maps = cam.predict(images, batch_size=2, target=c % 4, verbose=0)
        return np.abs(maps - expected[c % 4]).max()

    with ThreadPoolExecutor(4) as pool:
        assert max(pool.map(worst, range(24))) < 1e-6
    assert cam.target is None


def test_attributes_can_be_set_later(model, images):
    cam = kg.GradCAM(model)
    cam(images)
    cam.activation, cam.normalize, cam.resize = None, None, False
    expected = kg.GradCAM(model, activation=None, normalize=None, resize=False)
    np.testing.assert_array_equal(cam(images), expected(images))
    cam.normalize = "sum"
    _raises(ValueError, "`normalize` must be one of", lambda: cam(images))


def test_config_keeps_what_was_asked_for(model):
    config = kg.GradCAM(model, method=kg.methods.gradcam).get_config()
    assert config["jit_compile"] == "auto"
    assert config["method"] == "gradcam"


@pytest.mark.parametrize("resize", [(4, 5, 6), 224])
def test_error_of_a_size_of_another_rank(model, images, resize):
    cam = kg.GradCAM(model, resize=resize)
    _raises(ValueError, "one length for each of the 2 axes", lambda: cam(images))


def test_error_of_a_method_that_returns_no_map(model, images):
    cam = kg.GradCAM(model, method=lambda a, g, y: y)
    _raises(ValueError, "`method` must return one map for each", lambda: cam(images))


def test_warnings_point_at_the_caller(model, images):
    model.get_layer("head").kernel.assign(0 * model.get_layer("head").kernel)
    cam = kg.GradCAM(model)
    with pytest.warns(UserWarning, match="all zeros") as caught:
        cam(images)
    assert caught[0].filename == __file__


def test_target_may_be_positional(model, images):
    cam = kg.GradCAM(model)
    np.testing.assert_array_equal(cam(images, 3), cam(images, target=3))


def test_predict_takes_a_target_but_no_sequence(model, images):
    cam = kg.GradCAM(model)
    maps = cam.predict(images, verbose=0, target=3)
    np.testing.assert_array_equal(maps, cam(images, target=3))
    assert cam.target is None
    _raises(
        ValueError,
        r"no sequence of classes.*target='true'.*target=\[0, 1, 2, 3, 0\]",
        lambda: cam.predict(images, verbose=0, target=[0, 1, 2, 3, 0]),
    )


@pytest.mark.parametrize("target", [np.eye(4)[: 5 - 1], np.array([0.0, 1, 2, 3, 0])])
def test_error_of_one_hot_and_float_targets(model, images, target):
    _raises(
        TypeError,
        r"`target` must be None.*One-hot labels become ints with `np.argmax",
        lambda: kg.GradCAM(model)(images, target=target),
    )


def test_error_of_a_class_of_a_regression(images):
    model = make_classifier(activation=None, classes=1)
    _raises(
        ValueError,
        r"must be 0: the model has one output.*targets.binary",
        lambda: kg.GradCAM(model)(images, target=1),
    )


def test_a_subclassed_model_is_exported_after_its_first_call(images, tmp_path):
    class Small(keras.Model):
        def __init__(self):
            super().__init__()
            self.conv, self.pool = L.Conv2D(2, 3), L.GlobalMaxPooling2D()

        def call(self, x):
            return self.pool(self.conv(x))

    cam = kg.GradCAM(Small())
    expected = cam(images)
    cam.export(tmp_path / "served", verbose=False)
    artifact = tf.saved_model.load(tmp_path / "served")
    np.testing.assert_allclose(artifact.serve(images), expected, atol=1e-6)


def test_error_of_an_ambiguous_layer():
    inputs = keras.Input((8, 8, 1))
    conv = L.Conv2D(1, 3, padding="same", name="conv")
    x = conv(conv(inputs))
    model = keras.Model(inputs, L.Dense(2)(L.GlobalAveragePooling2D()(x)))
    _raises(
        ValueError,
        r"'conv' stands for 2 places in the model. Pass one of \['conv#0', 'conv#1'\]",
        lambda: kg.GradCAM(model, "conv"),
    )
    assert kg.GradCAM(model, "conv#0").layer == "conv#0"


def test_trainable_is_of_the_gradcam_and_not_of_the_model(model):
    model.get_layer("first").trainable = False
    cam = kg.GradCAM(model)
    for value in (False, True):
        cam.trainable = value
        assert cam.trainable is value
        assert model.trainable
        assert [x.trainable for x in model.layers[:2]] == [False, True]
    outer = keras.Sequential([keras.Input((16, 12, 3)), cam])
    outer.trainable = False
    assert model.get_layer("last").trainable


@pytest.mark.parametrize("duplicate", [copy.copy, copy.deepcopy])
def test_a_copy_has_weights_of_its_own(model, images, duplicate):
    cam = kg.GradCAM(model, "first", target=2)
    other = duplicate(cam)
    np.testing.assert_allclose(other(images), cam(images), atol=1e-6)
    assert (other.layer, other.target) == ("first", 2)
    model.set_weights([w * 0 for w in model.get_weights()])
    assert other(images).numpy().any()


@pytest.mark.parametrize(
    ("text", "target"),
    [
        ("in the range 0 to 3", [0, 1, 2, 3, 4]),
        ("must be 0 or above|in the range", [0, -1, 2, 3, 1]),
        ("one class for each image", [1]),
        ("one class for each image", [1, 2]),
    ],
)
def test_errors_of_a_target_inside_a_graph(model, images, text, target):
    """Also of one whose values and length are known only when the graph runs."""
    cam = kg.GradCAM(model)
    free = [
        tf.TensorSpec([None, 16, 12, 3], tf.float32),
        tf.TensorSpec([None], tf.int32),
    ]
    inside = tf.function(lambda x, y: cam(x, target=y), free, autograph=False)
    np.testing.assert_allclose(
        inside(images, [0, 1, 2, 3, 3]), cam(images, target=[0, 1, 2, 3, 3]), atol=1e-6
    )
    with pytest.raises(tf.errors.InvalidArgumentError, match=text):
        inside(images, target)
    fixed = tf.function(lambda x: cam(x, target=target), autograph=False)
    with pytest.raises(ValueError, match=r"Argument `target`"):
        fixed(images)


def test_a_class_below_0_is_refused_where_the_classes_are_not_known(images):
    def two_outputs(inputs):
        x = L.GlobalAveragePooling2D()(L.Conv2D(3, 3)(inputs))
        return [L.Dense(2)(x), L.Dense(3)(x)]

    inputs = keras.Input((16, 12, 3))
    model = keras.Model(inputs, two_outputs(inputs))
    with pytest.raises(ValueError, match=r"`target` must be 0 or above. .*=\[-1\]"):
        kg.GradCAM(model, target=-1)
