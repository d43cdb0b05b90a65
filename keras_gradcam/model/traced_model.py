"""What each layer of a model returns when it runs, from one traced pass."""

import collections
from typing import NamedTuple

import keras
import tensorflow as tf
from keras import tree

from keras_gradcam.execution import model_call
from keras_gradcam.model import spatial_grids
from keras_gradcam.model.layer_output import LayerOutput
from keras_gradcam.model.spatial_grids import Grid
from keras_gradcam.targets import class_scores

# Where the batch is free it has this length while tracing, so that a layer inside
# `TimeDistributed`, which sees batch times steps, is told apart.
BATCH = 3

# Ops through which a value passes, but no gradient.
GRADIENT_STOPS = ("StopGradient", "PreventGradient")

FUNCTION_CALLS = ("PartitionedCall", "StatefulPartitionedCall")

# Their inner layers return (batch, tokens, heads, features), which only looks like a
# picture.
ATTENTION = (keras.layers.MultiHeadAttention, keras.layers.GroupQueryAttention)


class TracedModel(NamedTuple):
    """What one traced, never executed forward pass shows.

    Attributes:
        layer_outputs: List of `LayerOutput` in order of execution, a nested model after
            its layers.
        paths: List of `(path, layer)` of all layers, also of those that did not run.
        inline: Whether a layer hides in a `tf.function` of the user's, so that the
            model must be run with `inline=True` (see `model_call.run`).
        classes: Number of classes of the model, `None` where unknown.
        head: What the model's only output ends in, see `GradCAM.head`.
    """

    layer_outputs: list
    paths: list
    inline: bool
    classes: int | None
    head: str | None


def trace(model, inputs, score, reshape=None):
    """Traces one forward pass of `model` without executing it.

    Args:
        model: A built `keras.Model`.
        inputs: Structure of `tf.TensorSpec`, as the model takes it.
        score: Callable from the model's outputs to a structure of tensors; layer
            outputs count as connected when they lie upstream of these.
        reshape: How tokens become a grid, see `spatial_grids.reshaped`. Defaults to
            `None`.

    Returns:
        A `TracedModel`.
    """
    inputs = tree.map_structure(_with_batch, inputs)
    paths = _unique(_walk(model, "", ()))
    layer_outputs, foreign, *answer = _trace(model, inputs, score, reshape, paths)
    if foreign:
        reached = len(layer_outputs)
        layer_outputs, _, *answer = _trace(
            model, inputs, score, reshape, paths, inline=True
        )
        foreign = len(layer_outputs) > reached
    paths = [(path, layer) for path, layer, _ in paths]
    return TracedModel(layer_outputs, paths, foreign, *answer)


def _with_batch(spec):
    if spec.shape.rank and spec.shape[0] is None:
        return tf.TensorSpec([BATCH, *spec.shape[1:]], spec.dtype)
    return spec


def _walk(layer, prefix, parents):
    """Yields `(path, layer, parents)` for every layer below `layer`.

    The operations of a functional model count as layers: in `x + branch(x)` the sum is
    what the next layer sees.
    """
    parents = (*parents, layer)
    children = getattr(layer, "_flatten_layers", lambda **_: [])(
        include_self=False, recursive=False
    )
    children += [
        operation
        for operation in getattr(layer, "operations", [])
        if not isinstance(operation, keras.Layer)
    ]
    for child in children:
        if all(child is not parent for parent in parents):
            yield prefix + child.name, child, parents
            yield from _walk(child, f"{prefix}{child.name}/", parents)


def _unique(walked):
    """Tells apart different layers that a subclassed model gave one name."""
    owners: dict = {}
    paths = []
    for path, layer, parents in walked:
        layers = owners.setdefault(path, [])
        if layer not in layers:
            layers.append(layer)
        number = layers.index(layer)
        paths.append((f"{path}~{number}" if number else path, layer, parents))
    return paths


class _Record(NamedTuple):
    layer: keras.Layer
    call: int
    item: int
    key: str
    before: tf.Tensor  # as the layer returned it
    tensor: tf.Tensor  # its copy, which the rest of the model uses


def _trace(model, inputs, score, reshape, paths, inline=False):
    records, result = [], []

    def hook(layer, call, output):
        copy = model_call.identity(output)
        pairs = zip(tree.flatten_with_path(output), tree.flatten(copy), strict=True)
        for item, ((keys, before), tensor) in enumerate(pairs):
            if tf.is_tensor(tensor):
                key = "".join(f"[{key}]" for key in keys)
                records.append(_Record(layer, call, item, key, before, tensor))
        return copy

    def body(inputs):
        layers = list({id(layer): layer for _, layer, _ in paths}.values())
        outputs, foreign = model_call.run(model, inputs, layers, hook, inline)
        # A function that was traced before does not run its layers again.
        silent = len({id(record.layer) for record in records}) < len(layers)
        foreign = foreign or (silent and _calls_functions(inputs))
        scores = score(outputs)
        described = _LayerOutputs(inputs, outputs, scores, reshape)
        result.extend((described.of(records, paths), foreign))
        result.extend(
            (class_scores.count_classes(outputs), class_scores.head_of(outputs))
        )
        return scores

    tf.function(body, autograph=False).get_concrete_function(inputs)
    return result


