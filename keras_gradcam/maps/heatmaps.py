"""From a request to heatmaps: evidence, formula, smoothing, fusion, finish."""

import functools
from typing import Any, NamedTuple

from keras import ops, tree

from keras_gradcam import arrays
from keras_gradcam.evidence import gathering
from keras_gradcam.maps import consensus, fusion, normalization, smoothing


class HeatmapConfig(NamedTuple):
    """How heatmaps are made; hashable, as each has graphs of its own.

    Attributes:
        method: A `method.Method` or `method.Custom`.
        smooth: Tuple of `smoothing.Smoothing`.
        activation: See `GradCAM`.
        normalize: See `GradCAM`.
        resize: See `GradCAM`.
        fuse: See `GradCAM`.
        output_dtype: See `GradCAM`.
        gradient_rules: See `GradCAM`; those of the method where it has some.
    """

    method: Any
    smooth: tuple
    activation: Any
    normalize: Any
    resize: Any
    fuse: Any
    output_dtype: Any = None
    gradient_rules: str | None = None

    @property
    def makes_one(self):
        """Whether there is one map in all of several layers."""
        return self.fuse is not None or self.method.row.joins_depths


def gather(request, config):
    """Gathers what the method of the config needs: a `GatheredEvidence`."""
    method = config.method
    return gathering.gather(request, method.row.evidence, **method.evidence_options)


def raw_maps(request, config, gathered):
    """Makes the raw maps `(batch, [n,] *grid)` of a request, one a layer output.

    Args:
        request: A `Request`.
        config: A `HeatmapConfig`.
        gathered: What `gather` returned. The choices of a target are made there, on
            the input as it is.

    Raises:
        ValueError: If the method returns anything but a map, or a map's parts.
    """
    if not config.smooth:
        return formula_maps(gathered, config)

    def smooth(request):
        return formula_maps(gather(request, config), config)

    for each in config.smooth:
        smooth = each.around(smooth)
    return smooth(request)


def formula_maps(gathered, config):
    """Applies the formula to what was gathered, see `raw_maps`."""
    reduce = smoothing.reduction(config.smooth)

    def of_score(activations, found, scores):
        raw = config.method.formula(activations, found, scores)
        _check_map(config, raw, activations)
        return reduce(raw) if len(raw.shape) == len(activations.shape) else raw

    def of_layer_output(activations, found):
        scores = gathered.scores
        if len(scores.shape) == 1:
            return of_score(activations, found, scores)
        several = [
            of_score(activations, _of_score(found, i), scores[:, i])
            for i in range(scores.shape[1])
        ]
        return ops.stack(several, axis=1)

    pairs = zip(gathered.activations, gathered.evidence, strict=True)
    return [of_layer_output(*pair) for pair in pairs]


def _of_score(found, index):
    """The evidence of one of several scores; what is no tensor is of all of them."""
    return tree.map_structure(
        lambda x: x if x is None or callable(x) else x[:, index], found
    )


def make(request, config):
    """Makes the heatmaps of a request.

    Returns:
        Tuple of the list of heatmaps, one for each layer output, or one in all if they
        are fused, and the `GatheredEvidence` of the inputs as they are.
    """
    if config.smooth:
        # What the formula needs to know is gathered on the changed inputs alone.
        gathered = gathering.gather(request, "nothing")
    else:
        gathered = gather(request, config)
    raw = raw_maps(request, config, gathered)
    if config.method.row.joins_depths:
        return _finished(*_joined(request, config, raw)), gathered
    if config.fuse is None:
        return _finished(request, config, raw), gathered
    return [_fused(request, config, raw)], gathered


def _joined(request, config, raw):
    layer_outputs = request.layer_outputs
    consensus.check(layer_outputs)
    onto = layer_outputs[consensus.finest(layer_outputs)]
    if len(raw[0].shape) == len(onto.grid) + 1:
        one = consensus.consensus(raw, layer_outputs)
    else:
        several = [
            consensus.consensus([each[:, n] for each in raw], layer_outputs)
            for n in range(raw[0].shape[1])
        ]
        one = ops.stack(several, axis=1)
    return request._replace(layer_outputs=[onto]), config, [one]


