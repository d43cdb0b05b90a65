"""Single samples of the data, and which of them are chosen."""

import copy
import heapq
import itertools
from typing import Any, NamedTuple

import numpy as np
from keras import tree

from keras_gradcam.data.labels import classes_in, labels_or_none
from keras_gradcam.data.reading import batches, bounded, count_samples


class Sample(NamedTuple):
    """One sample, without a batch axis.

    Attributes:
        number: Its position in the data, from 0.
        inputs: Structure of arrays, as the model takes them.
        label: What the data or `y_true` say of it, `None` if nothing.
    """

    number: int
    inputs: Any
    label: Any

    def copy(self):
        """The same sample, which does not keep the batch alive that it came in."""
        inputs = tree.map_structure(np.array, self.inputs)
        return Sample(self.number, inputs, copy.copy(self.label))


def choose(data, y_true, count, order="first", seed=0):
    """Picks samples from data, reading it once.

    Args:
        data: See `batches`.
        y_true: See `batches`.
        count: How many, at the most.
        order: `"first"`; `"random"`, each sample with the same probability; or
            `"stratified"`, the first of each class, then the second of each and so on.
            The latter two read all of the data, see `bounded`.
        seed: Of `"random"`.

    Returns:
        List of at least one `Sample`.

    Raises:
        TypeError: If there is no such data.
        ValueError: If the data is empty, `order` is unknown, or there are no classes to
            stratify.
    """
    if order not in ("first", "random", "stratified"):
        raise ValueError(
            "Argument `samples` must be 'first', 'random' or 'stratified'. Received: "
            f"samples={order!r}"
        )
    samples = iterate(data, y_true)
    if order == "first":
        chosen = list(itertools.islice(samples, count))
    else:
        samples = bounded(samples, data, f"samples={order!r}")
        rank = _random_ranks(seed) if order == "random" else _turns()
        ranked = ((rank(sample), sample.number, sample) for sample in samples)
        kept = heapq.nsmallest(count, ranked, key=lambda entry: entry[:2])
        chosen = [sample for _, _, sample in kept]
    if not chosen:
        raise ValueError("Argument `images` has no samples. Received: empty data.")
    return [sample.copy() for sample in chosen]


def _random_ranks(seed):
    rng = np.random.default_rng(seed)
    return lambda sample: rng.random()


def _turns():
    """Ranks samples so that the classes take turns, in the order of their numbers."""
    seen: dict = {}

    def rank(sample):
        (label,) = labels_or_none([sample.label])
        if label is None:
            raise ValueError(
                "With `samples='stratified'` there must be a class for each sample: "
                "pass `y_true`, or a dataset of `(images, labels)`."
            )
        # Of several classes the first; those without any come first.
        first = min(classes_in(label), default=-1)
        seen[first] = seen.get(first, 0) + 1
        return seen[first], first

    return rank


def stack(samples):
    """Returns the inputs of samples as a batch.

    Raises:
        ValueError: If the samples have different shapes.
    """
    try:
        return tree.map_structure(
            lambda *arrays: np.stack(arrays), *[sample.inputs for sample in samples]
        )
    except ValueError as error:
        shapes = [tree.map_structure(np.shape, sample.inputs) for sample in samples]
        raise ValueError(
            "Argument `images` must have samples of one shape: resize them. Received: "
            f"samples of shapes {shapes}"
        ) from error


def iterate(data, y_true=None):
    """Yields each `Sample` of data, see `batches`."""
    start = 0
    for inputs, labels in batches(data, y_true):
        yield from rows(inputs, labels, start)
        start += count_samples(inputs)


def rows(inputs, labels, start=0):
    """Yields each `Sample` of a batch; `start` is the number of the first."""
    for row in range(count_samples(inputs)):
        one = tree.map_structure(lambda x, row=row: x[row], inputs)
        yield Sample(start + row, one, None if labels is None else labels[row])
