"""Rules of sums and products over axes, and of rows of tables.

A rule is a callable from an operation of a graph, and the `TensorAxes` of its inputs
(`None` for a constant), to a list with those of its outputs, or `None` if it knows
nothing of them. A rule may raise what comes of shapes that it cannot read.
"""

import numpy as np

from keras_gradcam.axes.operations import shape_of, static
from keras_gradcam.axes.parts import broadcast, seen, with_joined_copies
from keras_gradcam.axes.tensor_axes import ONE, Axis, Digit, apart

# Operations element by element, whose results are as large as their inputs.
# fmt: off
ELEMENTWISE = frozenset((
    "Abs", "Acos", "Acosh", "Add", "AddN", "AddV2", "Asin", "Asinh", "Atan",
    "Atan2", "Atanh", "BesselI0e", "BiasAdd", "Cast", "Ceil", "CheckNumerics",
    "ClipByValue", "Cos", "Cosh", "Cumprod", "Cumsum", "Digamma", "Div", "DivNoNan",
    "Elu", "Equal", "Erf", "Erfc", "Exp", "Expm1", "FakeQuantWithMinMaxVars",
    "Floor", "FloorDiv", "FloorMod", "Greater", "GreaterEqual", "IdentityN",
    "IsFinite", "IsInf", "IsNan", "LRN", "LeakyRelu", "Less", "LessEqual", "Lgamma",
    "Log", "Log1p", "LogSoftmax", "LogicalAnd", "LogicalNot", "LogicalOr",
    "Maximum", "Minimum", "Mod", "Mul", "MulNoNan", "Neg", "NotEqual", "OnesLike",
    "Pow", "PreventGradient", "RandomStandardNormal", "RandomUniform", "RealDiv",
    "Reciprocal", "Relu", "Relu6", "Rint", "Round", "Rsqrt", "Select", "SelectV2",
    "Selu", "Sigmoid", "Sign", "Sin", "Sinh", "Snapshot", "Softmax", "Softplus",
    "Softsign", "Sqrt", "Square", "SquaredDifference", "StopGradient", "Sub", "Tan",
    "Tanh", "TruncateDiv", "Xdivy", "Xlogy", "ZerosLike",
))
# fmt: on


def same_shape(operation, operands):
    """Of a result that has the shape of its inputs, or of what they broadcast to.

    Where lengths are free, two shapes may only look the same.
    """
    output = operation.outputs[0]
    if None in shape_of(output)[1:] and operation.type not in ELEMENTWISE:
        return None
    found = [
        (x, shape_of(t)) for x, t in zip(operands, operation.inputs, strict=True) if x
    ]
    if any(len(x.axes) != len(shape) for x, shape in found):
        return None
    result = broadcast(found, shape_of(output))
    return None if result is None else [result] * len(operation.outputs)


def first_input(operation, operands):
    return [operands[0]] * len(operation.outputs)


def reduction(operation, operands):
    numbers = np.atleast_1d(static(operation, 1)).tolist()
    rank = len(operands[0].axes)
    numbers = sorted((n % rank for n in numbers), reverse=True)
    result = operands[0]
    for number in numbers:
        result = result.summed(number)
        if not operation.get_attr("keep_dims"):
            result = result.without(number)
    return [result]


def matmul(operation, operands):
    batched = operation.type != "MatMul"
    names = ("adj_x", "adj_y") if batched else ("transpose_a", "transpose_b")
    left, right = operands
    rank = len(shape_of(operation.outputs[0]))
    shape = shape_of(operation.outputs[0])
    parts = []
    for x, name, is_left in ((left, names[0], True), (right, names[1], False)):
        if x is not None:
            parts.append(_factor(x, operation.get_attr(name), is_left, rank))
    return [_product(parts, shape)]


def _factor(axes, is_transposed, is_left, rank):
    """A factor of a product of matrices, its inner axis summed, and its shape."""
    own = list(axes.axes)
    if is_transposed:
        own[-1], own[-2] = own[-2], own[-1]
    inner = len(own) - (1 if is_left else 2)
    summed = axes._replace(axes=tuple(own)).summed(inner)
    more = rank - len(own)
    shape = [1] * more + [axis.length for axis in summed.axes]
    return summed._replace(axes=(ONE,) * more + summed.axes), shape


