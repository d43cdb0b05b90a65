"""Other gradients of single operations: only inside, and only where they are set."""

import numpy as np
import pytest
import tensorflow as tf
from tensorflow.python.framework import ops

from keras_gradcam.graphs import constant_value, overridden, own_gradients, replayed


def slope(override):
    """dy/dx of x^2 + relu(x) at 3, inside and after."""

    @tf.function(autograph=False)
    def both(x):
        squared = tf.square(x)
        y = squared + tf.nn.relu(x)
        with overridden({squared.op: override}):
            inside = tf.gradients(y, x)[0]
        return inside, tf.gradients(y, x)[0]

    return [float(each) for each in both(tf.constant(3.0))]


def test_another_gradient_is_taken_inside_only():
    assert slope(lambda operation, gradient: [10 * gradient]) == [11.0, 7.0]
    assert slope(lambda operation, gradient: [None]) == [1.0, 7.0]
    assert slope(own_gradients) == [7.0, 7.0]


def test_an_error_leaves_nothing_behind():
    graph = tf.Graph()
    with graph.as_default():
        operation = tf.square(tf.constant(3.0)).op
        with pytest.raises(ZeroDivisionError), overridden({operation: own_gradients}):
            assert operation._gradient_function is own_gradients
            raise ZeroDivisionError
        assert operation._gradient_function is None


def test_what_is_relied_on_in_tensorflow_is_there():
    assert callable(ops.gradient_registry.lookup("Square"))
    with tf.Graph().as_default():
        assert tf.square(tf.constant(3.0)).op._gradient_function is None


def test_a_part_runs_again_on_another_tensor():
    @tf.function(autograph=False)
    def both(x):
        middle = x + 1.0
        y = tf.reduce_sum(middle * 2.0) + tf.reduce_max(x)
        return y, replayed(y, middle, middle * 10.0)

    y, again = both(tf.constant([1.0, 2.0]))
    np.testing.assert_allclose([y, again], [12.0, 102.0])


def test_sizes_with_a_free_batch():
    @tf.function(autograph=False)
    def sizes(x):
        shape = tf.shape(x)
        cells = tf.reduce_prod(tf.gather(shape, [0, 1]))
        found.append((constant_value(cells), constant_value(cells, 7)))
        return cells

    found: list = []
    sizes.get_concrete_function(tf.TensorSpec((None, 4, 2)))
    assert found == [(None, 28)]
