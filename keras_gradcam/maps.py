"""From a method's raw map to a heatmap: activation, resizing, normalisation.

Maps are floats `(batch, *grid)` with a grid of any rank.
"""

import keras
import ml_dtypes
from keras import ops

# What maps can be returned as, besides as they are computed.
OUTPUT_DTYPES = ("float32", "float16", "uint8")


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


def finish(raw, activation, size, normalize):
    """Makes a heatmap of a raw map.

    Args:
        raw: Tensor `(batch, *grid)`.
        activation: See `get_activation`.
        size: One length for each axis of the grid, or `None` to leave it.
        normalize: See `get_normalization`.

    Raises:
        ValueError: If `size` has another number of axes than the grid.
    """
    activation = get_activation(activation)
    maps = raw if activation is None else activation(raw)
    axes = len(raw.shape) - 1
    if size is not None and len(size) != axes:
        raise ValueError(
            f"Argument `resize` must have one length for each of the {axes} axes of "
            f"the layer's grid. Received: resize={tuple(size)}"
        )
    maps = maps if size is None else resize(maps, size)
    return get_normalization(normalize)(maps)


def stored(maps, dtype):
    """Casts finished maps for large jobs, which have more maps than space for them.

    Args:
        maps: Tensor of floats.
        dtype: One of `OUTPUT_DTYPES`, or `None` for what they are. `"uint8"` is the
            nearest whole number to 255 times the map; NaN becomes 0.
    """
    if dtype == "uint8":
        bytes_ = ops.round(255.0 * ops.clip(ops.nan_to_num(maps), 0.0, 1.0))
        return ops.cast(bytes_, dtype)
    return maps if dtype is None else ops.cast(maps, dtype)


def rounding(values):
    """The relative error of one operation in the type of `values`."""
    dtype = keras.backend.standardize_dtype(values.dtype)
    return float(ml_dtypes.finfo(dtype).eps)


def _divide(maps, by):
    # Without an epsilon: raw maps of 1e-12 are real. What is divided by 1 instead of 0
    # is 0 itself. A NaN stays visible, as NaN is not equal to 0.
    return maps / ops.where(ops.equal(by, 0.0), 1.0, by)


def _peak(maps, axes):
    return ops.max(ops.abs(maps), axis=axes, keepdims=True)


def _grid(maps):
    return tuple(range(1, len(maps.shape)))


def normalize_max(maps):
    """Divides each map by its own largest magnitude: 0 stays "no evidence"."""
    return _divide(maps, _peak(maps, _grid(maps)))


def normalize_minmax(maps):
    """Stretches each map to [0, 1] from its own minimum and maximum."""
    return stretched(maps, _grid(maps))


def stretched(values, axes):
    """Stretches values to [0, 1] from their minimum and maximum along `axes`.

    Where all are the same the result is 0.
    """
    low = ops.min(values, axis=axes, keepdims=True)
    high = ops.max(values, axis=axes, keepdims=True)
    return _divide(values - low, high - low)


def normalize_batch(maps):
    """Divides all maps of the batch by their largest magnitude: strengths compare."""
    peaks = _peak(maps, _grid(maps))
    # A sample that is not finite must not take the others with it.
    peaks = ops.where(ops.isfinite(peaks), peaks, 0.0)
    return _divide(maps, ops.max(peaks, keepdims=True))


NORMALIZATIONS = {
    "max": normalize_max,
    "minmax": normalize_minmax,
    "batch": normalize_batch,
    None: lambda maps: maps,
}


def get_normalization(identifier):
    """Returns the function of a `normalize` argument.

    Raises:
        ValueError: If `identifier` is not one of `NORMALIZATIONS`.
    """
    named = identifier is None or isinstance(identifier, str)
    if named and identifier in NORMALIZATIONS:
        return NORMALIZATIONS[identifier]
    raise ValueError(
        "Argument `normalize` must be one of 'max', 'minmax', 'batch' or None. "
        f"Received: normalize={identifier!r}"
    )


def get_activation(identifier):
    """Returns the function of an `activation` argument, None for the identity.

    Raises:
        ValueError: If `identifier` is neither "relu", None nor a callable.
    """
    if identifier is None or callable(identifier):
        return identifier
    if identifier == "relu":
        return keras.activations.relu
    raise ValueError(
        "Argument `activation` must be 'relu' (as in the Grad-CAM paper), None (keeps "
        f"the sign) or a callable. Received: activation={identifier!r}"
    )
