"""Parts of axes: cut out, padded, or written in one digit."""

import numpy as np

from keras_gradcam.axes.tensor_axes import Axis, Digit, joined


def seen(axes, digit, cells):
    """Notes that only some cells of a digit are used.

    Args:
        axes: A `TensorAxes`.
        digit: One of its digits.
        cells: Array of the numbers of the cells that are used.
    """
    fields = dict(axes.fields)
    for key, step in digit.steps:
        if key not in fields:
            continue
        field = fields[key]
        # Other digits along the same key move the cell on.
        back, ahead = _extent(axes, key)
        own = step * ((digit.length or 1) - 1)
        lows = field.low + step * cells + back - min(own, 0)
        highs = field.high + step * cells + ahead - max(own, 0)
        inside = (highs >= field.first) & (lows <= field.last)
        if inside.any():
            first = max(field.first, lows[inside].min())
            last = min(field.last, highs[inside].max())
            fields[key] = field._replace(first=float(first), last=float(last))
    return axes._replace(fields=fields)


def _extent(axes, key):
    """How far back and ahead the digits of all axes reach along a key."""
    moves = [
        step * ((digit.length or 1) - 1)
        for axis in axes.axes
        for digit in axis.flat()
        for other, step in digit.steps
        if other == key
    ]
    return sum(min(move, 0) for move in moves), sum(max(move, 0) for move in moves)


def with_joined_copies(axes, number):
    """Joins a digit of copies with the one before it, whose cells were repeated.

    Upsampling repeats each cell n times: the copies lie side by side in it.
    """
    axis = axes.axes[number]
    if len(axis.digits) < 2 or not all(isinstance(d, Digit) for d in axis.digits):
        return axes
    *rest, outer, inner = axis.digits
    if None in (outer.length, inner.length) or not outer.steps or inner.steps:
        return axes
    shift = (1 / inner.length - 1) / 2
    steps = tuple((key, step / inner.length) for key, step in outer.steps)
    finer = Digit(outer.length * inner.length, steps)
    joined_axis = axis._replace(digits=(*rest, finer))
    return axes.moved(outer.steps, shift, shift).with_axis(number, joined_axis)


def padded(axes, number, before, behind):
    axis = axes.axes[number]
    if axis.is_plain:
        (digit,) = axis.digits
        if digit.length is not None:
            digit = digit._replace(length=digit.length + before + behind)
        moved = axes.moved(digit.steps, -before, -before)
        return moved.with_axis(number, Axis((digit,)))
    longer = axis._replace(prefix=axis.prefix + before, suffix=axis.suffix + behind)
    return axes.with_axis(number, longer)


def cut(axes, number, start, step, count):
    """Every `step`-th cell of an axis, from `start` on."""
    axis = axes.axes[number]
    length = axis.length
    if start == 0 and step == 1 and count == length:
        return axes
    inner = None if length is None else length - axis.prefix - axis.suffix
    if (axis.prefix or axis.suffix) and step == 1:
        before, behind = axis.prefix - start, start + count - axis.prefix - inner
        if before >= 0 and behind >= 0:
            kept = axis._replace(prefix=before, suffix=behind)
            return axes.with_axis(number, kept)
        if start + count <= axis.prefix or start >= axis.prefix + inner:
            return axes.with_axis(number, Axis((Digit(count),)))
    if not axis.is_plain:
        if not axis.is_mapped:
            return axes.with_axis(number, Axis((Digit(count),)))
        raise ValueError("a slice of several digits")
    (digit,) = axis.digits
    cells = start + step * np.arange(count)
    result = seen(axes, digit, cells).moved(digit.steps, start, start)
    kept = digit.times(step)._replace(length=count)
    return result.with_axis(number, Axis((kept,)))


def broadcast(found, shape):
    """What comes of an operation element by element.

    Args:
        found: List of pairs, the `TensorAxes` of an operand and its shape.
        shape: Shape of the result.

    Returns:
        A `TensorAxes`, `None` if the operands lie differently.
    """
    found, axes = _alike(found, shape), []
    for back in range(len(shape), 0, -1):
        candidates = [
            x.axes[-back]
            for x, own in found
            if len(own) >= back and own[-back] == shape[-back]
        ]
        mapped = [axis for axis in candidates if axis.is_mapped]
        plain = candidates or [Axis((Digit(shape[-back]),))]
        axes.append(_one_of(mapped) if mapped else plain[0])
        if axes[-1] is None:
            return None
    # An output of another size is no element by element result.
    fits = [
        all(n in (1, m) for n, m in zip(own[::-1], shape[::-1], strict=False))
        and len(own) <= len(shape)
        for _, own in found
    ]
    return joined([x for x, _ in found], tuple(axes)) if all(fits) else None


def _alike(found, shape):
    """Writes axes of operands in the same digits, where some have repeated cells."""
    found = list(found)
    for back in range(1, len(shape) + 1):
        mapped = {
            n: x.axes[-back]
            for n, (x, own) in enumerate(found)
            if len(own) >= back and own[-back] == shape[-back] != 1
        }
        mapped = {n: axis for n, axis in mapped.items() if axis.is_mapped}
        if len(set(mapped.values())) > 1:
            found = [
                (with_joined_copies(x, len(own) - back), own)
                if n in mapped
                else (x, own)
                for n, (x, own) in enumerate(found)
            ]
    return found


def _one_of(axes):
    """The axis of a sum of tensors; where these are of several inputs, along each."""
    first, *others = (axis for n, axis in enumerate(axes) if axis not in axes[:n])
    for other in others:
        if _are_close(first, other):
            first = min(first, other, key=lambda axis: abs(axis.digits[0].steps[0][1]))
            continue
        pairs = list(zip(first.digits, other.digits, strict=False))
        same = len(first.digits) == len(other.digits) and first[1:] == other[1:]
        if not same or not all(_are_of_other_inputs(a, b) for a, b in pairs):
            return None
        digits = tuple(a._replace(steps=a.steps + b.steps) for a, b in pairs)
        first = first._replace(digits=digits)
    return first


def _are_close(one, other):
    """Whether cells lie along the same, about as densely: lengths are rounded up."""
    if not (one.is_plain and other.is_plain):
        return False
    (a,), (b,) = one.digits, other.digits
    steps = dict(a.steps), dict(b.steps)
    return (
        len(a.steps) == 1
        and steps[0].keys() == steps[1].keys()
        and a.length == b.length
        and all(0.8 < steps[0][key] / steps[1][key] < 1.25 for key in steps[0])
    )


def _are_of_other_inputs(one, other):
    if not (isinstance(one, Digit) and isinstance(other, Digit)):
        return False
    keys = dict(one.steps).keys() & dict(other.steps).keys()
    return one.length == other.length and not keys
