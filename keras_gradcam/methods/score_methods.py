"""Methods from scores alone: what becomes of y when the model sees less.

Each formula takes

- `activations`: floats `(batch, *grid, channels)`, the layer's output A;
- `changed`: floats `(batch, channels)`, the score for each channel, as its docstring
  says;
- `scores`: floats `(batch,)`, the target score y of each sample;

and returns the parts `(batch, *grid, channels)` of a raw map, which is their sum over
the channels. No gradient is used: any model will do, at the cost of one forward pass
for each channel.
"""

from keras import ops

from keras_gradcam.arrays import most_varying, of_channels, over_grid
from keras_gradcam.methods.method import method


@method("masked", channels=None)
def scorecam(activations, changed, scores):
    """Score-CAM: channels weighted by the score of what they let through.

    `H_k = minmax(resize(A_k))`, `w = softmax_k(y(x H_k))`, `map = sum_k w_k A_k`. The
    paper's `y(baseline)` is the same for all channels and cancels. With `channels` only
    those that vary most over the grid are asked for and used, as in Faster Score-CAM.

    Choose it where gradients are not to be trusted, and time matters little.

    Args:
        channels: Number of channels. Defaults to `None`, all of them.

    Reference:
        [Wang et al., 2020](https://arxiv.org/abs/1910.01279), algorithm 1; Faster
        Score-CAM is tabayashi0117's.
    """
    return _weighted_by_scores(activations, changed)


@method("noisy_masked", samples=10, noise=2.0, seed=0, channels=None)
def sscam(activations, changed, scores):
    """SS-CAM: Score-CAM with the scores averaged over noisy masks.

    `w = softmax_k(mean_n y(x (H_k + d_n)))` with `d_n` normal noise,
    `map = sum_k w_k A_k`. The n-th noise is the same for all channels, so that they
    compare. This is the paper's first form, SS-CAM (1), with noise on the masks.

    Choose it where Score-CAM is scattered; it costs `samples` times as much.

    Args:
        samples: Number of noisy masks for each channel. Defaults to `10`.
        noise: Standard deviation of the noise; masks are in [0, 1]. Defaults to `2.0`.
        seed: Int that the noise is made from: the same seed, the same map. Defaults
            to `0`.
        channels: See `scorecam`.

    Reference:
        [Wang et al., 2020](https://arxiv.org/abs/2006.14255), SS-CAM: Smoothed
        Score-CAM for Sharper Visual Feature Localization.
    """
    return _weighted_by_scores(activations, changed)


@method("faded_masked", steps=10, channels=None)
def iscam(activations, changed, scores):
    """IS-CAM: Score-CAM with the scores averaged while the masked input fades in.

    `w = softmax_k(mean_n y(x H_k n / N))`, n from 1 to N, `map = sum_k w_k A_k`. This
    is the integral that gave the method its name; implementations that add up the
    shares n / N as they go show the model inputs that are brighter than the image.

    Choose it where Score-CAM is scattered; it costs `steps` times as much.

    Args:
        steps: Number N of steps. Defaults to `10`.
        channels: See `scorecam`.

    Reference:
        [Naidu et al., 2020](https://arxiv.org/abs/2010.03023), IS-CAM: Integrated
        Score-CAM for axiomatic-based explanations.
    """
    return _weighted_by_scores(activations, changed)


@method("ablated")
def ablationcam(activations, changed, scores):
    """Ablation-CAM: channels weighted by what the score loses without them.

    `w_k = (y - y_k) / |y|`, where `y_k` is the score with channel k set to 0, and 0
    where y is 0; `map = sum_k w_k A_k`. The magnitude keeps the sign of a loss where
    y is negative.

    Choose it where gradients are not to be trusted: only the layers behind run again.

    Reference:
        Desai and Ramaswamy, 2020, Ablation-CAM: Visual Explanations for Deep
        Convolutional Network via Gradient-free Localization, WACV.
    """
    size = ops.expand_dims(ops.abs(scores), -1)
    empty = ops.equal(size, 0.0)
    losses = ops.expand_dims(scores, -1) - changed
    weights = ops.where(empty, 0.0, losses / ops.where(empty, 1.0, size))
    return activations * over_grid(weights, activations)


def _weighted_by_scores(activations, changed):
    # Keras' softmax warns of one channel, where its weight is rightly 1.
    weights = ops.exp(changed - ops.max(changed, axis=-1, keepdims=True))
    weights = weights / ops.sum(weights, axis=-1, keepdims=True)
    chosen = most_varying(activations, changed.shape[-1])
    return of_channels(activations, chosen) * over_grid(weights, activations)
