"""Smoothing: maps averaged over changed inputs, or reduced to what they share.

`GradCAM(model, smooth="noise")` takes a smoothing by name, with options it is made by
the function of its name: `smooth=smoothing.noise(samples=8)`. Several are combined as a
list, the first innermost. They work with every method.
"""

import functools
import inspect
import itertools

import keras
import tensorflow as tf
from keras import ops, tree

from keras_gradcam.arrays import as_input, interpolated, widened
from keras_gradcam.configured_function import ConfiguredFunction, factory
from keras_gradcam.evidence import noisy_inputs, perturbable_inputs
from keras_gradcam.execution import graph_loops
from keras_gradcam.methods import OPTIONS, first_component
from keras_gradcam.targets import names_a_place

SMOOTHINGS: dict = {}

# Other noise than a method with noise of its own has, for the same seed.
FIRST_STEP = 1_000_000


@keras.saving.register_keras_serializable("keras_gradcam")
class Smoothing(ConfiguredFunction):
    """A smoothing by name with its options: comparable, serialisable.

    Args:
        name: A name in `SMOOTHINGS`.
        **options: Its options.
    """

    MODULE = "smoothing"
    TABLE = SMOOTHINGS

    def around(self, raw_maps):
        """Returns `raw_maps`, smoothed.

        Args:
            raw_maps: Callable from a `Request` to a list of raw maps, one for
                each of its layer outputs.
        """
        smooth = SMOOTHINGS[self.name]
        return functools.partial(smooth, raw_maps, **self.options)


def smoothing(function):
    """Turns `function(raw_maps, request, *options)` into one of options."""
    SMOOTHINGS[function.__name__] = function
    options = list(inspect.signature(function).parameters.values())[2:]
    make = functools.partial(Smoothing, function.__name__)
    return factory(function, make, options, OPTIONS)


@smoothing
def noise(raw_maps, request, *, samples=16, noise=0.1, seed=0):
    """The mean of the raw maps over noisy inputs.

    The class and the predictions are those of the clean input.

    Args:
        samples: Number of noisy inputs. Defaults to `16`.
        noise: Standard deviation of the noise, relative to the range of each input.
            Defaults to `0.1`.
        seed: Int that the noise is made from: the same seed, the same map. Defaults
            to `0`.
    """

    def sample(step):
        inputs = noisy_inputs(request, noise, seed, FIRST_STEP + step)
        return raw_maps(request._replace(inputs=inputs))

    return graph_loops.mean_over(samples, sample)


@smoothing
def tta(raw_maps, request, *, flip=True, scales=(0.9, 1.0, 1.1)):
    """The mean of the raw maps over flipped and scaled inputs, undone on each map.

    Test-time augmentation. Scaled is what is around the centre; where a larger picture
    has left the frame, a map has no say in the mean. Other inputs of the same size,
    such as a depth image, move along. A target that names a place in the output does
    not, and raises; a function of your own must not.

    Args:
        flip: Whether to flip the last spatial axis, which is the width of an image, as
            well. Defaults to `True`.
        scales: Sequence of factors, 1 for the size as it is. Defaults to
            `(0.9, 1.0, 1.1)`.
    """
    if names_a_place(request.scorer.target):
        raise ValueError(
            "Smoothing 'tta' moves the picture, and the target names a place in the "
            "model's output, which does not move with it. Take smoothing 'noise', or "
            f"another target. Received: target={request.scorer.target}"
        )
    variants = list(itertools.product(scales, (1.0, -1.0) if flip else (1.0,)))
    table = tf.constant(variants, tf.float32)
    covered = perturbable_inputs.axes_of_inputs(request)
    moved = {**perturbable_inputs.aligned(request.inputs, covered), **covered}

    def sample(step):
        scale, sign = table[step, 0], table[step, 1]

        def factor(index, axis):
            return scale * sign if axis == moved[index][-1] else scale

        flat = list(tree.flatten(request.inputs))
        for index, axes in moved.items():
            image = widened(flat[index])
            for axis in axes:
                image = _zoomed(image, axis, factor(index, axis))[0]
            flat[index] = as_input(image, flat[index])
        inputs = tree.pack_sequence_as(request.inputs, flat)
        found = raw_maps(request._replace(inputs=inputs))
        return [
            _undone(raw, layer_output, layer_output.lengths(inputs), factor)
            for raw, layer_output in zip(found, request.layer_outputs, strict=True)
        ]

    means = graph_loops.mean_over(len(variants), sample)
    return [
        ops.where(shares > 0, total / ops.where(shares > 0, shares, 1.0), 0.0)
        for total, shares in means
    ]


