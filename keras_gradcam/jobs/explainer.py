"""Explanations of single images: what cannot be explained stops none of the others."""

import itertools
from typing import NamedTuple

import numpy as np
import tensorflow as tf
from keras import tree

from keras_gradcam.execution import input_signatures, model_inputs
from keras_gradcam.gradcam import GradCAM, arguments
from keras_gradcam.jobs.explanations import Explanation, Failure, in_one_line


class Explainer:
    """Explains images, one or many at a time.

    An image that cannot be explained, as it has another shape or pixels that are not
    finite, becomes a `Failure`. What is wrong with the model or the settings raises,
    here or at the first batch of which no image works.

    Args:
        cam: A `GradCAM` that makes one map of an image.
        batch_size: Int, the largest number of images to come, to which XLA fills up
            each batch; `None` for the largest so far. Defaults to `None`.

    Raises:
        TypeError: If `cam` is no `GradCAM`.
        ValueError: If it makes maps of several layers, or cannot make any.
    """

    def __init__(self, cam, batch_size=None):
        self.cam = check_cam(cam)
        # What each part of an explanation will look like, where that is known.
        self.spec = None
        self._largest = batch_size or 0
        declared = model_inputs.declared_inputs(cam.model)
        flat = [] if declared is None else tree.flatten(declared)
        self._shapes = [tuple(x.shape[1:]) for x in flat]
        if declared is not None and not any(None in shape for shape in self._shapes):
            self.spec = self._trace(declared)
        self._works = self.spec is not None
        self._error = None

    def _trace(self, declared):
        blank = tree.map_structure(
            lambda x: np.zeros((1, *x.shape[1:]), x.dtype), declared
        )
        target = np.zeros(1, int) if self._needs_labels else None
        return self.cam.trace(blank, target, part="explanations")

    @property
    def _needs_labels(self):
        return arguments.is_true_label(self.cam.target)

    def __call__(self, images, labels=None):
        """Explains images.

        Args:
            images: List of arrays, or of structures of arrays, as the model takes them,
                without a batch axis. Those of one shape run as one batch.
            labels: List with the class of each, for `target="true"`; `None` for one
                that has none.

        Returns:
            List with an `Explanation` or a `Failure` for each image.
        """
        labels = labels or [None] * len(images)
        if self._needs_labels and all(label is None for label in labels):
            arguments.class_of(None)
        results: list = [Failure("the image has no label")] * len(images)
        for kind, numbers in _of_one_kind(images, self._labelled(labels)).items():
            chosen = [images[n] for n in numbers], [labels[n] for n in numbers]
            for n, result in zip(numbers, self._of_kind(kind, *chosen), strict=True):
                results[n] = result
        if self._error is not None and not self._works and len(images) > 1:
            raise self._error
        return results

    def _labelled(self, labels):
        """The numbers of the images that have a label, all where none is needed."""
        pairs = enumerate(labels)
        return [n for n, x in pairs if x is not None or not self._needs_labels]

    def _of_kind(self, kind, images, labels):
        if self._shapes and not _all_fit(kind.shapes, self._shapes):
            told = [", ".join(map(str, x)) for x in (kind.shapes, self._shapes)]
            return [Failure(f"shape {told[0][:200]}, expected {told[1]}")] * len(images)
        return self._of_batch(images, labels if self._needs_labels else None)

    def _of_batch(self, images, labels):
        try:
            return self._explained(images, labels)
        # Any other error of TensorFlow's is the device's, or the memory's.
        except (ValueError, TypeError, tf.errors.InvalidArgumentError) as error:
            if len(images) > 1:
                return self._one_by_one(images, labels)
            self._error = error
            return [Failure(in_one_line(error))]

    def _one_by_one(self, images, labels):
        results = []
        for n, image in enumerate(images):
            results += self._of_batch([image], None if labels is None else [labels[n]])
        return results

    def _explained(self, images, labels):
        batch = tree.map_structure(lambda *rows: _stacked(rows), *images)
        target = None if labels is None else arguments.class_of(np.stack(labels))
        length = len(images)
        if self.cam.jit_compile:
            # XLA compiles for each batch size.
            self._largest = max(self._largest, length)
            missing = self._largest - length
            batch = input_signatures.padded(batch, missing)
            target = (
                None if target is None else input_signatures.padded(target, missing)
            )
        made = self.cam.explanations(batch, target)
        self._works = True
        made = tree.map_structure(lambda x: x.numpy()[:length], made)
        return [_one(made, n, image) for n, image in enumerate(images)]


