"""Inputs of a graph: tensors as the model takes them, and what one graph serves."""

import keras
import numpy as np
import tensorflow as tf
from keras import ops, tree


def as_tensors(images):
    """Returns `images` as `predict` would hand them over, any structure of arrays."""
    return tree.map_structure(_as_tensor, images)


def _as_tensor(x):
    x = ops.convert_to_tensor(x if hasattr(x, "dtype") else np.asarray(x))
    # As `predict` does: NumPy's doubles are not meant as such.
    return ops.cast(x, keras.config.floatx()) if x.dtype == tf.float64 else x


def as_declared(images, declared):
    """Returns inputs in the structure that a model declares, a tuple as a list, say."""
    both = isinstance(images, (list, tuple)) and isinstance(declared, (list, tuple))
    if both and len(tree.flatten(images)) == len(tree.flatten(declared)):
        return tree.pack_sequence_as(declared, tree.flatten(images))
    return images


def in_declared_types(images, declared):
    """Returns inputs in the types that a model declares, as it would cast them itself.

    Pixels are bytes for many users; noise, masks and gradients need what the model
    makes of them.
    """
    if declared is None or _paths(images) != _paths(declared):
        return images
    return tree.map_structure(lambda x, to: ops.cast(x, to.dtype), images, declared)


def are_symbolic(images):
    """Whether a graph, or a functional model, is being built of `images`."""
    return not tf.executing_eagerly() or any(
        keras.backend.is_keras_tensor(x) for x in tree.flatten(images)
    )


def exact(tensors):
    """The signature of graphs for tensors, or declared inputs, of just these shapes."""
    return tree.map_structure(lambda x: tf.TensorSpec(x.shape, x.dtype), tensors)


def free_batch(tensors):
    """The signature of a graph for any batch size."""
    return tree.map_structure(
        lambda x: tf.TensorSpec([None, *x.shape[1:]], x.dtype), tensors
    )


def of_sizes(declared, images):
    """The signature of declared inputs, with the sizes that images have."""
    if _paths(images) != _paths(declared):
        return exact(declared)
    return tree.map_structure(_sized, declared, images)


def _sized(declared, image):
    if image.shape.rank != len(declared.shape):
        return tf.TensorSpec(declared.shape, declared.dtype)
    shape = [*declared.shape[:1], *image.shape[1:]]
    return tf.TensorSpec(shape, declared.dtype)


def free_sizes(tensors, declared):
    """The signature of a graph for any batch size, and any size that was left free.

    Args:
        tensors: Tuple of the images, a structure of tensors, and of other inputs.
        declared: The signature that the model was traced with.
    """
    images, *rest = free_batch(tensors)
    if declared is not None and _paths(images) == _paths(declared):
        images = tree.map_structure(_freed, images, declared)
    return images, *rest


def _freed(spec, declared):
    if spec.shape.rank != len(declared.shape):
        return spec
    pairs = zip(spec.shape, declared.shape, strict=True)
    shape = [None if free is None else length for length, free in pairs]
    return tf.TensorSpec(shape, spec.dtype)


def _paths(nested):
    return [path for path, _ in tree.flatten_with_path(nested)]


def first_sample(images):
    """A batch of one, with values only where `images` have some."""
    return tree.map_structure(_first, images)


def _first(image):
    if tf.is_symbolic_tensor(image):
        return tf.zeros([1, *image.shape[1:]], image.dtype)
    return image[:1]


def padded(tensors, count):
    """Appends `count` copies of the first sample to a batch."""
    if not count:
        return tensors
    return tree.map_structure(lambda x: ops.concatenate([x] + [x[:1]] * count), tensors)
