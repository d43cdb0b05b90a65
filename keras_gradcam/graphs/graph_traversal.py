"""Walks through the graph of a pass: what depends on what, and what on nothing."""

import inspect

import tensorflow as tf

# Ops that only rename or reshape what they are given.
PASS_THROUGH = ("Identity", "Cast", "EnsureShape", "Reshape", "Squeeze")


def last_operation(tensor):
    """The operation that computed a tensor, renaming and reshaping left out."""
    while tensor.op.type in PASS_THROUGH:
        tensor = tensor.op.inputs[0]
    return tensor.op


def reached_from(*tensors):
    """Names of all tensors of a graph that are computed from one of `tensors`."""
    names = {tensor.name for tensor in tensors}
    for operation in tensors[0].graph.get_operations():
        if any(x.name in names for x in operation.inputs):
            names.update(x.name for x in operation.outputs)
    return names


def inner_operations(graph, types):
    """Whether a loop or a function of a graph has operations of one of some types."""
    inner = graph.as_graph_def().library.function
    return any(node.op in types for function in inner for node in function.node_def)


def comes_of_variables(tensor):
    """Whether a tensor is computed from variables."""
    waiting, forward_pass = [tensor.op], set()
    while waiting:
        operation = waiting.pop()
        if operation.type in ("ReadVariableOp", "ResourceGather"):
            return True
        if operation.name not in forward_pass:
            forward_pass.add(operation.name)
            waiting += [x.op for x in operation.inputs]
    return False


def graph_of(operation, attribute):
    """The graph of a function that an operation runs.

    Args:
        operation: Of a graph, a loop for instance.
        attribute: Which of its functions, `"body"` for instance.
    """
    name = operation.get_attr(attribute).name
    return operation.graph._get_function(name).graph


def constant_value(tensor, batch=None):
    """The value of a tensor that no input can change, a size or an index for instance.

    Args:
        tensor: A tensor of a graph.
        batch: A number to take for the length of the first axis of tensors where that
            is the only one left open. Defaults to `None`, there is no value then.

    Returns:
        NumPy array, or `None` if it is not constant.
    """
    value = tf.get_static_value(tensor)
    if value is None:
        with tf.init_scope():
            computed = _computed(tensor, {}, batch)
        value = None if computed is None else computed.numpy()
    return value


def _computed(tensor, known, batch):
    if tensor.name not in known:
        known[tensor.name] = None
        outputs = _outputs(tensor.op, known, batch)
        for output, value in zip(tensor.op.outputs, outputs, strict=False):
            known[output.name] = value
    return known[tensor.name]


def _outputs(operation, known, batch):
    """The outputs of an operation, run eagerly; none if they are not constant."""
    if operation.type == "Shape":
        shape = _shape(operation.inputs[0], batch)
        dtype = operation.outputs[0].dtype
        return [] if shape is None else [tf.constant(shape, dtype)]
    inputs = [_computed(x, known, batch) for x in operation.inputs]
    run = getattr(tf.raw_ops, operation.type, None)
    is_pure = not any(x.dtype in (tf.resource, tf.variant) for x in operation.inputs)
    if run is None or not is_pure or any(x is None for x in inputs):
        return []
    if operation.type == "Const":
        return [tf.constant(tf.get_static_value(operation.outputs[0]))]
    if not inputs:
        return []
    result = run(**_arguments(operation, run, inputs))
    return result if isinstance(result, (list, tuple)) else [result]


def _shape(tensor, batch):
    """The shape with the batch in it, `None` if it is not known."""
    if tensor.shape.rank is None:
        return None
    first, *rest = tensor.shape.as_list() or [1]
    shape = [batch if first is None else first, *rest]
    return None if None in shape else shape[: tensor.shape.rank]


def _arguments(operation, run, inputs):
    """The arguments of an operation for a call of its own."""
    names = list(inspect.signature(run).parameters)
    arguments, waiting = {}, list(inputs)
    for number, argument in enumerate(operation.op_def.input_arg):
        # Some have a name of their own in Python, such as the axes of a product.
        name = argument.name if argument.name in names else names[number]
        if argument.number_attr:
            count = operation.get_attr(argument.number_attr)
            arguments[name] = [waiting.pop(0) for _ in range(count)]
        else:
            arguments[name] = waiting.pop(0)
    for attribute in operation.op_def.attr:
        if attribute.name in names:
            arguments[attribute.name] = operation.get_attr(attribute.name)
    return arguments
