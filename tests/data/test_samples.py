"""Samples out of all that users have: the same ones, however they are handed over."""

import itertools

import keras
import numpy as np
import pytest
import tensorflow as tf
from keras import tree
from trainings import make_data

from keras_gradcam.data.reading import batches
from keras_gradcam.data.samples import choose, stack

IMAGES, LABELS = make_data(40)
ONE_HOT = np.eye(4)[LABELS]
PAIR = IMAGES, LABELS
from_slices = tf.data.Dataset.from_tensor_slices


class Batches(keras.utils.PyDataset):
    """Batches of 7, with labels and weights."""

    def __len__(self):
        return 6

    def __getitem__(self, index):
        part = slice(7 * index, 7 * index + 7)
        return IMAGES[part], LABELS[part], np.ones(len(LABELS[part]))


class WithoutLength(keras.utils.PyDataset):
    """It does not say whether it ends."""

    def __getitem__(self, index):
        return Batches()[index % 6]


class Endless(WithoutLength):
    num_batches = None


LABELLED = {
    "arrays": PAIR,
    "tensors": (tf.constant(IMAGES), tf.constant(LABELS)),
    "nested lists": (IMAGES.tolist(), LABELS.tolist()),
    "with weights": (*PAIR, np.ones(40)),
    "dataset": from_slices(PAIR),
    "dataset in batches": from_slices(PAIR).batch(7),
    "dataset with weights": from_slices((*PAIR, np.ones(40))).batch(16),
    "dataset of unknown length": tf.data.Dataset.from_generator(
        lambda: zip(*PAIR, strict=True),
        output_signature=(tf.TensorSpec(None), tf.TensorSpec((), tf.int64)),
    ),
    "PyDataset": Batches(),
}


def numbers(samples):
    return [sample.number for sample in samples]


@pytest.mark.parametrize("data", LABELLED.values(), ids=LABELLED)
@pytest.mark.parametrize("order", ["first", "random", "stratified"])
def test_every_kind_of_data_gives_the_same_samples(data, order):
    chosen = choose(data, None, 10, order, seed=1)
    assert numbers(chosen) == numbers(choose(PAIR, None, 10, order, seed=1))
    for sample in chosen:
        np.testing.assert_allclose(sample.inputs, IMAGES[sample.number], rtol=1e-6)
        assert sample.label == LABELS[sample.number]
    assert stack(chosen).shape == (10, 16, 12, 3)


UNLABELLED = {
    "array": IMAGES,
    "dataset": from_slices(IMAGES),
    "dataset in batches": from_slices(IMAGES).batch(7),
    "dataset of tuples": from_slices((IMAGES,)),
}


@pytest.mark.parametrize("data", UNLABELLED.values(), ids=UNLABELLED)
def test_labels_are_found_in_y_true(data):
    assert [sample.label for sample in choose(data, None, 3)] == [None] * 3
    for sample in choose(data, LABELS, 20, "random"):
        np.testing.assert_array_equal(sample.inputs, IMAGES[sample.number])
        assert sample.label == LABELS[sample.number]


@pytest.mark.parametrize("container", [dict, list])
def test_several_inputs_keep_their_structure(container):
    inputs = {"a": IMAGES, "b": np.arange(40.0)[:, None]}
    inputs = inputs if container is dict else list(inputs.values())
    sources = [(inputs, LABELS), from_slices(({"a": IMAGES, "b": inputs_b()}, LABELS))]
    for data in sources[: 2 if container is dict else 1]:
        chosen = stack(choose(data, None, 4, "random"))
        assert type(chosen) is container
        for got, given in zip(tree.flatten(chosen), tree.flatten(inputs), strict=True):
            picked = numbers(choose(PAIR, None, 4, "random"))
            np.testing.assert_array_equal(got, given[picked])


def inputs_b():
    return np.arange(40.0)[:, None]


def test_the_first_samples_are_all_that_is_read():
    read = []

    def one(x):
        read.append(x)
        return x

    data = from_slices(IMAGES).map(lambda x: tf.numpy_function(one, [x], tf.float32))
    data = data.map(lambda x: tf.ensure_shape(x, (16, 12, 3)))
    assert numbers(choose(data, None, 3)) == [0, 1, 2]
    # TensorFlow reads a little ahead.
    assert len(read) < 20


def endless(times=None):
    """Images from a generator: TensorFlow does not know when it ends."""
    return tf.data.Dataset.from_generator(
        lambda: (
            x
            for _ in (itertools.count() if times is None else range(times))
            for x in zip(*PAIR, strict=True)
        ),
        output_signature=(tf.TensorSpec((16, 12, 3)), tf.TensorSpec((), tf.int64)),
    )


ENDLESS = {
    "repeated": from_slices(PAIR).repeat(),
    "in batches": from_slices(PAIR).batch(7).repeat(),
    # It has the cardinality of one that may end.
    "filtered": from_slices(PAIR).repeat().filter(lambda x, y: True),
    "generator": endless(),
    "generator in batches": endless().batch(7),
    "PyDataset": Endless(),
    "PyDataset without a length": WithoutLength(),
}


