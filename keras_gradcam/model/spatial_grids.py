"""Where the positions of the input are in a layer's output: its spatial grid."""

import functools
import math
from collections.abc import Callable
from typing import NamedTuple

import tensorflow as tf
from keras import ops

# A class token, a distillation token, registers: always few next to the grid's.
MAX_PREFIX = 8

MIN_CELLS_PER_PREFIX = 4


class Grid(NamedTuple):
    """The grid of a tensor.

    Attributes:
        shape: Its lengths, `()` where there is no grid; `None` for a free length.
        to_grid: Callable that brings the tensor, or its gradient, into the shape
            `(batch, *grid, channels)`.
        prefix: How many tokens come before those of the grid.
    """

    shape: tuple = ()
    to_grid: Callable = lambda tensor: tensor
    prefix: int = 0


def plain(shape, channels_first):
    """The grid of a convolution's output, `(batch, *grid, channels)` or channels first.

    Args:
        shape: Shape of the tensor.
        channels_first: Whether the channels are axis 1.
    """
    if channels_first and len(shape) > 2:
        return Grid(shape[2:], lambda tensor: ops.moveaxis(tensor, 1, -1))
    return Grid(shape[1:-1])


def of_tokens(shape, image_size, grids):
    """The grid of tokens `(batch, tokens, features)` that were cut from an image.

    Args:
        shape: Shape of the tensor.
        image_size: `(height, width)` of the image, `(frames, height, width)` of a
            video.
        grids: List of the 2-D grids that were seen before, such as that of the
            convolution that embeds the patches, the latest last.

    Returns:
        A `Grid`, or `None` if the number of tokens fits no grid.
    """
    tokens = shape[1]
    if len(image_size) > 2 or None in (tokens, *image_size):
        return _sequence(shape, image_size[0])
    for size in [*reversed(grids), *_patch_grids(image_size)]:
        cells = 0 if None in size else math.prod(size)
        prefix = tokens - cells
        few = 0 <= prefix <= min(MAX_PREFIX, cells // MIN_CELLS_PER_PREFIX)
        if cells > 1 and few:
            return folded(tuple(size), prefix)
    return _sequence(shape, *[width for _, width in grids])


def _sequence(shape, *lengths):
    """One token for each frame of a video, or each column of a picture of text."""
    return Grid(shape[1:-1]) if shape[1] and shape[1] in lengths else None


def _patch_grids(image_size):
    """The grids of square patches that tile an image, the finest first."""
    common = math.gcd(*image_size)
    sides = [side for side in range(2, common + 1) if common % side == 0]
    return [tuple(length // side for length in image_size) for side in sides]


def folded(size, prefix):
    """Tokens as a grid of `size`, after `prefix` tokens that belong to no position."""
    return Grid(size, functools.partial(_fold, size=size, prefix=prefix), prefix)


def _fold(tensor, size, prefix):
    return ops.reshape(tensor[:, prefix:], (-1, *size, tensor.shape[-1]))


def reshaped(tensor, reshape):
    """The grid that a `reshape` argument of `GradCAM` makes of a tensor.

    Args:
        tensor: Tensor `(batch, tokens, features)`.
        reshape: A size such as `(14, 14)`, the tokens before it are left out; or a
            callable to `(batch, *grid, channels)`.

    Returns:
        A `Grid`, or `None` if the tensor does not fit.
    """
    if callable(reshape):
        try:
            return Grid(tuple(reshape(tensor).shape)[1:-1], reshape)
        except (ValueError, tf.errors.InvalidArgumentError):
            return None  # It is meant for other layers of the model.
    prefix = (tensor.shape[1] or 0) - math.prod(reshape)
    return folded(tuple(reshape), prefix) if prefix >= 0 else None


def input_axes(input_shape, grid, channels_first):
    """The axes of an input that a grid covers.

    Args:
        input_shape: Shape of the input, batch included.
        grid: Shape of the grid.
        channels_first: Whether the input's channels are axis 1.

    Returns:
        A tuple `(preference, axes)`, the lower the better; `None` if none fit.
    """
    rank = len(input_shape)
    spatial = tuple(range(2, rank) if channels_first else range(1, rank - 1))
    extra = len(spatial) - len(grid)
    if not grid or extra < -1:
        return None
    if extra == 0:
        return 0, spatial
    if extra == -1:  # Words, or a signal without channels.
        return 1, tuple(range(1, rank))
    if rank > 4 and tuple(input_shape[axis] for axis in spatial[: len(grid)]) == grid:
        return 2, spatial[: len(grid)]  # One value for each frame of a video.
    return 2, spatial[extra:]  # A network that sums up the frames.


def of_input(shape, known_axes, channels_first):
    """The axes of an input that a map of it covers: all but batch and channels.

    Args:
        shape: Shape of the input, batch included.
        known_axes: The axes that a layer's grid covers, `()` where no layer has one.
        channels_first: Whether the channels are axis 1, where no layer tells.
    """
    rank = len(shape)
    if rank < 3 or tuple(known_axes) == tuple(range(1, rank)):
        return tuple(range(1, rank))
    if known_axes:
        channels_first = rank - 1 in known_axes and 1 not in known_axes
    return tuple(range(2, rank) if channels_first else range(1, rank - 1))


def over_axes(shape, axes):
    """The grid of an input whose positions are along `axes`, the rest are channels."""
    rest = [axis for axis in range(1, len(shape)) if axis not in axes]
    to_grid = functools.partial(_spread, order=(0, *axes, *rest), axes=len(axes))
    return Grid(tuple(shape[axis] for axis in axes), to_grid)


def _spread(tensor, order, axes):
    tensor = ops.transpose(tensor, order)
    if len(order) == axes + 2:
        return tensor
    return ops.reshape(tensor, (*ops.shape(tensor)[: axes + 1], -1))
