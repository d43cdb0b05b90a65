"""Rules of what moves windows over an axis: convolution, pooling, resizing.

A rule is a callable from an operation of a graph, and the `TensorAxes` of its inputs
(`None` for a constant), to a list with those of its outputs, or `None` if it knows
nothing of them. A rule may raise what comes of shapes that it cannot read.
"""

import numpy as np

from keras_gradcam.axes.operations import (
    channel_axis,
    has,
    shape_of,
    spatial_axes,
    static,
)
from keras_gradcam.axes.parts import cut, padded, seen, with_joined_copies
from keras_gradcam.axes.tensor_axes import (
    Axis,
    Digit,
)


def convolution(operation, operands):
    image, kernel = operands[0], shape_of(operation.inputs[1])
    shape = shape_of(operation.outputs[0])
    strides = operation.get_attr("strides")
    dilations = operation.get_attr("dilations")
    channels = channel_axis(operation, len(shape))
    result = image.summed(channels).with_axis(channels, Axis((Digit(shape[channels]),)))
    for axis, cells in zip(spatial_axes(operation, len(shape)), kernel, strict=False):
        size = (cells - 1) * dilations[axis] + 1
        length = shape_of(operation.inputs[0])[axis]
        before = _padding(operation, axis, length, size, strides[axis])
        result = _window(result, axis, size, strides[axis], before, shape[axis])
        result = _noted(result, operation, length, size, strides[axis])
    return [result]


def pooling(operation, operands):
    shape = shape_of(operation.outputs[0])
    result = operands[0]
    strides, sizes = operation.get_attr("strides"), operation.get_attr("ksize")
    for axis in spatial_axes(operation, len(shape)):
        length = shape_of(operation.inputs[0])[axis]
        before = _padding(operation, axis, length, sizes[axis], strides[axis])
        result = _window(result, axis, sizes[axis], strides[axis], before, shape[axis])
        result = _noted(result, operation, length, sizes[axis], strides[axis])
    return [result]


def transposed_convolution(operation, operands):
    image, kernel = operands[2], shape_of(operation.inputs[1])
    shape, old = shape_of(operation.outputs[0]), shape_of(operation.inputs[2])
    strides = operation.get_attr("strides")
    channels = channel_axis(operation, len(old))
    count = shape[channels] if shape else None
    result = image.summed(channels).with_axis(channels, Axis((Digit(count),)))
    for axis, size in zip(spatial_axes(operation, len(old)), kernel, strict=False):
        result = with_joined_copies(result, axis)
        (digit,) = result.axes[axis].digits
        stride, length = strides[axis], shape[axis]
        before = _padding(operation, axis, length, size, stride)
        result = _noted(result, operation, length, size, stride)
        shift = (before - size + 1) / stride, before / stride
        result = result.moved(digit.steps, *shift)
        digit = digit.times(1 / stride)._replace(length=length)
        result = result.with_axis(axis, Axis((digit,)))
    return [result]


def resizing(operation, operands):
    """Images `(batch, height, width, channels)` that are resized."""
    old, shape = shape_of(operation.inputs[0]), shape_of(operation.outputs[0])
    result = operands[0]
    for axis in (1, 2):
        result = with_joined_copies(result, axis)
        axis_now = result.axes[axis]
        if not axis_now.is_mapped or old[axis] == shape[axis]:
            if old[axis] != shape[axis]:
                result = result.with_axis(axis, Axis((Digit(shape[axis]),)))
            continue
        (digit,) = axis_now.digits
        scale = old[axis] / shape[axis]
        centre = (scale - 1) / 2
        if has(operation, "align_corners"):
            scale = (old[axis] - 1) / max(shape[axis] - 1, 1)
            centre = 0.0
        elif not has(operation, "half_pixel_centers", True):
            centre = 0.0
        result = result.moved(digit.steps, centre, centre)
        digit = digit.times(scale)._replace(length=shape[axis])
        result = result.with_axis(axis, Axis((digit,)))
    return [result]


