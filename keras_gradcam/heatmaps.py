"""From a question to heatmaps: evidence, formula, smoothing, fusion, finish."""

from typing import Any, NamedTuple

from keras import ops, tree

from keras_gradcam import evidence, fusion, maps, signatures, smoothing


class Recipe(NamedTuple):
    """How heatmaps are made; hashable, as each has graphs of its own.

    Attributes:
        method: A `method.Method` or `method.Custom`.
        smooth: Tuple of `smoothing.Smoothing`.
        activation: See `GradCAM`.
        normalize: See `GradCAM`.
        resize: See `GradCAM`.
        fuse: See `GradCAM`.
    """

    method: Any
    smooth: tuple
    activation: Any
    normalize: Any
    resize: Any
    fuse: Any


def observe(question, recipe):
    """Gathers what the recipe's method needs: an `evidence.Observation`."""
    method = recipe.method
    return evidence.gather(question, method.row.evidence, **method.evidence_options)


def raw_maps(observation, recipe):
    """Applies the formula: a list of raw maps `(batch, [n,] *grid)`, one for each site.

    Raises:
        ValueError: If the method returns anything but a map, or a map's parts.
    """
    reduce = smoothing.reduction(recipe.smooth)

    def of_score(activations, found, scores):
        raw = recipe.method.formula(activations, found, scores)
        if len(raw.shape) == len(activations.shape):
            return reduce(raw)
        _check_map(recipe, raw, activations)
        return raw

    def of_site(activations, found):
        scores = observation.scores
        if len(scores.shape) == 1:
            return of_score(activations, found, scores)
        several = [
            of_score(
                activations,
                _of_score(found, i),
                scores[:, i],
            )
            for i in range(scores.shape[1])
        ]
        return ops.stack(several, axis=1)

    pairs = zip(observation.activations, observation.evidence, strict=True)
    return [of_site(*pair) for pair in pairs]


def _of_score(found, index):
    """The evidence of one of several scores."""
    return tree.map_structure(lambda x: None if x is None else x[:, index], found)


def make(question, recipe):
    """Makes the heatmaps of a question.

    Returns:
        Tuple of the list of heatmaps, one for each site, or one in all if they are
        fused, and the `evidence.Observation` of the inputs as they are.
    """
    if recipe.smooth:
        # The choices of the target are made on the input as it is.
        observation = evidence.gather(question, "nothing")
        raw = _smoothed(question, recipe)
    else:
        observation = observe(question, recipe)
        raw = raw_maps(observation, recipe)
    if recipe.fuse is None:
        return _finished(question, recipe, raw), observation
    return [_fused(question, recipe, raw)], observation


def _smoothed(question, recipe):
    def smooth(question):
        return raw_maps(observe(question, recipe), recipe)

    for each in recipe.smooth:
        smooth = each.around(smooth)
    return smooth(question)


def _finished(question, recipe, raw):
    sizes = [_size(recipe, site, question.inputs) for site in question.sites]
    return [
        _each_score(one, site, maps.finish, recipe.activation, size, recipe.normalize)
        for one, site, size in zip(raw, question.sites, sizes, strict=True)
    ]


def _size(recipe, site, inputs):
    return signatures.map_size(recipe.resize, site, inputs)


def _each_score(raw, site, function, *args):
    """Applies a function of maps `(batch, *grid)` to `(batch, [n,] *grid)`."""
    if len(raw.shape) == len(site.grid) + 1:
        return function(raw, *args)
    several = [function(raw[:, i], *args) for i in range(raw.shape[1])]
    return ops.stack(several, axis=1)


def _fused(question, recipe, raw):
    sites = question.sites
    if len({(site.input, site.input_axes) for site in sites}) > 1:
        raise ValueError(
            "Argument `fuse` needs layers whose grids lie over the same axes of the "
            f"same input. Received: layers {[site.name for site in sites]}"
        )
    size = _size(recipe, sites[0], question.inputs) or _largest(raw, sites)
    one = [
        _each_score(each, site, maps.finish, recipe.activation, size, "max")
        for each, site in zip(raw, sites, strict=True)
    ]
    normalize = maps.get_normalization(recipe.normalize)
    return _each_score(fusion.get(recipe.fuse)(one), sites[0], normalize)


def _largest(raw, sites):
    """The longest of the grids along each axis."""
    rank = len(sites[0].grid)
    shapes = [ops.shape(one)[-rank:] for one in raw]
    size = shapes[0]
    for shape in shapes[1:]:
        pairs = zip(size, shape, strict=True)
        size = [max(p) if _known(p) else ops.maximum(*p) for p in pairs]
    return size


def _known(lengths):
    return all(isinstance(length, int) for length in lengths)


def _check_map(recipe, raw, activations):
    expected = activations.shape[:-1]
    if len(raw.shape) != len(expected):
        raise ValueError(
            "A callable `method` must return one map for each sample, shape `(batch, "
            f"*grid)` = {tuple(expected)}, or its parts with one channel each, "
            f"{tuple(activations.shape)}. It returned shape {tuple(raw.shape)}. "
            f"Received: method={recipe.method}"
        )
    if any(each.name == "eigen" for each in recipe.smooth):
        raise ValueError(
            "Smoothing 'eigen' takes the first component of the channels that a map is "
            f"the sum of, and method {recipe.method!r} does not sum over channels. "
            "Take another method, or another smoothing."
        )
