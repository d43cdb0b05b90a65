"""True labels as users write them."""

import numpy as np

NO_LABELS = (
    "Labels must have one class, an int from 0, for each sample, or a one-hot or "
    "multi-hot row for each."
)


def labels_of(rows):
    """Returns the label of each sample.

    Args:
        rows: List with what is said of each sample: an int, an array `(1,)`, a one-hot
            row `(classes,)` (a distribution counts as such, where one class is above a
            half) or a multi-hot one, or `None`.

    Returns:
        List of labels.

    Raises:
        ValueError: If `rows` are something else: the values of a regression, the masks
            of a segmentation.
    """
    if any(row is None for row in rows):
        return [None] * len(rows)
    rows = np.asarray(rows)
    if rows.ndim == 2 and rows.shape[1] == 1:
        rows = rows[:, 0]
    are_numbers = rows.dtype.kind in "iufb" and rows.ndim in (1, 2)
    if not are_numbers or not (rows >= 0).all():
        raise ValueError(NO_LABELS)
    if rows.ndim == 2 and np.allclose(rows.sum(-1), 1):
        # Of labels that were mixed half and half there is no one class.
        return [int(row.argmax()) if row.max() > 0.5 else None for row in rows]
    if rows.ndim == 1 and (rows == rows // 1).all():
        return [int(label) for label in rows]
    if rows.ndim == 2 and np.isin(rows, (0, 1)).all():
        return [tuple(map(int, np.flatnonzero(row))) for row in rows]
    raise ValueError(NO_LABELS)


def labels_or_none(rows):
    """Returns `labels_of(rows)`, `None` for each sample if these are no labels."""
    try:
        return labels_of(rows)
    except ValueError:
        return [None] * len(rows)


def classes_in(label):
    """The classes of a label as a tuple."""
    return label if isinstance(label, tuple) else () if label is None else (label,)
