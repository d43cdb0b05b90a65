"""Checks what users pass to `GradCAMCallback`, besides its samples."""

import inspect
import numbers
import os
import re

from keras_gradcam import methods
from keras_gradcam.gradcam import GradCAM
from keras_gradcam.gradcam import arguments as gradcam_arguments
from keras_gradcam.maps import fusion, normalization, smoothing

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


def check_name(name):
    # Runs that begin anew are numbered, "name-2".
    if not isinstance(name, str) or not re.fullmatch(
        r"(?!.*-\d+$)[^/\\.][^/\\]*", name
    ):
        raise ValueError(
            "Argument `name` must be a string that can name a directory, and has no "
            f"number such as '-2' at its end. Received: name={name!r}"
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
    gradcam_arguments.check_options(options)
    methods.get(options.get("method", "gradcam"))
    normalization.get_activation(options.get("activation", "relu"))
    normalization.get_normalization(options.get("normalize", "max"))
    smoothing.get(options.get("smooth"))
    fusion.get(options.get("fuse"))


def as_log_dir(log_dir):
    """An absolute path, so that a training that changes its directory keeps its run."""
    if log_dir is None:
        return None
    log_dir = os.fsdecode(log_dir)
    is_remote = "://" in log_dir
    return log_dir if is_remote else os.path.abspath(os.path.expanduser(log_dir))


def as_sinks(sinks):
    several = isinstance(sinks, (list, tuple))
    found = list(sinks) if several else [] if sinks is None else [sinks]
    if not all(callable(sink) and not isinstance(sink, type) for sink in found):
        raise TypeError(
            "Argument `sinks` must be callables `(step, panels, scalars)`, such as "
            f"`sinks.PictureFiles('pictures')`. Received: sinks={sinks!r}"
        )
    return found
