"""Methods on the models that users have: any input, any rank, any precision, served."""

import subprocess
import sys

import keras
import numpy as np
import pytest
import tensorflow as tf
from conftest import (
    OF_CNNS,
    RAW,
    L,
    assert_unchanged,
    close,
    make_classifier,
    methods_of,
    randomize,
    state_of,
)

import keras_gradcam as kg
from keras_gradcam.arrays.precision import as_input
from keras_gradcam.evidence import biases, chunking, gradient_rules
from keras_gradcam.execution import ForwardPass
from keras_gradcam.execution.differentiation import UnconnectedError
from keras_gradcam.graphs import overridden

pytestmark = pytest.mark.filterwarnings("ignore:.* of the maps are all zeros")

NAMES = OF_CNNS
INPUTS = [n for n in NAMES if not kg.methods.METHODS[n].row.needs_layer]
CHANNELS = ["scorecam", "sscam", "iscam", "ablationcam"]


def images_of(model, count=2, seed=0):
    rng = np.random.default_rng(seed)
    shapes = [(count, *x.shape[1:]) for x in model.inputs]
    arrays = [rng.random(shape).astype("float32") for shape in shapes]
    return arrays if len(arrays) > 1 else arrays[0]


def model_of(rank, head):
    convolution = {1: L.Conv1D, 2: L.Conv2D, 3: L.Conv3D}[rank]
    pool = {
        1: L.GlobalAveragePooling1D,
        2: L.GlobalAveragePooling2D,
        3: L.GlobalAveragePooling3D,
    }[rank]
    layers = [
        keras.Input((11, 9, 8)[:rank] + (2,)),
        convolution(3, 3, name="first"),
        L.BatchNormalization(),
        L.ReLU(),
        convolution(4, 3, activation="relu", name="last"),
        pool() if head == "gap" else L.Flatten(),
        L.Dense(3, activation="softmax"),
    ]
    return randomize(keras.Sequential(layers))


@pytest.mark.parametrize("rank", [1, 3])
@pytest.mark.parametrize("name", methods_of(NAMES))
def test_signals_and_volumes(name, rank):
    model = model_of(rank, "gap")
    images = images_of(model)
    heatmaps = kg.GradCAM(model, method=name, target=1)(images).numpy()
    assert heatmaps.shape == images.shape[:-1]
    assert np.isfinite(heatmaps).all()
    # The class of the sample decides, where the method looks at the class at all.
    other = kg.GradCAM(model, method=name, target=2)(images).numpy()
    blind = name in ("eigencam", "kpcacam", "fem", "random")
    assert (np.abs(heatmaps - other).max() < 1e-6) == blind


@pytest.mark.parametrize("name", methods_of(NAMES))
def test_a_model_is_left_as_it_was(images, name):
    model = make_classifier("gap")
    model(images)
    before = state_of(model)
    kg.GradCAM(model, method=name, smooth="noise")(images)
    assert_unchanged(before, model)


@pytest.mark.parametrize("name", methods_of(NAMES))
def test_half_precision(images, name):
    keras.config.set_dtype_policy("mixed_float16")
    try:
        half = make_classifier("gap")
    finally:
        keras.config.set_dtype_policy("float32")
    model = make_classifier("gap")
    half.set_weights(model.get_weights())
    maps = [
        kg.GradCAM(each, method=name, target=1, resize=False)(images).numpy()
        for each in (model, half)
    ]
    assert maps[1].dtype == np.float32
    # Where rounding moves a value over a kink or a threshold, the map jumps.
    apart = np.abs(maps[1] - maps[0])
    assert np.quantile(apart, 0.97) < 0.02


@pytest.mark.parametrize("name", methods_of(NAMES))
def test_several_scores_are_those_of_each(images, name):
    """A target with n scores gives n maps: those that each would give alone."""
    model = make_classifier("gap")
    cam = kg.GradCAM(model, method=name, target=kg.targets.classes([2, 0]), **RAW)
    together = cam(images[:2]).numpy()
    for i, index in enumerate((2, 0)):
        alone = kg.GradCAM(model, method=name, target=index, **RAW)(images[:2])
        close(together[:, i], alone)
    assert len(cam.diagnose(images[:2])) == 2


@pytest.mark.parametrize("name", methods_of(NAMES))
def test_a_map_does_not_depend_on_its_batch(images, name):
    model = make_classifier("gap")
    cam = kg.GradCAM(model, method=name, target=1, chunk_size=8, **RAW)
    together = cam(images).numpy()
    if name == "random":  # Its noise is that of the place in the batch.
        return
    alone = np.concatenate([cam(images[i : i + 1]) for i in range(len(images))])
    close(together, alone)
    order = [3, 0, 4, 2, 1]
    close(cam(images[order]), together[order])


FLIPPED = [n for n in NAMES if n not in ("random", "smoothgradcam++", "smoothgrad")]


@pytest.mark.parametrize("name", methods_of([n for n in FLIPPED if n != "sscam"]))
def test_a_flipped_twin_gives_the_flipped_map(images, name):
    model, twin = make_classifier("gap"), make_classifier("gap")
    twin.set_weights([w[::-1] if w.ndim == 4 else w for w in model.get_weights()])
    maps = kg.GradCAM(model, method=name, target=1, **RAW)(images)
    flipped = kg.GradCAM(twin, method=name, target=1, **RAW)(images[:, ::-1])
    close(flipped[:, ::-1], maps)


@pytest.mark.parametrize("name", methods_of([n for n in FLIPPED if n != "sscam"]))
def test_a_transposed_twin_gives_the_transposed_map(images, name):
    model = make_classifier("gap")
    twin = keras.models.clone_model(model, input_tensors=keras.Input((12, 16, 3)))
    twin.set_weights(
        [np.swapaxes(w, 0, 1) if w.ndim == 4 else w for w in model.get_weights()]
    )
    maps = kg.GradCAM(model, method=name, target=1, **RAW)(images)
    swapped = kg.GradCAM(twin, method=name, target=1, **RAW)
    close(np.swapaxes(swapped(np.swapaxes(images, 1, 2)), 1, 2), maps)


