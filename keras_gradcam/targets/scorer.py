"""What a score is taken of: logits or outputs, one column for each class."""

import functools

import numpy as np
import tensorflow as tf
from keras import ops, tree

from keras_gradcam.arrays import widened
from keras_gradcam.targets.class_scores import (
    OptionError,
    class_columns,
    of_class,
    predicted,
    with_logits,
)
from keras_gradcam.targets.decisions import recorded
from keras_gradcam.targets.logits import marked_as


class Scorer:
    """Scores a model's outputs as a `target` argument of `GradCAM` says.

    What the target chooses by looking at the outputs, such as the predicted class, it
    chooses at the first call: noisy or masked inputs are scored by the same choice.

    Args:
        target: `None` for classes, or a callable.
        classes: Integer tensor `(batch,)`, or `None` for the predicted classes.
        logits: Whether to score the logits behind a softmax or sigmoid, or behind its
            logarithm, where there is one, instead of the outputs themselves. Defaults
            to `True`.
    """

    def __init__(self, target, classes, logits=True):
        self.target, self.classes, self.logits = target, classes, logits
        self._decisions = self._dtype = None

    def __call__(self, outputs):
        """Returns `(batch,)`, or `(batch, n)` if the target explains n things at once.

        Raises:
            ValueError: If a callable returns another shape, or if there are several
                outputs and no callable to choose.
        """
        outputs = with_logits(outputs) if self.logits else outputs
        if self._decisions is None and callable(self.target):
            _check_samples_stay(self.target, outputs)
        return self._scores(outputs)

    def _scores(self, outputs):
        with recorded(self._decisions) as made:
            scores = widened(self._of(outputs))
        self._decisions, self._dtype = made, scores.dtype
        return scores

    def _of(self, outputs):
        if callable(self.target):
            return _called(self.target, outputs)
        columns = class_columns(outputs)
        index = predicted(columns) if self.classes is None else self.classes
        return of_class(columns, index)

    def explained_classes(self, outputs):
        """The class `(batch,)` that each sample's score is of, -1 for a callable's."""
        if callable(self.target):
            flat = [x for x in tree.flatten(outputs) if x is not None]
            return tf.fill(tf.shape(flat[0])[:1], -1)
        if self.classes is not None:
            return self.classes
        with recorded(self._decisions):
            columns = class_columns(with_logits(outputs) if self.logits else outputs)
            return tf.cast(predicted(columns), tf.int32)

    def of_each(self, outputs, count):
        """Scores `count` variants of the batch at once.

        Args:
            outputs: The model's outputs for `count * batch` samples, those of the first
                variant first.
            count: Number of variants, an int or a scalar tensor.

        Returns:
            Tensor `(count, batch)` or `(count, batch, n)`.
        """
        outputs = with_logits(outputs) if self.logits else outputs
        if callable(self.target):
            return self._called_for_each(outputs, count)
        columns = class_columns(outputs)
        with recorded(self._decisions):
            index = predicted(columns) if self.classes is None else self.classes
        scores = widened(of_class(columns, tf.tile(index, [count])))
        return tf.reshape(scores, [count, -1])

    def _called_for_each(self, outputs, count):
        # By the batch: a target may have a class or a region for each sample.
        def variant(step):
            part = functools.partial(_part, step=step, count=count)
            return self._scores(tree.map_structure(part, outputs))

        return tf.map_fn(variant, tf.range(count), fn_output_signature=self._dtype)


def _part(output, step, count):
    """What one variant has of an output for all of them."""
    if output is None or not output.shape.rank:
        return output
    length = tf.shape(output)[0] // count
    part = output[step * length : (step + 1) * length]
    part.set_shape([None, *output.shape[1:]])
    return marked_as(output, part)


def basis(outputs, target, logits=True):
    """What scores are taken of: tells which layers they can depend on.

    Args:
        outputs: The model's outputs.
        target: See `Scorer`.
        logits: See `Scorer`.

    Returns:
        A structure of tensors.
    """
    if callable(target) and not needs_batch_size(target):
        try:
            return Scorer(target, None, logits)(outputs)
        except OptionError:
            raise
        except (ValueError, tf.errors.OpError):
            if not _has_rows(target):
                raise
    return with_logits(outputs) if logits else outputs


def names_a_place(target):
    """Whether a target means a place in the model's output: a region, or a box."""
    options = getattr(target, "options", {}).values()
    if getattr(target, "name", None) in ("segmentation", "detection"):
        return True
    return any(names_a_place(x) for x in options)


def _has_rows(target):
    """Whether a target may have an option with one row for each sample."""
    options = getattr(target, "options", {}).values()
    return any(_has_rows(x) if callable(x) else np.ndim(x) for x in options)


def needs_batch_size(target):
    """Whether `target` is a score object of tf-keras-vis, which counts the batch."""
    return any(t.__module__.startswith("tf_keras_vis") for t in type(target).__mro__)


def _called(target, outputs):
    scores = target(outputs)
    if isinstance(scores, (list, tuple)):
        scores = ops.stack(scores)
    _check_scores(target, scores, _length(outputs))
    return scores


def _length(outputs):
    """Number of samples, `None` where unknown."""
    flat = [x for x in tree.flatten(outputs) if x is not None and len(x.shape)]
    return flat[0].shape[0] if flat else None


def _check_scores(target, scores, length):
    shape = getattr(scores, "shape", None)
    rank = None if shape is None else len(shape)
    if rank not in (1, 2) or (length and shape[0] not in (None, length)):
        received = repr(scores) if shape is None else f"shape {tuple(shape)}"
        raise ValueError(
            "A callable `target` must return one score for each sample, a tensor "
            f"`(batch,)`, or several, `(batch, n)`. It returned {received} for a batch "
            f"of {length or 'any length'}. Received: target={target}"
        )


def _check_samples_stay(target, outputs, length=3):
    """Raises if a callable target mixes up the samples, `outputs[0]` for instance.

    In a graph for any batch size the number of scores is not known: here the target is
    tried on outputs for `length` samples.

    Args:
        target: A callable.
        outputs: Structure of tensors, the model's outputs.
        length: Number of samples to try.
    """
    known = all(
        x is not None and None not in x.shape[1:] for x in tree.flatten(outputs)
    )
    if not known or needs_batch_size(target):
        return
    fixed = tree.map_structure(
        lambda x: tf.TensorSpec((length, *x.shape[1:])[: len(x.shape)], x.dtype),
        outputs,
    )
    # In a graph of its own: XLA would compile what is only tried, too.
    trial = tf.function(target, autograph=False)
    try:
        scores = trial.get_concrete_function(fixed).structured_outputs
    except (ValueError, TypeError, tf.errors.OpError):
        return  # It counts on its own number of samples, or raises again at once.
    if hasattr(scores, "shape"):
        _check_scores(target, scores, length)
