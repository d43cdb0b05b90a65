"""Runs a batch on all devices of a strategy: each takes its share, in order."""

import tensorflow as tf
from keras import tree


def run(strategy, function, tensors):
    """Runs a function of a batch on each device's share of it, inside a graph.

    Args:
        strategy: A `tf.distribute.Strategy`. Of several machines each runs its own
            batches, on its own devices.
        function: Callable from structures of tensors with a batch axis to a structure
            of such tensors, one row for each sample.
        tensors: Tuple of structures of tensors, the arguments.

    Returns:
        What `function` returns of the whole batch.
    """
    devices = len(strategy.extended.worker_devices)
    length = tf.shape(tree.flatten(tensors)[0])[0]
    share = -(-length // devices)
    # All shares have one length, and none is empty.
    full = tree.map_structure(lambda x: _padded(x, share * devices - length), tensors)
    shares = strategy.experimental_distribute_values_from_function(
        lambda context: _share(full, context.replica_id_in_sync_group % devices, share)
    )
    results = strategy.run(function, args=shares)
    return tree.map_structure(lambda x: _joined(strategy, x)[:length], results)


def of_share(function, share):
    """Runs a function of a batch on a device's share of one, which may be empty.

    Args:
        function: See `run`.
        share: Structure of tensors with a batch axis.
    """
    length = tf.shape(tree.flatten(share)[0])[0]
    # Convolutions on CPUs fail without a sample.
    filled = tree.map_structure(lambda x: _at_least_one(x, length), share)
    return tree.map_structure(lambda x: x[:length], function(filled))


def _at_least_one(tensor, length):
    missing = tf.maximum(1 - length, 0)
    shape = tf.concat([[missing], tf.shape(tensor)[1:]], 0)
    return tf.concat([tensor, tf.zeros(shape, tensor.dtype)], 0)


def _padded(tensor, count):
    return tf.concat([tensor, tf.repeat(tensor[:1], count, axis=0)], 0)


def _share(tensors, number, length):
    part = slice(number * length, (number + 1) * length)
    return tree.map_structure(lambda x: x[part], tensors)


def _joined(strategy, result):
    return tf.concat(strategy.experimental_local_results(result), 0)
