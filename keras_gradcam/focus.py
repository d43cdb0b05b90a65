"""What a `GradCAM` looks at: the places of a model that its maps lie over."""

from keras_gradcam import selection, survey


class View:
    """The places for one kind of input; never changed, and one graph's own.

    Attributes:
        signature: Structure of `tf.TensorSpec` that the model was traced with.
        anatomy: The model's `anatomy.Anatomy`.
        sites: List of `anatomy.Site` that the maps lie over.
        layers: List of `anatomy.Site` of layers: `sites`, or one for each of them if
            these are inputs and the method needs a layer, too.
    """

    def __init__(self, signature, anatomy, sites, layers):
        self.signature = signature
        self.anatomy = anatomy
        self.sites = sites
        self.layers = layers

    @property
    def names(self):
        return [site.name for site in self.layers or self.sites]


class Focus:
    """The places that a `layer` argument stands for.

    Out of sight of Keras, which would track the layers.

    Args:
        layer: See `GradCAM`.

    Attributes:
        several: Whether it is a list.
        view: The last `View`, `None` until the model was looked at.
    """

    def __init__(self, layer):
        self.layer = layer
        self.several = isinstance(layer, (list, tuple))
        self.view = None
        self._anatomies = []
        self._views = []

    def at(self, model, signature, method, target, logits, reshape):
        """Finds the places, or returns what was found before.

        Args:
            model: A built `keras.Model`.
            signature: Structure of `tf.TensorSpec`, as the model takes it.
            method: A `method.Method` or `method.Custom`.
            target: See `GradCAM`.
            logits: See `GradCAM`.
            reshape: See `GradCAM`.

        Returns:
            A `View`.

        Raises:
            TypeError, ValueError: If there is no such place.
        """
        target = target if callable(target) else None
        asked = signature, target, logits
        kind = method.row.place, method.row.needs_layer
        view = _known(self._views, (*asked, kind))
        if view is None:
            anatomy = _known(self._anatomies, asked)
            if anatomy is None:
                anatomy = survey.survey(model, signature, target, logits, reshape)
                self._anatomies.append((asked, anatomy))
            view = self._new(model, signature, method, target, anatomy)
            self._views.append(((*asked, kind), view))
        self.view = view
        return view

    def _new(self, model, signature, method, target, anatomy):
        sites = layers = []
        if method.row.needs_layer:
            sites = layers = selection.select(anatomy, self.layer, target)
        if method.row.place == "input":
            sites = selection.inputs(
                anatomy, model, signature, method, self.layer, layers
            )
        return View(signature, anatomy, sites, layers)

    def names(self):
        """Name of the place, or a list of names."""
        return self.given() if self.view is None else self._shaped(self.view.names)

    def layer_names(self):
        """Name of the layer, or a list of names, as a `layer` argument."""
        # The name of an input may be another one when a model is loaded.
        return self.names() if self.view and self.view.layers else self.given()

    def given(self):
        """What was passed as `layer`, layers by their names."""
        given = self.layer if self.several else [self.layer]
        return self._shaped([getattr(layer, "name", layer) for layer in given])

    def _shaped(self, names):
        return names if self.several else names[0]


def _known(found, key):
    return next((value for other, value in found if other == key), None)
