"""From a model's outputs to one score per sample.

A target is a callable from the model's outputs to scores: `(batch,)`, or `(batch, n)`
for n maps of each sample. With `GradCAM(logits=True)` the outputs that it receives are
logits wherever the model ends in a softmax or sigmoid. The functions of this file that
are decorated with `@target` make such callables; they can be saved with a `GradCAM`,
and equal ones share one compiled graph. Any other callable works too.
"""

import functools
import inspect

import keras
import numpy as np
from keras import ops, tree

from keras_gradcam.configured import Configured, factory, short
from keras_gradcam.logits import find_logits
from keras_gradcam.scoring import (
    class_columns,
    decided,
    of_class,
    only_output,
    predicted,
    shapes,
)

TARGETS: dict = {}


@keras.saving.register_keras_serializable("keras_gradcam")
class Target(Configured):
    """A target by name with its options: callable, comparable, serialisable.

    Args:
        name: A name in `TARGETS`.
        **options: Its options.
    """

    ROOM = "targets"
    TABLE = TARGETS

    def __call__(self, outputs):
        return TARGETS[self.name](outputs, **self.options)


def target(function):
    """Turns `function(outputs, *options)` into `function(*options) -> Target`."""
    TARGETS[function.__name__] = function
    options = list(inspect.signature(function).parameters.values())[1:]
    return factory(function, functools.partial(Target, function.__name__), options)


@target
def top_k(outputs, k=3):
    """The scores of each sample's `k` highest classes: k maps, the best first.

    Args:
        k: Number of classes.
    """
    columns = class_columns(outputs)
    highest = decided(lambda: ops.top_k(columns, k)[1])
    return ops.take_along_axis(columns, highest, axis=-1)


@target
def classes(outputs, indices):
    """The scores of several classes: one map for each.

    Args:
        indices: List of ints.
    """
    columns = class_columns(outputs)
    _check_in_range("indices", indices, columns.shape[-1])
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
    _check_in_range("index", index, values.shape[-1])
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
    if not 1 <= similar < columns.shape[-1]:
        raise ValueError(
            "Argument `similar` must be at least 1 and less than the number of "
            f"classes, {columns.shape[-1]}. Received: similar={similar}"
        )
    index = predicted(columns) if target is None else _full(columns, target)
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
    index = predicted(columns) if target is None else _full(columns, target)
    # The columns of one unit are -z and z, whose sigmoid is the softmax of the halves.
    halves = 0.5 if output.shape[-1] == 1 else 1.0
    shares = ops.log_softmax(halves * columns, axis=-1)
    return of_class(columns, index) + of_class(shares, index)


@target
def segmentation(outputs, index=None, mask=None):
    """A class over the pixels of a region (Seg-Grad-CAM): `sum_ij M_ij y_ij^c`.

    Args:
        index: The class c; `None` is the class with the highest mean score. A model
            with one channel has the class 0 alone.
        mask: The region M, `(height, width)` or one for each sample, of the output's
            size. Defaults to `None`, the pixels that the model gives to class c.

    Reference:
        [Vinogradova et al., 2020](https://arxiv.org/abs/2002.11434), equation 2.
    """
    output = only_output(outputs)
    if len(output.shape) < 3:
        raise ValueError(
            "`targets.segmentation` explains an output `(batch, height, width, "
            f"classes)`. The output has shape {tuple(output.shape)}."
        )
    means = ops.mean(output, axis=tuple(range(1, len(output.shape) - 1)))
    index = predicted(means) if index is None else _full(means, index)
    one_hot = ops.one_hot(index, output.shape[-1], dtype=output.dtype)
    scores = ops.einsum("b...c,bc->b...", output, one_hot)
    return ops.sum(
        scores * _region(output, index, scores, mask),
        axis=tuple(range(1, len(scores.shape))),
    )


def _region(output, index, scores, mask):
    if mask is None and output.shape[-1] == 1:
        # With logits the sigmoid's threshold is at 0.
        return ops.cast(decided(lambda: scores > 0), scores.dtype)
    if mask is None:
        index = ops.reshape(index, (-1, *[1] * (len(scores.shape) - 1)))
        own = decided(lambda: ops.equal(ops.argmax(output, -1), index))
        return ops.cast(own, scores.dtype)
    mask = ops.cast(mask, scores.dtype)
    rank = len(scores.shape) - 1
    if tuple(mask.shape[-rank:]) != tuple(scores.shape[1:]):
        raise ValueError(
            f"Argument `mask` must have the size of the model's output, "
            f"{tuple(scores.shape[1:])}. Received: mask of shape {tuple(mask.shape)}"
        )
    return mask


@target
def detection(outputs, index=None, boxes=None, scores=None, top=1):
    """The class scores of chosen boxes of a detector.

    Args:
        index: The class; `None` is each box's own highest.
        boxes: List of ints, the positions of the chosen boxes on the anchors' axis.
            Defaults to `None`, the `top` boxes with the highest score.
        scores: Key or index of the output `(batch, anchors, classes)` that holds the
            scores. Defaults to `None`: the only output of that rank whose last axis is
            not 4 long, as box coordinates are.
        top: Number of boxes if `boxes` is `None`. Defaults to `1`.
    """
    columns = _pick(outputs, scores) if scores is not None else _box_scores(outputs)
    if index is None:
        column = of_class(columns, predicted(columns))
    else:
        column = columns[..., index]
    if boxes is not None:
        _check_in_range("boxes", boxes, column.shape[1])
        return ops.sum(ops.take(column, np.asarray(boxes), axis=1), axis=1)
    highest = decided(lambda: ops.top_k(column, top)[1])
    return ops.sum(ops.take_along_axis(column, highest, axis=1), axis=1)


def _box_scores(outputs):
    flat = tree.flatten(outputs)
    fitting = [x for x in flat if len(x.shape) == 3 and x.shape[-1] != 4]
    if len(fitting) != 1:
        raise ValueError(
            "Argument `scores` of `targets.detection` must name the output that "
            "holds the class scores of the boxes. The outputs have shapes "
            f"{shapes(outputs)}."
        )
    return fitting[0]


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
    return _score_of(_pick(outputs, key), target)


def _pick(outputs, key):
    if not isinstance(outputs, (dict, list, tuple)):
        raise ValueError(
            f"The model has one output, there is no output {key!r} to pick. Leave out "
            "`targets.output`, or `scores` of `targets.detection`."
        )
    try:
        return outputs[key]
    except (KeyError, IndexError, TypeError):
        keys = list(outputs) if isinstance(outputs, dict) else range(len(outputs))
        raise ValueError(
            f"The model has no output {key!r}. Its outputs are {list(keys)}."
        ) from None


def _score_of(outputs, target):
    if callable(target):
        return target(outputs)
    columns = class_columns(outputs)
    index = predicted(columns) if target is None else _full(columns, target)
    return of_class(columns, index)


def _full(columns, index):
    """One class for each sample, from one for all of them."""
    _check_in_range("target", index, columns.shape[-1])
    return ops.broadcast_to(ops.cast(index, "int32"), ops.shape(columns)[:1])


def _check_in_range(name, index, count):
    index = np.asarray(index)
    if ((index < 0) | (index >= count)).any():
        raise ValueError(
            f"Argument `{name}` must be in the range 0 to {count - 1}. Received: "
            f"{name}={short(index)}"
        )