@pytest.mark.parametrize("name", methods_of(NAMES))
def test_a_model_of_any_size(name):
    inputs = keras.Input((None, None, 3))
    x = L.Conv2D(4, 3, activation="relu")(inputs)
    x = L.Conv2D(5, 3, activation="relu")(x)
    model = randomize(keras.Model(inputs, L.Dense(3)(L.GlobalAveragePooling2D()(x))))
    cam = kg.GradCAM(model, method=name, target=1)
    for size in (12, 9):
        images = np.random.default_rng(0).random((2, size, size + 1, 3), "float32")
        maps = cam(images).numpy()
        assert maps.shape == (2, size, size + 1)
        fixed = keras.Input((size, size + 1, 3))
        twin = keras.Model(fixed, model(fixed))
        expected = kg.GradCAM(twin, method=name, target=1)(images)
        np.testing.assert_allclose(maps, expected, atol=1e-5)


class Subclassed(keras.Model):
    def __init__(self):
        super().__init__()
        self.convolution = L.Conv2D(4, 3, activation="relu")
        self.pool = L.GlobalAveragePooling2D()
        self.dense = L.Dense(3)

    @tf.function
    def features(self, images):
        # Also in a function of the user's own, every ReLU counts.
        return self.convolution(images)

    def call(self, images):
        return self.dense(self.pool(self.features(images)))


@pytest.mark.parametrize("name", methods_of(NAMES))
def test_a_subclassed_model(images, name):
    model = Subclassed()
    model(images)
    randomize(model)
    twin = keras.Sequential(
        [keras.Input((16, 12, 3)), model.convolution, model.pool, model.dense]
    )
    expected = kg.GradCAM(twin, method=name, target=1, **RAW)(images)
    close(kg.GradCAM(model, method=name, target=1, **RAW)(images), expected)


@pytest.mark.parametrize("name", INPUTS)
def test_a_model_without_a_layer_with_a_grid(name):
    """A dense network on pictures has no map of a layer, but one of its input."""
    model = randomize(
        keras.Sequential(
            [
                keras.Input((6, 5, 2)),
                L.Flatten(),
                L.Dense(8, activation="relu"),
                L.Dense(3),
            ]
        )
    )
    images = images_of(model)
    with pytest.raises(ValueError, match="no layer with a spatial grid"):
        kg.GradCAM(model)
    cam = kg.GradCAM(model, method=name, target=1)
    assert cam(images).shape == (2, 6, 5)
    if name == "saliency":
        x = tf.constant(images)
        with tf.GradientTape() as tape:
            tape.watch(x)
            y = model(x)[:, 1]
        expected = np.abs(tape.gradient(y, x)).max(-1)
        close(kg.GradCAM(model, method=name, target=1, **RAW)(images), expected)


def two_inputs():
    """The image comes second."""
    ages, image = keras.Input((1,), name="age"), keras.Input((9, 8, 3), name="image")
    x = L.Conv2D(4, 3, activation="relu", name="convolution")(image)
    x = L.GlobalAveragePooling2D()(x)
    x = L.Concatenate()([L.Dense(2, name="number")(ages), x])
    return randomize(keras.Model([ages, image], L.Dense(3, name="last")(x)))


@pytest.mark.parametrize("name", methods_of([n for n in NAMES if n != "cam"]))
@pytest.mark.parametrize("smooth", [None, "noise"])
def test_two_inputs(name, smooth):
    """The map is that of a model of the image alone, the other input being a number."""
    model = two_inputs()
    ages, images = images_of(model)
    ages[:] = 0.5
    options = {"method": name, "smooth": smooth, "target": 1, "chunk_size": 4, **RAW}
    maps = kg.GradCAM(model, **options)([ages, images])
    # The logits of the twin are the same: the number is in the bias.
    names = ("convolution", "number", "last")
    convolution, first, last = map(model.get_layer, names)
    image = keras.Input((9, 8, 3))
    x = L.GlobalAveragePooling2D()(convolution(image))
    head = L.Dense(3)
    twin = keras.Model(image, head(x))
    kernel, bias = last.get_weights()
    number = first(np.full((1, 1), 0.5)).numpy()[0]
    head.set_weights([kernel[2:], bias + number @ kernel[:2]])
    close(maps, kg.GradCAM(twin, **options)(images))


def test_the_input_that_is_explained_is_that_of_the_layers():
    """Not the first picture, if it goes into a dense layer at once."""
    context, image = keras.Input((5, 4, 3)), keras.Input((9, 8, 3))
    x = L.GlobalAveragePooling2D()(L.Conv2D(4, 3)(image))
    x = L.Concatenate()([L.Dense(2)(L.Flatten()(context)), x])
    model = keras.Model([context, image], L.Dense(3)(x))
    cam = kg.GradCAM(model, method="saliency", target=1)
    assert cam(images_of(model)).shape == (2, 9, 8)
    assert cam.input_index == 1


def test_an_input_by_its_name():
    model = two_inputs()
    images = images_of(model)
    cam = kg.GradCAM(model, "age", method="integrated_gradients", target=1, **RAW)
    assert cam.layer == "age"
    assert cam(images).shape == (2, 1)
    with pytest.raises(ValueError, match=r"one of \['age', 'image'\].*layer='conv'"):
        kg.GradCAM(model, "conv", method="saliency")


@pytest.mark.slow
def test_whole_numbers_as_input():
    inputs = keras.Input((12, 10, 3), dtype="uint8")
    x = L.Conv2D(4, 3, activation="relu")(L.Rescaling(1 / 255)(inputs))
    model = randomize(keras.Model(inputs, L.Dense(3)(L.GlobalAveragePooling2D()(x))))
    images = np.random.default_rng(0).integers(0, 256, (2, 12, 10, 3)).astype("uint8")
    for name in NAMES:
        if kg.methods.METHODS[name].row.place == "layer":
            maps = kg.GradCAM(model, method=name, target=1)(images).numpy()
            assert np.isfinite(maps).all()
        else:
            with pytest.raises(ValueError, match="there is none for .* of .*uint8"):
                kg.GradCAM(model, method=name)


