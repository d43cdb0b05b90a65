"""What each layer of a model returns when it runs, from one traced pass."""

from typing import NamedTuple

import keras
import tensorflow as tf
from keras import tree

from keras_gradcam.execution import model_call
from keras_gradcam.model.graph_reader import GraphReader, Record
from keras_gradcam.targets import class_scores

# Where the batch is free it has this length while tracing, so that a layer inside
# `TimeDistributed`, which sees batch times steps, is told apart.
BATCH = 3

FUNCTION_CALLS = ("PartitionedCall", "StatefulPartitionedCall")


class TracedModel(NamedTuple):
    """What one traced, never executed forward pass shows.

    Attributes:
        layer_outputs: List of `LayerOutput` in order of execution, a nested model after
            its layers.
        paths: List of `(path, layer)` of all layers, also of those that did not run.
        inline: Whether a layer hides in a `tf.function` of the user's, so that the
            model must be run with `inline=True` (see `model_call.run`).
        classes: Number of classes of the model, `None` where unknown.
        head: What the model's only output ends in, see `GradCAM.head`.
    """

    layer_outputs: list
    paths: list
    inline: bool
    classes: int | None
    head: str | None


def trace(model, inputs, score, reshape=None):
    """Traces one forward pass of `model` without executing it.

    Args:
        model: A built `keras.Model`.
        inputs: Structure of `tf.TensorSpec`, as the model takes it.
        score: Callable from the model's outputs to a structure of tensors; layer
            outputs count as connected when they lie upstream of these.
        reshape: How tokens become a grid, see `spatial_grids.reshaped`. Defaults to
            `None`.

    Returns:
        A `TracedModel`.
    """
    inputs = tree.map_structure(_with_batch, inputs)
    paths = _unique(_walk(model, "", ()))
    layer_outputs, foreign, *answer = _trace(model, inputs, score, reshape, paths)
    if foreign:
        reached = len(layer_outputs)
        layer_outputs, _, *answer = _trace(
            model, inputs, score, reshape, paths, inline=True
        )
        foreign = len(layer_outputs) > reached
    paths = [(path, layer) for path, layer, _ in paths]
    return TracedModel(layer_outputs, paths, foreign, *answer)


def _with_batch(spec):
    if spec.shape.rank and spec.shape[0] is None:
        return tf.TensorSpec([BATCH, *spec.shape[1:]], spec.dtype)
    return spec


def _walk(layer, prefix, parents):
    """Yields `(path, layer, parents)` for every layer below `layer`.

    The operations of a functional model count as layers: in `x + branch(x)` the sum is
    what the next layer sees.
    """
    parents = (*parents, layer)
    children = getattr(layer, "_flatten_layers", lambda **_: [])(
        include_self=False, recursive=False
    )
    children += [
        operation
        for operation in getattr(layer, "operations", [])
        if not isinstance(operation, keras.Layer)
    ]
    for child in children:
        if all(child is not parent for parent in parents):
            yield prefix + child.name, child, parents
            yield from _walk(child, f"{prefix}{child.name}/", parents)


def _unique(walked):
    """Tells apart different layers that a subclassed model gave one name."""
    walked = list(walked)
    owners: dict = {}
    for path, layer, _ in walked:
        layers = owners.setdefault(path, [])
        if layer not in layers:
            layers.append(layer)
    return [
        (f"{path}~{owners[path].index(layer)}", layer, parents)
        if len(owners[path]) > 1
        else (path, layer, parents)
        for path, layer, parents in walked
    ]


def _trace(model, inputs, score, reshape, paths, inline=False):
    records, result = [], {}

    def hook(layer, call, output):
        copy = model_call.identity(output)
        for item, (keys, tensor) in enumerate(tree.flatten_with_path(copy)):
            if tf.is_tensor(tensor):
                key = "".join(f"[{key}]" for key in keys)
                records.append(Record(layer, call, item, key, tensor))
        return copy

    def body(inputs):
        layers = list({id(layer): layer for _, layer, _ in paths}.values())
        outputs, foreign = model_call.run(model, inputs, layers, hook, inline)
        # A function that was traced before does not run its layers again.
        silent = len({id(record.layer) for record in records}) < len(layers)
        foreign = foreign or (silent and _calls_functions(inputs))
        result["foreign"] = foreign
        result["classes"] = class_scores.count_classes(outputs)
        result["head"] = class_scores.head_of(outputs)
        result["reader"] = GraphReader(inputs, outputs, score(outputs), reshape)
        return result["reader"].measurement()

    function = tf.function(body, autograph=False).get_concrete_function(inputs)
    reader = result["reader"]
    reader.measure(function)
    with function.graph.as_default():
        layer_outputs = reader.of(records, paths)
    return layer_outputs, result["foreign"], result["classes"], result["head"]


def _calls_functions(inputs):
    operations = tree.flatten(inputs)[0].graph.get_operations()
    return any(operation.type in FUNCTION_CALLS for operation in operations)
