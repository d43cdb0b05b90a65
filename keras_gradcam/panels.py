"""Pictures made of pictures: a panel for one image, a figure for many."""

import bisect
import functools
import io
import math
import os

import numpy as np

from keras_gradcam.images import paint, to_uint8

STRIP_COLORS = {None: (66, 66, 66), True: (24, 121, 56), False: (190, 32, 38)}


def panel(
    image,
    heatmaps,
    caption=None,
    correct=None,
    alpha=0.7,
    colormap="jet",
    min_size=224,
):
    """Draws an image, its heatmap and their overlay side by side.

    The size of a panel depends on the image and the number of heatmaps, never on the
    text of the caption: panels can be stacked to a batch.

    Args:
        image: One image whose range `to_uint8` can guess; convert any other one first,
            `to_uint8(image, value_range=(-1, 1))`.
        heatmaps: Array of shape `(h, w)`, or a list or tuple of such arrays, one for
            each layer, each drawn as a heatmap and an overlay. Values as for
            `colorize`.
        caption: String, drawn on a strip below the pictures. A long one is shrunk, then
            broken into two lines, then shortened. The font is DejaVu Sans: Latin, Greek
            and Cyrillic, but no Chinese, Japanese or Korean. Defaults to `None`, no
            strip.
        correct: Boolean, whether the prediction is right: the strip is green for
            `True`, red for `False`. Defaults to `None`, dark gray.
        alpha: See `overlay`. Defaults to `0.7`.
        colormap: See `colorize`. Defaults to `"jet"`.
        min_size: Integer, the least height of a picture in pixels. A smaller image is
            enlarged by a whole factor and its pixels stay crisp. Defaults to `224`.

    Returns:
        A `uint8` array of shape `(height, width, 3)`.

    Raises:
        TypeError: If an array does not hold real numbers.
        ValueError: If `image` is a batch, or as for `overlay`.

    Example:

    ```python
    picture = panel(image, heatmap, "dog 0.98 | true: cat", correct=False)
    ```
    """
    image = to_uint8(image)
    if image.ndim > 3:
        raise ValueError(
            "`panel` draws one image: call it for each image of a batch. "
            f"Received: image.shape={image.shape} as RGB"
        )
    image = _enlarge(image, min_size)
    cells = [image]
    for heatmap in heatmaps if isinstance(heatmaps, (list, tuple)) else [heatmaps]:
        cells += paint(image, heatmap, alpha, colormap)
    picture = np.concatenate(cells, axis=1)
    if caption is None:
        return picture
    color = STRIP_COLORS[None if correct is None else bool(correct)]
    strip = _strip(str(caption), picture.shape[1], picture.shape[0], color)
    return np.concatenate([picture, strip])