def check_cam(cam):
    """Returns a `GradCAM` that makes one map of an image; raises if it does not."""
    if not isinstance(cam, GradCAM):
        raise TypeError(
            "Argument `cam` must be a `GradCAM`: pass `GradCAM(model)`. Received: "
            f"cam={cam!r} of type {type(cam).__name__}"
        )
    if np.ndim(cam.target):
        raise ValueError(
            "Argument `cam` must not have a class for each image of one batch: set "
            "`target='true'` and let the data bring the classes along. Received: "
            f"target={arguments.short(cam.target)}"
        )
    if cam.normalize == "batch":
        raise ValueError(
            "Argument `cam` must make maps that do not depend on the others of their "
            "batch. Take `normalize='max'`, or raw maps, `normalize=None`. Received: "
            "normalize='batch'"
        )
    if cam.makes_several_maps:
        raise ValueError(
            "Argument `cam` must make one map of an image: pass one layer to `GradCAM`,"
            " or `fuse` the maps of several, as in `fuse='mean'`. Received: "
            f"layer={cam.layer}"
        )
    return cam


def _all_fit(shapes, expected):
    return len(shapes) == len(expected) and all(
        len(shape) == len(wanted)
        and all(b in (None, a) for a, b in zip(shape, wanted, strict=True))
        for shape, wanted in zip(shapes, expected, strict=True)
    )


class _Kind(NamedTuple):
    """What images must have in common to run as one batch."""

    paths: tuple
    shapes: tuple
    dtypes: tuple


def _kind(image):
    if isinstance(image, np.ndarray):
        return _Kind((), (image.shape,), (image.dtype,))
    found = [(path, np.asarray(x)) for path, x in tree.flatten_with_path(image)]
    leaves = [x for _, x in found]
    return _Kind(
        tuple(path for path, _ in found),
        tuple(x.shape for x in leaves),
        tuple(x.dtype for x in leaves),
    )


def _of_one_kind(images, numbers):
    """Lists of the numbers of those images that can run as one batch, by `_Kind`."""
    groups: dict = {}
    for n in numbers:
        groups.setdefault(_kind(images[n]), []).append(n)
    return groups


def _is_finite(image):
    leaves = map(np.asarray, tree.flatten(image))
    return all(np.isfinite(x).all() for x in leaves if x.dtype.kind == "f")


def _stacked(arrays):
    """Stacks arrays, without a copy where they are just the rows of one array."""
    first, whole = arrays[0], getattr(arrays[0], "base", None)
    if (
        isinstance(whole, np.ndarray)
        and whole.shape == (len(arrays), *first.shape)
        and whole.dtype == first.dtype
        and all(map(_is_row, arrays, itertools.repeat(whole), itertools.count()))
    ):
        return whole
    return np.stack(arrays)


def _is_row(array, whole, number):
    start = whole.__array_interface__["data"][0] + number * whole.strides[0]
    return (
        array.base is whole
        and array.strides == whole.strides[1:]
        and array.__array_interface__["data"][0] == start
    )


def _one(made, n, image):
    if not made["finite"][n]:
        what = "heatmap" if _is_finite(image) else "image"
        return Failure(f"the {what} holds NaN or infinity")
    number = int(made["classes"][n])
    return Explanation(
        made["heatmaps"][n], None if number < 0 else number, made["scores"][n]
    )