def _zoomed(values, axis, factor, centre=None):
    """Values scaled around a centre on an axis, and which of them are known.

    A negative factor flips as well. The centre is that of the axis unless given.
    """
    length = ops.cast(ops.shape(values)[axis], values.dtype)
    factor = ops.cast(factor, values.dtype)
    centre = (length - 1.0) / 2.0 if centre is None else centre
    positions = (
        ops.arange(ops.shape(values)[axis], dtype=values.dtype) - centre
    ) / factor
    positions = positions + centre
    known = (positions > -0.5) & (positions < length - 0.5)
    return interpolated(values, axis, positions), known


def _undone(raw, layer_output, lengths, factor):
    """A raw map back in place, 0 where nothing is known, and where it is known."""
    rank, shares = len(raw.shape), ops.ones_like(raw)
    first = rank - len(layer_output.grid_axes)
    for axis, where in enumerate(layer_output.grid_axes, start=first):
        if where is None:
            continue
        centre = None
        if where.start is not None:
            # What has moved around the centre of the input moves back around it.
            length = lengths[layer_output.input_axes.index(where.axis)]
            middle = (ops.cast(length, raw.dtype) - 1.0) / 2.0
            centre = (middle - where.start) / where.step
        raw, known = _zoomed(raw, axis, 1.0 / factor(where.input, where.axis), centre)
        shape = [-1 if i == axis else 1 for i in range(rank)]
        shares = shares * ops.cast(ops.reshape(known, shape), shares.dtype)
    return ops.where(shares > 0, raw, 0.0), shares


@smoothing
def eigen(raw_maps, request):
    """The first principal component of a map's channels, in place of their sum.

    For methods that sum over channels. As in pytorch-grad-cam's `eigen_smooth`, but not
    centred, and with the sign of the sum.
    """
    return raw_maps(request)


def get(identifier):
    """Returns the tuple of smoothings that a `smooth` argument stands for.

    Args:
        identifier: `None`, a name in `SMOOTHINGS`, one of the functions of this module
            with its options or without, or a list of these.

    Raises:
        ValueError: If there is no smoothing of that name, or one comes twice.
    """
    several = isinstance(identifier, (list, tuple))
    given = identifier if several else [] if identifier is None else [identifier]
    found = tuple(_one(each) for each in given)
    names = [each.name for each in found]
    if len(set(names)) < len(names):
        raise ValueError(
            f"Argument `smooth` must have each smoothing once. Received: {names}"
        )
    return found


def _one(identifier):
    factories = {"noise": noise, "tta": tta, "eigen": eigen}
    if isinstance(identifier, Smoothing):
        return identifier
    for name, make in factories.items():
        if identifier is make or (isinstance(identifier, str) and identifier == name):
            return make()
    raise ValueError(
        f"Argument `smooth` must be one of {sorted(factories)}, one of these with "
        "options such as `smoothing.noise(samples=8)`, a list of these, or None. "
        f"Received: smooth={identifier!r}"
    )


def reduction(smoothings):
    """Callable from the parts of a map `(batch, *grid, channels)` to the map."""
    if any(each.name == "eigen" for each in smoothings):
        return first_component
    return functools.partial(ops.sum, axis=-1)
