"""The training callback: what it writes, and that training does not notice."""

import io
import subprocess
import sys

import keras
import numpy as np
import PIL.Image
import pytest
import tensorflow as tf
from conftest import L, make_classifier

import keras_gradcam as kg


@pytest.fixture
def data():
    rng = np.random.default_rng(0)
    return rng.random((40, 16, 12, 3)).astype("float32"), np.arange(40) % 4


def make_trainable():
    keras.utils.set_random_seed(0)
    model = keras.Sequential(
        [
            keras.Input((16, 12, 3)),
            L.RandomFlip(),
            L.Conv2D(4, 3, activation="relu"),
            L.BatchNormalization(),
            L.Dropout(0.3),
            L.Conv2D(6, 3, activation="relu", name="last"),
            L.GlobalAveragePooling2D(),
            L.Dense(4, activation="softmax"),
        ]
    )
    model.compile("adam", "sparse_categorical_crossentropy", metrics=["accuracy"])
    return model


def read(log_dir):
    """All image summaries below `log_dir`: run -> tag -> step -> list of pictures."""
    runs = {}
    for path in sorted(log_dir.rglob("*tfevents*")):
        for record in tf.data.TFRecordDataset(str(path)):
            event = tf.compat.v1.Event.FromString(record.numpy())
            for value in event.summary.value:
                if value.metadata.plugin_data.plugin_name == "images":
                    strings = tf.make_ndarray(value.tensor)
                    tags = runs.setdefault(path.parent.name, {})
                    tags.setdefault(value.tag, {})[event.step] = strings
    return runs


def pictures_of(strings):
    width, height, *encoded = strings
    found = [np.asarray(PIL.Image.open(io.BytesIO(data))) for data in encoded]
    assert all(x.shape == (int(height), int(width), 3) for x in found)
    return found


def fit(model, data, callback, epochs=3, **options):
    return model.fit(*data, epochs=epochs, verbose=0, callbacks=callback, **options)


@pytest.mark.parametrize("image_format", ["jpeg", "png"])
def test_one_panel_per_sample_and_epoch(data, tmp_path, image_format):
    callback = kg.GradCAMCallback(
        *data, log_dir=tmp_path, num_samples=3, image_format=image_format
    )
    fit(make_trainable(), data, [callback])
    runs = read(tmp_path)
    assert list(runs) == ["gradcam"]
    assert list(runs["gradcam"]) == ["gradcam/last"]
    steps = runs["gradcam"]["gradcam/last"]
    assert list(steps) == [0, 1, 2]
    for strings in steps.values():
        assert len(pictures_of(strings)) == 3


def test_a_panel_shows_input_map_and_verdict(data, tmp_path):
    model = make_trainable()
    names = ["ant", "bee", "cat", "dog"]
    callback = kg.GradCAMCallback(
        *data, log_dir=tmp_path, label_map=names, image_format="png"
    )
    fit(model, data, [callback], epochs=1)
    panels = pictures_of(read(tmp_path)["gradcam"]["gradcam/last"][0])
    x, y = data[0][:8], data[1][:8]
    predictions = model.predict(x, verbose=0)
    heatmaps = kg.GradCAM(model)(x)
    for i, drawn in enumerate(panels):
        best = predictions[i].argmax()
        caption = (
            f"true {names[y[i]]}, predicted {names[best]} ({predictions[i, best]:.0%})"
        )
        expected = kg.panel(kg.to_uint8(x[i]), heatmaps[i], caption, best == y[i])
        np.testing.assert_array_equal(drawn, expected)


def test_training_is_bit_identical(data, tmp_path):
    plain, watched = make_trainable(), None
    history = fit(plain, data, [])
    watched = make_trainable()
    logged = fit(watched, data, [kg.GradCAMCallback(*data, log_dir=tmp_path)])
    for a, b in zip(plain.variables, watched.variables, strict=True):
        np.testing.assert_array_equal(a.numpy(), b.numpy())
    assert history.history == logged.history


def test_one_trace_for_three_fits_and_twenty_epochs(data, tmp_path):
    class Counts(L.Layer):
        listening = False
        traces = 0

        def call(self, x):
            type(self).traces += self.listening
            return x

    class Listens(keras.callbacks.Callback):
        """Counts only what runs between an epoch's end and the next batch."""

        def on_train_begin(self, logs=None):
            Counts.listening = True

        def on_epoch_begin(self, epoch, logs=None):
            Counts.listening = False

        def on_epoch_end(self, epoch, logs=None):
            Counts.listening = True

    model = keras.Sequential([keras.Input((16, 12, 3)), Counts(), make_classifier()])
    model.compile("sgd", "sparse_categorical_crossentropy")
    callbacks = [Listens(), kg.GradCAMCallback(*data, log_dir=tmp_path)]
    for _ in range(3):
        fit(model, data, callbacks, epochs=20)
    # One pass to find the layer, one for the graph of the maps.
    assert Counts.traces == 2
    runs = read(tmp_path)
    assert list(runs) == ["gradcam", "gradcam-2", "gradcam-3"]
    steps = runs["gradcam"]["gradcam/classifier/last"]
    assert list(steps) == list(range(20))
    assert (steps[0][2:] != steps[19][2:]).any()


