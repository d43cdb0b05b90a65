"""From a model's probabilities back to the logits that they were computed from."""

from typing import NamedTuple

import numpy as np
import tensorflow as tf

from keras_gradcam.graphs import last_operation


class Head(NamedTuple):
    """What a model's output ends in.

    Attributes:
        kind: What the output is of the logits: `"softmax"`, `"sigmoid"`, which a hard
            sigmoid counts as, `"log_softmax"` or `"log_sigmoid"`; `None` for a softmax
            in another unit, such as per cent.
        logits: Tensor of the output's shape.
    """

    kind: str | None
    logits: tf.Tensor


def find_logits(output):
    """Returns the logits of the probabilities, or of their logarithms, in `output`.

    See `find_head`. `None` if there are none.
    """
    head = find_head(output)
    return None if head is None else head.logits


def find_head(output):
    """Returns the `Head` of an output, or `None` if it ends in no known one.

    The logits are found in the graph that computed `output`; the model is not touched,
    and nothing is inverted numerically: from probabilities the logits of a confident
    model cannot be recovered.

    Args:
        output: A tensor in the graph in which the model has just been run.
    """
    if is_logits(output):
        return None
    head = getattr(output, "_keras_gradcam_head", None) or _computed_head(output)
    if head is None or head.logits.shape.rank == output.shape.rank:
        return head
    return head._replace(logits=tf.reshape(head.logits, tf.shape(output)))


def is_logits(output):
    """Whether a tensor is known to be logits."""
    return getattr(output, "_keras_gradcam_is_logits", False)


def marked_as_logits(logits):
    logits._keras_gradcam_is_logits = True
    return logits


def marked_as(original, part):
    """Marks a part of logits or probabilities as such: it has no graph of its own."""
    if is_logits(original):
        return marked_as_logits(part)
    head = find_head(original)
    if head is not None:
        part._keras_gradcam_head = Head(head.kind, part)
    return part


def _computed_head(output):
    """The head that computed an output."""
    head = None
    if tf.is_symbolic_tensor(output):
        head = _head_of(last_operation(output))
    # What the layers of Keras note, also where a function hides the operation.
    noted = getattr(output, "_keras_logits", None)
    if noted is not None:
        head = Head("softmax" if head is None else head.kind, noted)
    if head is None or head.kind not in ("softmax", "log_softmax"):
        return head
    # A softmax changes nothing of what comes of a log_softmax.
    inner = find_head(head.logits)
    repeated = inner is not None and inner.kind == "log_softmax"
    return head._replace(logits=inner.logits) if repeated else head


def _head_of(operation):
    read = READERS.get(operation.type)
    return None if read is None else read(operation)


def _kind(kind):
    return lambda operation: Head(kind, operation.inputs[0])


def _of_another(kinds):
    """Reads an operation that makes one kind of another."""

    def read(operation):
        head = _head_of(last_operation(operation.inputs[0]))
        known = head is not None and head.kind in kinds
        return Head(kinds[head.kind], head.logits) if known else None

    return read


def _log_sigmoid(operation):
    """Reads `-softplus(-x)`."""
    softplus = last_operation(operation.inputs[0])
    negative = last_operation(softplus.inputs[0]) if softplus.inputs else softplus
    if (softplus.type, negative.type) != ("Softplus", "Neg"):
        return None
    return Head("log_sigmoid", negative.inputs[0])


def _clipped(operation):
    """Reads probabilities that are kept from 0 and 1."""
    tensor, bound = _with_number(operation)
    return None if bound is None else _head_of(last_operation(tensor))


def _shifted(operation):
    tensor, number = _with_number(operation)
    return None if number is None else _in_another_unit(tensor)


def _scaled(operation):
    tensor, number = _with_number(operation)
    # The lowest class becomes the highest of a negative multiple.
    if number is None or number <= 0:
        return None
    factor = 1 / number if operation.type == "RealDiv" else number
    return _hard_sigmoid(tensor, factor) or _in_another_unit(tensor)


def _hard_sigmoid(tensor, factor):
    """Reads `relu6(x + 3) / 6`."""
    relu6 = last_operation(tensor)
    if relu6.type != "Relu6" or not np.isclose(factor, 1 / 6, rtol=1e-3):
        return None
    shift = last_operation(relu6.inputs[0])
    logits, number = _with_number(shift) if shift.type == "AddV2" else (None, None)
    return Head("sigmoid", logits) if number == 3 else None


def _in_another_unit(tensor):
    """The head of a softmax that is scaled or shifted: its classes keep their order.

    None of a sigmoid: its multiples are values of a regression, and no two classes.
    """
    head = _head_of(last_operation(tensor))
    known = head is not None and head.kind in ("softmax", "log_softmax", None)
    return Head(None, head.logits) if known else None


def _with_number(operation):
    """An operation's tensor and the number that goes with it, `None` if none does."""
    first, second = operation.inputs
    number = _number(second)
    if number is None and operation.type not in ("Sub", "RealDiv"):
        first, number = second, _number(first)
    return first, number


def _number(tensor):
    value = tf.get_static_value(last_operation(tensor).outputs[0])
    return (
        float(np.ravel(value)[0]) if np.size(value) == 1 and value is not None else None
    )


READERS = {
    "Softmax": _kind("softmax"),
    "Sigmoid": _kind("sigmoid"),
    "LogSoftmax": _kind("log_softmax"),
    "Neg": _log_sigmoid,
    "Log": _of_another(
        {"softmax": "log_softmax", "sigmoid": "log_sigmoid", None: None}
    ),
    "Exp": _of_another({"log_softmax": "softmax", "log_sigmoid": "sigmoid"}),
    "Minimum": _clipped,
    "Maximum": _clipped,
    "AddV2": _shifted,
    "Sub": _shifted,
    "Mul": _scaled,
    "RealDiv": _scaled,
}