@pytest.mark.parametrize("name", methods_of(NAMES))
@pytest.mark.parametrize("smooth", [None, "noise"])
def test_bytes_for_a_model_that_takes_floats(name, smooth):
    """What most users have: the model casts pixels itself, and so do we."""
    inputs = keras.Input((12, 10, 3))
    x = L.Conv2D(4, 3, activation="relu")(L.Rescaling(1 / 255)(inputs))
    model = randomize(keras.Model(inputs, L.Dense(3)(L.GlobalAveragePooling2D()(x))))
    images = np.random.default_rng(0).integers(0, 256, (2, 12, 10, 3)).astype("uint8")
    cam = kg.GradCAM(model, method=name, smooth=smooth, target=1, **RAW)
    close(cam(images), cam(images.astype("float32")))


def test_noise_on_bytes_does_not_wrap():
    """A subclassed model declares no type: what it gets stays bytes."""

    like = tf.constant([0], "uint8")
    values = tf.constant([-3.0, 0.6, 254.5, 300.0])
    np.testing.assert_array_equal(as_input(values, like), [0, 1, 254, 255])


def test_a_model_of_one_batch_size():
    """Its chunks are single copies of the batch."""
    inputs = keras.Input(batch_shape=(3, 9, 8, 2))
    x = L.Conv2D(4, 3, activation="relu", name="convolution")(inputs)
    x = L.GlobalAveragePooling2D()(x)
    x = L.Lambda(lambda x: keras.ops.reshape(x, (3, 4)))(x)
    model = randomize(keras.Model(inputs, L.Dense(3, name="head")(x)))
    free = keras.Input((9, 8, 2))
    x = L.GlobalAveragePooling2D()(model.get_layer("convolution")(free))
    twin = keras.Model(free, model.get_layer("head")(x))
    images = np.random.default_rng(0).random((3, 9, 8, 2), "float32")
    for name in CHANNELS:
        maps = kg.GradCAM(model, method=name, target=1, chunk_size=64, **RAW)(images)
        close(maps, kg.GradCAM(twin, method=name, target=1, **RAW)(images))


def test_a_residual_layer_is_ablated_alone():
    """A skip connection around the layer keeps what it carries."""
    inputs = keras.Input((9, 8, 2))
    x = L.Conv2D(4, 3, padding="same", activation="relu", name="early")(inputs)
    y = L.Conv2D(4, 3, padding="same", activation="relu", name="late")(x)
    pooled = L.GlobalAveragePooling2D()(L.Add()([x, y]))
    model = randomize(keras.Model(inputs, L.Dense(3)(pooled)))
    images = images_of(model)
    a = kg.GradCAM(model, "late").activations(images).numpy()
    weights = model.layers[-1].get_weights()[0]
    logits = model(images).numpy()[:, 1:2]
    lost = a.mean((1, 2)) * weights[:, 1] / np.abs(logits)
    expected = np.einsum("bijk,bk->bij", a, lost)
    cam = kg.GradCAM(model, "late", method="ablationcam", target=1, **RAW)
    # Two logits are subtracted.
    close(cam(images), expected, tolerance=1e-4)


@pytest.mark.parametrize("name", methods_of(NAMES))
def test_tokens_of_a_transformer(name):
    """A grid of tokens behind a class token."""
    inputs = keras.Input((8, 8, 3))
    x = L.Conv2D(6, 2, 2, name="patches")(inputs)
    x = L.Reshape((16, 6))(x)
    token = L.Lambda(lambda x: keras.ops.mean(x, axis=1, keepdims=True))(x)
    x = L.Concatenate(axis=1)([token, x])
    x = L.Add()([x, L.MultiHeadAttention(2, 3)(x, x)])
    x = L.LayerNormalization(name="tokens")(x)
    mixed = L.Add(name="mixed")([x, L.MultiHeadAttention(2, 3)(x, x)])
    head = L.Lambda(lambda x: x[:, 0])(mixed)
    model = randomize(keras.Model(inputs, L.Dense(3)(head)))
    images = images_of(model)
    layer = "tokens" if kg.methods.METHODS[name].row.needs_layer else None
    if name == "cam":
        with pytest.raises(ValueError, match="only for a layer with nothing but"):
            kg.GradCAM(model, layer, method=name)(images)
        return
    maps = kg.GradCAM(model, layer, method=name, target=1)(images).numpy()
    assert maps.shape == (2, 8, 8)
    assert np.isfinite(maps).all()


@pytest.mark.parametrize("pool", ["height", "channels"])
def test_cam_wants_the_mean_over_the_grid(images, pool):
    axis = {"height": 1, "channels": -1}[pool]
    inputs = keras.Input((16, 12, 3))
    x = L.Conv2D(4, 3, activation="relu", name="last")(inputs)
    x = L.Flatten()(L.Lambda(lambda x: keras.ops.mean(x, axis=axis))(x))
    cam = kg.GradCAM(keras.Model(inputs, L.Dense(3)(x)), "last", method="cam")
    with pytest.raises(ValueError, match="is not followed by"):
        cam(images)


def test_cam_explains_logits(images):
    cam = kg.GradCAM(make_classifier("gap"), method="cam", logits=False)
    with pytest.raises(ValueError, match="explains logits"):
        cam(images)


def test_cam_says_where_it_is_defined(images):
    for model, layer in ((make_classifier("flatten"), "last"), (make_classifier(), 0)):
        layer = layer or "first"
        with pytest.raises(ValueError, match=f"Layer '{layer}' is not followed by"):
            kg.GradCAM(model, layer, method="cam")(images)


@pytest.mark.parametrize("head", ["softmax", "sigmoid", None])
def test_cam_takes_any_head_and_logits(images, head):
    model = make_classifier("gap", activation=head)
    weights = model.get_layer("head").get_weights()[0]
    cam = kg.GradCAM(model, method="cam", target=2, **RAW)
    expected = cam.activations(images).numpy() @ weights[:, 2]
    close(cam(images), expected)


