"""`GradCAM`: a Keras model that returns heatmaps of another; the only state."""

import threading
import warnings

import keras
import tensorflow as tf
from keras import ops, tree

from keras_gradcam import methods
from keras_gradcam.execution import (
    UnconnectedError,
    distribution,
    input_signatures,
    model_inputs,
)
from keras_gradcam.gradcam import arguments
from keras_gradcam.gradcam.calls import Calls
from keras_gradcam.maps import diagnosis, fusion, smoothing


@keras.saving.register_keras_serializable("keras_gradcam")
class GradCAM(keras.Model):
    """Shows which positions of its input a model's score depends on.

    `GradCAM` wraps a model as it is: nested, subclassed, trained or in training. The
    weights are shared, so maps follow the model while it learns, and nothing of the
    model is changed. As a `keras.Model` it comes with `predict` for arrays and
    `tf.data`, with `save`, and with `export` to a SavedModel that returns heatmaps.

    Args:
        model: A `keras.Model`.
        layer: The layer whose activations are weighted: a name (at any depth, where it
            is unique), a path through nested models such as
            `"mobilenetv2_1.00_224/Conv_1"`, a `keras.Layer`, or a list of these for one
            map each. A layer that is called several times is named with `"#n"`, one
            that returns several tensors with `"[key]"`, one of several that have the
            same name with `"~n"`. Defaults to `None`: the last layer that all evidence
            passes through; of a model whose output is a picture the last one on the
            coarsest grid. Methods that explain the input look at no layer: the name of
            an input, if anything. `"depth_consensus"` makes one map of all layers of a
            list; `None` is the last one of each grid size.
        method: Name of the method, one of `methods.METHODS`; one of `methods` with its
            options, such as `methods.scorecam(channels=64)`; or a callable
            `(activations, gradients, scores) -> map`, see `method.Custom`. Defaults to
            `"gradcam"`.
        target: What to explain. `None` is each sample's predicted class; an int is one
            class for all samples; a sequence or tensor of ints is one class for each;
            `"true"` is the label that a dataset brings along in `predict`; a callable,
            one of `targets` or any other, turns the model's outputs into scores
            `(batch,)`, or `(batch, n)` for n maps of each sample. Can be given with
            each call instead. Defaults to `None`.
        activation: Applied to the map: `"relu"` as in the paper, `None` to keep the
            sign, or a callable. Defaults to `"relu"`.
        normalize: `"max"` divides each map by its largest magnitude, `"minmax"`
            stretches each to [0, 1], `"batch"` divides all maps of a batch by their
            largest magnitude, `None` returns raw values that compare between samples
            and epochs. Defaults to `"max"`.
        resize: `True` for maps of the input's size, each cell laid where it looks in
            the input and 0 where the layer sees nothing of it; `False` for the layer's
            grid; or a size such as `(height, width)` that the input is scaled to.
            Defaults to `True`.
        logits: Whether a model that ends in softmax or sigmoid, hard sigmoid, or the
            logarithm of one, is explained by its logits z instead of its probabilities
            p or log p, whose gradient vanishes where the model is confident. Defaults
            to `True`.
        return_predictions: Whether to return a dict with `"heatmaps"` and
            `"predictions"`, both of the same forward pass. Defaults to `False`.
        jit_compile: `True` compiles with XLA, `False` does not, `"auto"` does where a
            GPU or TPU is present. A model that XLA cannot compile runs without it after
            one warning. Defaults to `"auto"`.
        reshape: How tokens `(batch, tokens, features)` become a grid, where that is
            not plain from the image and its patches: a size such as `(14, 14)`, the
            tokens before it being a class token and the like; or a callable to
            `(batch, *grid, features)`. Defaults to `None`.
        smooth: `"noise"` averages the maps over noisy inputs, `"tta"` over flipped and
            scaled ones, `"eigen"` takes the first component of a map's channels; one
            of `smoothing` with its options, or a list of these. Defaults to `None`.
        fuse: One map of the maps of several layers: `"mean"`, `"max"`, `"product"` or
            `"tanh_max"` of them, each divided by its largest magnitude, on the largest
            of their grids or at the size of `resize`. A callable from a list of maps to
            one will do, too. Defaults to `None`, a list with a map for each layer.
        chunk_size: How many changed inputs run through the model at once, for methods
            that ask for the score of each channel: more are faster where the memory is
            there. Defaults to `None`, what fits into 256 MB by the sizes of the layers.
        output_dtype: `"uint8"` returns maps as bytes, 255 times their value, and
            `"float16"` as half precision: four times and twice as many for the same
            memory and disk. The maps are computed as ever. Defaults to `None`, float32.
        gradient_rules: Rules that hold parts of the network constant while gradients
            are taken, for any method that takes some: `"libragrad"` the weights of
            attention, the norms and the gates of activations; `"attnlrp"` the norms and
            the gates; `"cp_lrp"` the weights of attention and the norms. Defaults to
            `None`, the method's own rules, or none.
        **kwargs: `name` of the Keras model.

    Call arguments:
        images: What the model takes, a batch: `(batch, *spatial, channels)`.
        target: As above, for this call.

    Returns:
        float32 `(batch, *spatial)`, with the defaults in [0, 1]; all zeros where
        nothing speaks for the target. A list of these if `layer` is a list, and
        neither `fuse` nor the method makes one of them;
        `(batch, n, *spatial)` if `target` returns n scores for each sample; float64 if
        the layer is, and what `output_dtype` says.

    Raises:
        TypeError: If `model` is no `keras.Model`, or an argument has the wrong type.
        ValueError: If `layer` names no layer with a grid, a class does not exist, or
            the number of classes does not match the batch.

    Example:

    ```python
    cam = GradCAM(model)
    heatmaps = cam(images)                     # (batch, height, width)
    heatmaps = cam(images, target=[3, 7])      # one class for each of two images
    heatmaps = cam.predict(dataset)            # NumPy, batch by batch
    ```

    Reference:
        [Selvaraju et al., 2017](https://arxiv.org/abs/1610.02391), Grad-CAM: Visual
        Explanations from Deep Networks via Gradient-based Localization.
    """

    def __init__(
        self,
        model,
        layer=None,
        method="gradcam",
        target=None,
        activation="relu",
        normalize="max",
        resize=True,
        logits=True,
        return_predictions=False,
        jit_compile="auto",
        reshape=None,
        smooth=None,
        fuse=None,
        chunk_size=None,
        output_dtype=None,
        gradient_rules=None,
        **kwargs,
    ):
        model_inputs.check_model(model)
        # Maps are float32 under every global policy, and the images reach the model as
        # `predict` would hand them over.
        super().__init__(**{"dtype": "float32", "autocast": False, **kwargs})
        self.model = model
        self.method = method
        self.target = arguments.check_target(target)
        self.activation = activation
        self.normalize = normalize
        self.resize = arguments.check_resize(resize)
        self.reshape = arguments.check_reshape(reshape)
        self.smooth = smooth
        self.fuse = fuse
        self.chunk_size = arguments.check_chunk_size(chunk_size)
        self.output_dtype = output_dtype
        self.gradient_rules = gradient_rules
        self.logits = arguments.check_flag("logits", logits)
        self.return_predictions = arguments.check_flag(
            "return_predictions", return_predictions
        )
        self._jit_option = arguments.check_jit_compile(jit_compile)
        # `None` is Keras' own "auto": XLA where an accelerator is, and no strategy.
        self.jit_compile = None if jit_compile == "auto" else jit_compile
        self.built = True
        self._call_state = threading.local()
        self._calls = Calls(self, arguments.check_layer(layer))

    # The public calls.

    def __call__(self, images, target=None, **kwargs):
        if input_signatures.are_symbolic(images):
            return super().__call__(images, target=target, **kwargs)
        # Without the layers' ceremony: nothing to build or to cast, errors as they are.
        return self.call(images, target)

    def call(self, images, target=None):
        heatmaps, predictions, checks = self.call_quietly(images, target)
        if tf.executing_eagerly():
            for text, category in diagnosis.warnings_of(checks):
                warnings.warn(text, category, stacklevel=3)
        if not self.return_predictions:
            return heatmaps
        return {"heatmaps": heatmaps, "predictions": predictions}

    def call_quietly(self, images, target=None):
        """As the call, without warnings.

        Args:
            images: A batch, as the model takes it.
            target: As for the call. Defaults to the constructor's `target`.

        Returns:
            Tuple of the heatmaps, the predictions, and what `diagnosis.warnings_of`
            makes warnings of.
        """
        return self._calls.run("heatmaps", images, target)

    def activations(self, images):
        """Returns the layer's activations A.

        Args:
            images: A batch, as the model takes it.

        Returns:
            float32 `(batch, *grid, channels)`, channels last. A list of these if
            `layer` is a list.
        """
        return self._calls.run("activations", images, None)

    def gradients(self, images, target=None):
        """Returns the gradients dy/dA of the target score.

        Args:
            images: A batch, as the model takes it.
            target: As for the call. Defaults to the constructor's `target`.

        Returns:
            float32 `(batch, *grid, channels)`, channels last. A list of these if
            `layer` is a list.
        """
        return self._calls.run("gradients", images, target)

    def explanations(self, images, target=None):
        """Returns heatmaps, and which class and which score each of them explains.

        Args:
            images: A batch, as the model takes it.
            target: As for the call. Defaults to the constructor's `target`.

        Returns:
            Dict of tensors: `"heatmaps"` as the call returns them; `"classes"`, int32
            `(batch,)`, -1 where the target is a callable; `"scores"`, float32
            `(batch,)`, or `(batch, n)` for n maps of each sample: the target's score,
            which is a logit where these are found; and `"finite"`, bool `(batch,)`,
            whether a sample and its maps are free of NaN and infinity.
        """
        return self._calls.run("explanations", images, target)

    def diagnose(self, images, target=None):
        """Says of each map whether it has evidence, and if not, why.

        Args:
            images: A batch, as the model takes it.
            target: As for the call. Defaults to the constructor's `target`.

        Returns:
            List with one `diagnosis.Diagnosis` for each image, each with a `cause` of
            `diagnosis.CAUSES` and an `advice`. A list of such lists if `layer` is a
            list.

        Example:

        ```python
        for number, found in enumerate(cam.diagnose(images)):
            print(number, found)
        ```
        """
        try:
            measured = self._calls.run("diagnosis", images, target)
        except UnconnectedError:
            length = len(tree.flatten(images)[0])
            lost = [diagnosis.named("not connected")] * length
            return self._target_layers.one_or_list(
                [lost] * len(self._target_layers.chosen.names)
            )
        measured = tree.map_structure(ops.convert_to_numpy, measured)
        return self._target_layers.one_or_list(
            [diagnosis.of(layer) for layer in measured]
        )

    @property
    def classes(self):
        """Number of classes of the model, `None` where it is not known, or not yet."""
        return self._target_layers.chosen and self._target_layers.chosen.traced.classes

    @property
    def layer(self):
        """Full name of the layer, or a list of names; `None` until a layer is chosen.

        The layer is known from the start where the model declares its inputs, and after
        the first call where it does not (a subclassed model).
        """
        return self._target_layers.names()

    @property
    def signature(self):
        """What the model takes, a structure with shapes and types; `None` if unknown.

        It is what the model declares, and after the first call what a subclassed model
        was called with.
        """
        declared = self._calls.declared
        seen = self._target_layers.chosen and self._target_layers.chosen.signature
        return seen if declared is None else declared

    @property
    def makes_several_maps(self):
        """Whether there is a list of maps, one for each of several layers."""
        joins = methods.get(self.method).row.joins_depths
        return self._target_layers.several and self.fuse is None and not joins

    @property
    def asked_layer(self):
        """What was passed as `layer`: a name, a list of names, or `None`."""
        return self._target_layers.given()

    @property
    def head(self):
        """What the model's only output ends in.

        `"softmax"`, `"sigmoid"`, `"log_softmax"`, `"log_sigmoid"` or `None`. A hard
        sigmoid is a sigmoid here.
        """
        return self._target_layers.chosen and self._target_layers.chosen.traced.head

    @property
    def input_index(self):
        """Which of the model's flattened inputs a map lies over.

        A list if `layer` is a list. `None` where it is not known.
        """
        chosen = self._target_layers.chosen
        if chosen is None:
            return None
        return self._target_layers.one_or_list([x.input for x in chosen.layer_outputs])

    def trace(self, images, target=None, part="heatmaps"):
        """Traces the graph for `images` without running it, and checks everything.

        The first call is as fast as later ones then, and raises nothing new.

        Args:
            images: A batch, as the model takes it.
            target: As for the call. Defaults to the constructor's `target`.
            part: `"heatmaps"` for the call, `"explanations"` for the method of this
                name. Defaults to `"heatmaps"`.

        Returns:
            Dict with `"heatmaps"` and `"predictions"` as the call computes them, or
            what `explanations` returns; each with its shape and no values.
        """
        if part not in ("heatmaps", "explanations"):
            raise ValueError(
                "Argument `part` must be 'heatmaps' or 'explanations'. Received: "
                f"part={part!r}"
            )
        graph = self._calls.trace(part, images, target)
        if part == "explanations":
            return graph.structured_outputs
        heatmaps, predictions, _ = graph.structured_outputs
        return {"heatmaps": heatmaps, "predictions": predictions}

    def reset(self):
        """Traces the model anew at the next call.

        Needed after the model itself was changed: by `quantize()`, an exchanged
        activation or a layer added; and after something was changed that a callable
        reads, a `target` for instance, which is traced once. Changed weights, and other
        variables, are seen without it.
        """
        self._calls.reset()

    # What Keras asks of a model.

    @property
    def trainable(self):
        """Whether its weights count as trainable. The model keeps its own setting."""
        return self._trainable

    @trainable.setter
    def trainable(self, value):
        # Keras would set it on the layers of the model, too, and freeze them.
        self._trainable = bool(value)

    def predict(
        self,
        x,
        batch_size=None,
        verbose="auto",
        steps=None,
        callbacks=None,
        target=None,
    ):
        """Computes the maps of any amount of data, batch by batch.

        Args:
            x: Arrays, a `tf.data.Dataset`, or what else `keras.Model.predict` takes.
            batch_size: See `keras.Model.predict`.
            verbose: See `keras.Model.predict`.
            steps: See `keras.Model.predict`.
            callbacks: See `keras.Model.predict`.
            target: As for the call, but no sequence: classes that differ from sample to
                sample belong into the dataset, with `target="true"`.

        Returns:
            As the call, in NumPy.
        """
        devices = self.distribute_strategy.num_replicas_in_sync
        arguments.check_predict(target, self.normalize, devices)
        # Of this call and this thread alone.
        self._call_state.target = target
        self._call_state.batch_size = 0
        try:
            return super().predict(x, batch_size, verbose, steps, callbacks)
        finally:
            self._call_state.target = None

    def predict_step(self, data):
        if self.distribute_strategy.num_replicas_in_sync > 1:
            return distribution.of_share(self._predict_step, data)
        return self._predict_step(data)

    def _predict_step(self, data):
        images, labels, _ = keras.utils.unpack_x_y_sample_weight(data)
        target = getattr(self._call_state, "target", None)
        target = self.target if target is None else target
        if arguments.is_true_label(target):
            target = arguments.class_of(labels)
        return self(images, target=target)

    def make_predict_function(self, force=False):
        if self.distribute_strategy.num_replicas_in_sync > 1:
            super().make_predict_function(force)
            return
        # Each batch goes through the one compiled graph that direct calls use, too.
        self.predict_function = self._predict_batches

    def _predict_batches(self, batches):
        outputs = [self._predict_batch(data) for data in batches]
        return tree.map_structure(lambda *parts: ops.concatenate(parts), *outputs)

    def _predict_batch(self, data):
        length = tree.flatten(data)[0].shape[0]
        full = max(self._call_state.batch_size, length)
        self._call_state.batch_size = full
        # XLA compiles for each batch size: the last batch must not be a new one.
        padding = full - length if self.jit_compile else 0
        outputs = self.predict_step(input_signatures.padded(data, padding))
        return tree.map_structure(lambda x: x[:length], outputs)

    def export(self, filepath, format="tf_saved_model", input_signature=None, **kwargs):
        if input_signature is None and self.signature is not None:
            input_signature = [self.signature]
        return super().export(
            filepath, format=format, input_signature=input_signature, **kwargs
        )

    def get_config(self):
        serialize = keras.saving.serialize_keras_object
        return {
            "name": self.name,
            "model": serialize(self.model),
            "layer": self._target_layers.layer_names(),
            "method": methods.name_of(self.method) or serialize(self.method),
            "target": serialize(self.target),
            "activation": serialize(self.activation),
            "normalize": self.normalize,
            "resize": self.resize,
            "reshape": serialize(self.reshape),
            "smooth": serialize(list(smoothing.get(self.smooth))) or None,
            "fuse": fusion.name_of(self.fuse) or serialize(self.fuse),
            "chunk_size": self.chunk_size,
            "output_dtype": self.output_dtype,
            "gradient_rules": self.gradient_rules,
            "logits": self.logits,
            "return_predictions": self.return_predictions,
            "jit_compile": self._jit_option,
        }

    @classmethod
    def from_config(cls, config):
        objects = {
            key: keras.saving.deserialize_keras_object(config[key])
            for key in (
                "model",
                "method",
                "target",
                "activation",
                "reshape",
                "smooth",
                "fuse",
            )
        }
        return cls(**{**config, **objects})

    @property
    def _target_layers(self):
        return self._calls.target_layers
