"""Arrays to pictures: NumPy uint8, no model, no TensorFlow, no Keras."""

import operator

import numpy as np

CHANNELS = (1, 3, 4)
DIVERGING = (
    *("BrBG", "PRGn", "PiYG", "PuOr", "RdBu", "RdGy", "RdYlBu", "RdYlGn", "Spectral"),
    *("berlin", "bwr", "coolwarm", "managua", "seismic", "vanimo"),
)
BROKEN = (128, 128, 128)
# For rounding errors in a heatmap or image: too small to change a pixel.
TOLERANCE = 1e-3


def load_image(path, target_size=None):
    """Reads a picture file as an RGB array.

    The pixels stay `uint8`: `preprocess_input` of `keras.applications` overwrites a
    float array in place, and the picture is still needed for drawing. The orientation
    in the EXIF data is applied. Transparency is dropped, as `keras.utils.load_img`
    does: the picture is what the model sees.

    Args:
        path: String or path object, a file in any format that Pillow reads. 16-bit
            gray is scaled to 8 bits.
        target_size: Tuple of integers `(height, width)`. The picture is resized
            bilinearly, with antialiasing when it shrinks. Defaults to `None`, the size
            in the file.

    Returns:
        A `uint8` array of shape `(height, width, 3)`, values in `[0, 255]`.

    Raises:
        FileNotFoundError: If there is no such file.
        ValueError: If the file is not a picture, or `target_size` not a pair.

    Example:

    ```python
    image = load_image("cat.jpg", target_size=(224, 224))
    x = keras.applications.resnet50.preprocess_input(image[None])
    ```
    """
    from PIL import Image, ImageOps

    if target_size is not None:
        expected = "`(height, width)`, two positive integers"
        height, width = _pair(
            "target_size", target_size, expected, lambda h, w: min(h, w) >= 1
        )
    try:
        with Image.open(path) as file:
            picture = _to_rgb(ImageOps.exif_transpose(file))
    except (OSError, SyntaxError) as error:
        # A missing or forbidden file has an error number, a damaged one has none.
        if getattr(error, "errno", None) is not None:
            raise
        raise ValueError(
            "`path` must be a picture that Pillow can read. "
            f"Received: path={str(path)!r} ({error})"
        ) from error
    if target_size is not None:
        size = int(width), int(height)
        picture = picture.resize(size, Image.Resampling.BILINEAR)
    return np.array(picture)


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
    image = _channels_last(_as_array("image", image), data_format)[..., :3]
    if value_range is None:
        low, high = guess_range(image)
    else:
        expected = "`(low, high)`, two finite numbers with low < high"
        low, high = _pair("value_range", value_range, expected, operator.lt)
    if image.dtype != np.uint8 or (low, high) != (0, 255):
        with np.errstate(over="ignore"):
            image = image.astype(np.float32)
        scaled = (np.clip(image, low, high) - low) * (255 / (high - low))
        image = np.rint(np.nan_to_num(scaled)).astype(np.uint8)
    return np.array(np.broadcast_to(image, (*image.shape[:-1], 3)), order="C")


def colorize(heatmap, colormap="jet"):
    """Colors heatmaps.

    Args:
        heatmap: Array of shape `(..., H, W)`, values in `[0, 1]`, or in `[-1, 1]` for a
            diverging colormap; or bytes, `uint8` from 0 to 255. NaN and infinity are
            drawn mid-gray: a broken heatmap must not look like a cold one.
        colormap: String, the name of a matplotlib colormap, or a
            `matplotlib.colors.Colormap`. For signed heatmaps choose one that
            matplotlib lists as diverging, such as `"coolwarm"`, `"seismic"` or
            `"RdBu_r"`: these have zero in their neutral middle. Defaults to `"jet"`.

    Returns:
        A `uint8` array of shape `(..., H, W, 3)`.

    Raises:
        TypeError: If `heatmap` does not hold real numbers.
        ValueError: If the colormap is unknown, or does not span the values.

    Example:

    ```python
    colors = colorize(heatmap, "turbo")
    colors = colorize(signed_heatmap, "coolwarm")
    ```
    """
    heatmap, colormap = _as_heatmap(heatmap), _get_colormap(colormap)
    low = -1 if colormap.name.removesuffix("_r") in DIVERGING else 0
    finite = np.isfinite(heatmap)
    least, most = _min_max(heatmap[finite])
    if least < low - TOLERANCE or most > 1 + TOLERANCE:
        raise ValueError(
            f"`heatmap` must have values in [{low}, 1] for the colormap "
            f'"{colormap.name}". Divide a raw heatmap by its largest absolute value; '
            'draw a signed one with a diverging colormap, such as colormap="coolwarm". '
            f"Received: heatmap with values in [{least:.4g}, {most:.4g}]"
        )
    table = colormap(np.linspace(0, 1, 256), bytes=True)[:, :3]
    table = np.concatenate([table, np.array([BROKEN], np.uint8)])
    fraction = (np.where(finite, heatmap, 0) - low) / (1 - low)
    index = np.clip(fraction * 256, 0, 255).astype(np.intp)
    return table[np.where(finite, index, 256)]


