"""Methods from gradients at a layer: what a formula makes of A and G = dy/dA.

Each formula takes

- `activations`: floats `(batch, *grid, channels)`, the layer's output A;
- `gradients`: floats, the same shape, G = dy/dA, or what its docstring says instead;
- `scores`: floats `(batch,)`, the target score y of each sample;

and returns the parts `(batch, *grid, channels)` of a raw map, which is their sum over
the channels, before ReLU, resizing and normalisation. The grid may have any rank: 1-D
signals, 2-D images, 3-D volumes.
"""

from keras import ops

from keras_gradcam.arrays import grid_axes, rounding
from keras_gradcam.methods.method import method


@method("gradients")
def gradcam(activations, gradients, scores):
    """Grad-CAM: channels weighted by their mean gradient.

    `w_k = mean_ij G_kij`, `map = sum_k w_k A_k`.

    Choose it to be comparable with most papers; behind average pooling it is exact.

    Reference:
        [Selvaraju et al., 2017](https://arxiv.org/abs/1610.02391), equations 1 and 2
        (the ReLU of equation 2 is `GradCAM`'s `activation`).
    """
    return activations * ops.mean(gradients, axis=grid_axes(gradients), keepdims=True)


@method("gradients", name="gradcam++")
def gradcam_plus_plus(activations, gradients, scores):
    """Grad-CAM++: channels weighted by their positive gradients, place by place.

    `alpha_kij = G_kij^2 / (2 G_kij^2 + G_kij^3 sum_ab A_kab)`, 0 where the denominator
    is not positive; `w_k = sum_ij alpha_kij relu(G_kij)`, `map = sum_k w_k A_k`.
    The paper's factor exp(y) is the same in all places of a sample and is left out.

    Choose it where several objects of one class are in the picture.

    Reference:
        [Chattopadhay et al., 2018](https://arxiv.org/abs/1710.11063), equation 19.
    """
    axes = grid_axes(activations)
    sums = ops.sum(activations, axis=axes, keepdims=True)
    # Divided by G^2: that of a gradient of 1e-20 is no float any more.
    alphas = _positive_inverse(2.0 + gradients * sums)
    weights = ops.sum(alphas * ops.relu(gradients), axis=axes, keepdims=True)
    return activations * weights


@method("smoothed", name="smoothgradcam++", samples=16, noise=0.1, seed=0)
def smoothgradcam_plus_plus(activations, moments, scores):
    """Smooth Grad-CAM++: Grad-CAM++ with gradients averaged over noisy inputs.

    With `D1, D2, D3` the means of `G, G^2, G^3` over the noisy inputs:
    `alpha_kij = D2_kij / (2 D2_kij + D3_kij sum_ab A_kab)`, 0 where the denominator is
    not positive; `w_k = sum_ij alpha_kij relu(D1_kij)`, `map = sum_k w_k A_k`.
    A is that of the clean input. `moments` is an `Moments`.

    Choose it where Grad-CAM++ is noisy and the time is there.

    Args:
        samples: Number of noisy inputs. Defaults to `16`.
        noise: Standard deviation of the noise, relative to the range of each input.
            Defaults to `0.1`.
        seed: Int that the noise is made from: the same seed, the same map. Defaults
            to `0`.

    Reference:
        [Omeiza et al., 2019](https://arxiv.org/abs/1908.01224).
    """
    axes = grid_axes(activations)
    sums = ops.sum(activations, axis=axes, keepdims=True)
    denominators = 2.0 * moments.second + moments.third * sums
    alphas = moments.second * _positive_inverse(denominators)
    weights = ops.sum(alphas * ops.relu(moments.first), axis=axes, keepdims=True)
    return activations * weights


@method("gradients")
def xgradcam(activations, gradients, scores):
    """XGrad-CAM: channels weighted by their gradients where they are active.

    `w_k = sum_ij (A_kij / sum_ab A_kab) G_kij`, 0 where the sum is 0 but for rounding;
    `map = sum_k w_k A_k`.

    Choose it where Grad-CAM is meant but the layer is not the last one.

    Reference:
        [Fu et al., 2020](https://arxiv.org/abs/2008.02312), Axiom-based
        Grad-CAM.
    """
    axes = grid_axes(activations)
    sums = ops.sum(activations, axis=axes, keepdims=True)
    # Channels that a layer has centred sum up to nothing but rounding.
    sizes = ops.sum(ops.abs(activations), axis=axes, keepdims=True)
    empty = ops.abs(sums) <= 32.0 * rounding(activations) * sizes
    products = ops.sum(activations * gradients, axis=axes, keepdims=True)
    return activations * ops.where(empty, 0.0, products / ops.where(empty, 1.0, sums))


