"""What a method needs to know: runs the model, and asks it for a gradient.

The only place that differentiates. `KINDS` has all kinds of evidence by name; those
that run the model on changed inputs or activations are in `perturbation.py`.
"""

from typing import Any, NamedTuple

import tensorflow as tf
from keras import ops, tree

from keras_gradcam import (
    biases,
    guidance,
    loops,
    perturbation,
    pooled_head,
    randomness,
)
from keras_gradcam.question import Question, as_input, look
from keras_gradcam.scoring import widened

# float16 gradients underflow where a mean over the grid divides them by its size:
# measured 2 % error at 224 x 224. A score 1024 times as large keeps them at 2e-4.
FLOAT16_SCALE = 1024.0


class UnconnectedError(ValueError):
    """The score does not depend on a layer."""


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
    """Means over noisy inputs of the gradients, of their squares and their cubes."""

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


def gather(question, kind="gradients", **options):
    """Runs the model, and finds out what a method needs to know.

    Only the part of the network that follows the first of the sites is differentiated,
    and no gradient with respect to a weight is ever computed.

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


def _columns(scores):
    return tf.unstack(scores, axis=1) if scores.shape.rank == 2 else [scores]


def _joined(columns, scores):
    """One tensor, or structure, `(batch, n, ...)` from those of the n scores."""
    if scores.shape.rank != 2:
        return columns[0]
    return tree.map_structure(lambda *parts: tf.stack(parts, axis=1), *columns)


def slopes(seen, sites, missing="raise"):
    """dy/dA of each site, on its grid.

    Args:
        seen: A `question.Pass`.
        sites: List of the `anatomy.Site` that its tensors belong to.
        missing: What to do about a site that the score does not depend on: `"raise"`,
            or `"zero"` gradients.
    """
    scale = _scale(seen)
    unconnected = "zero" if missing == "zero" else "none"
    columns = [
        tf.gradients(
            scale * tf.reduce_sum(y), seen.tensors, unconnected_gradients=unconnected
        )
        for y in _columns(seen.scores)
    ]
    for site, slope in zip(sites, columns[0], strict=True):
        _check_dependence(site, slope)
    return [
        _joined([site.to_grid(widened(g)) / scale for g in of_site], seen.scores)
        for site, of_site in zip(sites, zip(*columns, strict=True), strict=True)
    ]


def _scale(seen):
    halves = any(tensor.dtype == tf.float16 for tensor in seen.tensors)
    return FLOAT16_SCALE if halves else 1.0


def _check_dependence(site, slope):
    if slope is None and site.layer is None:
        raise UnconnectedError(
            f"The score does not depend on input '{site.name}': no gradient reaches "
            "it. A step without a gradient, such as `argmax`, `round` or a cast to an "
            "integer, cuts it off. Take a method that explains a layer."
        )
    if slope is None:
        raise UnconnectedError(
            f"The score does not depend on layer '{site.name}': no gradient "
            "reaches it. The layer comes after the logits, feeds only another "
            "output, or is cut off by a step without a gradient such as `argmax` "
            "or `stop_gradient`. Choose an earlier layer, a target that uses what "
            "this layer computes, or leave out `layer`."
        )


# The kinds of evidence: callables `(question, seen, **options)` to a list with what is
# found of each site, where `seen` is the pass on the question's own inputs.


def nothing(question, seen):
    """No evidence but the activations."""
    return [None] * len(question.sites)


def gradients(question, seen):
    """dy/dA, of the shape of A."""
    return slopes(seen, question.sites)


def pooled(question, seen):
    """dy/dA, where nothing but average pooling and a dense layer is behind A."""
    for site, tensor in zip(question.sites, seen.tensors, strict=True):
        pooled_head.check(site, tensor, seen.outputs)
    return gradients(question, seen)


def smoothed(question, seen, samples, noise, seed):
    """`Moments` of the gradients over noisy inputs."""

    def sample(step):
        inputs = noisy_inputs(question, noise, seed, step)
        again = look(question, inputs)
        found = slopes(again, question.sites)
        return [(g, g * g, g * g * g) for g in found]

    return [Moments(*means) for means in loops.mean_over(samples, sample)]


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
    for index in {site.input for site in question.sites if site.input is not None}:
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
    first = slopes(seen, question.sites)
    scale = _scale(seen)
    columns = [
        [_hessian_product(scale * tf.reduce_sum(y), tensor) for tensor in seen.tensors]
        for y in _columns(seen.scores)
    ]
    second = [
        _joined([site.to_grid(widened(g)) / scale for g in of_site], seen.scores)
        for site, of_site in zip(
            question.sites, zip(*columns, strict=True), strict=True
        )
    ]
    return [Curvature(*pair) for pair in zip(first, second, strict=True)]


def _hessian_product(score, tensor):
    slope = tf.gradients(score, tensor)[0]
    product = tf.reduce_sum(widened(slope) * tf.stop_gradient(widened(tensor)))
    # Pieces that are linear have none.
    return tf.gradients(product, tensor, unconnected_gradients="zero")[0]


def guided(question, seen):
    """dy/dx with the signal cut off at every ReLU where it is negative."""
    with guidance.guided_relus():
        again = look(question._replace(inline=True))
        return slopes(again, question.sites)


def guided_at_layer(question, seen):
    """`GuidedAtLayer`, from one plain and one guided pass."""
    plain = look(question, sites=question.layers)
    below = [
        site.to_grid(widened(tensor))
        for site, tensor in zip(question.layers, plain.tensors, strict=True)
    ]
    above = slopes(plain, question.layers)
    if seen.scores.shape.rank == 2:
        count = seen.scores.shape[1]
        below = [tf.stack([tensor] * count, axis=1) for tensor in below]
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
        return slopes(again, question.sites)

    found = []
    for site, mean in zip(question.sites, loops.mean_over(steps, sample), strict=True):
        difference = flat[site.input] - starts[site.input]
        difference = site.to_grid(widened(difference))
        if seen.scores.shape.rank == 2:
            difference = tf.stack([difference] * seen.scores.shape[1], axis=1)
        found.append(Path(difference, mean))
    return found


def _like(baseline, tensor):
    try:
        start = tf.cast(ops.convert_to_tensor(baseline), tensor.dtype)
        return tf.broadcast_to(start, tf.shape(tensor))
    except (ValueError, tf.errors.InvalidArgumentError):
        raise ValueError(
            "Option `baseline` must be a number, or an array that fits the input of "
            f"shape {tuple(tensor.shape)}. Received: baseline of shape "
            f"{tuple(ops.shape(baseline))}"
        ) from None


def bias_terms(question, seen):
    """The products of input and biases with their gradients, each on its own grid."""
    found = []
    for site, tensor in zip(question.sites, seen.tensors, strict=True):
        rank = len(site.grid)
        terms = biases.find(tensor, rank)
        columns = []
        for y in _columns(seen.scores):
            targets = [tensor, *[term.tensor for term in terms]]
            back = tf.gradients(tf.reduce_sum(y), targets)
            _check_dependence(site, back[0])
            products = [site.to_grid(widened(tensor * back[0]))]
            products += [
                term.to_grid(widened(term.bias * slope))
                for term, slope in zip(terms, back[1:], strict=True)
                if slope is not None
            ]
            columns.append(products)
        found.append(_joined(columns, seen.scores))
    return found


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


def passes_on(model, signature, sites, score, inline=False):
    """Tells which sites still pass something of their grid on to a score.

    After the last attention of a transformer only the class token may reach the head:
    the graph does not show that, a gradient does. Runs the model once, on noise.

    Args:
        model: A built `keras.Model`.
        signature: Structure of `tf.TensorSpec`, as the model takes it.
        sites: List of `anatomy.Site`.
        score: Callable from the model's outputs to scores `(batch,)`.
        inline: See `forward.run`.

    Returns:
        List of booleans.
    """

    def run():
        inputs = tree.map_structure(_noise, signature)
        seen = look(Question(model, inputs, sites, score, inline=inline))
        found = slopes(seen, sites, missing="zero")
        return [tf.reduce_any(slope != 0) for slope in found]

    graph = tf.function(run, autograph=False).get_concrete_function()
    return [bool(passed) for passed in graph()]


def _noise(spec):
    shape = [length or 1 for length in spec.shape]
    if not spec.dtype.is_floating:
        return tf.zeros(shape, spec.dtype)
    return tf.random.stateless_uniform(shape, seed=(0, 0), dtype=spec.dtype)
