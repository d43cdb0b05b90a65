"""The samples that a model finds hardest: those with the highest loss."""

import heapq
import math

import keras
import numpy as np
from keras import ops

from keras_gradcam import forward, graphs, samples, signatures


class Hardest:
    """Searches data for the samples with the highest loss.

    The loss of a sample is the one that the model is trained with, without weights of
    samples or classes, and without what layers add, such as weight decay.

    Args:
        data: See `samples.batches`; must bring labels.
        count: How many samples.

    Raises:
        ValueError: If the data is endless or has no labels.
    """

    def __init__(self, data, count):
        samples.check_ends(data, "hardest")
        self._data = data
        self._count = count
        self._first = next(iter(samples.batches(data)), (None, None))
        if self._first[1] is None:
            raise ValueError(
                "Argument `hardest` must have labels to compute a loss with: pass "
                "`(images, labels)`, or a dataset of these."
            )
        self._model = None

    def check(self, model):
        """Traces what `find` runs, so that it raises nothing new.

        Raises:
            ValueError: If the model is not compiled with one loss for all outputs.
        """
        loss = getattr(model, "loss", None)
        if loss is None or isinstance(loss, (list, tuple, dict)):
            raise ValueError(
                "With `hardest` the model must be compiled with one loss. Received: "
                f"loss={loss!r}"
            )
        if self._model is not model:
            self._model = model
            self._graphs = graphs.Graphs(self._losses)
        self._run(*self._first, trace_only=True)

    def find(self, model):
        """Returns a list of tuples `(loss, sample)`, the highest loss first."""
        self.check(model)
        found = heapq.nlargest(self._count, self._all(), key=lambda pair: pair[0])
        return [(loss, sample) for loss, sample in found]

    def _all(self):
        for inputs, labels in samples.batches(self._data):
            losses = self._run(inputs, labels)
            rows = samples.rows(inputs, labels)
            for loss, sample in zip(losses, rows, strict=True):
                yield (math.inf if math.isnan(loss) else float(loss)), sample

    def _run(self, inputs, labels, trace_only=False):
        tensors = signatures.as_tensors(inputs), ops.convert_to_tensor(labels)
        signature = signatures.free_batch(tensors)
        if trace_only:
            return self._graphs.trace("losses", signature)
        return np.asarray(self._graphs("losses", tensors, signature))

    def _losses(self, static, inputs, labels):
        outputs, _ = forward.run(self._model, inputs, [], None)
        loss = keras.losses.get(self._model.loss)
        compute = loss.call if isinstance(loss, keras.losses.Loss) else loss
        if len(labels.shape) == len(outputs.shape) - 1 and outputs.shape[-1] == 1:
            labels = ops.expand_dims(labels, -1)
        losses = ops.cast(compute(labels, outputs), "float32")
        return ops.mean(losses, axis=tuple(range(1, len(losses.shape))))
