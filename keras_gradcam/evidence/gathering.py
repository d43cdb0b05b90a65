"""Gathers what a method needs to know of a model: `KINDS` has all kinds by name."""

import functools
import inspect
from typing import Any, NamedTuple

import tensorflow as tf

from keras_gradcam.arrays import widened
from keras_gradcam.evidence import gradient_rules, perturbed_scores
from keras_gradcam.evidence.attention_evidence import (
    attention,
    attention_by_depth,
    chained_attention,
)
from keras_gradcam.evidence.gradient_evidence import (
    bias_terms,
    curvature,
    gradients,
    guided,
    guided_at_layer,
    nothing,
    path,
    pooled,
    smoothed,
)
from keras_gradcam.execution import run_model


class GatheredEvidence(NamedTuple):
    """One forward pass, float32 (float64 for a float64 model).

    Attributes:
        activations: List of tensors `(batch, *grid, channels)`, one for each layer
            output.
        evidence: List of what a method needs to know of each layer output. Where a
            sample has n scores, tensors `(batch, n, ...)` instead of `(batch, ...)`.
        scores: Tensor `(batch,)` or `(batch, n)`, the target score y.
        outputs: The model's own outputs, as it returned them.
    """

    activations: list
    evidence: list
    scores: tf.Tensor
    outputs: Any


def check(method):
    """Raises unless there is evidence as a method asks for it.

    Args:
        method: A `method.Method` or `method.Custom`.
    """
    row, kinds = method.row, sorted(KINDS)
    if row.evidence not in KINDS:
        raise ValueError(
            f"Argument `method` asks for evidence {row.evidence!r}. It must be one of "
            f"{kinds}. Received: method={method!r}"
        )
    if row.evidence in OF_INPUTS and row.place != "input":
        raise ValueError(
            f"Evidence {row.evidence!r} is of the input: set the attribute `place` of "
            f"the callable to 'input'. Received: method={method!r}"
        )
    options = _options(row.evidence)
    try:
        options.bind(**method.evidence_options)
    except TypeError as error:
        takes = ", ".join(map(str, options.parameters.values())) or "none"
        raise TypeError(
            f"Evidence {row.evidence!r}: {error}. Its options are: {takes}. Set the "
            "attribute `evidence_options` of the callable to a dict of these. "
            f"Received: method={method!r}"
        ) from None


def rules_by_name(name):
    """What a `Request` needs to know of gradient rules, one of `GRADIENT_RULES`."""
    return name and functools.partial(gradient_rules.balanced, rules=name)


@functools.cache
def _options(kind):
    """The signature of a kind's options. Each call of a `GradCAM` asks."""
    parameters = list(inspect.signature(KINDS[kind]).parameters.values())[2:]
    return inspect.Signature(parameters)


def gather(request, kind="gradients", **options):
    """Runs the model, and finds out what a method needs to know.

    Args:
        request: A `Request`.
        kind: A key of `KINDS`.
        **options: Of that kind.

    Returns:
        A `GatheredEvidence`.

    Raises:
        UnconnectedError: If a gradient is needed and the score does not depend on one
            of the layer outputs.
    """
    forward_pass = run_model(request)
    activations = [
        layer_output.to_grid(widened(tensor))
        for layer_output, tensor in zip(
            request.layer_outputs, forward_pass.tensors, strict=True
        )
    ]
    found = KINDS[kind](request, forward_pass, **options)
    return GatheredEvidence(
        activations, found, forward_pass.scores, forward_pass.outputs
    )


GRADIENT_RULES = tuple(gradient_rules.RULES)

# What has no gradients that rules could change.
WITHOUT_GRADIENTS = ("nothing", "masked", "noisy_masked", "faded_masked", "ablated")

# What makes sense only over an input.
OF_INPUTS = ("path", "guided_at_layer")

KINDS = {
    "nothing": nothing,
    "gradients": gradients,
    "pooled": pooled,
    "smoothed": smoothed,
    "curvature": curvature,
    "attention": attention,
    "chained_attention": chained_attention,
    "attention_by_depth": attention_by_depth,
    "masked": perturbed_scores.masked,
    "noisy_masked": perturbed_scores.noisy_masked,
    "faded_masked": perturbed_scores.faded_masked,
    "ablated": perturbed_scores.ablated,
    "guided": guided,
    "guided_at_layer": guided_at_layer,
    "path": path,
    "biases": bias_terms,
}
