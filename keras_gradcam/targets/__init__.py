"""From a model's outputs to one score per sample."""

from keras_gradcam.targets import class_scores, scorer
from keras_gradcam.targets.class_scores import class_columns, of_class, predicted
from keras_gradcam.targets.class_targets import (
    binary,
    classes,
    contrast,
    counterfactual,
    multi_label,
    output,
    regression,
    residual_softmax,
    similarity,
    top_k,
)
from keras_gradcam.targets.decisions import decided
from keras_gradcam.targets.logits import find_logits
from keras_gradcam.targets.named_target import TARGETS, Target, target
from keras_gradcam.targets.region_targets import detection, segmentation
from keras_gradcam.targets.scorer import Scorer, names_a_place

__all__ = [
    "Scorer",
    "TARGETS",
    "Target",
    "binary",
    "class_columns",
    "class_scores",
    "classes",
    "contrast",
    "counterfactual",
    "decided",
    "detection",
    "find_logits",
    "multi_label",
    "names_a_place",
    "of_class",
    "output",
    "predicted",
    "regression",
    "residual_softmax",
    "scorer",
    "segmentation",
    "similarity",
    "target",
    "top_k",
]
