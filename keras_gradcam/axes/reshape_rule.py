"""The rule of reshaping: digits are regrouped, as cells keep their order."""

import math

from keras_gradcam.axes.operations import shape_of
from keras_gradcam.axes.tensor_axes import BATCH, ONE, Axis, Digit, Field
from keras_gradcam.graphs import constant_value

# What an axis of a picture is named that is made of a flat input.
VIEW = "view"

# Stands for the length of a free batch: a prime tells its multiples apart.
FREE = 999_983


def reshape(operation, operands):
    old, shape = operands[0], shape_of(operation.outputs[0])
    viewed = _view_of_flat(old, shape)
    if viewed is not None:
        return [viewed]
    atoms = [atom for axis in old.axes for atom in _atoms(axis)]
    lengths = _lengths(operation, shape, atoms)
    if lengths is not None:
        atoms, shape = [_numbered(atom) for atom in atoms], lengths
    axes = []
    for length in shape:
        axes.append(_taken(atoms, length))
    if atoms:
        raise ValueError("cells are left")
    return [old._replace(axes=tuple(_freed(axis) for axis in axes))]


def _lengths(operation, shape, atoms):
    """The new lengths, where the batch alone is free, as multiples of `FREE`."""
    is_free = [atom.length is None for atom in atoms]
    if None not in shape or sum(is_free) != 1 or isinstance(atoms[0], Axis):
        return None
    asked = constant_value(operation.inputs[1], FREE) if is_free[0] else None
    if asked is None:
        return None
    cells = math.prod(_numbered(atom).length for atom in atoms)
    known = math.prod(int(n) for n in asked if n != -1)
    return [cells // known if n == -1 else int(n) for n in asked]


def _numbered(atom):
    return atom._replace(length=FREE) if atom.length is None else atom


def _freed(axis):
    digits = [d._replace(length=None) if d.length == FREE else d for d in axis.digits]
    return axis._replace(digits=tuple(digits))


def _atoms(axis):
    """What an axis is taken apart to: digits, or itself where it has a prefix."""
    if axis.prefix or axis.suffix:
        return [axis]
    return [digit for digit in axis.digits if digit.length != 1]


def _taken(atoms, length):
    """Takes an axis of some length from the beginning of the atoms."""
    if length == 1:
        return ONE
    if length is None:
        return Axis((atoms.pop(0),))
    digits, left = [], length
    while left > 1:
        atom = _at_most(atoms, left)
        left //= atom.length
        digits.append(atom)
    if len(digits) == 1 and isinstance(digits[0], Axis):
        return digits[0]
    return Axis(_merged(digits))


def _at_most(atoms, length):
    """The first atom, or the part of it that is no longer than `length`."""
    atom = atoms.pop(0)
    if length % atom.length == 0:
        return atom
    if isinstance(atom, Axis) or atom.length % length:
        raise ValueError("lengths that do not divide")
    inner = atom.length // length
    atoms.insert(0, atom._replace(length=inner))
    return atom.times(inner)._replace(length=length)


def _merged(digits):
    """Joins neighbouring digits that count on: the rows of windows, say."""
    merged = []
    for digit in digits:
        last = merged[-1] if merged else None
        both = isinstance(last, Digit) and isinstance(digit, Digit)
        if both and last.steps == digit.times(digit.length).steps:
            merged[-1] = digit._replace(length=last.length * digit.length)
        else:
            merged.append(digit)
    return tuple(merged)


def _view_of_flat(old, shape):
    """The axes of a picture that is made of a flat input: they are its own."""
    cells = [n for n in shape[1:] if n != 1]
    first = old.axes[1] if len(old.axes) > 1 else ONE
    is_input = (
        len(first.digits) == 1
        and len(first.digits[0].steps) == 1
        and first.digits[0].steps[0][1] == 1.0
        and all(axis.length == 1 for axis in old.axes[2:])
        and len(old.fields) == len(old.axes) - 1
        and all(field[:2] == (0.0, 0.0) for field in old.fields.values())
    )
    if not is_input or len(cells) < 2 or None in shape[1:]:
        return None
    ((key, _),) = first.digits[0].steps
    if key == BATCH or isinstance(key[1], tuple):
        return None
    axes, fields = [old.axes[0]], {}
    for n, length in enumerate(shape[1:]):
        new = (key[0], (VIEW, tuple(shape[1:]), n))
        axes.append(Axis((Digit(length, ((new, 1.0),)),)))
        fields[new] = Field(0.0, 0.0, 0.0, length - 1.0)
    return old._replace(axes=tuple(axes), fields=fields)
