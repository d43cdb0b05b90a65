"""Paths through the graph of a pass, from the inputs of a model to its scores."""

import functools

import tensorflow as tf

from keras_gradcam.graphs import gates
from keras_gradcam.graphs.gates import MATRIX_PRODUCTS
from keras_gradcam.graphs.graph_traversal import comes_of_variables, reached_from

# Ops through which a value passes, but no gradient.
GRADIENT_STOPS = ("StopGradient", "PreventGradient")

# Ops that pool, pad, cut, resize or reorder values, and compute nothing of them.
MOVES = (
    "AvgPool",
    "AvgPool3D",
    "ExpandDims",
    "Identity",
    "MaxPool",
    "MaxPool3D",
    "MirrorPad",
    "Pad",
    "PadV2",
    "Reshape",
    "ResizeBicubic",
    "ResizeBilinear",
    "ResizeNearestNeighbor",
    "ReverseV2",
    "Roll",
    "Slice",
    "Squeeze",
    "StridedSlice",
    "Tile",
    "Transpose",
)

# What makes features of pixels: sums of products, and what may hold some.
FEATURES = (
    *MATRIX_PRODUCTS,
    "Conv2D",
    "Conv2DBackpropInput",
    "Conv3D",
    "Conv3DBackpropInputV2",
    "DepthwiseConv2dNative",
    "PartitionedCall",
    "StatefulPartitionedCall",
    "StatelessWhile",
    "While",
)

LOOKUPS = ("Gather", "GatherV2", "ResourceGather")

# What makes weights between 0 and 1.
GATES = ("Sigmoid", "Softmax", "Tanh")

# What turns logits into probabilities, besides.
HEADS = ("BiasAdd", "Cast", "LogSoftmax", "Sigmoid", "Softmax", "Tanh")


def upstream(operations, tensors):
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


def reached_by(operations, inputs):
    """For each tensor's name the set of inputs it is computed from, as bits."""
    bits = {tensor.name: 1 << index for index, tensor in enumerate(inputs)}
    for operation in operations:
        reached = 0
        for tensor in operation.inputs:
            reached |= bits.get(tensor.name, 0)
        for output in operation.outputs:
            bits.setdefault(output.name, reached)
    return bits


def features(operations):
    """Names of the tensors that are more than the input, normalised or moved."""
    names: set = set()
    for operation in operations:
        own = operation.type in FEATURES or _looks_up(operation)
        if own or any(x.name in names for x in operation.inputs):
            names.update(x.name for x in operation.outputs)
    return names


def _looks_up(operation):
    """Whether features of words are looked up in a table."""
    is_lookup = operation.type in LOOKUPS
    return (
        is_lookup
        and not operation.inputs[1].dtype.is_floating
        and (
            operation.inputs[0].dtype == tf.resource
            or comes_of_variables(operation.inputs[0])
        )
    )


def behind_attention(operations, inputs):
    """Names of the tensors in which attention has mixed positions.

    Args:
        operations: All operations of the graph, in order of execution.
        inputs: List of the tensors of the model's inputs.
    """
    dependent = reached_from(*inputs)
    names: set = set()
    for operation in operations:
        if gates.is_attention(operation, dependent) or any(
            x.name in names for x in operation.inputs
        ):
            names.update(x.name for x in operation.outputs)
    return names


def passed_by_all(operations, source, scores, relevant):
    """Names of the operations that all paths from an input to the scores pass through.

    Nothing of the input gets past them: a branch of a block is none of them, the end of
    the block is one.

    Args:
        operations: All operations of the graph, in order of execution.
        source: The tensor of the input.
        scores: List of the tensors of the scores.
        relevant: Names of the tensors that a gradient of the scores can reach.
    """
    ends = {x.op.name for x in scores}
    above: dict = {None: None}  # The last that all paths to each one pass through.
    depths = {None: 0}
    found = []
    for name, before in _steps_from(operations, source, relevant, above):
        above[name] = functools.reduce(
            lambda a, b: _common(a, b, above, depths), before
        )
        depths[name] = depths[above[name]] + 1
        found += [name] if name in ends else []
    end = functools.reduce(lambda a, b: _common(a, b, above, depths), found or [None])
    passed = set()
    while end is not None:
        passed.add(end)
        end = above[end]
    return passed


def _steps_from(operations, source, relevant, reached):
    """Yields each operation that an input reaches, and from where; `None` is the input.

    `reached` has the names that were yielded before.
    """
    roots = _first_floats(operations, source)
    for operation in operations:
        is_relevant = any(x.name in relevant for x in operation.outputs)
        if not is_relevant or operation.type in GRADIENT_STOPS:
            continue
        floats = [x for x in operation.inputs if _carries_gradient(x)]
        before = [x.op.name for x in floats if x.op.name in reached]
        before += [None] if any(x.name in roots for x in operation.outputs) else []
        if before:
            yield operation.name, before