def overlay(
    image, heatmap, alpha=0.7, colormap="jet", value_range=None, data_format=None
):
    """Lays the colors of a heatmap over its image, stronger where it is hotter.

    A pixel is `image * (1 - alpha * h) + color * alpha * h` with `h = abs(heatmap)`, so
    that cold regions stay photographic.

    Args:
        image: One image or a batch, see `to_uint8`.
        heatmap: Array of shape `(h, w)` for one image, `(B, h, w)` for a batch; resized
            bilinearly to the image. Values as for `colorize`; where they are NaN, gray
            is laid over the image with strength `alpha`.
        alpha: Float in `[0, 1]`, the strength where the heatmap is 1. Defaults to
            `0.7`.
        colormap: See `colorize`. Defaults to `"jet"`.
        value_range: See `to_uint8`. Defaults to `None`.
        data_format: See `to_uint8`. Defaults to `None`.

    Returns:
        A `uint8` array of shape `(H, W, 3)`, or `(B, H, W, 3)` for a batch.

    Raises:
        TypeError: If an array does not hold real numbers.
        ValueError: If there is not one heatmap for each image, `alpha` is outside
            `[0, 1]`, or as for `to_uint8` and `colorize`.

    Example:

    ```python
    picture = overlay(image, heatmap)
    PIL.Image.fromarray(picture).save("overlay.png")
    ```
    """
    image = to_uint8(image, value_range, data_format)
    return paint(image, heatmap, alpha, colormap)[1]


def _as_array(name, value):
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


def _pair(name, value, expected, valid):
    try:
        first, second = map(float, value)
    except (TypeError, ValueError):
        first = second = np.nan
    if not (np.isfinite([first, second]).all() and valid(first, second)):
        raise ValueError(f"`{name}` must be {expected}. Received: {name}={value}")
    return first, second


def _min_max(values):
    return (values.min(), values.max()) if values.size else (0, 0)


def _to_rgb(picture):
    from PIL import Image

    # Pillow would clip 16 bits at 255, and round floats down to black.
    if picture.mode[0] in "IF":
        value_range = (0, 65535) if picture.mode[0] == "I" else None
        return Image.fromarray(to_uint8(np.asarray(picture), value_range))
    # Pillow warns of a palette with transparency that becomes RGB at once.
    if "transparency" in picture.info:
        picture = picture.convert("RGBA")
    return picture.convert("RGB")


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
    image = _as_array("image", image)
    kind = image.dtype.kind
    # An infinite pixel says nothing about the range of the others.
    low, high = _min_max(image[np.isfinite(image)] if kind == "f" else image)
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


def _as_heatmap(heatmap):
    heatmap = _as_array("heatmap", heatmap)
    # Maps that `GradCAM(output_dtype="uint8")` has written as bytes, and no masks.
    unit = 255 if heatmap.dtype == np.uint8 and heatmap.max(initial=0) > 1 else 1
    heatmap = heatmap.astype(np.float32) / unit
    if heatmap.ndim < 2:
        raise ValueError(
            "`heatmap` must have the shape `(..., H, W)`. "
            f"Received: heatmap.shape={heatmap.shape}"
        )
    return heatmap


def _get_colormap(colormap):
    import matplotlib

    if isinstance(colormap, matplotlib.colors.Colormap):
        return colormap
    try:
        return matplotlib.colormaps[colormap]
    except (KeyError, TypeError):
        raise ValueError(
            '`colormap` must be a matplotlib colormap or its name, such as "jet", '
            '"turbo", "viridis", "inferno", or "coolwarm" for signed heatmaps; '
            "`list(matplotlib.colormaps)` has them all. "
            f"Received: colormap={colormap!r}"
        ) from None


def paint(image, heatmap, alpha, colormap):
    """Returns the colors of the heatmap at the size of the image, and the overlay."""
    if not 0 <= alpha <= 1:
        raise ValueError(f"`alpha` must be in [0, 1]. Received: alpha={alpha}")
    heatmap = _as_heatmap(heatmap)
    if heatmap.shape[:-2] != image.shape[:-3]:
        raise ValueError(
            "`heatmap` must be `(h, w)` for one image and `(B, h, w)` for a batch; a "
            f"list has one array per layer. Received: heatmap.shape={heatmap.shape}, "
            f"image.shape={image.shape} as RGB"
        )
    heatmap = _resize(heatmap, image.shape[-3:-1])
    colors = colorize(heatmap, colormap)
    heat = np.where(np.isfinite(heatmap), np.abs(heatmap), 1)[..., None]
    painted = image + np.float32(alpha) * heat * (colors.astype(np.float32) - image)
    return colors, np.rint(painted).astype(np.uint8)


def _resize(heatmap, size):
    from PIL import Image

    resized = [
        Image.fromarray(grid).resize(size[::-1], Image.Resampling.BILINEAR)
        for grid in heatmap.reshape(-1, *heatmap.shape[-2:])
    ]
    resized = [np.asarray(grid) for grid in resized]
    return np.reshape(resized, (*heatmap.shape[:-2], *size))
