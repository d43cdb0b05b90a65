"""Functions by name with their options: callable, comparable, serialisable."""

import functools
import inspect

import keras
import numpy as np

from keras_gradcam.option_checks import check_option


class ConfiguredFunction:
    """A function of a table, with its options; equal ones share one compiled graph.

    Attributes:
        MODULE: The public module that makes these, such as `"targets"`.
        TABLE: Dict from names to what a subclass keeps of each.

    Args:
        name: A name in `TABLE`.
        **options: Its options.
    """

    MODULE = ""
    TABLE: dict = {}

    def __init__(self, name, **options):
        self.name = name
        self.options = options

    def __repr__(self):
        options = ", ".join(f"{key}={short(x)}" for key, x in self.options.items())
        return f"{self.MODULE}.{self.name}({options})"

    def __eq__(self, other):
        return type(other) is type(self) and self._key() == other._key()

    def __hash__(self):
        return hash(self._key())

    def _key(self):
        options = sorted(self.options.items())
        return self.name, tuple((key, _hashable(value)) for key, value in options)

    def get_config(self):
        return {"name": self.name, **self.options}

    @classmethod
    def from_config(cls, config):
        load = keras.saving.deserialize_keras_object
        return cls(**{key: load(value) for key, value in config.items()})


def factory(function, make, options, checks):
    """Returns the function that users call with options.

    Args:
        function: Whose name and docstring it bears.
        make: Callable of all options by name.
        options: List of `inspect.Parameter`.
        checks: Dict of checks of the options, see `check_option`.
    """

    @functools.wraps(function)
    def configure(*args, **kwargs):
        try:
            bound = configure.__signature__.bind(*args, **kwargs)
        except TypeError as error:
            takes = ", ".join(str(option) for option in options) or "none"
            raise TypeError(
                f"`{function.__name__}`: {error}. Its options are: {takes}."
            ) from None
        bound.apply_defaults()
        for name, value in bound.arguments.items():
            check_option(checks, name, value)
        return make(**bound.arguments)

    configure.__signature__ = inspect.Signature(options)
    return configure


def _hashable(value):
    if isinstance(value, (list, tuple, np.ndarray)) or hasattr(value, "numpy"):
        array = np.asarray(value)
        return array.shape, str(array.dtype), array.tobytes()
    return value


def short(value):
    """A value in an error message: long arrays are cut."""
    if isinstance(value, (ConfiguredFunction, str, type(None))):
        return repr(value)
    return np.array2string(np.asarray(value), threshold=8, separator=", ")