def test_channels_first(images):
    """`channels_first` and `channels_last` with the same weights: the same maps.

    Without convolutions, which have no such kernel on CPUs.
    """
    maps = {}
    for data_format in ("channels_last", "channels_first"):
        shape = (9, 8, 2) if data_format == "channels_last" else (2, 9, 8)
        first = data_format == "channels_first"
        inputs = keras.Input(shape)
        x = L.Permute((2, 3, 1))(inputs) if first else inputs
        x = L.Conv2D(4, 3, activation="relu", data_format="channels_last")(x)
        x = L.Permute((3, 1, 2))(x) if first else x
        x = L.MaxPooling2D(1, data_format=data_format, name="last")(x)
        x = L.GlobalAveragePooling2D(data_format=data_format)(x)
        model = randomize(keras.Model(inputs, L.Dense(3)(x)))
        images = np.random.default_rng(0).random((2, 9, 8, 2)).astype("float32")
        images = np.moveaxis(images, -1, 1) if first else images
        for name in ("gradcam", *CHANNELS, "eigencam", "fem"):
            cam = kg.GradCAM(model, "last", method=name, target=1, **RAW)
            maps.setdefault(name, []).append(cam(images).numpy())
    for last, first in maps.values():
        close(first, last)


@pytest.mark.slow
def test_several_layers_with_every_method(images):
    model = make_classifier("gap")
    for name in NAMES:
        row = kg.methods.METHODS[name].row
        if name == "cam" or not row.needs_layer or row.joins_depths:
            continue
        layers = ["first", "last"]
        together = kg.GradCAM(model, layers, method=name, target=1)(images)
        for layer, maps in zip(layers, together, strict=True):
            alone = kg.GradCAM(model, layer, method=name, target=1)(images)
            np.testing.assert_allclose(maps, alone, atol=2e-5)


@pytest.mark.slow
@pytest.mark.parametrize("name", ["gradcam", "scorecam", "guided_gradcam", "sscam"])
def test_served_without_the_package(images, name, tmp_path):
    model = make_classifier("gap")
    cam = kg.GradCAM(model, method=name, target=1)
    cam.export(tmp_path / "served", verbose=False)
    np.save(tmp_path / "images.npy", images)
    np.save(tmp_path / "maps.npy", cam(images))
    program = (
        "import numpy, sys, tensorflow as tf\n"
        f"served = tf.saved_model.load({str(tmp_path / 'served')!r})\n"
        f"images = numpy.load({str(tmp_path / 'images.npy')!r})\n"
        f"maps = numpy.load({str(tmp_path / 'maps.npy')!r})\n"
        "assert abs(served.serve(images) - maps).numpy().max() < 1e-5\n"
        "assert 'keras_gradcam' not in sys.modules\n"
    )
    subprocess.run([sys.executable, "-c", program], check=True)


@pytest.mark.parametrize("name", ["scorecam", "saliency", "smoothgrad"])
def test_predict_and_several_devices(images, name):
    model = make_classifier("gap")
    cam = kg.GradCAM(model, method=name, target=1)
    expected = cam(images).numpy()
    found = cam.predict(images, batch_size=2, verbose=0)
    np.testing.assert_allclose(found, expected, atol=1e-5)
    strategy = tf.distribute.MirroredStrategy(["CPU:0"])
    with strategy.scope():
        spread = kg.GradCAM(make_classifier("gap"), method=name, target=1)
    found = spread.predict(images, batch_size=2, verbose=0)
    np.testing.assert_allclose(found, expected, atol=1e-5)


@pytest.mark.slow
def test_another_method_at_any_time(images):
    """`method` may be set: also one that lies over the input, and back."""
    model = make_classifier("gap")
    cam = kg.GradCAM(model, target=1)
    for name in ("saliency", "gradcam", "guided_gradcam", "scorecam", "fullgrad"):
        cam.method = name
        expected = kg.GradCAM(model, method=name, target=1)(images)
        np.testing.assert_allclose(cam(images), expected, atol=1e-6)


@pytest.mark.parametrize("name", INPUTS)
def test_activations_and_gradients_of_the_input(images, name):
    cam = kg.GradCAM(make_classifier("flatten"), method=name, target=1)
    np.testing.assert_array_equal(cam.activations(images), images)
    assert cam.gradients(images).shape == images.shape
    assert {found.cause for found in cam.diagnose(images)} == {"fine"}
    assert cam.input_index == 0


def test_an_input_that_is_cut_off(images):
    inputs = keras.Input((16, 12, 3))
    x = L.Lambda(keras.ops.round)(inputs)
    x = L.Conv2D(3, 3)(x)
    model = keras.Model(inputs, L.Dense(2)(L.GlobalAveragePooling2D()(x)))
    assert kg.GradCAM(model)(images).shape == (5, 16, 12)
    cam = kg.GradCAM(model, method="saliency")
    # TensorFlow has no gradient for rounding.
    with pytest.raises(UnconnectedError, match="does not depend on input"):
        cam(images)
    assert cam.diagnose(images)[0].cause == "not connected"


def test_a_callable_with_evidence_of_another_kind(images):
    model = make_classifier("flatten")

    def losses(activations, ablated, scores):
        return kg.methods.METHODS["ablationcam"](activations, ablated, scores)

    losses.evidence = "ablated"
    expected = kg.GradCAM(model, method="ablationcam", target=1, **RAW)(images)
    close(kg.GradCAM(model, method=losses, target=1, **RAW)(images), expected)
    losses.evidence = "noise"
    with pytest.raises(ValueError, match=r"asks for evidence 'noise'.*'ablated'"):
        kg.GradCAM(model, method=losses)


@pytest.mark.parametrize("method", ["saliency", "scorecam", "fullgrad", "eigencam"])
def test_watched_while_training(images, method, tmp_path):
    model = make_classifier("gap")
    model.compile("sgd", "sparse_categorical_crossentropy")
    labels = np.arange(5) % 4
    callback = kg.GradCAMCallback(images, labels, method=method, log_dir=tmp_path)
    model.fit(images, labels, epochs=2, verbose=0, callbacks=[callback])
    assert list(tmp_path.rglob("*tfevents*"))
    heatmap = kg.explain(model, images[0], 1, method=method)
    assert heatmap.shape == (16, 12)


