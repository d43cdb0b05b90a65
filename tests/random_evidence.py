"""Random activations and evidence of every kind, as a method takes them."""

import numpy as np
import replicas

import keras_gradcam as kg
from keras_gradcam.evidence.attention_evidence import Attention
from keras_gradcam.evidence.gradient_evidence import (
    Curvature,
    GuidedAtLayer,
    Moments,
    Path,
    Product,
)


def normal(rng, shape, count=2):
    return rng.normal(size=(count, *shape)).astype("float32")


def _gradients(rng, shape):
    return normal(rng, shape)


def _moments(rng, shape):
    noisy = normal(rng, (4, *shape))
    return Moments(*((noisy**n).mean(1) for n in (1, 2, 3)))


def _layer_below(rng, shape):
    small = (*(n // 2 + 1 for n in shape[:-1]), 5)
    return GuidedAtLayer(
        normal(rng, small),
        normal(rng, small),
        normal(rng, shape),
        _stretching(shape[:-1]),
    )


def _stretching(size):
    """Callable that stretches maps of a batch, or of one sample, to a size."""

    def place(maps):
        maps = np.asarray(maps)
        if maps.ndim == len(size):
            return replicas.linear(maps, size)
        return np.stack([replicas.linear(one, size) for one in maps])

    return place


def _terms(rng, shape):
    small = (*(n // 2 + 1 for n in shape[:-1]), 4)
    return [
        Product(normal(rng, size), _stretching(shape[:-1])) for size in (shape, small)
    ]


def _attention(rng, shape):
    grid = shape[:-1]
    tokens = 1 + int(np.prod(grid))

    def place(keys):
        """Of a batch, or of one sample: all but the class token."""
        return np.asarray(keys)[..., 1:].reshape(*np.shape(keys)[:-1], *grid)

    def drawn():
        return normal(rng, (2, tokens, tokens))

    weights = [np.abs(drawn()) for _ in range(3)]
    weights = [each / each.sum(-1, keepdims=True) for each in weights]
    return Attention(weights, [drawn() for _ in range(3)], [place] * 3)


EVIDENCE = {
    "nothing": lambda rng, shape: None,
    "gradients": _gradients,
    "pooled": _gradients,
    "guided": _gradients,
    "smoothed": _moments,
    "curvature": lambda rng, shape: Curvature(normal(rng, shape), normal(rng, shape)),
    "masked": lambda rng, shape: normal(rng, shape[-1:]),
    "noisy_masked": lambda rng, shape: normal(rng, shape[-1:]),
    "faded_masked": lambda rng, shape: normal(rng, shape[-1:]),
    "ablated": lambda rng, shape: normal(rng, shape[-1:]),
    "guided_at_layer": _layer_below,
    "path": lambda rng, shape: Path(normal(rng, shape), normal(rng, shape)),
    "biases": _terms,
    "attention": _attention,
    "chained_attention": _attention,
    "attention_by_depth": _attention,
}


def facts(name, shape, seed=0, sign=None):
    """Activations, evidence and scores of two samples, as a method takes them."""
    rng = np.random.default_rng(seed)
    activations = normal(rng, shape)
    activations = activations if sign is None else np.abs(activations)
    found = EVIDENCE[kg.methods.METHODS[name].row.evidence](rng, shape)
    return activations, found, normal(rng, ())
