"""Checks what users pass to `GradCAMCallback`, and picks what its samples need."""

import inspect
import numbers
import os
import re

import numpy as np
import tensorflow as tf

from keras_gradcam import fusion, maps, methods, metrics, smoothing
from keras_gradcam.answers import NO_LABELS, labels_of, labels_or_none
from keras_gradcam.gradcam import GradCAM

# Arguments of `GradCAM` that the callback sets itself.
OWN_OPTIONS = {"self", "model", "return_predictions", "kwargs"}


def check_count(name, value, at_least):
    integral = isinstance(value, numbers.Integral) and not isinstance(value, bool)
    if not integral or value < at_least:
        raise ValueError(
            f"Argument `{name}` must be an int of at least {at_least}. Received: "
            f"{name}={value!r}"
        )


def check_choice(name, value, choices):
    if value not in choices:
        raise ValueError(
            f"Argument `{name}` must be {' or '.join(map(repr, choices))}. Received: "
            f"{name}={value!r}"
        )


def check_name(name):
    # Runs that begin anew are numbered, "name-2".
    if not isinstance(name, str) or not re.fullmatch(
        r"(?!.*-\d+$)[^/\\.][^/\\]*", name
    ):
        raise ValueError(
            "Argument `name` must be a string that can name a directory, and has no "
            f"number such as '-2' at its end. Received: name={name!r}"
        )


def check_scale(scale):
    is_number = isinstance(scale, numbers.Real) and not isinstance(scale, bool)
    if not (is_number and 0 < scale < float("inf")) and scale not in ("sample", "run"):
        raise ValueError(
            "Argument `scale` must be 'sample', 'run' or a number above 0, the "
            f"strength in the middle of the colours. Received: scale={scale!r}"
        )


def check_options(options):
    known = inspect.signature(GradCAM.__init__).parameters.keys()
    unknown = options.keys() - known | options.keys() & OWN_OPTIONS
    if unknown:
        raise TypeError(
            "`GradCAMCallback` takes the arguments of `GradCAM` besides its own. "
            f"Received unknown arguments: {sorted(unknown)}"
        )
    methods.get(options.get("method", "gradcam"))
    maps.get_activation(options.get("activation", "relu"))
    maps.get_normalization(options.get("normalize", "max"))
    smoothing.get(options.get("smooth"))
    fusion.get(options.get("fuse"))


def as_log_dir(log_dir):
    """An absolute path, so that a training that changes its directory keeps its run."""
    if log_dir is None:
        return None
    log_dir = os.fsdecode(log_dir)
    is_remote = "://" in log_dir
    return log_dir if is_remote else os.path.abspath(os.path.expanduser(log_dir))


def as_labels(chosen, y_true):
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


def as_regions(chosen, masks, boxes, options, count):
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
        return _as_boxes(of_chosen("boxes", boxes, chosen, count))
    masks = of_chosen("masks", masks, chosen, count)
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


def masks_of_chosen(regions, shape, chosen):
    """The regions of the chosen samples as masks, `None` where there are none.

    Args:
        regions: As `as_regions` returns them.
        shape: Tuple `(samples, height, width)` of the images.
        chosen: List of `samples.Sample`.
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


def of_chosen(name, values, chosen, count):
    """Those of `values` that belong to the chosen samples.

    Args:
        name: Of the argument.
        values: One entry for each of `images`.
        chosen: List of `samples.Sample`.
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


def as_target(target, chosen, labels, count):
    """A target for the chosen samples: of a sequence of classes theirs."""
    if isinstance(target, tf.Tensor):
        target = target.numpy()
    if isinstance(target, str):
        _check_word(target, labels)
        return target
    if callable(target) or not np.ndim(target):
        return target
    return of_chosen("target", target, chosen, count)


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


def as_sinks(sinks):
    several = isinstance(sinks, (list, tuple))
    found = list(sinks) if several else [] if sinks is None else [sinks]
    if not all(callable(sink) and not isinstance(sink, type) for sink in found):
        raise TypeError(
            "Argument `sinks` must be callables `(step, panels, scalars)`, such as "
            f"`sinks.PictureFiles('pictures')`. Received: sinks={sinks!r}"
        )
    return found
