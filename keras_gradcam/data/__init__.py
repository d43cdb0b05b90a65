"""The data that users have: batches, single samples, true labels."""

from keras_gradcam.data.labels import NO_LABELS, classes_in, labels_of, labels_or_none
from keras_gradcam.data.reading import (
    batches,
    bounded,
    in_batches,
    length_of,
    without_lists,
)
from keras_gradcam.data.samples import Sample, choose, rows, stack

__all__ = [
    "NO_LABELS",
    "Sample",
    "batches",
    "bounded",
    "choose",
    "classes_in",
    "in_batches",
    "labels_of",
    "labels_or_none",
    "length_of",
    "rows",
    "stack",
    "without_lists",
]
