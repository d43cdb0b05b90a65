"""Guided gradients: a scope in which every ReLU stops what would inhibit it."""

import contextlib

import tensorflow as tf

GUIDED = {"Relu": "KerasGradCAMGuidedRelu", "Relu6": "KerasGradCAMGuidedRelu6"}


@tf.RegisterGradient(GUIDED["Relu"])
def _guided_relu(operation, gradient):
    # PReLU is relu(x) - a relu(-x): its second half is no ReLU of the network.
    is_half = operation.inputs[0].op.type == "Neg"
    gradient = gradient if is_half else tf.nn.relu(gradient)
    return tf.raw_ops.ReluGrad(gradients=gradient, features=operation.outputs[0])


@tf.RegisterGradient(GUIDED["Relu6"])
def _guided_relu6(operation, gradient):
    return tf.raw_ops.Relu6Grad(
        gradients=tf.nn.relu(gradient), features=operation.outputs[0]
    )


@contextlib.contextmanager
def guided_relus():
    """Every ReLU and ReLU6 that is traced inside has the guided gradient, there.

    It does not matter where one comes from: a layer of its own, the activation of
    another layer, or a function. The model is not touched.

    Raises:
        ValueError: If there are ReLUs inside of loops or functions, out of reach.
    """
    graph = tf.compat.v1.get_default_graph()
    with graph.gradient_override_map(GUIDED):
        yield
    _check_inner(graph)
    # A saved graph must not ask for gradients that are registered only here.
    for operation in graph.get_operations():
        if operation.type in GUIDED and "_gradient_op_type" in operation.node_def.attr:
            operation._clear_attr("_gradient_op_type")


def _check_inner(graph):
    inner = graph.as_graph_def().library.function
    if any(node.op in GUIDED for function in inner for node in function.node_def):
        raise ValueError(
            "The model has ReLUs inside of a loop, as of a recurrent layer, or of a "
            "function without layers, whose gradients cannot be guided. Take another "
            "method, such as 'integrated_gradients'."
        )
