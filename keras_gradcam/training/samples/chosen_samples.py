"""The samples that a callback explains, and what belongs to each of them."""

from typing import Any, NamedTuple

import numpy as np
import tensorflow as tf
from keras import tree

from keras_gradcam import metrics
from keras_gradcam.data import NO_LABELS, labels_of, labels_or_none, stack
from keras_gradcam.pictures import guess_range, to_uint8


class ChosenSamples(NamedTuple):
    """The chosen samples.

    Attributes:
        samples: List of `Sample`.
        labels: List of labels, one for each of `samples`, see `data.labels`.
        regions: Masks or boxes of these, `None` where there are none.
        target: See `GradCAMCallback`; of a sequence, those of `samples`.
        value_range: See `GradCAMCallback`.
        to_picture: See `GradCAMCallback`.
    """

    samples: list
    labels: list
    regions: np.ndarray | None
    target: Any
    value_range: tuple | None
    to_picture: Any

    def masks(self, shape):
        """The regions as masks, `None` where there are none.

        Args:
            shape: Tuple `(samples, height, width)` of the images.
        """
        return _masks_of(self.regions, shape, self.samples)

    def pictures(self):
        """The pictures that panels show, `None` where the model must tell of which.

        Returns:
            uint8 `(samples, height, width, 3)`.
        """
        inputs = tree.flatten(stack(self.samples))
        if len(inputs) != 1:
            return None
        drawn = drawn_of(inputs[0], self.to_picture)
        return to_uint8(drawn, range_of(drawn, self.value_range))


def labels_of_chosen(chosen, y_true):
    """The labels of the chosen samples."""
    rows = [sample.label for sample in chosen]
    if y_true is None:
        # A dataset may bring values of a regression along, or masks to segment.
        return labels_or_none(rows)
    try:
        return labels_of(rows)
    except ValueError as error:
        raise ValueError(
            f"Argument `y_true` does not hold classes. {NO_LABELS} Leave it out where "
            f"there are none. Received: y_true of shape {np.shape(y_true)} and dtype "
            f"{np.asarray(y_true).dtype}"
        ) from error


def regions_of_chosen(chosen, masks, boxes, options, count):
    """The masks or boxes of the chosen samples, `None` where there are neither."""
    if masks is None and boxes is None:
        return None
    if masks is not None and boxes is not None:
        raise ValueError("Arguments `masks` and `boxes` exclude each other.")
    if options.get("resize", True) is not True:
        raise ValueError(
            "With `masks` or `boxes` the heatmaps must have the size of the images. "
            f"Received: resize={options['resize']!r}"
        )
    if boxes is not None:
        return _as_boxes(_of_chosen("boxes", boxes, chosen, count))
    masks = _of_chosen("masks", masks, chosen, count)
    masks = masks[..., 0] if masks.ndim == 4 and masks.shape[-1] == 1 else masks
    if masks.ndim != 3:
        raise ValueError(
            "Argument `masks` must have the shape `(samples, height, width)`, not zero "
            "inside the object. Of one-hot masks pick a class, `masks[..., 3]`. "
            f"Received: masks of shape {np.shape(masks)}"
        )
    return masks


def _as_boxes(boxes):
    is_number = boxes.dtype.kind in "iuf"
    if boxes.ndim != 2 or boxes.shape[1] != 4 or not is_number:
        raise ValueError(
            "Argument `boxes` must have the shape `(samples, 4)`, each `(top, left, "
            f"bottom, right)` in pixels. Received: boxes of shape {boxes.shape} and "
            f"dtype {boxes.dtype}"
        )
    if boxes.dtype.kind == "f" and boxes.max() <= 1:
        raise ValueError(
            "Argument `boxes` must be in pixels, and seems to be in fractions of the "
            f"image. Received: boxes with values up to {boxes.max()}"
        )
    return boxes


def _masks_of(regions, shape, chosen):
    """The regions of the chosen samples as masks, `None` where there are none.

    Args:
        regions: As `regions_of_chosen` returns them.
        shape: Tuple `(samples, height, width)` of the images.
        chosen: List of `Sample`.
    """
    if regions is None:
        return None
    if regions.ndim == 3 and regions.shape != shape:
        raise ValueError(
            f"Argument `masks` must have the size of the images, {shape[1:]}. "
            f"Received: masks of size {regions.shape[1:]}"
        )
    masks = metrics.as_masks(regions, shape)
    empty = np.flatnonzero(~masks.any(axis=(1, 2)))
    if empty.size:
        raise ValueError(
            "Arguments `masks` and `boxes` must cover some pixel of each image; boxes "
            "are `(top, left, bottom, right)` in pixels. Nothing is covered in sample "
            f"{chosen[empty[0]].number}."
        )
    return masks


def _of_chosen(name, values, chosen, count):
    """Those of `values` that belong to the chosen samples.

    Args:
        name: Of the argument.
        values: One entry for each of `images`.
        chosen: List of `Sample`.
        count: Number of `images`, `None` where unknown.
    """
    try:
        values = np.asarray(values)
    except ValueError as error:
        raise ValueError(
            f"Argument `{name}` must be one array, with entries of one shape."
        ) from error
    last = max(sample.number for sample in chosen)
    length = len(values) if values.ndim else 0
    if length <= last or count not in (None, length):
        raise ValueError(
            f"Argument `{name}` must have one entry for each of `images`. Received: "
            f"{length} entries for {count or f'more than {last}'} images."
        )
    return values[[sample.number for sample in chosen]]


def target_of_chosen(target, chosen, labels, count):
    """A target for the chosen samples: of a sequence of classes theirs."""
    if isinstance(target, tf.Tensor):
        target = target.numpy()
    if isinstance(target, str):
        _check_word(target, labels)
        return target
    if callable(target) or not np.ndim(target):
        return target
    return _of_chosen("target", target, chosen, count)


def _check_word(target, labels):
    if target not in ("pred", "true", "both"):
        raise ValueError(
            "Argument `target` must be 'pred', 'true', 'both' or a target of `GradCAM`."
            f" Received: target={target!r}"
        )
    if target != "pred" and None in labels:
        raise ValueError(
            f"With `target={target!r}` there must be a true class for each sample: pass"
            " `y_true`, or a dataset of `(images, labels)`."
        )


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
