"""Reads the data that users have, batch by batch: arrays, tensors, datasets."""

import itertools
import warnings

import keras
import numpy as np
import tensorflow as tf
from keras import tree

from keras_gradcam.data.labels import NO_LABELS

# Arrays are handed on in pieces of this size.
BATCH = 32

# Where all is to be read and no end is known: a few seconds of most pipelines.
MAX_SAMPLES = 10_000


def batches(data, y_true=None):
    """Returns an iterator of `(inputs, labels)` for each batch, in NumPy.

    Labels are `None` where there are none.

    Args:
        data: Arrays or tensors with a batch axis: one, or a list or dict of them for a
            model of several inputs; a tuple `(inputs, labels)`; a `tf.data.Dataset` of
            either, batched or not; or a `keras.utils.PyDataset`. Sample weights are
            passed over.
        y_true: Labels where `data` brings none, one for each sample, in their order.

    Raises:
        TypeError: If `data` is none of these.
        ValueError: If labels are given twice, or not one for each sample.
    """
    y_true = _rows(y_true)
    if isinstance(data, tf.data.Dataset):
        return _labelled(map(_batched, data), y_true)
    if isinstance(data, keras.utils.PyDataset):
        return _labelled(map(parts_of, _items(data)), y_true)
    inputs, labels = parts_of(_checked(data))
    _check_labelled_once(labels, y_true)
    return _slices(inputs, y_true if labels is None else labels)


def _rows(y_true):
    """The argument `y_true` as an array, `None` if there is none."""
    if y_true is None:
        return None
    leaves = tree.flatten(y_true)
    given = leaves[0] if isinstance(y_true, dict) and len(leaves) == 1 else y_true
    try:
        rows = np.asarray(given)
    except (TypeError, ValueError):  # Rows of several lengths.
        rows = np.asarray(None)
    if not rows.ndim or rows.dtype.kind == "O":
        raise ValueError(
            f"Argument `y_true` must be one array. {NO_LABELS} Received: y_true of "
            f"type {type(y_true).__name__}"
        )
    return rows


def _items(dataset):
    count = _length(dataset)
    return (dataset[n] for n in (itertools.count() if count is None else range(count)))


def _labelled(parts, y_true):
    """Gives the samples of a dataset the labels of `y_true`, if there are any."""
    start = 0
    for inputs, brought in parts:
        stop = start + count_samples(inputs)
        if y_true is None:
            yield inputs, brought
            continue
        _check_labelled_once(brought, y_true)
        labels = y_true[start:stop]
        _check_one_each(stop, start + len(labels))
        yield inputs, labels
        start = stop


def _check_labelled_once(labels, y_true):
    if labels is not None and y_true is not None:
        raise ValueError(
            "Argument `images` brings labels along: leave out `y_true`, or the labels."
        )


def _check_one_each(images, labels):
    if images != labels:
        raise ValueError(
            "Arguments `images` and `y_true` must have the same length. Received: "
            f"{images} images and {labels} labels."
        )


def _checked(data):
    if hasattr(data, "__next__"):
        raise TypeError(
            "Argument `images` must not be a generator: what is read of it here would "
            "be missing where else it is read, such as in `fit`. Take a batch, `images,"
            " y_true = next(generator)`, or pass a `tf.data.Dataset.from_generator`, "
            f"which begins anew. Received: images of type {type(data).__name__}"
        )
    if not (hasattr(data, "__array__") or isinstance(data, (list, tuple, dict))):
        raise TypeError(
            "Argument `images` must be an array, a tensor, a tuple `(x, y)`, a list or "
            "dict of these for several inputs, a `tf.data.Dataset` or a "
            f"`keras.utils.PyDataset`. Received: images of type {type(data).__name__}"
        )
    return data


def _slices(inputs, labels):
    length = count_samples(inputs)
    if labels is not None:
        _check_one_each(length, len(np.atleast_1d(labels)))
    for start in range(0, length, BATCH):
        part = slice(start, start + BATCH)
        yield (
            tree.map_structure(lambda x, part=part: x[part], inputs),
            None if labels is None else labels[part],
        )


def _batched(element):
    inputs, labels = parts_of(element)
    if max(x.ndim for x in tree.flatten(inputs)) > 3:
        return inputs, labels
    # Images without a batch axis.
    inputs = tree.map_structure(lambda x: x[None], inputs)
    return inputs, None if labels is None else labels[None]


