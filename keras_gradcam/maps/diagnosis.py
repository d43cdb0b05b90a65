"""Why a map is empty, or not to be trusted: causes, and the way out of each."""

import functools
import operator
from typing import NamedTuple

import numpy as np
from keras import ops, tree

from keras_gradcam.targets import find_logits

CAUSES = {
    "fine": "The map has evidence for the target.",
    "not finite": (
        "The activations or gradients hold NaN or infinity. Look for them in the "
        "images and in the weights: `keras.callbacks.TerminateOnNaN` stops a training "
        "that diverges."
    ),
    "not connected": (
        "The score does not depend on the layer: it comes after the logits, feeds only "
        "another output, or is cut off by a step without a gradient. Choose an earlier "
        "layer; `keras_gradcam.layers(model)` lists those that work."
    ),
    "saturated": (
        "The score is a probability, or another bounded value, that is at its end to "
        "the last digit, so its gradient is zero. Explain the logits: leave "
        "`logits=True`, and where they cannot be found, end the model without its last "
        "softmax, sigmoid or tanh."
    ),
    "no gradient": (
        "The gradient of the score is zero at every position: a ReLU after the layer "
        "is off everywhere, or the weights behind it are zero. Choose another layer or "
        "target."
    ),
    "no activation": (
        "The layer is silent for this image: all its activations are zero. Choose an "
        "earlier layer."
    ),
    "nothing stands out": (
        "The formula gives zero everywhere, although the layer is active: no place "
        "stands out, or no score changes. Other options of the method, another method "
        "or another layer may show more."
    ),
    "negative": (
        "All evidence speaks against the target: the map is negative everywhere and "
        "ReLU leaves nothing. `activation=None` shows it; another target may be right."
    ),
}


class EmptyMapWarning(UserWarning):
    """A map shows nothing: it is all zeros, or not finite."""


class Diagnosis(NamedTuple):
    """What is to be said of one map.

    Attributes:
        cause: A key of `CAUSES`, `"fine"` where nothing is wrong.
        advice: What it means, and the way out.
    """

    cause: str
    advice: str

    def __str__(self):
        return f"{self.cause}: {self.advice}"


def measure(gathered, raw_maps, logits):
    """Measures, inside the graph, what tells the causes apart.

    Args:
        gathered: A `GatheredEvidence`.
        raw_maps: List of the raw maps `(batch, ...)`, one for each layer.
        logits: Whether logits were asked for.

    Returns:
        List with a dict of tensors `(batch,)` for each layer.
    """
    saturated = _saturated(gathered.outputs, logits, gathered.scores)
    layers = zip(gathered.activations, gathered.evidence, raw_maps, strict=True)
    return [_measured(*layer) | {"saturated": saturated} for layer in layers]


def _measured(activations, found, raw):
    # A method without evidence of its own lives on the activations alone.
    parts = [x for x in tree.flatten(found) if x is not None and not callable(x)]
    tensors = parts or [activations]
    finite = [_finite(tensor) for tensor in (activations, *tensors)]
    return {
        "finite": functools.reduce(operator.and_, finite),
        "activation": _peak(activations),
        "gradient": functools.reduce(ops.maximum, [_peak(x) for x in tensors]),
        "evidence": _highest(raw),
        "lowest": ops.min(raw, axis=_axes(raw)),
    }


def of(measured):
    """Returns a `Diagnosis` for each sample.

    Args:
        measured: A dict of arrays `(batch,)`, as `measure` returns it.
    """
    rows = zip(*measured.values(), strict=True)
    samples = [dict(zip(measured, row, strict=True)) for row in rows]
    return [named(_cause(sample)) for sample in samples]


def named(cause):
    """Returns the `Diagnosis` of a cause."""
    return Diagnosis(cause, CAUSES[cause])


