"""What users bring to the training callback: odd data, odd models, odd habits."""

import copy
import csv
import os
import threading
import warnings

import keras
import numpy as np
import pytest
import tensorflow as tf
from conftest import L, make_classifier
from trainings import Keeps, fit, make_data, make_trainable, steps_of, written

import keras_gradcam as kg
from keras_gradcam import metrics
from keras_gradcam.training.color_scale import ColorScale
from keras_gradcam.training.panels.panel_drawer import PanelDrawer
from keras_gradcam.training.samples.explained_samples import ExplainedSamples


@pytest.fixture
def data():
    return make_data()


# Data.


@pytest.mark.parametrize("form", ["arrays", "dataset"])
def test_several_inputs_in_a_tuple(data, form):
    """A dataset has no other way to hold them."""
    images, labels = data
    inputs = images, np.ones((40, 5), "float32")
    picture, table = keras.Input((16, 12, 3)), keras.Input((5,))
    x = L.GlobalAveragePooling2D()(L.Conv2D(4, 3, name="last")(picture))
    model = keras.Model([picture, table], L.Dense(4)(L.Concatenate()([x, table])))
    model.compile("sgd", keras.losses.SparseCategoricalCrossentropy(from_logits=True))
    dataset = tf.data.Dataset.from_tensor_slices((inputs, labels)).batch(8)
    given = dataset if form == "dataset" else (inputs, labels)
    kept = Keeps()
    callback = kg.GradCAMCallback(
        given, hardest=given, num_hardest=2, log_dir=None, sinks=[kept]
    )
    model.fit(dataset, shuffle=False, verbose=0, callbacks=[callback])
    assert len(kept.panels[0]["gradcam/last"]) == 8
    assert len(kept.panels[0]["gradcam/highest loss"]) == 2
    raw = kg.GradCAM(model, normalize=None)([images[:8], inputs[1][:8]])
    peak = pytest.approx(metrics.peak_strength(raw), rel=1e-5)
    assert kept.scalars[0]["gradcam/peak"] == peak


@pytest.mark.parametrize("form", ["numbers", "rows"])
@pytest.mark.parametrize("place", ["tuple", "argument"])
def test_labels_in_a_list(data, form, place):
    images, labels = data
    labels = list(labels) if form == "numbers" else list(np.eye(4)[labels])
    arguments = ((images, labels),) if place == "tuple" else (images, labels)
    assert kg.GradCAMCallback(*arguments)._chosen.labels == list(data[1][:8])


def test_labels_of_several_outputs_are_passed_over(data):
    for labels in ([data[1], data[1]], {"a": data[1], "b": data[1]}):
        assert kg.GradCAMCallback((data[0], labels))._chosen.labels == [None] * 8
    assert kg.GradCAMCallback((data[0], {"a": data[1]}))._chosen.labels == list(
        data[1][:8]
    )


def test_images_that_cannot_be_drawn_as_they_are(data):
    images = np.random.default_rng(0).normal(size=(40, 16, 12, 6)).astype("float32")
    model = keras.Sequential(
        [
            keras.Input((16, 12, 6)),
            L.Conv2D(4, 3, activation="relu", name="last"),
            L.GlobalAveragePooling2D(),
            L.Dense(4, activation="softmax"),
        ]
    )
    model.compile("sgd", "sparse_categorical_crossentropy")
    kept = Keeps()
    callback = kg.GradCAMCallback(
        images,
        to_picture=lambda x: x[..., [4, 2, 0]],
        value_range=(-3, 3),
        log_dir=None,
        sinks=[kept],
    )
    model.fit(images, data[1], verbose=0, callbacks=[callback])
    expected = kg.to_uint8(images[0][..., [4, 2, 0]], value_range=(-3, 3))
    drawn = kept.panels[0]["gradcam/last"][0]
    np.testing.assert_array_equal(drawn[7:224:14, 7:168:14], expected)
    with pytest.raises(ValueError, match="Pass `to_picture`"):
        kg.GradCAMCallback(images)
    with pytest.raises(ValueError, match=r"pass it, such as `value_range=\(-1, 1\)`"):
        kg.GradCAMCallback(images[..., :3])
    with pytest.raises(ValueError, match="`to_picture` must return one picture"):
        kg.GradCAMCallback(images, to_picture=lambda x: x[:3, ..., :3])


