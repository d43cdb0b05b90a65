"""Images of files, read by some threads."""

import collections
import concurrent.futures
import itertools
import os
from typing import Any, NamedTuple

import numpy as np
from keras import tree

from keras_gradcam.data import without_lists
from keras_gradcam.jobs.explanations import as_text, in_one_line

# Reading waits for disks and networks more than for processors.
READERS = 16

# So many files are read ahead of the model.
AHEAD = 128


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


def paths(name, files):
    """A list of strings; raises if `files` are no names of files."""
    single = isinstance(files, (str, bytes, dict)) or not hasattr(files, "__iter__")
    listed = None if single or getattr(files, "ndim", 1) != 1 else list(files)
    if listed is None or not all(isinstance(x, (str, os.PathLike)) for x in listed):
        expected = "a `tf.data.Dataset`, or " if name == "dataset" else ""
        raise TypeError(
            f"Argument `{name}` must be {expected}a list of files, by name. Of arrays "
            "make a dataset, `tf.data.Dataset.from_tensor_slices(images).batch(32)`. "
            f"Received: {name} of type {type(files).__name__}"
        )
    return [os.fspath(file) for file in listed]


class Files:
    """Images of files, read by some threads.

    Args:
        files: List of strings.
        load: Callable from a file's name to an image, or to `(image, label)`.
    """

    def __init__(self, files, load):
        self.names = [as_text(file) for file in files]
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
                pool.shutdown(wait=False, cancel_futures=True)

    def _item(self, position):
        name = self.names[position]
        try:
            image, label = _parts(self._load(self._files[position]))
            return Item(position, name, image, label, None)
        except Exception as error:  # Whatever a user's function raises.
            return Item(position, name, None, None, in_one_line(error))


def _parts(loaded):
    """Image and label of what a `load` returned."""
    image, label = loaded if isinstance(loaded, tuple) else (loaded, None)
    image = without_lists(image)
    return tree.map_structure(np.asarray, image), label