@pytest.mark.parametrize("data", ENDLESS.values(), ids=ENDLESS)
def test_of_endless_data_the_first_samples_are_read(data, monkeypatch):
    """All other choices read so many, and say so."""
    monkeypatch.setattr("keras_gradcam.data.reading.MAX_SAMPLES", 36)
    assert numbers(choose(data, None, 50)) == list(range(50))
    first = IMAGES[:36], LABELS[:36]
    for order in ("random", "stratified"):
        with pytest.warns(UserWarning, match=f"{order}.* first 36 samples") as warned:
            chosen = choose(data, None, 99, order)
        assert len([w for w in warned if "end of this" in str(w.message)]) == 1
        assert numbers(chosen) == numbers(choose(first, None, 99, order))


@pytest.mark.filterwarnings("error")
def test_data_that_ends_is_read_to_its_end(monkeypatch):
    """However it is told, and if it ends before it is cut."""
    monkeypatch.setattr("keras_gradcam.data.reading.MAX_SAMPLES", 80)
    known = tf.data.experimental.assert_cardinality(120)
    for data, count in (
        (endless().take(60), 60),
        (endless(2), 80),
        (endless(3).apply(known), 120),
        (from_slices(PAIR).repeat().take(120), 120),
        (from_slices(PAIR).repeat(3), 120),
    ):
        found = numbers(choose(data, None, 999, "random"))
        assert sorted(found) == list(range(count))


def test_a_generator_is_not_touched():
    """What it has yielded would be missing in the training."""
    generator = ((IMAGES, LABELS) for _ in range(2))
    for order in ("first", "random"):
        with pytest.raises(TypeError, match="`images` must not be a generator.*next"):
            choose(generator, None, 3, order)
    assert len(list(generator)) == 2


def test_random_samples_are_seeded_and_uniform():
    draws = [tuple(numbers(choose(PAIR, None, 5, "random", s))) for s in range(400)]
    assert draws[3] == tuple(numbers(choose(PAIR, None, 5, "random", 3)))
    assert len(set(draws)) > 390
    counts = np.bincount(list(itertools.chain(*draws)), minlength=40)
    assert all(len(set(draw)) == 5 for draw in draws)
    # 50 of each are expected, with a deviation of 6.6.
    assert counts.min() > 22 and counts.max() < 80


def test_random_samples_leave_the_generators_of_others_alone():
    np.random.seed(0)
    before = np.random.get_state()[1].tolist()
    choose(PAIR, None, 5, "random")
    assert np.random.get_state()[1].tolist() == before


@pytest.mark.parametrize("form", ["ints", "one-hot", "column"])
def test_classes_take_turns(form):
    labels = np.array([1, 1, 1, 0, 2, 0])
    given = {"ints": labels, "one-hot": np.eye(3)[labels], "column": labels[:, None]}
    chosen = choose(IMAGES[:6], given[form], 5, "stratified")
    assert numbers(chosen) == [3, 0, 4, 5, 1]


def test_fewer_samples_than_asked_for_are_all_of_them():
    for order in ("first", "random", "stratified"):
        assert sorted(numbers(choose(PAIR, None, 99, order))) == list(range(40))


def test_what_users_hold_is_not_changed():
    inputs = {"a": IMAGES, "b": inputs_b()}
    copy = {key: value.copy() for key, value in inputs.items()}
    choose((inputs, LABELS), None, 4, "stratified")
    assert inputs["a"] is IMAGES
    for key, value in copy.items():
        np.testing.assert_array_equal(inputs[key], value)


@pytest.mark.parametrize(
    ("error", "text", "data", "y_true", "order"),
    [
        (ValueError, "40 images and 3 labels", IMAGES, [1, 2, 3], "first"),
        (ValueError, "40 images and 3 labels", (IMAGES, [1, 2, 3]), None, "first"),
        (ValueError, "images and 3 labels", from_slices(IMAGES), [1, 2, 3], "first"),
        (ValueError, "brings labels along", PAIR, LABELS, "first"),
        (ValueError, "brings labels along", from_slices(PAIR), LABELS, "first"),
        (ValueError, "'first', 'random' or 'strat.*'last'", PAIR, None, "last"),
        (ValueError, "must be a class for each", IMAGES, None, "stratified"),
        (ValueError, "has no samples", IMAGES[:0], None, "first"),
        (ValueError, "has no samples", from_slices(IMAGES).take(0), None, "random"),
        (ValueError, "as many samples in each", [IMAGES, LABELS[:3]], None, "first"),
        (TypeError, "must not be a generator", iter([PAIR]), None, "first"),
        (TypeError, "of type str", "images", None, "first"),
    ],
)
def test_errors(error, text, data, y_true, order):
    with pytest.raises(error, match=text):
        choose(data, y_true, 8, order)


def test_samples_of_several_sizes_are_refused():
    data = tf.data.Dataset.from_generator(
        lambda: (np.zeros((n, 12, 3)) for n in (8, 9)),
        output_signature=tf.TensorSpec((None, 12, 3)),
    )
    with pytest.raises(ValueError, match="of one shape: resize them"):
        stack(choose(data, None, 2))


def test_batches_cover_everything_in_order():
    found = list(batches(PAIR))
    np.testing.assert_array_equal(np.concatenate([x for x, _ in found]), IMAGES)
    np.testing.assert_array_equal(np.concatenate([y for _, y in found]), LABELS)
