"""What a method needs to know of a model, besides the activations of a layer.

`KINDS` has all kinds of evidence by name. Those without gradients are in
`perturbation.py`.
"""

import functools
import inspect
from typing import Any, NamedTuple

import tensorflow as tf
from keras import ops, tree

from keras_gradcam import (
    biases,
    guidance,
    loops,
    perturbation,
    pixels,
    pooled_head,
    randomness,
    slopes,
)
from keras_gradcam.question import as_input, look
from keras_gradcam.scoring import widened


class Observation(NamedTuple):
    """One forward pass, float32 (float64 for a float64 model).

    Attributes:
        activations: List of tensors `(batch, *grid, channels)`, one for each
            site.
        evidence: List of what a method needs to know of each site. Where a sample has n
            scores, tensors `(batch, n, ...)` instead of `(batch, ...)`.
        scores: Tensor `(batch,)` or `(batch, n)`, the target score y.
        outputs: The model's own outputs, as it returned them.
    """

    activations: list
    evidence: list
    scores: tf.Tensor
    outputs: Any


class Moments(NamedTuple):
    """Means over noisy inputs of the gradients, of their squares and their cubes.

    Squares and cubes are divided by the same square, that of the largest gradient of
    the sample: those of 1e-20 are no floats any more.
    """

    first: tf.Tensor
    second: tf.Tensor
    third: tf.Tensor


class Curvature(NamedTuple):
    """Gradients G of the score, and its Hessian in the activations, times these."""

    gradients: tf.Tensor
    hessian_times_activations: tf.Tensor


class GuidedAtLayer(NamedTuple):
    """A layer's activations and gradients, and the guided gradients at the input."""

    activations: tf.Tensor
    gradients: tf.Tensor
    guided: tf.Tensor


class Path(NamedTuple):
    """Input minus baseline, and the mean gradient on the way between the two."""

    difference: tf.Tensor
    gradients: tf.Tensor


def check(method):
    """Raises unless there is evidence as a method asks for it.

    Args:
        method: A `method.Method` or `method.Custom`.
    """
    row, kinds = method.row, sorted(KINDS)
    if row.evidence not in KINDS:
        raise ValueError(
            f"Argument `method` asks for evidence {row.evidence!r}. It must be one of "
            f"{kinds}. Received: method={method!r}"
        )
    if row.evidence in OF_INPUTS and row.place != "input":
        raise ValueError(
            f"Evidence {row.evidence!r} is of the input: set the attribute `place` of "
            f"the callable to 'input'. Received: method={method!r}"
        )
    options = _options(row.evidence)
    try:
        options.bind(**method.evidence_options)
    except TypeError as error:
        takes = ", ".join(map(str, options.parameters.values())) or "none"
        raise TypeError(
            f"Evidence {row.evidence!r}: {error}. Its options are: {takes}. Set the "
            "attribute `evidence_options` of the callable to a dict of these. "
            f"Received: method={method!r}"
        ) from None


@functools.cache
def _options(kind):
    """The signature of a kind's options. Each call of a `GradCAM` asks."""
    parameters = list(inspect.signature(KINDS[kind]).parameters.values())[2:]
    return inspect.Signature(parameters)


def gather(question, kind="gradients", **options):
    """Runs the model, and finds out what a method needs to know.

    Args:
        question: A `Question`.
        kind: A key of `KINDS`.
        **options: Of that kind.

    Returns:
        An `Observation`.

    Raises:
        UnconnectedError: If a gradient is needed and the score does not depend on one
            of the sites.
    """
    seen = look(question)
    activations = [
        site.to_grid(widened(tensor))
        for site, tensor in zip(question.sites, seen.tensors, strict=True)
    ]
    found = KINDS[kind](question, seen, **options)
    return Observation(activations, found, seen.scores, seen.outputs)


# The kinds of evidence: callables `(question, seen, **options)` to a list with what is
# found of each site, where `seen` is the pass on the question's own inputs.


def nothing(question, seen):
    """No evidence but the activations."""
    return [None] * len(question.sites)


def gradients(question, seen):
    """dy/dA, of the shape of A."""
    return slopes.of_sites(seen, question.sites)


def pooled(question, seen):
    """dy/dA, where nothing but average pooling and a dense layer is behind A."""
    for site, tensor in zip(question.sites, seen.tensors, strict=True):
        pooled_head.check(site, tensor, seen.outputs, question.scorer.logits)
    return gradients(question, seen)


def smoothed(question, seen, samples, noise, seed):
    """`Moments` of the gradients over noisy inputs."""
    peaks = [_peaks(g) for g in slopes.of_sites(seen, question.sites)]

    def sample(step):
        inputs = noisy_inputs(question, noise, seed, step)
        again = look(question, inputs)
        pairs = zip(slopes.of_sites(again, question.sites), peaks, strict=True)
        return [(g, (g / p) ** 2, g * (g / p) ** 2) for g, p in pairs]

    return [Moments(*means) for means in loops.mean_over(samples, sample)]