def large_half():
    """A model in half precision whose input gradients would underflow in it."""
    layers = [
        keras.Input((224, 224, 3)),
        L.Conv2D(4, 3, activation="relu"),
        L.Conv2D(4, 3, activation="relu"),
        L.GlobalAveragePooling2D(),
        L.Dense(3, dtype="float32"),
    ]
    return keras.Sequential(layers)


@pytest.mark.parametrize("name", ["saliency", "integrated_gradients", "guided_gradcam"])
def test_half_precision_does_not_underflow_on_the_way_to_the_input(name):
    keras.config.set_dtype_policy("mixed_float16")
    try:
        half = large_half()
    finally:
        keras.config.set_dtype_policy("float32")
    model = randomize(large_half(), scale=0.05)
    half.set_weights(model.get_weights())
    images = np.random.default_rng(0).random((1, 224, 224, 3)).astype("float32")
    maps = [
        kg.GradCAM(each, method=name, target=1, **RAW)(images).numpy()
        for each in (model, half)
    ]
    apart = np.abs(maps[1] - maps[0]) / np.abs(maps[0]).max()
    assert np.quantile(apart, 0.97) < 0.01


def test_smooth_gradcam_plus_plus_of_tiny_gradients(images):
    """Squares of 1e-20 are no floats. Alpha is 1/2 for all gradients that small."""
    model = make_classifier("flatten")
    maps = [
        kg.GradCAM(model, None, "smoothgradcam++", lambda y, s=s: s * y[:, 1], **RAW)
        for s in (1e-20, 1e-12)
    ]
    tiny, small = (cam(images).numpy().astype("float64") for cam in maps)
    close(tiny * 1e8, small)


def all_terms(x, terms, scores):
    """Everything that a network adds up to its score, at the first place of a map."""
    values = [term.values for term in terms]
    total = sum(keras.ops.sum(x, axis=range(1, len(x.shape))) for x in values)
    first = keras.ops.zeros_like(x[..., 0])
    return first + keras.ops.reshape(total, (-1, *[1] * (len(x.shape) - 2)))


all_terms.evidence = "biases"
all_terms.place = "input"


@pytest.mark.parametrize(
    "prepare",
    ["rescaling", "normalization", "lambda", "minus", "resized", "padded", "colors"],
)
def test_the_terms_of_fullgrad_add_up_to_the_score(images, prepare):
    """Also behind a rescaling of the input, whose offset is a bias."""
    scaled = [L.Rescaling(2.0, offset=-0.7)]
    front = {
        "rescaling": scaled,
        "normalization": L.Normalization(
            mean=[0.4, 0.5, 0.6], variance=[0.1, 0.2, 0.3]
        ),
        "lambda": L.Lambda(lambda x: 0.3 - x),
        "minus": L.Lambda(lambda x: (x - 0.4) / 0.3),
        "resized": [L.Resizing(20, 14), *scaled],
        "padded": [L.ZeroPadding2D(2), *scaled],
        "colors": L.Lambda(lambda x: x[..., ::-1] - np.float32([0.4, 0.5, 0.6])),
    }[prepare]
    model = keras.Sequential(
        [
            keras.Input((16, 12, 3)),
            *(front if isinstance(front, list) else [front]),
            L.Conv2D(4, 3, use_bias=False),
            L.BatchNormalization(),
            L.ReLU(),
            L.SeparableConv2D(5, 3, activation="relu"),
            L.GlobalAveragePooling2D(),
            L.Dense(3, name="head"),
        ]
    )
    for layer in model.layers[1:]:
        if layer.weights:
            randomize(layer)
    bias = model.get_layer("head").get_weights()[1][2]
    # Behind `Resizing` Keras takes a call without `training` for one of a training.
    expected = model(images, training=False).numpy()[:, 2] - bias
    maps = kg.GradCAM(model, method=all_terms, target=2, **RAW)(images).numpy()
    close(maps[:, 0, 0], expected, tolerance=1e-4)


def all_terms_of_a_layer(activations, terms, scores):
    return all_terms(activations, terms, scores)


all_terms_of_a_layer.evidence = "biases"


@pytest.mark.parametrize("layer", ["early", "normalized", "late"])
def test_hirescam_and_the_biases_behind_it_add_up_to_the_score(images, layer):
    """Of any network with ReLU and any layer: sum GA + sum b dY/db = Y."""
    model = randomize(
        keras.Sequential(
            [
                keras.Input((16, 12, 3)),
                L.Conv2D(4, 3, activation="relu", name="early"),
                L.Conv2D(5, 3, strides=2),
                L.BatchNormalization(name="normalized"),
                L.ReLU(),
                L.MaxPooling2D(2),
                L.Conv2D(4, 2, activation="relu", name="late"),
                L.Flatten(),
                L.Dense(3, name="head"),
            ]
        )
    )
    expected = model(images).numpy()[:, 2] - model.get_layer("head").get_weights()[1][2]
    cam = kg.GradCAM(model, layer, all_terms_of_a_layer, target=2, **RAW)
    close(cam(images).numpy()[:, 0, 0], expected, tolerance=1e-4)
    hirescam = kg.GradCAM(model, layer, "hirescam", target=2, **RAW)(images).numpy()
    if layer == "late":  # No bias on a grid is behind it.
        close(hirescam.sum((1, 2)), expected, tolerance=1e-4)
    else:
        apart = np.abs(hirescam.sum((1, 2)) - expected).max()
        assert apart > 1e-2 * np.abs(expected).max()


def test_biases_of_tokens_have_a_place_and_those_of_heads_none(images):
    """Their (batch, tokens, heads, features) only look like a picture."""
    inputs = keras.Input((8, 8, 3))
    x = L.Reshape((16, 6))(L.Conv2D(6, 2, 2, name="patches")(inputs))
    x = L.Add()([x, L.MultiHeadAttention(2, 3)(x, x)])
    outputs = L.Dense(3)(L.GlobalAveragePooling1D()(x))
    model = randomize(keras.Model(inputs, outputs))
    # The input itself, the bias of the patches, and that of the attention's output.
    assert count_of_terms(model) == 3


