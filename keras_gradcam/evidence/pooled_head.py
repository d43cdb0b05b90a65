"""Whether CAM is defined: average pooling and one dense layer end the model."""

import numpy as np
import tensorflow as tf
from keras import tree

from keras_gradcam.graphs import last_operation, reached_from
from keras_gradcam.targets import find_logits


def check(layer_output, tensor, outputs, logits):
    """Raises unless only pooling and one dense layer are behind a layer.

    Args:
        layer_output: The `LayerOutput`.
        tensor: Its tensor in the graph that computed `outputs`.
        outputs: The model's outputs.
        logits: Whether the logits are explained where there are any.

    Raises:
        ValueError: If anything else is in between.
    """
    below = reached_from(tensor)
    flat = [x for x in tree.flatten(outputs) if x is not None and x.name in below]
    if not logits and any(find_logits(output) is not None for output in flat):
        raise ValueError(
            "Method 'cam' explains logits: of a probability, no map is the sum of the "
            "dense layer's weights. Leave `logits=True`, or take `method='gradcam'`. "
            "Received: logits=False"
        )
    if flat and all(_is_pooled(output, tensor, layer_output) for output in flat):
        return
    raise ValueError(
        "Method 'cam' is defined only for a layer with nothing but global average "
        "pooling and one dense layer behind it, up to the logits. Layer "
        f"'{layer_output.name}' is not followed by just these. Choose the layer in "
        "front of the pooling, or `method='gradcam'`, which is the same where CAM is "
        "defined."
    )


def _is_pooled(output, tensor, layer_output):
    logits = find_logits(output)
    dense = last_operation(output if logits is None else logits)
    if dense.type in ("BiasAdd", "AddV2"):
        dense = last_operation(dense.inputs[0])
    if dense.type not in ("MatMul", "BatchMatMulV2"):
        return False
    mean = last_operation(dense.inputs[0])
    if mean.type != "Mean" or _source(mean.inputs[0]) is not _source(tensor):
        return False
    axes = tf.get_static_value(mean.inputs[1])
    rank = tensor.shape.rank
    grid = [axis for axis in range(1, rank) if axis != layer_output.channel_axis % rank]
    return axes is not None and sorted(np.ravel(axes) % rank) == grid


def _source(tensor):
    while tensor.op.type in ("Identity", "Cast"):
        tensor = tensor.op.inputs[0]
    return tensor
