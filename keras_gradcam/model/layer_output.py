"""A layer output: one tensor that one call of one layer returns."""

import dataclasses
import math
from collections.abc import Callable

import keras
from keras import tree


@dataclasses.dataclass(frozen=True)
class LayerOutput:
    """One tensor that one call of one layer returns.

    Attributes:
        name: The path, then "[key]" where the layer returns several tensors, then "#n"
            where it is called several times, n from 0 in order of execution.
        path: The names of the nested models and of the layer, joined by "/"; then "~n"
            for the n-th further layer of the same name.
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
        source: Position, among all layer outputs, of the one that computed the tensor,
            where this layer only hands it on: `Dropout` at inference, a nested model
            its last layer's output.
        is_output: Whether the tensor is an output of the model.
        input: Index of the flattened model input that the grid belongs to, or `None`.
        input_axes: The axes of that input that the grid covers.
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
    source: int
    is_output: bool
    input: int | None
    input_axes: tuple

    def is_candidate(self):
        """Whether there is a grid larger than 1x1 that the score depends on."""
        # A free length counts as larger than 1.
        cells = math.prod(2 if n is None else n for n in self.grid)
        reachable = self.connected and self.passes_on
        return reachable and self.input is not None and cells > 1

    def pick(self, output):
        """Returns this tensor from all that the layer returns."""
        return tree.flatten(output)[self.item]
