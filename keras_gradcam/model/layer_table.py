"""The layers of a model that a map can be drawn of, as a table."""

from typing import NamedTuple

from keras_gradcam.execution import input_signatures, model_inputs
from keras_gradcam.model import candidate_layers, default_layer, layer_selection


class Row(NamedTuple):
    """One layer that has a spatial grid.

    Attributes:
        layer: The name to pass as `layer`.
        grid: Shape of its grid, `None` for a length that depends on the input.
        input_axes: The axis of the input that each axis of the grid lies along, `None`
            for one that lies along none: a map keeps it, or is the mean over it.
        channels: Number of channels.
        connected: Whether the score depends on it.
        default: Whether it is the layer that `layer=None` takes.
        reason: Why it is, where that is not the usual rule; else empty.
    """

    layer: str
    grid: tuple
    input_axes: tuple
    channels: int
    connected: bool
    default: bool
    reason: str = ""


class Table(list):
    """A list of `Row` that prints as a table."""

    def __repr__(self):
        cells = [("layer", "grid", "input axes", "channels", "score depends", "")]
        cells += [_cells(row) for row in self]
        widths = [max(len(line[i]) for line in cells) for i in range(6)]
        lines = ["  ".join(map(str.ljust, line, widths)).rstrip() for line in cells]
        return "\n".join([lines[0], "-" * len(lines[0]), *lines[1:]])


def _cells(row):
    grid = " x ".join("?" if n is None else str(n) for n in row.grid)
    axes = ", ".join("-" if n is None else str(n) for n in row.input_axes)
    connected = "yes" if row.connected else "no"
    mark = "<- default" if row.default else ""
    mark += f": {row.reason}" if row.default and row.reason else ""
    return row.layer, grid, axes, str(row.channels), connected, mark


def layers(model, images=None, target=None, logits=True, reshape=None):
    """Lists the layers that a map can be drawn of, in order of execution.

    Args:
        model: A `keras.Model`.
        images: A batch, as the model takes it. Needed for a model that does not declare
            its inputs, a subclassed one. Defaults to `None`.
        target: See `GradCAM`. Defaults to `None`.
        logits: See `GradCAM`. Defaults to `True`.
        reshape: See `GradCAM`. Defaults to `None`.

    Returns:
        A list of `Row` that prints as a table.

    Raises:
        ValueError: If the model's inputs are not known and `images` is `None`.

    Example:

    >>> layers(model)
    layer  grid     input axes  channels  score depends
    ---------------------------------------------------
    conv   30 x 30  1, 2        16        yes            <- default
    pool   15 x 15  1, 2        16        yes
    """
    model_inputs.check_model(model)
    found = candidate_layers.trace_candidates(
        model, _signature(model, images), target, logits, reshape
    )
    try:
        default = layer_selection.select(found, None, target)[0].name
    except ValueError:
        default = None
    pictured = default_layer.draws_picture(found)
    return Table(
        Row(
            layer_output.name,
            tuple(layer_output.grid),
            tuple(_axis(where) for where in layer_output.grid_axes),
            layer_output.channels,
            layer_output.connected and layer_output.passes_on,
            layer_output.name == default,
            "the bottleneck, as an output is a picture" if pictured else "",
        )
        for layer_output in found.layer_outputs
        if layer_output.grid
    )


def _axis(where):
    """The axis of the input; of a picture that is made of a flat one, the picture's."""
    if where is None or isinstance(where.axis, int):
        return where and where.axis
    return where.axis[-1] + 1


def _signature(model, images):
    declared = model_inputs.declared_inputs(model)
    if declared is not None:
        return input_signatures.exact(declared)
    if images is None:
        raise ValueError(
            f"Model '{model.name}' does not declare its inputs, so its layers can only "
            "be listed for some `images`. Pass a batch of them. Received: images=None"
        )
    images = input_signatures.as_tensors(images)
    if not model.built:
        model(input_signatures.first_sample(images), training=False)
    return input_signatures.free_batch(images)