def test_the_samples_are_a_copy(data):
    images = data[0].copy()
    callback = kg.GradCAMCallback(images, data[1])
    images[:] = 0
    np.testing.assert_array_equal(callback._chosen.samples[3].inputs, data[0][3])
    assert callback._chosen.samples[3].inputs.base is None


def test_long_and_low_images_are_not_enlarged_out_of_bounds():
    kept = Keeps()
    images = np.random.default_rng(0).random((4, 8, 900, 1)).astype("float32")
    model = keras.Sequential(
        [
            keras.Input((8, 900, 1)),
            L.Conv2D(2, 3, activation="relu"),
            L.GlobalAveragePooling2D(),
            L.Dense(2, activation="softmax"),
        ]
    )
    model.compile("sgd", "sparse_categorical_crossentropy")
    callback = kg.GradCAMCallback(images, log_dir=None, sinks=[kept], grid=True)
    model.fit(images, np.zeros(4), verbose=0, callbacks=[callback])
    for pictures in kept.panels[0].values():
        assert max(pictures[0].shape) <= 32_100


# Models.


def test_a_model_that_is_changed_and_compiled_anew(data):
    kept = Keeps()
    model = make_trainable()
    callback = kg.GradCAMCallback(*data, log_dir=None, sinks=[kept], num_samples=1)
    fit(model, data, [callback], epochs=1)
    model.get_layer("last").activation = keras.activations.tanh
    model.compile("sgd", model.loss)
    fit(model, data, [callback], epochs=1)
    row = model.predict(data[0][:1], verbose=0)[0]
    best = row.argmax()
    caption = f"true 0, predicted {best} ({row[best]:.0%})"
    heatmap = kg.GradCAM(model)(data[0][:1])[0]
    image = kg.to_uint8(data[0][0], value_range=(0, 1))
    expected = kg.panel(image, heatmap, caption, bool(best == 0))
    np.testing.assert_array_equal(kept.panels[1]["gradcam/last"][0], expected)


def test_one_callback_with_two_models(data, tmp_path):
    callback = kg.GradCAMCallback(*data, log_dir=tmp_path, update_freq=2)
    for _ in range(2):
        fit(make_trainable(), data, [callback], epochs=1, batch_size=10)
    assert steps_of(tmp_path) == steps_of(tmp_path, "gradcam-2") == [0, 2, 4]


def test_gradient_accumulation_counts_batches(data, tmp_path):
    optimizer = keras.optimizers.SGD(gradient_accumulation_steps=4)
    model = make_trainable(optimizer=optimizer)
    callback = kg.GradCAMCallback(*data, log_dir=tmp_path, update_freq=4)
    # 8 batches an epoch.
    fit(model, data, [callback], epochs=1, batch_size=5)
    fit(model, data, [callback], epochs=2, batch_size=5, initial_epoch=1)
    assert steps_of(tmp_path) == [0, 4, 8, 12, 16]
    # A callback of a new process knows the optimizer alone.
    another = kg.GradCAMCallback(*data, log_dir=tmp_path, update_freq=4)
    fit(model, data, [another], epochs=3, batch_size=5, initial_epoch=2)
    assert steps_of(tmp_path) == [0, 4, 8, 12, 16, 20, 24]


@pytest.mark.parametrize("head", ["sigmoid", "logits"])
def test_captions_of_a_multi_label_model(data, head):
    several = np.array([[1, 0, 1, 0], [0, 1, 1, 1], [0, 0, 0, 1]])
    model = make_classifier(activation="sigmoid" if head == "sigmoid" else None)
    model.compile("sgd", keras.losses.BinaryCrossentropy(from_logits=head == "logits"))
    kept = Keeps()
    callback = kg.GradCAMCallback(
        data[0][:3], several, label_map="abcd", log_dir=None, sinks=[kept]
    )
    model.fit(data[0][:3], several, verbose=0, callbacks=[callback])
    row = model.predict(data[0][:1], verbose=0)[0]
    row = row if head == "sigmoid" else keras.ops.sigmoid(row).numpy()
    found = np.flatnonzero(row > 0.5)
    names = " + ".join(f"{'abcd'[n]} ({row[n]:.0%})" for n in found)
    expected = kg.panel(
        kg.to_uint8(data[0][0], value_range=(0, 1)),
        kg.GradCAM(model)(data[0][:1])[0],
        f"true a + c, predicted {names or 'none'}",
        found.tolist() == [0, 2],
    )
    np.testing.assert_array_equal(kept.panels[0]["gradcam/last"][0], expected)


