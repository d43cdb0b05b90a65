"""Whether CAM is defined: average pooling and one dense layer end the model."""

from keras import tree

from keras_gradcam.graph_walk import last_operation, reached_from
from keras_gradcam.logits import find_logits


def check(site, tensor, outputs):
    """Raises unless only pooling and one dense layer are behind a layer.

    Args:
        site: The `anatomy.Site`.
        tensor: Its tensor in the graph that computed `outputs`.
        outputs: The model's outputs.

    Raises:
        ValueError: If anything else is in between.
    """
    below = reached_from(tensor)
    flat = [output for output in tree.flatten(outputs) if output.name in below]
    if flat and all(_is_pooled(output, tensor) for output in flat):
        return
    raise ValueError(
        "Method 'cam' is defined only for a layer with nothing but global average "
        "pooling and one dense layer behind it, up to the logits. Layer "
        f"'{site.name}' is not followed by just these. Choose the layer in front of "
        "the pooling, or `method='gradcam'`, which is the same where CAM is defined."
    )


def _is_pooled(output, tensor):
    logits = find_logits(output)
    dense = last_operation(output if logits is None else logits)
    if dense.type in ("BiasAdd", "AddV2"):
        dense = last_operation(dense.inputs[0])
    if dense.type not in ("MatMul", "BatchMatMulV2"):
        return False
    mean = last_operation(dense.inputs[0])
    return mean.type == "Mean" and _source(mean.inputs[0]) is _source(tensor)


def _source(tensor):
    while tensor.op.type in ("Identity", "Cast"):
        tensor = tensor.op.inputs[0]
    return tensor
