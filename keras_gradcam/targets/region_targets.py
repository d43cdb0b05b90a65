"""Targets that mean a place in the output: segmentation and detection."""

import numpy as np
from keras import ops, tree

from keras_gradcam.targets.class_scores import (
    check_at_most,
    check_in_range,
    class_of_each,
    of_class,
    only_output,
    pick,
    predicted,
    shapes,
)
from keras_gradcam.targets.decisions import decided
from keras_gradcam.targets.named_target import target


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
    index = predicted(means) if index is None else class_of_each(means, index)
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
    columns = pick(outputs, scores) if scores is not None else _box_scores(outputs)
    if index is None:
        column = of_class(columns, predicted(columns))
    else:
        check_in_range("index", index, columns.shape[-1])
        column = columns[..., index]
    if boxes is not None:
        check_in_range("boxes", boxes, column.shape[1])
        return ops.sum(ops.take(column, np.asarray(boxes), axis=1), axis=1)
    check_at_most("top", top, column.shape[1] or top, "boxes")
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
