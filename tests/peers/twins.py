"""A small model twice: in Keras and, with the same weights, in PyTorch."""

import functools
from collections import OrderedDict
from typing import NamedTuple

import keras
import numpy as np
import torch
from conftest import randomize

L = keras.layers

# Head, whether a batch normalization is in front of the first ReLU, and layer.
CASES = [
    ("gap", False, "first"),
    ("gap", False, "last"),
    ("flatten", True, "first"),
    ("flatten", True, "last"),
]


class Twins(NamedTuple):
    """Both take the same images, and their layers have the same names.

    Attributes:
        ours: A `keras.Model` that ends in a softmax.
        theirs: A new `torch.nn.Module` that ends in its logits.
    """

    ours: keras.Model
    theirs: torch.nn.Module


def make(head="gap", normalized=False, padding="valid"):
    """Conv, ReLU, conv, ReLU, then a GAP or Flatten head; random biases throughout.

    Args:
        head: `"gap"` or `"flatten"`.
        normalized: Whether a batch normalization follows the first convolution.
        padding: `"valid"`, or `"same"` for grids of the image's size.
    """
    ours = _model(head, normalized, padding)
    modules = OrderedDict((layer.name, _module(layer)) for layer in ours.layers)
    return Twins(ours, torch.nn.Sequential(modules).eval())


@functools.cache
def _model(head, normalized, padding):
    model = keras.Sequential(
        [
            keras.Input((16, 12, 3)),
            L.Conv2D(5, 3, padding=padding, name="before"),
            *([L.BatchNormalization(name="normalization")] if normalized else []),
            L.ReLU(name="first"),
            L.Conv2D(6, 3, padding=padding, name="between"),
            L.ReLU(name="last"),
            L.GlobalAveragePooling2D() if head == "gap" else L.Flatten(),
            L.Dense(4, activation="softmax", name="head"),
        ]
    )
    return randomize(model)


def _module(layer):
    makers = {
        L.Conv2D: _convolution,
        L.BatchNormalization: _normalization,
        L.ReLU: lambda layer: torch.nn.ReLU(),
        L.GlobalAveragePooling2D: lambda layer: _Pooling(),
        L.Flatten: lambda layer: _Flattening(),
        L.Dense: _dense,
    }
    return makers[type(layer)](layer)


class _Pooling(torch.nn.Module):
    def forward(self, x):
        return x.mean((2, 3))


class _Flattening(torch.nn.Module):
    """In the order of Keras, in which the channels of one place are neighbours."""

    def forward(self, x):
        return x.permute(0, 2, 3, 1).flatten(1)


def _convolution(layer):
    kernel, bias = layer.get_weights()
    height, width, channels, filters = kernel.shape
    module = torch.nn.Conv2d(channels, filters, (height, width), padding=layer.padding)
    return _with(module, weight=kernel.transpose(3, 2, 0, 1), bias=bias)


def _normalization(layer):
    gamma, beta, mean, variance = layer.get_weights()
    module = torch.nn.BatchNorm2d(len(gamma), eps=layer.epsilon)
    return _with(
        module, weight=gamma, bias=beta, running_mean=mean, running_var=variance
    )


def _dense(layer):
    kernel, bias = layer.get_weights()
    return _with(torch.nn.Linear(*kernel.shape), weight=kernel.T, bias=bias)


def _with(module, **values):
    tensors = {name: torch.from_numpy(x.copy()) for name, x in values.items()}
    module.load_state_dict(tensors, strict=False)
    return module


def as_tensor(images):
    """Images `(batch, height, width, channels)` as PyTorch takes them."""
    return torch.from_numpy(np.ascontiguousarray(np.moveaxis(images, -1, 1)))


def evidence(twins, layer, images, classes):
    """Activations and gradients of a layer, `(batch, channels, *grid)`, in PyTorch."""
    kept = []
    module = getattr(twins.theirs, layer)
    handle = module.register_forward_hook(lambda *call: kept.append(call[-1]))
    scores = twins.theirs(as_tensor(images))[range(len(classes)), classes]
    handle.remove()
    (gradients,) = torch.autograd.grad(scores.sum(), kept)
    return kept[0].detach().numpy(), gradients.numpy()
