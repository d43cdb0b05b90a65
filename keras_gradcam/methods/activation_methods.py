"""Methods from a layer's activations, with little or no regard to the score.

Each formula takes activations `(batch, *grid, channels)`, evidence that all but one
leave aside, and scores `(batch,)`; it returns the raw map `(batch, *grid)`. Maps of
activations alone show what stands out to the layer. They are the same for every class.
"""

import math

from keras import ops

from keras_gradcam.arrays import grid_axes, rounding, uniform
from keras_gradcam.methods.method import method


@method("nothing")
def eigencam(activations, evidence, scores):
    """Eigen-CAM: what most of the activations have in common.

    `map = A v` with A as a matrix of positions and channels, and v its first right
    singular vector; A is not centred. The sign of v, which is arbitrary, is such that
    the map agrees with the mean over the channels.

    Choose it to see what a layer responds to, whatever the class.

    Reference:
        [Muhammad and Yeasin, 2020](https://arxiv.org/abs/2008.00299).
    """
    return first_component(activations)


@method("gradients")
def eigengradcam(activations, gradients, scores):
    """Eigen-Grad-CAM: what most of the products of A and G have in common.

    `map = (G A) v` with v the first right singular vector of the products `G_kij A_kij`
    as a matrix of positions and channels. The sign is such that the map agrees with
    their sum, HiResCAM.

    Choose it where Grad-CAM is noisy and one object stands out.

    Reference:
        Gildenblat et al., the library pytorch-grad-cam, `EigenGradCAM`.
    """
    return first_component(gradients * activations)


@method("nothing")
def kpcacam(activations, evidence, scores, *, kernel="sigmoid", gamma=None):
    """KPCA-CAM: Eigen-CAM by kernel principal components.

    The first principal component of the positions, each a vector a of K channels:
    `map = sqrt(l) u` with l and u the highest eigenvalue, and its vector, of the
    centred matrix of `tanh(gamma a b + 1)` or `exp(-gamma |a - b|^2)`. The sign is such
    that the map agrees with the mean over the channels. The matrix has a row for each
    position: take a late layer. Where activations are large the tanh is 1 everywhere,
    and the map is 0: a smaller `gamma`, or `"rbf"`, tells the positions apart.

    Choose it as Eigen-CAM, where the main direction is no straight line.

    Args:
        kernel: `"sigmoid"` or `"rbf"`. Defaults to `"sigmoid"`.
        gamma: Positive number. Defaults to `None`, 1 / K.

    Reference:
        [Karmani et al., 2024](https://arxiv.org/abs/2410.00267); Schölkopf et al.,
        1998, for the centring of a kernel.
    """
    matrix, finite = _matrix(activations)
    gamma = 1.0 / matrix.shape[-1] if gamma is None else gamma
    products = ops.matmul(matrix, ops.transpose(matrix, (0, 2, 1)))
    if kernel == "rbf":
        squares = ops.sum(matrix * matrix, axis=-1)
        # |a - b|^2; rounding must not make it negative.
        distances = squares[:, :, None] + squares[:, None] - 2.0 * products
        similar = ops.exp(-gamma * ops.relu(distances))
    else:
        similar = ops.tanh(gamma * products + 1.0)
    rows = ops.mean(similar, axis=1, keepdims=True)
    columns = ops.mean(similar, axis=2, keepdims=True)
    values, vectors = ops.eigh(similar - rows - columns + ops.mean(rows, 2, True))
    # The centred matrix of places that are all alike is not quite 0.
    positions = ops.cast(ops.shape(similar)[-1], similar.dtype)
    error = positions * rounding(similar)
    highest = ops.where(values[:, -1:] > error, values[:, -1:], 0.0)
    flat = ops.sqrt(highest) * vectors[:, :, -1]
    return _on_grid(_oriented(flat, matrix), activations, finite)