# Colours and captions.


@pytest.mark.parametrize(
    ("peaks", "remark"),
    [
        ([1], ""),
        ([0], "no evidence"),
        ([np.nan], "heatmap is NaN"),
        ([1, 1], ""),
        ([0, 0], "no evidence"),
        ([1, 0], "true: no evidence"),
        ([np.inf, 0], "predicted: heatmap is NaN, true: no evidence"),
    ],
)
def test_a_map_without_evidence_is_named(peaks, remark):
    """One of several that is empty is not the model's silence on all of them."""

    class Remembers:
        def of(self, outputs, labels, prefixes, suffixes):
            remarks.extend(suffixes)
            return [(suffix, None) for suffix in suffixes]

    remarks = []
    names = ["predicted", "true"] if len(peaks) > 1 else [""]
    heatmaps = [np.full((2, 4, 4), [[[peak]], [[1]]]) for peak in peaks]
    explained = ExplainedSamples(
        heatmaps, names, np.zeros((2, 4, 4, 3), "uint8"), [None] * 2, None
    )
    PanelDrawer("a", "b", Remembers(), ColorScale(1.0), None, False, False).draw(
        explained
    )
    assert remarks == [remark, ""]


def test_a_layer_that_is_dead_at_first_gets_its_scale_later(data):
    """And no scale of its own is made up for it, nor for the others."""
    kept = Keeps()
    model = make_trainable()
    model.optimizer.learning_rate = 0

    class Revives(keras.callbacks.Callback):
        def on_epoch_begin(self, epoch, logs=None):
            _, bias = model.get_layer("last").get_weights()
            weight = np.random.default_rng(0).random((3, 3, 4, 6))
            model.get_layer("last").set_weights([weight * (epoch > 0), bias])

    callback = kg.GradCAMCallback(
        *data, layer=["first", "last"], scale="run", log_dir=None, sinks=[kept]
    )
    fit(model, data, [callback, Revives()], epochs=3)
    assert "gradcam/last_scale" not in kept.scalars[0]
    for name in ("first", "last"):
        peak = kept.scalars[1][f"gradcam/{name}_peak"]
        assert kept.scalars[1][f"gradcam/{name}_scale"] == pytest.approx(peak)
        assert (
            kept.scalars[2][f"gradcam/{name}_scale"]
            == kept.scalars[1][f"gradcam/{name}_scale"]
        )


@pytest.mark.slow
@pytest.mark.parametrize("is_shared", [True, False])
def test_a_new_training_has_a_color_scale_of_its_own(data, tmp_path, is_shared):
    """Also where the last one did not get beyond its first epoch, and for a twin."""

    class Interrupts(keras.callbacks.Callback):
        def on_train_batch_begin(self, batch, logs=None):
            raise KeyboardInterrupt

    shared = kg.GradCAMCallback(*data, scale="run", log_dir=tmp_path)
    for weight in (1, 50):
        model = make_trainable()
        model.layers[-1].set_weights([weight * w for w in model.layers[-1].weights])
        with pytest.raises(KeyboardInterrupt):
            another = kg.GradCAMCallback(*data, scale="run", log_dir=tmp_path)
            fit(model, data, [another, Interrupts()])
        again = kg.GradCAMCallback(*data, scale="run", log_dir=tmp_path)
        fit(model, data, [shared if is_shared else again], epochs=1)
    scales = {
        run: curves["gradcam/scale"][0]
        for run, curves in written(tmp_path, "scalars").items()
    }
    assert list(scales) == ["gradcam", "gradcam-2"]
    assert scales["gradcam-2"] > 20 * scales["gradcam"]


@pytest.mark.parametrize("epochs", [[0, 3], [0, 2]])
def test_a_resumed_training_keeps_its_color_scale_wherever(data, tmp_path, epochs):
    """Where its steps go back, as after a crash, it has a run of its own."""
    model = make_trainable(optimizer=keras.optimizers.Adam(0.05))
    for first in epochs:
        callback = kg.GradCAMCallback(*data, scale="run", log_dir=tmp_path)
        fit(model, data, [callback], epochs=first + 3, initial_epoch=first)
    runs = written(tmp_path, "scalars")
    assert len(runs) == (1 if epochs == [0, 3] else 2)
    scales = [x for r in runs.values() for x in r["gradcam/scale"].values()]
    assert len(set(scales)) == 1