def _calls_functions(inputs):
    operations = tree.flatten(inputs)[0].graph.get_operations()
    return any(operation.type in FUNCTION_CALLS for operation in operations)


class _LayerOutputs:
    """Makes layer outputs of records, with what the finished graph tells of each."""

    def __init__(self, inputs, outputs, scores, reshape):
        self.inputs = tree.flatten(inputs)
        self.outputs = {x.name for x in _tensors(outputs)}
        self.reshape = reshape
        operations = self.inputs[0].graph.get_operations()
        self.upstream = _upstream(operations, _tensors(scores))
        self.reached_by = _reached_by(operations, self.inputs)
        self.sources = {}
        self.seen_grids = []

    def of(self, records, paths):
        names = {id(layer): path for path, layer, _ in reversed(paths)}
        calls = collections.Counter(id(r.layer) for r in records if not r.item)
        inner = {id(x) for _, x, parents in paths if _within(parents, ATTENTION)}
        data_format = keras.config.image_data_format()
        layer_outputs = []
        for record in records:
            path = names[id(record.layer)]
            number = f"#{record.call}" if calls[id(record.layer)] > 1 else ""
            # Layers without a data format of their own follow the last one that has.
            data_format = getattr(record.layer, "data_format", data_format)
            first = data_format == "channels_first"
            grid = Grid()
            if id(record.layer) not in inner and self._per_sample(record.tensor):
                grid = self._grid(record.tensor, first)
            name = path + record.key + number
            self.sources[record.tensor.name] = self.sources.get(
                record.before.name, len(layer_outputs)
            )
            layer_outputs.append(self._layer_output(record, path, name, grid, first))
        return layer_outputs

    def _layer_output(self, record, path, name, grid, channels_first):
        tensor = record.tensor
        index, axes = self._input(tensor, grid, channels_first)
        shape = tuple(tensor.shape) if tensor.shape.rank is not None else ()
        channel_axis = 1 if channels_first and not grid.prefix else -1
        return LayerOutput(
            name=name,
            path=path,
            layer=record.layer,
            call=record.call,
            item=record.item,
            shape=(None, *shape[1:]) if self._per_sample(tensor) else shape,
            grid=grid.shape,
            to_grid=grid.to_grid,
            channels=shape[channel_axis] if len(shape) > 2 else None,
            channel_axis=channel_axis,
            prefix=grid.prefix,
            connected=tensor.name in self.upstream,
            passes_on=True,
            source=self.sources[tensor.name],
            is_output=tensor.name in self.outputs,
            input=index,
            input_axes=axes,
        )

    def _per_sample(self, tensor):
        length = self.inputs[0].shape[0]
        return bool(tensor.shape.rank) and tensor.shape[0] == length

    def _grid(self, tensor, channels_first):
        shape = tuple(tensor.shape)
        image = self._picture(tensor)
        if image is None or len(shape) != 3:
            grid = spatial_grids.plain(shape, channels_first)
            self.seen_grids += [grid.shape] if len(grid.shape) == 2 else []
            return grid
        if self.reshape is not None:
            return spatial_grids.reshaped(tensor, self.reshape) or Grid()
        size = image[2:] if channels_first else image[1:-1]
        return spatial_grids.of_tokens(shape, size, self.seen_grids) or Grid()

    def _reaching(self, tensor):
        """The inputs that the tensor is computed from: `(index, shape)` of each."""
        bits = self.reached_by.get(tensor.name, 0)
        return [
            (index, tuple(image.shape))
            for index, image in enumerate(self.inputs)
            if bits >> index & 1
        ]

    def _picture(self, tensor):
        """Shape of the picture, volume or video that the tensor is computed from."""
        shapes = [shape for _, shape in self._reaching(tensor)]
        return next((shape for shape in shapes if len(shape) > 3), None)

    def _input(self, tensor, grid, channels_first):
        """The input whose positions the grid keeps, and the axes that it covers."""
        fits = []
        for index, shape in self._reaching(tensor):
            fit = spatial_grids.input_axes(shape, grid.shape, channels_first)
            if fit is not None:
                fits.append((fit[0], index, fit[1]))
        _, index, axes = min(fits, default=(0, None, ()))
        return index, axes


def _tensors(structure):
    return [x for x in tree.flatten(structure) if tf.is_tensor(x)]


def _within(parents, types):
    return any(isinstance(parent, types) for parent in parents)


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
