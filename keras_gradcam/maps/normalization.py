"""From a method's raw map to a heatmap: activation, resizing, normalisation.

Maps are floats `(batch, *grid)` with a grid of any rank.
"""

import keras
from keras import ops

from keras_gradcam.arrays import divided, stretched

# What maps can be returned as, besides as they are computed.
OUTPUT_DTYPES = ("float32", "float16", "uint8")


def finish(raw, activation, place, normalize):
    """Makes a heatmap of a raw map.

    Args:
        raw: Tensor `(batch, *grid)`.
        activation: See `get_activation`.
        place: Callable that lays the map over the input, or `None` to leave it.
        normalize: See `get_normalization`.
    """
    activation = get_activation(activation)
    maps = raw if activation is None else activation(raw)
    maps = maps if place is None else place(maps)
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


def _peak(maps, axes):
    return ops.max(ops.abs(maps), axis=axes, keepdims=True)


def _grid(maps):
    return tuple(range(1, len(maps.shape)))


def normalize_max(maps):
    """Divides each map by its own largest magnitude: 0 stays "no evidence"."""
    return divided(maps, _peak(maps, _grid(maps)))


def normalize_minmax(maps):
    """Stretches each map to [0, 1] from its own minimum and maximum."""
    return stretched(maps, _grid(maps))


def normalize_batch(maps):
    """Divides all maps of the batch by their largest magnitude: strengths compare."""
    peaks = _peak(maps, _grid(maps))
    # A sample that is not finite must not take the others with it.
    peaks = ops.where(ops.isfinite(peaks), peaks, 0.0)
    return divided(maps, ops.max(peaks, keepdims=True))


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
