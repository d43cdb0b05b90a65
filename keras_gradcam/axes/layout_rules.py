"""Rules of what lays cells out anew: slices, padding, axes in another order.

A rule is a callable from an operation of a graph, and the `TensorAxes` of its inputs
(`None` for a constant), to a list with those of its outputs, or `None` if it knows
nothing of them. A rule may raise what comes of shapes that it cannot read.
"""

import numpy as np

from keras_gradcam.axes.operations import shape_of, static
from keras_gradcam.axes.parts import broadcast, cut, padded
from keras_gradcam.axes.tensor_axes import ONE, Axis, Digit


def pad(operation, operands):
    result = operands[0]
    for number, (before, behind) in enumerate(static(operation, 1).tolist()):
        if before or behind:
            result = padded(result, number, before, behind)
    return [result]


def strided_slice(operation, operands):
    begin, end, strides = (static(operation, n).tolist() for n in (1, 2, 3))
    masks = {
        name: operation.get_attr(f"{name}_mask")
        for name in ("begin", "end", "ellipsis", "new_axis", "shrink_axis")
    }
    old, result = shape_of(operation.inputs[0]), operands[0]
    new_axes = sum(masks["new_axis"] >> n & 1 for n in range(len(begin)))
    number = place = 0
    for n in range(len(begin)):
        if masks["ellipsis"] >> n & 1:
            skipped = len(old) - (len(begin) - 1 - new_axes)
            number, place = number + skipped, place + skipped
        elif masks["new_axis"] >> n & 1:
            axes = (*result.axes[:place], ONE, *result.axes[place:])
            result, place = result._replace(axes=axes), place + 1
        elif masks["shrink_axis"] >> n & 1:
            index = begin[n] % old[number] if old[number] else begin[n]
            result = cut(result, place, index, 1, 1).without(place)
            number += 1
        else:
            result = _ranged(result, place, old[number], n, begin, end, strides, masks)
            number, place = number + 1, place + 1
    return [result]


def _ranged(axes, place, length, n, begin, end, strides, masks):
    free_begin, free_end = masks["begin"] >> n & 1, masks["end"] >> n & 1
    if length is None:
        if free_begin and free_end and strides[n] == 1:
            return axes
        raise ValueError("a slice of a free length")
    whole = slice(
        None if free_begin else begin[n], None if free_end else end[n], strides[n]
    )
    cells = range(*whole.indices(length))
    return cut(axes, place, cells.start, cells.step, len(cells))


def plain_slice(operation, operands):
    result = operands[0]
    begin, shape = static(operation, 1).tolist(), shape_of(operation.outputs[0])
    for number, start in enumerate(begin):
        result = cut(result, number, start, 1, shape[number])
    return [result]


def split(operation, operands):
    """`Split` and `SplitV`: consecutive parts of an axis."""
    is_even = operation.type == "Split"
    axis = int(static(operation, 0 if is_even else 2))
    image = operands[1 if is_even else 0]
    axis %= len(image.axes)
    results, start = [], 0
    for output in operation.outputs:
        count = shape_of(output)[axis]
        results.append(cut(image, axis, start, 1, count))
        start += count
    return results


def unpack(operation, operands):
    axis = operation.get_attr("axis") % len(operands[0].axes)
    return [
        cut(operands[0], axis, n, 1, 1).without(axis)
        for n in range(len(operation.outputs))
    ]


def pack(operation, operands):
    axis = operation.get_attr("axis") % len(shape_of(operation.outputs[0]))
    known = [x for x in operands if x]
    shape = shape_of(operation.outputs[0])
    del shape[axis]
    result = broadcast([(x, shape) for x in known], shape)
    fields = {
        key: field._replace(
            low=known[0].fields[key].low, high=known[0].fields[key].high
        )
        for key, field in result.fields.items()
        if key in known[0].fields
    }
    result = result._replace(fields=fields)
    new = Axis((Digit(len(operands), _counted_fields(known, operands)),))
    return [result._replace(axes=(*result.axes[:axis], new, *result.axes[axis:]))]


