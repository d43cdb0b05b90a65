"""Lays a map where its grid lies in an input."""

from typing import Any, NamedTuple

import keras
from keras import ops

from keras_gradcam.arrays.resizing import interpolated, resize


class GridAxis(NamedTuple):
    """Where the cells of one axis of a grid lie in an input.

    Attributes:
        input: Index of the flattened input.
        axis: The axis of that input; of a picture that the model makes of a flat input,
            a tuple that names the axis of this picture.
        start: Where the first cell has its centre, in cells of the input, the centre of
            whose first one is 0. `None` if that is not known: the cells are taken to
            cover the whole axis.
        step: How far the centres of two cells are apart there, above 0.
        first: The first cell of the input that the grid depends on.
        last: The last one.
    """

    input: int
    axis: Any
    start: float | None = None
    step: float | None = None
    first: float = 0.0
    last: float = float("inf")


def placed(maps, grid_axes, map_axes, size, lengths):
    """Lays maps where their grids lie in an input.

    Between the centres of cells a map is linear, beyond the last one it stays as it is
    there, and where the grid does not see the input at all it is 0.

    Args:
        maps: Tensor `(batch, *grid)`.
        grid_axes: A `GridAxis` for each axis of the grid, `None` for one that lies
            along no axis of the input: the map is the mean over it.
        map_axes: The axes of the input that the result covers, in ascending order.
            Along one that no axis of the grid lies along, it is the same everywhere.
        size: The length of the result along each of `map_axes`.
        lengths: The length of the input along each of them.

    Returns:
        Tensor `(batch, *size)`.
    """
    for number in reversed(range(len(grid_axes))):
        where = grid_axes[number]
        if where is None:
            maps = ops.mean(maps, axis=1 + number)
        else:
            place = map_axes.index(where.axis)
            maps = _along(maps, 1 + number, where, size[place], lengths[place])
    covered = {where.axis for where in grid_axes if where is not None}
    for place, axis in enumerate(map_axes):
        if axis not in covered:
            maps = ops.repeat(ops.expand_dims(maps, 1 + place), size[place], 1 + place)
    return maps


def onto_grid(maps, grid_axes, onto_axes, size):
    """Brings maps onto another grid, where both lie in the input.

    Args:
        maps: Tensor `(batch, *grid)`.
        grid_axes: A `GridAxis`, or `None`, for each axis of the grid.
        onto_axes: The same of the other grid, which has as many axes.
        size: The lengths of the other grid.

    Returns:
        Tensor `(batch, *size)`. Where the place of either is not known, it is
        stretched.
    """
    pairs = zip(grid_axes, onto_axes, strict=True)
    for axis, (here, there) in enumerate(pairs, start=1):
        if None in (here, there) or None in (here.start, there.start):
            new = [*ops.shape(maps)[1:]]
            new[axis - 1] = size[axis - 1]
            maps = resize(maps, new)
        elif (here.start, here.step) != (there.start, there.step):
            dtype = keras.backend.standardize_dtype(maps.dtype)
            places = there.start + there.step * ops.arange(size[axis - 1], dtype=dtype)
            maps = interpolated(maps, axis, (places - here.start) / here.step)
    return maps


def _along(maps, axis, where, size, length):
    count = ops.shape(maps)[axis]
    dtype = keras.backend.standardize_dtype(maps.dtype)
    if where.start is None:
        step = ops.cast(length, dtype) / ops.cast(count, dtype)
        start = (step - 1.0) / 2.0
    elif (where.start, where.step) == (0, 1) and count is size is length:
        return _where_seen(maps, axis, where, None, length)
    else:
        start, step = where.start, where.step
    scale = ops.cast(length, dtype) / ops.cast(size, dtype)
    places = (ops.arange(size, dtype=dtype) + 0.5) * scale - 0.5
    maps = interpolated(maps, axis, (places - start) / step)
    return _where_seen(maps, axis, where, places, length)


def _where_seen(maps, axis, where, places, length):
    """Zero where the grid does not depend on the input."""
    is_known = isinstance(length, int)
    if where.first <= 0 and not (is_known and where.last < length - 1):
        return maps
    if places is None:
        places = ops.arange(length, dtype=keras.backend.standardize_dtype(maps.dtype))
    seen = (places > where.first - 0.5) & (places < where.last + 0.5)
    shape = [-1 if i == axis else 1 for i in range(len(maps.shape))]
    return ops.where(ops.reshape(seen, shape), maps, ops.zeros_like(maps))
