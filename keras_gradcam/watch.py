"""Watches some samples: what a model looks at in them, now."""

import warnings
from typing import Any, NamedTuple

import numpy as np
from keras import ops, tree

from keras_gradcam import diagnosis
from keras_gradcam.answers import AnswerTarget, Reading, from_logits, labels_or_none
from keras_gradcam.gradcam import GradCAM
from keras_gradcam.images import guess_range, to_uint8
from keras_gradcam.samples import stack


class Look(NamedTuple):
    """What a model looks at, at one moment.

    Attributes:
        heatmaps: List of arrays `(samples, height, width)`, raw: one for each layer,
            and for each score where a target has several.
        names: List of strings, what tells `heatmaps` apart; one empty string for one.
        pictures: uint8 `(samples, height, width, 3)`, what the heatmaps lie over.
        labels: List of labels, see `answers`.
        outputs: The model's outputs, a structure of arrays.
    """

    heatmaps: list
    names: list
    pictures: np.ndarray
    labels: list
    outputs: Any


class Watch:
    """Looks at samples with a `GradCAM`, again and again.

    What does not fit the model is found when it is made, without reading a weight.

    Args:
        model: A `keras.Model`.
        samples: List of `samples.Sample`.
        labels: List of labels, one for each of `samples`.
        layer: See `GradCAM`.
        target: See `GradCAMCallback`; of a sequence, those of `samples`.
        value_range: See `GradCAMCallback`.
        to_picture: See `GradCAMCallback`.
        options: Dict of other arguments of `GradCAM`.

    Raises:
        ValueError: If model, samples and arguments do not fit each other.
    """

    def __init__(
        self, model, samples, labels, layer, target, value_range, to_picture, options
    ):
        self._labels = labels
        self._to_picture = to_picture
        self._answers = None
        if isinstance(target, str):
            self._answers = target = _answer_target(model, target, labels)
        self.cam = GradCAM(
            model,
            layer,
            target=target,
            # Raw values, which compare between epochs; drawing normalises.
            **{**options, "normalize": None, "return_predictions": True},
        )
        self._inputs = stack(samples)
        traced = self.cam.trace(self._inputs)
        self.names = self._names(tree.flatten(traced["heatmaps"]))
        self.reading = Reading(getattr(model, "loss", None), self.cam.head, labels)
        # One linear unit is two classes if the loss says so.
        is_binary = self.cam.classes == 1 and self.reading.are_logits
        self.classes = 2 if is_binary else self.cam.classes
        are_explained = self._answers is not None and self._answers.kind != "pred"
        _check_labels(labels, self.classes, are_explained)
        self._picture_input = self._find_picture_input()
        # Once for all: a range that is guessed anew may be another one.
        drawn = self._drawn(self._inputs)
        self._value_range = range_of(drawn, value_range)
        self.pictures = to_uint8(drawn, self._value_range)
        self._has_warned = False

    def look(self):
        """Looks at the samples with the model as it is now.

        Returns:
            A `Look`.
        """
        return self._look(self._inputs, self._labels, self.pictures)

    def look_at(self, samples):
        """Looks at other samples, each a `samples.Sample`."""
        inputs = stack(samples)
        labels = labels_or_none([sample.label for sample in samples])
        pictures = to_uint8(self._drawn(inputs), self._value_range)
        return self._look(inputs, labels, pictures)

    def _look(self, inputs, labels, pictures):
        if self._answers is not None:
            self._answers.set_labels(labels)
        heatmaps, outputs, checks = self.cam.call_quietly(inputs)
        self._warn(checks)
        return Look(
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
            if category is not diagnosis.EmptyMapWarning:
                warnings.warn(text, category, stacklevel=4)

    def _names(self, columns):
        one_each = isinstance(self.cam.layer, list) and self.cam.fuse is None
        layers = self.cam.layer if one_each else [""]
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
        return drawn_of(tree.flatten(inputs)[self._picture_input], self._to_picture)


def drawn_of(images, to_picture=None):
    """Returns the images that panels show.

    Raises:
        ValueError: If there is not one picture for each image.
    """
    if images.ndim != 4:
        raise ValueError(
            "Argument `images` must have the shape `(samples, height, width, channels)`"
            ": panels are drawn of images; one image is `image[None]`. Received: "
            f"samples of shape {images.shape[1:]}"
        )
    if to_picture is None:
        _check_channels(images)
        return images
    drawn = np.asarray(to_picture(images))
    if drawn.ndim != 4 or drawn.shape[:3] != images.shape[:3]:
        raise ValueError(
            "Argument `to_picture` must return one picture of the same height and width"
            f" for each image. Received: shape {drawn.shape} for images of shape "
            f"{images.shape}"
        )
    return drawn


def range_of(images, value_range=None):
    """Returns what is drawn black and white: `value_range`, or what can be guessed.

    Raises:
        ValueError: If it cannot.
    """
    if value_range is not None:
        return value_range
    try:
        return guess_range(images)
    except ValueError as error:
        raise ValueError(
            "The range of `images` cannot be guessed: pass it, such as `value_range="
            "(-1, 1)`, or `to_picture`, which undoes a preprocessing. Received: images "
            f"with values in [{np.nanmin(images):.4g}, {np.nanmax(images):.4g}]"
        ) from error


def _check_channels(images):
    if not {images.shape[-1], images.shape[1]} & {1, 3, 4}:
        raise ValueError(
            "Argument `images` must have 1, 3 or 4 channels to be drawn. Pass "
            "`to_picture`, such as `to_picture=lambda images: images[..., :3]`. "
            f"Received: images of shape {images.shape}"
        )


def _answer_target(model, word, labels):
    """The target that a word stands for; `None` for what `GradCAM` explains anyhow."""
    are_logits = from_logits(getattr(model, "loss", None))
    if word == "pred" and not are_logits:
        return None
    target = AnswerTarget(word, are_logits)
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
