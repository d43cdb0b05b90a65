"""True labels as users write them, and the answers in a model's outputs.

The label of a sample is an int, its class; a tuple of ints, the classes that it has at
once; or `None` where it is not known.
"""

import keras
import numpy as np
import tensorflow as tf
from keras import ops, tree

from keras_gradcam.scoring import class_columns, of_class, predicted

NO_LABELS = (
    "Labels must have one class, an int from 0, for each sample, or a one-hot or "
    "multi-hot row for each."
)


def labels_of(rows):
    """Returns the label of each sample.

    Args:
        rows: List with what is said of each sample: an int, an array `(1,)`, a one-hot
            row `(classes,)` (a distribution counts as such, where one class is above a
            half) or a multi-hot one, or `None`.

    Returns:
        List of labels.

    Raises:
        ValueError: If `rows` are something else: the values of a regression, the masks
            of a segmentation.
    """
    if any(row is None for row in rows):
        return [None] * len(rows)
    rows = np.asarray(rows)
    if rows.ndim == 2 and rows.shape[1] == 1:
        rows = rows[:, 0]
    are_numbers = rows.dtype.kind in "iufb" and rows.ndim in (1, 2)
    if not are_numbers or not (rows >= 0).all():
        raise ValueError(NO_LABELS)
    if rows.ndim == 2 and np.allclose(rows.sum(-1), 1):
        # Of labels that were mixed half and half there is no one class.
        return [int(row.argmax()) if row.max() > 0.5 else None for row in rows]
    if rows.ndim == 1 and (rows == rows // 1).all():
        return [int(label) for label in rows]
    if rows.ndim == 2 and np.isin(rows, (0, 1)).all():
        return [tuple(map(int, np.flatnonzero(row))) for row in rows]
    raise ValueError(NO_LABELS)


def labels_or_none(rows):
    """Returns `labels_of(rows)`, `None` for each sample if these are no labels."""
    try:
        return labels_of(rows)
    except ValueError:
        return [None] * len(rows)


def classes_in(label):
    """The classes of a label as a tuple."""
    return label if isinstance(label, tuple) else () if label is None else (label,)


class AnswerTarget:
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


# Losses of models that return values; also of some that classify.
REGRESSIONS = (
    *("mean_squared_error", "mean_absolute_error", "huber", "log_cosh"),
    *("mean_absolute_percentage_error", "mean_squared_logarithmic_error"),
)


def from_logits(loss):
    """Whether a model's loss, or the one in a structure, says that it is of logits."""
    return bool(getattr(_only(loss), "from_logits", False))


def _only(loss):
    losses = tree.flatten(loss)
    return losses[0] if len(losses) == 1 else None


class Reading:
    """How the answers in a model's outputs are read.

    Args:
        loss: The loss that the model is trained with.
        head: What the outputs end in, see `GradCAM.head`.
        labels: List of labels, see above.
    """

    def __init__(self, loss, head, labels):
        self._head = head
        # Keras looks behind a softmax or sigmoid, whatever `from_logits` says.
        self.are_logits = from_logits(loss) and head is None
        name = _name_of(_only(loss))
        self._is_binary = name.startswith("binary")
        self._is_regression = name in REGRESSIONS and set(labels) <= {None}
        self._have_several = any(isinstance(label, tuple) for label in labels)

    def probabilities(self, outputs):
        """Returns the class probabilities of each sample, `None` where there are none.

        Args:
            outputs: float32 array `(samples, units)`, what the model returned.

        Returns:
            A tuple of a list with a row `(classes,)` in [0, 1] for each sample, and
            whether each class stands for itself, as a sample may have several.
        """
        several = outputs.shape[1] > 1 and self._are_several(outputs)
        if self._is_regression:
            return [None] * len(outputs), several
        if self.are_logits:
            outputs = _sigmoid(outputs) if several else _softmax(outputs)
        if outputs.shape[1] == 1 and (self.are_logits or self._head == "sigmoid"):
            outputs = np.concatenate([1 - outputs, outputs], -1)
        likely = (outputs >= 0).all(-1) & (outputs <= 1.01).all(-1)
        if not several:
            # Values of a regression lie between 0 and 1 at times, but do not sum to 1.
            likely &= (outputs.shape[1] > 1) & np.isclose(outputs.sum(-1), 1, atol=1e-2)
        rows = [row if ok else None for row, ok in zip(outputs, likely, strict=True)]
        return rows, several

    def _are_several(self, outputs):
        if self._head is not None:
            return self._head == "sigmoid"
        if self.are_logits:
            return self._is_binary
        return self._have_several and not np.allclose(outputs.sum(-1), 1, atol=1e-3)


def _name_of(loss):
    """The name of a loss as a function: "binary_crossentropy"."""
    try:
        loss = keras.losses.get(loss)
    except ValueError:  # A name that Keras does not know.
        return str(loss)
    # Objects may have been given another name; their function keeps its own.
    function = getattr(loss, "fn", loss)
    return getattr(function, "__name__", "")


def _softmax(outputs):
    if outputs.shape[1] == 1:
        return _sigmoid(outputs)
    odds = np.exp(outputs - outputs.max(-1, keepdims=True))
    return odds / odds.sum(-1, keepdims=True)


def _sigmoid(outputs):
    # Of either sign without overflow.
    return 0.5 * (1 + np.tanh(outputs / 2))
