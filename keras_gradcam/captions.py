"""What the strip below a panel says: the true label, the predicted one, confidence."""

import numpy as np
from keras import tree

from keras_gradcam.answers import classes_in, may_be_several, probabilities


class Captions:
    """Writes captions for the answers of a model.

    Args:
        label_map: Names of the classes, a list or a dict from class to name, or `None`.
        loss: The loss that the model is trained with, which knows about logits.
        classes: Number of classes of the model, `None` where unknown.

    Raises:
        ValueError: If a class has no name.
    """

    def __init__(self, label_map=None, loss=None, classes=None):
        self.label_map = label_map
        self.loss = loss
        self.classes = classes
        for label in range(classes or 0):
            self.name(label)

    def name(self, label):
        """The name of a class."""
        if self.label_map is None:
            return str(label)
        try:
            return str(self.label_map[label])
        except (KeyError, IndexError):
            raise ValueError(
                f"Argument `label_map` has no name for class {label}. Received: "
                f"label_map={self.label_map}"
            ) from None

    def of(self, outputs, labels, before, after):
        """Returns a tuple `(caption, correct)` for each sample.

        Args:
            outputs: The model's outputs, any structure of arrays; an answer is only
                read off an array `(samples, units)`.
            labels: List of labels, see `answers`.
            before: List of strings, what else is said of each sample, ahead of it all.
            after: List of strings, the same behind it.
        """
        answers = self._answers(outputs, labels)
        columns = zip(before, labels, answers, after, strict=True)
        return [self._of_one(*column) for column in columns]

    def _of_one(self, before, label, answer, after):
        true = "" if label is None else f"true {self._names(classes_in(label))}"
        predicted, classes = answer
        parts = [before, true, predicted and f"predicted {predicted}", after]
        caption = ", ".join(part for part in parts if part) or None
        known = label is not None and predicted
        return caption, classes == classes_in(label) if known else None

    def _names(self, classes):
        return " + ".join(map(self.name, classes)) or "none"

    def _answers(self, outputs, labels):
        """For each sample what is predicted, as text and as a tuple of classes."""
        several = may_be_several(labels, self.loss)
        answers = [("", ())] * len(labels)
        if hasattr(outputs, "ndim") and outputs.ndim == 2:
            values = np.asarray(outputs, "float32")
            # A model with one unit has one answer, whatever its loss.
            several = several and values.shape[1] > 1
            rows = probabilities(values, self.loss, self.classes, several)
            answers = [self._answer(row, several) for row in rows]
        broken = _have_nan(outputs, len(labels))
        nan = ("NaN", None)
        return [nan if bad else a for a, bad in zip(answers, broken, strict=True)]

    def _answer(self, row, several):
        if row is None:
            return "", ()
        best = np.flatnonzero(row > 0.5) if several else [np.argmax(row)]
        classes = tuple(int(label) for label in best)
        named = [f"{self.name(label)} ({row[label]:.0%})" for label in classes]
        return " + ".join(named) or "none", classes


def _have_nan(outputs, count):
    """Tells for each sample whether a model returned NaN for it."""
    leaves = [np.asarray(x, "float32") for x in tree.flatten(outputs) if x is not None]
    rows = [x.reshape(count, -1) for x in leaves if x.shape[:1] == (count,)]
    return np.any([np.isnan(x).any(axis=1) for x in rows] or [[False] * count], axis=0)
