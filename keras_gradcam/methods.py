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


def gradcam_plus_plus(activations, gradients, scores):
    """Grad-CAM++: channels weighted by their positive gradients, place by place.

    `alpha_kij = G_kij^2 / (2 G_kij^2 + G_kij^3 sum_ab A_kab)`, 0 where the denominator
    is not positive; `w_k = sum_ij alpha_kij relu(G_kij)`, `map = sum_k w_k A_k`.
    The paper's factor exp(y) is the same in all places of a sample and is left out.

    Reference:
        [Chattopadhay et al., 2018](https://arxiv.org/abs/1710.11063), equation 19.
    """
    axes = grid_axes(activations)
    sums = ops.sum(activations, axis=axes, keepdims=True)
    # Divided by G^2: that of a gradient of 1e-20 is no float any more.
    denominators = 2.0 + gradients * sums
    positive = denominators > 0
    alphas = ops.where(positive, 1.0 / ops.where(positive, denominators, 1.0), 0.0)
    weights = ops.sum(alphas * ops.relu(gradients), axis=axes)
    return ops.einsum("b...k,bk->b...", activations, weights)


def xgradcam(activations, gradients, scores):
    """XGrad-CAM: channels weighted by their gradients where they are active.

    `w_k = sum_ij (A_kij / sum_ab A_kab) G_kij`, 0 where the sum is 0;
    `map = sum_k w_k A_k`.

    Reference:
        [Fu et al., 2020](https://arxiv.org/abs/2008.02312), Axiom-based
        Grad-CAM.
    """
    axes = grid_axes(activations)
    sums = ops.sum(activations, axis=axes)
    empty = ops.equal(sums, 0.0)
    products = ops.sum(activations * gradients, axis=axes)
    weights = ops.where(empty, 0.0, products / ops.where(empty, 1.0, sums))
    return ops.einsum("b...k,bk->b...", activations, weights)


def layercam(activations, gradients, scores):
    """LayerCAM: each place weighted by its own positive gradient.

    `map_ij = sum_k relu(G_kij) A_kij`.

    Reference:
        [Jiang et al., 2021](https://doi.org/10.1109/TIP.2021.3089943), LayerCAM:
        Exploring Hierarchical Class Activation Maps for Localization.
    """
    return ops.sum(ops.relu(gradients) * activations, axis=-1)


def hirescam(activations, gradients, scores):
    """HiResCAM: each place weighted by its own gradient, of either sign.

    `map_ij = sum_k G_kij A_kij`. Behind a network that ends in pooling or flattening
    and one dense layer, the map without the ReLU sums to the logit without its bias.

    Reference:
        [Draelos and Carin, 2020](https://arxiv.org/abs/2011.08891).
    """
    return ops.sum(gradients * activations, axis=-1)


def elementwise(activations, gradients, scores):
    """Element-wise Grad-CAM: only products that speak for the target.

    `map_ij = sum_k relu(G_kij A_kij)`.

    Reference:
        Gildenblat et al., the library pytorch-grad-cam, `GradCAMElementWise`.
    """
    return ops.sum(ops.relu(gradients * activations), axis=-1)


def grid_axes(activations):
    """The axes of the spatial grid: all but the batch and the channels."""
    return tuple(range(1, len(activations.shape) - 1))


METHODS = {
    "gradcam": gradcam,
    "gradcam++": gradcam_plus_plus,
    "xgradcam": xgradcam,
    "layercam": layercam,
    "hirescam": hirescam,
    "elementwise": elementwise,
}


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
