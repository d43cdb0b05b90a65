"""True classes as users write them, and the answers in a model's outputs."""

import numpy as np


def classes_of(y_true, count):
    """Returns the true class of each sample, `None` where there are no labels.

    Args:
        y_true: Ints `(samples,)` or `(samples, 1)`, one-hot rows, or `None`.
        count: Number of samples.

    Raises:
        ValueError: If these are no classes, or not one for each sample.
    """
    if y_true is None:
        return [None] * count
    labels = np.atleast_1d(y_true)
    if len(labels) != count:
        raise ValueError(
            "Arguments `images` and `y_true` must have the same length. Received: "
            f"{count} images and {len(labels)} labels."
        )
    if labels.ndim == 2 and labels.shape[1] == 1:
        labels = labels[:, 0]
    elif labels.ndim == 2 and _are_one_hot(labels):
        labels = labels.argmax(-1)
    if labels.ndim != 1 or not _are_classes(labels):
        raise ValueError(
            "Argument `y_true` must have one class, an int from 0, for each sample, or "
            "one one-hot row; leave it out where a sample has several or none. "
            f"Received: y_true of shape {np.shape(y_true)} and dtype {labels.dtype}"
        )
    return [int(label) for label in labels]


def _are_one_hot(rows):
    return bool((np.isin(rows, (0, 1)).all(-1) & (rows.sum(-1) == 1)).all())


def _are_classes(labels):
    is_number = labels.dtype.kind in "iufb"
    return is_number and bool((labels >= 0).all() and (labels == labels // 1).all())


def probabilities(outputs, loss, classes):
    """Returns the class probabilities of each sample, `None` where there are none.

    Args:
        outputs: Array `(samples, units)`, what the model returned.
        loss: The loss that the model is trained with, which knows about logits.
        classes: Number of classes of the model, `None` where unknown.
    """
    from_logits = getattr(loss, "from_logits", False)
    if from_logits:
        shifted = outputs - outputs.max(-1, keepdims=True)
        odds = np.exp(shifted)
        softmax = odds / odds.sum(-1, keepdims=True)
        outputs = softmax if outputs.shape[1] > 1 else 1 / (1 + np.exp(-outputs))
    if outputs.shape[1] == 1 and (classes == 2 or from_logits):
        outputs = np.concatenate([1 - outputs, outputs], -1)
    # Values of a regression lie between 0 and 1 at times, but do not sum to 1.
    likely = (outputs >= 0).all(-1) & np.isclose(outputs.sum(-1), 1, atol=1e-2)
    likely &= outputs.shape[1] > 1
    return [row if ok else None for row, ok in zip(outputs, likely, strict=True)]
