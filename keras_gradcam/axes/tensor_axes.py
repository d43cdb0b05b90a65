"""The axes of a tensor, and where their cells lie in a model's inputs.

An axis is written in digits, like a number: the tokens of a grid of 14 x 14 patches are
one axis of two digits. Each digit has a length, and says how far one step of it moves
in the inputs: `((input, axis), step)`. Reshaping then only regroups digits.
"""

import math
from typing import NamedTuple

# What the digit of the batch runs along.
BATCH = "batch"


class Digit(NamedTuple):
    """One digit of an axis.

    Attributes:
        length: How many values it has, `None` where that is free.
        steps: Tuple of pairs `(key, step)`: a step of the digit moves by `step` along
            `key`, which is `(input, axis)` or `BATCH`.
    """

    length: int | None
    steps: tuple = ()

    def times(self, factor):
        return self._replace(steps=tuple((k, s * factor) for k, s in self.steps))


class Axis(NamedTuple):
    """One axis of a tensor.

    Attributes:
        digits: Tuple of `Digit`, the slowest first; or of `Axis`, such as the tokens
            of all samples in one axis, where these begin with a class token.
        prefix: How many cells come before those of the digits, such as a class token.
        suffix: How many come behind them.
    """

    digits: tuple = ()
    prefix: int = 0
    suffix: int = 0

    @property
    def steps(self):
        """The steps of all digits."""
        return tuple(pair for digit in self.digits for pair in digit.steps)

    @property
    def is_mapped(self):
        return bool(self.steps)

    @property
    def is_plain(self):
        """Whether it is one digit and nothing else."""
        plain = len(self.digits) == 1 and isinstance(self.digits[0], Digit)
        return plain and not (self.prefix or self.suffix)

    def flat(self):
        """All digits, those of nested axes, too."""
        for digit in self.digits:
            yield from digit.flat() if isinstance(digit, Axis) else [digit]

    def each(self, change):
        """The same with each digit changed, those of nested axes, too."""
        digits = tuple(
            digit.each(change) if isinstance(digit, Axis) else change(digit)
            for digit in self.digits
        )
        return self._replace(digits=digits)

    def renamed(self, keys):
        """The same with other keys."""
        return self.each(
            lambda digit: digit._replace(
                steps=tuple((keys.get(k, k), s) for k, s in digit.steps)
            )
        )

    @property
    def length(self):
        count = self.prefix + self.suffix
        product = 1
        for digit in self.digits:
            if digit.length is None:
                return None
            product *= digit.length
        return count + product


class Field(NamedTuple):
    """What the cell 0 of a tensor sees of an axis of an input, its receptive field.

    Attributes:
        low: The first cell of the input that it depends on; below 0 in a padding.
        high: The last one.
        first: The first cell of the input that any cell of the tensor depends on.
        last: The last one.
    """

    low: float
    high: float
    first: float
    last: float

    def moved(self, low, high):
        return self._replace(low=self.low + low, high=self.high + high)

    def joined(self, other):
        return Field(
            min(self.low, other.low),
            max(self.high, other.high),
            min(self.first, other.first),
            max(self.last, other.last),
        )


ONE = Axis((Digit(1),))


class TensorAxes(NamedTuple):
    """All axes of a tensor.

    Attributes:
        axes: Tuple of `Axis`.
        fields: Dict from `(input, axis)` to the `Field`, for all that the tensor
            depends on.
        is_certain: Whether an axis that runs along no input is known to do so, or may
            have been lost by an operation without a rule.
        is_rounded: Whether a padding depends on a free length, and was taken as that
            of a length which the strides divide.
    """

    axes: tuple
    fields: dict
    is_certain: bool = True
    is_rounded: bool = False

    def steps(self):
        """The keys that the digits run along."""
        return {key for axis in self.axes for key, _ in axis.steps}

    def finest(self, key):
        """The smallest step along a key, infinity where there is none."""
        steps = (
            abs(step)
            for axis in self.axes
            for digit in axis.flat()
            for other, step in digit.steps
            if other == key and digit.length != 1
        )
        return min(steps, default=math.inf)

    def with_axis(self, number, axis):
        axes = (*self.axes[:number], axis, *self.axes[number + 1 :])
        return self._replace(axes=axes)

    def moved(self, digit_steps, low, high):
        """Moves the receptive field by a number of steps of a digit."""
        fields = dict(self.fields)
        for key, step in digit_steps:
            if key != BATCH and key in fields:
                ends = sorted((step * low, step * high))
                fields[key] = fields[key].moved(*ends)
        return self._replace(fields=fields)

    def summed(self, number):
        """Sums over an axis, which leaves one cell of it."""
        result = self
        for digit in self.axes[number].flat():
            if digit.length is not None:
                result = result.moved(digit.steps, 0, digit.length - 1)
        return result.with_axis(number, Axis((Digit(1),)))._without_shadows()

    def renamed(self, keys):
        """The same with other keys."""
        fields = {keys.get(k, k): field for k, field in self.fields.items()}
        axes = tuple(axis.renamed(keys) for axis in self.axes)
        return self._replace(axes=axes, fields=fields)

    def only(self, condition):
        """The same without the steps along keys of which a condition does not hold."""

        def kept(digit):
            steps = tuple(pair for pair in digit.steps if condition(pair[0]))
            return digit._replace(steps=steps)

        return self._replace(axes=tuple(axis.each(kept) for axis in self.axes))

    def _without_shadows(self):
        """Gives a second axis along an input its name where the first one is gone."""
        running = self.steps()
        back = {k: k[:2] for k in running if len(k) == 3 and k[:2] not in running}
        fields = {
            key: field
            for key, field in self.fields.items()
            if key not in back.values() and (len(key) == 2 or key in running)
        }
        return self._replace(fields=fields).renamed(back)

    def without(self, number):
        """Drops an axis of one cell."""
        return self._replace(axes=self.axes[:number] + self.axes[number + 1 :])


def apart(left, right):
    """Names the axes of the second of two operands whose outer product is taken.

    Of queries and keys each runs along the input on an axis of its own: the key of the
    second becomes `(input, axis, "again")`. An axis that both have, that of the batch
    or of the windows, is one.
    """
    axes, fields = [], dict(right.fields)
    for mine, other in zip(left.axes, right.axes, strict=True):
        here = {key for key, _ in mine.steps}
        both = {key for key, _ in other.steps} & left.steps() - here - {BATCH}
        again = {key: (*key[:2], "again") for key in both}
        axes.append(other.renamed(again))
        fields.update({new: fields[old] for old, new in again.items() if old in fields})
    result = right._replace(axes=tuple(axes), fields=fields)
    unused = right.steps() - result.steps()
    fields = {key: field for key, field in fields.items() if key not in unused}
    return result._replace(fields=fields)


def joined(operands, axes_of):
    """The fields of a tensor that is computed from several.

    Where one of them runs along an axis of an input cell by cell, the others, which
    bring it something of all cells or of all those of a window, move nothing.

    Args:
        operands: List of `TensorAxes`.
        axes_of: Tuple of `Axis`, those of the result.
    """
    result = TensorAxes(
        axes_of,
        {},
        all(x.is_certain for x in operands),
        any(x.is_rounded for x in operands),
    )
    running = result.steps()
    fields = {}
    for key in {key for x in operands for key in x.fields}:
        having = [x for x in operands if key in x.fields]
        if key in running:
            finest = min(x.finest(key) for x in having)
            having = [x for x in having if x.finest(key) == finest]
        field = having[0].fields[key]
        for other in having[1:]:
            field = field.joined(other.fields[key])
        fields[key] = field
    return result._replace(fields=fields)
