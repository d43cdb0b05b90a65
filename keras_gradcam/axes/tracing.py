"""Follows the axes of a model's inputs through the graph of a pass.

For each tensor this finds which of its axes run along which axis of which input, and
where their cells lie. The operations have rules; what has none, or mixes the cells of
an axis, loses it.
"""

import math

from keras_gradcam.axes.product_rules import same_shape
from keras_gradcam.axes.rules import FUNCTION_RULES, RULES
from keras_gradcam.axes.tensor_axes import BATCH, Axis, Digit, Field, TensorAxes

# What shapes that a rule cannot read lead to.
UNREADABLE = (
    AttributeError,
    IndexError,
    KeyError,
    TypeError,
    ValueError,
    ZeroDivisionError,
)


def trace(inputs, measured=None):
    """Follows the axes of inputs through their graph.

    Args:
        inputs: List of the tensors of a model's flattened inputs.
        measured: Dict from the names of tensors to their `TensorAxes`, where no rule
            tells these. Defaults to `None`.

    Returns:
        Dict from the name of a tensor to its `TensorAxes`. A tensor that depends on no
        input is not in it.
    """
    known = {x.name: _of_input(index, x) for index, x in enumerate(inputs)}
    return _followed(inputs[0].graph, known, measured or {})


def _followed(graph, known, measured):
    for operation in graph.get_operations():
        operands = [known.get(x.name) for x in operation.inputs]
        if any(operands):
            results = _applied(operation, operands)
            for output, found in zip(operation.outputs, results, strict=True):
                known[output.name] = measured.get(output.name, found or _lost(output))
    return known


def _follow(graph, operands):
    """The axes of the outputs of a graph that an operation runs."""
    pairs = zip(graph.inputs, operands, strict=False)
    known = _followed(graph, {x.name: axes for x, axes in pairs if axes}, {})
    return [known.get(output.name) for output in graph.outputs]


def lost_tensors(inputs, known):
    """The tensors at which axes are lost for want of a rule: what may be measured.

    Args:
        inputs: As for `trace`.
        known: What `trace` returned.
    """
    lost, told = [], set()
    for operation in inputs[0].graph.get_operations():
        operands = [x for x in operation.inputs if x.name in known]
        is_mapped = any(known[x.name].steps() - {BATCH} for x in operands)
        follows = any(x.name in told for x in operands)
        for output in operation.outputs:
            if not operands or known[output.name].is_certain:
                continue
            # Also where a length in between is not known, as of a conditional padding.
            had = is_mapped or any(not known[x.name].is_certain for x in operands)
            if follows:
                told.add(output.name)
            elif had and _is_measurable(output, inputs):
                told.add(output.name)
                lost.append(output)
    return lost


def _is_measurable(tensor, inputs):
    is_grid = tensor.dtype.is_floating and (tensor.shape.rank or 0) > 2
    # The samples are measured together, each by itself.
    return (
        is_grid
        and tensor.shape.is_fully_defined()
        and all(tensor.shape[0] == x.shape[0] for x in inputs)
    )


def _applied(operation, operands):
    try:
        if operation.type in FUNCTION_RULES:
            rule = FUNCTION_RULES[operation.type]
            results = rule(operation, operands, _follow)
        else:
            rule = RULES.get(operation.type, same_shape)
            results = rule(operation, operands)
    except UNREADABLE:
        results = None
    count = len(operation.outputs)
    return [*(results or ()), *[None] * count][:count]


def _of_input(index, tensor):
    """The axes of an input: each runs along itself."""
    shape = tensor.shape.as_list() if tensor.shape.rank else []
    axes, fields = [], {}
    for axis, length in enumerate(shape):
        key = (index, axis) if axis else BATCH
        axes.append(Axis((Digit(length, ((key, 1.0),)),)))
        if axis:
            last = math.inf if length is None else length - 1.0
            fields[key] = Field(0.0, 0.0, 0.0, last)
    return TensorAxes(tuple(axes), fields)


def _lost(tensor):
    """The axes of a tensor of which nothing is known."""
    shape = tensor.shape.as_list() if tensor.shape.rank else []
    axes = tuple(Axis((Digit(length, ()),)) for length in shape)
    return TensorAxes(axes, {}, is_certain=False)
