"""Arrays to pictures: axes, channels and the range of the values."""

import operator

import numpy as np

CHANNELS = (1, 3, 4)

# For rounding errors in a heatmap or image: too small to change a pixel.
TOLERANCE = 1e-3


def to_uint8(image, value_range=None, data_format=None):
    """Converts an image or a batch of images to RGB pictures.

    Args:
        image: Array, tensor or nested list of shape `(H, W)`, `(H, W, C)` or
            `(B, H, W, C)`, or with the channels first; `C` is 1, 3 or 4, and a fourth
            channel (alpha) is dropped. Three axes are one image; only if neither the
            first nor the last can be channels and `data_format` is `None`, they are a
            batch of gray images, `(B, H, W)`. NaN is drawn black.
        value_range: Tuple of numbers `(low, high)`, drawn as 0 and 255, such as
            `(0, 1)`, `(0, 255)` or `(-1, 1)`; values outside are clipped. Defaults to
            `None`: `(0, 1)` for booleans and for floats in `[0, 1]`, `(0, 255)` for
            integers in `[0, 255]` and for floats in `[0, 255]` with a maximum above 2,
            an error otherwise. A batch is guessed as a whole.
        data_format: String, `"channels_last"` or `"channels_first"`. Defaults to
            `None`: last if the last axis has size 1, 3 or 4, otherwise first.

    Returns:
        A new `uint8` array of shape `(H, W, 3)`, or `(B, H, W, 3)` for a batch.

    Raises:
        TypeError: If `image` does not hold real numbers.
        ValueError: If the axes or the range of `image` cannot be told.

    Example:

    ```python
    pictures = to_uint8(x, value_range=(-1, 1))
    ```
    """
    image = _channels_last(as_array("image", image), data_format)[..., :3]
    if value_range is None:
        low, high = guess_range(image)
    else:
        expected = "`(low, high)`, two finite numbers with low < high"
        low, high = as_pair("value_range", value_range, expected, operator.lt)
    if image.dtype != np.uint8 or (low, high) != (0, 255):
        with np.errstate(over="ignore"):
            image = image.astype(np.float32)
        scaled = (np.clip(image, low, high) - low) * (255 / (high - low))
        image = np.rint(np.nan_to_num(scaled)).astype(np.uint8)
    return np.array(np.broadcast_to(image, (*image.shape[:-1], 3)), order="C")


def as_array(name, value):
    try:
        array = np.asarray(value)
    except ValueError as error:
        raise ValueError(
            f"`{name}` must be one array; draw images of several sizes one by one. "
            f"Received: {name} of type {type(value).__name__} ({error})"
        ) from error
    # The kind of bfloat16, which NumPy does not know as a float.
    if array.dtype.kind == "V":
        array = array.astype(np.float32)
    if array.dtype.kind not in "biuf":
        raise TypeError(
            f"`{name}` must be an array of real numbers; read a file with "
            f"`load_image`. Received: {name} of dtype {array.dtype}"
        )
    return array


def as_pair(name, value, expected, valid):
    try:
        first, second = map(float, value)
    except (TypeError, ValueError):
        first = second = np.nan
    if not (np.isfinite([first, second]).all() and valid(first, second)):
        raise ValueError(f"`{name}` must be {expected}. Received: {name}={value}")
    return first, second


def min_max(values):
    return (values.min(), values.max()) if values.size else (0, 0)


def _channels_last(image, data_format):
    if data_format not in (None, "channels_last", "channels_first"):
        raise ValueError(
            '`data_format` must be `None`, "channels_last" or "channels_first". '
            f"Received: data_format={data_format!r}"
        )
    if image.ndim not in (2, 3, 4):
        raise ValueError(
            "`image` must have 2 axes (gray), 3 (an image) or 4 (a batch). "
            f"Received: image.shape={image.shape}"
        )
    if image.ndim == 2:
        return image[..., None]
    first, last = image.shape[-3] in CHANNELS, image.shape[-1] in CHANNELS
    if image.ndim == 3 and not (data_format or first or last):
        return image[..., None]
    is_last = last if data_format is None else data_format == "channels_last"
    if not (last if is_last else first):
        raise ValueError(
            "`image` must have an axis of 1, 3 or 4 channels. Pick the channels to "
            "draw, as in `image[..., :3]`; give gray images an axis, `image[..., None]`"
            f". Received: image.shape={image.shape}, data_format={data_format!r}"
        )
    return image if is_last else np.moveaxis(image, -3, -1)


def guess_range(image):
    """Returns what is drawn black and white, see `value_range` of `to_uint8`."""
    image = as_array("image", image)
    kind = image.dtype.kind
    # An infinite pixel says nothing about the range of the others.
    low, high = min_max(image[np.isfinite(image)] if kind == "f" else image)
    slack = TOLERANCE if kind == "f" else 0
    if kind == "b" or (kind == "f" and low >= -slack and high <= 1 + slack):
        return 0, 1
    if low >= -slack and high <= 255 + slack and (kind != "f" or high > 2):
        return 0, 255
    raise ValueError(
        "The range of `image` cannot be guessed. Pass it, for instance "
        "`to_uint8(image, value_range=(-1, 1))`; draw an image that was fed to "
        "`preprocess_input` in its original form. "
        f"Received: image of dtype {image.dtype} with values in [{low:.4g}, {high:.4g}]"
    )
