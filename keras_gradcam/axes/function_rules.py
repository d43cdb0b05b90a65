"""Rules of loops, branches and calls, and of the lists that loops read and write.

The rules of loops, branches and calls take, besides the operation and the `TensorAxes`
of its inputs, a callable `follow(graph, operands)` that returns those of the outputs of
a graph.
"""

import tensorflow as tf

from keras_gradcam.axes.operations import shape_of
from keras_gradcam.axes.parts import broadcast
from keras_gradcam.axes.tensor_axes import ONE
from keras_gradcam.graphs import constant_value, graph_of


def call(operation, operands, follow):
    return follow(graph_of(operation, "f"), operands)


def branches(operation, operands, follow):
    """The branch that is taken; both, where that depends on the input."""
    condition = constant_value(operation.inputs[0])
    names = ["then_branch", "else_branch"]
    if condition is not None:
        names = names[:1] if condition else names[1:]
    results = [follow(graph_of(operation, name), operands[1:]) for name in names]
    shapes = [shape_of(output) for output in operation.outputs]
    return [
        each[0] if None in each or len(each) == 1 else _agreed(each, shape)
        for *each, shape in zip(*results, shapes, strict=True)
    ]


def _agreed(found, shape):
    return broadcast([(x, shape) for x in found], shape)


def loop(operation, operands, follow):
    """A recurrent layer: what it lists, it lists in the order of the series.

    The state of the first step is a constant. From the second step on it is what the
    step before has made.
    """
    series = _series(operation, operands)
    if series is None:
        return None
    graph = graph_of(operation, "body")
    first = follow(graph, operands)
    state = [
        old or (new if new and new.is_certain and x.dtype.is_floating else None)
        for old, new, x in zip(operands, first, operation.inputs, strict=True)
    ]
    results = []
    for found, old, output in zip(
        follow(graph, state), operands, operation.outputs, strict=True
    ):
        if old is not None or found is None:
            results.append(old)
        elif output.dtype == tf.variant:
            results.append(found.with_axis(0, series.axes[0]))
        else:  # The last state has seen all steps.
            whole = found._replace(axes=(series.axes[0], *found.axes)).summed(0)
            results.append(whole.without(0))
    return results


def _series(operation, operands):
    """The first list that the loop reads."""
    pairs = zip(operands, operation.inputs, strict=True)
    return next((x for x, t in pairs if x and x.axes and t.dtype == tf.variant), None)


def item_of_list(operation, operands):
    """One item; the loop, which takes one after the other, knows the axis of all."""
    return [operands[0].without(0)]


def list_with_item(operation, operands):
    item = operands[2]
    return [item._replace(axes=(ONE, *item.axes))]


def tensor_of_list(operation, operands):
    listed, shape = operands[0], shape_of(operation.outputs[0])
    if len(listed.axes) != len(shape):
        return None
    # Of some layers only the last step is kept.
    return [listed.summed(0) if shape[0] == 1 else listed]
