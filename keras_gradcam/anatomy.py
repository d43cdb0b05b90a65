"""Model anatomy: what each layer returns when a model runs, from one traced pass."""

import collections
import dataclasses
import math
from typing import NamedTuple

import keras
import tensorflow as tf
from keras import tree

from keras_gradcam import forward

# Where the batch is free it has this length while tracing, so that a layer inside
# `TimeDistributed`, which sees batch times steps, is told apart.
BATCH = 3

# Ops through which a value passes, but no gradient.
GRADIENT_STOPS = ("StopGradient", "PreventGradient")


@dataclasses.dataclass(frozen=True)
class Site:
    """One tensor that one call of one layer returns: a place to look at.

    Attributes:
        name: The path, then "[key]" where the layer returns several tensors, then "#n"
            where it is called several times, n from 0 in order of execution.
        path: The names of the nested models and of the layer, joined by "/".
        layer: The `keras.Layer`.
        call: Which call of the layer, from 0.
        item: Which tensor of the layer's flattened output.
        shape: Shape of the tensor, `None` for the batch and for other free lengths.
        per_sample: Whether axis 0 is the batch of the model.
        channels_first: Whether the channels are axis 1 instead of the last.
        connected: Whether the score can depend on the tensor.
        source: Name of the site that computed the tensor, where this layer only hands
            it on: `Dropout` at inference, a nested model its last layer's output.
        is_output: Whether the tensor is an output of the model.
        input: Index of the flattened model input that the grid belongs to, or `None`.
        input_axes: The axes of that input that the grid covers.
    """

    name: str
    path: str
    layer: keras.Layer
    call: int
    item: int
    shape: tuple
    per_sample: bool
    channels_first: bool
    connected: bool
    source: str
    is_output: bool
    input: int | None
    input_axes: tuple

    @property
    def grid(self):
        """Shape of the spatial grid, `()` for a layer without one."""
        return _grid(self.shape, self.channels_first)

    def is_candidate(self):
        """Whether the site has a grid larger than 1x1 that the score depends on."""
        # A free length counts as larger than 1.
        cells = math.prod(2 if n is None else n for n in self.grid)
        return self.connected and self.input is not None and cells > 1

    def pick(self, output):
        """Returns this site's tensor from the layer's output."""
        return tree.flatten(output)[self.item]

    def channels_last(self, tensor):
        """Moves the channels to the last axis."""
        return keras.ops.moveaxis(tensor, 1, -1) if self.channels_first else tensor


class Anatomy(NamedTuple):
    """What one traced, never executed forward pass shows.

    Attributes:
        sites: List of `Site` in order of execution, a nested model after its layers.
        paths: List of `(path, layer)` of all layers, also of those that did not run.
        inline: Whether a layer hides in a `tf.function` of the user's, so that the
            model must be run with `inline=True` (see `forward.run`).
    """

    sites: list
    paths: list
    inline: bool


def trace(model, inputs, score):
    """Traces one forward pass of `model` without executing it.

    Args:
        model: A built `keras.Model`.
        inputs: Structure of `tf.TensorSpec`, as the model takes it.
        score: Callable from the model's outputs to a structure of tensors; sites count
            as connected when they lie upstream of these.

    Returns:
        An `Anatomy`.
    """
    inputs = tree.map_structure(_with_batch, inputs)
    tracing = _Tracing(model, score)
    tracing.run(inputs, inline=False)
    if tracing.foreign:
        tracing.run(inputs, inline=True)
    return Anatomy(tracing.sites, tracing.paths, tracing.foreign)


def _with_batch(spec):
    if spec.shape.rank and spec.shape[0] is None:
        return tf.TensorSpec([BATCH, *spec.shape[1:]], spec.dtype)
    return spec


class _Record(NamedTuple):
    layer: keras.Layer
    call: int
    item: int
    key: str
    before: tf.Tensor  # as the layer returned it
    tensor: tf.Tensor  # its copy, which the rest of the model uses


