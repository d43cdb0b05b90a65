"""A target: a callable from a model's outputs to scores, with its options."""

import functools
import inspect

import keras

from keras_gradcam.configured_function import ConfiguredFunction, factory

TARGETS: dict = {}


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
    return factory(function, functools.partial(Target, function.__name__), options)
