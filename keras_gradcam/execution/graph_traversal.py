"""Walks through the graph of a pass: what depends on what."""

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
