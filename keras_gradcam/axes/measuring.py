"""Measures where the cells of a tensor lie, where no rule tells.

The gradient of one cell with respect to an input has its weight around the place that
the cell belongs to. For some cells along each axis this finds the centre of that weight
on each axis of each input: an axis of the tensor runs along the one where the centre
moves evenly with the number of the cell, and stands still along the others.
"""

import itertools

import numpy as np
import tensorflow as tf

from keras_gradcam.axes.tensor_axes import BATCH, Axis, Digit, Field, TensorAxes

# So many cells along each axis, none of them at an end, where the centre is cut off.
CELLS = 6

# How evenly the centre must move, and how far, as a share of what would be the whole.
CORRELATION = 0.98
SHARE = 0.3

# How far it may wander along the other axes, as a share of their lengths. Of tokens in
# rows it moves down, and also to and fro.
STILL = 0.2


def cells_of(length):
    """The numbers of the cells to ask for along an axis."""
    if length is None or length < 3:
        return ()
    cells = np.linspace(0.15, 0.85, CELLS) * (length - 1)
    return tuple(np.unique(cells.astype(int)).tolist())


def weights(tensors, inputs):
    """Builds the measurement of tensors in their graph.

    Args:
        tensors: List of tensors of a graph, of static shapes.
        inputs: List of the tensors of a model's flattened inputs.

    Returns:
        A structure of tensors, for `found_in`: for each tensor, axis and cell a list
        with the weight of the gradient at each cell of each input.
    """
    floats = [x for x in inputs if x.dtype.is_floating]
    return [
        {
            (axis, cell): squares
            for axis in range(1, tensor.shape.rank)
            for cell, squares in _along(tensor, axis, floats)
        }
        for tensor in tensors
    ]


def _along(tensor, axis, inputs):
    """Yields cells of an axis, each with the weight of its gradient at the inputs.

    Each sample of the batch is asked for another cell: one pass back tells of several.
    """
    cells, samples = cells_of(tensor.shape[axis]), tensor.shape[0]
    for first in range(0, len(cells), samples):
        some = cells[first : first + samples]
        padded = [*some, *[some[-1]] * (samples - len(some))]
        squares = _squares(_cells(tensor, axis, padded), inputs)
        yield from (
            (cell, [each[n] for each in squares]) for n, cell in enumerate(some)
        )


def _cells(tensor, axis, cells):
    """A sum of all values in one cell for each sample, with random signs."""
    part = tf.gather(tensor, tf.constant(cells)[:, None], axis=axis, batch_dims=1)
    signs = np.random.default_rng(0).choice([-1.0, 1.0], part.shape[1:])
    return tf.reduce_sum(part * tf.constant(signs[None], part.dtype))


def _squares(score, inputs):
    gradients = tf.gradients(score, inputs, unconnected_gradients="zero")
    # The largest first: squares of 1e-30 are no floats.
    peaks = [tf.reduce_max(tf.abs(gradient)) for gradient in gradients]
    return [
        tf.math.divide_no_nan(gradient, peak) ** 2
        for gradient, peak in zip(gradients, peaks, strict=True)
    ]


def found_in(measured, tensors, inputs):
    """Reads the axes of tensors off what `weights` has measured.

    Args:
        measured: The structure of `weights`, in NumPy.
        tensors: As for `weights`.
        inputs: As for `weights`.

    Returns:
        Dict from the name of each tensor to its `TensorAxes`.
    """
    numbers = [n for n, x in enumerate(inputs) if x.dtype.is_floating]
    return {
        tensor.name: _axes_of(tensor, one, numbers)
        for tensor, one in zip(tensors, measured, strict=True)
    }


def _axes_of(tensor, measured, numbers):
    axes = [Axis((Digit(tensor.shape[0], ((BATCH, 1.0),)),))]
    fields = _seen_of(measured, numbers)
    taken = {}
    for axis in range(1, tensor.shape.rank):
        cells = cells_of(tensor.shape[axis])
        centres = [_centres(measured[axis, cell], numbers) for cell in cells]
        found = _moving(cells, centres, tensor.shape[axis], fields)
        if len(found) == 1:
            taken[axis] = found[0]
    taken = _best_of_each_key(taken, tensor)
    for axis, length in enumerate(tensor.shape.as_list()[1:], start=1):
        key, start, step = taken.get(axis, (None, 0.0, 0.0))
        axes.append(Axis((Digit(length, ((key, step),) if key else ()),)))
        if key:
            fields[key] = fields[key]._replace(low=start, high=start)
    return TensorAxes(tuple(axes), fields)


def _best_of_each_key(taken, tensor):
    """One axis along each axis of an input: three channels lie on a line by chance."""
    best = {}
    for axis, (key, *_, correlation) in taken.items():
        best[key] = max(
            best.get(key, ()), (len(cells_of(tensor.shape[axis])), correlation, axis)
        )
    return {axis: taken[axis][:3] for *_, axis in best.values()}


def _moving(cells, centres, length, fields):
    """Where the centre moves along a line: `(key, start, step, correlation)`.

    Nothing where it moves along several, or wanders.
    """
    found = []
    for key in sorted({key for each in centres for key in each}):
        # A unit that is off passes no gradient on, and tells nothing.
        telling = [n for n, each in enumerate(centres) if key in each]
        along = [centres[n][key] for n in telling]
        line = _line([cells[n] for n in telling], along)
        whole = fields[key].last + 1 if key in fields else 0
        if line and abs(line[1]) * length >= SHARE * whole:
            found.append((key, *line))
        elif np.ptp(along) > STILL * whole:
            found.append(None)
    return found if None not in found else []


def _centres(squares, numbers):
    """The centre of the weight on each axis of each input."""
    found = {}
    for number, values in zip(numbers, squares, strict=True):
        for axis, profile in _profiles(values):
            total = profile.sum()
            if total > 0:
                places = np.arange(len(profile))
                found[number, axis] = float((profile * places).sum() / total)
    return found


def _profiles(values):
    """The sums over all axes but one, for each of them."""
    for axis in range(values.ndim):
        others = tuple(n for n in range(values.ndim) if n != axis)
        yield axis + 1, values.sum(others, dtype="float64")


def _line(cells, centres):
    """Start, step and correlation of a line through centres, `None` for no line."""
    if len(cells) < 3 or np.ptp(centres) == 0:
        return None
    correlation = abs(np.corrcoef(cells, centres)[0, 1])
    if correlation < CORRELATION:
        return None
    # Medians: the centre of a cell that looks over an end of the input is not its own.
    pairs = itertools.combinations(zip(cells, centres, strict=True), 2)
    step = np.median([(y - x) / (b - a) for (a, x), (b, y) in pairs])
    start = np.median(np.subtract(centres, np.multiply(step, cells)))
    return float(start), float(step), float(correlation)


def _seen_of(measured, numbers):
    """The cells of each input that have any weight."""
    fields = {}
    groups = itertools.zip_longest(*measured.values())
    for number, squares in zip(numbers, groups, strict=False):
        for axis, profile in _profiles(sum(squares)):
            (cells,) = np.nonzero(profile)
            if len(cells):
                first, last = float(cells[0]), float(cells[-1])
                fields[number, axis] = Field(first, last, first, last)
    return fields