def _first_floats(operations, source):
    """Names of the floats that an input turns into: itself, or what is read with it.

    A mask, which is true or false, is none of them.
    """
    if source.dtype.is_floating:
        return {source.name}
    whole, floats = {source.name}, set()
    for operation in operations:
        if any(x.name in whole for x in operation.inputs):
            for output in operation.outputs:
                if output.dtype.is_floating:
                    floats.add(output.name)
                elif output.dtype != tf.bool:
                    whole.add(output.name)
    return floats


def _common(one, other, above, depths):
    while one != other:
        if depths[one] >= depths[other]:
            one = above[one]
        else:
            other = above[other]
    return one


def moved_from(tensor, names):
    """The tensor that another one has its values from, pooled or put elsewhere.

    Args:
        tensor: A tensor of a graph.
        names: Names of the tensors that count.

    Returns:
        Name of the nearest of them, `None` if something in between computes.
    """
    while tensor.op.type in MOVES:
        tensor = tensor.op.inputs[0]
        if tensor.name in names:
            return tensor.name
    return None


def head_of(tensor, names):
    """The tensor that a model's output is made of by resizing, softmax and the like.

    Args:
        tensor: An output of the model.
        names: Names of the tensors that count.

    Returns:
        Name of the farthest of them, `None` if there is none.
    """
    found = tensor.name if tensor.name in names else None
    while tensor.op.type in MOVES + HEADS:
        tensor = tensor.op.inputs[0]
        found = tensor.name if tensor.name in names else found
    return found


def summaries(operations, known, factor=4):
    """Names of the tensors that sum up large areas of a finer grid.

    Args:
        operations: All operations of the graph, in order of execution.
        known: Dict from the name of a tensor to its `TensorAxes`.
        factor: How much coarser such a grid is. Strides of convolutions are less, or
            come first and cut patches. Defaults to 4.
    """
    found = set()
    for operation in operations:
        operands = [x for x in operation.inputs if _steps(known.get(x.name))]
        if not operands or "Conv" in operation.type:
            found.update(_if(operands, found, operation))
            continue
        for output in operation.outputs:
            after = _steps(known.get(output.name))
            if any(_is_coarser(after, _steps(known[x.name]), factor) for x in operands):
                found.add(output.name)
        found.update(_if(operands, found, operation))
    return found


def _if(operands, found, operation):
    """The outputs of an operation all of whose operands are summaries."""
    all_are = operands and all(x.name in found for x in operands)
    return [x.name for x in operation.outputs] if all_are else []


def refinements(operations, known, scores, leave_out):
    """How often the grid becomes finer on the way from a tensor to the scores, at most.

    Ways on which it becomes coarser again do not count, nor those through a product of
    tensors on other grids: the keys of attention may lie on a coarser one. Nor do those
    through a gate, which weighs what comes from elsewhere.

    Args:
        operations: All operations of the graph, in order of execution.
        known: Dict from the name of a tensor to its `TensorAxes`.
        scores: List of the tensors of the scores.
        leave_out: Names of tensors whose own grid does not count, see `summaries`.

    Returns:
        Dict from the name of each tensor on such a way to a number.
    """
    counts = {x.name: 0 for x in scores}
    gates = _gates(operations)
    for operation in reversed(operations):
        outputs = [x for x in operation.outputs if x.name in counts]
        if not outputs:
            continue
        count = max(counts[x.name] for x in outputs)
        after = _steps(known.get(outputs[0].name))
        # A dilated convolution takes the grid apart and puts it together again.
        is_same = operation.type in ("SpaceToBatchND", "BatchToSpaceND")
        is_weighing = operation.type == "Mul"
        for x in operation.inputs:
            if is_weighing and x.name in gates:
                continue
            before = {} if is_same else _steps(known.get(x.name))
            finer = _is_coarser(before, after, 1.5)
            is_product = operation.type in MATRIX_PRODUCTS and finer
            if not is_product and not _is_coarser(after, before, 1.5):
                adds = finer and x.name not in leave_out
                counts[x.name] = max(counts.get(x.name, 0), count + adds)
    return counts


def _gates(operations):
    """Names of the tensors of weights between 0 and 1, also where they are resized."""
    names = set()
    for operation in operations:
        is_moved = operation.type in MOVES and operation.inputs[0].name in names
        if operation.type in GATES or is_moved:
            names.update(x.name for x in operation.outputs)
    return names


def _steps(tensor_axes):
    """The smallest step along each axis of an input."""
    steps: dict = {}
    for axis in tensor_axes.axes if tensor_axes else ():
        for digit in axis.flat():
            for key, step in digit.steps:
                if isinstance(key, tuple) and digit.length != 1:
                    steps[key] = min(abs(step), steps.get(key, abs(step)))
    return steps


def _is_coarser(after, before, factor):
    return any(
        step > factor * before[key] for key, step in after.items() if key in before
    )
