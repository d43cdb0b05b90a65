"""Reads off the graph of a pass what each layer output of it is, and where it lies."""

import collections
from typing import NamedTuple

import keras
import tensorflow as tf
from keras import tree

from keras_gradcam import axes
from keras_gradcam.arrays import GridAxis
from keras_gradcam.graphs import graph_paths
from keras_gradcam.model import spatial_grids
from keras_gradcam.model.layer_output import LayerOutput
from keras_gradcam.model.spatial_grids import Grid

# Measuring more would cost a second or more each, and one that is found tells what
# follows it.
MAX_MEASURED = 4

# Their inner layers return (batch, tokens, heads, features), which only looks like a
# picture.
ATTENTION = (keras.layers.MultiHeadAttention, keras.layers.GroupQueryAttention)


class Record(NamedTuple):
    """One tensor that a layer returned while the graph was built.

    Attributes:
        layer: The layer.
        call: Which call of it, from 0.
        item: Which tensor of its flattened output.
        key: Where the tensor is in its output, as text.
        tensor: Its copy that the rest of the model uses.
    """

    layer: keras.Layer
    call: int
    item: int
    key: str
    tensor: tf.Tensor


class _Located(NamedTuple):
    """Where the grid of a tensor lies, see `PlacedGrid`."""

    grid: Grid
    axes: tuple
    channel_axis: int


NOWHERE = _Located(Grid(), (), -1)


