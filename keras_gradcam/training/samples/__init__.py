"""The samples of a training: which are chosen, what is explained of each."""

from keras_gradcam.training.samples.chosen_samples import (
    ChosenSamples,
    labels_of_chosen,
    regions_of_chosen,
    target_of_chosen,
)
from keras_gradcam.training.samples.explained_samples import (
    ExplainedSamples,
    SampleExplainer,
)
from keras_gradcam.training.samples.highest_loss import HighestLoss

__all__ = [
    "ChosenSamples",
    "ExplainedSamples",
    "HighestLoss",
    "SampleExplainer",
    "labels_of_chosen",
    "regions_of_chosen",
    "target_of_chosen",
]