def _counted_fields(known, operands):
    """The steps of an axis whose cells come one after the other in an input."""
    if len(known) < 2 or len(known) != len(operands):
        return ()
    steps = []
    for key in known[0].fields:
        if not all(key in x.fields and key not in x.steps() for x in known):
            continue
        lows = np.diff([x.fields[key].low for x in known])
        highs = np.diff([x.fields[key].high for x in known])
        if lows[0] and (lows == lows[0]).all() and (highs == lows[0]).all():
            steps.append((key, float(lows[0])))
    return tuple(steps)


def concat(operation, operands):
    axis = int(static(operation, len(operands) - 1))
    shape = shape_of(operation.outputs[0])
    axis %= len(shape)
    parts = [
        (x, shape_of(t))
        for x, t in zip(operands[:-1], operation.inputs[:-1], strict=False)
    ]
    known = [(x, [*s[:axis], shape[axis], *s[axis + 1 :]]) for x, s in parts if x]
    along = [n for n, (x, _) in enumerate(parts) if x and x.axes[axis].is_mapped]
    whole = [
        (x.with_axis(axis, Axis((Digit(shape[axis]),))), size) for x, size in known
    ]
    result = broadcast(whole, shape)
    if len(along) != 1:
        return [result]
    before = sum(s[axis] for _, s in parts[: along[0]])
    behind = sum(s[axis] for _, s in parts[along[0] + 1 :])
    part = parts[along[0]][0]
    # What is put beside the cells of an axis, a class token, has no place on it.
    kept = part.axes[axis]
    kept = kept._replace(prefix=kept.prefix + before, suffix=kept.suffix + behind)
    fields = {**result.fields, **part.fields}
    return [result._replace(fields=fields).with_axis(axis, kept)]


def transpose(operation, operands):
    order = static(operation, 1).tolist()
    return [operands[0]._replace(axes=tuple(operands[0].axes[n] for n in order))]


def expand_dims(operation, operands):
    axis = int(static(operation, 1)) % len(shape_of(operation.outputs[0]))
    axes = operands[0].axes
    return [operands[0]._replace(axes=(*axes[:axis], ONE, *axes[axis:]))]


def squeeze(operation, operands):
    shape = shape_of(operation.inputs[0])
    dropped = [n % len(shape) for n in operation.get_attr("squeeze_dims")]
    dropped = dropped or [n for n, length in enumerate(shape) if length == 1]
    axes = tuple(x for n, x in enumerate(operands[0].axes) if n not in dropped)
    return [operands[0]._replace(axes=axes)]


def reverse(operation, operands):
    result = operands[0]
    for number in (static(operation, 1) % len(result.axes)).tolist():
        axis = result.axes[number]
        if axis.is_mapped:
            (digit,) = axis.digits
            result = result.moved(digit.steps, digit.length - 1, digit.length - 1)
            result = result.with_axis(number, Axis((digit.times(-1),)))
    return [result]


def roll(operation, operands):
    result = operands[0]
    shifts = np.atleast_1d(static(operation, 1)).tolist()
    for shift, number in zip(
        shifts, np.atleast_1d(static(operation, 2)).tolist(), strict=True
    ):
        axis = result.axes[number % len(result.axes)]
        if axis.is_mapped:
            (digit,) = axis.digits
            # What is rolled over the edge comes back where the model rolls back.
            result = result.moved(digit.steps, -shift, -shift)
    return [result]


def tile(operation, operands):
    result = operands[0]
    for number, count in enumerate(static(operation, 1).tolist()):
        if count != 1:
            axis = result.axes[number]
            digits = (Digit(count), *[d for d in axis.digits if d.length != 1])
            result = result.with_axis(number, Axis(digits))
    return [result]


def broadcast_to(operation, operands):
    found = [(operands[0], shape_of(operation.inputs[0]))]
    return [broadcast(found, shape_of(operation.outputs[0]))]