def parts_of(element):
    """Inputs and labels of what a dataset or a user holds together in a tuple."""
    labels = None
    if isinstance(element, tuple):
        element, labels = (*element, None)[:2]
    inputs = tree.map_structure(np.asarray, without_lists(element))
    first = tree.flatten(inputs)[0]
    return inputs, _as_labels(labels, len(first) if first.ndim else None)


def without_lists(inputs):
    """Makes an array of nested lists of numbers, which are no structure of inputs."""
    leaves = tree.flatten(inputs)
    is_nested = isinstance(inputs, list) and not any(map(_is_array, leaves))
    return np.asarray(inputs) if is_nested else inputs


def _is_array(value):
    return hasattr(value, "__array__")


def _as_labels(labels, length):
    """Labels of one output as an array; those of several have no class to name.

    A list has a label for each sample, where it has a number for each, or a row for
    each of `length`; one of arrays of that length has those of several outputs.
    """
    leaves = tree.flatten(labels)
    if labels is None or not leaves:
        return None
    are_numbers = all(not np.ndim(leaf) for leaf in leaves)
    are_rows = len(leaves) == length and np.shape(leaves[0])[:1] != (length,)
    if isinstance(labels, list) and (are_numbers or are_rows):
        return _array(labels)
    return _array(leaves[0]) if len(leaves) == 1 else None


def _array(labels):
    try:
        labels = np.asarray(labels)
    except (TypeError, ValueError):  # Rows of several lengths.
        return None
    return None if labels.dtype.kind == "O" else labels


def count_samples(inputs):
    lengths = {len(x) if np.ndim(x) else None for x in tree.flatten(inputs)}
    if len(lengths) != 1 or None in lengths:
        raise ValueError(
            "Argument `images` must have as many samples in each input. A list has one "
            "array for each input of the model; images of one size go into one array, "
            "`np.stack(images)`. Received: arrays of shapes "
            f"{[np.shape(x) for x in tree.flatten(inputs)]}"
        )
    return lengths.pop()


def in_batches(data):
    """Returns a dataset of single images in batches; anything else as it is."""
    if not isinstance(data, tf.data.Dataset):
        return data
    first = data.element_spec
    first = first[0] if isinstance(first, tuple) else first
    shapes = [
        getattr(spec, "shape", tf.TensorShape(None)) for spec in tree.flatten(first)
    ]
    are_fixed = all(shape.is_fully_defined() for shape in shapes)
    is_single = are_fixed and max(shape.rank for shape in shapes) == 3
    return data.batch(BATCH) if is_single else data


def length_of(data):
    """Number of samples in arrays, `None` for datasets."""
    if isinstance(data, (tf.data.Dataset, keras.utils.PyDataset)):
        return None
    return count_samples(parts_of(data)[0])


def bounded(items, data, why, warns=True):
    """Yields items, of data without a known end no more than `MAX_SAMPLES`.

    A generator, or a dataset that repeats or is filtered, may go on for ever.

    Args:
        items: Iterator, one item for each sample of `data`.
        data: See `batches`.
        why: What reads all of it, for the warning.
        warns: Whether to warn where there are more.
    """
    is_endless = not _has_known_end(data)
    for number, item in enumerate(items):
        if is_endless and number == MAX_SAMPLES:
            if warns:
                warnings.warn(_MORE.format(why, MAX_SAMPLES), stacklevel=6)
            return
        yield item


_MORE = (
    "With `{}` all of the data is read, but the end of this dataset is not known: only "
    "its first {} samples were. Pass `dataset.take(n)` for fewer; for more say how long"
    " it is, `dataset.apply(tf.data.experimental.assert_cardinality(n))`, or the "
    "`num_batches` of a `keras.utils.PyDataset`."
)


def _has_known_end(data):
    if isinstance(data, tf.data.Dataset):
        return data.cardinality() >= 0
    return not isinstance(data, keras.utils.PyDataset) or _length(data) is not None


def _length(dataset):
    """Number of batches of a `keras.utils.PyDataset`, `None` if it does not tell."""
    try:
        return dataset.num_batches
    except NotImplementedError:
        return None
