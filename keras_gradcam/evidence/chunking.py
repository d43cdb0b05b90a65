"""How many changed inputs run through a model at once."""

import math

from keras import tree

# Kinds of evidence that need it.
KINDS = ("masked", "noisy_masked", "faded_masked", "ablated")

BYTES = 256e6

LARGEST = 64

# The outputs of two layers are there at a time, and a convolution needs room to work.
COPIES = 4


def size(chunk_size, traced, declared, images):
    """The number of inputs to run at once.

    Args:
        chunk_size: See `GradCAM`.
        traced: The model's `TracedModel`.
        declared: The model's declared inputs, see `model_inputs.declared_inputs`.
        images: Structure of tensors, the inputs of the model.

    Returns:
        An int from 1 on: 1 where the model takes one size of batch only.
    """
    fixed = tree.flatten(declared)[0].shape[0] if declared is not None else None
    if fixed is not None:
        return 1
    if chunk_size is not None:
        return chunk_size
    fitting = BYTES / (4 * COPIES * _largest(traced, images))
    # A power of two, as for batches.
    return 2 ** int(math.log2(min(max(fitting, 1), LARGEST)))


def _largest(traced, images):
    """Values of one sample in the largest output of a layer."""
    shapes = [layer_output.shape[1:] for layer_output in traced.layer_outputs]
    known = [math.prod(shape) for shape in shapes if None not in shape]
    if len(known) == len(shapes):
        return max(known)
    # The sizes follow that of the images: a first layer of 64 channels and strides 2.
    sizes = [image.shape[1:-1] for image in tree.flatten(images)]
    return max([*known, *(16 * math.prod(n or 1 for n in size) for size in sizes)])
