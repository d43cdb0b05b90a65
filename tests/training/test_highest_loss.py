"""The samples with the highest loss, against Keras' own losses one by one."""

import copy

import keras
import numpy as np
import pytest
import tensorflow as tf
from conftest import make_classifier
from trainings import make_data

from keras_gradcam.training.samples.highest_loss import HighestLoss

losses = keras.losses
IMAGES, LABELS = make_data()
ONE_HOT = np.eye(4, dtype="float32")[LABELS]


def model_with(loss, **options):
    model = make_classifier(**options)
    model.compile("sgd", loss)
    return model


def find(data, count, model):
    hardest = HighestLoss(data, count)
    hardest.prepare(model)
    return hardest.find()


@pytest.mark.slow
@pytest.mark.parametrize(
    ("loss", "labels", "options"),
    [
        ("sparse_categorical_crossentropy", LABELS, {}),
        ("sparse_categorical_crossentropy", LABELS[:, None], {}),
        (losses.SparseCategoricalCrossentropy(), LABELS, {}),
        ("categorical_crossentropy", ONE_HOT, {}),
        (losses.CategoricalCrossentropy(label_smoothing=0.1), ONE_HOT, {}),
        (
            losses.SparseCategoricalCrossentropy(from_logits=True),
            LABELS,
            {"activation": None},
        ),
        ("binary_crossentropy", LABELS % 2, {"activation": "sigmoid", "classes": 1}),
        (losses.BinaryFocalCrossentropy(), ONE_HOT, {"activation": "sigmoid"}),
        ("mse", LABELS / 4, {"activation": None, "classes": 1}),
        (
            # With whole labels, and no casts of its own.
            lambda y, p: tf.reduce_mean(tf.square(y - p), -1),
            np.eye(4, dtype="uint8")[LABELS],
            {},
        ),
        (losses.get("huber"), ONE_HOT, {"activation": None}),
    ],
)
def test_the_highest_losses_come_first(loss, labels, options):
    model = model_with(loss, **options)
    # What Keras itself says of a batch of one.
    each = [
        model.evaluate(IMAGES[i : i + 1], labels[i : i + 1], verbose=0)
        for i in range(40)
    ]
    found = find((IMAGES, labels), 5, model)
    worst = np.argsort(each)[::-1][:5]
    np.testing.assert_allclose(
        [value for value, _ in found], np.array(each)[worst], rtol=1e-4
    )
    for (_, sample), index in zip(found, worst, strict=True):
        assert sample.number == index
        np.testing.assert_array_equal(sample.inputs, IMAGES[index])
        np.testing.assert_array_equal(sample.label, labels[index])


def test_a_loss_of_a_grid_is_its_mean():
    masks = np.random.default_rng(0).random((40, 12, 8, 1)) > 0.5
    model = keras.Sequential(
        [keras.Input((16, 12, 3)), keras.layers.Conv2D(1, 5, activation="sigmoid")]
    )
    model.compile("sgd", "binary_crossentropy")
    found = find((IMAGES, masks.astype("float32")), 1, model)
    each = [
        model.evaluate(IMAGES[i : i + 1], masks[i : i + 1], verbose=0)
        for i in range(40)
    ]
    assert found[0][0] == pytest.approx(max(each), rel=1e-4)


def test_they_are_looked_for_anew():
    model = model_with("sparse_categorical_crossentropy")
    hardest = HighestLoss(
        tf.data.Dataset.from_tensor_slices((IMAGES, LABELS)).batch(9), 3
    )
    hardest.prepare(model)
    before = [value for value, _ in hardest.find()]
    model.set_weights([-w for w in model.get_weights()])
    after = [value for value, _ in hardest.find()]
    assert before != after
    assert after == sorted(after, reverse=True)


def test_nan_is_the_highest_loss():
    images = IMAGES.copy()
    images[17] = np.nan
    # Smooth: a ReLU on the CPU may turn NaN into 0.
    model = model_with("sparse_categorical_crossentropy", convolution="tanh")
    found = find((images, LABELS), 2, model)
    assert np.isnan(found[0][0])
    np.testing.assert_array_equal(found[0][1].inputs, images[17])
    assert np.isfinite(found[1][0])


def test_a_loss_of_the_whole_batch_is_refused_at_once():
    model = model_with(lambda y, p: keras.ops.mean(p))
    with pytest.raises(ValueError, match="must have one for each sample"):
        HighestLoss((IMAGES, LABELS), 2).prepare(model)


@pytest.mark.parametrize("loss", [["mse"], {"head": "mse"}])
def test_one_loss_in_a_structure_is_one_loss(loss):
    model = model_with("mse")
    model.loss = loss
    assert len(find((IMAGES, {"head": ONE_HOT}), 2, model)) == 2


def test_single_images_are_read_in_batches():
    class Counts(keras.layers.Layer):
        def call(self, x):
            tf.py_function(lambda: runs.append(1), [], [])
            return x

    runs = []
    model = keras.Sequential([keras.Input((16, 12, 3)), Counts(), make_classifier()])
    model.compile("sgd", "sparse_categorical_crossentropy")
    found = find(tf.data.Dataset.from_tensor_slices((IMAGES, LABELS)), 3, model)
    assert len(runs) == 2  # 32 and 8
    assert len({sample.number for _, sample in found}) == 3


def test_of_endless_data_the_first_samples_are_read(monkeypatch):
    """Each time the same ones; it is said once."""
    monkeypatch.setattr("keras_gradcam.data.reading.MAX_SAMPLES", 30)
    model = model_with("sparse_categorical_crossentropy")
    expected = find((IMAGES[:30], LABELS[:30]), 3, model)
    data = tf.data.Dataset.from_tensor_slices((IMAGES, LABELS)).batch(9).repeat()
    hardest = HighestLoss(data, 3)
    hardest.prepare(model)
    with pytest.warns(UserWarning, match="`hardest` .* first 30 samples") as warned:
        found = [hardest.find() for _ in range(2)]
    assert len([w for w in warned if "end of this" in str(w.message)]) == 1
    for each in found:
        assert [s.number for _, s in each] == [s.number for _, s in expected]


def test_a_generator_is_not_touched():
    generator = iter([(IMAGES, LABELS)])
    with pytest.raises(TypeError, match="`hardest` takes .* must not be a generator"):
        HighestLoss(generator, 2)
    assert len(list(generator)) == 1


def test_it_can_be_copied_with_a_dataset():
    data = tf.data.Dataset.from_tensor_slices((IMAGES, LABELS)).batch(9)
    assert copy.deepcopy(HighestLoss(data, 2))._data is data
