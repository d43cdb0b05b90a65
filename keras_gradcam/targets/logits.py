"""From a model's probabilities back to the logits that they were computed from."""

import tensorflow as tf

from keras_gradcam.execution import last_operation


def find_logits(output):
    """Returns the input of the softmax or sigmoid that `output` is the result of.

    The tensor is found in the graph that computed `output`; the model is not touched,
    and nothing is inverted numerically: from probabilities the logits of a confident
    model cannot be recovered.

    Args:
        output: A tensor in the graph in which the model has just been run.

    Returns:
        The logits, a tensor of `output`'s shape, or `None` if `output` is not the
        result of a softmax or sigmoid.
    """
    logits = getattr(output, "_keras_logits", None)
    if logits is None and tf.is_symbolic_tensor(output):
        logits = _walk_back(output)
    if logits is None or logits.shape.rank == output.shape.rank:
        return logits
    return tf.reshape(logits, tf.shape(output))


def find_head(output):
    """Returns what `output` is the result of: "softmax", "sigmoid" or `None`.

    Args:
        output: See `find_logits`.
    """
    if find_logits(output) is None:
        return None
    last = last_operation(output).type if tf.is_symbolic_tensor(output) else ""
    return "sigmoid" if last == "Sigmoid" else "softmax"


def _walk_back(tensor):
    last = last_operation(tensor)
    return last.inputs[0] if last.type in ("Softmax", "Sigmoid") else None
