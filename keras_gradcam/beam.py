"""Grad-CAM on Apache Beam: heatmaps of as many image files as a cluster can read."""

from keras_gradcam.jobs.beam import (
    ExplainImages,
    GradCAMModelHandler,
)

__all__ = [
    "ExplainImages",
    "GradCAMModelHandler",
]
