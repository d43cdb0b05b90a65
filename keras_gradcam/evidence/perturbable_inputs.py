"""Inputs that can be changed little by little: pictures, signals, volumes."""

from keras import tree


def axes_of_inputs(request):
    """The inputs that maps lie over, and the axes of each that they cover.

    Args:
        request: A `Request`.

    Returns:
        Dict from the index of a flattened input to a tuple of axes.

    Raises:
        ValueError: If a map lies over no input, or over one that cannot be masked,
            scaled or made noisy.
    """
    found = {}
    for layer_output in request.layer_outputs:
        check(layer_output, request.inputs)
        if not all(isinstance(axis, int) for axis in layer_output.input_axes):
            found[layer_output.input] = (1,)  # A picture made of a flat input.
            continue
        axes = {*found.get(layer_output.input, ()), *layer_output.input_axes}
        found[layer_output.input] = tuple(sorted(axes))
    return found


def aligned(inputs, covered):
    """Other inputs of the same size as one of those that maps lie over.

    Args:
        inputs: Structure of tensors, the inputs of the model.
        covered: What `axes_of_inputs` returned.

    Returns:
        Dict from the index of a flattened input to the tuple of its axes.
    """
    flat, found = tree.flatten(inputs), {}
    for index, axes in covered.items():
        size = [flat[index].shape[axis] for axis in axes]
        for other, tensor in enumerate(flat):
            is_image = tensor.shape.rank > max(axes) and tensor.dtype.is_floating
            if is_image and [tensor.shape[axis] for axis in axes] == size:
                found[other] = axes
    return found


def check(layer_output, inputs):
    """Raises unless the input that a layer output lies over can be changed.

    Args:
        layer_output: A `LayerOutput`.
        inputs: Structure of tensors, the inputs of the model.
    """
    way_out = "Take a method that uses gradients, or 'ablationcam', without smoothing."
    if layer_output.input is None:
        raise ValueError(
            f"'{layer_output.name}' has a grid that lies over none of the inputs, so "
            f"there is no input to mask, to scale or to make noisy. {way_out}"
        )
    tensor = tree.flatten(inputs)[layer_output.input]
    has_channels = len(layer_output.input_axes) < tensor.shape.rank - 1
    if not tensor.dtype.is_floating and not has_channels:
        raise ValueError(
            f"The input that '{layer_output.name}' lies over has shape "
            f"{tuple(tensor.shape)} and dtype {tensor.dtype.name}, as numbers of words "
            "have. These cannot be masked, scaled or made noisy: half a number is "
            f"another word. {way_out}"
        )