def test_freq_and_initial_epoch(data, tmp_path):
    callback = kg.GradCAMCallback(*data, log_dir=tmp_path, freq=3)
    model = make_trainable()
    fit(model, data, [callback], epochs=5)
    fit(model, data, [callback], epochs=10, initial_epoch=5)
    assert list(read(tmp_path)["gradcam"]["gradcam/last"]) == [0, 3, 6, 9]
    never = kg.GradCAMCallback(*data, log_dir=tmp_path / "never", freq=0)
    fit(model, data, [never])
    assert read(tmp_path / "never") == {}


@pytest.mark.parametrize("order", [1, -1])
def test_update_freq_of_the_tensorboard_callback_drops_nothing(data, tmp_path, order):
    """It leaves a recording condition open that would swallow most epochs."""
    pytest.importorskip("tensorboard")
    callbacks = [
        keras.callbacks.TensorBoard(tmp_path, update_freq=7),
        kg.GradCAMCallback(*data, log_dir=tmp_path),
    ][::order]
    fit(make_trainable(), data, callbacks, epochs=4, batch_size=8)
    runs = read(tmp_path)
    assert list(runs) == ["gradcam"]
    assert list(runs["gradcam"]["gradcam/last"]) == [0, 1, 2, 3]


def test_every_epoch_is_on_disk_when_it_ends(data, tmp_path):
    class Crashes(keras.callbacks.Callback):
        def on_epoch_begin(self, epoch, logs=None):
            if epoch == 2:
                raise KeyboardInterrupt

    callbacks = [kg.GradCAMCallback(*data, log_dir=tmp_path), Crashes()]
    with pytest.raises(KeyboardInterrupt):
        fit(make_trainable(), data, callbacks, epochs=5)
    assert list(read(tmp_path)["gradcam"]["gradcam/last"]) == [0, 1]


def test_tensorboard_reads_it(data, tmp_path):
    accumulator = pytest.importorskip(
        "tensorboard.backend.event_processing.event_accumulator"
    )
    fit(make_trainable(), data, [kg.GradCAMCallback(*data, log_dir=tmp_path)])
    events = accumulator.EventAccumulator(
        str(tmp_path / "gradcam"), size_guidance={"tensors": 0}
    ).Reload()
    assert [e.step for e in events.Tensors("gradcam/last")] == [0, 1, 2]
    metadata = events.SummaryMetadata("gradcam/last")
    assert metadata.plugin_data.plugin_name == "images"
    assert "samples_per_plugin" in metadata.summary_description


def test_works_without_the_tensorboard_package(tmp_path):
    code = f"""
import sys
sys.modules["tensorboard"] = None
import keras, numpy as np, keras_gradcam as kg
model = keras.Sequential([keras.Input((8, 8, 1)), keras.layers.Conv2D(2, 3),
    keras.layers.GlobalAveragePooling2D(), keras.layers.Dense(2)])
model.compile("sgd", "mse")
x = np.random.default_rng(0).random((4, 8, 8, 1))
model.fit(x, np.zeros((4, 2)), verbose=0,
    callbacks=[kg.GradCAMCallback(x, log_dir={str(tmp_path)!r})])
"""
    subprocess.run([sys.executable, "-c", code], check=True)
    assert list(read(tmp_path)["gradcam"]["gradcam/conv2d"]) == [0]