def test_a_resumed_training_keeps_its_color_scale(data, tmp_path):
    model = make_trainable(optimizer=keras.optimizers.Adam(0.05))
    for initial_epoch in (0, 3):
        callback = kg.GradCAMCallback(*data, scale="run", log_dir=tmp_path)
        fit(
            model,
            data,
            [callback],
            epochs=initial_epoch + 3,
            initial_epoch=initial_epoch,
        )
    curves = written(tmp_path, "scalars")["gradcam"]
    assert list(curves["gradcam/scale"]) == list(range(6)) or list(
        curves["gradcam/scale"]
    ) == [-1, *range(6)]
    assert len(set(curves["gradcam/scale"].values())) == 1
    assert len(set(curves["gradcam/peak"].values())) == 7


def test_what_waited_for_a_scale_in_vain_is_not_mixed_in(data, tmp_path):
    class Interrupts(keras.callbacks.Callback):
        def on_train_batch_begin(self, batch, logs=None):
            raise KeyboardInterrupt

    callback = kg.GradCAMCallback(*data, scale="run", log_dir=tmp_path)
    model = make_trainable()
    with pytest.raises(KeyboardInterrupt):
        fit(model, data, [callback, Interrupts()])
    fit(model, data, [callback], epochs=2)
    assert steps_of(tmp_path) == [-1, 0, 1]


def test_signed_maps_of_a_callable_activation_are_drawn(data):
    kept = Keeps()
    callback = kg.GradCAMCallback(
        *data, activation=keras.activations.tanh, log_dir=None, sinks=[kept]
    )
    fit(make_trainable(), data, [callback], epochs=1)
    assert list(kept.panels) == [-1, 0]


def test_high_losses_are_drawn_in_the_range_of_the_samples(data):
    """Of images that are augmented, say, and have no outline of their own."""
    wider = 1.4 * data[0] - 0.2
    kept = Keeps()
    callback = kg.GradCAMCallback(
        *data,
        hardest=(wider, data[1]),
        boxes=np.tile([2, 3, 9, 8], (40, 1)),
        log_dir=None,
        sinks=[kept],
    )
    fit(make_trainable(), data, [callback], epochs=1)
    clipped = kg.to_uint8(wider, value_range=(0, 1))
    for drawn in kept.panels[0]["gradcam/highest loss"]:
        assert (drawn[7:224:14, 7:168:14] == clipped).all(axis=(1, 2, 3)).any()


def test_a_model_that_is_dead_from_the_start_is_no_error(data):
    """Nor a warning: the panels show it, and the share of empty maps tells."""
    model = make_trainable()
    last = model.get_layer("last")
    last.set_weights([0 * w - 1 for w in last.get_weights()])
    callback = kg.GradCAMCallback(*data, log_dir=None)
    history = fit(model, data, [callback], epochs=1).history
    assert history["gradcam_empty"] == [1]


def test_a_linear_unit_is_two_classes_if_the_loss_says_so(data):
    model = make_classifier(activation=None, classes=1)
    model.compile("sgd", keras.losses.BinaryCrossentropy(from_logits=True))
    for options, text in (
        ({"y_true": data[1]}, "`y_true` has class 3, but the model has 2"),
        ({"label_map": ["no"]}, "has no name for class 1"),
    ):
        callback = kg.GradCAMCallback(data[0], log_dir=None, **options)
        callback.set_model(model)
        with pytest.raises(ValueError, match=text):
            callback.on_train_begin()


def test_a_regression_has_no_true_class_to_explain(data):
    model = make_classifier(activation=None, classes=1)
    model.compile("sgd", "mse")
    callback = kg.GradCAMCallback(*data, target="true", log_dir=None)
    callback.set_model(model)
    with pytest.raises(ValueError, match="class 3, but the model has 1 class, 0"):
        callback.on_train_begin()


def test_a_sigmoid_that_is_trained_on_values_names_no_class(data):
    model = make_classifier(activation="sigmoid", classes=1)
    model.compile("sgd", "mse")
    kept = Keeps()
    callback = kg.GradCAMCallback(data[0], log_dir=None, sinks=[kept])
    model.fit(data[0], np.linspace(0, 1, 40), verbose=0, callbacks=[callback])
    assert kept.panels[0]["gradcam/last"][0].shape[0] == 224


