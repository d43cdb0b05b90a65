"""What a rule reads off an operation: constants, shapes, axes of the data format."""

import numpy as np

from keras_gradcam.graphs import constant_value


def static(operation, number):
    """The constant value of an input, a NumPy array."""
    value = constant_value(operation.inputs[number])
    if value is None:
        raise ValueError(f"Input {number} of {operation.type} is not constant.")
    return np.asarray(value)


def shape_of(tensor):
    """The static shape as a list, `None` for a free length."""
    return tensor.shape.as_list()


def has(operation, name, default=False):
    """A flag, or the default where the operation does not have it."""
    try:
        return operation.get_attr(name)
    except ValueError:
        return default


def spatial_axes(operation, rank):
    """The axes besides those of the batch and the channels."""
    first = operation.get_attr("data_format").decode().startswith("NC")
    return list(range(2, rank)) if first else list(range(1, rank - 1))


def channel_axis(operation, rank):
    """The axis of the channels."""
    return 1 if spatial_axes(operation, rank)[0] == 2 else rank - 1
