"""What a model takes: the inputs that it declares, and whether others fit."""

import keras
from keras import tree

# The packages that Keras 2 is in.
KERAS_2 = ("tf_keras.", "tensorflow.python.keras.")

FROM_KERAS_2 = (
    "Unset the variable `TF_USE_LEGACY_KERAS`, import `keras` and build the model anew;"
    " or save the one of Keras 2 with `model.save('model.h5')` and load this with "
    "`keras.models.load_model`."
)


def check_model(model):
    if isinstance(model, keras.Model):
        return
    modules = [each.__module__ for each in type(model).__mro__]
    received = f"model={model!r} of type {modules[0]}.{type(model).__name__}"
    if any(module.startswith(KERAS_2) for module in modules):
        raise TypeError(
            "Argument `model` is a model of Keras 2, and must be one of Keras 3. "
            f"{FROM_KERAS_2} Received: {received}"
        )
    raise TypeError(
        f"Argument `model` must be a `keras.Model` (Keras 3). Received: {received}"
    )


def declared_inputs(model):
    """The inputs that a model declares.

    Args:
        model: A `keras.Model`.

    Returns:
        Structure of `KerasTensor` as the model takes it, a single tensor where it has
        one input, or `None` for a model that takes what it is called with: a subclassed
        one, or one that is not built yet.
    """
    if not hasattr(model, "inputs"):
        return None
    struct = getattr(model, "_inputs_struct", model.inputs)
    flat = tree.flatten(struct)
    return flat[0] if len(flat) == 1 else struct


def input_names(model, signature):
    """Names of a model's flattened inputs: their own, or where they are in the inputs.

    Args:
        model: A `keras.Model`.
        signature: Structure of `tf.TensorSpec`, as the model takes it.
    """
    declared = tree.flatten(declared_inputs(model))
    paths = [path for path, _ in tree.flatten_with_path(signature)]
    if len(declared) == len(paths) and all(hasattr(x, "name") for x in declared):
        return [x.name for x in declared]
    return ["".join(f"[{key}]" for key in path) or "input" for path in paths]


def check_images(declared, images):
    if declared is None:
        return
    flat, expected = tree.flatten(images), tree.flatten(declared)
    if len(flat) != len(expected):
        raise ValueError(
            f"The model takes {len(expected)} input(s). Received {len(flat)}. Several "
            "images of one size go into one array, `np.stack(images)`."
        )
    for image, spec in zip(flat, expected, strict=True):
        shape, wanted = tuple(image.shape), tuple(spec.shape)
        if len(shape) == len(wanted) - 1:
            raise ValueError(
                f"Argument `images` must be a batch of shape {wanted}. Received one "
                f"sample of shape {shape}. Pass `images[None]`."
            )
