"""The axes and the channels of activations `(batch, *grid, channels)`."""

from keras import ops


def grid_axes(activations):
    """The axes of the spatial grid: all but the batch and the channels."""
    return tuple(range(1, len(activations.shape) - 1))


def most_varying(activations, count):
    """The `count` channels that vary most over the grid, in their own order.

    Args:
        activations: Tensor `(batch, *grid, channels)`.
        count: Number of channels.

    Returns:
        int32 `(batch, count)`, `None` for all channels.
    """
    if count is None or count >= activations.shape[-1]:
        return None
    spread = ops.var(activations, axis=grid_axes(activations))
    return ops.sort(ops.top_k(spread, count)[1], axis=-1)


def of_channels(activations, chosen):
    """Picks channels `(batch, count)` of `(batch, *grid, channels)`, all for `None`."""
    if chosen is None:
        return activations
    return ops.take_along_axis(activations, over_grid(chosen, activations), axis=-1)


def over_grid(values, activations):
    """Brings `(batch, channels)` into the rank of the activations."""
    ones = [1] * len(grid_axes(activations))
    return ops.reshape(values, (-1, *ones, values.shape[-1]))
