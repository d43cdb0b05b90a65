"""Class probabilities, read off the outputs of a model in training."""

import keras
import numpy as np
from keras import tree

# Losses of models that return values; also of some that classify.
REGRESSIONS = (
    *("mean_squared_error", "mean_absolute_error", "huber", "log_cosh"),
    *("mean_absolute_percentage_error", "mean_squared_logarithmic_error"),
)


def from_logits(loss):
    """Whether a model's loss, or the one in a structure, says that it is of logits."""
    return bool(getattr(_only(loss), "from_logits", False))


def _only(loss):
    losses = tree.flatten(loss)
    return losses[0] if len(losses) == 1 else None


class ClassProbabilities:
    """Reads class probabilities off a model's outputs.

    Args:
        loss: The loss that the model is trained with.
        head: What the outputs end in, see `GradCAM.head`.
        labels: List of labels, see above.
    """

    def __init__(self, loss, head, labels):
        self._are_logarithms = (head or "").startswith("log_")
        self._head = head and head.removeprefix("log_")
        # Keras looks behind a softmax or sigmoid, whatever `from_logits` says.
        self.are_logits = from_logits(loss) and head is None
        name = _name_of(_only(loss))
        self._is_binary = name.startswith("binary")
        self._is_regression = name in REGRESSIONS and set(labels) <= {None}
        self._have_several = any(isinstance(label, tuple) for label in labels)

    def probabilities(self, outputs):
        """Returns the class probabilities of each sample, `None` where there are none.

        Args:
            outputs: float32 array `(samples, units)`, what the model returned.

        Returns:
            A tuple of a list with a row `(classes,)` in [0, 1] for each sample, and
            whether each class stands for itself, as a sample may have several.
        """
        outputs = np.exp(outputs) if self._are_logarithms else outputs
        several = outputs.shape[1] > 1 and self._are_several(outputs)
        if self._is_regression:
            return [None] * len(outputs), several
        if self.are_logits:
            outputs = _sigmoid(outputs) if several else _softmax(outputs)
        if outputs.shape[1] == 1 and (self.are_logits or self._head == "sigmoid"):
            outputs = np.concatenate([1 - outputs, outputs], -1)
        likely = (outputs >= 0).all(-1) & (outputs <= 1.01).all(-1)
        if not several:
            # Values of a regression lie between 0 and 1 at times, but do not sum to 1.
            likely &= (outputs.shape[1] > 1) & np.isclose(outputs.sum(-1), 1, atol=1e-2)
        rows = [row if ok else None for row, ok in zip(outputs, likely, strict=True)]
        return rows, several

    def _are_several(self, outputs):
        if self._head is not None:
            return self._head == "sigmoid"
        if self.are_logits:
            return self._is_binary
        return self._have_several and not np.allclose(outputs.sum(-1), 1, atol=1e-3)


def _name_of(loss):
    """The name of a loss as a function: "binary_crossentropy"."""
    try:
        loss = keras.losses.get(loss)
    except ValueError:  # A name that Keras does not know.
        return str(loss)
    # Objects may have been given another name; their function keeps its own.
    function = getattr(loss, "fn", loss)
    return getattr(function, "__name__", "")


def _softmax(outputs):
    if outputs.shape[1] == 1:
        return _sigmoid(outputs)
    odds = np.exp(outputs - outputs.max(-1, keepdims=True))
    return odds / odds.sum(-1, keepdims=True)


def _sigmoid(outputs):
    # Of either sign without overflow.
    return 0.5 * (1 + np.tanh(outputs / 2))
