"""Resizes arrays along the axes of a grid, linearly."""

import keras
from keras import ops


def resize(maps, size):
    """Resizes the grid linearly, with pixel centres at half integers.

    In 2-D this is `tf.image.resize(..., "bilinear")`. It is written axis by axis so
    that 1-D and 3-D grids, sizes known only at run time and XLA need no code of their
    own; and without matrix products, which accelerators round to 8 or 10 bits.

    Args:
        maps: Tensor `(batch, *grid)`.
        size: One length (an int or a scalar tensor) for each axis of the grid.

    Returns:
        Tensor `(batch, *size)`.
    """
    # The last axis first: its gather is the slow one, and cheapest on the small map.
    for axis in reversed(range(1, len(maps.shape))):
        maps = _resize_axis(maps, axis, size[axis - 1])
    return maps


def _resize_axis(maps, axis, length):
    old = ops.shape(maps)[axis]
    if isinstance(old, int) and isinstance(length, int) and old == length:
        return maps
    dtype = keras.backend.standardize_dtype(maps.dtype)
    scale = ops.cast(old, dtype) / ops.cast(length, dtype)
    return interpolated(
        maps, axis, (ops.arange(length, dtype=dtype) + 0.5) * scale - 0.5
    )


def interpolated(values, axis, positions):
    """Values at fractional positions along an axis, linearly; clipped at its ends.

    Args:
        values: Tensor of any rank.
        axis: The axis.
        positions: Floats `(length,)`, 0 for the first value.
    """
    last = ops.shape(values)[axis] - 1
    positions = ops.clip(positions, 0.0, ops.cast(last, positions.dtype))
    lower = ops.floor(positions)
    shape = [1] * len(values.shape)
    shape[axis] = -1
    fraction = ops.reshape(positions - lower, shape)
    lower = ops.cast(lower, "int32")
    upper = ops.minimum(lower + 1, last)
    below, above = (ops.take(values, index, axis=axis) for index in (lower, upper))
    # Both weights, and no `below + fraction * (above - below)`: inf must not become NaN
    # on the grid points themselves.
    return below * (1.0 - fraction) + above * fraction
