"""The calls of a `GradCAM`: from their arguments to the graph that serves them."""

import functools
import warnings

import tensorflow as tf
from keras import tree

from keras_gradcam import methods
from keras_gradcam.evidence import chunking, gathering
from keras_gradcam.execution import (
    ConcreteFunctions,
    XLARefusalError,
    distribution,
    input_signatures,
    model_inputs,
)
from keras_gradcam.gradcam import arguments, explanation_graph
from keras_gradcam.maps import HeatmapConfig, fusion, normalization, smoothing
from keras_gradcam.model import TargetLayers
from keras_gradcam.targets import scorer


class Calls:
    """Runs the calls of a `GradCAM`, each in the one graph for its kind.

    Out of sight of Keras, which would track what is in here.

    Args:
        cam: The `GradCAM`. Its attributes are read, and checked, at each call, as they
            can be set at any time.
        layer: See `GradCAM`.
    """

    def __init__(self, cam, layer):
        self._cam = cam
        self.target_layers = TargetLayers(layer)
        self.functions = ConcreteFunctions(self._compute)
        self._told = set()  # Names of the layers that a warning was about.
        self._config()
        if self.declared is not None:
            chosen = self._choose(input_signatures.exact(self.declared))
            if not any(None in x.grid for x in chosen.layer_outputs):
                self._tell_of_uncertain_grids(chosen)
            if _is_by_class(cam.target):
                arguments.check_classes(cam.target, None, chosen.traced.classes)

    @property
    def declared(self):
        """The inputs that the model declares, see `model_inputs.declared_inputs`."""
        return model_inputs.declared_inputs(self._cam.model)

    def run(self, part, images, target):
        """Runs a call.

        Args:
            part: A key of `explanation_graph.PARTS`.
            images: A batch, as the model takes it.
            target: See `GradCAM`; `None` for that of the constructor.
        """
        config, tensors = self._arguments(part, images, target)
        if not tf.executing_eagerly():
            return explanation_graph.compute(self._cam.model, config, *tensors)
        signature = self._signature(config, tensors)
        try:
            return self.functions(config, tensors, signature, self._is_compiled(part))
        except XLARefusalError as refusal:
            self._give_up_xla(refusal)
            return self.functions(config, tensors, signature)

    def trace(self, part, images, target):
        """Traces the graph of a call without running it, see `run`."""
        config, tensors = self._arguments(part, images, target)
        signature = self._signature(config, tensors)
        return self.functions.trace(config, signature, self._is_compiled(part))

    def reset(self):
        """Forgets what was traced."""
        self.functions.clear()
        self.target_layers = TargetLayers(self.target_layers.layer)

    # From arguments to what chooses the graph, and its inputs.

    def _arguments(self, part, images, target):
        cam = self._cam
        images = input_signatures.as_declared(
            input_signatures.as_tensors(images), self.declared
        )
        target = cam.target if target is None else arguments.check_target(target)
        if arguments.is_true_label(target):
            arguments.class_of(None)
        heatmap = self._config()
        chosen = self._chosen_for(images)
        by_class = _is_by_class(target)
        config = explanation_graph.GraphConfig(
            part,
            "classes" if by_class else target,
            heatmap,
            chosen,
            self.target_layers.several,
            cam.logits,
            self._chunk_size(heatmap.method, chosen, images),
        )
        if not by_class:
            return config, (images,)
        return config, (images, _classes(target, images, chosen))

    def _config(self):
        """How maps are made."""
        cam = self._cam
        normalization.get_activation(cam.activation)
        normalization.get_normalization(cam.normalize)
        fusion.get(cam.fuse)
        method = methods.get(cam.method)
        arguments.check_fuse(
            cam.fuse, self.target_layers.several, cam.activation, method
        )
        gathering.check(method)
        return HeatmapConfig(
            method,
            smoothing.get(cam.smooth),
            cam.activation,
            cam.normalize,
            arguments.check_resize(cam.resize),
            cam.fuse,
            arguments.check_output_dtype(
                cam.output_dtype, cam.activation, cam.normalize
            ),
            arguments.check_gradient_rules(cam.gradient_rules, method),
        )

    def _chosen_for(self, images):
        """The layers for images like these."""
        model, declared = self._cam.model, self.declared
        model_inputs.check_images(declared, images)
        with tf.init_scope():
            if declared is None:
                # Each size has a grid of its own.
                if not model.built:
                    model(input_signatures.first_sample(images), training=False)
                chosen = self._choose(input_signatures.free_batch(images))
            else:
                chosen = self._choose(input_signatures.exact(declared))
                if not all(x.is_placed_for(images) for x in chosen.layer_outputs):
                    chosen = self._choose(input_signatures.of_sizes(declared, images))
        self._tell_of_uncertain_grids(chosen)
        return chosen

    def _choose(self, signature):
        cam = self._cam
        method = methods.get(cam.method)
        return self.target_layers.choose(
            cam.model, signature, method, cam.target, cam.logits, cam.reshape
        )

    def _tell_of_uncertain_grids(self, chosen):
        if self._cam.resize is not True:
            return
        for layer_output in chosen.layer_outputs:
            name = layer_output.name
            told = _told_of_grid(layer_output, self._cam.reshape)
            if told and name not in self._told:
                self._told.add(name)
                warnings.warn(
                    f"{told} Pass `resize=False` to silence this warning, or a size to "
                    "draw the maps at. If its axes are tokens of a grid over the "
                    "input, pass `reshape=(height, width)`.",
                    stacklevel=2,
                )

    def _chunk_size(self, method, chosen, images):
        """How many inputs run at once; 1 where the method runs none of its own."""
        if method.row.evidence not in chunking.KINDS:
            return 1
        size = arguments.check_chunk_size(self._cam.chunk_size)
        return chunking.size(size, chosen.traced, self.declared, images)

    def _signature(self, config, tensors):
        if callable(config.target) and scorer.needs_batch_size(config.target):
            return input_signatures.exact(tensors)
        if self._cam.jit_compile:  # XLA compiles for each size anyhow.
            return input_signatures.free_batch(tensors)
        return input_signatures.free_sizes(tensors, config.chosen.signature)

    # On devices.

    def _compute(self, config, *tensors):
        model = self._cam.model
        if not self._is_shared(config.part):
            return explanation_graph.compute(model, config, *tensors)
        compute = functools.partial(explanation_graph.compute, model, config)
        return distribution.run(self._cam.distribute_strategy, compute, tensors)

    def _is_compiled(self, part):
        """Whether XLA compiles a graph; of several devices' it can compile none."""
        return bool(self._cam.jit_compile) and not self._is_shared(part)

    def _is_shared(self, part):
        """Whether a graph runs on all devices of a strategy."""
        # What is divided by the peak of the batch needs the batch.
        several = self._cam.distribute_strategy.num_replicas_in_sync > 1
        return several and part == "explanations" and self._cam.normalize != "batch"

    def _give_up_xla(self, refusal):
        self._cam.jit_compile = False
        warnings.warn(
            f"XLA cannot compile model '{self._cam.model.name}': {refusal}. The maps "
            "are computed without XLA. Pass `jit_compile=False` to silence this "
            "warning.",
            stacklevel=2,
        )


