"""The training callback: what it draws, measures and writes, when, and how it fails."""

import subprocess
import sys

import keras
import numpy as np
import pytest
import tensorflow as tf
from conftest import TESTS, L, make_classifier
from trainings import (
    Keeps,
    fit,
    make_data,
    make_trainable,
    pictures_of,
    steps_of,
    written,
)

import keras_gradcam as kg
from keras_gradcam import metrics
from keras_gradcam.pictures.panels import outline

MEASURES = ["peak", "entropy", "empty", "drift"]
PLACES = ["pointing", "inside"]


@pytest.fixture
def data():
    return make_data()


# What is drawn.


@pytest.mark.parametrize("image_format", ["jpeg", "png"])
def test_one_panel_per_sample_and_epoch(data, tmp_path, image_format):
    callback = kg.GradCAMCallback(
        *data, log_dir=tmp_path, num_samples=3, image_format=image_format
    )
    fit(make_trainable(), data, [callback])
    runs = written(tmp_path)
    assert list(runs) == ["gradcam"]
    assert list(runs["gradcam"]) == ["gradcam/last"]
    steps = runs["gradcam"]["gradcam/last"]
    assert list(steps) == [-1, 0, 1, 2]
    for strings in steps.values():
        assert len(pictures_of(strings)) == 3
        assert (
            strings[2][:4]
            == {"jpeg": b"\xff\xd8\xff\xe0", "png": b"\x89PNG"}[image_format]
        )


def caption_of(row, true, names, before=""):
    best = row.argmax()
    text = f"{before}true {names[true]}, predicted {names[best]} ({row[best]:.0%})"
    return text, bool(best == true)


def test_a_panel_shows_input_map_and_verdict(data, tmp_path):
    model = make_trainable()
    names = ["ant", "bee", "cat", "dog"]
    x, y = data[0][:8], data[1][:8]
    moments = {-1: (model.predict(x, verbose=0), kg.GradCAM(model)(x).numpy())}
    callback = kg.GradCAMCallback(
        *data, log_dir=tmp_path, label_map=names, image_format="png"
    )
    fit(model, data, [callback], epochs=1)
    moments[0] = model.predict(x, verbose=0), kg.GradCAM(model)(x).numpy()
    for step, (predictions, heatmaps) in moments.items():
        drawn = pictures_of(written(tmp_path)["gradcam"]["gradcam/last"][step])
        before = "before training, " if step < 0 else ""
        for i in range(8):
            caption, correct = caption_of(predictions[i], y[i], names, before)
            image = kg.to_uint8(x[i], value_range=(0, 1))
            expected = kg.panel(image, heatmaps[i], caption, correct)
            np.testing.assert_array_equal(drawn[i], expected)


@pytest.mark.parametrize("options", [{"normalize": None}, {"activation": None}])
def test_raw_and_signed_maps_are_drawn(data, tmp_path, options):
    callback = kg.GradCAMCallback(*data, log_dir=tmp_path, **options)
    fit(make_trainable(), data, [callback])
    assert steps_of(tmp_path) == [-1, 0, 1, 2]


def test_options_of_gradcam_are_passed_on(data):
    kept = Keeps()
    model = make_trainable()
    options = {"activation": None, "normalize": "minmax", "logits": False}
    callback = kg.GradCAMCallback(*data, log_dir=None, sinks=kept, **options)
    fit(model, data, [callback], epochs=1)
    heatmaps = kg.GradCAM(model, **options)(data[0][:8]).numpy()
    for drawn, heatmap in zip(kept.panels[0]["gradcam/last"], heatmaps, strict=True):
        image = np.zeros((16, 12, 3), "uint8")
        expected = kg.panel(image, heatmap, colormap="coolwarm")
        np.testing.assert_array_equal(drawn[:224, 168:336], expected[:, 168:336])