@method("nothing")
def fem(activations, evidence, scores, *, k=2.0):
    """FEM: how many channels stand out at a place, the strong ones counting more.

    `M_kij = 1 where A_kij > mean_k + k std_k, else 0`; `map = sum_k mean_k M_k`, with
    the mean and the standard deviation of each channel over the grid.

    Choose it to see what stands out to a layer, whatever the class, at no cost.

    Args:
        k: Number of standard deviations that stand out. Defaults to `2.0`.

    Reference:
        Ahmed Asif Fuad et al., 2020, Features Understanding in 3D CNNs for Actions
        Recognition in Video, IPTA.
    """
    axes = grid_axes(activations)
    means = ops.mean(activations, axis=axes, keepdims=True)
    limits = means + k * ops.std(activations, axis=axes, keepdims=True)
    # A product, and no choice: what is NaN stays so.
    return means * ops.cast(activations > limits, means.dtype)


@method("nothing")
def random(activations, evidence, scores, *, seed=0):
    """Noise: what a method must be better than.

    `map ~ uniform(0, 1)`, the same for the same seed. Each place in the batch has its
    own noise.

    Choose it as the control of a measurement, never as an explanation.

    Args:
        seed: Int that the noise is made from. Defaults to `0`.

    Reference:
        Gildenblat et al., the library pytorch-grad-cam, `RandomCAM`.
    """
    shape = ops.shape(activations)[:-1]
    return uniform(shape, seed, 0, activations.dtype)


def first_component(parts):
    """The projection of the parts of a map on their first right singular vector.

    Args:
        parts: Tensor `(batch, *grid, channels)`.

    Returns:
        Tensor `(batch, *grid)`, its sign such that it agrees with the sum of the parts.
    """
    matrix, finite = _matrix(parts)
    # Squares of 1e-20 and of 1e20 are no floats.
    peaks = ops.max(ops.abs(matrix), axis=(1, 2), keepdims=True)
    matrix = matrix / ops.where(peaks > 0, peaks, 1.0)
    positions, channels = ops.shape(matrix)[1:]
    # The eigenvectors of the smaller of both Gram matrices are the singular vectors.
    if isinstance(positions, int):
        find = _by_positions if positions <= channels else _by_channels
        flat = find(matrix)
    else:
        flat = ops.cond(
            positions <= channels,
            lambda: _by_positions(matrix),
            lambda: _by_channels(matrix),
        )
    return _on_grid(_oriented(flat, matrix) * peaks[..., 0], parts, finite)


def _by_positions(matrix):
    values, vectors = ops.eigh(ops.matmul(matrix, ops.transpose(matrix, (0, 2, 1))))
    return ops.sqrt(ops.relu(values[:, -1:])) * vectors[:, :, -1]


def _by_channels(matrix):
    _, vectors = ops.eigh(ops.matmul(ops.transpose(matrix, (0, 2, 1)), matrix))
    return ops.squeeze(ops.matmul(matrix, vectors[:, :, -1:]), -1)


def _matrix(parts):
    """`(batch, positions, channels)`, zeros for a sample that is not finite."""
    grid, channels = parts.shape[1:-1], parts.shape[-1]
    free = None in grid
    shape = (ops.shape(parts)[0], -1) if free else (-1, math.prod(grid))
    matrix = ops.reshape(parts, (*shape, channels))
    finite = ops.all(ops.isfinite(matrix), axis=(1, 2))
    # No eigenvectors are found of NaN, and the whole batch would fail.
    return ops.where(finite[:, None, None], matrix, 0.0), finite


def _oriented(flat, matrix):
    """A map `(batch, positions)`, its sign that of the sum of the parts."""
    agreement = ops.sum(flat * ops.sum(matrix, axis=-1), axis=-1, keepdims=True)
    return ops.where(agreement < 0, -flat, flat)


def _on_grid(flat, parts, finite):
    flat = ops.where(finite[:, None], flat, math.nan)
    return ops.reshape(flat, ops.shape(parts)[:-1])
