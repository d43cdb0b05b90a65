"""Inputs that can be changed little by little: pictures, signals, volumes."""

from keras import tree


def axes_of_inputs(question):
    """The inputs that maps lie over, and the axes of each that they cover.

    Args:
        question: A `question.Question`.

    Returns:
        Dict from the index of a flattened input to a tuple of axes.

    Raises:
        ValueError: If a map lies over no input, or over one that cannot be masked,
            scaled or made noisy.
    """
    found = {}
    for site in question.sites:
        check(site, question.inputs)
        axes = {*found.get(site.input, ()), *site.input_axes}
        found[site.input] = tuple(sorted(axes))
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


def check(site, inputs):
    """Raises unless the input that a site lies over can be changed.

    Args:
        site: An `anatomy.Site`.
        inputs: Structure of tensors, the inputs of the model.
    """
    way_out = "Take a method that uses gradients, or 'ablationcam', without smoothing."
    if site.input is None:
        raise ValueError(
            f"'{site.name}' has a grid that lies over none of the inputs, so there is "
            f"no input to mask, to scale or to make noisy. {way_out}"
        )
    tensor = tree.flatten(inputs)[site.input]
    has_channels = len(site.input_axes) < tensor.shape.rank - 1
    if not tensor.dtype.is_floating and not has_channels:
        raise ValueError(
            f"The input that '{site.name}' lies over has shape {tuple(tensor.shape)} "
            f"and dtype {tensor.dtype.name}, as numbers of words have. These cannot be "
            f"masked, scaled or made noisy: half a number is another word. {way_out}"
        )
