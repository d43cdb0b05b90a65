"""Fusion: one map of the maps of several layers.

A fusion is a function of the list of these maps, each `(batch, *grid)` of the same size
and divided by its own largest magnitude, as the strengths of layers do not compare.
"""

import functools

from keras import ops

# Of LayerCAM, for the maps of early layers.
GAMMA = 2.0


def mean(maps):
    """The mean of the maps: what any of the layers shows."""
    return sum(maps) / len(maps)


def maximum(maps):
    """The highest of the maps, at each place."""
    return functools.reduce(ops.maximum, maps)


def product(maps):
    """The product of the maps: only what all of the layers show (Refine-CAM).

    Reference:
        [arXiv 2605.14641](https://arxiv.org/abs/2605.14641).
    """
    return functools.reduce(ops.multiply, maps)


def tanh_max(maps):
    """The highest of `tanh(2 map)`: the weak places of fine layers lifted (LayerCAM).

    Reference:
        [Jiang et al., 2021](https://doi.org/10.1109/TIP.2021.3089943), LayerCAM.
    """
    return maximum([ops.tanh(GAMMA * one) for one in maps])


FUSIONS = {"mean": mean, "max": maximum, "product": product, "tanh_max": tanh_max}


def name_of(identifier):
    """The name of a fusion of this file, `None` for any other."""
    for name, fusion in FUSIONS.items():
        if identifier is fusion or (isinstance(identifier, str) and identifier == name):
            return name
    return None


def check_map(fused, fuse, expected):
    """Raises unless a fusion returned a map like those it was given.

    Args:
        fused: What it returned.
        fuse: See `GradCAM`.
        expected: One of the maps.
    """
    shape = getattr(fused, "shape", None)
    if shape is None or len(shape) != len(expected.shape):
        received = repr(fused) if shape is None else f"shape {tuple(shape)}"
        raise ValueError(
            "A callable `fuse` must return one map of the size of those in its list, "
            f"{tuple(expected.shape)}. It returned {received}. Received: fuse={fuse}"
        )


def get(identifier):
    """Returns the fusion that a `fuse` argument names, `None` for none.

    Raises:
        ValueError: If `identifier` is neither in `FUSIONS`, nor `None`, nor a callable.
    """
    if identifier is None or callable(identifier):
        return identifier
    if isinstance(identifier, str) and identifier in FUSIONS:
        return FUSIONS[identifier]
    raise ValueError(
        f"Argument `fuse` must be one of {sorted(FUSIONS)}, None or a callable from a "
        f"list of maps to one. Received: fuse={identifier!r}"
    )