def count_of_terms(model):
    count = []

    def counting(x, terms, scores):
        count.append(len(terms))
        return x[..., 0]

    counting.evidence, counting.place = "biases", "input"
    kg.GradCAM(model, method=counting)(images_of(model))
    return count[0]


def test_a_constant_inside_an_activation_is_no_bias():
    """`relu6(x + 3) / 6` adds 3 to everything, and that is no parameter."""
    inputs = keras.Input((9, 8, 3))
    x = L.Conv2D(4, 3, activation="hard_silu")(inputs)
    x = L.Conv2D(4, 3, activation="softplus", use_bias=False)(x)
    x = L.GlobalAveragePooling2D()(x)
    assert count_of_terms(randomize(keras.Model(inputs, L.Dense(3)(x)))) == 2


def test_behind_a_division_by_the_input_nothing_is_a_rescaling():
    inputs = keras.Input((9, 8, 3))
    x = L.Lambda(lambda x: 1.0 / (x + 1.0) + 0.5)(inputs)
    x = L.GlobalAveragePooling2D()(L.Conv2D(4, 3)(x))
    # The input, the 1 that is added to it, and the bias of the convolution.
    assert count_of_terms(randomize(keras.Model(inputs, L.Dense(3)(x)))) == 3


def test_a_bias_of_channels_first():
    model = keras.Sequential(
        [
            keras.Input((2, 9, 8)),
            L.BatchNormalization(axis=1),
            L.GlobalAveragePooling2D(data_format="channels_first"),
            L.Dense(2),
        ]
    )
    found = []

    @tf.function(autograph=False)
    def graph(x):
        model(x, training=False)
        found.extend(biases.find(x, (2, 3)))

    graph.get_concrete_function(tf.TensorSpec([None, 2, 9, 8]))
    (term,) = found
    assert [where.axis for where in term.placed.axes] == [2, 3]
    assert term.placed.grid.shape == (9, 8)


def _guided_slope(function, x, sign):
    @tf.function(autograph=False)
    def slope(x):
        y = sign * function(x)
        forward_pass = ForwardPass([], y, None)
        with overridden(gradient_rules.guided(forward_pass)):
            return tf.gradients(y, x)[0]

    return slope(tf.constant(x)).numpy()


def test_guided_takes_prelu_apart_rightly():
    """relu(x) - a relu(-x): the second half must let pass what excites."""

    def prelu(x):
        return tf.nn.relu(x) - 0.5 * tf.nn.relu(-x)

    x = [[-1.0, 2.0, -3.0]]
    np.testing.assert_allclose(_guided_slope(prelu, x, 1.0), [[0.5, 1.0, 0.5]])
    np.testing.assert_allclose(_guided_slope(prelu, x, -1.0), [[-0.5, 0.0, -0.5]])


def test_guided_relu6():
    x = [-1.0, 2.0, 7.0]
    np.testing.assert_array_equal(_guided_slope(tf.nn.relu6, x, 1.0), [0, 1, 0])
    np.testing.assert_array_equal(_guided_slope(tf.nn.relu6, x, -1.0), [0, 0, 0])


def test_guided_says_that_loops_are_out_of_reach():
    inputs = keras.Input((4, 9, 8, 3))
    x = L.TimeDistributed(L.Conv2D(2, 3, activation="relu"))(inputs)
    x = L.ConvLSTM2D(2, 3, activation="relu")(x)
    model = keras.Model(inputs, L.Dense(2)(L.GlobalAveragePooling2D()(x)))
    cam = kg.GradCAM(model, method="guided_backprop")
    with pytest.raises(ValueError, match="inside of a loop"):
        cam(np.ones((1, 4, 9, 8, 3), "float32"))


def test_two_threads_and_two_sizes():
    """Each graph has the places of its own images, whatever another thread looks at."""
    import threading

    model = Subclassed()
    model(np.zeros((1, 8, 8, 3)))
    cam = kg.GradCAM(model, method="eigencam", resize=False)
    images = {n: np.random.default_rng(n).random((1, n, n, 3)) for n in range(6, 14)}
    found = {}

    def run_model(n):
        found[n] = cam(images[n]).shape

    threads = [threading.Thread(target=run_model, args=(n,)) for n in images]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert found == {n: (1, n - 2, n - 2) for n in images}