def _finished(request, config, raw):
    pairs = zip(raw, request.layer_outputs, strict=True)
    return [
        _each_score(
            one,
            len(layer_output.grid),
            normalization.finish,
            config.activation,
            _place(config.resize, layer_output, request.inputs),
            config.normalize,
        )
        for one, layer_output in pairs
    ]


def _place(resize, layer_output, inputs):
    """Callable that lays a map over the input, `None` where it stays on its grid."""
    if resize is False or (resize is True and layer_output.input is None):
        return None
    if layer_output.input is None:
        _check_size(resize, len(layer_output.grid))
        return functools.partial(arrays.resize, size=resize)
    lengths = layer_output.lengths(inputs)
    size = lengths if resize is True else resize
    _check_size(size, len(lengths))
    return functools.partial(layer_output.place, size=size, lengths=lengths)


def _check_size(size, axes):
    if len(size) != axes:
        raise ValueError(
            f"Argument `resize` must have one length for each of the {axes} axes of "
            f"the layer's grid. Received: resize={tuple(size)}"
        )


def _each_score(raw, axes, function, *args):
    """Applies a function of maps `(batch, *grid)` to `(batch, [n,] *grid)`."""
    if len(raw.shape) == axes + 1:
        return function(raw, *args)
    several = [function(raw[:, i], *args) for i in range(raw.shape[1])]
    return ops.stack(several, axis=1)


def _fused(request, config, raw):
    layer_outputs = request.layer_outputs
    first = layer_outputs[0]
    if len({(x.input, x.input_axes) for x in layer_outputs}) > 1:
        raise ValueError(
            "Argument `fuse` needs layers whose grids lie over the same axes of the "
            f"same input. Received: layers {[x.name for x in layer_outputs]}"
        )
    size = config.resize
    if size is False or (size is True and first.input is None):
        size = _largest(raw, layer_outputs)
    one = [
        _each_score(
            each,
            len(layer_output.grid),
            normalization.finish,
            config.activation,
            _place(size, layer_output, request.inputs),
            "max",
        )
        for each, layer_output in zip(raw, layer_outputs, strict=True)
    ]
    normalize = normalization.get_normalization(config.normalize)
    fused = fusion.get(config.fuse)(one)
    fusion.check_map(fused, config.fuse, one[0])
    axes = len(first.input_axes) or len(first.grid)
    return _each_score(fused, axes, normalize)


def _largest(raw, layer_outputs):
    """The longest of the grids along each axis; as the input where they have others."""
    rank = len(layer_outputs[0].input_axes) or len(layer_outputs[0].grid)
    if any(len(x.grid) != rank for x in layer_outputs):
        return True
    shapes = [ops.shape(one)[-rank:] for one in raw]
    size = shapes[0]
    for shape in shapes[1:]:
        pairs = zip(size, shape, strict=True)
        size = [max(p) if _known(p) else ops.maximum(*p) for p in pairs]
    return size


def _known(lengths):
    return all(isinstance(length, int) for length in lengths)


def _check_map(config, raw, activations):
    expected, shape = tuple(activations.shape), tuple(getattr(raw, "shape", ()))
    is_map = len(shape) == len(expected) - 1 and _fit(shape, expected[:-1])
    # Score-CAM's parts may be of some of the channels.
    is_parts = len(shape) == len(expected) and _fit(shape[:-1], expected[:-1])
    if not is_map and not is_parts:
        raise ValueError(
            "A callable `method` must return one map for each sample, shape `(batch, "
            f"*grid)` = {expected[:-1]}, or its parts with one channel each, "
            f"{expected}. It returned shape {shape}. Received: method={config.method}"
        )
    if is_map and any(each.name == "eigen" for each in config.smooth):
        raise ValueError(
            "Smoothing 'eigen' takes the first component of the channels that a map is "
            f"the sum of, and method {config.method!r} does not sum over channels. "
            "Take another method, or another smoothing."
        )


def _fit(shape, expected):
    pairs = zip(shape, expected, strict=True)
    return all(None in pair or pair[0] == pair[1] for pair in pairs)