def _is_by_class(target):
    is_other = target is None or callable(target) or arguments.is_true_label(target)
    return not is_other


def _classes(target, images, chosen):
    """One class for each sample, checked against batch and model."""
    first, count = tree.flatten(images)[0], chosen.traced.classes
    target = tf.cast(target, "int32")
    known = tf.get_static_value(target)
    if known is not None:
        arguments.check_classes(known, first.shape[0], count)
    batch = tf.shape(first)[:1]
    if tf.executing_eagerly():
        return tf.broadcast_to(target, batch)
    with tf.control_dependencies(_checks_of_classes(target, batch, count)):
        return tf.broadcast_to(target, batch)


def _checks_of_classes(target, batch, count):
    """As `arguments.check_classes`, when the graph runs."""
    checks = [
        tf.debugging.assert_non_negative(
            target, "Argument `target` must be 0 or above."
        )
    ]
    if count is not None:
        text = f"Argument `target` must be in the range 0 to {count - 1}."
        checks.append(tf.debugging.assert_less(target, count, text))
    if target.shape.rank == 1:
        text = "Argument `target` must have one class for each image of the batch."
        checks.append(tf.debugging.assert_equal(tf.shape(target), batch, text))
    return checks


def _told_of_grid(layer_output, reshape):
    """What to say of a grid whose place on the input is not known."""
    grid, name = layer_output.grid, layer_output.name
    if layer_output.input is None:
        return (
            f"The grid {grid} of layer '{name}' lies along no axis of the model's "
            "input, so its maps are not laid over the input: they keep this grid."
        )
    # Of tokens, the user says with `reshape` that they lie over the input.
    places = [where.start for where in layer_output.grid_axes if where]
    if reshape is None and None in places:
        return (
            f"Where the grid {grid} of layer '{name}' lies on the model's input cannot "
            "be told: a layer before it does something that has no known effect on "
            "its axes. By its shape it is taken to lie along the input's axes "
            f"{layer_output.input_axes}, over all of their length. Check this with an "
            "input whose object lies at one end."
        )
    return None
