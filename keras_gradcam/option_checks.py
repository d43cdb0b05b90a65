"""Checks of options: what values they may have, and what to say of others."""

import numbers

import numpy as np


def check_option(checks, name, value):
    """Raises if a value is no value of an option.

    Args:
        checks: Dict from names of options to pairs of a callable, whether a value is
            one, and the words for what it must be.
        name: Name of the option. One without a check may have any value.
        value: What was passed.
    """
    good, expected = checks.get(name, (lambda value: True, ""))
    if not good(value):
        raise ValueError(
            f"Option `{name}` must be {expected}. Received: {name}={value!r}"
        )


def is_int(value):
    """Whether a value is an int, and no bool."""
    return isinstance(value, numbers.Integral) and not isinstance(value, bool)


def is_count(value):
    """Whether a value is an int from 1 on."""
    return is_int(value) and value >= 1


def is_number(value):
    """Whether a value is a finite number, and no bool."""
    real = isinstance(value, (numbers.Real, np.number)) and not isinstance(value, bool)
    return bool(real and np.isfinite(value))


def is_positive(value):
    """Whether a value is a finite number above 0."""
    return is_number(value) and value > 0


def are_ints(value, least_rank=0):
    """Whether a value is an int, or has one or several in a row."""
    array = np.asarray(value)
    has_any = array.dtype.kind in "iu" and array.size > 0
    return has_any and least_rank <= array.ndim <= 1
