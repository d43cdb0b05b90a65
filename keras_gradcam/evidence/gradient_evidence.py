"""Evidence from gradients: of one pass, of noisy inputs, or on a path to the input."""

import functools
from collections.abc import Callable
from typing import NamedTuple

import tensorflow as tf
from keras import ops, tree

from keras_gradcam.arrays import GridAxis, placed, widened
from keras_gradcam.evidence import biases, gradient_rules, pooled_head
from keras_gradcam.evidence.noise import noisy_inputs
from keras_gradcam.execution import differentiation, graph_loops, run_model


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
    """A layer's activations and gradients, and the guided gradients at the input.

    Attributes:
        activations: Floats `(batch, *grid, channels)`.
        gradients: Floats of the same shape.
        guided: Floats `(batch, *grid, channels)` of the input.
        place: Callable that lays maps `(batch, *grid)` of the layer over the input.
    """

    activations: tf.Tensor
    gradients: tf.Tensor
    guided: tf.Tensor
    place: Callable


class Product(NamedTuple):
    """The input, or a bias, times its gradient.

    Attributes:
        values: Floats `(batch, *grid, channels)`, on the grid where it arises.
        place: Callable that lays maps `(batch, *grid)` over the input.
    """

    values: tf.Tensor
    place: Callable


class Path(NamedTuple):
    """Input minus baseline, and the mean gradient on the way between the two."""

    difference: tf.Tensor
    gradients: tf.Tensor


def nothing(request, forward_pass):
    """No evidence but the activations."""
    return [None] * len(request.layer_outputs)


def gradients(request, forward_pass):
    """dy/dA, of the shape of A."""
    return differentiation.of_layer_outputs(forward_pass, request.layer_outputs)


def pooled(request, forward_pass):
    """dy/dA, where nothing but average pooling and a dense layer is behind A."""
    for layer_output, tensor in zip(
        request.layer_outputs, forward_pass.tensors, strict=True
    ):
        pooled_head.check(
            layer_output, tensor, forward_pass.outputs, request.scorer.logits
        )
    return gradients(request, forward_pass)


def smoothed(request, forward_pass, samples, noise, seed):
    """`Moments` of the gradients over noisy inputs."""
    peaks = [
        _peaks(g)
        for g in differentiation.of_layer_outputs(forward_pass, request.layer_outputs)
    ]

    def sample(step):
        inputs = noisy_inputs(request, noise, seed, step)
        again = run_model(request, inputs)
        pairs = zip(
            differentiation.of_layer_outputs(again, request.layer_outputs),
            peaks,
            strict=True,
        )
        return [(g, (g / p) ** 2, g * (g / p) ** 2) for g, p in pairs]

    return [Moments(*means) for means in graph_loops.mean_over(samples, sample)]


def _peaks(values):
    """The largest magnitude of each sample, 1 where that is 0."""
    axes = tuple(range(1, values.shape.rank))
    peaks = tf.reduce_max(tf.abs(values), axes, keepdims=True)
    return tf.where(peaks > 0, peaks, tf.ones_like(peaks))


def curvature(request, forward_pass):
    """`Curvature`: the gradients, and one Hessian-vector product."""
    first = differentiation.of_layer_outputs(forward_pass, request.layer_outputs)
    second = differentiation.hessian_products(forward_pass, request.layer_outputs)
    return [Curvature(*pair) for pair in zip(first, second, strict=True)]


def guided(request, forward_pass):
    """dy/dx with the signal cut off at every ReLU where it is negative."""
    both = forward_pass.overrides | gradient_rules.guided(forward_pass)
    return differentiation.of_layer_outputs(
        forward_pass._replace(overrides=both), request.layer_outputs
    )


def guided_at_layer(request, forward_pass):
    """`GuidedAtLayer`, from one plain and one guided pass."""
    plain = run_model(request, layer_outputs=request.layers)
    below = [
        layer_output.to_grid(widened(tensor))
        for layer_output, tensor in zip(request.layers, plain.tensors, strict=True)
    ]
    above = differentiation.of_layer_outputs(plain, request.layers)
    below = [differentiation.for_each_score(tensor, forward_pass) for tensor in below]
    places = [
        _over_input(layer_output, request.inputs) for layer_output in request.layers
    ]
    found = zip(below, above, guided(request, forward_pass), places, strict=True)
    return [GuidedAtLayer(*parts) for parts in found]


def _over_input(layer_output, inputs):
    lengths = layer_output.lengths(inputs)
    return functools.partial(layer_output.place, size=lengths, lengths=lengths)


def path(request, forward_pass, steps, baseline):
    """`Path`: the mean gradient between a baseline and the input."""
    flat = tree.flatten(request.inputs)
    starts = {
        layer_output.input: _like(baseline, flat[layer_output.input])
        for layer_output in request.layer_outputs
    }

    def sample(step):
        inputs = list(flat)
        for index, start in starts.items():
            share = (tf.cast(step, start.dtype) + 0.5) / steps
            inputs[index] = start + share * (flat[index] - start)
        again = run_model(request, tree.pack_sequence_as(request.inputs, inputs))
        return differentiation.of_layer_outputs(again, request.layer_outputs)

    found = []
    for layer_output, mean in zip(
        request.layer_outputs, graph_loops.mean_over(steps, sample), strict=True
    ):
        difference = flat[layer_output.input] - starts[layer_output.input]
        difference = differentiation.for_each_score(
            layer_output.to_grid(widened(difference)), forward_pass
        )
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


def bias_terms(request, forward_pass):
    """For each layer output the list of `Product`: of the input, and of all biases."""
    # Raises where the input is cut off.
    differentiation.of_layer_outputs(forward_pass, request.layer_outputs)
    pairs = zip(request.layer_outputs, forward_pass.tensors, strict=True)
    return [_products(request, forward_pass, *pair) for pair in pairs]


def _products(request, forward_pass, layer_output, tensor):
    map_axes, lengths = _own_axes(request, layer_output, tensor)
    terms = biases.find(tensor, map_axes)
    columns = differentiation.of_tensors(
        forward_pass, [tensor, *[term.tensor for term in terms]]
    )
    along = tuple(GridAxis(0, axis, 0.0, 1.0) for axis in map_axes)
    grids = [along, *[term.placed.axes for term in terms]]
    products = differentiation.joined(
        [
            [
                layer_output.to_grid(widened(tensor) * of_input),
                *[
                    _of_bias(term, gradient)
                    for term, gradient in zip(terms, of_terms, strict=True)
                ],
            ]
            for of_input, *of_terms in columns
        ],
        forward_pass,
    )
    over = {"map_axes": map_axes, "size": lengths, "lengths": lengths}
    places = [functools.partial(placed, grid_axes=axes, **over) for axes in grids]
    return [Product(*pair) for pair in zip(products, places, strict=True)]


def _of_bias(term, gradient):
    if gradient is None:  # The score does not depend on it.
        gradient = tf.zeros_like(widened(term.tensor))
    return term.placed.grid.to_grid(widened(term.bias) * gradient)


def _own_axes(request, layer_output, tensor):
    """The axes of a tensor that its grid lies along, and their lengths."""
    if layer_output.layer is None:
        return layer_output.input_axes, layer_output.lengths(request.inputs)
    rank = tensor.shape.rank
    channels = layer_output.channel_axis % rank
    axes = tuple(axis for axis in range(1, rank) if axis != channels)
    shape = ops.shape(tensor)
    return axes, [shape[axis] for axis in axes]
