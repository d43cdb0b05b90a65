"""From a model's outputs to one score per sample.

A target is a callable from the model's outputs to scores `(batch,)`. With
`GradCAM(logits=True)` the outputs that it receives are logits wherever the model ends
in a softmax or sigmoid.
"""

from keras import ops, tree

from keras_gradcam.logits import find_logits


def scores(outputs, target, classes, logits=True):
    """Scores a model's outputs as a `target` argument of `GradCAM` says.

    Args:
        outputs: The model's outputs.
        target: `None` for classes, or a callable.
        classes: Integer tensor `(batch,)`, or `None` for the predicted classes.
        logits: See `class_columns`.

    Returns:
        Tensor `(batch,)`, or `(batch, n)` from a callable that explains n things at
        once.

    Raises:
        ValueError: If a callable returns another shape, or if there are several
            outputs and no callable to choose.
    """
    if callable(target):
        return _called(target, with_logits(outputs) if logits else outputs)
    columns = class_columns(outputs, logits)
    return predicted_class(columns) if classes is None else of_class(columns, classes)


def basis(outputs, target, logits=True):
    """What scores are taken of: tells which layers they can depend on.

    Args:
        outputs: The model's outputs.
        target: See `scores`.
        logits: See `class_columns`.

    Returns:
        A structure of tensors.
    """
    if callable(target):
        return scores(outputs, target, None, logits)
    return with_logits(outputs) if logits else outputs


def _called(target, outputs):
    scores = target(outputs)
    shape = getattr(scores, "shape", None)
    if shape is None or len(shape) not in (1, 2):
        received = f"shape {tuple(shape)}" if shape is not None else repr(scores)
        raise ValueError(
            "A callable `target` must return one score for each sample, a tensor "
            f"`(batch,)`, or several, `(batch, n)`. It returned {received}. Received: "
            f"target={target}"
        )
    return scores


def predicted_class(columns):
    """The score of each sample's highest class.

    Args:
        columns: Tensor `(batch, classes)`, see `class_columns`.

    Returns:
        Tensor `(batch,)`.
    """
    # Not the maximum: its gradient is shared out between classes that tie.
    return of_class(columns, ops.argmax(columns, axis=-1))


def of_class(columns, classes):
    """The score of one class for each sample.

    Args:
        columns: Tensor `(batch, classes)`, see `class_columns`.
        classes: Integer tensor `(batch,)`.

    Returns:
        Tensor `(batch,)`.
    """
    classes = ops.expand_dims(classes, -1)
    return ops.squeeze(ops.take_along_axis(columns, classes, axis=-1), -1)


def class_columns(outputs, logits=True):
    """One column of scores for each class of a classifier.

    A single sigmoid unit has two classes: the score of class 0 is the negative logit,
    or one minus the probability. Outputs with a grid, as in segmentation, are averaged
    over it.

    Args:
        outputs: The model's outputs: one tensor `(batch, *grid, classes)`, or
            `(batch,)`.
        logits: Whether the scores are the logits behind a softmax or sigmoid, where
            there is one, or the outputs themselves. Defaults to `True`.

    Returns:
        Tensor `(batch, classes)`.

    Raises:
        ValueError: If the model has several outputs.
    """
    output = _only_output(outputs)
    found = find_logits(output)
    columns = output if found is None or not logits else found
    if len(columns.shape) == 1:
        columns = ops.expand_dims(columns, -1)
    columns = ops.mean(columns, axis=tuple(range(1, len(columns.shape) - 1)))
    if found is None or columns.shape[-1] != 1:
        return columns
    other = -columns if logits else 1.0 - columns
    return ops.concatenate([other, columns], axis=-1)


def count_classes(outputs):
    """Number of classes of a classifier's outputs, `None` where that is unknown."""
    if len(tree.flatten(outputs)) != 1:
        return None
    columns = class_columns(outputs)
    return columns.shape[-1] if len(columns.shape) == 2 else None


def _only_output(outputs):
    flat = tree.flatten(outputs)
    if len(flat) == 1:
        return flat[0]
    shapes = tree.map_structure(lambda x: tuple(x.shape), outputs)
    raise ValueError(
        "The model has several outputs, so `target` must say which one to explain: "
        "pass a callable, for instance `target=lambda outputs: outputs[0][:, 3]`, or "
        f"with names `outputs['name'][:, 3]`. The outputs have shapes {shapes}."
    )


def with_logits(outputs):
    """Replaces each output by the logits behind it, where there are any.

    Args:
        outputs: The model's outputs, any structure of tensors.

    Returns:
        The same structure.
    """

    def logits_of(output):
        logits = find_logits(output)
        return output if logits is None else logits

    return tree.map_structure(logits_of, outputs)
