"""Smoothing: maps averaged over changed inputs, or reduced to what they share."""

from keras_gradcam.maps.smoothing import (
    SMOOTHINGS,
    Smoothing,
    eigen,
    get,
    noise,
    tta,
)

__all__ = [
    "SMOOTHINGS",
    "Smoothing",
    "eigen",
    "get",
    "noise",
    "tta",
]
