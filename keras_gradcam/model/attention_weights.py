"""The attention weights of a pass, found in its graph, and where their keys lie.

Attention of any layer ends in a softmax whose outcome is multiplied with the values:
fused or explicit, of many heads or one, of a layer of Keras or written by hand, of the
whole picture or in windows.
"""

import functools
import itertools
import math
from collections.abc import Callable
from typing import NamedTuple

import tensorflow as tf
from keras import ops, tree

from keras_gradcam import axes
from keras_gradcam.arrays import GridAxis, onto_grid
from keras_gradcam.graphs import gates, inner_operations, reached_from
from keras_gradcam.model import spatial_grids


class AttentionWeights(NamedTuple):
    """The weights of one attention.

    Attributes:
        tensor: The tensor in the graph.
        arrange: Callable that brings it, or its gradient, into the shape
            `(batch, heads, queries, keys)`; with windows, the batch is that of all
            windows.
        place: Callable that lays what there is of each key, `(batch, keys)`, on the
            grid of a layer, `(batch, *grid)`.
        is_whole: Whether each token may attend to all: there are no windows.
    """

    tensor: tf.Tensor
    arrange: Callable
    place: Callable
    is_whole: bool


def find(forward_pass, tensor, layer_output, every=False):
    """Finds the attention behind a layer.

    Args:
        forward_pass: A `ForwardPass`.
        tensor: The layer's tensor.
        layer_output: Its `LayerOutput`, on whose grid the keys are laid.
        every: Whether none may be left out. Attention over other things than the
            positions of the grid, such as channels, has no place on a map.

    Returns:
        List of `AttentionWeights` in order of execution.

    Raises:
        ValueError: If there is none, it cannot be seen, or some would be left out.
    """
    graph = forward_pass.scores.graph
    if inner_operations(graph, ("Softmax",)):
        raise ValueError(
            "The model has attention inside of a loop, or of a function without "
            "layers, whose weights cannot be seen. Take a method that needs none, "
            "such as 'integrated_gradients'."
        )
    inputs = [x for x in tree.flatten(forward_pass.inputs) if x is not None]
    dependent, below = reached_from(*inputs), reached_from(tensor)
    weights = [
        operation.outputs[0]
        for operation in graph.get_operations()
        if operation.outputs
        and operation.outputs[0].name in below
        and gates.is_attention(operation, dependent)
    ]
    known = axes.trace(inputs)
    size = ops.shape(layer_output.to_grid(tensor))[1:-1]
    found = [_found(each, known.get(each.name), layer_output, size) for each in weights]
    if every and None in found:
        left_out = weights[found.index(None)]
        raise ValueError(
            "The method multiplies the attention of all layers, each over the tokens "
            f"of the picture. Weights of shape {tuple(left_out.shape)} behind layer "
            f"'{layer_output.name}' are over something else, such as channels. Take "
            "'gradsam' or 'libragrad', which need no product."
        )
    found = [each for each in found if each is not None]
    if not found:
        raise ValueError(
            f"Behind layer '{layer_output.name}' there is no attention over positions "
            "of its grid: no softmax weighs them. Take a method that needs no "
            "attention weights, such as 'libragrad' for transformers of other kinds, "
            "or 'gradcam'."
        )
    return found


def _found(tensor, tensor_axes, layer_output, size):
    """`None` where the keys are no positions of the layer's grid."""
    if tensor_axes is None or not tensor_axes.axes[-1].is_mapped:
        return _by_count(tensor, tensor_axes, layer_output)
    windows, heads, query = _roles(tensor_axes)
    arrange = _Arrangement((*windows, *heads, query), len(windows), len(heads))
    of_keys = _of_keys(tensor_axes, windows)
    placed = spatial_grids.of_axes(of_keys, -1)
    if placed is not None and not placed.axes:
        placed = _in_windows(of_keys)
    if placed is None or len(placed.axes) != len(layer_output.grid):
        return None
    place = functools.partial(
        _on_grid,
        to_grid=placed.grid.to_grid,
        grid_axes=placed.axes,
        onto_axes=layer_output.grid_axes,
        size=size,
    )
    is_whole = not windows and len(tensor_axes.axes[0].digits) == 1
    return AttentionWeights(tensor, arrange, place, is_whole)


def _by_count(tensor, tensor_axes, layer_output):
    """Where nothing is known of the axes: as many keys as the layer has tokens."""
    is_lost = tensor_axes is None or not tensor_axes.is_certain
    cells = 0 if None in layer_output.grid else math.prod(layer_output.grid)
    fits = tensor.shape[-1] == cells + layer_output.prefix
    if not (is_lost and fits and tensor.shape.rank == 4 and cells):
        return None

    def place(values):
        return layer_output.to_grid(values[..., None])[..., 0]

    return AttentionWeights(tensor, lambda weights: weights, place, True)


