"""Heatmaps of any number of images, written to disk or by an engine."""

from keras_gradcam.jobs.explain_dataset import explain_dataset
from keras_gradcam.jobs.explanations import Explanation, Failure
from keras_gradcam.jobs.read_explanations import read_explanations

__all__ = [
    "Explanation",
    "Failure",
    "explain_dataset",
    "read_explanations",
]
