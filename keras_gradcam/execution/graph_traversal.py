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


def reached_from(tensor):
    """Names of all tensors of the graph that are computed from `tensor`."""
    names = {tensor.name}
    for operation in tensor.graph.get_operations():
        if any(x.name in names for x in operation.inputs):
            names.update(x.name for x in operation.outputs)
    return names


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


def constant_value(tensor):
    """The value of a tensor that no input can change, a size or an index for instance.

    Args:
        tensor: A tensor of a graph.

    Returns:
        NumPy array, or `None` if it is not constant.
    """
    value = tf.get_static_value(tensor)
    if value is None:
        with tf.init_scope():
            computed = _computed(tensor, {})
        value = None if computed is None else computed.numpy()
    return value


def _computed(tensor, known):
    if tensor.name not in known:
        known[tensor.name] = None
        outputs = _outputs(tensor.op, known)
        for output, value in zip(tensor.op.outputs, outputs, strict=False):
            known[output.name] = value
    return known[tensor.name]


def _outputs(operation, known):
    """The outputs of an operation, run eagerly; none if they are not constant."""
    if operation.type == "Shape" and operation.inputs[0].shape.is_fully_defined():
        return [tf.constant(operation.inputs[0].shape, operation.outputs[0].dtype)]
    inputs = [_computed(x, known) for x in operation.inputs]
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


def _arguments(operation, run, inputs):
    """The arguments of an operation for a call of its own."""
    names = inspect.signature(run).parameters
    arguments, waiting = {}, list(inputs)
    for argument in operation.op_def.input_arg:
        if argument.number_attr:
            count = operation.get_attr(argument.number_attr)
            arguments[argument.name] = [waiting.pop(0) for _ in range(count)]
        else:
            arguments[argument.name] = waiting.pop(0)
    for attribute in operation.op_def.attr:
        if attribute.name in names:
            arguments[attribute.name] = operation.get_attr(attribute.name)
    return arguments