def _roles(tensor_axes):
    """Which axes between the first and the last are windows, heads, and the queries."""
    middle = range(1, len(tensor_axes.axes) - 1)
    mapped = [n for n in middle if tensor_axes.axes[n].is_mapped]
    heads = [n for n in middle if n not in mapped]
    if not mapped:  # Queries that are no positions, as of a pooling by attention.
        return [], heads[:-1], heads[-1]
    return mapped[:-1], heads, mapped[-1]


class _Arrangement(NamedTuple):
    """Brings weights into the order windows, heads, queries, keys."""

    order: tuple
    windows: int
    heads: int

    def __call__(self, tensor):
        rank = len(tensor.shape)
        tensor = ops.transpose(tensor, (0, *self.order, rank - 1))
        shape = tensor.shape
        heads = math.prod(shape[1 + self.windows : 1 + self.windows + self.heads])
        return ops.reshape(tensor, (-1, heads, *ops.shape(tensor)[-2:]))


def _of_keys(tensor_axes, windows):
    """The axes of what there is of each key, `(batch, keys, 1)`."""
    first = tensor_axes.axes[0]
    digits = [d for n in windows for d in tensor_axes.axes[n].digits]
    first = first._replace(digits=(*first.digits, *digits))
    keys = {key for axis in tensor_axes.axes for key, _ in axis.steps}
    again = {key: key[:2] for key in keys if key != axes.BATCH and len(key) == 3}
    last = tensor_axes.axes[-1].renamed(again)
    fields = {again.get(key, key): field for key, field in tensor_axes.fields.items()}
    one = axes.Axis((axes.Digit(1),))
    return tensor_axes._replace(axes=(first, last, one), fields=fields)


def _in_windows(of_keys):
    """The `PlacedGrid` of keys in windows, which may be moved over the edge."""
    first, last, _ = of_keys.axes
    digits = [*first.flat(), *last.flat()]
    cut = any((axis.prefix, axis.suffix) != (0, 0) for axis in (first, last))
    if cut or any(len(digit.steps) != 1 for digit in digits):
        return None
    along: dict = {}
    for number, digit in enumerate(digits):
        along.setdefault(digit.steps[0][0], []).append(number)
    batch = along.pop(axes.BATCH, [])
    groups = {key: _nested(numbers, digits) for key, numbers in sorted(along.items())}
    if len(batch) != 1 or None in groups.values():
        return None
    placed = [_unmoved(key, digits[g[-1]], of_keys) for key, g in groups.items()]
    layout = _Layout(
        tuple(-1 if n in batch else digit.length for n, digit in enumerate(digits)),
        (*batch, *[number for group in groups.values() for number in group]),
        tuple(math.prod(digits[n].length for n in g) for g in groups.values()),
        tuple(shift for _, shift in placed),
    )
    grid = spatial_grids.Grid(layout.shape, layout)
    return spatial_grids.PlacedGrid(grid, tuple(where for where, _ in placed))


def _nested(numbers, digits):
    """Digits that count on, the slowest first; `None` where they do not."""
    numbers = sorted(numbers, key=lambda n: -digits[n].steps[0][1])
    for slow, fast in itertools.pairwise(numbers):
        ((_, step),) = digits[fast].steps
        if digits[slow].steps[0][1] != step * digits[fast].length or step <= 0:
            return None
    return numbers


def _unmoved(key, digit, of_keys):
    """Where a grid lies, and by how many cells its windows were moved."""
    ((_, step),) = digit.steps
    field = of_keys.fields[key]
    start = (field.low + field.high) / 2
    # Cell 0 of a grid is half a cell from the edge, more or less.
    shift = round((start - (step - 1) / 2) / step)
    return GridAxis(*key, start - shift * step, step, field.first, field.last), shift


class _Layout(NamedTuple):
    """Brings what there is of each key in windows onto the grid."""

    lengths: tuple
    order: tuple
    shape: tuple
    shifts: tuple

    def __call__(self, tensor):
        tensor = ops.reshape(tensor, self.lengths)
        tensor = ops.transpose(tensor, self.order)
        tensor = ops.reshape(tensor, (-1, *self.shape, 1))
        return ops.roll(tensor, self.shifts, range(1, 1 + len(self.shifts)))


def _on_grid(values, to_grid, grid_axes, onto_axes, size):
    maps = to_grid(ops.expand_dims(values, -1))[..., 0]
    return onto_grid(maps, grid_axes, onto_axes, size)
