"""The consensus of depths: one map of those of all depths of a network.

A late layer knows what it sees and hardly where, an early one where and hardly what. At
each depth d, from fine to coarse, there is the signed map `m_d = sum_k G_k A_k`
(HiResCAM). The consensus is

    c = (prod_d p_d) ^ (1 / D),  p_d = relu(t_d * m_d) / max(relu(t_d * m_d)),

resized linearly to the finest grid. The kernel `t_d` is the triangle as wide as a cell
of the coarsest grid: stretching that grid linearly is the same as smoothing it with
this kernel, so that all depths are compared at one bandwidth. In a mean of the depths,
the noise of the early ones stays; in a product a place is hot only if all agree.
"""

import functools
import math

from keras import ops

from keras_gradcam.arrays import onto_grid
from keras_gradcam.maps import normalization


def check(layer_outputs):
    """Raises unless the grids of layer outputs lie over the same of the input."""
    if len({_axes(x) for x in layer_outputs}) > 1:
        raise ValueError(
            "The method makes one map of several layers, and needs those whose grids "
            "lie over the same axes of the same input. Received: layers "
            f"{[x.name for x in layer_outputs]}"
        )


def finest(layer_outputs):
    """Position of the layer output with the smallest cells, the last of these."""
    sizes = [math.prod(_steps(x)) for x in layer_outputs]
    return max(n for n, size in enumerate(sizes) if size == min(sizes))


def consensus(maps, layer_outputs):
    """Makes one map of those of several depths.

    Args:
        maps: List of tensors `(batch, *grid)`, signed, in any unit.
        layer_outputs: List of `LayerOutput`, those of the maps.

    Returns:
        Tensor `(batch, *grid)` in [0, 1], on the grid of `finest`.
    """
    widest = [max(steps) for steps in zip(*map(_steps, layer_outputs), strict=True)]
    number = finest(layer_outputs)
    onto = layer_outputs[number]
    size = ops.shape(maps[number])[1:]
    parts = [
        onto_grid(
            _part(one, layer_output, widest),
            layer_output.grid_axes,
            onto.grid_axes,
            size,
        )
        for one, layer_output in zip(maps, layer_outputs, strict=True)
    ]
    return functools.reduce(ops.multiply, parts) ** (1.0 / len(parts))


def _part(maps, layer_output, widest):
    """What one depth says for the target, in [0, 1], at the bandwidth of the widest."""
    pairs = zip(widest, _steps(layer_output), strict=True)
    for axis, (wide, step) in enumerate(pairs, start=1):
        maps = smoothed(maps, axis, wide / step)
    return normalization.normalize_max(ops.relu(maps))


def smoothed(maps, axis, width):
    """Smooths maps along an axis by a triangle, mirrored at the ends.

    Args:
        maps: Tensor `(batch, *grid)`.
        axis: Of the tensor.
        width: At how many cells from its centre the triangle reaches 0. Of 1 cell it
            changes nothing.
    """
    reach = math.ceil(width) - 1
    if reach < 1:
        return maps
    heights = [1.0 - abs(n) / width for n in range(-reach, reach + 1)]
    count = ops.shape(maps)[axis]
    places = ops.arange(count, dtype="int32")
    # No convolution, which accelerators round to 8 or 10 bits.
    total = 0.0
    for shift, height in enumerate(heights, start=-reach):
        # Mirrored at both ends, as often as it takes.
        cells = ops.mod(places + shift, 2 * count)
        cells = ops.minimum(cells, 2 * count - 1 - cells)
        total = total + (height / sum(heights)) * ops.take(maps, cells, axis=axis)
    return total


def _axes(layer_output):
    along = [where and where.axis for where in layer_output.grid_axes]
    return layer_output.input, tuple(along), len(layer_output.grid)


def _steps(layer_output):
    """How wide a cell is along each axis, in any unit that all layers share."""
    known = [where and where.step for where in layer_output.grid_axes]
    lengths = layer_output.grid
    known = known or [None] * len(lengths)
    pairs = zip(known, lengths, strict=True)
    return [step or (1.0 / length if length else 1.0) for step, length in pairs]
