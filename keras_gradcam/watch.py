"""Watches some samples: what a model looks at in them, now."""

import warnings
from typing import Any, NamedTuple

import numpy as np
from keras import ops, tree

from keras_gradcam.answers import AnswerTarget, is_binary, labels_of
from keras_gradcam.diagnosis import EmptyMapWarning
from keras_gradcam.gradcam import GradCAM
from keras_gradcam.images import to_uint8
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
        losses: List of floats, of the samples at the end that are there for their loss.
    """

    heatmaps: list
    names: list
    pictures: np.ndarray
    labels: list
    outputs: Any
    losses: list


class Watch:
    """Looks at samples with a `GradCAM`, again and again.

    Everything that can be wrong is found when it is made, without reading a weight.

    Args:
        model: A `keras.Model`.
        samples: List of `samples.Sample`.
        labels: List of labels, one for each of `samples`.
        layer: See `GradCAM`.
        target: See `GradCAMCallback`; of a sequence, those of `samples`.
        value_range: See `GradCAMCallback`.
        hardest: A `hardest.Hardest`, or `None`.
        options: Dict of other arguments of `GradCAM`.

    Raises:
        ValueError: If model, samples and arguments do not fit each other.
    """

    def __init__(
        self, model, samples, labels, layer, target, value_range, hardest, options
    ):
        self.model = model
        self.loss = getattr(model, "loss", None)
        self._samples = samples
        self._labels = labels
        self._value_range = value_range
        self._hardest = hardest
        self._answers = _answer_target(model, target, labels)
        self.cam = GradCAM(
            model,
            layer,
            target=target if self._answers is None else self._answers,
            # Raw values, which compare between epochs; drawing normalises.
            **{**options, "normalize": None, "return_predictions": True},
        )
        self._inputs = stack(samples)
        self._warned = False
        if self._answers is not None:
            self._answers.set_labels(labels)
        self.cam.trace(self._inputs)
        if hardest is not None:
            hardest.check(model)
        _check_labels(labels, self.cam.classes)
        self._picture_input = self._find_picture_input()
        self.pictures = self._pictures_of(self._inputs)

    def look(self, with_hardest=False):
        """Looks at the model as it is now.

        Args:
            with_hardest: Whether to look at the hardest samples too.

        Returns:
            A `Look`.
        """
        found = []
        if with_hardest and self._hardest is not None:
            found = self._hardest.find(self.model)
        hardest = [sample for _, sample in found]
        inputs = stack([*self._samples, *hardest]) if found else self._inputs
        more = labels_of([sample.label for sample in hardest])
        labels = self._labels + ([None] * len(hardest) if more is None else more)
        if self._answers is not None:
            self._answers.set_labels(labels)
        result = self._explain(inputs)
        columns = tree.flatten(result["heatmaps"])
        return Look(
            [array for column in columns for array in _one_per_score(column)],
            self._names(columns),
            self._pictures_of(inputs) if found else self.pictures,
            labels,
            tree.map_structure(_as_array, result["predictions"]),
            [loss for loss, _ in found],
        )

    def _explain(self, inputs):
        with warnings.catch_warnings():
            # An empty map is no news in training, and the panel shows it. What else
            # there is to say is said once.
            warnings.simplefilter(
                "ignore", Warning if self._warned else EmptyMapWarning
            )
            self._warned = True
            return self.cam(inputs)

    def _names(self, columns):
        layers = self.cam.layer if isinstance(self.cam.layer, list) else [""]
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

    def _pictures_of(self, inputs):
        images = tree.flatten(inputs)[self._picture_input]
        return pictures_of(images, self._value_range)


def pictures_of(images, value_range):
    """Returns what panels show of images.

    Raises:
        ValueError: If these are no images, or their range cannot be guessed.
    """
    if images.ndim != 4:
        raise ValueError(
            "Argument `images` must have the shape `(samples, height, width, channels)`"
            f": panels are drawn of images. Received: an array of shape {images.shape}"
        )
    return to_uint8(images, value_range)


def _answer_target(model, target, labels):
    """The target that reads `labels`; `None` where there is no need of one."""
    word = "pred" if target is None else target
    if not isinstance(word, str):
        return None
    if word not in ("pred", "true", "both"):
        raise ValueError(
            "Argument `target` must be 'pred', 'true', 'both' or a target of `GradCAM`."
            f" Received: target={target!r}"
        )
    if word != "pred" and None in labels:
        raise ValueError(
            f"With `target={word!r}` there must be a true class for each sample: pass "
            "`y_true`, or a dataset of `(images, labels)`."
        )
    binary = is_binary(model)
    return AnswerTarget(word, binary) if word != "pred" or binary else None


def _check_labels(labels, classes):
    highest = max((np.max(x, initial=0) for x in labels if x is not None), default=0)
    if classes and classes > 1 and highest >= classes:
        raise ValueError(
            f"Argument `y_true` has class {highest}, but the model has {classes} "
            "classes, from 0."
        )


def _one_per_score(heatmaps):
    """A target with several scores has as many maps for each sample."""
    array = _as_array(heatmaps)
    return [array] if array.ndim == 3 else list(np.moveaxis(array, 1, 0))


def _as_array(tensor):
    return None if tensor is None else ops.convert_to_numpy(tensor)
