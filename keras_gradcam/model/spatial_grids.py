"""Where the positions of the input are in a layer's output: its spatial grid."""

import functools
import math
from collections.abc import Callable
from typing import NamedTuple

import tensorflow as tf
from keras import ops

from keras_gradcam.arrays import GridAxis
from keras_gradcam.axes import BATCH, Digit, with_joined_copies

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


def of_view(axes):
    """The grid of a flat input that a model takes as a picture.

    Args:
        axes: The axes of this picture, see `arrays.GridAxis`.
    """
    ((_, shape, _), *_) = axes
    view = over_axes((None, *shape), [1 + number for _, _, number in axes])
    to_grid = functools.partial(_viewed, shape=shape, to_grid=view.to_grid)
    return Grid(view.shape, to_grid)


def _viewed(tensor, shape, to_grid):
    return to_grid(ops.reshape(tensor, (-1, *shape)))


def _spread(tensor, order, axes):
    tensor = ops.transpose(tensor, order)
    if len(order) == axes + 2:
        return tensor
    return ops.reshape(tensor, (*ops.shape(tensor)[: axes + 1], -1))


class PlacedGrid(NamedTuple):
    """The grid of a tensor whose axes are known.

    Attributes:
        grid: A `Grid`.
        axes: A `GridAxis` for each of its axes, `None` for one along no input.
    """

    grid: Grid
    axes: tuple


# Of a tensor that does not belong to single samples.
NO_GRID = PlacedGrid(Grid(), ())


class _Part(NamedTuple):
    """One axis of a grid, and which axis of the tensor it is, or is a part of."""

    length: int | None
    where: GridAxis | None


def of_axes(tensor_axes, channel_axis):
    """The grid of a tensor, as its axes lie in the inputs.

    Args:
        tensor_axes: A `TensorAxes`.
        channel_axis: The axis of the channels.

    Returns:
        A `PlacedGrid`; `None` if the tensor has no axis along an input.
    """
    batch = [digit for digit in tensor_axes.axes[0].flat() if digit.length != 1]
    is_whole = not tensor_axes.axes[0].prefix and all(d.steps for d in batch)
    if not is_whole or not any(BATCH in dict(d.steps) for d in batch):
        return NO_GRID
    tensor_axes = _along_one_input(tensor_axes)
    channels = channel_axis % len(tensor_axes.axes)
    parts, lengths, prefix, spans = [], [], [], []
    for number in range(len(tensor_axes.axes)):
        if number == channels:
            continue
        if number:
            tensor_axes = with_joined_copies(tensor_axes, number)
        axis = tensor_axes.axes[number]
        own = _parts_of(axis, tensor_axes)
        spans.append((number, len(own)))
        prefix.append((axis.prefix, axis.suffix) if number else (0, 0))
        parts += own
        lengths += [part.length for part in own]
    return _placed(parts, channels, spans, prefix, len(tensor_axes.axes))


def _along_one_input(tensor_axes):
    """The same without the steps along others than the input that most axes follow."""
    inputs = [
        key[0]
        for axis in tensor_axes.axes
        for key in {key for digit in axis.flat() for key, _ in digit.steps} - {BATCH}
    ]
    main = max(sorted(set(inputs)), key=inputs.count, default=None)
    return tensor_axes.only(lambda key: key == BATCH or key[0] == main)


def _parts_of(axis, tensor_axes):
    """The axes of a grid that an axis of a tensor consists of."""
    if axis.is_plain or not axis.is_mapped or not _all_plain(axis):
        (digit, *rest) = axis.digits or (Digit(axis.length),)
        where = None if rest else _where(digit, tensor_axes)
        length = axis.length if rest or where is None else digit.length
        return [_Part(length, where)]
    return [_Part(digit.length, _where(digit, tensor_axes)) for digit in axis.digits]


def _all_plain(axis):
    return all(isinstance(digit, Digit) and digit.steps for digit in axis.digits)


def _where(digit, tensor_axes):
    """The `GridAxis` of a digit; the batch's is the word for it."""
    if not isinstance(digit, Digit) or len(digit.steps) != 1 or digit.length == 1:
        return None
    ((key, step),) = digit.steps
    if key == BATCH:
        return BATCH
    field = tensor_axes.fields.get(key)
    if field is None or len(key) != 2:
        return None
    start = (field.low + field.high) / 2
    return GridAxis(*key, start, step, field.first, field.last)


def _placed(parts, channels, spans, prefixes, rank):
    wheres = [part.where for part in parts]
    if wheres.count(BATCH) != 1:
        return NO_GRID
    along = [where.axis for where in wheres if isinstance(where, GridAxis)]
    if not along:
        return None
    if len(set(along)) < len(along):
        return NO_GRID  # Windows by cells of a window.
    order = _ordered(wheres)
    flips = tuple(
        1 + place
        for place, number in enumerate(order[1:])
        if isinstance(wheres[number], GridAxis) and wheres[number].step < 0
    )
    axes = tuple(_ascending(wheres[n], parts[n].length) for n in order[1:])
    if None in {part.length for part in parts[1:]} and len(parts) > rank - 1:
        return None
    to_grid = _Layout(
        channels,
        tuple(prefixes),
        tuple(part.length for part in parts),
        tuple(count for _, count in spans),
        tuple(order),
        flips,
    )
    shape = tuple(parts[n].length for n in order[1:])
    prefix = max(before for before, _ in prefixes)
    return PlacedGrid(Grid(shape, to_grid, prefix), axes)


def _ordered(wheres):
    """The batch first, and the axes along the input in the input's order."""
    batch = wheres.index(BATCH)
    rest = [n for n in range(len(wheres)) if n != batch]
    mapped = [n for n in rest if wheres[n] is not None]
    in_order = iter(sorted(mapped, key=lambda n: wheres[n].axis))
    return [batch, *[n if wheres[n] is None else next(in_order) for n in rest]]


def _ascending(where, length):
    if where is None or where.step > 0:
        return where
    start = where.start + where.step * (length - 1)
    return where._replace(start=start, step=-where.step)


class _Layout(NamedTuple):
    """Brings a tensor into the order `(batch, *grid, channels)`."""

    channels: int
    prefixes: tuple
    lengths: tuple
    counts: tuple
    order: tuple
    flips: tuple

    def __call__(self, tensor):
        rank = len(tensor.shape)
        if self.channels != rank - 1:
            tensor = ops.moveaxis(tensor, self.channels, -1)
        for axis, (before, behind) in enumerate(self.prefixes):
            if before or behind:
                kept = [slice(None)] * rank
                kept[axis] = slice(before, -behind or None)
                tensor = tensor[tuple(kept)]
        if len(self.lengths) > len(self.counts):
            # The length of the batch is free, and may be anywhere among its digits.
            lengths = list(self.lengths)
            lengths[self.order[0]] = -1
            tensor = ops.reshape(tensor, (*lengths, tensor.shape[-1]))
        if list(self.order) != sorted(self.order):
            tensor = ops.transpose(tensor, (*self.order, len(self.order)))
        return ops.flip(tensor, self.flips) if self.flips else tensor
