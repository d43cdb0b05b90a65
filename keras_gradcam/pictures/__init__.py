"""Arrays to pictures, no model in sight."""

from keras_gradcam.pictures.conversion import guess_range, to_uint8
from keras_gradcam.pictures.figures import show
from keras_gradcam.pictures.image_files import load_image
from keras_gradcam.pictures.overlays import colorize, overlay
from keras_gradcam.pictures.panels import (
    MIN_SIZE,
    enlarge,
    grid,
    headed,
    outline,
    panel,
)

__all__ = [
    "MIN_SIZE",
    "colorize",
    "enlarge",
    "grid",
    "guess_range",
    "headed",
    "load_image",
    "outline",
    "overlay",
    "panel",
    "show",
    "to_uint8",
]
