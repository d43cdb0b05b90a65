"""A layer output: one tensor that one call of one layer returns."""

import dataclasses
import math
from collections.abc import Callable

import keras
from keras import ops, tree

from keras_gradcam.arrays import placed


@dataclasses.dataclass(frozen=True)
class LayerOutput:
    """One tensor that one call of one layer returns.

    Attributes:
        name: The path, then "[key]" where the layer returns several tensors, then "#n"
            where it is called several times, n from 0 in order of execution.
        path: The names of the nested models and of the layer, joined by "/"; then "~n"
            where several layers have the same, n from 0 in order of the model's layers.
        layer: The `keras.Layer`, or a `keras.Operation` of a functional model; `None`
            for an input of the model.
        call: Which call of the layer, from 0.
        item: Which tensor of the layer's flattened output.
        shape: Shape of the tensor, `None` for the batch and for other free lengths.
        grid: Shape of its spatial grid, `()` for a tensor without one.
        to_grid: Callable that brings the tensor, or its gradient, into the shape
            `(batch, *grid, channels)`.
        channels: Number of channels.
        channel_axis: The axis of the tensor that has them.
        prefix: How many tokens, such as a class token, come before those of the grid.
        connected: Whether the score can depend on the tensor.
        passes_on: Whether it can depend on its grid: `False` where only a class token
            goes further.
        moves: Position, among all layer outputs, of the one whose values this layer
            only pools, pads, cuts, resizes, reorders or hands on; `None` where it
            computes them.
        is_output: Whether the tensor is an output of the model.
        is_head: Whether an output of the model is this one, resized or with softmax.
        is_summary: Whether it sums up large areas of a finer grid, as a branch of
            pyramid pooling does.
        refinements: How often the grid becomes finer on the way to the score, at most.
        has_features: Whether it is more than the input, normalised or moved.
        is_behind_attention: Whether attention has mixed the positions of its grid.
        on_main_path: Whether all that the score knows of the input passes through it:
            not a branch of a block, but its end.
        input: Index of the flattened model input that the grid lies along, `None` where
            it lies along none, and a map keeps the grid as it is.
        input_axes: The axes of that input that a map covers, see `arrays.placed`.
        grid_axes: A `GridAxis` for each axis of the grid, `None` for one that lies
            along no axis of the input.
        is_rounded: Whether `grid_axes` are exact only for lengths of the input that
            their steps divide.
    """

    name: str
    path: str
    layer: keras.Layer | None
    call: int
    item: int
    shape: tuple
    grid: tuple
    to_grid: Callable
    channels: int | None
    channel_axis: int
    prefix: int
    connected: bool
    passes_on: bool
    moves: int | None
    is_output: bool
    is_head: bool
    is_summary: bool
    refinements: int
    has_features: bool
    is_behind_attention: bool
    on_main_path: bool
    input: int | None
    input_axes: tuple
    grid_axes: tuple = ()
    is_rounded: bool = False

    def is_candidate(self):
        """Whether there is a grid larger than 1x1 that the score depends on."""
        # A free length counts as larger than 1.
        cells = math.prod(2 if n is None else n for n in self.grid)
        reachable = self.connected and self.passes_on
        return reachable and cells > 1

    def is_placed_for(self, images):
        """Whether it is known where the grid lies on inputs of the size of these.

        A free length leaves open where cells lie that a "same" padding moves.

        Args:
            images: Structure of tensors, the model's inputs.
        """
        along = [where for where in self.grid_axes if where is not None]
        if not along or any(where.start is None for where in along):
            return False
        shape = tree.flatten(images)[self.input].shape
        return not self.is_rounded or not any(
            (shape[where.axis] or 0) % where.step
            for where in along
            if isinstance(where.axis, int)
        )

    def lengths(self, images):
        """The lengths of the input along `input_axes`.

        Args:
            images: Structure of tensors, the model's inputs.
        """
        shape = ops.shape(tree.flatten(images)[self.input])
        return [
            shape[axis] if isinstance(axis, int) else axis[1][axis[2]]
            for axis in self.input_axes
        ]

    def place(self, maps, size, lengths):
        """Lays maps `(batch, *grid)` where the grid lies in the input."""
        return placed(maps, self.grid_axes, self.input_axes, size, lengths)

    def pick(self, output):
        """Returns this tensor from all that the layer returns."""
        return tree.flatten(output)[self.item]
