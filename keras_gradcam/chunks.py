"""How many changed inputs run through a model at once."""

import math

from keras import tree

# Kinds of evidence that need it.
KINDS = ("masked", "noisy_masked", "faded_masked", "ablated")

BYTES = 256e6
LARGEST = 64

# The outputs of two layers are there at a time, and a convolution needs room to work.
COPIES = 4


def size(chunk_size, anatomy, declared):
    """The number of inputs to run at once.

    Args:
        chunk_size: See `GradCAM`.
        anatomy: The model's `anatomy.Anatomy`.
        declared: The model's declared inputs, see `forward.declared_inputs`.

    Returns:
        An int from 1 on: 1 where the model takes one size of batch only.
    """
    fixed = tree.flatten(declared)[0].shape[0] if declared is not None else None
    if fixed is not None:
        return 1
    if chunk_size is not None:
        return chunk_size
    shapes = [site.shape[1:] for site in anatomy.sites]
    values = [math.prod(shape) for shape in shapes if None not in shape]
    fitting = BYTES / (4 * COPIES * max(values, default=LARGEST))
    # A power of two, as for batches.
    return 2 ** int(math.log2(min(max(fitting, 1), LARGEST)))
