"""Images of a `tf.data` pipeline."""

import collections

import keras
import numpy as np
import tensorflow as tf
from keras import tree

from keras_gradcam.jobs.explanations import as_text, in_one_line
from keras_gradcam.jobs.file_source import Item, paths


class Pipeline:
    """Images of a `tf.data.Dataset`.

    Args:
        dataset: Yields images, `(images, labels)` or `(images, labels, weights)`, in
            batches or one by one. A string in the last place is the name of the file.
        cam: The `GradCAM` that they are for.
        files: List of strings, the names of the images; `None` if there are none.
    """

    def __init__(self, dataset, cam, files=None):
        cardinality = int(dataset.cardinality())
        _check_order(dataset, cardinality)
        self._batched = _is_batched(dataset.element_spec, cam)
        # `None` until all are read where it is not known before.
        self.count = None if self._batched or cardinality < 0 else cardinality
        self._named = _is_named(dataset.element_spec)
        self.names = _names(files, self._named, self.count)
        self._elements = max(cardinality, 0)
        self._dataset = dataset.prefetch(tf.data.AUTOTUNE)
        self._iterator = None
        self._waiting = collections.deque()
        self._position = 0
        self._seen = 0
        self._largest = _batch_size(dataset.element_spec) if self._batched else 1
        self._failing = None

    @property
    def expected(self):
        """The number of images as far as that can be told, `None` if it cannot."""
        if self.count is None and self.names is not None:
            return len(self.names)
        return self.count or (self._elements * self._largest if self._seen else None)

    def items(self, start, stop):
        if self._iterator is None:
            self._iterator = iter(self._dataset)
        while self._position < stop and self._fill():
            item = self._waiting.popleft()
            self._position += 1
            if self._position == self.count:
                # Whether it ends here, as it says, is only known now.
                self._fill()
            if item.position >= start:
                yield item

    def _fill(self):
        """Reads on if nothing is waiting; returns whether there is more."""
        while not self._waiting:
            try:
                element = next(self._iterator)
            except StopIteration:
                self._check_end()
                self.count = self._position
                return False
            except tf.errors.DataLossError:
                raise  # The file is broken, and more than one image of it.
            except tf.errors.OpError as error:
                self._failing = in_one_line(error)
                if self._elements and self._seen == self._elements:
                    raise self._ended() from error
                self._waiting.extend(self._failed(self._failing))
            else:
                self._failing = None
                self._waiting.extend(self._items(element))
                self._largest = max(self._largest, len(self._waiting))
            self._seen += 1
        return True

    def _check_end(self):
        """Raises if images may be missing, as what was lost now is lost for good."""
        missing = self._seen < self._elements
        if missing or (self._failing and not self._elements):
            raise self._ended()
        if self.names is not None and self._position != len(self.names):
            raise _wrong_number_of_names(len(self.names), self._position)

    def _ended(self):
        return RuntimeError(
            f"Argument `dataset` ended after {self._position} images, and may have "
            f"more: {self._failing or f'its cardinality is {self._elements}'}. Call "
            "again when it can be read. If it is complete say so, "
            "`dataset.apply(tf.data.experimental.assert_cardinality(n))`."
        )

    def _failed(self, error):
        """The items of an element that cannot be read."""
        count = self._largest if self._batched else 1
        if self.names is not None:
            count = max(1, min(count, len(self.names) - self._position))
        reason = f"the image or one of its batch: {error}" if self._batched else error
        for position in range(self._position, self._position + count):
            yield Item(position, self._name(position), None, None, reason)

    def _name(self, position):
        if self.names is None:
            return ""
        if position >= len(self.names):
            raise _wrong_number_of_names(len(self.names), f"at least {position + 1}")
        return self.names[position]

    def _items(self, element):
        """The items of an element, a batch or not."""
        element = tree.map_structure(_as_array, element)
        if not self._batched:
            element = tree.map_structure(lambda x: np.asarray(x)[None], element)
        parts = element if isinstance(element, tuple) else (element,)
        names = None
        if self._named:
            *parts, names = parts
            names = np.ravel(names)
        inputs, labels, _ = keras.utils.unpack_x_y_sample_weight(tuple(parts))
        length = len(tree.flatten(inputs)[0])
        pairs = zip(_rows(inputs, length), _rows(labels, length), strict=True)
        for row, (image, label) in enumerate(pairs):
            position = self._position + row
            name = self._name(position) if names is None else as_text(names[row])
            yield Item(position, name, image, label, None)


def _as_array(tensor):
    # The memory of the tensor: nobody writes to it.
    return (
        tensor.numpy() if tensor.dtype == tf.string else np.asarray(memoryview(tensor))
    )


def _rows(structure, length):
    """The samples of a structure of arrays, `None` for each if it is `None`."""
    if structure is None or isinstance(structure, np.ndarray):
        return [None] * length if structure is None else list(structure)
    return [tree.map_structure(lambda x, n=n: x[n], structure) for n in range(length)]


def _check_order(dataset, cardinality):
    """Raises if the images do not come to an end, or not in one order each time."""
    if cardinality == tf.data.INFINITE_CARDINALITY:
        raise ValueError(
            "Argument `dataset` is endless. Pass `dataset.take(n)`, or leave out "
            "`repeat()`."
        )
    waiting = [dataset]
    while waiting:
        one = waiting.pop()
        reshuffles = getattr(one, "_reshuffle_each_iteration", False)
        if reshuffles or dataset.options().deterministic is False:
            raise ValueError(
                "Argument `dataset` must bring the images in the same order each time, "
                "or a job cannot go on after a kill: leave out `shuffle`, pass "
                "`shuffle=False` to `image_dataset_from_directory`, and leave "
                "`deterministic` alone."
            )
        waiting += one._inputs() if hasattr(one, "_inputs") else []


def _is_batched(spec, cam):
    first = spec[0] if isinstance(spec, tuple) else spec
    shape = tree.flatten(first)[0].shape
    if shape.rank is None:
        raise ValueError(
            "Argument `dataset` must have images with a known number of axes: set the "
            "shape, `image.set_shape([None, None, 3])`, where they are read. Received: "
            f"dataset.element_spec={spec}"
        )
    taken = cam.signature
    if taken is not None:
        return shape.rank == len(tree.flatten(taken)[0].shape)
    # A model that does not say what it takes: most take images.
    only_first_is_free = shape[:1] == [None] and shape[1:].is_fully_defined()
    return only_first_is_free or shape.rank > 3


def _batch_size(spec):
    """The number of images in each batch, 1 where it is not known."""
    first = spec[0] if isinstance(spec, tuple) else spec
    return tree.flatten(first)[0].shape[0] or 1


def _is_named(spec):
    last = spec[-1] if isinstance(spec, tuple) and len(spec) > 1 else None
    return getattr(last, "dtype", None) == tf.string


def _names(files, named, count):
    if files is None:
        return None
    files = [as_text(file) for file in paths("files", files)]
    if named:
        raise ValueError(
            "Argument `files` names images that the dataset names, too: leave it out."
        )
    if count not in (None, len(files)):
        raise _wrong_number_of_names(len(files), count)
    return files


def _wrong_number_of_names(names, images):
    return ValueError(
        "Argument `files` must have one name for each image. Received: "
        f"{names} names and {images} images."
    )