@method("gradients")
def layercam(activations, gradients, scores):
    """LayerCAM: each place weighted by its own positive gradient.

    `map_ij = sum_k relu(G_kij) A_kij`.

    Choose it for early layers, whose maps are fine, and to fuse several layers.

    Reference:
        [Jiang et al., 2021](https://doi.org/10.1109/TIP.2021.3089943), LayerCAM:
        Exploring Hierarchical Class Activation Maps for Localization.
    """
    return ops.relu(gradients) * activations


@method("gradients")
def hirescam(activations, gradients, scores):
    """HiResCAM: each place weighted by its own gradient, of either sign.

    `map_ij = sum_k G_kij A_kij`. Behind a network that ends in pooling or flattening
    and one dense layer, the map without the ReLU sums to the logit without its bias.

    Choose it where a map must add up to the score, as in an audit.

    Reference:
        [Draelos and Carin, 2020](https://arxiv.org/abs/2011.08891).
    """
    return gradients * activations


@method("gradients", default_layer="depths")
def depth_consensus(activations, gradients, scores):
    """Depth consensus: hot only where the HiResCAM maps of all depths agree.

    `map = (prod_d relu(t_d * m_d) / max) ^ (1/D)`, `m_d = sum_k G_dk A_dk` at each of D
    depths, `t_d` a triangle as wide as a cell of the coarsest grid; on the finest grid.
    The depths are the last layers of each grid size, or those of a list `layer`. The
    map lies in [0, 1], also with `normalize=None`.

    Choose it for the edges of an object, at the cost of one pass back. Do not choose it
    where a map must add up to the score, or where evidence is spread over the picture.
    Where a network has one grid size, as a plain transformer, it is HiResCAM.

    Reference:
        This package, `keras_gradcam.maps.consensus`.
    """
    return gradients * activations


@method("gradients")
def elementwise(activations, gradients, scores):
    """Element-wise Grad-CAM: only products that speak for the target.

    `map_ij = sum_k relu(G_kij A_kij)`.

    Choose it for early layers, where parts that speak against shall not cancel.

    Reference:
        Gildenblat et al., the library pytorch-grad-cam, `GradCAMElementWise`.
    """
    return ops.relu(gradients * activations)


@method("pooled")
def cam(activations, gradients, scores):
    """CAM: channels weighted by the dense layer behind global average pooling.

    `map = sum_k W_kc A_k`. The weights are `W_kc = sum_ij G_kij`, exactly, in the only
    models that CAM is made for: global average pooling and one dense layer behind the
    layer. Others raise a `ValueError`.

    Choose it to repeat work with CAM; `gradcam` is the same up to a factor.

    Reference:
        [Zhou et al., 2016](https://arxiv.org/abs/1512.04150), Learning Deep Features
        for Discriminative Localization.
    """
    return activations * ops.sum(gradients, axis=grid_axes(gradients), keepdims=True)


@method("curvature")
def shapleycam(activations, curvature, scores):
    """ShapleyCAM: Grad-CAM corrected by how the gradient itself changes.

    `w_k = mean_ij (G_kij - (H A)_kij / 2)`, `map = sum_k w_k A_k`, where H is the
    Hessian of y in A. The logits of a network with ReLU have none, and the map is
    Grad-CAM's: the paper explains `targets.residual_softmax`. `curvature` is an
    `Curvature`.

    Choose it for smooth networks, or with `targets.residual_softmax`.

    Reference:
        [Cai, 2025](https://arxiv.org/abs/2501.06261), CAMs as Shapley Value-based
        Explainers.
    """
    slopes = curvature.gradients - 0.5 * curvature.hessian_times_activations
    return activations * ops.mean(slopes, axis=grid_axes(slopes), keepdims=True)


def _positive_inverse(values):
    """1 / value, 0 where it is not positive."""
    positive = values > 0
    return ops.where(positive, 1.0 / ops.where(positive, values, 1.0), 0.0)
