"""Which layers of a model a user means, and which one is the default."""

import difflib

import keras
from keras import tree

from keras_gradcam import forward, grids
from keras_gradcam.anatomy import Site
from keras_gradcam.targets import Target

# Layers that hold a graph, or a module of another framework, instead of layers.
OPAQUE = (
    keras.layers.TFSMLayer,
    keras.layers.JaxLayer,
    keras.layers.TorchModuleWrapper,
)


def select(anatomy, layer, target=None):
    """Returns the list of sites that a `layer` argument stands for.

    Args:
        anatomy: An `anatomy.Anatomy`.
        layer: `None`, or what `find` takes, or a list of these.
        target: See `GradCAM`.

    Raises:
        TypeError, ValueError: See `default` and `find`.
    """
    if layer is None:
        # A map of the output itself would only repeat it.
        own = callable(target) and not isinstance(target, Target)
        return [default(anatomy, outputs=own)]
    if isinstance(layer, (list, tuple)):
        return [find(anatomy, one) for one in layer]
    return [find(anatomy, layer)]


def default(anatomy, outputs=False):
    """Returns the last site with a grid larger than 1x1 that the score depends on.

    Args:
        anatomy: An `anatomy.Anatomy`.
        outputs: Whether an output of the model counts although there are layers before
            it. Defaults to `False`.

    Raises:
        ValueError: If there is none.
    """
    candidates = [site for site in anatomy.sites if site.is_candidate()]
    inner = [site for site in candidates if not site.is_output]
    candidates = candidates if outputs else inner or candidates
    if not candidates:
        raise ValueError(
            "The model has no layer with a spatial grid larger than 1x1 that the score "
            f"depends on. Its layers return:\n{_listing(anatomy)}\n{_way_out(anatomy)}"
        )
    source = anatomy.sites[candidates[-1].source]
    return source if source.is_candidate() else candidates[-1]


def find(anatomy, layer):
    """Returns the site that `layer` means.

    Args:
        anatomy: An `anatomy.Anatomy`.
        layer: A `keras.Layer`, or a string: a layer's name or the end of its path,
            where that is unique, with "[key]" and "#n" where needed (see
            `anatomy.Site`).

    Raises:
        TypeError: If `layer` is neither.
        ValueError: If there is no such site, more than one, or it has no grid.
    """
    if not isinstance(layer, (str, keras.Layer)):
        raise TypeError(
            "Argument `layer` must be a layer's name, a `keras.Layer`, a list of "
            f"these, or None. Received: layer={layer!r} of type {type(layer).__name__}"
        )
    matches = _matches(anatomy, layer)
    if not matches:
        raise ValueError(
            f"{_why_not(anatomy, layer)} Layers that work: "
            f"{_choices(anatomy, _name(layer))}. Received: layer={_name(layer)!r}"
        )
    if len(matches) > 1:
        raise ValueError(
            f"'{_name(layer)}' stands for {len(matches)} places in the model. Pass one "
            f"of {[site.name for site in matches]}. Received: layer={_name(layer)!r}"
        )
    if not matches[0].grid:
        raise ValueError(
            f"Layer '{matches[0].name}' has no spatial grid to draw a map on: it "
            f"returns shape {matches[0].shape}. Layers that work: "
            f"{_choices(anatomy, _name(layer))}. If its axes are tokens of a grid, "
            f"pass `reshape=(height, width)`. Received: layer={_name(layer)!r}"
        )
    if not matches[0].passes_on:
        raise ValueError(
            f"After layer '{matches[0].name}' only the class token reaches the score: "
            "the tokens of the image have no gradient there, and every map would be "
            f"empty. Layers that work: {_choices(anatomy, '')}. Received: "
            f"layer={_name(layer)!r}"
        )
    return matches[0]


def inputs(anatomy, model, signature, method, layer, layers):
    """Returns the sites of the inputs that a map of the input lies over.

    Args:
        anatomy: An `anatomy.Anatomy`.
        model: A `keras.Model`.
        signature: Structure of `tf.TensorSpec`, as the model takes it.
        method: The `method.Method`.
        layer: See `GradCAM`; the name of an input where the method needs no layer.
        layers: List of the sites of layers if the method needs them: one site is
            returned for each, that of the input that the layer's grid lies over.

    Raises:
        ValueError: If there is no such input, or it has no gradient.
    """
    specs = tree.flatten(signature)
    names = forward.input_names(model, signature)
    if layers:
        indices = [site.input for site in layers]
    elif layer is None:
        indices = [_main_input(anatomy, specs)]
    else:
        given = layer if isinstance(layer, (list, tuple)) else [layer]
        indices = [_input_named(one, names, method) for one in given]
    return [_input_site(anatomy, specs, names, index, method) for index in indices]


