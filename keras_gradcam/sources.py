"""Where a large job takes its images from: files, or a `tf.data` pipeline."""

import collections
import concurrent.futures
import itertools
import os
from typing import Any, NamedTuple

import keras
import numpy as np
import tensorflow as tf
from keras import tree

from keras_gradcam import forward, images
from keras_gradcam.explanations import in_one_line

# Reading waits for disks and networks more than for processors.
READERS = 16

# So many files are read ahead of the model.
AHEAD = 128

# A pipeline that raises so often in a row will never do anything else.
MAX_ERRORS = 1000


class Item(NamedTuple):
    """One image of a job.

    Attributes:
        position: Int, its place in the whole job, from 0.
        file: String, the name of its file, empty where that is not known.
        image: Structure of arrays without a batch axis, `None` if it cannot be read.
        label: What the data say of it, `None` if nothing.
        error: String, why it cannot be read; `None` if it can.
    """

    position: int
    file: str
    image: Any
    label: Any
    error: str | None


def of(dataset, cam, load=None, files=None):
    """Returns the source of a `dataset` argument of `explain_dataset`.

    It has a `count`, the number of images, and `names`, a list of those of their files,
    each `None` where that is not known; an `expected` count; and `items(start, stop)`,
    which yields each `Item` from one position to another, and is asked for ranges in
    ascending order.

    Raises:
        TypeError: If there is no such dataset.
        ValueError: If arguments do not go together.
    """
    if isinstance(dataset, tf.data.Dataset):
        if load is not None:
            raise ValueError(
                "Argument `load` reads files, and a `tf.data.Dataset` brings images. "
                "Pass a list of files as `dataset`, or leave out `load`."
            )
        return Pipeline(dataset, forward.declared_inputs(cam.model), files)
    are_files = isinstance(dataset, (list, tuple)) and all(
        isinstance(file, (str, os.PathLike)) for file in dataset
    )
    if not are_files:
        raise TypeError(
            "Argument `dataset` must be a `tf.data.Dataset`, or a list of files. Of "
            "arrays make one, `tf.data.Dataset.from_tensor_slices(images).batch(32)`. "
            f"Received: dataset of type {type(dataset).__name__}"
        )
    if files is not None:
        raise ValueError(
            "Argument `files` names the images of a `tf.data.Dataset`. Leave it out, "
            "as `dataset` is a list of files."
        )
    return Files(
        [os.fspath(file) for file in dataset], load or picture_loader(cam.model)
    )


def picture_loader(model):
    """Returns a function that reads a picture file at the size of a model's input.

    Raises:
        ValueError: If the model does not take RGB pictures.
    """
    declared = forward.declared_inputs(model)
    shape = tuple(getattr(declared, "shape", ()))
    if declared is not None and (len(shape) != 4 or shape[-1] not in (None, 3)):
        raise ValueError(
            "Argument `load` must be a function from a file to the model's input, as "
            f"this is no RGB picture. Received: load=None, model '{model.name}' with "
            f"inputs {tree.map_structure(lambda x: tuple(x.shape), declared)}"
        )
    size = None if declared is None or None in shape[1:3] else shape[1:3]
    return lambda file: images.load_image(file, size)


class Files:
    """Images of files, read by some threads.

    Args:
        files: List of strings.
        load: Callable from a file's name to an image, or to `(image, label)`.
    """

    def __init__(self, files, load):
        self.names = [_as_text(file) for file in files]
        self._files = files
        self.count = self.expected = len(files)
        self._load = load

    def items(self, start, stop):
        numbers = iter(range(start, min(stop, self.count)))
        with concurrent.futures.ThreadPoolExecutor(READERS) as pool:
            ahead = collections.deque(
                pool.submit(self._item, n) for n in itertools.islice(numbers, AHEAD)
            )
            try:
                while ahead:
                    item = ahead.popleft().result()
                    ahead.extend(
                        pool.submit(self._item, n) for n in itertools.islice(numbers, 1)
                    )
                    yield item
            finally:
                pool.shutdown(cancel_futures=True)

    def _item(self, position):
        name = self.names[position]
        try:
            loaded = self._load(self._files[position])
        except Exception as error:  # Whatever a user's function raises.
            return Item(position, name, None, None, in_one_line(error))
        image, label = loaded if isinstance(loaded, tuple) else (loaded, None)
        return Item(position, name, tree.map_structure(np.asarray, image), label, None)


