"""Brings the values of arrays into a range."""

from keras import ops


def divided(maps, by):
    # Without an epsilon: raw maps of 1e-12 are real. What is divided by 1 instead of 0
    # is 0 itself. A NaN stays visible, as NaN is not equal to 0.
    return maps / ops.where(ops.equal(by, 0.0), 1.0, by)


def stretched(values, axes):
    """Stretches values to [0, 1] from their minimum and maximum along `axes`.

    Where all are the same the result is 0.
    """
    low = ops.min(values, axis=axes, keepdims=True)
    high = ops.max(values, axis=axes, keepdims=True)
    return divided(values - low, high - low)
