"""The scores of the classes in a model's outputs: one column for each."""

import numpy as np
from keras import ops, tree

from keras_gradcam.configured_function import short
from keras_gradcam.targets.decisions import decided
from keras_gradcam.targets.logits import (
    find_head,
    find_logits,
    is_logits,
    marked_as_logits,
)


def with_logits(outputs):
    """Replaces each output by the logits behind it, where there are any.

    Args:
        outputs: The model's outputs, any structure of tensors.

    Returns:
        The same structure.
    """

    def logits_of(output):
        logits = find_logits(output)
        return output if logits is None else marked_as_logits(logits)

    return tree.map_structure(logits_of, outputs)


def count_classes(outputs):
    """Number of classes of a classifier's outputs, `None` where that is unknown."""
    if len(tree.flatten(outputs)) != 1:
        return None
    return class_columns(with_logits(outputs)).shape[-1]


def head_of(outputs):
    """What a model's only output is of its logits, see `Head.kind`; or `None`."""
    flat = tree.flatten(outputs)
    head = find_head(flat[0]) if len(flat) == 1 else None
    return None if head is None else head.kind


def class_columns(outputs):
    """One column `(batch, classes)` for each class of a classifier.

    A single sigmoid unit has two classes: the score of class 0 is the negative logit,
    or one minus the probability, or the logarithm of this. Outputs with a grid, as in
    segmentation, are averaged over it.
    """
    output = only_output(outputs)
    head = find_head(output)
    columns = output if len(output.shape) > 1 else ops.expand_dims(output, -1)
    columns = ops.mean(columns, axis=tuple(range(1, len(columns.shape) - 1)))
    if columns.shape[-1] != 1 or not (is_logits(output) or head):
        return columns
    return ops.concatenate([_other_class(columns, head), columns], axis=-1)


def _other_class(column, head):
    """The score of class 0 from that of class 1."""
    if head is None:
        return -column
    if head.kind == "log_sigmoid":
        return ops.log(-ops.expm1(column))
    return 1.0 - column


def predicted(columns):
    """Each sample's highest class `(batch,)`, from `(batch, classes)`."""
    # Its score is taken by this, and not as the maximum, whose gradient is shared out
    # between classes that tie.
    return decided(lambda: ops.argmax(columns, axis=-1))


def of_class(columns, classes):
    """The score `(batch,)` of one class for each sample, from `(batch, classes)`."""
    classes = ops.expand_dims(classes, -1)
    return ops.squeeze(ops.take_along_axis(columns, classes, axis=-1), -1)


def only_output(outputs):
    flat = tree.flatten(outputs)
    if len(flat) == 1:
        return flat[0]
    raise ValueError(
        "The model has several outputs, so `target` must say which one to explain: "
        "pass `target=keras_gradcam.targets.output(key, class)`, or a callable such as "
        "`lambda outputs: outputs[key][:, 3]`. The outputs have shapes "
        f"{shapes(outputs)}."
    )


def shapes(outputs):
    return tree.map_structure(lambda x: None if x is None else tuple(x.shape), outputs)


def pick(outputs, key):
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


def class_of_each(columns, index):
    """One class for each sample, from one for all of them."""
    check_in_range("target", index, columns.shape[-1])
    return ops.broadcast_to(ops.cast(index, "int32"), ops.shape(columns)[:1])


class OptionError(ValueError):
    """A target has an option that the model can have no score for."""


def check_in_range(name, index, count):
    index = np.asarray(index)
    if ((index < 0) | (index >= count)).any():
        raise OptionError(
            f"Argument `{name}` must be in the range 0 to {count - 1}. Received: "
            f"{name}={short(index)}"
        )


def check_at_most(name, number, count, of):
    if number > count:
        raise OptionError(
            f"Argument `{name}` must be at most {count}, as the model has so many "
            f"{of}. Received: {name}={number}"
        )