def _cause(sample):
    if not sample["finite"]:
        return "not finite"
    if sample["evidence"] > 0:
        return "fine"
    if sample["activation"] == 0:
        return "no activation"
    if sample["gradient"] == 0:
        return "saturated" if sample["saturated"] else "no gradient"
    return "negative" if sample["lowest"] < 0 else "nothing stands out"


def checks(heatmaps, outputs, logits):
    """Counts, inside the graph, what a user should be warned of.

    Returns:
        Tensor with three ints: the number of maps that are all zeros, the number that
        hold NaN or infinity, and 1 where probabilities are explained although logits
        were asked for.
    """
    # Zero only for zeros, and finite only without NaN and infinity: one pass for both.
    totals = [ops.sum(ops.abs(x), axis=_axes(x)) for x in tree.flatten(heatmaps)]
    empty = sum(_count(total == 0) for total in totals)
    broken = sum(_count(~ops.isfinite(total)) for total in totals)
    doubtful = ops.cast(logits and _are_probabilities(outputs), "int32")
    return ops.stack([empty, broken, doubtful])


def are_finite(tensors):
    """Whether each sample of tensors is free of NaN and infinity: bool `(batch,)`."""
    return functools.reduce(operator.and_, [_finite(tensor) for tensor in tensors])


def _count(flags):
    return ops.sum(ops.cast(flags, "int32"))


def warnings_of(checked):
    """Yields text and category of each warning that `checks` gives cause to."""
    empty, broken, doubtful = np.asarray(checked)
    if empty:
        yield (
            f"{empty} of the maps are all zeros: nothing in these images speaks for "
            "the target. `diagnose(images)` says why.",
            EmptyMapWarning,
        )
    if broken:
        yield (
            f"{broken} of the maps hold NaN or infinity. Look for them in the images "
            "and in the weights; `diagnose(images)` says which images.",
            EmptyMapWarning,
        )
    if doubtful:
        yield (
            "The model returns probabilities, or their logarithms, and the logits "
            "behind them cannot be found, so these are explained. Where the model is "
            "confident their gradient vanishes and maps are empty or noisy. Pass a "
            "model that returns logits, or `logits=False` if probabilities are meant.",
            UserWarning,
        )


def _are_probabilities(outputs):
    """Whether an output without known logits looks like a softmax's, or its log."""
    flat = tree.flatten(outputs)
    if len(flat) != 1 or len(flat[0].shape) != 2 or flat[0].shape[-1] in (None, 1):
        return False
    if find_logits(flat[0]) is not None:
        return False
    output = _without_logarithm(ops.cast(flat[0], "float32"))
    return ops.all(output >= 0) & ops.all(_sum_to_one(output))


def _without_logarithm(output):
    """Probabilities `(batch, n)` where an output holds their logarithms."""
    odds = ops.exp(ops.minimum(output, 0))
    is_log = ops.all(output <= 0, axis=-1) & _sum_to_one(odds)
    return ops.where(ops.expand_dims(is_log, -1), odds, output)


def _sum_to_one(output):
    return ops.abs(ops.sum(output, axis=-1) - 1) < 1e-3


def _saturated(outputs, logits, scores):
    flat = tree.flatten(outputs)
    output = ops.cast(flat[0], "float32")
    output = ops.reshape(output, (ops.shape(output)[0], -1))
    explained = not logits or find_logits(flat[0]) is None
    # From 0 to 1, or from -1 to 1.
    size = ops.abs(_without_logarithm(output))
    ends = ops.all((size < 1e-3) | (ops.abs(size - 1) < 1e-3), axis=-1)
    return ends if explained else ops.zeros_like(ends)


def _axes(tensor):
    return tuple(range(1, len(tensor.shape)))


def _finite(tensor):
    return ops.all(ops.isfinite(tensor), axis=_axes(tensor))


def _peak(tensor):
    return ops.max(ops.abs(tensor), axis=_axes(tensor))


def _highest(tensor):
    return ops.max(tensor, axis=_axes(tensor))
