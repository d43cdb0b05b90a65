"""A target: a callable from a model's outputs to scores, with its options."""

import functools
import inspect

import keras
import numpy as np

from keras_gradcam.configured_function import ConfiguredFunction, factory
from keras_gradcam.option_checks import are_ints, is_count, is_number

TARGETS: dict = {}

CHECKS = {
    "k": (is_count, "an int from 1 on"),
    "similar": (is_count, "an int from 1 on"),
    "top": (is_count, "an int from 1 on"),
    "gamma": (is_number, "a number"),
    "threshold": (is_number, "a number"),
    "indices": (
        lambda x: are_ints(x, least_rank=1),
        "a list of ints, one at least",
    ),
    "boxes": (
        lambda x: x is None or are_ints(x, least_rank=1),
        "a list of ints, one at least, or None",
    ),
    "index": (lambda x: x is None or are_ints(x), "an int, or one for each sample"),
    "target": (
        lambda x: x is None or callable(x) or are_ints(x),
        "an int, one for each sample, another target, or None",
    ),
    "label": (
        lambda x: are_ints(x) and np.isin(x, (0, 1)).all(),
        "0 or 1, or one of these for each sample",
    ),
    "mask": (
        lambda x: x is None or (np.asarray(x).dtype.kind in "biuf" and np.ndim(x)),
        "an array of numbers, or None",
    ),
    "reference": (
        lambda x: np.asarray(x).dtype.kind in "iuf" and np.ndim(x) in (1, 2),
        "an array of numbers `(features,)`, or one row for each sample",
    ),
}


@keras.saving.register_keras_serializable("keras_gradcam")
class Target(ConfiguredFunction):
    """A target by name with its options: callable, comparable, serialisable.

    Args:
        name: A name in `TARGETS`.
        **options: Its options.
    """

    MODULE = "targets"
    TABLE = TARGETS

    def __call__(self, outputs):
        return TARGETS[self.name](outputs, **self.options)


def target(function):
    """Turns `function(outputs, *options)` into `function(*options) -> Target`."""
    TARGETS[function.__name__] = function
    options = list(inspect.signature(function).parameters.values())[1:]
    make = functools.partial(Target, function.__name__)
    return factory(function, make, options, CHECKS)
