"""The samples that a model finds hardest: those with the highest loss."""

import heapq
import math

import keras
import numpy as np
import tensorflow as tf
from keras import ops, tree

from keras_gradcam.data import batches, bounded, in_batches, labels_of, rows
from keras_gradcam.execution import (
    ConcreteFunctions,
    input_signatures,
    model_call,
    model_inputs,
)


class HighestLoss:
    """Searches data for the samples with the highest loss.

    The loss of a sample is the one that the model is trained with, without weights of
    samples or classes, and without what layers add, such as weight decay.

    Args:
        data: See `samples.batches`; must bring labels.
        count: How many samples.

    Raises:
        TypeError: If there is no such data.
        ValueError: If the data has no labels.
    """

    def __init__(self, data, count):
        self._data = in_batches(data)
        self._count = count
        inputs, labels = _first_of(data)
        if labels is None:
            raise ValueError(
                "Argument `hardest` must have labels to compute a loss with: pass "
                "`(images, labels)`, or a dataset of these."
            )
        self._first = tree.map_structure(lambda x: x[:1].copy(), (inputs, labels))
        self._model = None
        self._has_warned = False

    def __deepcopy__(self, memo):
        # Tuners copy callbacks, and a dataset cannot be copied.
        return type(self)(self._data, self._count)

    def check_target(self, target):
        """Raises if a target does not say what to explain of the samples.

        Args:
            target: As `target_of_chosen` returns it.

        Raises:
            ValueError: If it is a class for each of other samples, or means the true
                classes where the labels are none.
        """
        if isinstance(target, np.ndarray):
            raise ValueError(
                "With `hardest` a sequence of classes as `target` does not say what to "
                "explain of the samples that are found. Pass 'pred', 'true', 'both' or "
                f"a callable. Received: target={target}"
            )
        if isinstance(target, str) and target != "pred":
            try:
                labels_of(list(self._first[1]))
            except ValueError as error:
                raise ValueError(
                    f"The labels in `hardest` are no classes to explain. {error}"
                ) from error

    def prepare(self, model):
        """Traces the loss of `model`.

        Raises:
            ValueError: If the model is not compiled with one loss for one output, or
                the loss has not one value for each sample.
        """
        losses = tree.flatten(getattr(model, "loss", None))
        if len(losses) != 1 or losses[0] is None:
            raise ValueError(
                "With `hardest` the model must be compiled with one loss. Received: "
                f"loss={getattr(model, 'loss', None)!r}"
            )
        self._model = model
        self._loss = keras.losses.get(losses[0])
        self._graphs = ConcreteFunctions(self._compute)
        try:
            tensors = self._tensors(*self._first)
            self._graphs.trace("losses", input_signatures.free_batch(tensors))
        except (TypeError, ValueError) as error:
            raise ValueError(
                "The loss of the model cannot be computed of the images and labels in "
                f"`hardest`: {error}"
            ) from error

    def find(self):
        """Returns a list of tuples `(loss, sample)`, the highest loss first.

        A loss that is NaN counts as the highest.
        """
        warns, self._has_warned = not self._has_warned, True
        losses = bounded(self._losses(), self._data, "hardest", warns)
        found = heapq.nlargest(self._count, losses, key=_rank)
        return [(loss, sample.copy()) for loss, sample in found]

    def _losses(self):
        start = 0
        for inputs, labels in batches(self._data):
            tensors = self._tensors(inputs, labels)
            signature = input_signatures.free_batch(tensors)
            losses = self._graphs("losses", tensors, signature).numpy()
            samples = rows(inputs, labels, start)
            yield from zip(map(float, losses), samples, strict=True)
            start += len(losses)

    def _tensors(self, inputs, labels):
        declared = model_inputs.declared_inputs(self._model)
        inputs = input_signatures.as_declared(
            input_signatures.as_tensors(inputs), declared
        )
        return inputs, tf.convert_to_tensor(labels)

    def _compute(self, static, inputs, labels):
        outputs, _ = model_call.run(self._model, inputs, [], None)
        (outputs,) = tree.flatten(outputs)
        is_object = isinstance(self._loss, keras.losses.Loss)
        compute = self._loss.call if is_object else self._loss
        # As Keras does ahead of each loss.
        dtype = getattr(self._loss, "dtype", None) or keras.config.floatx()
        labels, outputs = ops.cast(labels, dtype), ops.cast(outputs, dtype)
        if len(labels.shape) == len(outputs.shape) - 1 and outputs.shape[-1] == 1:
            labels = ops.expand_dims(labels, -1)
        losses = ops.cast(compute(labels, outputs), "float32")
        if not len(losses.shape):
            raise ValueError(
                "it has one value for the whole batch, and must have one for each "
                "sample: take the mean over all axes but the first."
            )
        return ops.mean(losses, axis=tuple(range(1, len(losses.shape))))


def _first_of(data):
    try:
        return next(iter(batches(data)), (None, None))
    except (TypeError, ValueError) as error:
        kind = TypeError if isinstance(error, TypeError) else ValueError
        raise kind(
            f"Argument `hardest` takes the same data as `images`. {error}"
        ) from error


def _rank(pair):
    loss, _ = pair
    return math.inf if np.isnan(loss) else loss
