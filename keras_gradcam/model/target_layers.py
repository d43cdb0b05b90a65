"""The layers that a `layer` argument stands for: those that the maps are made of."""

from keras_gradcam.model import candidate_layers, input_selection, layer_selection

# Images of ever new sizes must not keep every graph that was ever made.
MAX_CHOICES = 32


class ChosenLayers:
    """The layers for one kind of input; never changed, and one graph's own.

    Attributes:
        signature: Structure of `tf.TensorSpec` that the model was traced with.
        traced: The model's `TracedModel`.
        layer_outputs: List of `LayerOutput` that the maps are made of.
        layers: List of `LayerOutput` of layers: `layer_outputs`, or one for each of
            them if these are inputs and the method needs a layer, too.
    """

    def __init__(self, signature, traced, layer_outputs, layers):
        self.signature = signature
        self.traced = traced
        self.layer_outputs = layer_outputs
        self.layers = layers

    @property
    def names(self):
        return [layer_output.name for layer_output in self.layers or self.layer_outputs]


class TargetLayers:
    """The layers that a `layer` argument stands for.

    Out of sight of Keras, which would track the layers.

    Args:
        layer: See `GradCAM`.

    Attributes:
        several: Whether it is a list.
        chosen: The last `ChosenLayers`, `None` until the model was traced.
    """

    def __init__(self, layer):
        self.layer = layer
        self.several = isinstance(layer, (list, tuple))
        self.chosen = None
        self._traced = []
        self._choices = []

    def choose(self, model, signature, method, target, logits, reshape):
        """Finds the layers, or returns what was found before.

        Args:
            model: A built `keras.Model`.
            signature: Structure of `tf.TensorSpec`, as the model takes it.
            method: A `Method` or `Custom`.
            target: See `GradCAM`.
            logits: See `GradCAM`.
            reshape: See `GradCAM`.

        Returns:
            A `ChosenLayers`.

        Raises:
            TypeError, ValueError: If there is no such layer.
        """
        target = target if callable(target) else None
        asked = signature, target, logits
        kind = method.row.place, method.row.needs_layer, method.row.default_layer
        chosen = _known(self._choices, (*asked, kind))
        if chosen is None:
            traced = _known(self._traced, asked)
            if traced is None:
                traced = candidate_layers.trace_candidates(
                    model, signature, target, logits, reshape
                )
                self._traced = [*self._traced, (asked, traced)][-MAX_CHOICES:]
            chosen = self._new(model, signature, method, target, traced)
            choice = (*asked, kind), chosen
            self._choices = [*self._choices, choice][-MAX_CHOICES:]
        self.chosen = chosen
        return chosen

    def _new(self, model, signature, method, target, traced):
        layer_outputs = layers = []
        if method.row.needs_layer:
            layer_outputs = layers = layer_selection.select(
                traced, self.layer, target, method.row.default_layer
            )
        if method.row.place == "input":
            layer_outputs = input_selection.inputs(
                traced, model, signature, method, self.layer, layers
            )
        return ChosenLayers(signature, traced, layer_outputs, layers)

    def names(self):
        """Name of the layer or of the input, or a list of names."""
        return (
            self.given() if self.chosen is None else self.one_or_list(self.chosen.names)
        )

    def layer_names(self):
        """Name of the layer, or a list of names, as a `layer` argument."""
        # The name of an input may be another one when a model is loaded.
        return self.names() if self.chosen and self.chosen.layers else self.given()

    def given(self):
        """What was passed as `layer`, layers by their names."""
        given = self.layer if self.several else [self.layer]
        return self.one_or_list([getattr(layer, "name", layer) for layer in given])

    def one_or_list(self, values):
        """The list of values, one for each layer; or the one of a single layer."""
        return values if self.several or len(values) > 1 else values[0]


def _known(found, key):
    return next((value for other, value in found if other == key), None)
