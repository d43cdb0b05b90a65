"""Labels as users write them, and what the strips say of a model's answers."""

import keras
import numpy as np
import pytest

from keras_gradcam.answers import labels_of
from keras_gradcam.captions import Captions

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
        # No classes.
        ([0.5, 1.0], None),
        ([-1, 0], None),
        (["cat"], None),
        ([[0.4, 0.3, 0.3]], None),
        ([[0.2, -1.0, 5.0]], None),
        (np.zeros((2, 4, 4)), None),
    ],
)
def test_labels_as_users_write_them(rows, labels):
    assert labels_of(list(rows)) == labels


@pytest.mark.parametrize(
    ("outputs", "label", "options", "expected"),
    [
        ([0.1, 0.9, 0.0], 1, {}, ("true bee, predicted bee (90%)", True)),
        ([0.1, 0.9, 0.0], 0, {}, ("true ant, predicted bee (90%)", False)),
        ([0.1, 0.9, 0.0], None, {}, ("predicted bee (90%)", None)),
        ([0, 3, 0], 1, {"loss": LOGITS}, ("true bee, predicted bee (91%)", True)),
        # A single unit, with a sigmoid or as a logit.
        ([0.2], 0, {"classes": 2}, ("true ant, predicted ant (80%)", True)),
        ([2.0], 0, {"loss": BINARY_LOGITS}, ("true ant, predicted bee (88%)", False)),
        # Several labels at once.
        (
            [0.9, 0.2, 0.6],
            (0, 2),
            {},
            ("true ant + cat, predicted ant (90%) + cat (60%)", True),
        ),
        (
            [0.9, 0.2, 0.6],
            (0,),
            {},
            ("true ant, predicted ant (90%) + cat (60%)", False),
        ),
        ([0.1, 0.2, 0.3], (), {}, ("true none, predicted none", True)),
        (
            [0.9, 0.2, 0.6],
            0,
            {"loss": "binary_crossentropy"},
            ("true ant, predicted ant (90%) + cat (60%)", False),
        ),
        (
            [3.0, -3.0, -800.0],
            (0,),
            {"loss": BINARY_LOGITS},
            ("true ant, predicted ant (95%)", True),
        ),
        # No probabilities: a regression.
        ([0.4, 0.3, 5.0], 1, {}, ("true bee", None)),
        ([0.4], None, {}, (None, None)),
        # A model that is broken.
        ([np.nan, 0.5, 0.5], 1, {}, ("true bee, predicted NaN", False)),
        ([np.nan, 0.5, 0.5], (), {}, ("true none, predicted NaN", False)),
    ],
)
def test_captions(outputs, label, options, expected):
    captions = Captions(NAMES, **options)
    (caption,) = captions.of(np.array([outputs], "float32"), [label], [""], [""])
    assert caption == expected


def test_each_sample_has_its_own_caption():
    outputs = np.array([[0.9, 0.1], [0.3, 0.7], [np.nan, np.nan]])
    notes = ["first", "", ""], ["", "no evidence", ""]
    captions = Captions({0: "ant", 1: "bee"}).of(outputs, [0, 0, 1], *notes)
    assert captions == [
        ("first, true ant, predicted ant (90%)", True),
        ("true ant, predicted bee (70%), no evidence", False),
        ("true bee, predicted NaN", False),
    ]


def test_several_outputs_have_no_answer():
    outputs = {"a": np.ones((2, 3)), "b": np.array([[1.0], [np.nan]])}
    captions = Captions().of(outputs, [1, 1], [""] * 2, [""] * 2)
    assert captions == [("true 1", None), ("true 1, predicted NaN", False)]


@pytest.mark.parametrize("label_map", [["ant"], {0: "ant"}])
def test_a_class_without_a_name(label_map):
    with pytest.raises(ValueError, match="`label_map` has no name for class 1"):
        Captions(label_map, classes=2)
