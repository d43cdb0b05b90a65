"""A method: a formula, the evidence that it needs, and its options."""

import functools
import inspect
from collections.abc import Callable
from typing import NamedTuple

import keras
import numpy as np
from keras import ops

from keras_gradcam.configured_function import ConfiguredFunction, factory
from keras_gradcam.option_checks import is_count, is_int, is_number, is_positive


class Row(NamedTuple):
    """What is known of a method by name.

    Attributes:
        formula: Callable `(activations, evidence, scores, **options)` to the map
            `(batch, *grid)`, or to its parts `(batch, *grid, channels)`, which sum up
            to the map.
        evidence: A key of `evidence.KINDS`.
        place: What the map lies over: `"layer"` or `"input"`.
        needs_layer: Whether a layer is looked at.
        options: Names of the options that are the formula's; the others are for the
            gathering of the evidence.
        default_layer: Which layer it looks at without `layer`: `"last"`, that of a CAM;
            `"embedding"`, the tokens before the first attention; or `"depths"`, the
            last layer of each grid size, of whose maps it makes one.
        gradient_rules: The rules of its gradients, a key of
            `gathering.GRADIENT_RULES`; `None` for gradients as they are.
    """

    formula: Callable
    evidence: str = "gradients"
    place: str = "layer"
    needs_layer: bool = True
    options: tuple = ()
    default_layer: str = "last"
    gradient_rules: str | None = None

    @property
    def joins_depths(self):
        """Whether it makes one map of the maps of several layers."""
        return self.default_layer == "depths"


ROWS: dict = {}

# Also those of a smoothing, which has samples and noise, too.
OPTIONS = {
    "samples": (is_count, "an int from 1 on"),
    "steps": (is_count, "an int from 1 on"),
    "noise": (lambda x: is_number(x) and x >= 0, "a number from 0 on"),
    "seed": (is_int, "an int"),
    "channels": (lambda x: x is None or is_count(x), "an int from 1 on, or None"),
    "k": (lambda x: is_number(x) and x >= 0, "a number from 0 on"),
    "kernel": (
        lambda x: isinstance(x, str) and x in ("sigmoid", "rbf"),
        "'sigmoid' or 'rbf'",
    ),
    "rescale": (
        lambda x: x is None or (isinstance(x, str) and x in ("layer", "channel")),
        "'layer', 'channel' or None",
    ),
    "flip": (lambda x: isinstance(x, bool), "True or False"),
    "scales": (
        lambda x: np.ndim(x) == 1 and len(x) > 0 and all(map(is_positive, x)),
        "a sequence of numbers above 0",
    ),
    "baseline": (
        lambda x: np.asarray(x).dtype.kind in "iuf" and np.isfinite(x).all(),
        "a number, or an array of finite numbers that fits the input",
    ),
    "gamma": (lambda x: x is None or is_positive(x), "a number above 0, or None"),
}


@keras.saving.register_keras_serializable("keras_gradcam")
class Method(ConfiguredFunction):
    """A method by name with its options: callable, comparable, serialisable.

    Called with activations `(batch, *grid, channels)`, the evidence that `evidence`
    names, and scores `(batch,)`, it returns the raw map `(batch, *grid)`.

    Args:
        name: A name in `methods.METHODS`.
        **options: Its options.
    """

    MODULE = "methods"
    TABLE = ROWS

    @property
    def row(self):
        return ROWS[self.name]

    def formula(self, activations, evidence, scores):
        """The map, or its parts: see `Row.formula`."""
        own = {name: self.options[name] for name in self.row.options}
        return self.row.formula(activations, evidence, scores, **own)

    def __call__(self, activations, evidence, scores):
        raw = self.formula(activations, evidence, scores)
        parts = len(raw.shape) == len(activations.shape)
        return ops.sum(raw, axis=-1) if parts else raw

    @property
    def evidence_options(self):
        return {k: v for k, v in self.options.items() if k not in self.row.options}


class Custom:
    """A callable of the user's as a method.

    Args:
        formula: Callable `(activations, evidence, scores) -> map`. Its attribute
            `evidence`, if it has one, names the evidence that it gets: a key of
            `evidence.KINDS`. Without it these are the gradients. Its attribute
            `evidence_options` is a dict of the options of that kind, and its attribute
            `place` says whether the map lies over the `"layer"`, as it does without it,
            or over the `"input"`.
    """

    def __init__(self, formula):
        self.formula = formula
        place = getattr(formula, "place", "layer")
        kind = getattr(formula, "evidence", "gradients")
        needs_layer = place == "layer" or kind == "guided_at_layer"
        self.row = Row(formula, kind, place, needs_layer)
        self.evidence_options = dict(getattr(formula, "evidence_options", {}))

    def __eq__(self, other):
        return isinstance(other, Custom) and (self.row, self.evidence_options) == (
            other.row,
            other.evidence_options,
        )

    def __hash__(self):
        return hash(self.formula)

    def __repr__(self):
        return repr(self.formula)


def method(
    evidence,
    name=None,
    place="layer",
    needs_layer=None,
    default_layer="last",
    gradient_rules=None,
    **options,
):
    """Turns a formula into a function from options to a `Method`.

    Args:
        evidence: See `Row`.
        name: Name of the method, where it is no name in Python. Defaults to that of the
            function.
        place: See `Row`.
        needs_layer: See `Row`. Defaults to whether the map lies over a layer.
        default_layer: See `Row`.
        gradient_rules: See `Row`.
        **options: Defaults of the options for the gathering of the evidence; those of
            the formula are its keyword arguments.
    """

    def register(formula):
        key = name or formula.__name__
        own = list(inspect.signature(formula).parameters.values())[3:]
        needs = place == "layer" if needs_layer is None else needs_layer
        names = tuple(option.name for option in own)
        ROWS[key] = Row(
            formula, evidence, place, needs, names, default_layer, gradient_rules
        )
        gathering = [
            inspect.Parameter(option, inspect.Parameter.KEYWORD_ONLY, default=default)
            for option, default in options.items()
        ]
        make = functools.partial(Method, key)
        return factory(formula, make, [*own, *gathering], OPTIONS)

    return register
