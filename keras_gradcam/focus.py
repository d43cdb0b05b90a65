"""What a `GradCAM` looks at: the places of a model that its maps lie over."""

from keras_gradcam import selection, survey


class Focus:
    """The places that a `layer` argument stands for, for each kind of input.

    Out of sight of Keras, which would track the layers.

    Args:
        layer: See `GradCAM`.

    Attributes:
        several: Whether it is a list.
        signature: Structure of `tf.TensorSpec` that the model was traced with last.
        anatomy: The model's `anatomy.Anatomy`, `None` until traced.
        sites: List of `anatomy.Site` that the maps lie over, `None` until traced.
        layers: List of `anatomy.Site` of layers: `sites`, or one for each of them if
            these are inputs and the method needs a layer, too.
    """

    def __init__(self, layer):
        self.layer = layer
        self.several = isinstance(layer, (list, tuple))
        self.signature = None
        self.anatomy = None
        self.sites = None
        self.layers = []
        self._place = None
        self._anatomies = []
        self._seen = []

    def is_at(self, method):
        """Whether the places are known that the maps of `method` lie over."""
        return self.sites is not None and self._place == _place(method)

    def has_seen(self, signature, method):
        """Whether `look` was called with these; if so it is looked at again."""
        for seen in self._seen:
            if seen[:2] == (signature, _place(method)):
                self.signature, self._place, self.anatomy, self.sites, self.layers = (
                    seen
                )
                return True
        return False

    def look(self, model, signature, method, target, logits, reshape):
        """Finds the places.

        Args:
            model: A built `keras.Model`.
            signature: Structure of `tf.TensorSpec`, as the model takes it.
            method: A `method.Method` or `method.Custom`.
            target: See `GradCAM`.
            logits: See `GradCAM`.
            reshape: See `GradCAM`.

        Raises:
            TypeError, ValueError: If there is no such place.
        """
        target = target if callable(target) else None
        found = self._anatomy(model, signature, target, logits, reshape)
        sites = layers = []
        if method.row.needs_layer:
            sites = layers = selection.select(found, self.layer, target)
        if method.row.place == "input":
            sites = selection.inputs(
                found, model, signature, method, self.layer, layers
            )
        self._seen.append((signature, _place(method), found, sites, layers))
        self.has_seen(signature, method)

    def _anatomy(self, model, signature, *arguments):
        for known, found in self._anatomies:
            if known == signature:
                return found
        found = survey.survey(model, signature, *arguments)
        self._anatomies.append((signature, found))
        return found

    def names(self):
        """Name of the place, or a list of names."""
        if self.sites is None:
            return self._given()
        names = [site.name for site in self.layers or self.sites]
        return names if self.several else names[0]

    def layer_names(self):
        """Name of the layer, or a list of names, as a `layer` argument."""
        # The name of an input may be another one when a model is loaded.
        return self.names() if self.layers else self._given()

    def _given(self):
        given = self.layer if self.several else [self.layer]
        names = [getattr(layer, "name", layer) for layer in given]
        return names if self.several else names[0]


def _place(method):
    return method.row.place, method.row.needs_layer
