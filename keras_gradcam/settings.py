"""Checks what users pass to `GradCAMCallback`, and picks what its samples need."""

import inspect
import numbers

import numpy as np

from keras_gradcam.answers import EXPECTED, labels_of
from keras_gradcam.gradcam import GradCAM

# Arguments of `GradCAM` that the callback sets itself.
OWN_OPTIONS = {"self", "model", "return_predictions", "kwargs"}


def check_count(name, value, at_least):
    integral = isinstance(value, numbers.Integral) and not isinstance(value, bool)
    if not integral or value < at_least:
        raise ValueError(
            f"Argument `{name}` must be an int of at least {at_least}. Received: "
            f"{name}={value!r}"
        )


def check_choice(name, value, choices):
    if value not in choices:
        raise ValueError(
            f"Argument `{name}` must be {' or '.join(map(repr, choices))}. Received: "
            f"{name}={value!r}"
        )


def check_scale(scale):
    is_number = isinstance(scale, numbers.Real) and not isinstance(scale, bool)
    if not (is_number and 0 < scale < float("inf")) and scale not in ("sample", "run"):
        raise ValueError(
            "Argument `scale` must be 'sample', 'run' or a number above 0, the "
            f"strength in the middle of the colours. Received: scale={scale!r}"
        )


def check_options(options):
    known = inspect.signature(GradCAM.__init__).parameters.keys()
    unknown = options.keys() - known | options.keys() & OWN_OPTIONS
    if unknown:
        raise TypeError(
            "`GradCAMCallback` takes the arguments of `GradCAM` besides its own. "
            f"Received unknown arguments: {sorted(unknown)}"
        )


def as_labels(chosen, y_true):
    labels = labels_of([sample.label for sample in chosen])
    if labels is not None:
        return labels
    if y_true is None:
        # What a dataset brings along: values of a regression, masks to segment.
        return [None] * len(chosen)
    raise ValueError(
        f"Argument `y_true` must have {EXPECTED}; leave it out where there is none. "
        f"Received: y_true of shape {np.shape(y_true)} and dtype "
        f"{np.asarray(y_true).dtype}"
    )


def as_regions(chosen, masks, boxes, options):
    """The masks or boxes of the chosen samples."""
    if masks is None and boxes is None:
        return None
    if masks is not None and boxes is not None:
        raise ValueError("Arguments `masks` and `boxes` exclude each other.")
    if options.get("resize", True) is not True:
        raise ValueError(
            "With `masks` or `boxes` the heatmaps must have the size of the images. "
            f"Received: resize={options['resize']!r}"
        )
    if boxes is not None:
        return of_chosen("boxes", boxes, chosen)
    regions = of_chosen("masks", masks, chosen)
    return regions[..., 0] if regions.ndim == 4 else regions


def of_chosen(name, values, chosen):
    """Those of `values` that belong to the chosen samples, where it is a sequence."""
    if values is None or isinstance(values, str) or callable(values):
        return values
    values = np.asarray(values)
    if not values.ndim:
        return int(values) if values.dtype.kind in "iu" else values
    indices = [sample.number for sample in chosen]
    if max(indices) >= len(values):
        raise ValueError(
            f"Argument `{name}` must have one entry for each of `images`, and none is "
            f"missing. Received: {len(values)} entries, none for sample {max(indices)}."
        )
    return values[indices]


def as_sinks(sinks):
    sinks = [sinks] if callable(sinks) else list(sinks)
    if not all(map(callable, sinks)):
        raise TypeError(
            "Argument `sinks` must be callables `(step, panels, scalars)`. Received: "
            f"sinks={sinks}"
        )
    return sinks
