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
        output_dtype: See `GradCAM`.
    """

    method: Any
    smooth: tuple
    activation: Any
    normalize: Any
    resize: Any
    fuse: Any
    output_dtype: Any = None


def observe(question, recipe):
    """Gathers what the recipe's method needs: an `evidence.Observation`."""
    method = recipe.method
    return evidence.gather(question, method.row.evidence, **method.evidence_options)


def raw_maps(question, recipe, observation):
    """Makes the raw maps `(batch, [n,] *grid)` of a question, one for each site.

    Args:
        question: A `question.Question`.
        recipe: A `Recipe`.
        observation: What `observe` returned. The choices of a target are made there, on
            the input as it is.

    Raises:
        ValueError: If the method returns anything but a map, or a map's parts.
    """
    if not recipe.smooth:
        return formula_maps(observation, recipe)

    def smooth(question):
        return formula_maps(observe(question, recipe), recipe)

    for each in recipe.smooth:
        smooth = each.around(smooth)
    return smooth(question)


def formula_maps(observation, recipe):
    """Applies the formula to what was observed, see `raw_maps`."""
    reduce = smoothing.reduction(recipe.smooth)

    def of_score(activations, found, scores):
        raw = recipe.method.formula(activations, found, scores)
        _check_map(recipe, raw, activations)
        return reduce(raw) if len(raw.shape) == len(activations.shape) else raw

    def of_site(activations, found):
        scores = observation.scores
        if len(scores.shape) == 1:
            return of_score(activations, found, scores)
        several = [
            of_score(activations, _of_score(found, i), scores[:, i])
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
        # What the formula needs to know is gathered on the changed inputs alone.
        observation = evidence.gather(question, "nothing")
    else:
        observation = observe(question, recipe)
    raw = raw_maps(question, recipe, observation)
    if recipe.fuse is None:
        return _finished(question, recipe, raw), observation
    return [_fused(question, recipe, raw)], observation


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
    fused = fusion.get(recipe.fuse)(one)
    fusion.check_map(fused, recipe.fuse, one[0])
    return _each_score(fused, sites[0], normalize)


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
    expected, shape = tuple(activations.shape), tuple(getattr(raw, "shape", ()))
    is_map = len(shape) == len(expected) - 1 and _fit(shape, expected[:-1])
    # Score-CAM's parts may be of some of the channels.
    is_parts = len(shape) == len(expected) and _fit(shape[:-1], expected[:-1])
    if not is_map and not is_parts:
        raise ValueError(
            "A callable `method` must return one map for each sample, shape `(batch, "
            f"*grid)` = {expected[:-1]}, or its parts with one channel each, "
            f"{expected}. It returned shape {shape}. Received: method={recipe.method}"
        )
    if is_map and any(each.name == "eigen" for each in recipe.smooth):
        raise ValueError(
            "Smoothing 'eigen' takes the first component of the channels that a map is "
            f"the sum of, and method {recipe.method!r} does not sum over channels. "
            "Take another method, or another smoothing."
        )


def _fit(shape, expected):
    pairs = zip(shape, expected, strict=True)
    return all(None in pair or pair[0] == pair[1] for pair in pairs)
