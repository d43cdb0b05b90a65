"""The target of a training: predicted classes, true ones, or both."""

import numpy as np
import tensorflow as tf
from keras import ops

from keras_gradcam.data import classes_in
from keras_gradcam.targets import class_columns, of_class, predicted


class LabelTarget:
    """A target: the score of each sample's predicted class, of its true ones, or both.

    The true labels are a variable: other samples need no new trace.

    Args:
        kind: `"pred"`, `"true"` or `"both"`.
        are_logits: Whether a single linear unit is the logit of class 1.
    """

    def __init__(self, kind, are_logits=False):
        self.kind = kind
        self._are_logits = are_logits
        # One row for each sample, filled up with -1.
        self._labels = tf.Variable([[-1]], shape=[None, None], trainable=False)

    def set_labels(self, labels):
        classes = [classes_in(label) for label in labels]
        rows = np.full((len(labels), max(1, *map(len, classes))), -1, "int32")
        for row, found in zip(rows, classes, strict=True):
            row[: len(found)] = found
        self._labels.assign(rows)

    def __call__(self, outputs):
        columns = class_columns(outputs)
        if self._are_logits and columns.shape[-1] == 1:
            columns = ops.concatenate([-columns, columns], axis=-1)
        if self.kind == "pred":
            return of_class(columns, predicted(columns))
        if self.kind == "true":
            return self._true(columns)
        highest = of_class(columns, predicted(columns))
        return ops.stack([highest, self._true(columns)], axis=-1)

    def _true(self, columns):
        one_hot = tf.one_hot(self._labels, columns.shape[-1], True, False, dtype="bool")
        # Chosen and not multiplied: the logit of another class may be infinite.
        chosen = ops.where(ops.any(one_hot, axis=1), columns, 0)
        return ops.sum(chosen, axis=-1)

    def __repr__(self):
        return repr(self.kind)
