"""Pictures made of pictures: a panel for one image, with text on strips."""

import bisect
import functools
import math
import os

import numpy as np

from keras_gradcam.pictures.conversion import to_uint8
from keras_gradcam.pictures.overlays import paint

MIN_SIZE = 224

# Above it only if the image itself is that wide.
MAX_WIDTH = 16000

OUTLINE_COLOR = (255, 179, 0)

STRIP_COLORS = {None: (66, 66, 66), True: (24, 121, 56), False: (190, 32, 38)}


def panel(
    image,
    heatmaps,
    caption=None,
    correct=None,
    alpha=0.7,
    colormap="jet",
    min_size=MIN_SIZE,
    titles=None,
    region=None,
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
        titles: List of strings, one for each heatmap, drawn on a strip above it and its
            overlay; where there is no heatmap, side by side above the image. Defaults
            to `None`, no strip.
        region: Mask of shape `(H, W)`, the size of the image, not zero where the object
            is: its outline is drawn on the image. Defaults to `None`.

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
    heatmaps = heatmaps if isinstance(heatmaps, (list, tuple)) else [heatmaps]
    image = enlarge(image, min_size, columns=1 + 2 * len(heatmaps))
    cells = [image if region is None else outline(image, region)]
    for heatmap in heatmaps:
        cells += paint(image, heatmap, alpha, colormap)
    parts = [np.concatenate(cells, axis=1)]
    height, width, _ = parts[0].shape
    if titles is not None:
        parts.insert(
            0, _headings(titles, width, len(cells), _heading_size(width, height))
        )
    if caption is not None:
        color = STRIP_COLORS[None if correct is None else bool(correct)]
        parts.append(_strip(str(caption), width, 2, _type_size(width, height), color))
    return np.concatenate(parts)


def headed(picture, text):
    """Draws a line of text on a dark strip above a picture."""
    height, width, _ = picture.shape
    size = _heading_size(width, height)
    return np.concatenate([_strip(text, width, 1, size, STRIP_COLORS[None]), picture])


def grid(cells, columns=None, margin=4):
    """Lays pictures of one size out on a white sheet, row by row.

    Args:
        cells: List of `uint8` arrays of shape `(height, width, 3)`.
        columns: Integer. Defaults to `None`, as many as make the sheet about square.
        margin: Integer, pixels around each picture. Defaults to `4`.

    Returns:
        A `uint8` array of shape `(sheet height, sheet width, 3)`.

    Example:

    ```python
    sheet = grid([panel(*pair) for pair in zip(images, heatmaps)], columns=2)
    ```
    """
    height, width = np.add(cells[0].shape[:2], margin)
    if columns is None:
        columns = max(1, round(math.sqrt(len(cells) * height / width)))
    columns = min(columns, len(cells))
    rows = -(-len(cells) // columns)
    shape = rows * height + margin, columns * width + margin, 3
    sheet = np.full(shape, 255, np.uint8)
    for number, cell in enumerate(cells):
        row, column = divmod(number, columns)
        top, left = row * height + margin, column * width + margin
        sheet[top : top + cell.shape[0], left : left + cell.shape[1]] = cell
    return sheet


def enlarge(image, min_size, columns=1):
    """Repeats the pixels of an image, or of a batch, by a whole factor."""
    factor = math.ceil(min_size / image.shape[-3])
    # Long and low ones stay small enough for any format.
    factor = max(1, min(factor, MAX_WIDTH // (columns * image.shape[-2])))
    return image.repeat(factor, axis=-3).repeat(factor, axis=-2)


def outline(image, region):
    """Draws the edge of a mask on an image that may be larger by a whole factor."""
    region = np.asarray(region) != 0
    region = enlarge(region[..., None], image.shape[0])[..., 0]
    if region.shape != image.shape[:2]:
        raise ValueError(
            "`region` must have the size of the image. Received: region of shape "
            f"{np.shape(region)}, image of shape {image.shape} as drawn"
        )
    width = max(1, image.shape[0] // 112)
    padded = np.pad(region, width)
    inner = region.copy()
    for rows in (0, width, 2 * width):
        for columns in (0, width, 2 * width):
            inner &= padded[rows : rows + len(region), columns:][:, : region.shape[1]]
    outlined = image.copy()
    outlined[region & ~inner] = OUTLINE_COLOR
    return outlined


def _headings(titles, width, cells, size):
    """A strip with a title above each heatmap and its overlay; none above the image."""
    if cells > 1:
        as_titles(titles, cells // 2)
    blank = width // cells if cells > 1 else 0
    edges = blank + np.linspace(0, width - blank, len(titles) + 1).astype(int)
    strips = [
        _strip(title, right - left, 1, size, "white", "black")
        for title, left, right in zip(titles, edges, edges[1:], strict=False)
    ]
    blank = np.full((len(strips[0]), blank, 3), 255, np.uint8)
    return np.concatenate([blank, *strips], axis=1)


def _type_size(width, height):
    # On a TensorBoard card, 350 pixels wide, this is type of 15 pixels.
    return max(12, min(round(width * 30 / 672), height // 2))


def _heading_size(width, height):
    return round(0.7 * _type_size(width, height))


def _strip(text, width, rows, size, color, ink="white"):
    """Text on a colored strip that has room for some rows of a size of type."""
    from PIL import Image, ImageDraw

    height = 2 * size if rows > 1 else round(1.4 * size)
    strip = Image.new("RGB", (width, height), color)
    lines, font = _fit(" ".join(text.split()), size, width - size, rows)
    for row, line in enumerate(lines):
        middle = height / 2 + 0.93 * size * (row - (len(lines) - 1) / 2)
        place = (width / 2, middle)
        ImageDraw.Draw(strip).text(place, line, ink, font, anchor="mm")
    return np.asarray(strip)


def _fit(text, size, room, rows=2):
    """Returns one line of text, or two of the smallest type, and the font."""
    fraction = room / max(room, _font(size).getlength(text))
    font = _font(max(math.floor(fraction * size), math.floor(0.8 * size)))
    first = _shorten(text, font, room)
    if first == text or rows == 1:
        return [_shorten(text, font, room, "…")], font
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


def as_titles(titles, count):
    if titles is None:
        return [""] * count
    titles = [titles] if isinstance(titles, str) else [str(title) for title in titles]
    if len(titles) != count:
        raise ValueError(
            "`titles` must name each layer if `heatmaps` is a list, and each image if "
            f"it is one array. Received: {len(titles)} titles, expected {count}"
        )
    return titles