def show(
    images,
    heatmaps,
    titles=None,
    alpha=0.7,
    colormap="jet",
    value_range=None,
    data_format=None,
):
    """Draws a figure with one row for each image: the image, then its overlays.

    A notebook displays the figure once, if the call is the last line of a cell. No
    figure stays open in `pyplot`.

    Args:
        images: One image or a batch, see `to_uint8`.
        heatmaps: Array of shape `(h, w)` for one image, `(B, h, w)` for a batch; or a
            list or tuple of such arrays, one for each layer. Values as for `colorize`.
        titles: String or list of strings. If `heatmaps` is a list or tuple, the names
            of its layers, drawn above their columns; if it is one array, a title for
            each image, drawn above its row. Defaults to `None`.
        alpha: See `overlay`. Defaults to `0.7`.
        colormap: See `colorize`. Defaults to `"jet"`.
        value_range: See `to_uint8`. Defaults to `None`.
        data_format: See `to_uint8`. Defaults to `None`.

    Returns:
        A `matplotlib.figure.Figure`.

    Raises:
        TypeError: If an array does not hold real numbers.
        ValueError: If the number of titles is wrong, or as for `overlay`.

    Example:

    ```python
    show(images, heatmaps, titles=["cat", "dog"]).savefig("maps.png")
    show(images, [shallow, deep], titles=["conv2", "conv5"])
    ```
    """
    from matplotlib.figure import Figure

    pictures = _enlarge(to_uint8(images, value_range, data_format), 224)
    layered = isinstance(heatmaps, (list, tuple))
    columns = [pictures]
    for heatmap in heatmaps if layered else [heatmaps]:
        columns.append(paint(pictures, heatmap, alpha, colormap)[1])
    columns = [np.reshape(column, (-1, *pictures.shape[-3:])) for column in columns]
    rows, height, width = columns[0].shape[:3]
    lines = 0 if titles is None else 1 if layered else rows
    # A figure of pyplot stays open, and a notebook draws it twice.
    figure = Figure(
        (3 * len(columns), 3 * rows * height / width + 0.3 * lines), layout="compressed"
    )
    # A notebook cannot draw a figure on its own before pyplot has drawn one.
    figure._repr_png_ = functools.partial(_png, figure)
    grid = figure.subplots(rows, len(columns), squeeze=False)
    for axes, picture in zip(grid.T.flat, np.concatenate(columns), strict=True):
        axes.imshow(picture)
        axes.set_axis_off()
    titled, place = (grid[0, 1:], "center") if layered else (grid[:, 0], "left")
    for axes, title in zip(titled, _as_titles(titles, len(titled)), strict=True):
        axes.set_title(title, loc=place)
    return figure


def _enlarge(image, min_size):
    factor = max(1, math.ceil(min_size / image.shape[-3]))
    return image.repeat(factor, axis=-3).repeat(factor, axis=-2)


def _strip(caption, width, height, color):
    from PIL import Image, ImageDraw

    # On a TensorBoard card, 350 pixels wide, this is type of 15 pixels.
    size = max(12, min(round(width * 30 / 672), height // 2))
    strip = Image.new("RGB", (width, 2 * size), color)
    lines, font = _fit(" ".join(caption.split()), size, width - size)
    for row, line in enumerate(lines):
        middle = size * (1 + 0.93 * (row - (len(lines) - 1) / 2))
        place = (width / 2, middle)
        ImageDraw.Draw(strip).text(place, line, "white", font, anchor="mm")
    return np.asarray(strip)


def _fit(text, size, room):
    """Returns one line of text, or two of the smallest type, and the font."""
    fraction = room / max(room, _font(size).getlength(text))
    font = _font(max(math.floor(fraction * size), math.floor(0.8 * size)))
    first = _shorten(text, font, room)
    if first == text:
        return [text], font
    space = text.rfind(" ", len(first) // 2, len(first) + 1)
    first = first if space < 0 else text[:space]
    return [first, _shorten(text[len(first) :].lstrip(), font, room, "…")], font


def _shorten(text, font, room, end=""):
    if font.getlength(text) <= room:
        return text
    counts = range(1, len(text))
    fit = bisect.bisect(counts, room, key=lambda n: font.getlength(text[:n] + end))
    return text[:fit].rstrip() + end


@functools.lru_cache(maxsize=64)
def _font(size):
    import matplotlib
    from PIL import ImageFont

    # The one font beyond Latin that is on every machine.
    fonts = os.path.join(matplotlib.get_data_path(), "fonts", "ttf")
    return ImageFont.truetype(os.path.join(fonts, "DejaVuSans.ttf"), size)


def _as_titles(titles, count):
    if titles is None:
        return [""] * count
    titles = [titles] if isinstance(titles, str) else [str(title) for title in titles]
    if len(titles) != count:
        raise ValueError(
            "`titles` must name each layer if `heatmaps` is a list, and each image if "
            f"it is one array. Received: {len(titles)} titles, expected {count}"
        )
    return titles


def _png(figure):
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png")
    return buffer.getvalue()