def space_to_depth(operation, operands):
    size, result = operation.get_attr("block_size"), operands[0]
    shape = shape_of(operation.outputs[0])
    rank = len(shape)
    for number in spatial_axes(operation, rank):
        (digit,) = result.axes[number].digits
        result = result.moved(digit.steps, 0, size - 1)
        digit = digit.times(size)._replace(length=shape[number])
        result = result.with_axis(number, Axis((digit,)))
    channels = channel_axis(operation, rank)
    return [result.with_axis(channels, Axis((Digit(shape[channels]),)))]


def depth_to_space(operation, operands):
    size, result = operation.get_attr("block_size"), operands[0]
    shape = shape_of(operation.outputs[0])
    rank = len(shape)
    for number in spatial_axes(operation, rank):
        (digit,) = result.axes[number].digits
        shift = -(size - 1) / 2 / size
        result = result.moved(digit.steps, shift, shift)
        digit = digit.times(1 / size)._replace(length=shape[number])
        result = result.with_axis(number, Axis((digit,)))
    channels = channel_axis(operation, rank)
    return [result.with_axis(channels, Axis((Digit(shape[channels]),)))]


def space_to_batch(operation, operands):
    """Of dilated convolutions: every n-th cell, the rests side by side in the batch."""
    blocks, paddings = static(operation, 1).tolist(), static(operation, 2).tolist()
    result, offsets = operands[0], []
    for number, (block, (before, behind)) in enumerate(
        zip(blocks, paddings, strict=True), start=1
    ):
        if before or behind:
            result = padded(result, number, before, behind)
        (digit,) = result.axes[number].digits
        offsets.append(digit._replace(length=block))
        digit = digit.times(block)._replace(length=digit.length // block)
        result = result.with_axis(number, Axis((digit,)))
    return [result.with_axis(0, Axis((*offsets, *result.axes[0].digits)))]


def batch_to_space(operation, operands):
    blocks, crops = static(operation, 1).tolist(), static(operation, 2).tolist()
    result = operands[0]
    offsets = result.axes[0].digits[: len(blocks)]
    result = result.with_axis(0, Axis(result.axes[0].digits[len(blocks) :]))
    for number, (block, offset, crop) in enumerate(
        zip(blocks, offsets, crops, strict=True), start=1
    ):
        (digit,) = result.axes[number].digits
        if offset.length != block or digit.steps != offset.times(block).steps:
            raise ValueError("not what a dilated convolution has made")
        count = digit.length * block
        result = result.with_axis(number, Axis((offset._replace(length=count),)))
        result = cut(result, number, crop[0], 1, count - sum(crop))
    return [result]


def _window(axes, number, size, stride, before, length):
    """A window that moves along an axis.

    Args:
        axes: A `TensorAxes`.
        number: Of the axis.
        size: How many cells the window covers, with dilation.
        stride: How far it moves.
        before: How many cells of padding come before the first.
        length: How many windows there are, `None` if that is free.
    """
    axes = with_joined_copies(axes, number)
    axis = axes.axes[number]
    if not axis.is_plain:
        # Only a window of one cell mixes nothing.
        if size == 1 and stride == 1:
            return axes
        raise ValueError("a window over several digits")
    (digit,) = axis.digits
    result = axes
    if digit.length is not None and length is not None:
        cells = stride * np.arange(length)[:, None] - before + np.arange(size)
        result = seen(result, digit, cells[(cells >= 0) & (cells < digit.length)])
    result = result.moved(digit.steps, -before, size - 1 - before)
    return result.with_axis(
        number, Axis((digit.times(stride)._replace(length=length),))
    )


def _padding(operation, axis, length, size, stride):
    """How many cells of padding come before an axis."""
    kind = operation.get_attr("padding").decode()
    if kind == "VALID":
        return 0
    if kind == "EXPLICIT":
        return operation.get_attr("explicit_paddings")[2 * axis]
    if length is None:  # As of a length that the strides divide.
        return max(size - stride, 0) // 2
    count = -(-length // stride)
    return max((count - 1) * stride + size - length, 0) // 2


def _noted(axes, operation, length, size, stride):
    """Notes where the padding of a free length was taken as that of a usual one."""
    depends = operation.get_attr("padding") == b"SAME" and min(size, stride) > 1
    return axes._replace(is_rounded=axes.is_rounded or (depends and length is None))