def test_several_layers_make_one_wider_panel(data, tmp_path):
    callback = kg.GradCAMCallback(
        *data, layer=["first", "last"], log_dir=tmp_path, num_samples=1
    )
    model = make_trainable()
    history = fit(model, data, [callback], epochs=1).history
    ((tag, steps),) = written(tmp_path)["gradcam"].items()
    assert tag == "gradcam/first, last"
    (panel,) = pictures_of(steps[0])
    assert panel.shape[1] == 5 * 12 * (224 // 16)
    measured = {f"gradcam_{layer}_{m}" for layer in ("first", "last") for m in MEASURES}
    assert set(history) == {"accuracy", "loss", *measured}
    raw = kg.GradCAM(model, ["first", "last"], normalize=None)(data[0][:1])
    for layer, heatmaps in zip(("first", "last"), raw, strict=True):
        peak = metrics.peak_strength(heatmaps)
        assert history[f"gradcam_{layer}_peak"] == [pytest.approx(peak, rel=1e-5)]


def test_predicted_and_true_class_side_by_side(data):
    kept = Keeps()
    model = make_trainable()
    callback = kg.GradCAMCallback(*data, target="both", log_dir=None, sinks=[kept])
    history = fit(model, data, [callback], epochs=1).history
    heatmaps = [
        kg.GradCAM(model)(data[0][:8]).numpy(),
        kg.GradCAM(model)(data[0][:8], target=data[1][:8]).numpy(),
    ]
    predictions = model.predict(data[0][:8], verbose=0)
    for i, drawn in enumerate(kept.panels[0]["gradcam/last"]):
        expected = kg.panel(
            kg.to_uint8(data[0][i], value_range=(0, 1)),
            [heatmaps[0][i], heatmaps[1][i]],
            *caption_of(predictions[i], data[1][i], "0123"),
            titles=["predicted", "true"],
        )
        np.testing.assert_array_equal(drawn, expected)
    raw = kg.GradCAM(model, normalize=None)(data[0][:8], target=data[1][:8])
    expected = pytest.approx(metrics.peak_strength(raw), rel=1e-5)
    assert history["gradcam_true_peak"] == [expected]
    assert "gradcam_predicted_drift" in history


def test_a_target_with_several_scores_and_the_true_label(data, tmp_path):
    for target, cells in ((kg.targets.top_k(2), 5), ("true", 3), ([1] * 40, 3)):
        log_dir = tmp_path / str(target)
        callback = kg.GradCAMCallback(*data, target=target, log_dir=log_dir)
        fit(make_trainable(), data, [callback], epochs=1)
        ((_, steps),) = written(log_dir)["gradcam"].items()
        assert pictures_of(steps[0])[0].shape[1] == cells * 12 * (224 // 16)


def test_the_true_classes_of_a_multi_label_model(data):
    model = make_classifier(activation="sigmoid")
    model.compile("sgd", "binary_crossentropy")
    several = np.array([[1, 0, 1, 0], [0, 1, 1, 1], [0, 0, 0, 1]])
    kept = Keeps()
    callback = kg.GradCAMCallback(
        data[0][:3], several, target="true", log_dir=None, sinks=[kept], normalize=None
    )
    model.fit(data[0][:3], several, verbose=0, callbacks=[callback])
    raw = kg.GradCAM(
        model, target=lambda z: keras.ops.sum(z * several, -1), normalize=None
    )(data[0][:3])
    peak = pytest.approx(metrics.peak_strength(raw), rel=1e-5)
    assert kept.scalars[0]["gradcam/peak"] == peak


@pytest.mark.parametrize(
    ("options", "loss"),
    [
        ({}, "sparse_categorical_crossentropy"),
        (
            {"activation": None},
            keras.losses.SparseCategoricalCrossentropy(from_logits=True),
        ),
        ({"activation": "sigmoid", "classes": 1}, "binary_crossentropy"),
    ],
)
@pytest.mark.parametrize("target", [None, "pred", "true", "both"])
def test_words_are_targets_of_any_classifier(data, options, loss, target):
    labels = data[1] % 2
    model = make_classifier(**options)
    model.compile("sgd", loss)
    callback = kg.GradCAMCallback(data[0], labels, target=target, log_dir=None)
    history = model.fit(data[0], labels, verbose=0, callbacks=[callback]).history
    maps = {
        "predicted": kg.GradCAM(model, normalize=None)(data[0][:8]),
        "true": kg.GradCAM(model, normalize=None)(data[0][:8], target=labels[:8]),
    }
    for name, raw in maps.items():
        peak = pytest.approx(metrics.peak_strength(raw), rel=1e-5)
        if target == "both":
            assert history[f"gradcam_{name}_peak"] == [peak]
        elif name == {None: "predicted", "pred": "predicted"}.get(target, target):
            assert history["gradcam_peak"] == [peak]


@pytest.mark.parametrize("target", ["pred", "true"])
def test_either_side_of_a_binary_model_of_logits(data, target):
    """Without a sigmoid only the loss says that there are two classes."""
    model = make_classifier(activation=None, classes=1)
    model.compile("sgd", keras.losses.BinaryCrossentropy(from_logits=True))
    kept = Keeps()
    callback = kg.GradCAMCallback(
        *(data[0], data[1] % 2), target=target, log_dir=None, sinks=[kept]
    )
    model.fit(data[0], data[1] % 2, verbose=0, callbacks=[callback])
    logits = model.predict(data[0][:8], verbose=0)[:, 0]
    side = data[1][:8] % 2 if target == "true" else (logits > 0).astype(int)
    assert 0 in side
    raw = kg.GradCAM(model, normalize=None)(
        data[0][:8], target=kg.targets.binary(tuple(side))
    )
    peak = pytest.approx(metrics.peak_strength(raw), rel=1e-5)
    assert kept.scalars[0]["gradcam/peak"] == peak


def test_one_color_scale_for_the_whole_run(data):
    """Equal values have equal colours at all epochs; the first epoch's peak is half."""
    kept = Keeps()
    model = make_trainable()
    strengths = []

    class Strengthens(keras.callbacks.Callback):
        def on_epoch_end(self, epoch, logs=None):
            strengths.append(logs["gradcam_peak"])
            weight, bias = model.layers[-1].get_weights()
            model.layers[-1].set_weights([10 * weight, bias])

    callback = kg.GradCAMCallback(*data, scale="run", log_dir=None, sinks=[kept])
    untrained = kg.GradCAM(model, normalize=None)(data[0][:8]).numpy()
    fit(model, data, [callback, Strengthens()], epochs=3)
    assert list(kept.panels) == [-1, 0, 1, 2]
    for drawn, values in zip(kept.panels[-1]["gradcam/last"], untrained, strict=True):
        heatmap = values / (values + strengths[0])
        expected = kg.panel(np.zeros((16, 12, 3), "uint8"), heatmap)
        np.testing.assert_array_equal(drawn[:224, 168:336], expected[:, 168:336])
    assert strengths[2] > 5 * strengths[1] > 25 * strengths[0]
    model.layers[-1].set_weights([w / 10 for w in model.layers[-1].get_weights()])
    raw = kg.GradCAM(model, normalize=None)(data[0][:8]).numpy()
    for drawn, values in zip(kept.panels[2]["gradcam/last"], raw, strict=True):
        heatmap = values / (values + strengths[0])
        expected = kg.panel(np.zeros((16, 12, 3), "uint8"), heatmap)
        np.testing.assert_array_equal(drawn[:224, 168:336], expected[:, 168:336])


def test_a_number_is_the_middle_of_the_color_scale(data):
    kept = Keeps()
    callback = kg.GradCAMCallback(*data, scale=1e9, log_dir=None, sinks=[kept])
    fit(make_trainable(), data, [callback], epochs=1)
    coldest = kg.colorize(np.zeros((1, 1)))[0, 0]
    for step in (-1, 0):
        for drawn in kept.panels[step]["gradcam/last"]:
            assert (drawn[:224, 168:336] == coldest).all()


def test_the_grid_has_all_samples_in_one_picture(data):
    kept = Keeps()
    callback = kg.GradCAMCallback(*data, grid=True, log_dir=None, sinks=[kept])
    model = make_trainable()
    fit(model, data, [callback], epochs=1)
    assert list(kept.panels[0]) == ["gradcam/last", "gradcam/all samples"]
    (sheet,) = kept.panels[0]["gradcam/all samples"]
    heatmap = kg.GradCAM(model)(data[0][:1])[0]
    enlarged = kg.to_uint8(data[0][0], value_range=(0, 1)).repeat(14, 0).repeat(14, 1)
    expected = kg.overlay(enlarged, heatmap)
    np.testing.assert_array_equal(sheet[4:228, 4:172], expected)


def test_the_grid_tells_overlays_apart_and_outlines_objects(data):
    kept = Keeps()
    callback = kg.GradCAMCallback(
        *data,
        target="both",
        boxes=np.tile([2, 3, 9, 8], (40, 1)),
        grid=True,
        num_samples=1,
        log_dir=None,
        sinks=[kept],
    )
    model = make_trainable()
    fit(model, data, [callback], epochs=1)
    (sheet,) = kept.panels[0]["gradcam/all samples"]
    image = kg.to_uint8(data[0][0], value_range=(0, 1)).repeat(14, 0).repeat(14, 1)
    region = np.zeros((16, 12), bool)
    region[2:9, 3:8] = True
    seen = [
        outline(kg.overlay(image, kg.GradCAM(model)(data[0][:1], target)[0]), region)
        for target in (None, 0)
    ]
    row = model.predict(data[0][:1], verbose=0)[0]
    expected = kg.panel(
        np.concatenate(seen, axis=1),
        [],
        *caption_of(row, 0, "0123"),
        titles=["predicted", "true"],
    )
    np.testing.assert_array_equal(sheet[4:-4, 4:-4], expected)


def test_objects_are_outlined_and_measured_against(data):
    kept = Keeps()
    model = make_trainable()
    boxes = np.tile([2, 3, 9, 8], (40, 1))
    callback = kg.GradCAMCallback(*data, boxes=boxes, log_dir=None, sinks=[kept])
    history = fit(model, data, [callback], epochs=1).history
    raw = kg.GradCAM(model, normalize=None)(data[0][:8]).numpy()
    pointing, inside = (
        history[f"gradcam_{name}"][0] for name in ("pointing", "inside")
    )
    assert pointing == metrics.pointing_accuracy(raw, boxes[:8])
    assert inside == pytest.approx(metrics.heat_inside(raw, boxes[:8]), rel=1e-5)
    drawn = kept.panels[0]["gradcam/last"][0]
    plain = kg.to_uint8(data[0][0], value_range=(0, 1)).repeat(14, 0).repeat(14, 1)
    changed = (drawn[:224, :168] != plain).any(-1)
    rows, columns = np.nonzero(changed)
    assert (rows.min(), rows.max() + 1) == (2 * 14, 9 * 14)
    assert (columns.min(), columns.max() + 1) == (3 * 14, 8 * 14)
    assert not changed[3 * 14 : 8 * 14, 4 * 14 : 7 * 14].any()


def test_masks_are_boxes_pixel_by_pixel(data):
    masks = np.zeros((40, 16, 12, 1), bool)
    masks[:, 2:9, 3:8] = True
    boxes = np.tile([2, 3, 9, 8], (40, 1))
    histories = [
        fit(
            make_trainable(),
            data,
            [kg.GradCAMCallback(*data, log_dir=None, **region)],
            epochs=1,
        ).history
        for region in ({"masks": masks}, {"boxes": boxes})
    ]
    assert histories[0] == histories[1]
    assert 0 < histories[0]["gradcam_inside"][0] < 1


def test_regions_stay_with_their_samples(data):
    """Whichever samples are chosen, each is measured against its own region."""
    boxes = np.stack([[i % 8, 0, i % 8 + 5, 12] for i in range(40)])
    chosen = kg.GradCAMCallback(
        *data, samples="random", seed=3, boxes=boxes, num_samples=5
    )
    for sample, box in zip(chosen._chosen.samples, chosen._chosen.regions, strict=True):
        np.testing.assert_array_equal(sample.inputs, data[0][sample.number])
        np.testing.assert_array_equal(box, boxes[sample.number])


def test_the_samples_with_the_highest_loss(data):
    kept = Keeps()
    model = make_trainable()
    callback = kg.GradCAMCallback(
        *data,
        hardest=tf.data.Dataset.from_tensor_slices(data).batch(7),
        num_hardest=3,
        target="true",
        log_dir=None,
        sinks=[kept],
    )
    losses = {-1: model.predict(data[0], verbose=0)}
    fit(model, data, [callback], epochs=2)
    losses[1] = model.predict(data[0], verbose=0)
    for step, predictions in losses.items():
        loss = -np.log(predictions[np.arange(40), data[1]])
        worst = np.argsort(-loss)[:3]
        drawn = kept.panels[step]["gradcam/highest loss"]
        assert len(drawn) == 3
        assert len(kept.panels[step]["gradcam/last"]) == 8
        if step < 0:
            continue
        heatmaps = kg.GradCAM(model)(data[0][worst], target=data[1][worst])
        for panel, i, heatmap in zip(drawn, worst, heatmaps, strict=True):
            caption, correct = caption_of(
                predictions[i], data[1][i], "0123", f"sample {i}, loss {loss[i]:.3g}, "
            )
            image = kg.to_uint8(data[0][i], value_range=(0, 1))
            expected = kg.panel(image, heatmap, caption, correct)
            np.testing.assert_array_equal(panel, expected)
    # Only the chosen samples are measured.
    raw = kg.GradCAM(model, normalize=None)(data[0][:8], target=data[1][:8])
    peak = pytest.approx(metrics.peak_strength(raw), rel=1e-5)
    assert kept.scalars[1]["gradcam/peak"] == peak


def test_nan_weights_are_said_in_the_panel(data):
    kept = Keeps()
    model = make_trainable()
    callback = kg.GradCAMCallback(*data, log_dir=None, sinks=[kept])

    class Breaks(keras.callbacks.Callback):
        def on_epoch_begin(self, epoch, logs=None):
            if epoch == 1:
                model.set_weights([np.nan * w for w in model.get_weights()])

    history = fit(model, data, [callback, Breaks()], epochs=2).history
    assert np.isnan(history["gradcam_peak"][1])
    image = kg.to_uint8(data[0][0], value_range=(0, 1))
    nan = np.full((16, 12), np.nan)
    expected = kg.panel(image, nan, "true 0, predicted NaN, heatmap is NaN", False)
    np.testing.assert_array_equal(kept.panels[1]["gradcam/last"][0], expected)


# What is measured.


def test_numbers_are_in_the_logs_and_in_tensorboard(data, tmp_path):
    model = make_trainable()
    callback = kg.GradCAMCallback(*data, log_dir=tmp_path)
    history = fit(model, data, [callback]).history
    assert set(history) == {"accuracy", "loss", *(f"gradcam_{m}" for m in MEASURES)}
    curves = written(tmp_path, "scalars")["gradcam"]
    assert set(curves) == {f"gradcam/{name}" for name in MEASURES}
    for name in MEASURES:
        values = curves[f"gradcam/{name}"]
        # There is nothing yet that the untrained maps could have drifted from.
        assert list(values) == [-1, 0, 1, 2][name == "drift" :]
        np.testing.assert_allclose(
            [values[step] for step in range(3)], history[f"gradcam_{name}"], rtol=1e-6
        )
    raw = kg.GradCAM(model, normalize=None)(data[0][:8]).numpy()
    for name, function in (
        ("peak", metrics.peak_strength),
        ("entropy", metrics.entropy),
        ("empty", metrics.empty_share),
    ):
        expected = pytest.approx(function(raw), rel=1e-5)
        assert history[f"gradcam_{name}"][-1] == expected


def test_drift_is_that_since_the_last_epoch(data):
    maps = []

    class Remembers(keras.callbacks.Callback):
        def on_epoch_end(self, epoch, logs=None):
            maps.append(kg.GradCAM(self.model, normalize=None)(data[0][:8]).numpy())

    callback = kg.GradCAMCallback(*data, log_dir=None)
    history = fit(make_trainable(), data, [Remembers(), callback]).history
    for epoch in (1, 2):
        expected = metrics.drift(maps[epoch - 1], maps[epoch])
        assert history["gradcam_drift"][epoch] == pytest.approx(expected, rel=1e-4)


def test_a_run_can_be_selected_and_stopped_by_them(data, tmp_path):
    boxes = np.tile([2, 3, 9, 8], (40, 1))
    callbacks = [
        kg.GradCAMCallback(*data, boxes=boxes, log_dir=None),
        keras.callbacks.ModelCheckpoint(
            tmp_path / "{epoch}.keras",
            monitor="gradcam_inside",
            mode="max",
            save_best_only=True,
        ),
        keras.callbacks.EarlyStopping(monitor="gradcam_peak", mode="min", patience=0),
    ]
    history = fit(make_trainable(), data, callbacks, epochs=30).history
    peaks, inside = history["gradcam_peak"], history["gradcam_inside"]
    first_rise = next(i for i in range(1, 30) if peaks[i] >= peaks[i - 1])
    assert len(peaks) == first_rise + 1
    best = [i + 1 for i in range(len(inside)) if inside[i] > max(inside[:i], default=0)]
    assert sorted(int(p.stem) for p in tmp_path.glob("*.keras")) == best


def test_two_callbacks_with_two_names(data, tmp_path):
    callbacks = [
        kg.GradCAMCallback(*data, log_dir=tmp_path, name=name) for name in ("a", "b")
    ]
    history = fit(make_trainable(), data, callbacks, epochs=1).history
    assert history["a_peak"] == history["b_peak"]
    runs = written(tmp_path)
    assert {run: list(tags) for run, tags in runs.items()} == {
        "a": ["a/last"],
        "b": ["b/last"],
    }


# When.


def test_freq_and_initial_epoch(data, tmp_path):
    callback = kg.GradCAMCallback(*data, log_dir=tmp_path, freq=3)
    model = make_trainable()
    history = fit(model, data, [callback], epochs=5).history
    # Every third, and the last of each training.
    assert steps_of(tmp_path) == [-1, 0, 3, 4]
    assert len(history["gradcam_peak"]) == 5
    fit(model, data, [callback], epochs=9, initial_epoch=5)
    assert steps_of(tmp_path) == [-1, 0, 3, 4, 6, 8]
    steps = steps_of(tmp_path, tag="gradcam/peak", plugin="scalars")
    assert steps == [-1, *range(9)]
    never = kg.GradCAMCallback(*data, log_dir=tmp_path / "never", freq=0)
    assert set(fit(model, data, [never]).history) == {"accuracy", "loss"}
    assert written(tmp_path / "never") == {}


def test_a_step_is_handed_out_once(data):
    """With all that there is of it, also the last one and that of a stop."""
    calls = []

    def sink(step, panels, scalars):
        calls.append((step, bool(panels), bool(scalars)))

    stop = keras.callbacks.EarlyStopping("loss", mode="max", patience=0)
    for callbacks, last in (([], 6), ([stop], 1)):
        calls.clear()
        callback = kg.GradCAMCallback(*data, log_dir=None, freq=5, sinks=sink)
        fit(make_trainable(), data, [*callbacks, callback], epochs=7)
        drawn = {-1, 0, 5, last}
        expected = [(step, step in drawn, True) for step in range(-1, last + 1)]
        assert calls == expected


@pytest.mark.parametrize("order", [1, -1])
def test_the_last_epoch_of_a_stopped_training_is_drawn(data, tmp_path, order):
    class Stops(keras.callbacks.Callback):
        def on_epoch_end(self, epoch, logs=None):
            self.model.stop_training = epoch == 2

    callbacks = [kg.GradCAMCallback(*data, log_dir=tmp_path, freq=5), Stops()]
    fit(make_trainable(), data, callbacks[::order], epochs=9)
    assert steps_of(tmp_path) == [-1, 0, 2]
    steps = steps_of(tmp_path, tag="gradcam/peak", plugin="scalars")
    assert steps == [-1, 0, 1, 2]


def test_update_freq_counts_batches(data, tmp_path):
    model = make_trainable()
    callback = kg.GradCAMCallback(*data, log_dir=tmp_path, update_freq=4)
    # 10 batches an epoch.
    history = fit(model, data, [callback], epochs=2, batch_size=4).history
    assert steps_of(tmp_path) == [0, 4, 8, 12, 16, 20]
    steps = steps_of(tmp_path, tag="gradcam/peak", plugin="scalars")
    assert steps == [0, 4, 8, 12, 16, 20]
    # The last numbers of each epoch, measured at equal distances.
    drifts = written(tmp_path, "scalars")["gradcam"]["gradcam/drift"]
    np.testing.assert_allclose(history["gradcam_drift"], [drifts[8], drifts[20]], 1e-6)
    raw = kg.GradCAM(model, normalize=None)(data[0][:8])
    peak = pytest.approx(metrics.peak_strength(raw), rel=1e-5)
    assert history["gradcam_peak"][-1] == peak
    # Absolute, as Keras counts: a second training goes on from there.
    fit(model, data, [callback], epochs=3, initial_epoch=2, batch_size=4)
    assert steps_of(tmp_path) == [0, 4, 8, 12, 16, 20, 24, 28, 30]
    assert int(model.optimizer.iterations) == 30


def test_a_training_that_begins_anew_has_a_run_of_its_own(data, tmp_path):
    model = make_trainable()
    for _ in range(2):  # As a notebook does whose cell is run again.
        callback = kg.GradCAMCallback(*data, log_dir=tmp_path, num_samples=1)
        fit(model, data, [callback], epochs=2)
    assert sorted(written(tmp_path)) == ["gradcam", "gradcam-2"]
    for run in ("gradcam", "gradcam-2"):
        assert steps_of(tmp_path, run) == [-1, 0, 1]


@pytest.mark.slow
def test_one_trace_for_three_fits_and_twenty_epochs(data, tmp_path):
    class Counts(L.Layer):
        listening = False
        traces = 0

        def call(self, x):
            type(self).traces += self.listening
            return x

    class Listens(keras.callbacks.Callback):
        """Counts only what the callbacks run, and not Keras' own traces."""

        def on_train_begin(self, logs=None):
            Counts.listening = True

        def on_epoch_end(self, epoch, logs=None):
            Counts.listening = True

    class StopsListening(keras.callbacks.Callback):
        def on_epoch_begin(self, epoch, logs=None):
            Counts.listening = False

    model = keras.Sequential([keras.Input((16, 12, 3)), Counts(), make_classifier()])
    model.compile("sgd", "sparse_categorical_crossentropy")
    callback = kg.GradCAMCallback(*data, log_dir=tmp_path, target="both")
    for _ in range(3):
        fit(model, data, [Listens(), callback, StopsListening()], epochs=20)
    # One pass to find the layer, one for the graph of the maps.
    assert Counts.traces == 2
    steps = written(tmp_path)["gradcam"]["gradcam/classifier/last"]
    assert list(steps) == [-1, *range(60)]
    assert (steps[0][2:] != steps[59][2:]).any()


# How it fails.


def test_every_epoch_is_on_disk_when_it_ends(data, tmp_path):
    class Crashes(keras.callbacks.Callback):
        def on_epoch_begin(self, epoch, logs=None):
            if epoch == 2:
                raise KeyboardInterrupt

    callbacks = [kg.GradCAMCallback(*data, log_dir=tmp_path), Crashes()]
    with pytest.raises(KeyboardInterrupt):
        fit(make_trainable(), data, callbacks, epochs=5)
    assert steps_of(tmp_path) == [-1, 0, 1]


FULL_DISK = """
import pathlib, resource, sys, warnings
import keras
sys.path.insert(0, sys.argv[1])
from trainings import fit, make_data, make_trainable, steps_of
import keras_gradcam as kg

log_dir = pathlib.Path(sys.argv[2])

class Fills(keras.callbacks.Callback):
    '''Lets no file grow beyond a limit during the epochs 1 and 2.'''
    def on_epoch_begin(self, epoch, logs=None):
        size = max(p.stat().st_size for p in log_dir.rglob("*tfevents*"))
        # Room for a part of the record, which is torn then.
        soft = size + 5_000 if epoch in (1, 2) else resource.RLIM_INFINITY
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, resource.RLIM_INFINITY))

data = make_data()
callback = kg.GradCAMCallback(*data, log_dir=log_dir, on_error=sys.argv[3])
with warnings.catch_warnings(record=True) as caught:
    warnings.simplefilter("always")
    history = fit(make_trainable(), data, [callback, Fills()], epochs=5).history
messages = [str(w.message) for w in caught if "GradCAMCallback" in str(w.message)]
assert len(messages) == 1 and "File too large" in messages[0], messages
assert len(history["gradcam_peak"]) == 5
print(steps_of(log_dir))
"""


def run_on_a_full_disk(tmp_path, on_error):
    return subprocess.run(
        [sys.executable, "-c", FULL_DISK, str(TESTS), str(tmp_path), on_error],
        capture_output=True,
        text=True,
        check=False,
    )


def test_a_full_disk_warns_once_and_training_goes_on(tmp_path):
    done = run_on_a_full_disk(tmp_path, "warn")
    assert done.returncode == 0, done.stderr
    # Nothing before or after the disk was full is lost.
    steps = eval(done.stdout)
    assert {-1, 0, 3, 4} <= set(steps)
    assert steps == sorted(steps)


@pytest.mark.slow
def test_a_full_disk_can_stop_the_training(tmp_path):
    done = run_on_a_full_disk(tmp_path, "raise")
    assert done.returncode != 0
    assert "File too large" in done.stderr


# What is refused.


@pytest.mark.parametrize(
    ("text", "options"),
    [
        ("`freq` must be an int of at least 0. Received: freq=-1", {"freq": -1}),
        ("`num_samples` must be an int of at least 1", {"num_samples": 0}),
        ("`num_hardest` must be an int of at least 1", {"num_hardest": 0}),
        ("`update_freq` must be an int of at least 1", {"update_freq": 0}),
        ("`update_freq` must be an int.*'epoch'", {"update_freq": "epoch"}),
        ("`image_format` must be 'jpeg' or 'png'.*'gif'", {"image_format": "gif"}),
        ("`on_error` must be 'warn' or 'raise'.*'skip'", {"on_error": "skip"}),
        ("`samples` must be 'first'.*'best'", {"samples": "best"}),
        ("`scale` must be 'sample', 'run' or a number", {"scale": "epoch"}),
        ("`scale` must be .* above 0.*scale=0", {"scale": 0}),
        ("same length. Received: 40 images and 3 labels", {"y_true": [1, 2, 3]}),
        (
            "`y_true` does not hold cl.*\\(40, 2, 2\\)",
            {"y_true": np.ones((40, 2, 2))},
        ),
        (
            "`label_map` .* has no name for class 2",
            {"y_true": np.arange(40) % 3, "label_map": ["a", "b"]},
        ),
        ("`masks` must have one entry.*5 entries", {"masks": np.ones((5, 16, 12))}),
        ("`masks` must have the size of the im", {"masks": np.ones((40, 8, 6))}),
        ("`boxes` must have the shape", {"boxes": np.ones((40, 3))}),
        ("`boxes` must have the shape", {"boxes": [["a"] * 4] * 40}),
        ("`boxes` must be one array", {"boxes": [[1, 2, 3, 4]] * 39 + [[1]]}),
        (
            "`boxes` must have one entry.*100 entries for 40",
            {"boxes": np.ones((100, 4))},
        ),
        ("pick a class, `masks", {"masks": np.ones((40, 16, 12, 3))}),
        ("`name` must be a string", {"name": "../elsewhere"}),
        ("`name` must be a string", {"name": None}),
        ("`name` must be a string", {"name": ".."}),
        ("has no number such as '-2'", {"name": "gradcam-2"}),
        ("`target` must be 'pred', 'true', 'both'", {"target": "best"}),
        ("With `target='true'` there must be", {"target": "true"}),
        ("With `target='both'` there must be", {"target": "both"}),
        ("`y_true` must be one array", {"y_true": [[0], [1, 2]] * 20}),
        ("`y_true` must be one array", {"y_true": {"a": [0] * 40, "b": [0] * 40}}),
        ("`y_true` must be one array", {"y_true": 3}),
        ("`method` must be one of", {"method": "gradecam"}),
        ("`normalize` must be one of", {"normalize": "most"}),
        ("`activation` must be", {"activation": "gelu"}),
        ("`masks` and `boxes` exclude", {"masks": np.ones(40), "boxes": np.ones(40)}),
        # Fractions of the image, or left and top exchanged with right and bottom.
        ("seems to be in fractions", {"boxes": [[0.1, 0.1, 0.9, 0.9]] * 40}),
        ("Nothing is covered in sample 0", {"boxes": [[9, 8, 2, 3]] * 40}),
        (
            "must have the size of the images.*resize=False",
            {"boxes": [[2, 3, 9, 8]] * 40, "resize": False},
        ),
        ("`target` must have one entry.*3 entries", {"target": [0, 1, 2]}),
        ("`hardest` must have labels", {"hardest": make_data()[0]}),
        (
            "With `hardest` a sequence of classes",
            {"hardest": make_data(), "target": [1] * 40},
        ),
    ],
)
def test_errors_of_the_constructor(data, text, options):
    with pytest.raises(ValueError, match=text):
        kg.GradCAMCallback(data[0], **options)


def test_sinks_must_be_callable(data):
    for sinks in ("logs", ["logs"], 5, kg.sinks.PictureFiles):
        with pytest.raises(TypeError, match=r"callables `\(step, panels, scalars\)`"):
            kg.GradCAMCallback(*data, sinks=sinks)


def test_labels_that_are_no_classes_are_refused(data):
    for labels in ([-1] * 40, ["cat"] * 40, np.full(40, 0.5)):
        with pytest.raises(ValueError, match="`y_true` does not hold classes"):
            kg.GradCAMCallback(data[0], labels)


def test_labels_of_a_dataset_that_are_no_classes_are_passed_over(data):
    model = make_classifier(activation=None, classes=1)
    model.compile("sgd", "mse")
    dataset = tf.data.Dataset.from_tensor_slices((data[0], np.linspace(0, 1, 40)))
    kept = Keeps()
    callback = kg.GradCAMCallback(dataset, log_dir=None, sinks=[kept])
    model.fit(dataset.batch(8), shuffle=False, verbose=0, callbacks=[callback])
    # No strip: a regression has no class to name.
    assert kept.panels[0]["gradcam/last"][0].shape == (224, 3 * 168, 3)


@pytest.mark.parametrize(
    "shape", [(0, 16, 12, 3), (2, 8, 30_000, 1), (16, 12, 3), (2, 16, 12, 7)]
)
def test_images_that_make_no_panel_are_refused(shape):
    with pytest.raises(ValueError, match="`images`"):
        kg.GradCAMCallback(np.zeros(shape))


def test_an_error_of_foreign_options(data):
    with pytest.raises(TypeError, match=r"unknown arguments: \['bogus'\]"):
        kg.GradCAMCallback(*data, bogus=1)


IMAGES = np.zeros((4, 16, 12, 3))


@pytest.mark.parametrize(
    ("text", "images", "options"),
    [
        ("no layer 'nowhere'", IMAGES, {"layer": "nowhere"}),
        ("incompatible with the layer", np.zeros((4, 16, 12, 1)), {}),
        ("in the range 0 to 3", IMAGES, {"target": 4}),
        ("no name for class 3", IMAGES, {"label_map": list("abc")}),
        ("`y_true` has class 7, but", IMAGES[:1], {"y_true": [7]}),
        ("takes 1 input.*np.stack", [IMAGES, IMAGES], {}),
        ("cannot be computed .*`hardest`", IMAGES, {"hardest": (IMAGES, IMAGES)}),
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


def test_a_log_dir_that_cannot_be_raises_before_the_first_batch(data, tmp_path):
    (tmp_path / "file").write_text("")
    callback = kg.GradCAMCallback(*data, log_dir=tmp_path / "file")
    with pytest.raises(OSError, match="`log_dir` must be a directory"):
        fit(make_trainable(), data, [callback])


@pytest.mark.parametrize("loss", [None, {"a": "mse", "b": "mse"}])
def test_the_highest_loss_needs_a_loss(data, loss):
    model = make_trainable()
    model.loss = loss
    callback = kg.GradCAMCallback(*data, log_dir=None, hardest=data)
    callback.set_model(model)
    with pytest.raises(ValueError, match="must be compiled with one loss"):
        callback.on_train_begin()


def test_layers_of_different_inputs_have_no_one_picture(data):
    inputs = [keras.Input((16, 12, 3)), keras.Input((16, 12, 3))]
    convolved = [L.Conv2D(3, 3, name=n)(x) for n, x in zip("ab", inputs, strict=True)]
    pooled = [L.GlobalAveragePooling2D()(x) for x in convolved]
    model = keras.Model(inputs, L.Dense(2)(L.Concatenate()(pooled)))
    model.compile("sgd", "mse")
    images = [data[0], data[0][::-1]]
    callback = kg.GradCAMCallback(images, layer=["a", "b"], log_dir=None)
    callback.set_model(model)
    with pytest.raises(ValueError, match="belong to different inputs"):
        callback.on_train_begin()
    kept = Keeps()
    callback = kg.GradCAMCallback(images, layer="b", log_dir=None, sinks=[kept])
    model.fit(images, np.zeros((40, 2)), verbose=0, callbacks=[callback])
    drawn = kept.panels[0]["gradcam/b"][0]
    expected = kg.to_uint8(data[0][39], value_range=(0, 1))
    np.testing.assert_array_equal(drawn[7:224:14, 7:168:14], expected)


@pytest.mark.parametrize(
    ("target", "said"),
    [
        (None, "target `pred`"),
        ("both", "target `both`"),
        ([1] * 40, "target `a class for each sample`"),
        (kg.targets.top_k(2), r"target `targets.top_k(k=2)`"),
    ],
)
def test_tensorboard_says_what_the_panels_are(data, tmp_path, target, said):
    """And that it keeps ten steps of them where it is not told otherwise."""
    callback = kg.GradCAMCallback(*data, log_dir=tmp_path, target=target, num_samples=1)
    fit(make_trainable(), data, [callback], epochs=1)
    (path,) = tmp_path.rglob("*tfevents*")
    for record in tf.data.TFRecordDataset(str(path)):
        for value in tf.compat.v1.Event.FromString(record.numpy()).summary.value:
            text = value.metadata.summary_description
            if value.metadata.plugin_data.plugin_name == "images":
                assert said in text and "method `gradcam`" in text.lower()
                assert "--samples_per_plugin images=1000" in text
            else:
                assert not text


@pytest.mark.parametrize(
    ("options", "text"),
    [
        ({"logits": "no"}, "`logits` must be True or False"),
        ({"jit_compile": 0}, "`jit_compile` must be True, False or 'auto'"),
        ({"layer": 3}, "`layer` must be a layer's name"),
        ({"chunk_size": 0}, "`chunk_size` must be the number"),
    ],
)
def test_arguments_of_gradcam_are_checked_at_once(images, options, text):
    with pytest.raises((TypeError, ValueError), match=text):
        kg.GradCAMCallback(images, **options)


def test_a_training_of_keras_2_says_what_to_do(images):
    with pytest.raises(TypeError, match="one of Keras 2.*`keras.models.load_model`"):
        kg.GradCAMCallback(images)._implements_train_batch_hooks()
