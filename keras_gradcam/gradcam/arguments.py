"""Checks what users pass to `GradCAM`, and says what is wrong with it."""

import functools

import keras
import numpy as np
import tensorflow as tf
from keras import ops

from keras_gradcam.evidence import gathering
from keras_gradcam.maps import normalization
from keras_gradcam.option_checks import are_ints


def check_options(options):
    """Raises if one of the arguments of `GradCAM` has a value that it cannot have.

    Args:
        options: Dict of some of them by name. What needs the model is not checked.
    """
    for name, value in options.items():
        if name in CHECKS:
            CHECKS[name](value)


def check_target(target):
    """Returns `target` with a sequence as an array; raises if it is no target."""
    if callable(target):
        check_hashable(target=target)
        return target
    if target is None or is_true_label(target):
        return target
    is_symbolic = isinstance(target, tf.Tensor) and tf.is_symbolic_tensor(target)
    array = target if is_symbolic else np.asarray(target)
    if len(array.shape) > 1 or not tf.as_dtype(array.dtype).is_integer:
        received = target if is_symbolic else short(target)
        raise TypeError(
            "Argument `target` must be None, an int, a sequence with one int for each "
            "sample, 'true', or a callable from the model's outputs to scores "
            "`(batch,)`. One-hot labels become ints with `np.argmax(labels, -1)`. "
            f"Received: target={received} of type {type(target).__name__}"
        )
    return array if len(array.shape) or is_symbolic else int(array)


def is_true_label(target):
    """Whether `target` asks for the label that the data bring along."""
    return isinstance(target, str) and target == "true"


def class_of(labels):
    """Returns one class for each sample from a dataset's labels, ints or one-hot.

    Args:
        labels: Tensor `(batch,)` or `(batch, 1)` of ints, or `(batch, classes)`.
    """
    if labels is None:
        raise ValueError(
            "With `target='true'` the data must bring labels: pass a dataset of "
            "`(images, labels)` to `predict`, or labels to each call, "
            "`cam(images, target=labels)`."
        )
    labels = ops.convert_to_tensor(labels)
    if len(labels.shape) == 2 and labels.shape[1] > 1:
        return ops.argmax(labels, axis=-1)
    return ops.cast(ops.reshape(labels, (-1,)), "int32")


def check_predict(target, normalize, devices):
    """Raises if a `predict` needs to know where a batch begins, or comes too late."""
    if normalize == "batch" and devices > 1:
        raise ValueError(
            "Under a strategy each of several devices has its own share of a batch, and"
            " its own peak. Take `normalize=None` and divide by the largest. Received: "
            f"normalize={normalize!r}"
        )
    if target is not None and devices > 1:
        raise ValueError(
            "Under a strategy with several devices the target is part of the graph: "
            "pass `target` to `GradCAM` instead of `predict`. Received: "
            f"target={short(target)}"
        )
    if getattr(check_target(target), "ndim", 0) == 1:
        raise ValueError(
            "`predict` takes no sequence of classes as `target`, because it does not "
            "know where a batch begins. Pass `target='true'` and a dataset of "
            f"`(images, classes)`. Received: target={short(target)}"
        )


def check_flag(name, value):
    if not isinstance(value, (bool, np.bool_)):
        raise TypeError(
            f"Argument `{name}` must be True or False. Received: {name}={value!r} of "
            f"type {type(value).__name__}"
        )
    return bool(value)


def check_reshape(reshape):
    """Returns `reshape`, a size as a tuple."""
    if reshape is None or callable(reshape):
        return reshape
    if not are_ints(reshape, least_rank=1) or np.min(reshape) < 1:
        raise ValueError(
            "Argument `reshape` must be the size of the grid that tokens make, such as "
            "`(14, 14)`, a callable from the layer's output to `(batch, *grid, "
            f"channels)`, or None. Received: reshape={reshape!r}"
        )
    return tuple(int(length) for length in reshape)


def check_hashable(**values):
    """Raises if one of several arguments cannot be told from others by a graph."""
    for name, value in values.items():
        try:
            hash(value)
        except TypeError:
            raise TypeError(
                f"Argument `{name}` must be hashable, as equal ones share one compiled "
                "graph. Give its class a method `__hash__`, or pass a function. "
                f"Received: {name}={value!r} of type {type(value).__name__}"
            ) from None


def check_jit_compile(jit_compile):
    is_auto = isinstance(jit_compile, str) and jit_compile == "auto"
    if not isinstance(jit_compile, bool) and not is_auto:
        raise ValueError(
            "Argument `jit_compile` must be True, False or 'auto'. Received: "
            f"jit_compile={jit_compile!r}"
        )
    return jit_compile


def check_resize(resize):
    if isinstance(resize, bool):
        return resize
    size = np.atleast_1d(resize)
    if size.ndim != 1 or size.dtype.kind not in "iu" or (size < 1).any():
        raise ValueError(
            "Argument `resize` must be True (the input's size), False (the layer's "
            "grid) or a size of positive ints such as `(height, width)`. "
            f"Received: resize={resize!r}"
        )
    return tuple(int(length) for length in size)


