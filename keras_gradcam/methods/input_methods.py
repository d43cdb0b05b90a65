"""Methods whose map lies over the input itself: as fine as its pixels.

Each formula takes

- `inputs`: floats `(batch, *grid, channels)`, the input x, channels last;
- `evidence`: as its docstring says;
- `scores`: floats `(batch,)`, the target score y of each sample;

and returns the raw map `(batch, *grid)`, or its parts `(batch, *grid, channels)` that
sum up to it.
"""

from keras import ops

from keras_gradcam.arrays import grid_axes, stretched
from keras_gradcam.methods.method import Method, method


@method("gradients", place="input")
def saliency(inputs, gradients, scores):
    """Saliency: how much each pixel could change the score.

    `map_ij = max_c |dy/dx_cij|`, the maximum over the colour channels.

    Choose it to see single pixels, and for networks without convolutions.

    Reference:
        [Simonyan et al., 2014](https://arxiv.org/abs/1312.6034), section 3.1.
    """
    return ops.max(ops.abs(gradients), axis=-1)


@method("smoothed", place="input", samples=25, noise=0.15, seed=0)
def smoothgrad(inputs, moments, scores):
    """SmoothGrad: saliency of the gradient averaged over noisy inputs.

    `map_ij = max_c |mean_n dy/dx_cij(x + d_n)|` with `d_n` normal noise. The gradient
    is averaged as in the paper's equation, with its sign. `moments` is an
    `Moments`.

    Choose it where saliency is too noisy to read.

    Args:
        samples: Number of noisy inputs. Defaults to `25`.
        noise: Standard deviation of the noise, relative to the range of each input; the
            paper recommends 0.1 to 0.2. Defaults to `0.15`.
        seed: Int that the noise is made from: the same seed, the same map. Defaults
            to `0`.

    Reference:
        [Smilkov et al., 2017](https://arxiv.org/abs/1706.03825).
    """
    return ops.max(ops.abs(moments.first), axis=-1)


@method("guided", place="input")
def guided_backprop(inputs, gradients, scores):
    """Guided backpropagation: saliency of a gradient that only carries what excites.

    `map_ij = max_c |g_cij|` where the signal g that goes back is cut off at every ReLU
    (also ReLU6) where it is negative. It draws edges, and depends little on the class.

    Choose it for pictures of edges, not for evidence about a class.

    Reference:
        [Springenberg et al., 2014](https://arxiv.org/abs/1412.6806).
    """
    return ops.max(ops.abs(gradients), axis=-1)


@method("guided_at_layer", place="input", needs_layer=True)
def guided_gradcam(inputs, guided, scores):
    """Guided Grad-CAM: guided backpropagation where Grad-CAM is.

    `map_ij = place(relu(gradcam))_ij max_c |g_cij|` with g as in `guided_backprop`, and
    Grad-CAM laid where the layer's grid lies in the input. `guided` is a
    `GuidedAtLayer`.

    Choose it for fine pictures of the place that Grad-CAM finds.

    Reference:
        [Selvaraju et al., 2017](https://arxiv.org/abs/1610.02391), section 3.2.
    """
    gradcam = Method("gradcam")(guided.activations, guided.gradients, scores)
    coarse = ops.cast(guided.place(ops.relu(gradcam)), inputs.dtype)
    return coarse * ops.max(ops.abs(guided.guided), axis=-1)


@method("path", place="input", steps=32, baseline=0.0)
def integrated_gradients(inputs, path, scores):
    """Integrated gradients: what each pixel adds to the score, from a baseline on.

    `map_ij = sum_c (x - x0)_cij mean_n dy/dx_cij(x0 + (n - 1/2) / N (x - x0))`, n from
    1 to N. With enough steps, and `activation=None`, a map sums to `y(x) - y(x0)`.
    `path` is an `Path`.

    Choose it where the pixels' shares must add up to the score.

    Args:
        steps: Number N of steps. Defaults to `32`.
        baseline: The input x0 without information, in the model's units: a number, or
            an array that fits the input. Defaults to `0.0`.

    Reference:
        [Sundararajan et al., 2017](https://arxiv.org/abs/1703.01365), equation 1,
        its integral by the midpoint rule.
    """
    return path.difference * path.gradients


@method("biases", place="input")
def fullgrad(inputs, terms, scores, rescale="layer"):
    """FullGrad: what the input and all biases of the network add to the score.

    `map = sum_c psi(x_c dy/dx_c) + sum_lk psi(b_lk dy/db_lk)` over all biases of layers
    l with a grid like that of the input, `psi` being the magnitude, rescaled and
    resized. The shift of a batch normalization is a bias, and so is the offset of a
    rescaling. Biases of tokens, of single frames and of what is inside of loops have no
    place, and are left out. `terms` is the list of these products: `values` on the grid
    where each arises, and `place`, which lays a map of that grid over the input.

    Choose it to see the input and all layers at once in one picture.

    Args:
        rescale: What is stretched to [0, 1] from its least to its largest magnitude:
            `"layer"`, the input and each layer with all their channels, as the authors'
            code does it, or `"channel"`, each channel by itself, so that weak ones
            count as much as strong ones. `None` rescales nothing: layers with large
            products count more. Defaults to `"layer"`.

    Reference:
        [Srinivas and Fleuret, 2019](https://arxiv.org/abs/1905.00780), equation 8,
        which leaves open what is rescaled.
    """
    # Placing is linear: of the sum over the channels it is the sum of the placed.
    return sum(
        ops.cast(
            term.place(ops.sum(_rescaled(ops.abs(term.values), rescale), axis=-1)),
            inputs.dtype,
        )
        for term in terms
    )


def _rescaled(term, rescale):
    """Magnitudes `(batch, *grid, channels)`, rescaled as `fullgrad` is told."""
    if rescale is None:
        return term
    axes = grid_axes(term)
    return stretched(term, axes if rescale == "channel" else (*axes, -1))