def _peaks(values):
    """The largest magnitude of each sample, 1 where that is 0."""
    axes = tuple(range(1, values.shape.rank))
    peaks = tf.reduce_max(tf.abs(values), axes, keepdims=True)
    return tf.where(peaks > 0, peaks, tf.ones_like(peaks))


def noisy_inputs(question, noise, seed, step):
    """The question's inputs with normal noise on those that the maps lie over.

    The noise is the same for all samples of a batch, so that a map does not depend on
    the batch.

    Args:
        question: A `Question`.
        noise: Standard deviation relative to the range of each input.
        seed: Int.
        step: Which noise, an int or a scalar tensor.
    """
    flat = list(tree.flatten(question.inputs))
    for index in pixels.axes_of_inputs(question):
        flat[index] = _noisy(flat[index], noise, seed, step)
    return tree.pack_sequence_as(question.inputs, flat)


def _noisy(tensor, noise, seed, step):
    axes = range(1, tensor.shape.rank)
    values = widened(tensor)
    low = tf.reduce_min(values, axes, keepdims=True)
    high = tf.reduce_max(values, axes, keepdims=True)
    shape = tf.concat([[1], tf.shape(values)[1:]], 0)
    normal = randomness.normal(shape, seed, step, values.dtype)
    return as_input(values + noise * (high - low) * normal, tensor)


def curvature(question, seen):
    """`Curvature`: the gradients, and one Hessian-vector product."""
    first = slopes.of_sites(seen, question.sites)
    second = slopes.of_slopes(seen, question.sites)
    return [Curvature(*pair) for pair in zip(first, second, strict=True)]


def guided(question, seen):
    """dy/dx with the signal cut off at every ReLU where it is negative."""
    with guidance.guided_relus():
        again = look(question)
        return slopes.of_sites(again, question.sites)


def guided_at_layer(question, seen):
    """`GuidedAtLayer`, from one plain and one guided pass."""
    plain = look(question, sites=question.layers)
    below = [
        site.to_grid(widened(tensor))
        for site, tensor in zip(question.layers, plain.tensors, strict=True)
    ]
    above = slopes.of_sites(plain, question.layers)
    below = [slopes.for_each_score(tensor, seen) for tensor in below]
    found = zip(below, above, guided(question, seen), strict=True)
    return [GuidedAtLayer(*parts) for parts in found]


def path(question, seen, steps, baseline):
    """`Path`: the mean gradient between a baseline and the input."""
    flat = tree.flatten(question.inputs)
    starts = {site.input: _like(baseline, flat[site.input]) for site in question.sites}

    def sample(step):
        inputs = list(flat)
        for index, start in starts.items():
            share = (tf.cast(step, start.dtype) + 0.5) / steps
            inputs[index] = start + share * (flat[index] - start)
        again = look(question, tree.pack_sequence_as(question.inputs, inputs))
        return slopes.of_sites(again, question.sites)

    found = []
    for site, mean in zip(question.sites, loops.mean_over(steps, sample), strict=True):
        difference = flat[site.input] - starts[site.input]
        difference = slopes.for_each_score(site.to_grid(widened(difference)), seen)
        found.append(Path(difference, mean))
    return found


def _like(baseline, tensor):
    start = tf.cast(ops.convert_to_tensor(baseline), tensor.dtype)
    # One for all samples: how many these are is not known here.
    lengths = [1] * (tensor.shape.rank - start.shape.rank) + start.shape.as_list()
    sizes = [1, *tensor.shape[1:]]
    if len(lengths) > len(sizes) or any(
        length not in (1, size) and size is not None
        for length, size in zip(lengths, sizes, strict=True)
    ):
        raise ValueError(
            "Option `baseline` must be a number, or an array that fits each input of "
            f"shape {tuple(tensor.shape[1:])}. Received: baseline of shape "
            f"{tuple(start.shape)}"
        )
    return tf.broadcast_to(start, tf.shape(tensor))


def bias_terms(question, seen):
    """The products of input and biases with their gradients, each on its own grid."""
    # Raises where the input is cut off.
    slopes.of_sites(seen, question.sites)
    pairs = zip(question.sites, seen.tensors, strict=True)
    return [_products(seen, site, tensor) for site, tensor in pairs]


def _products(seen, site, tensor):
    terms = biases.find(tensor, len(site.grid))
    columns = slopes.of_tensors(seen, [tensor, *[term.tensor for term in terms]])
    products = [
        [
            site.to_grid(widened(tensor) * of_input),
            *[
                term.to_grid(widened(term.bias) * slope)
                for term, slope in zip(terms, of_biases, strict=True)
                if slope is not None
            ],
        ]
        for of_input, *of_biases in columns
    ]
    return slopes.joined(products, seen)


# What makes sense only over an input.
OF_INPUTS = ("path", "guided_at_layer")

KINDS = {
    "nothing": nothing,
    "gradients": gradients,
    "pooled": pooled,
    "smoothed": smoothed,
    "curvature": curvature,
    "masked": perturbation.masked,
    "noisy_masked": perturbation.noisy_masked,
    "faded_masked": perturbation.faded_masked,
    "ablated": perturbation.ablated,
    "guided": guided,
    "guided_at_layer": guided_at_layer,
    "path": path,
    "biases": bias_terms,
}
