"""Guided gradients: a scope in which every ReLU stops what would inhibit it."""

import contextlib

import tensorflow as tf

GUIDED = {"Relu": "KerasGradCAMGuidedRelu", "Relu6": "KerasGradCAMGuidedRelu6"}


@tf.RegisterGradient(GUIDED["Relu"])
def _guided_relu(operation, slope):
    return tf.raw_ops.ReluGrad(
        gradients=tf.nn.relu(slope), features=operation.outputs[0]
    )


@tf.RegisterGradient(GUIDED["Relu6"])
def _guided_relu6(operation, slope):
    return tf.raw_ops.Relu6Grad(
        gradients=tf.nn.relu(slope), features=operation.outputs[0]
    )


@contextlib.contextmanager
def guided_relus():
    """Every ReLU and ReLU6 that is traced inside has the guided gradient, there.

    It does not matter where one comes from: a layer of its own, the activation of
    another layer, or a function. The model is not touched.
    """
    graph = tf.compat.v1.get_default_graph()
    with graph.gradient_override_map(GUIDED):
        yield
    # A saved graph must not ask for gradients that are registered only here.
    for operation in graph.get_operations():
        if operation.type in GUIDED and "_gradient_op_type" in operation.node_def.attr:
            operation._clear_attr("_gradient_op_type")
