"""Methods on the models that users have: any input, any rank, any precision, served."""

import subprocess
import sys

import keras
import numpy as np
import pytest
import tensorflow as tf
from conftest import L, assert_unchanged, make_classifier, randomize, state_of
from test_formulas import RAW, close

import keras_gradcam as kg
from keras_gradcam import slopes

pytestmark = pytest.mark.filterwarnings("ignore:.* of the maps are all zeros")

NAMES = list(kg.methods.METHODS)
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
@pytest.mark.parametrize("name", NAMES)
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


@pytest.mark.parametrize("name", NAMES)
def test_a_model_is_left_as_it_was(images, name):
    model = make_classifier("gap")
    model(images)
    before = state_of(model)
    kg.GradCAM(model, method=name, smooth="noise")(images)
    assert_unchanged(before, model)


@pytest.mark.parametrize("name", NAMES)
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


@pytest.mark.parametrize("name", NAMES)
def test_several_scores_are_those_of_each(images, name):
    """A target with n scores gives n maps: those that each would give alone."""
    model = make_classifier("gap")
    cam = kg.GradCAM(model, method=name, target=kg.targets.classes([2, 0]), **RAW)
    together = cam(images[:2]).numpy()
    for i, index in enumerate((2, 0)):
        alone = kg.GradCAM(model, method=name, target=index, **RAW)(images[:2])
        close(together[:, i], alone)
    assert len(cam.diagnose(images[:2])) == 2


@pytest.mark.parametrize("name", NAMES)
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


@pytest.mark.parametrize("name", [n for n in FLIPPED if n != "sscam"])
def test_a_flipped_twin_gives_the_flipped_map(images, name):
    model, twin = make_classifier("gap"), make_classifier("gap")
    twin.set_weights([w[::-1] if w.ndim == 4 else w for w in model.get_weights()])
    maps = kg.GradCAM(model, method=name, target=1, **RAW)(images)
    flipped = kg.GradCAM(twin, method=name, target=1, **RAW)(images[:, ::-1])
    close(flipped[:, ::-1], maps)


@pytest.mark.parametrize("name", NAMES)
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
        assert np.isfinite(maps).all()


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


@pytest.mark.parametrize("name", NAMES)
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
    image, ages = keras.Input((9, 8, 3), name="image"), keras.Input((1,), name="age")
    x = L.Conv2D(4, 3, activation="relu")(image)
    x = L.Concatenate()([L.GlobalAveragePooling2D()(x), L.Dense(2)(ages)])
    return randomize(keras.Model([image, ages], L.Dense(3)(x)))


@pytest.mark.parametrize("name", [n for n in NAMES if n != "cam"])
def test_two_inputs(name):
    model = two_inputs()
    images = images_of(model)
    maps = kg.GradCAM(model, method=name, target=1, chunk_size=4)(images).numpy()
    assert maps.shape == (2, 9, 8)
    assert np.isfinite(maps).all()


def test_an_input_by_its_name():
    model = two_inputs()
    images = images_of(model)
    cam = kg.GradCAM(model, "age", method="integrated_gradients", target=1, **RAW)
    assert cam.layer == "age"
    assert cam(images).shape == (2, 1)
    with pytest.raises(ValueError, match=r"one of \['image', 'age'\].*layer='conv'"):
        kg.GradCAM(model, "conv", method="saliency")


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


@pytest.mark.parametrize("name", NAMES)
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
    from keras_gradcam.question import as_input

    like = tf.constant([0], "uint8")
    values = tf.constant([-3.0, 0.6, 254.5, 300.0])
    np.testing.assert_array_equal(as_input(values, like), [0, 1, 254, 255])


def test_a_model_of_one_batch_size():
    """Its chunks are single copies of the batch."""
    inputs = keras.Input(batch_shape=(3, 9, 8, 2))
    x = L.Conv2D(4, 3, activation="relu")(inputs)
    model = randomize(keras.Model(inputs, L.Dense(3)(L.GlobalAveragePooling2D()(x))))
    free = keras.Input((9, 8, 2))
    twin = keras.Model(free, model.layers[-1](model.layers[2](model.layers[1](free))))
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


@pytest.mark.parametrize("name", NAMES)
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


def test_several_layers_with_every_method(images):
    model = make_classifier("gap")
    for name in NAMES:
        if name == "cam" or not kg.methods.METHODS[name].row.needs_layer:
            continue
        layers = ["first", "last"]
        together = kg.GradCAM(model, layers, method=name, target=1)(images)
        for layer, maps in zip(layers, together, strict=True):
            alone = kg.GradCAM(model, layer, method=name, target=1)(images)
            np.testing.assert_allclose(maps, alone, atol=2e-5)


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
    with pytest.raises(slopes.UnconnectedError, match="does not depend on input"):
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
        (methods.fem, {"k": float("nan")}, "`k` must be a number from 0 on"),
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
    with pytest.raises(ValueError, match=r"fits the input of shape .*\(7, 7, 3\)"):
        cam(images)


@pytest.mark.parametrize("chunk_size", [0, -1, 2.5, "8", True])
def test_wrong_chunk_sizes_raise_at_once(model, chunk_size):
    with pytest.raises(ValueError, match="the number of inputs to run at once"):
        kg.GradCAM(model, chunk_size=chunk_size)


def test_the_default_chunk_fits_the_memory():
    from keras_gradcam import chunks

    sizes = {}
    for size in (32, 224, 1024):
        model = keras.applications.MobileNetV2((size, size, 3), weights=None)
        anatomy = kg.GradCAM(model)._focus.anatomy
        sizes[size] = chunks.size(None, anatomy, None)
        assert chunks.size(7, anatomy, None) == 7
    assert sizes[32] == chunks.LARGEST
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
    predicted = model(images).numpy().argmax(-1)
    np.testing.assert_allclose(
        cam(images, target=kg.targets.residual_softmax()),
        cam(images, target=kg.targets.residual_softmax(predicted)),
        atol=1e-6,
    )
