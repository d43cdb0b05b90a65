"""Which layer a map is made of by default.

It is the last layer that all that the score knows of the input passes through, and so
never a part of a block; of layers that only pool, pad, cut, resize or reorder, the one
before. Where only a class token counts in the end, it is the norm before the last
attention. Layers whose grids follow more axes of the input come first, and a recurrent
layer, each of whose steps has seen all steps before, comes after the convolutions.
Where the output of the model is a picture, as in segmentation, it is the last layer on
the coarsest grid, the bottleneck.
"""

import math

import keras

from keras_gradcam.targets import Target

# Layers that hold a graph, or a module of another framework, instead of layers.
OPAQUE = (
    keras.layers.TFSMLayer,
    keras.layers.JaxLayer,
    keras.layers.TorchModuleWrapper,
)

CONVOLUTIONS = tuple(
    getattr(keras.layers, kind)
    for kind in (
        "Conv1D",
        "Conv2D",
        "Conv3D",
        "DepthwiseConv1D",
        "DepthwiseConv2D",
        "SeparableConv1D",
        "SeparableConv2D",
    )
)

RECURRENT = (keras.layers.RNN, keras.layers.Bidirectional)


def default(traced, target=None):
    """Returns the layer output that a map is made of by default.

    Args:
        traced: A `TracedModel`.
        target: See `GradCAM`.

    Raises:
        ValueError: If no layer has a grid above 1x1 that the score depends on.
    """
    found = [x for x in traced.layer_outputs if x.is_candidate()]
    if not found:
        raise ValueError(
            "The model has no layer with a spatial grid larger than 1x1 that the score "
            f"depends on. Its layers return:\n{_listing(traced)}\n{_way_out(traced)}"
        )
    # Over a picture rather than on a grid of the layer's own, a spectrum for instance.
    found = _those(found, lambda x: x.input is not None)
    if draws_picture(traced):
        return _bottleneck(traced, found)
    # A map of an output would only repeat it, but that of features is of interest.
    if not (callable(target) and not isinstance(target, Target)):
        found = _those(found, lambda x: not x.is_output)
    most = max(_followed(x) for x in found)
    found = [x for x in found if _followed(x) == most]
    if any(isinstance(x.layer, CONVOLUTIONS) for x in found):
        found = _those(found, lambda x: not isinstance(x.layer, RECURRENT))
    return _computing(traced, _last(traced, found))


def depths(traced, target=None):
    """Returns the last layer output of each grid size, the finest first.

    The default layer is the last of them. The others are those before it that all that
    the score knows of the input passes through.

    Args:
        traced: A `TracedModel`.
        target: See `GradCAM`.

    Raises:
        ValueError: See `default`.
    """
    found = [default(traced, target)]
    before = traced.layer_outputs[: traced.layer_outputs.index(found[0])]
    for one in reversed(before):
        is_depth = one.has_features and one.on_main_path and one.is_candidate()
        if is_depth and _is_coarser(found[0], one):
            found.insert(0, _computing(traced, one))
    return found


def embedding(traced, target=None):
    """Returns a list with the layer output that the first attention starts from.

    It is the last before it that all that the score knows of the input passes through.
    Of a model without attention it is the first layer that learns.

    Args:
        traced: A `TracedModel`.
        target: See `GradCAM`.

    Raises:
        ValueError: See `default`.
    """
    on_path = [
        x
        for x in traced.layer_outputs
        if x.has_features and x.on_main_path and x.is_candidate()
    ]
    before = [x for x in on_path if not x.is_behind_attention]
    if not before:
        return [default(traced, target)]
    has_attention = any(x.is_behind_attention for x in traced.layer_outputs)
    return [before[-1 if has_attention else 0]]


KINDS = {
    "last": lambda traced, target=None: [default(traced, target)],
    "depths": depths,
    "embedding": embedding,
}


def _last(traced, found):
    on_path = [x for x in found if x.on_main_path]
    # Where branches meet behind the grids only, their last layer sees most.
    if not on_path or _is_coarser(found[-1], on_path[-1]):
        return found[-1]
    last = on_path[-1]
    if any(x.connected and not x.passes_on for x in traced.layer_outputs):
        # Past the last attention only the class token counts: what the tokens of the
        # image still give passes through the norm before it.
        behind = found[found.index(last) :]
        last = [x for x in behind if x is last or _is_norm(x.layer)][-1]
    return last


def _is_norm(layer):
    return "norm" in type(layer).__name__.lower()


def draws_picture(traced):
    """Whether an output of the model has a finer grid than a layer before it."""
    found = [x for x in traced.layer_outputs if x.is_candidate() and not x.is_summary]
    # Also behind the logits, as a picture of probabilities.
    outputs = [x for x in traced.layer_outputs if x.is_output and not x.is_summary]
    drawn = [x for x in outputs if x.input is not None]
    return any(_is_coarser(x, output) for output in drawn for x in found)


def _bottleneck(traced, found):
    inner = _those(found, lambda x: not _origins(traced, x)[-1].is_head)
    inner = _those(inner, lambda x: not x.is_summary)
    coarsest = inner[0]
    for one in inner:
        coarsest = one if _is_coarser(one, coarsest) else coarsest
    inner = [x for x in inner if not _is_coarser(coarsest, x)]
    # Heads of a pyramid are on its coarsest grid, too, and become fine in one step.
    most = max(x.refinements for x in inner)
    # What a skip connection hands on late was computed early.
    computed = [_computing(traced, x) for x in inner if x.refinements == most]
    return [x for x in traced.layer_outputs if any(x is one for one in computed)][-1]


def _those(found, condition):
    """Those of which a condition holds; all, where it holds of none."""
    return [x for x in found if condition(x)] or found


def _followed(layer_output):
    """How many axes of the input the grid follows."""
    return sum(where is not None for where in layer_output.grid_axes)


def _is_coarser(one, other):
    """Whether the cells of one grid are clearly larger than those of another."""
    sizes = _cell_size(one), _cell_size(other)
    same = one.input == other.input and _followed(one) == _followed(other)
    return same and None not in sizes and sizes[0] > 1.5 * sizes[1]


def _cell_size(layer_output):
    """The size of a cell in those of the input, or of anything that scales with it."""
    steps = [where.step for where in layer_output.grid_axes if where is not None]
    if steps and None not in steps:
        return math.prod(steps)
    return None if None in layer_output.grid else 1 / math.prod(layer_output.grid)


def _computing(traced, layer_output):
    """The first with the same values, where layers only move them or hand them on."""
    same = [
        x
        for x in _origins(traced, layer_output)
        if x.is_candidate() and _followed(x) == _followed(layer_output)
    ]
    return same[-1] if same else layer_output


def _origins(traced, layer_output):
    """The layer output and those whose values it has, up to what computed them."""
    found = [layer_output]
    while found[-1].moves is not None:
        found.append(traced.layer_outputs[found[-1].moves])
    return found


def _way_out(traced):
    for path, layer in traced.paths:
        if isinstance(layer, OPAQUE):
            return (
                f"Layer '{path}' is a {type(layer).__name__}: what is computed inside "
                "it cannot be seen. Use the original Keras model instead."
            )
    return (
        "A CAM needs a convolution, or another layer that keeps the positions of its "
        "input."
    )


def _listing(traced, count=12):
    rows = [f"  {x.name} {x.shape}" for x in traced.layer_outputs]
    more = [f"  ({len(rows) - count} more before)"] if len(rows) > count else []
    return "\n".join(more + rows[-count:])
