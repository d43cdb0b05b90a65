"""The biases of a network: what its graph adds to what it makes of the input.

These are variables, whatever layer they belong to, and the constants of a rescaling of
the input. A constant inside an activation, such as the 3 of a hard sigmoid, is none.
"""

from typing import NamedTuple

import tensorflow as tf

from keras_gradcam.execution import comes_of_variables, reached_from

ADDITIONS = ("BiasAdd", "AddV2", "Add", "Sub")

# What may be done to the input, all of it linear, before the first layer that learns.
RESCALING = (
    "Identity",
    "Cast",
    "Mul",
    "RealDiv",
    "AddV2",
    "Sub",
    "Reshape",
    "Transpose",
    "StridedSlice",
    "ReverseV2",
    "Pad",
    "PadV2",
    "MirrorPad",
    "ResizeBilinear",
    "ResizeBicubic",
    "ResizeNearestNeighbor",
    "ScaleAndTranslate",
)


class Term(NamedTuple):
    """A bias that is added on a grid.

    Attributes:
        bias: The bias, such that it broadcasts over `tensor`. Of a batch normalization
            `beta - gamma mean / sqrt(variance + epsilon)`.
        tensor: What it was added to, after the addition.
        channels_first: Whether the channels are axis 1.
    """

    bias: tf.Tensor
    tensor: tf.Tensor
    channels_first: bool

    def to_grid(self, values):
        """Brings values of the tensor's shape into `(batch, *grid, channels)`."""
        if not self.channels_first:
            return values
        rank = values.shape.rank
        return tf.transpose(values, [0, *range(2, rank), 1])


def find(tensor, rank):
    """Finds the biases between an input and the end of its graph.

    Args:
        tensor: The input, in the graph.
        rank: Number of axes of the grid: only biases on a grid like that of the input
            have a place on the map.

    Returns:
        List of `Term`.
    """
    below, rescaled, terms = reached_from(tensor), {tensor.name}, []
    for operation in tensor.graph.get_operations():
        reached = [x for x in operation.inputs if x.name in below]
        if len(reached) != 1 or operation.type not in {*RESCALING, *ADDITIONS}:
            continue
        # Divided by the input, nothing is linear any more.
        divided = operation.type == "RealDiv" and reached[0] is operation.inputs[1]
        linear = operation.type in RESCALING and not divided
        is_rescaled = reached[0].name in rescaled and linear
        if is_rescaled:
            rescaled.add(operation.outputs[0].name)
        if operation.type in ADDITIONS:
            terms += _terms(operation, reached[0], is_rescaled)
    return [term for term in terms if _has_a_place(term, rank)]


def _has_a_place(term, rank):
    """Whether a term is a bias of channels, on a grid like that of the input."""
    # Attention adds (heads, features) to (batch, tokens, heads, features).
    is_vector = sum(length != 1 for length in term.bias.shape) <= 1
    return is_vector and term.tensor.shape.rank == rank + 2


def _terms(operation, reached, is_rescaled):
    first, second = operation.inputs
    bias, tensor = second if reached is first else first, operation.outputs[0]
    if not is_rescaled and not comes_of_variables(bias):
        return []
    if operation.type == "Sub" and bias is second:
        bias = -bias
    if operation.type == "BiasAdd":
        first = operation.get_attr("data_format") == b"NCHW"
        ones = [1] * (tensor.shape.rank - 2)
        bias = tf.reshape(bias, [1, -1, *ones] if first else [1, *ones, -1])
    return [Term(bias, tensor, _is_channels_first(bias.shape, tensor.shape))]


def _is_channels_first(bias, tensor):
    return bias.rank == tensor.rank and bias[-1] == 1 and bias[1] != 1