def test_several_layers_make_one_wider_panel(data, tmp_path):
    callback = kg.GradCAMCallback(
        *data, layer=["conv2d", "last"], log_dir=tmp_path, num_samples=1
    )
    model = make_trainable()
    model.layers[1].name = "conv2d"
    fit(model, data, [callback], epochs=1)
    ((tag, steps),) = read(tmp_path)["gradcam"].items()
    assert tag == "gradcam/conv2d, last"
    (panel,) = pictures_of(steps[0])
    assert panel.shape[1] == 5 * 12 * (224 // 16)


@pytest.mark.parametrize("options", [{"normalize": None}, {"activation": None}])
def test_raw_and_signed_maps_are_drawn(data, tmp_path, options):
    fit(
        make_trainable(), data, [kg.GradCAMCallback(*data, log_dir=tmp_path, **options)]
    )
    assert len(read(tmp_path)["gradcam"]["gradcam/last"]) == 3


def test_confidence_of_a_model_that_returns_logits(data, tmp_path):
    model = make_classifier(activation=None)
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    model.compile("sgd", loss)
    callback = kg.GradCAMCallback(*data, log_dir=tmp_path)
    fit(model, data, [callback], epochs=1)
    captions = callback._captions(model(data[0][:8]))
    probabilities = keras.ops.softmax(model(data[0][:8])).numpy()
    for (caption, _), row in zip(captions, probabilities, strict=True):
        assert caption.endswith(f"predicted {row.argmax()} ({row.max():.0%})")


def test_one_hot_labels_and_binary_models(data, tmp_path):
    one_hot = kg.GradCAMCallback(data[0], np.eye(4)[data[1]], log_dir=tmp_path)
    assert one_hot._labels == list(data[1][:8])
    model = make_classifier(activation="sigmoid", classes=1)
    model.compile("sgd", "binary_crossentropy")
    labels = data[1] % 2
    callback = kg.GradCAMCallback(data[0], labels, log_dir=tmp_path)
    model.fit(data[0], labels, verbose=0, callbacks=[callback])
    p = model(data[0][:8]).numpy()[:, 0]
    for i, (caption, correct) in enumerate(callback._captions(model(data[0][:8]))):
        best = int(p[i] > 0.5)
        assert f"predicted {best} ({max(p[i], 1 - p[i]):.0%})" in caption
        assert correct == (best == labels[i])


@pytest.mark.parametrize(
    ("text", "options"),
    [
        ("`freq` must be an int of at least 0. Received: freq=-1", {"freq": -1}),
        ("`num_samples` must be an int of at least 1", {"num_samples": 0}),
        ("`image_format` must be 'jpeg' or 'png'.*'gif'", {"image_format": "gif"}),
        ("same length. Received: 40 images and 3 labels", {"y_true": [1, 2, 3]}),
        (
            "`y_true` must have one class.*shape \\(40, 2, 2\\)",
            {"y_true": np.zeros((40, 2, 2))},
        ),
        (
            "`label_map` has no name for class 2",
            {"y_true": np.arange(40) % 3, "label_map": ["a", "b"]},
        ),
    ],
)
def test_errors_of_the_constructor(data, text, options):
    with pytest.raises(ValueError, match=text):
        kg.GradCAMCallback(data[0], **options)


def test_labels_that_are_no_classes_are_refused(data):
    multi_hot = np.array([[0, 1, 1, 0]] * 40)
    for labels in (multi_hot, [-1] * 40, ["cat"] * 40, np.full(40, 0.5)):
        with pytest.raises(ValueError, match="`y_true` must have one class, an int"):
            kg.GradCAMCallback(data[0], labels)


@pytest.mark.parametrize("units", [1, 4])
def test_a_regression_has_no_predicted_class(data, tmp_path, units):
    model = make_classifier(activation=None, classes=units)
    model.get_layer("head").set_weights(
        [1e-3 * w + 0.4 for w in model.get_layer("head").get_weights()]
    )
    model.compile("sgd", "mse")
    callback = kg.GradCAMCallback(data[0], log_dir=tmp_path)
    callback.set_model(model)
    callback.on_train_begin()
    assert callback._captions(model(data[0][:8])) == [(None, None)] * 8


def test_a_target_with_several_scores_and_the_true_label(data, tmp_path):
    for target, cells in ((kg.targets.top_k(2), 5), ("true", 3)):
        log_dir = tmp_path / str(cells)
        callback = kg.GradCAMCallback(*data, target=target, log_dir=log_dir)
        fit(make_trainable(), data, [callback], epochs=1)
        ((_, steps),) = read(log_dir)["gradcam"].items()
        assert pictures_of(steps[0])[0].shape[1] == cells * 12 * (224 // 16)


def test_a_log_dir_that_cannot_be_raises_before_the_first_batch(data, tmp_path):
    (tmp_path / "file").write_text("")
    callback = kg.GradCAMCallback(*data, log_dir=tmp_path / "file")
    with pytest.raises(FileExistsError):
        fit(make_trainable(), data, [callback])


@pytest.mark.parametrize("shape", [(0, 16, 12, 3), (2, 8, 900, 1)])
def test_images_that_make_no_panel_are_refused(shape):
    with pytest.raises(ValueError, match="`images`"):
        kg.GradCAMCallback(np.zeros(shape))


def test_errors_of_foreign_options_and_datasets(data):
    with pytest.raises(TypeError, match=r"unknown arguments: \['bogus'\]"):
        kg.GradCAMCallback(*data, bogus=1)
    dataset = tf.data.Dataset.from_tensor_slices(data)
    with pytest.raises(ValueError, match="must be an array .*TensorSlice"):
        kg.GradCAMCallback(dataset)


@pytest.mark.parametrize(
    ("text", "images", "options"),
    [
        ("no layer 'nowhere'", np.zeros((4, 16, 12, 3)), {"layer": "nowhere"}),
        ("incompatible with the layer", np.zeros((4, 16, 12, 1)), {}),
        ("in the range 0 to 3", np.zeros((4, 16, 12, 3)), {"target": 4}),
        ("no name for class 3", np.zeros((4, 16, 12, 3)), {"label_map": list("abc")}),
        ("`y_true` has class 7, but", np.zeros((1, 16, 12, 3)), {"y_true": [7]}),
    ],
)
def test_wrong_configuration_raises_before_the_first_batch(
    data, tmp_path, text, images, options
):
    batches = []
    count = keras.callbacks.LambdaCallback(
        on_train_batch_begin=lambda batch, logs: batches.append(batch)
    )
    callback = kg.GradCAMCallback(images, **{"log_dir": tmp_path, **options})
    with pytest.raises(ValueError, match=text):
        fit(make_trainable(), data, [count, callback])
    assert batches == []
