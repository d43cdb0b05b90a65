"""What the graph of a call computes: heatmaps, or one of the steps on the way."""

from typing import Any, NamedTuple

import tensorflow as tf
from keras import tree

from keras_gradcam.evidence import gathering
from keras_gradcam.execution import Request, input_signatures, model_inputs
from keras_gradcam.maps import HeatmapConfig, diagnosis, heatmaps, normalization
from keras_gradcam.model import ChosenLayers
from keras_gradcam.targets import Scorer


class GraphConfig(NamedTuple):
    """What chooses the graph of a call; hashable.

    Attributes:
        part: What to compute, a key of `PARTS`.
        target: `"classes"` where each sample's class is an input of the graph, or what
            `Scorer` takes.
        heatmap: The `HeatmapConfig`.
        chosen: The `ChosenLayers`.
        several: Whether there is a list of results also of one layer.
        logits: See `GradCAM`.
        chunk_size: See `Request`.
    """

    part: str
    target: Any
    heatmap: HeatmapConfig
    chosen: ChosenLayers
    several: bool
    logits: bool
    chunk_size: int

    def one_or_list(self, values):
        return values if self.several or len(values) > 1 else values[0]


def compute(model, config, images, classes=None):
    """Computes a part of an explanation, inside a graph.

    Args:
        model: A built `keras.Model`.
        config: A `GraphConfig`.
        images: Structure of tensors, as the model takes it.
        classes: Int tensor `(batch,)`, `None` where the target is no class.
    """
    declared = model_inputs.declared_inputs(model)
    request = Request(
        model,
        input_signatures.in_declared_types(images, declared),
        config.chosen.layer_outputs,
        Scorer(config.target, classes, config.logits),
        config.chosen.layers,
        config.chosen.traced.inline,
        config.chunk_size,
        gathering.rules_by_name(config.heatmap.gradient_rules),
    )
    return PARTS[config.part](request, config)


def _activations(request, config):
    return config.one_or_list(gathering.gather(request, "nothing").activations)


def _gradients(request, config):
    return config.one_or_list(gathering.gather(request).evidence)


def _diagnosis(request, config):
    gathered = heatmaps.gather(request, config.heatmap)
    raw = heatmaps.raw_maps(request, config.heatmap, gathered)
    return diagnosis.measure(gathered, raw, config.logits)


def _heatmaps(request, config):
    made, gathered = heatmaps.make(request, config.heatmap)
    checks = diagnosis.checks(made, gathered.outputs, config.logits)
    return _stored(made, config)[0], gathered.outputs, checks


def _explanations(request, config):
    made, gathered = heatmaps.make(request, config.heatmap)
    stored, finite = _stored(made, config)
    images = tree.flatten(request.inputs)
    return {
        "heatmaps": stored,
        "classes": request.scorer.explained_classes(gathered.outputs),
        "scores": gathered.scores,
        "finite": finite & diagnosis.are_finite(images),
    }


def _stored(made, config):
    """Maps in the type that they are returned in, and which samples' are finite."""
    dtype = config.heatmap.output_dtype
    stored = [normalization.stored(one, dtype) for one in made]
    # Half precision may overflow, bytes cannot tell.
    finite = diagnosis.are_finite(made if stored[0].dtype == tf.uint8 else stored)
    return stored[0] if config.heatmap.makes_one else config.one_or_list(stored), finite


PARTS = {
    "activations": _activations,
    "gradients": _gradients,
    "diagnosis": _diagnosis,
    "heatmaps": _heatmaps,
    "explanations": _explanations,
}
