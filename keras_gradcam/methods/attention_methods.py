"""Methods for transformers: what attention, or balanced gradients, tell of tokens.

Each formula takes

- `activations`: floats `(batch, *grid, channels)`, the embedded tokens;
- `evidence`: as its docstring says; `attention` is an `Attention`: of each attention of
  the network the weights `A` of shape `(batch, heads, queries, keys)`, the gradients
  `G = dy/dA`, and how keys lie on the grid;
- `scores`: floats `(batch,)`, the target score y of each sample;

and returns the raw map `(batch, *grid)`, or its parts `(batch, *grid, channels)` that
sum up to it.
"""

from keras import ops

from keras_gradcam.arrays import divided
from keras_gradcam.methods.method import method


@method("chained_attention", default_layer="embedding")
def attention_rollout(activations, attention, scores):
    """Attention rollout: where the tokens that the score reads have looked.

    `R_l = (I + mean_h A_lh) / 2 R_(l-1)`, `R_0 = I`. The map is the row of R of the
    token that the score reads: the class token, or with several, as behind average
    pooling, the mean of their rows by how much the score reads of each. It is the same
    for all classes.

    Choose it to see where a network looks, not to explain a class.

    Reference:
        [Abnar and Zuidema, 2020](https://arxiv.org/abs/2005.00928), section 3.
    """
    row = _read(attention.gradients[-1])
    for weights in reversed(attention.weights):
        passed = _row_by_matrix(row, ops.mean(weights, axis=1))
        is_square = row.shape[-1] == passed.shape[-1]
        row = (row + passed) / 2.0 if is_square else passed
    return attention.places[0](row)


@method("chained_attention", default_layer="embedding")
def transformer_attribution(activations, attention, scores):
    """Transformer attribution: rollout of the attention that speaks for the target.

    `R_l = R_(l-1) + B_l R_(l-1)` with `B_l = mean_h relu(G_lh A_lh)` and `R_0 = I`. The
    map is the row of R of the token that the score reads, as in `attention_rollout`,
    without the identity: what that token gets through attention.

    Choose it to compare with the literature on transformers.

    Reference:
        [Chefer et al., 2021](https://arxiv.org/abs/2103.15679), equations 5 and 6.
    """
    read = _read(attention.gradients[-1])
    gained = ops.zeros_like(read)
    pairs = zip(attention.weights, attention.gradients, strict=True)
    for weights, gradients in reversed(list(pairs)):
        spoken = ops.mean(ops.relu(weights * gradients), axis=1)
        passed = _row_by_matrix(read + gained, spoken)
        if passed.shape[-1] == read.shape[-1]:
            gained = gained + passed
        else:  # What pools the tokens is none of them.
            gained, read = passed, ops.zeros_like(passed)
    return attention.places[0](gained)


@method("attention", default_layer="embedding")
def gradsam(activations, attention, scores):
    """Grad-SAM: attention weighted by its positive gradients.

    `map_j = sum_l mean_hi A_lhij relu(G_lhij)`, the mean over heads h and queries i.

    Choose it for transformers whose attention is in windows or changes its grid.

    Reference:
        [Barkan et al., 2021](https://arxiv.org/abs/2204.11073), Grad-SAM.
    """
    terms = zip(attention.weights, attention.gradients, attention.places, strict=True)
    return sum(
        place(ops.mean(weights * ops.relu(gradients), axis=(1, 2)))
        for weights, gradients, place in terms
    )


@method("attention_by_depth", default_layer="embedding")
def legrad(activations, attention, scores):
    """LeGrad: how the score of each depth would change with its attention.

    `map_j = mean_l mean_hi relu(G_lhij)`, where `G_l = dy_l/dA_l` and y_l is the score
    that the end of the network gives the tokens of depth l.

    Choose it for deep transformers with a class token, or pooled by attention.

    Reference:
        [Bousselham et al., 2024](https://arxiv.org/abs/2404.03214), LeGrad.
    """
    terms = zip(attention.gradients, attention.places, strict=True)
    maps = [place(ops.mean(ops.relu(g), axis=(1, 2))) for g, place in terms]
    return sum(maps) / len(maps)


@method("gradients", default_layer="embedding", gradient_rules="attnlrp")
def attnlrp(activations, gradients, scores):
    """AttnLRP: the relevance of tokens, as rules for attention propagate it.

    `map_ij = sum_k A_kij G_kij` at the embedded tokens, where G is the gradient with
    the norms and the gates of activations held constant, and that of each product of
    two tensors halved between them, for the epsilon rule with epsilon 0.

    Choose it where a map of a transformer must be faithful and sharp.

    Reference:
        [Achtibat et al., 2024](https://arxiv.org/abs/2402.05602), AttnLRP.
    """
    return activations * gradients


@method("gradients", default_layer="embedding", gradient_rules="libragrad")
def libragrad(activations, gradients, scores):
    """LibraGrad: the input times its gradient, balanced so that shares add up.

    `map_ij = sum_k A_kij G_kij` at the embedded tokens, where G is the gradient with
    the weights of attention, the norms and the gates of activations held constant, and
    that of each product of two tensors halved between them. The map without the ReLU,
    and the biases times their gradients, sum to the score.

    Choose it where the shares of a transformer's tokens must add up to the score.

    Reference:
        [Mehri et al., 2024](https://arxiv.org/abs/2411.16760), LibraGrad.
    """
    return activations * gradients


def _read(gradients):
    """How much the score reads of each query, `(batch, queries)` that sum up to 1."""
    sizes = ops.sqrt(ops.sum(ops.square(_in_unit(gradients)), axis=(1, 3)))
    return divided(sizes, ops.sum(sizes, axis=-1, keepdims=True))


def _in_unit(gradients):
    # Squares of 1e-25 are no floats any more.
    peaks = ops.max(ops.abs(gradients), axis=(1, 2, 3), keepdims=True)
    return divided(gradients, peaks)


def _row_by_matrix(row, matrix):
    return ops.sum(ops.expand_dims(row, -1) * matrix, axis=1)