class _Tracing:
    """One traced pass: the records that listening leaves, made into sites."""

    def __init__(self, model, score):
        self.model = model
        self.score = score
        self.paths = list(_walk(model, "", ()))
        self.foreign = False

    def run(self, inputs, inline):
        self.records = []
        function = tf.function(
            lambda *inputs: self._body(*inputs, inline=inline), autograph=False
        )
        function.get_concrete_function(inputs)

    def _body(self, inputs, inline):
        layers = {id(layer): layer for _, layer in self.paths}
        outputs, foreign = forward.run(
            self.model, inputs, list(layers.values()), self._listen, inline
        )
        self.foreign = self.foreign or foreign
        scores = self.score(outputs)
        self.sites = self._sites(_Graph(inputs, outputs, scores))
        return scores

    def _listen(self, layer, call, output):
        copy = forward.identity(output)
        pairs = zip(tree.flatten_with_path(output), tree.flatten(copy), strict=True)
        for item, ((keys, before), tensor) in enumerate(pairs):
            if tf.is_tensor(tensor):
                key = "".join(f"[{key}]" for key in keys)
                self.records.append(_Record(layer, call, item, key, before, tensor))
        return copy

    def _sites(self, graph):
        paths = {id(layer): path for path, layer in reversed(self.paths)}
        calls = collections.Counter(id(r.layer) for r in self.records if not r.item)
        data_format = keras.config.image_data_format()
        sources, sites = {}, []
        for record in self.records:
            path = paths[id(record.layer)]
            name = path + record.key
            if calls[id(record.layer)] > 1:
                name += f"#{record.call}"
            # Layers without a data format of their own follow the last one that has.
            data_format = getattr(record.layer, "data_format", data_format)
            sources[record.tensor.name] = sources.get(record.before.name, name)
            first = data_format == "channels_first"
            sites.append(graph.site(record, name, path, first, sources))
        return sites


def _walk(layer, prefix, parents):
    """Yields `(path, layer)` for every layer below `layer`."""
    for child in layer._flatten_layers(include_self=False, recursive=False):
        if all(child is not parent for parent in parents):
            yield prefix + child.name, child
            yield from _walk(child, f"{prefix}{child.name}/", (*parents, child))


class _Graph:
    """What depends on what in the graph that is being built."""

    def __init__(self, inputs, outputs, scores):
        self.inputs = tree.flatten(inputs)
        self.outputs = {x.name for x in tree.flatten(outputs) if tf.is_tensor(x)}
        operations = self.inputs[0].graph.get_operations()
        self.upstream = _upstream(operations, tree.flatten(scores))
        self.reached_by = _reached_by(operations, self.inputs)

    def site(self, record, name, path, channels_first, sources):
        tensor = record.tensor
        shape = tuple(tensor.shape) if tensor.shape.rank is not None else ()
        channels_first = channels_first and len(shape) > 2
        per_sample = bool(shape) and shape[0] == self.inputs[0].shape[0]
        if per_sample:
            shape = (None, *shape[1:])
        index, axes = self._input_of(tensor, shape, channels_first)
        return Site(
            name=name,
            path=path,
            layer=record.layer,
            call=record.call,
            item=record.item,
            shape=shape,
            per_sample=per_sample,
            channels_first=channels_first,
            connected=tensor.name in self.upstream,
            source=sources[tensor.name],
            is_output=tensor.name in self.outputs,
            input=index,
            input_axes=axes,
        )

    def _input_of(self, tensor, shape, channels_first):
        """The input that the tensor is computed from and whose grid it keeps."""
        rank = len(_grid(shape, channels_first))
        if not rank or shape[0] is not None:
            return None, ()
        reached = self.reached_by.get(tensor.name, 0)
        fits = [
            (preference, index, axes)
            for index, image in enumerate(self.inputs)
            if reached >> index & 1
            for preference, axes in _fits(image.shape.rank, rank, channels_first)
        ]
        _, index, axes = min(fits, default=(0, None, ()))
        return index, axes


def _grid(shape, channels_first):
    return shape[2:] if channels_first else shape[1:-1]


def _fits(input_rank, grid_rank, channels_first):
    """Yields `(preference, axes)`, the axes of an input that a grid can cover."""
    spatial = tuple(
        range(2, input_rank) if channels_first else range(1, input_rank - 1)
    )
    if len(spatial) == grid_rank:
        yield 0, spatial
    elif len(spatial) + 1 == grid_rank:  # Tokens, or a signal without channels.
        yield 1, tuple(range(1, input_rank))
    elif len(spatial) > grid_rank:  # A network that sums up the frames of a video.
        yield 2, spatial[-grid_rank:]


def _upstream(operations, tensors):
    """Names of the tensors that a gradient of `tensors` can reach."""
    names = {tensor.name for tensor in tensors}
    for operation in reversed(operations):
        if operation.type in GRADIENT_STOPS:
            continue
        if any(output.name in names for output in operation.outputs):
            names.update(x.name for x in operation.inputs if _carries_gradient(x))
    return names


def _carries_gradient(tensor):
    # Lists of tensors inside loops are variants.
    return tensor.dtype.is_floating or tensor.dtype == tf.variant


def _reached_by(operations, inputs):
    """For each tensor's name the set of inputs it is computed from, as bits."""
    bits = {tensor.name: 1 << index for index, tensor in enumerate(inputs)}
    for operation in operations:
        reached = 0
        for tensor in operation.inputs:
            reached |= bits.get(tensor.name, 0)
        for output in operation.outputs:
            bits.setdefault(output.name, reached)
    return bits
