"""The table of methods: CAM formulas by name, with their options.

`GradCAM(model, method="scorecam")` takes a method by name. With options it is made by
the function of its name: `method=methods.scorecam(channels=64)`. Any callable
`(activations, evidence, scores) -> map` is a method, too: see `Custom`.
"""

import difflib

from keras_gradcam.methods.activation_methods import (
    eigencam,
    eigengradcam,
    fem,
    kpcacam,
    random,
)
from keras_gradcam.methods.attention_methods import (
    attention_rollout,
    attnlrp,
    gradsam,
    legrad,
    libragrad,
    transformer_attribution,
)
from keras_gradcam.methods.gradient_methods import (
    cam,
    depth_consensus,
    elementwise,
    gradcam,
    gradcam_plus_plus,
    hirescam,
    layercam,
    shapleycam,
    smoothgradcam_plus_plus,
    xgradcam,
)
from keras_gradcam.methods.input_methods import (
    fullgrad,
    guided_backprop,
    guided_gradcam,
    integrated_gradients,
    saliency,
    smoothgrad,
)
from keras_gradcam.methods.method import Custom, Method
from keras_gradcam.methods.score_methods import ablationcam, iscam, scorecam, sscam

FACTORIES = (
    gradcam,
    gradcam_plus_plus,
    smoothgradcam_plus_plus,
    xgradcam,
    layercam,
    hirescam,
    elementwise,
    cam,
    shapleycam,
    depth_consensus,
    attention_rollout,
    transformer_attribution,
    gradsam,
    legrad,
    attnlrp,
    libragrad,
    scorecam,
    sscam,
    iscam,
    ablationcam,
    eigencam,
    eigengradcam,
    kpcacam,
    fem,
    random,
    saliency,
    smoothgrad,
    guided_backprop,
    guided_gradcam,
    integrated_gradients,
    fullgrad,
)

METHODS = {factory().name: factory() for factory in FACTORIES}


def get(identifier):
    """Returns the method that `identifier` stands for.

    Args:
        identifier: A name in `METHODS`, one of the functions of this module, with its
            options or without, or a callable `(activations, evidence, scores) -> map`.

    Returns:
        A `Method`, or a `Custom`.

    Raises:
        ValueError: If no method has that name.
    """
    if isinstance(identifier, Method):
        return identifier
    if _is_factory(identifier):
        return identifier()
    if isinstance(identifier, str) and identifier in METHODS:
        return METHODS[identifier]
    # A target or a smoothing is a callable, too, and no method.
    module = getattr(identifier, "__module__", None) or ""
    if callable(identifier) and not module.startswith("keras_gradcam."):
        return Custom(identifier)
    raise ValueError(
        "Argument `method` must be one of "
        f"{sorted(METHODS)} or a callable `(activations, evidence, scores) -> map`. "
        f"{_guess(identifier)}Received: method={identifier!r}"
    )


def _is_factory(identifier):
    return any(identifier is factory for factory in FACTORIES)


def _guess(name):
    """What may be meant by a name that does not exist."""
    name = name.lower().replace("-", "_") if isinstance(name, str) else ""
    alike = difflib.get_close_matches(name, METHODS, n=1)
    return f"Is '{alike[0]}' meant? " if alike else ""


def name_of(identifier):
    """The name of a method without options of its own, `None` for any other."""
    if isinstance(identifier, str):
        return identifier
    return identifier().name if _is_factory(identifier) else None
