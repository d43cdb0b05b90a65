"""Heatmaps in colors, and laid over their images."""

import numpy as np

from keras_gradcam.pictures.conversion import TOLERANCE, as_array, min_max, to_uint8

DIVERGING = (
    *("BrBG", "PRGn", "PiYG", "PuOr", "RdBu", "RdGy", "RdYlBu", "RdYlGn", "Spectral"),
    *("berlin", "bwr", "coolwarm", "managua", "seismic", "vanimo"),
)

BROKEN = (128, 128, 128)


def colorize(heatmap, colormap="jet"):
    """Colors heatmaps.

    Args:
        heatmap: Array of shape `(..., H, W)`, values in `[0, 1]`, or in `[-1, 1]` for a
            diverging colormap. Bytes are 255 times the value, as `GradCAM(output_dtype=
            "uint8")` returns them, whatever their maximum; a mask of zeros and ones is
            drawn as booleans. NaN and infinity are drawn mid-gray: a broken heatmap
            must not look like a cold one.
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
    least, most = min_max(heatmap[finite])
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


def _as_heatmap(heatmap):
    heatmap = as_array("heatmap", heatmap)
    # By the type alone: a faint map must not be drawn as a mask of zeros and ones.
    unit = 255 if heatmap.dtype == np.uint8 else 1
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
