"""Labels as users write them, and what the strips say of a model's answers."""

import keras
import numpy as np
import pytest

from keras_gradcam.data.labels import labels_of, labels_or_none
from keras_gradcam.training.panels.captions import Captions, name_of
from keras_gradcam.training.samples.class_probabilities import ClassProbabilities

NAMES = ["ant", "bee", "cat"]
LOGITS = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
BINARY_LOGITS = keras.losses.BinaryCrossentropy(from_logits=True)


@pytest.mark.parametrize(
    ("rows", "labels"),
    [
        ([0, 2, 1], [0, 2, 1]),
        (np.array([0.0, 2.0]), [0, 2]),
        ([[1], [0]], [1, 0]),
        (np.eye(3)[[2, 0]], [2, 0]),
        ([[0.1, 0.8, 0.1]], [1]),
        ([True, False], [1, 0]),
        ([[1, 1, 0], [0, 0, 0], [0, 0, 1]], [(0, 1), (), (2,)]),
        ([None, None], [None, None]),
        ([], []),
        # Labels that were mixed half and half are of no one class.
        ([[1.0, 0.0], [0.5, 0.5], [0.3, 0.7]], [0, None, 1]),
    ],
)
def test_labels_as_users_write_them(rows, labels):
    assert labels_of(list(rows)) == labels_or_none(list(rows)) == labels


@pytest.mark.parametrize(
    "rows",
    [
        [0.5, 1.0],
        [-1, 0],
        ["cat", "dog"],
        [[0.2, -1.0, 5.0]],
        [[0], [0, 1]],
        np.zeros((2, 4, 4)),
    ],
)
def test_what_is_no_label(rows):
    with pytest.raises(ValueError, match="one class, an int from 0|inhomogeneous"):
        labels_of(list(rows))
    assert labels_or_none(list(rows)) == [None] * len(rows)


def captions_of(outputs, labels, loss=None, head=None, label_map=NAMES):
    captions = Captions(label_map, ClassProbabilities(loss, head, labels))
    notes = [""] * len(labels)
    return captions.of(np.array(outputs, "float32"), labels, notes, notes)


@pytest.mark.parametrize(
    ("outputs", "label", "loss", "head", "expected"),
    [
        ([0.1, 0.9, 0.0], 1, None, "softmax", ("true bee, predicted bee (90%)", True)),
        ([0.1, 0.9, 0.0], 0, None, None, ("true ant, predicted bee (90%)", False)),
        ([0.1, 0.9, 0.0], None, None, "softmax", ("predicted bee (90%)", None)),
        ([0, 3, 0], 1, LOGITS, None, ("true bee, predicted bee (91%)", True)),
        ([0, 3, 0], 1, [LOGITS], None, ("true bee, predicted bee (91%)", True)),
        # A single unit, with a sigmoid or as a logit.
        ([0.2], 0, None, "sigmoid", ("true ant, predicted ant (80%)", True)),
        ([2.0], 0, BINARY_LOGITS, None, ("true ant, predicted bee (88%)", False)),
        # Keras looks behind the activation, whatever the loss says.
        ([0.2], 0, BINARY_LOGITS, "sigmoid", ("true ant, predicted ant (80%)", True)),
        (
            [0.1, 0.9, 0.0],
            1,
            LOGITS,
            "softmax",
            ("true bee, predicted bee (90%)", True),
        ),
        # Logarithms of probabilities.
        (
            np.log([0.09, 0.9, 0.01]),
            1,
            LOGITS,
            "log_softmax",
            ("true bee, predicted bee (90%)", True),
        ),
        (
            np.log([0.2]),
            0,
            None,
            "log_sigmoid",
            ("true ant, predicted ant (80%)", True),
        ),
        # Several labels at once.
        (
            [0.9, 0.2, 0.6],
            (0, 2),
            None,
            None,
            ("true ant + cat, predicted ant (90%) + cat (60%)", True),
        ),
        (
            [0.9, 0.2, 0.6],
            (0,),
            None,
            "sigmoid",
            ("true ant, predicted ant (90%) + cat (60%)", False),
        ),
        ([0.1, 0.2, 0.3], (), None, "sigmoid", ("true none, predicted none", True)),
        (
            [0.9, 0.2, 0.6],
            0,
            "binary_crossentropy",
            "sigmoid",
            ("true ant, predicted ant (90%) + cat (60%)", False),
        ),
        (
            [3.0, -3.0, -800.0],
            (0,),
            BINARY_LOGITS,
            None,
            ("true ant, predicted ant (95%)", True),
        ),
        # A softmax has one answer, whatever the loss.
        (
            [0.4, 0.35, 0.25],
            0,
            "binary_crossentropy",
            "softmax",
            ("true ant, predicted ant (40%)", True),
        ),
        # No probabilities: a regression.
        ([0.4, 0.3, 5.0], 1, "mse", None, ("true bee", None)),
        ([0.4], None, "mse", None, (None, None)),
        ([0.4], None, "mse", "sigmoid", (None, None)),
        # But one that classifies, as its labels tell.
        ([0.4], 0, "mse", "sigmoid", ("true ant, predicted ant (60%)", True)),
        # A model that is broken.
        ([np.nan, 0.5, 0.5], 1, None, "softmax", ("true bee, predicted NaN", False)),
        ([np.nan, 0.5, 0.5], (), None, "sigmoid", ("true none, predicted NaN", False)),
    ],
)
def test_captions(outputs, label, loss, head, expected):
    assert captions_of([outputs], [label], loss, head) == [expected]


def test_each_sample_has_its_own_caption():
    outputs = np.array([[0.9, 0.1], [0.3, 0.7], [np.nan, np.nan]])
    notes = ["first", "", ""], ["", "no evidence", ""]
    captions = Captions({0: "ant", 1: "bee"}, ClassProbabilities(None, "softmax", []))
    assert captions.of(outputs, [0, 0, 1], *notes) == [
        ("first, true ant, predicted ant (90%)", True),
        ("true ant, predicted bee (70%), no evidence", False),
        ("true bee, predicted NaN", False),
    ]


def test_several_outputs_have_no_answer_and_one_in_a_dict_has():
    captions = Captions(None, ClassProbabilities(None, "softmax", []))
    outputs = {"a": np.ones((2, 3)), "b": np.array([[1.0], [np.nan]])}
    found = captions.of(outputs, [1, 1], [""] * 2, [""] * 2)
    assert found == [("true 1", None), ("true 1, predicted NaN", False)]
    (found,) = captions.of({"a": np.array([[0.1, 0.9]])}, [1], [""], [""])
    assert found == ("true 1, predicted 1 (90%)", True)


def test_long_names_leave_room_for_the_answer():
    names = ["an Old English sheepdog, bobtail, of the longest kind"] * 2
    ((caption, _),) = captions_of([[0.1, 0.9]], [0], head="softmax", label_map=names)
    assert caption.endswith("(90%)")
    assert caption.count("an Old English sheepdog, bo…") == 2


@pytest.mark.parametrize("label_map", [["ant"], {0: "ant"}, {"ant": 0, "bee": 1}, str])
def test_a_class_without_a_name(label_map):
    with pytest.raises(ValueError, match="has no name for class 1") as error:
        name_of(1, label_map)
    is_inverted = isinstance(label_map, dict) and "ant" in label_map
    assert ("The other way round" in str(error.value)) == is_inverted
