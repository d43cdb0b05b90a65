"""`explain`: Grad-CAM in one line."""

import numpy as np
from keras import ops, tree

from keras_gradcam.execution import model_inputs
from keras_gradcam.gradcam import GradCAM


def explain(model, image, target=None, layer=None, **options):
    """Returns the heatmap of one image, or of a batch: Grad-CAM in one line.

    Each call traces the model, which takes about a second. For more than one call make
    a `GradCAM` and keep it.

    Args:
        model: A `keras.Model`.
        image: One image `(height, width, channels)`, or a batch of images, as the model
            takes it.
        target: See `GradCAM`; for one image an int is enough. Defaults to `None`, the
            predicted class.
        layer: See `GradCAM`. Defaults to `None`.
        **options: Other arguments of `GradCAM`.

    Returns:
        NumPy float32 `(height, width)` for one image, `(batch, height, width)` for a
        batch, by default in [0, 1]. A list of these if `layer` is a list, a dict if
        `return_predictions=True`.

    Example:

    ```python
    heatmap = explain(model, image, target=3)
    ```
    """
    cam = GradCAM(model, layer=layer, **options)
    declared = model_inputs.declared_inputs(model)
    # A model that declares nothing takes images.
    rank = 4 if declared is None else len(getattr(declared, "shape", ()))
    if not isinstance(image, (list, tuple, dict)):
        image = image if hasattr(image, "ndim") else np.asarray(image)
    single = getattr(image, "ndim", None) == rank - 1
    result = cam(image[None] if single else image, target=target)
    result = tree.map_structure(ops.convert_to_numpy, result)
    return tree.map_structure(lambda x: x[0], result) if single else result
