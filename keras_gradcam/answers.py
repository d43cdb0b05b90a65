"""True labels as users write them, and the answers in a model's outputs.

The label of a sample is an int, its class; a tuple of ints, the classes that it has at
once; or `None` where it is not known.
"""

import numpy as np
import tensorflow as tf
from keras import ops

from keras_gradcam.scoring import class_columns, predicted_class

# What `labels_of` can read.
EXPECTED = (
    "one class, an int from 0, for each sample, or a one-hot or multi-hot row for each"
)


def labels_of(rows):
    """Returns the label of each sample; `None` in place of all if there are none.

    Args:
        rows: List with what is said of each sample: an int, an array `(1,)`, a one-hot
            row `(classes,)` (a distribution with one class above a half counts as
            such) or a multi-hot one, or `None`.

    Returns:
        List of labels, or `None` if `rows` are something else: the values of a
        regression, the masks of a segmentation.
    """
    if any(row is None for row in rows):
        return [None] * len(rows)
    rows = np.asarray(rows)
    if rows.ndim == 2 and rows.shape[1] == 1:
        rows = rows[:, 0]
    if rows.dtype.kind not in "iufb" or rows.ndim not in (1, 2):
        return None
    if rows.ndim == 1:
        valid = (rows >= 0).all() and (rows == rows // 1).all()
        return [int(label) for label in rows] if valid else None
    if (rows >= 0).all() and _are_one_hot(rows):
        return [int(label) for label in rows.argmax(-1)]
    if not np.isin(rows, (0, 1)).all():
        return None
    return [tuple(map(int, np.flatnonzero(row))) for row in rows]


def _are_one_hot(rows):
    return bool((np.isclose(rows.sum(-1), 1) & (rows.max(-1) > 0.5)).all())


def classes_in(label):
    """The classes of a label as a tuple."""
    return label if isinstance(label, tuple) else () if label is None else (label,)


class AnswerTarget:
    """A target: the score of each sample's predicted class, of its true ones, or both.

    The true labels are a variable: other samples need no new trace.

    Args:
        kind: `"pred"`, `"true"` or `"both"`.
        binary: Whether a single linear unit is the logit of class 1.
    """

    def __init__(self, kind, binary=False):
        self.kind = kind
        self.binary = binary
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
        if self.binary and columns.shape[-1] == 1:
            columns = ops.concatenate([-columns, columns], axis=-1)
        if self.kind == "pred":
            return predicted_class(columns)
        if self.kind == "true":
            return self._true(columns)
        return ops.stack([predicted_class(columns), self._true(columns)], axis=-1)

    def _true(self, columns):
        one_hot = tf.one_hot(self._labels, columns.shape[-1], True, False, dtype="bool")
        # Chosen and not multiplied: the logit of another class may be infinite.
        chosen = ops.where(ops.any(one_hot, axis=1), columns, 0)
        return ops.sum(chosen, axis=-1)

    def __repr__(self):
        return repr(self.kind)


def is_binary(model):
    """Whether the loss of a model says that a single linear unit is a logit."""
    return bool(getattr(getattr(model, "loss", None), "from_logits", False))


def probabilities(outputs, loss, classes, several=False):
    """Returns the class probabilities of each sample, `None` where there are none.

    Args:
        outputs: Array `(samples, units)`, what the model returned.
        loss: The loss that the model is trained with, which knows about logits.
        classes: Number of classes of the model, `None` where unknown.
        several: Whether a sample may have several classes at once: each unit stands
            for itself.
    """
    from_logits = getattr(loss, "from_logits", False)
    if from_logits:
        outputs = _sigmoid(outputs) if several else _softmax(outputs)
    if outputs.shape[1] == 1 and (classes == 2 or from_logits):
        outputs = np.concatenate([1 - outputs, outputs], -1)
    likely = (outputs >= 0).all(-1) & (outputs.shape[1] > 1)
    if several:
        likely &= (outputs <= 1).all(-1)
    else:
        # Values of a regression lie between 0 and 1 at times, but do not sum to 1.
        likely &= np.isclose(outputs.sum(-1), 1, atol=1e-2)
    return [row if ok else None for row, ok in zip(outputs, likely, strict=True)]


def _softmax(outputs):
    if outputs.shape[1] == 1:
        return _sigmoid(outputs)
    odds = np.exp(outputs - outputs.max(-1, keepdims=True))
    return odds / odds.sum(-1, keepdims=True)


def _sigmoid(outputs):
    # Of either sign without overflow.
    return 0.5 * (1 + np.tanh(outputs / 2))


def may_be_several(labels, loss):
    """Whether samples have several classes at once: by their labels, or by the loss."""
    name = getattr(loss, "name", None) or getattr(loss, "__name__", loss)
    by_loss = isinstance(name, str) and name.startswith("binary_")
    return by_loss or any(isinstance(label, tuple) for label in labels)