class Pipeline:
    """Images of a `tf.data.Dataset`.

    Args:
        dataset: Yields images, `(images, labels)` or `(images, labels, weights)`, in
            batches or one by one. A string in the last place is the name of the file.
        declared: The model's declared inputs, see `forward.declared_inputs`.
        files: List of strings, the names of the images; `None` if there are none.
    """

    def __init__(self, dataset, declared, files=None):
        cardinality = int(dataset.cardinality())
        if cardinality == tf.data.INFINITE_CARDINALITY:
            raise ValueError(
                "Argument `dataset` is endless. Pass `dataset.take(n)`, or leave out "
                "`repeat()`."
            )
        self._batched = _is_batched(dataset.element_spec, declared)
        known = not self._batched and cardinality >= 0
        self.count = cardinality if known else None
        self._named = _is_named(dataset.element_spec)
        self.names = _names(files, self._named, self.count)
        if self.count is None and files is not None:
            self.count = len(self.names)
        self._elements = max(cardinality, 0)
        self._largest = 0
        self._dataset = dataset.prefetch(tf.data.AUTOTUNE)
        self._iterator = None
        self._waiting = collections.deque()
        self._position = 0
        self._errors = 0

    @property
    def expected(self):
        """The number of images as far as that can be told, `None` if it cannot."""
        return self.count or self._elements * self._largest or None

    def items(self, start, stop):
        if self._iterator is None:
            self._iterator = iter(self._dataset)
        while self._position < stop and self._fill():
            item = self._waiting.popleft()
            self._position += 1
            if item.position >= start:
                yield item

    def _fill(self):
        """Reads on if nothing is waiting; returns whether there is more."""
        while not self._waiting:
            try:
                element = next(self._iterator)
            except StopIteration:
                self._check_names()
                self.count = self._position
                return False
            except tf.errors.OpError as error:
                self._errors += 1
                if self._errors == MAX_ERRORS:
                    raise
                self._waiting.append(self._failed(error))
            else:
                self._errors = 0
                self._waiting.extend(self._items(element))
                self._largest = max(self._largest, len(self._waiting))
        return True

    def _check_names(self):
        if self.names is not None and self._position != len(self.names):
            raise ValueError(
                "Argument `files` must have one name for each image. Received: "
                f"{len(self.names)} names and {self._position} images."
            )

    def _failed(self, error):
        if self._batched and self.names is not None:
            raise ValueError(
                f"Image {self._position} of argument `dataset`, or one of its batch, "
                "cannot be read, and which of them is not known. Pass the dataset "
                f"as it is before `batch`, or the list of files. ({error})"
            )
        name = self._file(self._position)
        return Item(self._position, name, None, None, in_one_line(error))

    def _file(self, position):
        known = self.names is not None and position < len(self.names)
        return self.names[position] if known else ""

    def _items(self, element):
        """The items of an element, a batch or not."""
        element = tree.map_structure(lambda x: x.numpy(), element)
        if not self._batched:
            element = tree.map_structure(lambda x: np.asarray(x)[None], element)
        parts = element if isinstance(element, tuple) else (element,)
        names = None
        if self._named:
            *parts, names = parts
        inputs, labels, _ = keras.utils.unpack_x_y_sample_weight(tuple(parts))
        for row in range(len(tree.flatten(inputs)[0])):
            position = self._position + row
            name = self._file(position) if names is None else _as_text(names[row])
            image = tree.map_structure(lambda x, row=row: x[row], inputs)
            label = None if labels is None else labels[row]
            yield Item(position, name, image, label, None)


def _is_batched(spec, declared):
    first = spec[0] if isinstance(spec, tuple) else spec
    rank = tree.flatten(first)[0].shape.rank
    if rank is None:
        raise ValueError(
            "Argument `dataset` must have images with a known number of axes: set the "
            "shape, `image.set_shape([None, None, 3])`, where they are read. Received: "
            f"dataset.element_spec={spec}"
        )
    if declared is None:
        return rank > 3
    return rank == len(tree.flatten(declared)[0].shape)


def _as_text(name):
    """A name as text that can be written, also if it is none."""
    name = os.fsencode(name) if isinstance(name, str) else name
    return name.decode("utf-8", "backslashreplace")


def _is_named(spec):
    last = spec[-1] if isinstance(spec, tuple) and len(spec) > 1 else None
    return getattr(last, "dtype", None) == tf.string


def _names(files, named, count):
    if files is None:
        return None
    files = [_as_text(os.fspath(file)) for file in files]
    if named:
        raise ValueError(
            "Argument `files` names images that the dataset names, too: leave it out."
        )
    if count not in (None, len(files)):
        raise ValueError(
            "Argument `files` must have one name for each image. Received: "
            f"{len(files)} names and {count} images."
        )
    return files
