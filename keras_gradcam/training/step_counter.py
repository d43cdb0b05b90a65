"""Counts the steps of a training, which may be several calls of `fit`."""

import keras
import numpy as np

# So many values of a weight tell whether it is as it was.
MAX_VALUES = 1000


class StepCounter:
    """Counts the steps of a training: its epochs, or the batches of the optimizer.

    A training is one call of `fit` or several: `GradCAMCallback` says which.

    Args:
        by_batches: Whether the batches are counted, not the epochs.

    Attributes:
        is_continued: Whether this call goes on with the one before.
        is_resumed: Whether it goes on with a training that was not seen here.
    """

    def __init__(self, by_batches):
        self.is_continued = False
        self.is_resumed = False
        self._by_batches = by_batches
        self._training = None
        self._batches = 0
        # Where the next epoch is, as Keras counts and as we do.
        self._next_epoch = 0
        self._next_step = 0
        self._begin = 0

    def begin(self, model, epoch):
        """Begins a call of `fit`, whose first epoch is `epoch` as Keras counts."""
        is_first = self._training is None
        is_known = not is_first and self._training.model is model
        goes_on = epoch > 0 or (is_known and self._training.goes_on())
        self.is_continued = is_known and goes_on
        if not self.is_continued:
            self._training = _Training(model)
            self._batches = self._next_epoch = self._next_step = 0
        self._batches = max(self._batches, _iterations(model))
        # Batches are counted by the optimizer, whoever looks.
        is_trained = is_first and self._by_batches and self._batches > 0
        self.is_resumed = not self.is_continued and (epoch > 0 or is_trained)
        if epoch not in (0, self._next_epoch):
            self._next_step = epoch
        self._next_epoch = epoch
        self._begin = self.step(epoch)

    def step(self, epoch):
        """The step of an epoch; by batches the one that has been reached."""
        if self._by_batches:
            return self._batches
        return self._next_step + epoch - self._next_epoch

    def end_batch(self):
        """Counts a batch, or several under `steps_per_execution`.

        Returns:
            Tuple of ints, the steps before and after.
        """
        before = self._batches
        # One where a `train_step` leaves the optimizer alone.
        self._batches = max(_iterations(self._training.model), before + 1)
        return before, self._batches

    def end_epoch(self, epoch):
        """Counts an epoch."""
        self._next_step = 1 + self._next_step + epoch - self._next_epoch
        self._next_epoch = epoch + 1
        self._training.leave(None)

    def end(self):
        """Ends a call of `fit`."""
        self._training.leave(_values_of(self._training.model))

    def count(self):
        """The number of steps of this call."""
        now = self._batches if self._by_batches else self._next_step
        return now - self._begin


class _Training:
    """Tells a training that goes on from one that begins anew.

    Args:
        model: The model, as the training begins.
    """

    def __init__(self, model):
        self.model = model
        self._first = _values_of(model)
        self.leave(self._first)

    def leave(self, values):
        """Keeps what the model is left with; `None` for weights that nobody reads."""
        self._last = values
        self._iterations = _iterations(self.model)

    def goes_on(self):
        """Whether a further call of `fit` goes on with this training."""
        now = _values_of(self.model)
        if now == self._last:
            return True
        if now == self._first:
            return False
        # Weights may be set in between: averaged, clipped, put back to the best ones.
        if _iterations(self.model) >= self._iterations:
            return True
        # Compiled anew; parts that others train may have changed, as in a GAN.
        weights = zip(self.model.weights, now, self._last or [], strict=False)
        return any(weight.trainable and a == b for weight, a, b in weights)


def _values_of(model):
    """Some values of each weight of a model, as bytes: NaN equals itself."""
    flat = (np.ravel(weight.numpy()) for weight in model.weights)
    return [x[:: 1 + x.size // MAX_VALUES].tobytes() for x in flat]


def _iterations(model):
    """How many batches an optimizer has seen, 0 where a model has none."""
    optimizer = getattr(model, "optimizer", None)
    updates = keras.ops.cast(getattr(optimizer, "iterations", 0), "int64")
    each = getattr(optimizer, "gradient_accumulation_steps", None) or 1
    return int(updates) * each
