"""The biases of a network: what its graph adds to what it makes of the input.

These are variables, whatever layer they belong to, and the constants of a rescaling of
the input. A constant inside an activation, such as the 3 of a hard sigmoid, is none.
"""

from typing import NamedTuple

import tensorflow as tf

from keras_gradcam import axes
from keras_gradcam.arrays import GridAxis
from keras_gradcam.graphs import comes_of_variables, reached_from
from keras_gradcam.model import spatial_grids

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
        placed: The `PlacedGrid` of the tensor.
    """

    bias: tf.Tensor
    tensor: tf.Tensor
    placed: spatial_grids.PlacedGrid


def find(tensor, map_axes):
    """Finds the biases between an input and the end of its graph.

    Args:
        tensor: The input, in the graph.
        map_axes: The axes of the input that a map covers: only biases on a grid along
            all of them have a place on the map.

    Returns:
        List of `Term`.
    """
    if not map_axes:
        return []
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
    known = axes.trace([tensor])
    located = [_located(term, known.get(term[1].name), map_axes) for term in terms]
    return [term for term in located if term is not None]


def _located(term, tensor_axes, map_axes):
    """The `Term` of a bias of channels whose grid lies along the map's axes."""
    bias, tensor = term
    # Attention adds (heads, features) to (batch, tokens, heads, features).
    is_vector = sum(length != 1 for length in bias.shape) <= 1
    placed = _placed(bias, tensor, tensor_axes, map_axes) if is_vector else None
    if placed is None or len(placed.axes) != len(map_axes):
        return None
    axes_of_cells = zip(placed.axes, placed.grid.shape, strict=True)
    has_place = all(where or length == 1 for where, length in axes_of_cells)
    return Term(bias, tensor, placed) if has_place else None


def _placed(bias, tensor, tensor_axes, map_axes):
    """The `PlacedGrid` of what a bias is added to, `None` without one."""
    rank = tensor.shape.rank
    first = bias.shape.rank == rank and bias.shape[-1] == 1 and bias.shape[1] != 1
    is_known = tensor_axes is not None and tensor_axes.is_certain
    found = spatial_grids.of_axes(tensor_axes, 1 if first else -1) if is_known else None
    if found is not None or rank != len(map_axes) + 2:
        return found
    # One cell is of the whole input, whatever it follows.
    along = tuple(None if is_known else GridAxis(0, axis) for axis in map_axes)
    return spatial_grids.PlacedGrid(
        spatial_grids.plain(tuple(tensor.shape), first), along
    )


def _terms(operation, reached, is_rescaled):
    """`[(bias, sum)]` of an addition, `[]` if what is added is no bias."""
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
    return [(bias, tensor)]