def einsum(operation, operands):
    sources, target = operation.get_attr("equation").decode().split("->")
    if "." in sources:
        raise ValueError("an ellipsis")
    shape = shape_of(operation.outputs[0])
    parts = []
    for x, letters in zip(operands, sources.split(","), strict=True):
        if x is None:
            continue
        summed = x
        for number, letter in enumerate(letters):
            if letter not in target:
                summed = summed.summed(number)
        axes = {letter: summed.axes[n] for n, letter in enumerate(letters)}
        ordered = tuple(axes.get(letter, ONE) for letter in target)
        own = [shape[n] if letter in axes else 1 for n, letter in enumerate(target)]
        parts.append((summed._replace(axes=ordered), own))
    return [_product(parts, shape)]


def _product(parts, shape):
    if len(parts) == 2:
        (left, own_left), (right, own_right) = parts
        parts = [(left, own_left), (apart(left, right), own_right)]
    return broadcast(parts, shape)


def gather(operation, operands):
    """Rows of a table for each index, or chosen cells of an axis."""
    table, indices = operands[0], operands[1]
    shape = shape_of(operation.outputs[0])
    if table is None:
        behind = shape[len(indices.axes) :]
        axes = (*indices.axes, *(Axis((Digit(n),)) for n in behind))
        return [indices._replace(axes=axes)]
    if operation.type == "ResourceGather" or operation.get_attr("batch_dims"):
        raise ValueError("a table that depends on the input")
    axis = int(static(operation, 2)) % len(table.axes)
    chosen = static(operation, 1)
    counted = _counted(chosen)
    rest = table.axes[:axis], table.axes[axis + 1 :]
    is_uneven = counted is None or not any(counted[1])
    if is_uneven and table.axes[axis].is_mapped:
        resized = _resized(table, axis, chosen)
        if resized is not None:
            return [resized]
    if not table.axes[axis].is_mapped or counted is None:
        new = tuple(Axis((Digit(n),)) for n in chosen.shape)
        result = table if not table.axes[axis].is_mapped else table.summed(axis)
        return [result._replace(axes=(*rest[0], *new, *rest[1]))]
    start, steps = counted
    (digit,) = table.axes[axis].digits
    result = seen(table, digit, chosen.ravel())
    result = result.moved(digit.steps, start, start)
    new = tuple(
        Axis((digit.times(step)._replace(length=n),)) if n > 1 else ONE
        for step, n in zip(steps, chosen.shape, strict=True)
    )
    return [result._replace(axes=(*rest[0], *new, *rest[1]))]


def _counted(indices):
    """Start and steps where indices count evenly along each of their axes."""
    if not indices.size:
        return None
    start = indices.flat[0]
    steps = [
        int(np.take(indices, 1, axis).flat[0] - start) if n > 1 else 0
        for axis, n in enumerate(indices.shape)
    ]
    expected = start + sum(
        step * np.arange(n).reshape([-1 if i == a else 1 for i in range(indices.ndim)])
        for a, (step, n) in enumerate(zip(steps, indices.shape, strict=True))
    )
    return (int(start), steps) if np.array_equal(expected, indices) else None


def _resized(table, axis, indices):
    """Of cells that a resizing reads: spread evenly over the whole axis, then rounded.

    An interpolation reads the cells below and above each place, and blends them.
    """
    if indices.ndim != 1 or indices.size < 2:
        return None
    result = with_joined_copies(table, axis)
    (digit,) = result.axes[axis].digits
    scale = digit.length / indices.size
    places = (np.arange(indices.size) + 0.5) * scale - 0.5
    rounded_by = np.abs(indices - np.clip(places, 0, digit.length - 1)).max()
    if rounded_by > 1:
        return None
    low, high = places[0] - rounded_by, places[0] + rounded_by
    result = result.moved(digit.steps, float(low), float(high))
    digit = digit.times(scale)._replace(length=indices.size)
    return result.with_axis(axis, Axis((digit,)))


def one_hot(operation, operands):
    if operands[0] is None:
        return None
    axis, shape = operation.get_attr("axis"), shape_of(operation.outputs[0])
    axis %= len(shape)
    axes = operands[0].axes
    new = Axis((Digit(shape[axis]),))
    return [operands[0]._replace(axes=(*axes[:axis], new, *axes[axis:]))]


def spectrum(operation, operands):
    """Of the spectrum of a frame: no frequency is a cell of the input."""
    last = len(operands[0].axes) - 1
    count = shape_of(operation.outputs[0])[-1]
    return [operands[0].summed(last).with_axis(last, Axis((Digit(count),)))]
