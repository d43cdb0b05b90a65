"""Where a large job takes its images from: files, or a `tf.data` pipeline."""

import functools

import tensorflow as tf
from keras import tree

from keras_gradcam.execution import model_inputs
from keras_gradcam.jobs.dataset_source import Pipeline
from keras_gradcam.jobs.file_source import Files, paths
from keras_gradcam.pictures import load_image


def of(dataset, cam, load=None, files=None):
    """Returns the source of a `dataset` argument of `explain_dataset`.

    It has a `count`, the number of images, and `names`, a list of those of their files,
    each `None` where that is not known; an `expected` count; and `items(start, stop)`,
    which yields each `Item` from one position to another, and is asked for ranges in
    ascending order.

    Raises:
        TypeError: If there is no such dataset.
        ValueError: If arguments do not go together.
    """
    if isinstance(dataset, tf.data.Dataset):
        if load is not None:
            raise ValueError(
                "Argument `load` reads files, and a `tf.data.Dataset` brings images. "
                "Pass a list of files as `dataset`, or leave out `load`."
            )
        return Pipeline(dataset, cam, files)
    if files is not None:
        raise ValueError(
            "Argument `files` names the images of a `tf.data.Dataset`. Leave it out "
            "where `dataset` is a list of files."
        )
    return Files(paths("dataset", dataset), load or picture_loader(cam.model))


def picture_loader(model):
    """Returns a function that reads a picture file as `picture_size` says."""
    return functools.partial(load_image, target_size=picture_size(model))


def picture_size(model):
    """Returns `(height, width)` of a model's RGB input, `None` if it takes any.

    Raises:
        ValueError: If the model does not take RGB pictures.
    """
    declared = model_inputs.declared_inputs(model)
    shape = tuple(getattr(declared, "shape", ()))
    if declared is not None and (len(shape) != 4 or shape[-1] not in (None, 3)):
        raise ValueError(
            "Argument `load` must be a function from a file to the model's input, as "
            f"this is no RGB picture. Received: load=None, model '{model.name}' with "
            f"inputs {tree.map_structure(lambda x: tuple(x.shape), declared)}"
        )
    return None if declared is None or None in shape[1:3] else shape[1:3]
