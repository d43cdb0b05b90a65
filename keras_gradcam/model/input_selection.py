"""Which inputs of a model a map of the input lies over."""

import keras
from keras import tree

from keras_gradcam.arrays import GridAxis
from keras_gradcam.execution import model_inputs
from keras_gradcam.model import spatial_grids
from keras_gradcam.model.layer_output import LayerOutput
from keras_gradcam.model.layer_selection import name_of


def inputs(traced, model, signature, method, layer, layers):
    """Returns the inputs that a map of the input lies over, as layer outputs.

    Args:
        traced: A `TracedModel`.
        model: A `keras.Model`.
        signature: Structure of `tf.TensorSpec`, as the model takes it.
        method: The `Method`.
        layer: See `GradCAM`; the name of an input where the method needs no layer.
        layers: List of `LayerOutput` of layers if the method needs them: one is
            returned for each, that of the input that the layer's grid lies over.

    Raises:
        ValueError: If there is no such input, or it has no gradient.
    """
    specs = tree.flatten(signature)
    names = model_inputs.input_names(model, signature)
    if layers:
        indices = [layer_output.input for layer_output in layers]
    elif layer is None:
        indices = [_main_input(traced, specs)]
    else:
        given = layer if isinstance(layer, (list, tuple)) else [layer]
        indices = [_input_named(one, names, method) for one in given]
    return [_of_input(traced, specs, names, index, method) for index in indices]


def _main_input(traced, specs):
    """The input that the last layer with a grid lies over, or else the largest."""
    candidates = [
        x.input
        for x in traced.layer_outputs
        if x.is_candidate() and x.input is not None
    ]
    if candidates:
        return candidates[-1]
    ranks = [spec.shape.rank if spec.dtype.is_floating else 0 for spec in specs]
    return ranks.index(max(ranks))


def _input_named(layer, names, method):
    if name_of(layer) in names:
        return names.index(name_of(layer))
    raise ValueError(
        f"Method '{method.name}' explains an input and looks at no layer. Leave out "
        f"`layer`, or pass the name of an input, one of {names}. Received: "
        f"layer={name_of(layer)!r}"
    )


def _of_input(traced, specs, names, index, method):
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
    known = [x.input_axes for x in traced.layer_outputs if x.input == index]
    covered = max(reversed(known), key=len, default=())
    if any(isinstance(axis, tuple) for axis in covered):
        axes, grid = covered, spatial_grids.of_view(covered)
    else:
        first = keras.config.image_data_format() == "channels_first"
        axes = spatial_grids.of_input(shape, covered, first)
        grid = spatial_grids.over_axes(shape, axes)
    rest = [axis for axis in range(1, len(shape)) if axis not in axes]
    return LayerOutput(
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
        moves=None,
        is_output=False,
        is_head=False,
        is_summary=False,
        refinements=0,
        has_features=False,
        is_behind_attention=False,
        on_main_path=True,
        input=index,
        input_axes=axes,
        grid_axes=tuple(GridAxis(index, axis, 0.0, 1.0) for axis in axes),
    )
