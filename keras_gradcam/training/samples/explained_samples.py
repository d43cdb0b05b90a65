"""Explains chosen samples, again and again, with the model as it is now."""

import warnings
from typing import Any, NamedTuple

import numpy as np
from keras import ops, tree

from keras_gradcam.data import labels_or_none, stack
from keras_gradcam.gradcam import GradCAM
from keras_gradcam.maps import EmptyMapWarning, diagnosis
from keras_gradcam.pictures import to_uint8
from keras_gradcam.training.samples.chosen_samples import drawn_of, range_of
from keras_gradcam.training.samples.class_probabilities import (
    ClassProbabilities,
    from_logits,
)
from keras_gradcam.training.samples.label_target import LabelTarget


class ExplainedSamples(NamedTuple):
    """The heatmaps of samples and what belongs to them, at one moment.

    Attributes:
        heatmaps: List of arrays `(samples, height, width)`, raw: one for each layer,
            and for each score where a target has several.
        names: List of strings, what tells `heatmaps` apart; one empty string for one.
        pictures: uint8 `(samples, height, width, 3)`, what the heatmaps lie over.
        labels: List of labels, see `data.labels`.
        outputs: The model's outputs, a structure of arrays.
    """

    heatmaps: list
    names: list
    pictures: np.ndarray
    labels: list
    outputs: Any


class SampleExplainer:
    """Explains samples with a `GradCAM`, again and again.

    What does not fit the model is found when it is made, without reading a weight.

    Args:
        model: A `keras.Model`.
        chosen: A `ChosenSamples`.
        layer: See `GradCAM`.
        options: Dict of other arguments of `GradCAM`.

    Raises:
        ValueError: If model, samples and arguments do not fit each other.
    """

    def __init__(self, model, chosen, layer, options):
        self._chosen = chosen
        self._answers, target = None, chosen.target
        if isinstance(target, str):
            self._answers = target = _answer_target(model, target, chosen.labels)
        self.cam = GradCAM(
            model,
            layer,
            target=target,
            # Raw values, which compare between epochs; drawing normalises.
            **{**options, "normalize": None, "return_predictions": True},
        )
        self._inputs = stack(chosen.samples)
        traced = self.cam.trace(self._inputs)
        self.names = self._names(tree.flatten(traced["heatmaps"]))
        self.reading = ClassProbabilities(
            getattr(model, "loss", None), self.cam.head, chosen.labels
        )
        # One linear unit is two classes if the loss says so.
        is_binary = self.cam.classes == 1 and self.reading.are_logits
        self.classes = 2 if is_binary else self.cam.classes
        are_explained = self._answers is not None and self._answers.kind != "pred"
        _check_labels(chosen.labels, self.classes, are_explained)
        self._picture_input = self._find_picture_input()
        # Once for all: a range that is guessed anew may be another one.
        drawn = self._drawn(self._inputs)
        self._value_range = range_of(drawn, chosen.value_range)
        self.pictures = to_uint8(drawn, self._value_range)
        self._has_warned = False

    def explain(self):
        """Explains the samples with the model as it is now.

        Returns:
            An `ExplainedSamples`.
        """
        return self._explain(self._inputs, self._chosen.labels, self.pictures)

    def explain_others(self, samples):
        """Explains other samples, each a `Sample`."""
        inputs = stack(samples)
        labels = labels_or_none([sample.label for sample in samples])
        pictures = to_uint8(self._drawn(inputs), self._value_range)
        return self._explain(inputs, labels, pictures)

    def _explain(self, inputs, labels, pictures):
        if self._answers is not None:
            self._answers.set_labels(labels)
        heatmaps, outputs, checks = self.cam.call_quietly(inputs)
        self._warn(checks)
        return ExplainedSamples(
            [x for layer in tree.flatten(heatmaps) for x in _one_per_score(layer)],
            self.names,
            pictures,
            labels,
            tree.map_structure(_as_array, outputs),
        )

    def _warn(self, checks):
        """Warns once; not of empty maps, which are no news in training."""
        if self._has_warned:
            return
        self._has_warned = True
        for text, category in diagnosis.warnings_of(checks):
            if category is not EmptyMapWarning:
                warnings.warn(text, category, stacklevel=4)

    def _names(self, columns):
        layers = self.cam.layer if self.cam.makes_several_maps else [""]
        names = []
        for layer, column in zip(layers, columns, strict=True):
            count = column.shape[1] if column.shape.rank == 4 else 1
            scores = [str(n + 1) for n in range(count)] if count > 1 else [""]
            if self._answers is not None and self._answers.kind == "both":
                scores = ["predicted", "true"]
            names += [f"{layer} {score}".strip() for score in scores]
        return names

    def _find_picture_input(self):
        """Which of the model's inputs the heatmaps lie over."""
        several = isinstance(self.cam.layer, list)
        found = set(self.cam.input_index if several else [self.cam.input_index])
        if len(found) > 1:
            raise ValueError(
                "Argument `layer` names layers that belong to different inputs of the "
                "model, so no one picture lies below their heatmaps. Use a "
                f"`GradCAMCallback` for each. Received: layer={self.cam.layer}"
            )
        index = found.pop()
        flat = tree.flatten(self._inputs)
        images = [n for n, x in enumerate(flat) if x.ndim == 4]
        return (images or [0])[0] if index is None else index

    def _drawn(self, inputs):
        return drawn_of(
            tree.flatten(inputs)[self._picture_input], self._chosen.to_picture
        )


def _answer_target(model, word, labels):
    """The target that a word stands for; `None` for what `GradCAM` explains anyhow."""
    are_logits = from_logits(getattr(model, "loss", None))
    if word == "pred" and not are_logits:
        return None
    target = LabelTarget(word, are_logits)
    target.set_labels(labels)
    return target


def _check_labels(labels, classes, are_explained):
    highest = max((np.max(x, initial=0) for x in labels if x is not None), default=0)
    # The values of a regression are no classes, but nor is there one to explain.
    if classes and (classes > 1 or are_explained) and highest >= classes:
        raise ValueError(
            f"Argument `y_true` has class {highest}, but the model has {classes} "
            f"class{'es, from 0' if classes > 1 else ', 0'}."
        )


def _one_per_score(heatmaps):
    """A target with several scores has as many maps for each sample."""
    array = _as_array(heatmaps)
    return [array] if array.ndim == 3 else list(np.moveaxis(array, 1, 0))


def _as_array(tensor):
    return None if tensor is None else ops.convert_to_numpy(tensor)
