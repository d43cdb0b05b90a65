"""Reads picture files as arrays."""

import numpy as np

from keras_gradcam.pictures.conversion import as_pair, to_uint8


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
        height, width = as_pair(
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