def test_threads_leave_tensorflow_as_it_was():
    """Functions of the user's run inline while a model is traced, and only then."""
    import threading

    model = Subclassed()
    images = np.random.default_rng(0).random((2, 9, 9, 3))
    model(images)
    for name in ("guided_backprop", "guided_gradcam", "gradcam"):
        cam = kg.GradCAM(model, method=name)
        threads = [threading.Thread(target=cam, args=(images,)) for _ in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert not tf.config.functions_run_eagerly()


class Compiled(Subclassed):
    @tf.function
    def call(self, images):
        return super().call(images)


def test_a_second_look_at_a_compiled_call(images):
    """Its function is traced already, and does not run its layers again."""
    model = Compiled()
    model(images)
    for name in ("gradcam", "layercam", "scorecam"):
        maps = kg.GradCAM(model, method=name, target=1)(images)
        assert maps.shape == (5, 16, 12)
    assert "conv2d" in str(kg.layers(model, images))


@pytest.mark.slow
def test_double_precision_behind_single_inputs(images):
    keras.config.set_dtype_policy("float64")
    try:
        double = make_classifier("gap")
    finally:
        keras.config.set_dtype_policy("float32")
    model = make_classifier("gap")
    double.set_weights(model.get_weights())
    for name in NAMES:
        maps = kg.GradCAM(double, method=name, target=1)(images)
        expected = kg.GradCAM(model, method=name, target=1)(images)
        np.testing.assert_allclose(maps, expected, atol=1e-3)


def test_an_output_that_is_none(images):
    class WithNone(Subclassed):
        def call(self, images):
            return {"logits": super().call(images), "none": None}

    model = WithNone()
    model(images)
    target = kg.targets.output("logits", 1)
    for name in ("gradcam", "cam", *CHANNELS):
        maps = kg.GradCAM(model, method=name, target=target)(images)
        assert maps.shape == (5, 16, 12)


def test_a_target_that_is_set_later_has_layers_of_its_own():
    inputs = keras.Input((9, 8, 3))
    left = L.Conv2D(2, 3, name="left")(inputs)
    right = L.Conv2D(2, 3, name="right")(inputs)
    outputs = [L.Dense(2)(L.GlobalAveragePooling2D()(x)) for x in (left, right)]
    cam = kg.GradCAM(keras.Model(inputs, outputs), target=kg.targets.output(0))
    images = np.random.default_rng(0).random((1, 9, 8, 3))
    cam(images)
    assert cam.layer == "left"
    cam.target = kg.targets.output(1)
    cam(images)
    assert cam.layer == "right"


def test_a_model_that_also_returns_a_number(images):
    """One for the whole batch, such as a temperature."""

    class WithNumber(Subclassed):
        def call(self, images):
            return {"y": super().call(images), "number": keras.ops.ones(())}

    model = WithNumber()
    model(images)
    randomize(model)
    target = kg.targets.output("y", 1)
    for name in ("gradcam", *CHANNELS):
        cam = kg.GradCAM(model, method=name, target=target, **RAW)
        assert np.isfinite(cam(images)).all()


def test_ablation_of_channels_that_a_reshape_moves(images):
    inputs = keras.Input((8, 8, 3))
    tokens = L.Reshape((16, 6), name="tokens")(L.Conv2D(6, 2, 2)(inputs))
    moved = L.Permute((2, 1), name="moved")(tokens)
    model = keras.Model(inputs, L.Dense(3)(L.Flatten()(moved)))

    def reshape(x):
        return keras.ops.reshape(keras.ops.transpose(x, (0, 2, 1)), (-1, 4, 4, 6))

    cam = kg.GradCAM(model, "moved", method="ablationcam", reshape=reshape)
    with pytest.raises(ValueError, match="`reshape` moves them from the last axis"):
        cam(images_of(model))


def test_a_map_of_the_wrong_axis_raises(images):
    model = make_classifier("gap")
    for wrong in (
        lambda a, g, s: keras.ops.sum(a * g, axis=1),
        lambda a, g, s: keras.ops.sum(a, axis=(1, 2)),
        lambda a, g, s: (a * g)[:, :5],
    ):
        with pytest.raises(ValueError, match="must return one map for each sample"):
            kg.GradCAM(model, method=wrong)(images)


def test_evidence_of_a_callable_is_checked_at_once(model):
    def method(activations, path, scores):
        return activations[..., 0]

    method.evidence = "path"
    with pytest.raises(ValueError, match="set the attribute `place`"):
        kg.GradCAM(model, method=method)
    method.place = "input"
    with pytest.raises(TypeError, match=r"'steps'.*options are: steps, baseline"):
        kg.GradCAM(model, method=method)
    method.evidence_options = {"steps": 2, "baseline": 0.0}
    first = kg.GradCAM(model, method=method)
    assert first(np.ones((1, 16, 12, 3))).shape == (1, 16, 12)


@pytest.mark.parametrize(
    "method",
    [
        ["gradcam"],
        {},
        3,
        None,
        np.array([1, 2]),
        kg.smoothing.noise,
        kg.smoothing.noise(),
        kg.targets.top_k,
        kg.targets.top_k(2),
    ],
)
def test_what_is_no_method_raises(model, method):
    with pytest.raises(ValueError, match="Argument `method` must be one of"):
        kg.GradCAM(model, method=method)


@pytest.mark.parametrize(
    ("typo", "meant"),
    [("GradCAM++", "gradcam++"), ("integrated-gradients", "integrated_gradients")],
)
def test_a_typo_in_a_method(model, typo, meant):
    import re

    with pytest.raises(ValueError, match=re.escape(f"Is '{meant}' meant?")):
        kg.GradCAM(model, method=typo)


def test_wrong_layers_raise_at_once(model):
    with pytest.raises(ValueError, match="must have one layer at least"):
        kg.GradCAM(model, layer=[], fuse="mean")
    with pytest.raises(TypeError, match="must be a layer's name"):
        kg.GradCAM(model, layer=3, method="saliency")


def test_a_chunk_size_that_is_set_later_is_checked(images):
    cam = kg.GradCAM(make_classifier(), method="scorecam")
    for wrong in ("8", 0):
        cam.chunk_size = wrong
        with pytest.raises(ValueError, match="the number of inputs to run at once"):
            cam(images)


def test_nothing_that_stands_out_is_no_evidence_against(images):
    cam = kg.GradCAM(make_classifier("gap"), method=kg.methods.fem(k=50.0))
    with pytest.warns(UserWarning, match="all zeros"):
        cam(images)
    assert {found.cause for found in cam.diagnose(images)} == {"nothing stands out"}


def test_a_free_grid_is_quick():
    """The smaller of both Gram matrices also where the grid is known late."""
    inputs = keras.Input((None, None, 3))
    x = L.Conv2D(4, 3, activation="relu")(inputs)
    model = randomize(keras.Model(inputs, L.Dense(2)(L.GlobalAveragePooling2D()(x))))
    images = np.random.default_rng(0).random((1, 130, 130, 3)).astype("float32")
    cam = kg.GradCAM(model, method="eigencam", **RAW)
    # The matrix of 16384 positions would be a gigabyte, and minutes to solve.
    a = cam.activations(images).numpy()[0].astype("float64")
    u, s, _ = np.linalg.svd(a.reshape(-1, 4), full_matrices=False)
    close(np.abs(cam(images)[0]), np.abs(u[:, 0] * s[0]).reshape(128, 128))


def test_options_and_their_errors():
    methods = kg.methods
    with pytest.raises(TypeError, match=r"'channel'.*options are: channels=None"):
        methods.scorecam(channel=3)
    with pytest.raises(TypeError, match="options are: none"):
        methods.gradcam(samples=3)
    for make, options, message in (
        (methods.scorecam, {"channels": 0}, "`channels` must be an int from 1 on"),
        (methods.sscam, {"samples": 2.5}, "`samples` must be an int"),
        (methods.smoothgrad, {"noise": -1}, "`noise` must be a number from 0 on"),
        (methods.smoothgrad, {"seed": "a"}, "`seed` must be an int"),
        (methods.iscam, {"steps": True}, "`steps` must be an int"),
        (methods.kpcacam, {"kernel": "poly"}, "`kernel` must be 'sigmoid' or 'rbf'"),
        (methods.kpcacam, {"gamma": 0}, "`gamma` must be a number above 0"),
        (methods.fullgrad, {"rescale": "layers"}, "`rescale` must be 'layer', 'chan"),
        (methods.fullgrad, {"rescale": True}, "'channel' or None. Received: rescale=T"),
        (methods.fullgrad, {"rescale": ["layer"]}, "`rescale` must be 'layer',"),
        (methods.fem, {"k": float("nan")}, "`k` must be a number from 0 on"),
        (methods.sscam, {"noise": np.ones(2)}, "`noise` must be a number from 0 on"),
        (methods.kpcacam, {"kernel": np.ones(2)}, "`kernel` must be 'sigmoid' or"),
        (
            methods.integrated_gradients,
            {"baseline": "black"},
            "`baseline` must be a number, or",
        ),
        (
            methods.integrated_gradients,
            {"baseline": float("nan")},
            "an array of finite numbers",
        ),
    ):
        with pytest.raises(ValueError, match=message):
            make(**options)


def test_methods_with_options_are_equal_saved_and_named(images, tmp_path):
    one, two = kg.methods.scorecam(channels=3), kg.methods.scorecam(channels=3)
    assert one == two
    assert hash(one) == hash(two)
    assert one != kg.methods.scorecam(channels=4)
    assert one != kg.targets.top_k(3)
    assert repr(one) == "methods.scorecam(channels=3)"
    model = make_classifier("flatten")
    baseline = np.full((16, 12, 3), 0.25, "float32")
    for method in (one, kg.methods.integrated_gradients(baseline=baseline, steps=3)):
        cam = kg.GradCAM(model, method=method, target=1)
        cam.save(tmp_path / "cam.keras")
        loaded = keras.models.load_model(tmp_path / "cam.keras")
        assert loaded.method == method
        np.testing.assert_allclose(loaded(images), cam(images), atol=1e-6)


def test_a_baseline_that_does_not_fit(images):
    method = kg.methods.integrated_gradients(baseline=np.zeros((7, 7, 3)))
    cam = kg.GradCAM(make_classifier(), method=method)
    with pytest.raises(ValueError, match=r"fits each input of shape .*\(7, 7, 3\)"):
        cam(images)
    method = kg.methods.integrated_gradients(baseline=np.zeros((3, 16, 12, 3)))
    with pytest.raises(ValueError, match=r"Received: baseline of shape \(3, 16"):
        kg.GradCAM(make_classifier(), method=method)(images)


@pytest.mark.parametrize("chunk_size", [0, -1, 2.5, "8", True])
def test_wrong_chunk_sizes_raise_at_once(model, chunk_size):
    with pytest.raises(ValueError, match="the number of inputs to run at once"):
        kg.GradCAM(model, chunk_size=chunk_size)


@pytest.mark.slow
def test_the_default_chunk_fits_the_memory():

    sizes = {}
    for size in (32, 224, 1024):
        model = keras.applications.MobileNetV2((size, size, 3), weights=None)
        traced = kg.GradCAM(model)._target_layers.chosen.traced
        sizes[size] = chunking.size(None, traced, None, None)
        assert chunking.size(7, traced, None, None) == 7
    free = keras.applications.MobileNetV2(
        (None, None, 3), weights=None, include_top=False
    )
    traced = kg.GradCAM(free)._target_layers.chosen.traced
    for size, largest in ((224, 32), (1024, 4)):
        images = np.zeros((1, size, size, 3))
        assert 1 <= chunking.size(None, traced, None, images) <= largest
    assert sizes[32] == chunking.LARGEST
    assert 1 <= sizes[1024] < sizes[224] < sizes[32]


def test_the_residual_softmax_is_what_shapleycam_is_made_for(images):
    """Behind pooling and a dense layer: H = -W (diag(p) - p p^T) W^T / HW^2."""
    model = make_classifier("gap")
    target = kg.targets.residual_softmax(2)
    cam = kg.GradCAM(model, method="shapleycam", target=target, **RAW)
    a = cam.activations(images).numpy().astype("float64")
    weights = model.get_layer("head").get_weights()[0].astype("float64")
    p = model(images).numpy().astype("float64")
    cells = a.shape[1] * a.shape[2]
    slope = (2 * weights[:, 2] - p @ weights.T) / cells
    change = a.mean((1, 2)) @ weights
    curved = -(p * change - p * (p * change).sum(1, keepdims=True)) @ weights.T / cells
    expected = np.einsum("bijk,bk->bij", a, slope - 0.5 * curved)
    close(cam(images), expected)
    plain = kg.GradCAM(model, method="gradcam", target=target, **RAW)(images)
    assert np.abs(plain - expected).max() > 1e-3 * np.abs(expected).max()
    with pytest.raises(ValueError, match="needs logits"):
        kg.GradCAM(model, target=target, logits=False)
    unit = make_classifier("gap", activation="sigmoid", classes=1)
    score = kg.GradCAM(unit, target=kg.targets.residual_softmax(1), **RAW)
    z = make_classifier("gap", activation=None, classes=1)
    z.set_weights(unit.get_weights())

    def by_hand(y):
        return y[:, 0] + tf.math.log_sigmoid(y[:, 0])

    close(score(images), kg.GradCAM(z, target=by_hand, **RAW)(images))
    predicted = model(images).numpy().argmax(-1)
    np.testing.assert_allclose(
        cam(images, target=kg.targets.residual_softmax()),
        cam(images, target=kg.targets.residual_softmax(predicted)),
        atol=1e-6,
    )
