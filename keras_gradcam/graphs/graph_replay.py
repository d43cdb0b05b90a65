"""Runs a part of a graph again, on another tensor."""

import tensorflow as tf

from keras_gradcam.graphs.graph_traversal import reached_from


def replayed(output, tensor, replacement):
    """What `output` would be if `tensor` were another one.

    Only what a gradient can go through is computed again: a class that was chosen by
    its score stays the same.

    Args:
        output: A tensor of a graph.
        tensor: A float tensor that it depends on.
        replacement: A tensor of the same graph, shape and type.

    Returns:
        A tensor of the shape of `output`.
    """
    graph = output.graph
    between = _between(graph, tensor, output)
    definition = tf.compat.v1.GraphDef()
    definition.versions.CopyFrom(graph.graph_def_versions)
    made = {x.name for operation in between for x in operation.outputs}
    given = {}
    for operation in between:
        node = definition.node.add()
        node.CopyFrom(operation.node_def)
        # Control inputs are of what ran before already.
        kept = [name for name in node.input if not name.startswith("^")]
        del node.input[:]
        node.input.extend(kept)
        for x in operation.inputs:
            if x.name not in made:
                given[x.name] = replacement if x.name == tensor.name else x
    (found,) = tf.graph_util.import_graph_def(
        definition, given, return_elements=[output.name], name="replayed"
    )
    found.set_shape(output.shape)
    return found


def _between(graph, tensor, output):
    behind = reached_from(tensor)
    wanted, found = {output.name}, []
    for operation in reversed(graph.get_operations()):
        is_wanted = any(x.name in wanted for x in operation.outputs)
        is_behind = any(
            x.name in behind and x.dtype.is_floating for x in operation.inputs
        )
        if is_wanted and is_behind and _are_floats(operation):
            found.append(operation)
            wanted.update(x.name for x in operation.inputs if x.name != tensor.name)
    return found[::-1]


def _are_floats(operation):
    return all(x.dtype.is_floating for x in operation.outputs)
