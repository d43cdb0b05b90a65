"""Targets of classifiers, of regressions and of embeddings."""

import numpy as np
from keras import ops

from keras_gradcam.targets.class_scores import (
    check_at_most,
    check_in_range,
    class_columns,
    class_of_each,
    of_class,
    only_output,
    pick,
    predicted,
)
from keras_gradcam.targets.decisions import decided
from keras_gradcam.targets.logits import find_logits
from keras_gradcam.targets.named_target import target


@target
def top_k(outputs, k=3):
    """The scores of each sample's `k` highest classes: k maps, the best first.

    Args:
        k: Number of classes.
    """
    columns = class_columns(outputs)
    check_at_most("k", k, columns.shape[-1], "classes")
    highest = decided(lambda: ops.top_k(columns, k)[1])
    return ops.take_along_axis(columns, highest, axis=-1)


@target
def classes(outputs, indices):
    """The scores of several classes: one map for each.

    Args:
        indices: List of ints.
    """
    columns = class_columns(outputs)
    check_in_range("indices", indices, columns.shape[-1])
    return ops.take(columns, np.asarray(indices), axis=-1)


@target
def binary(outputs, label=1):
    """One side of a model with one unit, also where that unit has no sigmoid.

    Args:
        label: 1 for the class that the unit stands for, 0 for the other; or one of
            these for each sample.
    """
    output = only_output(outputs)
    if int(np.prod(output.shape[1:])) != 1:
        raise ValueError(
            "`targets.binary` explains a model with one unit. The output has shape "
            f"{tuple(output.shape)}; for one of several classes pass its number."
        )
    score = ops.reshape(output, (-1,))
    return score * ops.cast(2 * np.asarray(label) - 1, score.dtype)


@target
def multi_label(outputs, threshold=0.0):
    """The sum of the scores of all labels that a sample has by the model's own account.

    Args:
        threshold: The score above which a label is present: 0 for logits, 0.5 for
            probabilities. Defaults to `0.0`.
    """
    columns = class_columns(outputs)
    present = decided(lambda: columns > threshold)
    return ops.sum(ops.where(present, columns, 0.0), axis=-1)


@target
def regression(outputs, index=0):
    """The value that a regression model predicts: what makes it higher.

    Args:
        index: Which of several values. Defaults to `0`.
    """
    output = only_output(outputs)
    values = ops.reshape(output, (-1, int(np.prod(output.shape[1:]))))
    check_in_range("index", index, values.shape[-1])
    return values[:, index]


@target
def counterfactual(outputs, target=None):
    """The negative of a score: what speaks against the class.

    Args:
        target: An int, another target, or `None` for the predicted class.

    Reference:
        [Selvaraju et al., 2017](https://arxiv.org/abs/1610.02391), section 3.3.
    """
    return -_score_of(outputs, target)


@target
def contrast(outputs, target=None, gamma=0.6, similar=3):
    """A class against those that the model finds most similar (Finer-CAM).

    `y_c - gamma * mean_d y_d` over the classes d whose logits are closest to `y_c`.

    Args:
        target: The class c, an int or one for each sample; `None` is the predicted one.
        gamma: Strength of the comparison. Defaults to `0.6`.
        similar: Number of classes d. Defaults to `3`.

    Reference:
        [Zhang et al., 2025](https://arxiv.org/abs/2501.11309), equation 5.
    """
    columns = class_columns(outputs)
    check_at_most("similar", similar, columns.shape[-1] - 1, "other classes")
    index = predicted(columns) if target is None else class_of_each(columns, target)
    score = of_class(columns, index)
    distance = ops.abs(columns - score[:, None])
    itself = ops.one_hot(index, columns.shape[-1], dtype="bool")
    distance = ops.where(itself, np.inf, distance)
    nearest = decided(lambda: ops.top_k(-distance, similar)[1])
    others = ops.take_along_axis(columns, nearest, axis=-1)
    return score - gamma * ops.mean(others, axis=-1)


@target
def residual_softmax(outputs, target=None):
    """A class with its share of the softmax: the score that ShapleyCAM is made for.

    `y_c - cross_entropy(y, c) = y_c + log(softmax(y)_c)`. Unlike a logit it has a
    curvature behind ReLUs, too. Needs logits.

    Args:
        target: The class c, an int or one for each sample; `None` is the predicted one.

    Reference:
        [Cai, 2025](https://arxiv.org/abs/2501.06261), the residual softmax target.
    """
    output = only_output(outputs)
    if find_logits(output) is not None:
        raise ValueError(
            "`targets.residual_softmax` takes the softmax itself and needs logits. "
            "Leave `logits=True`. Received: logits=False"
        )
    columns = class_columns(outputs)
    index = predicted(columns) if target is None else class_of_each(columns, target)
    # The columns of one unit are -z and z, whose sigmoid is the softmax of the halves.
    halves = 0.5 if output.shape[-1] == 1 else 1.0
    shares = ops.log_softmax(halves * columns, axis=-1)
    return of_class(columns, index) + of_class(shares, index)


@target
def similarity(outputs, reference):
    """The cosine between an embedding and a reference: what makes the two alike.

    Args:
        reference: Array `(features,)`, or one row for each sample.
    """
    embedding = only_output(outputs)
    embedding = ops.reshape(embedding, (-1, int(np.prod(embedding.shape[1:]))))
    reference = ops.cast(reference, embedding.dtype)
    return ops.sum(
        ops.normalize(embedding, axis=-1) * ops.normalize(reference, axis=-1), axis=-1
    )


@target
def output(outputs, key, target=None):
    """One of a model's several outputs.

    Args:
        key: Its key in a dict, or its position in a list.
        target: An int, another target, or `None` for the predicted class.
    """
    return _score_of(pick(outputs, key), target)


def _score_of(outputs, target):
    if callable(target):
        return target(outputs)
    columns = class_columns(outputs)
    index = predicted(columns) if target is None else class_of_each(columns, target)
    return of_class(columns, index)