class GraphReader:
    """Makes layer outputs of records, with what the graph of a pass tells of each.

    Args:
        inputs: Structure of the tensors of the model's inputs.
        outputs: Structure of the tensors of its outputs.
        scores: Structure of tensors, what the scores are made of.
        reshape: See `spatial_grids.reshaped`.
    """

    def __init__(self, inputs, outputs, scores, reshape):
        self.inputs = tree.flatten(inputs)
        self.outputs = _tensors(outputs)
        self.reshape = reshape
        operations = self.inputs[0].graph.get_operations()
        self.operations = operations
        self.scores = _tensors(scores)
        self.upstream = graph_paths.upstream(operations, self.scores)
        self.reached_by = graph_paths.reached_by(operations, self.inputs)
        self.seen_grids = []
        self.axes = axes.trace(self.inputs)
        self.lost = []
        if all(x.shape.is_fully_defined() for x in self.inputs):
            self.lost = axes.lost_tensors(self.inputs, self.axes)[:MAX_MEASURED]

    def measurement(self):
        """What the graph of the pass has to compute to find the axes without a rule."""
        try:
            return axes.measuring.weights(self.lost, self.inputs)
        except LookupError:  # Of an operation without a gradient.
            self.lost = []
            return []

    def measure(self, function):
        """Runs the pass on noise, if there are axes that no rule tells."""
        if not self.lost:
            return
        noise = [_noise(x) for x in self.inputs]
        noise = tree.pack_sequence_as(function.structured_input_signature[0][0], noise)
        try:
            measured = tree.map_structure(lambda x: x.numpy(), function(noise))
        except tf.errors.OpError:
            # Some layers have no gradient on this device, or cannot take noise: the
            # axes stay unknown, and the maps on the grids of their layers.
            return
        found = axes.measuring.found_in(measured, self.lost, self.inputs)
        self.axes = axes.trace(self.inputs, found)

    def of(self, records, paths):
        names = {id(layer): path for path, layer, _ in reversed(paths)}
        calls = collections.Counter(id(r.layer) for r in records if not r.item)
        inner = {id(x) for _, x, parents in paths if _within(parents, ATTENTION)}
        data_format = keras.config.image_data_format()
        self.places = {r.tensor.name: place for place, r in enumerate(records)}
        self.passed = [self._passed(x) for x in self.inputs]
        self.summaries = graph_paths.summaries(self.operations, self.axes)
        self.behind_attention = graph_paths.behind_attention(
            self.operations, self.inputs
        )
        self.features = graph_paths.features(self.operations)
        self.refinements = graph_paths.refinements(
            self.operations, self.axes, self.scores, self.summaries
        )
        heads = [graph_paths.head_of(x, self.places) for x in self.outputs]
        self.heads = {self.places[name] for name in heads if name is not None}
        layer_outputs = []
        for record in records:
            path = names[id(record.layer)]
            number = f"#{record.call}" if calls[id(record.layer)] > 1 else ""
            # Layers without a data format of their own follow the last one that has.
            data_format = getattr(record.layer, "data_format", data_format)
            first = data_format == "channels_first"
            found = NOWHERE
            if id(record.layer) not in inner:
                found = self._located(record.tensor, first)
            name = path + record.key + number
            layer_outputs.append(self._layer_output(record, path, name, found))
        return layer_outputs

    def _layer_output(self, record, path, name, found):
        tensor, grid, channel_axis = record.tensor, found.grid, found.channel_axis
        along = [where for where in found.axes if where is not None]
        index = along[0].input if along else None
        shape = tuple(tensor.shape) if tensor.shape.rank is not None else ()
        # Frames may be folded into the batch.
        with_batch = self._per_sample(tensor) or grid.shape
        return LayerOutput(
            name=name,
            path=path,
            layer=record.layer,
            call=record.call,
            item=record.item,
            # Frames may be folded into the batch.
            shape=(None, *shape[1:]) if with_batch else shape,
            grid=grid.shape,
            to_grid=grid.to_grid,
            channels=shape[channel_axis] if len(shape) > 2 else None,
            channel_axis=channel_axis,
            prefix=grid.prefix,
            connected=tensor.name in self.upstream,
            passes_on=True,
            moves=self.places.get(graph_paths.moved_from(tensor, self.places)),
            is_output=any(tensor.name == x.name for x in self.outputs),
            is_head=self.places[tensor.name] in self.heads,
            is_summary=tensor.name in self.summaries,
            refinements=self.refinements.get(tensor.name, 0),
            has_features=tensor.name in self.features,
            is_behind_attention=tensor.name in self.behind_attention,
            on_main_path=tensor.op.name in self._passed_of(index),
            input=index,
            input_axes=self._covered(index, along),
            grid_axes=found.axes,
            is_rounded=tensor.name in self.axes and self.axes[tensor.name].is_rounded,
        )

    def _passed(self, tensor):
        return graph_paths.passed_by_all(
            self.operations, tensor, self.scores, self.upstream
        )

    def _passed_of(self, index):
        """What all of an input passes through; all of any, where that is not known."""
        return set().union(*self.passed) if index is None else self.passed[index]

    def _covered(self, index, along):
        """The axes of an input that a map covers: a picture is covered as a whole."""
        covered = tuple(sorted(where.axis for where in along))
        rank = self.inputs[index].shape.rank if index is not None else 0
        if rank != 4 or len(covered) != 1 or not isinstance(covered[0], int):
            return covered
        first = keras.config.image_data_format() == "channels_first"
        return (2, 3) if covered[0] == 3 or (first and covered[0] == 2) else (1, 2)

    def _per_sample(self, tensor):
        length = self.inputs[0].shape[0]
        return bool(tensor.shape.rank) and tensor.shape[0] == length

    def _located(self, tensor, channels_first):
        """The grid of a tensor, and where it lies in an input."""
        known = self.axes.get(tensor.name)
        if known is None or len(known.axes) < 3:
            return NOWHERE
        channel_axis = self._channel_axis(known, channels_first)
        if not known.is_certain and not known.axes[0].is_mapped:
            return self._guessed(tensor, channels_first)
        placed = None
        if self.reshape is None or len(known.axes) != 3 or not self._picture(tensor):
            placed = spatial_grids.of_axes(known, channel_axis)
            if placed is None and known.is_certain and self._per_sample(tensor):
                grid = spatial_grids.plain(tuple(tensor.shape), channel_axis == 1)
                placed = spatial_grids.PlacedGrid(grid, (None,) * len(grid.shape))
        if placed is not None:
            return _Located(*placed, channel_axis)
        return self._guessed(tensor, channels_first)

    def _channel_axis(self, known, channels_first):
        """The axis of the channels: a layer without a data format may have either."""
        usual, other = (1, -1) if channels_first else (-1, 1)
        is_other = known.axes[usual].is_mapped and not known.axes[other].is_mapped
        return other if is_other else usual

    def _guessed(self, tensor, channels_first):
        """The grid as its lengths suggest, where nothing else is known."""
        # What splits texts leaves the length of the batch open.
        if tensor.shape[0] not in (None, self.inputs[0].shape[0]):
            return NOWHERE
        grid = self._grid(tensor, channels_first)
        index, covered = self._input(tensor, grid, channels_first)
        along = tuple(GridAxis(index, axis) for axis in covered)
        if len(along) != len(grid.shape):
            along = (None,) * len(grid.shape)
        channel_axis = 1 if channels_first and not grid.prefix else -1
        return _Located(grid, along, channel_axis)

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
            # The words of a text have no place on its axes.
            if bits >> index & 1 and image.dtype != tf.string
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


def _noise(tensor):
    if not tensor.dtype.is_floating:
        return tf.zeros(tensor.shape, tensor.dtype)
    shape = tensor.shape
    return tf.random.stateless_uniform(shape, seed=(0, 0), dtype=tensor.dtype)


def _tensors(structure):
    return [x for x in tree.flatten(structure) if tf.is_tensor(x)]


def _within(parents, types):
    return any(isinstance(parent, types) for parent in parents)