def _main_input(anatomy, specs):
    """The input that the last layer with a grid lies over, or else the largest."""
    candidates = [site.input for site in anatomy.sites if site.is_candidate()]
    if candidates:
        return candidates[-1]
    ranks = [spec.shape.rank if spec.dtype.is_floating else 0 for spec in specs]
    return ranks.index(max(ranks))


def _input_named(layer, names, method):
    if _name(layer) in names:
        return names.index(_name(layer))
    raise ValueError(
        f"Method '{method.name}' explains an input and looks at no layer. Leave out "
        f"`layer`, or pass the name of an input, one of {names}. Received: "
        f"layer={_name(layer)!r}"
    )


def _input_site(anatomy, specs, names, index, method):
    if index is None or not specs[index].dtype.is_floating:
        received = (
            names if index is None else f"'{names[index]}' of {specs[index].dtype}"
        )
        raise ValueError(
            f"Method '{method.name}' needs the gradient with respect to the input, and "
            f"there is none for {received}. Pass floats, or take a method that "
            "explains a layer."
        )
    shape = tuple(specs[index].shape)
    grid = [site.input_axes for site in anatomy.sites if site.input == index]
    first = keras.config.image_data_format() == "channels_first"
    axes = grids.of_input(shape, grid[-1] if grid else (), first)
    grid = grids.over_axes(shape, axes)
    rest = [axis for axis in range(1, len(shape)) if axis not in axes]
    return Site(
        name=names[index],
        path=names[index],
        layer=None,
        call=0,
        item=index,
        shape=(None, *shape[1:]),
        grid=grid.shape,
        to_grid=grid.to_grid,
        channels=shape[rest[0]] if len(rest) == 1 else None,
        channel_axis=rest[0] if rest else -1,
        prefix=0,
        connected=True,
        passes_on=True,
        source=0,
        is_output=False,
        input=index,
        input_axes=axes,
    )


def _name(layer):
    return layer if isinstance(layer, str) else layer.name


def _matches(anatomy, layer):
    if isinstance(layer, keras.Layer):
        return [site for site in anatomy.sites if site.layer is layer]
    exact = [site for site in anatomy.sites if layer in (site.name, site.path)]
    return exact or [
        site
        for site in anatomy.sites
        if _ends_with(site.name, layer) or _ends_with(site.path, layer)
    ]


def _ends_with(path, end):
    return f"/{path}".endswith(f"/{end}")


def _why_not(anatomy, layer):
    if isinstance(layer, keras.Layer):
        exists = any(other is layer for _, other in anatomy.paths)
    else:
        exists = any(_ends_with(path, layer) for path, _ in anatomy.paths)
    if exists:
        return f"Layer '{_name(layer)}' does not run when the model is called."
    return f"The model has no layer '{_name(layer)}'."


def _choices(anatomy, name, count=12):
    """Names of the layers that work: those that resemble `name`, then the last ones."""
    names = [site.name for site in anatomy.sites if site.is_candidate()]
    last_parts = {other.split("/")[-1]: other for other in names}
    alike = difflib.get_close_matches(name.split("/")[-1], last_parts, n=3)
    close = [last_parts[part] for part in alike]
    close += [other for other in reversed(names) if other not in close]
    more = f" and {len(close) - count} more" if len(close) > count else ""
    return f"{close[:count]}{more}"


def _way_out(anatomy):
    for path, layer in anatomy.paths:
        if isinstance(layer, OPAQUE):
            return (
                f"Layer '{path}' is a {type(layer).__name__}: what is computed inside "
                "it cannot be seen. Use the original Keras model instead."
            )
    return (
        "A CAM needs a convolution, or another layer that keeps the positions of its "
        "input."
    )


def _listing(anatomy, count=12):
    rows = [f"  {site.name} {site.shape}" for site in anatomy.sites]
    more = [f"  ({len(rows) - count} more before)"] if len(rows) > count else []
    return "\n".join(more + rows[-count:])
