"""What the strip below a panel says: the true label, the predicted one, confidence."""

import reprlib

import numpy as np
from keras import tree

from keras_gradcam.data import classes_in

# A longer name leaves no room for the other one and for the probability.
MAX_NAME = 28


class Captions:
    """Writes captions for the answers of a model.

    Args:
        label_map: Names of the classes, a list or a dict from class to name, or `None`.
        reading: A `ClassProbabilities`.
    """

    def __init__(self, label_map, reading):
        self._label_map = label_map
        self._reading = reading

    def of(self, outputs, labels, prefixes, suffixes):
        """Returns a tuple `(caption, correct)` for each sample.

        Args:
            outputs: The model's outputs, any structure of arrays; an answer is only
                read off an array `(samples, units)`.
            labels: List of labels, see `data.labels`.
            prefixes: List of strings, what else is said of each sample, ahead of it.
            suffixes: List of strings, the same behind it.
        """
        answers = self._answers(outputs, labels)
        columns = zip(prefixes, labels, answers, suffixes, strict=True)
        return [self._of_one(*column) for column in columns]

    def _of_one(self, prefix, label, answer, suffix):
        true = "" if label is None else f"true {self._names(classes_in(label))}"
        predicted, classes = answer
        parts = [prefix, true, predicted and f"predicted {predicted}", suffix]
        caption = ", ".join(part for part in parts if part) or None
        known = label is not None and predicted
        return caption, classes == classes_in(label) if known else None

    def _names(self, classes):
        return " + ".join(map(self._name, classes)) or "none"

    def _answers(self, outputs, labels):
        """For each sample what is predicted, as text and as a tuple of classes."""
        answers = [("", ())] * len(labels)
        leaves = tree.flatten(outputs)
        if len(leaves) == 1 and np.ndim(leaves[0]) == 2:
            values = np.asarray(leaves[0], "float32")
            rows, several = self._reading.probabilities(values)
            answers = [self._answer(row, several) for row in rows]
        broken = _have_nan(outputs, len(labels))
        nan = ("NaN", None)
        return [nan if bad else a for a, bad in zip(answers, broken, strict=True)]

    def _answer(self, row, several):
        if row is None:
            return "", ()
        best = np.flatnonzero(row > 0.5) if several else [np.argmax(row)]
        classes = tuple(int(label) for label in best)
        named = [f"{self._name(label)} ({row[label]:.0%})" for label in classes]
        return " + ".join(named) or "none", classes

    def _name(self, label):
        name = name_of(label, self._label_map)
        return name if len(name) <= MAX_NAME else name[: MAX_NAME - 1].rstrip() + "…"


def name_of(label, label_map):
    """Returns the name of a class.

    Raises:
        ValueError: If it has none.
    """
    if label_map is None:
        return str(label)
    try:
        return str(label_map[label])
    except (KeyError, IndexError, TypeError):
        hint = ""
        if isinstance(label_map, dict) and label_map.get(next(iter(label_map), 0)) == 0:
            hint = " The other way round: `{n: name for name, n in label_map.items()}`."
        raise ValueError(
            "Argument `label_map` must be a list of names or a dict from class to name,"
            f" and has no name for class {label}.{hint} Received: "
            f"label_map={reprlib.repr(label_map)}"
        ) from None


def _have_nan(outputs, count):
    """Tells for each sample whether a model returned NaN for it."""
    leaves = [np.asarray(x, "float32") for x in tree.flatten(outputs) if x is not None]
    rows = [x.reshape(count, -1) for x in leaves if x.shape[:1] == (count,)]
    return np.any([np.isnan(x).any(axis=1) for x in rows] or [[False] * count], axis=0)