def test_high_losses_need_classes_where_a_target_explains_them(data):
    with pytest.raises(ValueError, match="labels in `hardest` are no classes"):
        kg.GradCAMCallback(
            *data, target="true", hardest=(data[0], data[1] + 0.5), log_dir=None
        )


# What fails.


def test_what_is_extra_fails_alone(data, tmp_path, monkeypatch):
    """Neither the numbers nor the panels go down with the search for high losses."""
    callback = kg.GradCAMCallback(*data, hardest=data, log_dir=tmp_path)
    monkeypatch.setattr(callback._hardest, "find", lambda: 1 / 0)
    with pytest.warns(UserWarning, match="ZeroDivisionError"):
        history = fit(make_trainable(), data, [callback]).history
    assert np.isfinite(history["gradcam_peak"]).all()
    assert steps_of(tmp_path) == [-1, 0, 1, 2]


def test_numbers_are_written_when_drawing_fails(data, tmp_path, monkeypatch):
    callback = kg.GradCAMCallback(*data, log_dir=tmp_path)
    monkeypatch.setattr(
        "keras_gradcam.training.panels.panel_drawer.panel", lambda *a, **k: 1 / 0
    )
    monkeypatch.setattr("keras_gradcam.training.callback.check_size", lambda *a: None)
    with pytest.warns(UserWarning, match="ZeroDivisionError"):
        fit(make_trainable(), data, [callback])
    steps = steps_of(tmp_path, tag="gradcam/peak", plugin="scalars")
    assert steps == [-1, 0, 1, 2]


def test_the_keys_of_the_logs_are_always_the_same(data, tmp_path, monkeypatch):
    """A CSV file has the columns of its first row, a file name those it was given."""
    model = make_trainable()
    path = tmp_path / "log.csv"

    def train(initial_epoch):
        callback = kg.GradCAMCallback(*data, log_dir=None)
        csv_file = keras.callbacks.CSVLogger(path, append=True)
        checkpoint = keras.callbacks.ModelCheckpoint(
            str(tmp_path / "{epoch}-{gradcam_drift:.2f}-{gradcam_peak:.2f}.keras")
        )
        callbacks = [callback, csv_file, checkpoint]
        epochs = initial_epoch + 2
        return fit(model, data, callbacks, epochs, initial_epoch=initial_epoch).history

    train(0)
    resumed = train(2)
    assert np.isnan(resumed["gradcam_drift"][0])
    with path.open() as file:
        rows = list(csv.DictReader(file))
    assert [int(row["epoch"]) for row in rows] == [0, 1, 2, 3]
    assert float(rows[3]["gradcam_drift"]) == pytest.approx(resumed["gradcam_drift"][1])
    monkeypatch.setattr(
        "keras_gradcam.training.samples.explained_samples.SampleExplainer.explain",
        lambda self: 1 / 0,
    )
    with pytest.warns(UserWarning, match="ZeroDivisionError"):
        failed = train(4)
    assert failed.keys() == resumed.keys()
    assert np.isnan(failed["gradcam_peak"]).all()


def test_each_training_says_again_that_something_fails(data):
    def offline(step, panels, scalars):
        raise ConnectionError

    callback = kg.GradCAMCallback(*data, log_dir=None, sinks=offline)
    for _ in range(2):
        with pytest.warns(UserWarning, match="ConnectionError"):
            fit(make_trainable(), data, [callback], epochs=1)


def test_each_part_that_fails_is_named(data, monkeypatch):
    def offline(step, panels, scalars):
        raise ValueError("offline")

    callback = kg.GradCAMCallback(*data, hardest=data, log_dir=None, sinks=offline)
    monkeypatch.setattr(callback._hardest, "find", lambda: int("x"))
    with pytest.warns(UserWarning) as warned:
        fit(make_trainable(), data, [callback])
    messages = [str(w.message) for w in warned if "failed in" in str(w.message)]
    assert len(messages) == 2
    assert "failed in looking for high losses" in messages[0]
    assert "failed in writing" in messages[1]


def test_two_callbacks_of_one_name_are_noticed(data):
    callbacks = [kg.GradCAMCallback(*data, log_dir=None) for _ in range(2)]
    with pytest.warns(UserWarning, match="Two `GradCAMCallback`s have the name"):
        fit(make_trainable(), data, callbacks)


# Habits.


