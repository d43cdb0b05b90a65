"""Figures of matplotlib: images with their heatmaps, for notebooks and reports."""

import functools
import io

import numpy as np

from keras_gradcam.pictures.conversion import to_uint8
from keras_gradcam.pictures.overlays import paint
from keras_gradcam.pictures.panels import MIN_SIZE, as_titles, enlarge


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

    pictures = enlarge(to_uint8(images, value_range, data_format), MIN_SIZE)
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
    for axes, title in zip(titled, as_titles(titles, len(titled)), strict=True):
        axes.set_title(title, loc=place)
    return figure


def _png(figure):
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png")
    return buffer.getvalue()