def check_output_dtype(output_dtype, activation, normalize):
    if output_dtype not in (None, *normalization.OUTPUT_DTYPES):
        raise ValueError(
            "Argument `output_dtype` must be one of "
            f"{list(normalization.OUTPUT_DTYPES)} or None. Received: "
            f"output_dtype={output_dtype!r}"
        )
    in_unit = normalize == "minmax" or (activation == "relu" and normalize is not None)
    if output_dtype == "uint8" and not in_unit:
        raise ValueError(
            "Argument `output_dtype='uint8'` needs maps in [0, 1]: leave "
            "`activation='relu'` and `normalize='max'`, take `normalize='minmax'`, or "
            "keep signed and raw values with `output_dtype='float16'`. Received: "
            f"activation={activation!r}, normalize={normalize!r}"
        )
    return output_dtype


def check_layer(layer):
    for one in layer if isinstance(layer, (list, tuple)) else [layer]:
        if one is not None and not isinstance(one, (str, keras.Layer, keras.Operation)):
            raise TypeError(
                "Argument `layer` must be a layer's name, a `keras.Layer`, a list of "
                f"these, or None. Received: layer={one!r} of type {type(one).__name__}"
            )
    if isinstance(layer, (list, tuple)) and not layer:
        raise ValueError(
            "Argument `layer` must have one layer at least, or be None for the default "
            f"layer. Received: layer={layer!r}"
        )
    return layer


def check_fuse(fuse, several, activation, method):
    if fuse is not None and method.row.joins_depths:
        raise ValueError(
            f"Argument `fuse` has nothing to do for method {method!r}, which makes one "
            f"map of all its layers. Leave it out. Received: fuse={fuse!r}"
        )
    if fuse == "product" and activation is None:
        raise ValueError(
            "Argument `fuse='product'` multiplies maps, and two that speak against the "
            "target would speak for it. Leave `activation='relu'`, or take another "
            f"fusion. Received: activation={activation!r}"
        )
    if fuse is not None and not several:
        raise ValueError(
            "Argument `fuse` makes one map of those of several layers: pass a list as "
            f"`layer`, such as `layer=['early', 'late']`. Received: fuse={fuse!r}"
        )


def check_gradient_rules(gradient_rules, method):
    """Returns the rules for the gradients of a method, its own if it has any."""
    if gradient_rules not in (None, *gathering.GRADIENT_RULES):
        raise ValueError(
            "Argument `gradient_rules` must be one of "
            f"{list(gathering.GRADIENT_RULES)} or None. Received: "
            f"gradient_rules={gradient_rules!r}"
        )
    own = method.row.gradient_rules
    if gradient_rules not in (None, own) and own is not None:
        raise ValueError(
            f"Method {method!r} has the rules {own!r} for its gradients. Leave out "
            f"`gradient_rules`. Received: gradient_rules={gradient_rules!r}"
        )
    if gradient_rules and method.row.evidence in gathering.WITHOUT_GRADIENTS:
        raise ValueError(
            f"Method {method!r} takes no gradients that rules could change. Leave out "
            f"`gradient_rules`, or take another method. Received: "
            f"gradient_rules={gradient_rules!r}"
        )
    return gradient_rules or own


def check_chunk_size(chunk_size):
    if chunk_size is None:
        return None
    whole = isinstance(chunk_size, (int, np.integer)) and chunk_size is not True
    if not whole or chunk_size < 1:
        raise ValueError(
            "Argument `chunk_size` must be the number of inputs to run at once, an int "
            f"from 1 on, or None. Received: chunk_size={chunk_size!r}"
        )
    return int(chunk_size)


def check_classes(target, length, count):
    """Raises unless `target` has a class for each sample, and only classes that exist.

    Args:
        target: An int, or an array or tensor of ints.
        length: Number of samples, `None` where unknown.
        count: Number of classes, `None` where unknown.
    """
    target = np.asarray(target)
    if target.ndim == 1 and length not in (None, len(target)):
        raise ValueError(
            f"Argument `target` has {len(target)} classes for a batch of {length} "
            "images. Pass one class for each image, or one int for all of them. "
            f"Received: target={short(target)}"
        )
    wrong = target[(target < 0) | (target >= (count or np.inf))]
    if wrong.size and count == 1:
        raise ValueError(
            "Argument `target` must be 0: the model has one output and no sigmoid that "
            "would make it two classes. `targets.binary(label)` explains either side "
            f"of a logit. Received: target={short(wrong)}"
        )
    if wrong.size and count is None:
        raise ValueError(
            f"Argument `target` must be 0 or above. Received: target={short(wrong)}"
        )
    if wrong.size:
        raise ValueError(
            f"Argument `target` must be in the range 0 to {count - 1}: the model has "
            f"{count} classes. Received: target={short(wrong)}"
        )


def short(target):
    return np.array2string(np.asarray(target), threshold=8, separator=", ")


CHECKS = {
    "layer": check_layer,
    "resize": check_resize,
    "reshape": check_reshape,
    "chunk_size": check_chunk_size,
    "jit_compile": check_jit_compile,
    "logits": functools.partial(check_flag, "logits"),
}
