"""Cluttered scenes with one handwritten digit each, whose place is known."""

from keras_gradcam.demo.digit_scenes import (
    make_scenes,
)

__all__ = [
    "make_scenes",
]
