"""Which layers of a model a user means, and which one is the default."""

import difflib
import re

import keras

from keras_gradcam.model import default_layer


def select(traced, layer, target=None, default="last"):
    """Returns the list of layer outputs that a `layer` argument stands for.

    Args:
        traced: A `TracedModel`.
        layer: `None`, or what `find` takes, or a list of these.
        target: See `GradCAM`.
        default: What `None` stands for, a key of `default_layer.KINDS`.

    Raises:
        TypeError, ValueError: See `default_layer.default` and `find`.
    """
    if layer is None:
        return default_layer.KINDS[default](traced, target)
    if isinstance(layer, (list, tuple)):
        return [find(traced, one) for one in layer]
    return [find(traced, layer)]


def find(traced, layer):
    """Returns the layer output that `layer` means.

    Args:
        traced: A `TracedModel`.
        layer: A `keras.Layer`, or a string: a layer's name or the end of its path,
            where that is unique, with "[key]", "#n" and "~n" where needed (see
            `LayerOutput`).

    Raises:
        TypeError: If `layer` is neither.
        ValueError: If there is no such layer output, more than one, or it has no grid.
    """
    if not isinstance(layer, (str, keras.Layer)):
        raise TypeError(
            "Argument `layer` must be a layer's name, a `keras.Layer`, a list of "
            f"these, or None. Received: layer={layer!r} of type {type(layer).__name__}"
        )
    matches = _matches(traced, layer)
    if not matches:
        raise ValueError(
            f"{_why_not(traced, layer)} Layers that work: "
            f"{_choices(traced, name_of(layer))}. Received: layer={name_of(layer)!r}"
        )
    if len(matches) > 1:
        raise ValueError(
            f"'{name_of(layer)}' stands for {len(matches)} places in the model. Pass "
            f"one of {[match.name for match in matches]}. Received: "
            f"layer={name_of(layer)!r}"
        )
    if not matches[0].grid:
        raise ValueError(
            f"Layer '{matches[0].name}' has no spatial grid to draw a map on: it "
            f"returns shape {matches[0].shape}. Layers that work: "
            f"{_choices(traced, name_of(layer))}. If its axes are tokens of a grid, "
            f"pass `reshape=(height, width)`. Received: layer={name_of(layer)!r}"
        )
    if not matches[0].passes_on:
        raise ValueError(
            f"After layer '{matches[0].name}' only the class token reaches the score: "
            "the tokens of the image have no gradient there, and every map would be "
            f"empty. Layers that work: {_choices(traced, '')}. Received: "
            f"layer={name_of(layer)!r}"
        )
    return matches[0]


def name_of(layer):
    return layer if isinstance(layer, str) else layer.name


def _matches(traced, layer):
    if isinstance(layer, keras.Layer):
        return [
            layer_output
            for layer_output in traced.layer_outputs
            if layer_output.layer is layer
        ]
    exact = [x for x in traced.layer_outputs if layer in _names(x)]
    return exact or [
        layer_output
        for layer_output in traced.layer_outputs
        if any(_ends_with(name, layer) for name in _names(layer_output))
    ]


def _names(layer_output):
    """The names of a layer output, the last one shared with layers of the same name."""
    return layer_output.name, layer_output.path, _unnumbered(layer_output.path)


def _unnumbered(path):
    return re.sub(r"~\d+$", "", path)


def _ends_with(path, end):
    return f"/{path}".endswith(f"/{end}")


def _why_not(traced, layer):
    if isinstance(layer, keras.Layer):
        exists = any(other is layer for _, other in traced.paths)
    else:
        exists = any(_ends_with(_unnumbered(path), layer) for path, _ in traced.paths)
    if exists:
        return f"Layer '{name_of(layer)}' does not run when the model is called."
    return f"The model has no layer '{name_of(layer)}'."


def _choices(traced, name, count=12):
    """Names of the layers that work: those that resemble `name`, then the last ones."""
    names = [
        layer_output.name
        for layer_output in traced.layer_outputs
        if layer_output.is_candidate()
    ]
    last_parts = {other.split("/")[-1]: other for other in names}
    alike = difflib.get_close_matches(name.split("/")[-1], last_parts, n=3)
    close = [last_parts[part] for part in alike]
    close += [other for other in reversed(names) if other not in close]
    more = f" and {len(close) - count} more" if len(close) > count else ""
    return f"{close[:count]}{more}"
