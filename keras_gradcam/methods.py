"""The CAM formulas: pure functions from a layer's evidence to a map.

A method takes

- `activations`: floats `(batch, *grid, channels)`, the layer's output A;
- `gradients`: floats, the same shape, G = dy/dA;
- `scores`: floats `(batch,)`, the target score y of each sample;

and returns the raw map `(batch, *grid)`, before ReLU, resizing and
normalisation. The grid may have any rank: 1-D signals, 2-D images, 3-D volumes.
"""

from keras import ops


def gradcam(activations, gradients, scores):
    """Grad-CAM: channels weighted by their mean gradient.

    `w_k = mean_ij G_kij`, `map = sum_k w_k A_k`.

    Reference:
        [Selvaraju et al., 2017](https://arxiv.org/abs/1610.02391), equations 1 and 2
        (the ReLU of equation 2 is `GradCAM`'s `activation`).
    """
    weights = ops.mean(gradients, axis=grid_axes(gradients))
    return ops.einsum("b...k,bk->b...", activations, weights)


def grid_axes(activations):
    """The axes of the spatial grid: all but the batch and the channels."""
    return tuple(range(1, len(activations.shape) - 1))


METHODS = {"gradcam": gradcam}


def name_of(identifier):
    """Returns the name of a method of this file, `None` for any other."""
    names = {function: name for name, function in METHODS.items()}
    return identifier if identifier in METHODS else names.get(identifier)


def check_map(method, raw, activations):
    """Raises if a method did not return a map on the grid of the activations."""
    expected = activations.shape[:-1]
    if len(raw.shape) != len(expected):
        raise ValueError(
            "A callable `method` must return one map for each sample, shape `(batch, "
            f"*grid)` = {tuple(expected)}. It returned shape {tuple(raw.shape)}. "
            f"Received: method={method}"
        )


def get(identifier):
    """Returns the method that `identifier` names, or `identifier` if it is callable.

    Args:
        identifier: A name in `METHODS`, or a callable
            `(activations, gradients, scores) -> map`.

    Raises:
        ValueError: If no method has that name.
    """
    if callable(identifier):
        return identifier
    if identifier in METHODS:
        return METHODS[identifier]
    raise ValueError(
        "Argument `method` must be one of "
        f"{sorted(METHODS)} or a callable `(activations, gradients, scores) -> map`. "
        f"Received: method={identifier!r}"
    )