def test_the_directory_may_be_changed_in_training(data, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    callback = kg.GradCAMCallback(
        *data, log_dir="logs", sinks=[kg.sinks.PictureFiles("png")]
    )
    (tmp_path / "elsewhere").mkdir()

    class Moves(keras.callbacks.Callback):
        def on_epoch_begin(self, epoch, logs=None):
            os.chdir(tmp_path / "elsewhere")

    fit(make_trainable(), data, [callback, Moves()])
    assert steps_of(tmp_path / "logs") == [-1, 0, 1, 2]
    assert len(list((tmp_path / "png/gradcam/last/00").glob("*.png"))) == 4
    assert not list((tmp_path / "elsewhere").iterdir())


def test_brackets_in_the_name_of_a_directory(data, tmp_path):
    log_dir = tmp_path / "logs[1]*?"
    for _ in range(2):
        fit(make_trainable(), data, [kg.GradCAMCallback(*data, log_dir=log_dir)], 1)
    assert sorted(written(log_dir)) == ["gradcam", "gradcam-2"]


def test_tuners_copy_callbacks(data):
    dataset = tf.data.Dataset.from_tensor_slices(data).batch(8)
    original = kg.GradCAMCallback(dataset, hardest=dataset, log_dir=None)
    histories = [
        fit(make_trainable(), data, [copy.deepcopy(original)], 1).history
        for _ in range(2)
    ]
    assert histories[0]["gradcam_peak"] == histories[1]["gradcam_peak"]


def test_a_training_loop_of_ones_own(data):
    kept = Keeps()
    model = make_trainable()
    callback = kg.GradCAMCallback(*data, log_dir=None, sinks=[kept])
    callbacks = keras.callbacks.CallbackList([callback], model=model)
    callbacks.on_train_begin()
    for epoch in range(2):
        callbacks.on_epoch_begin(epoch)
        model.train_on_batch(*data)
        callbacks.on_epoch_end(epoch, {})
    callbacks.on_train_end()
    assert list(kept.panels) == [-1, 0, 1]
    assert kept.closed == 1


def test_a_model_that_is_changed_in_a_loop_of_ones_own(data):
    """There is no function of Keras' that would tell."""
    kept = Keeps()
    model = make_trainable()
    callback = kg.GradCAMCallback(*data, log_dir=None, sinks=[kept])
    callbacks = keras.callbacks.CallbackList([callback], model=model)
    for activation in ("relu", "tanh"):
        model.get_layer("last").activation = keras.activations.get(activation)
        callbacks.on_train_begin()
        callbacks.on_epoch_begin(0)
        callbacks.on_epoch_end(0, {})
        callbacks.on_train_end()
    raw = kg.GradCAM(model, normalize=None)(data[0][:8])
    peak = pytest.approx(metrics.peak_strength(raw), rel=1e-5)
    assert kept.scalars[1]["gradcam/peak"] == peak


def test_filters_of_warnings_are_left_alone(data):
    """Whatever threads do at the same time, and whatever a user wants to see once."""
    before = list(warnings.filters)
    callbacks = [kg.GradCAMCallback(*data, log_dir=None) for _ in range(3)]
    models = [make_classifier() for _ in callbacks]
    for model in models:
        model.compile("sgd", "sparse_categorical_crossentropy")
    threads = [
        threading.Thread(target=fit, args=(model, data, [callback]))
        for model, callback in zip(models, callbacks, strict=True)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert warnings.filters == before


def test_a_probability_that_hides_its_logits_is_warned_of_once(data):
    """The sum of two softmaxes has no logits."""
    inputs = keras.Input((16, 12, 3))
    x = L.Conv2D(4, 3, activation="relu")(inputs)
    x = L.GlobalAveragePooling2D()(x)
    halves = [L.Dense(4, activation="softmax")(x) for _ in range(2)]
    model = keras.Model(inputs, L.Average()(halves))
    model.compile("sgd", "sparse_categorical_crossentropy")
    with pytest.warns(UserWarning, match="logits behind them cannot be") as warned:
        fit(model, data, [kg.GradCAMCallback(*data, log_dir=None)])
    assert len([w for w in warned if "logits behind" in str(w.message)]) == 1


@pytest.mark.filterwarnings("error")
def test_no_warning_at_all_reaches_the_training(data, tmp_path):
    """Not those of others, either, that the tests' own settings pass over."""
    for options in ({}, {"update_freq": 2}):
        callback = kg.GradCAMCallback(*data, log_dir=tmp_path, **options)
        fit(make_trainable(), data, [callback], epochs=1)
