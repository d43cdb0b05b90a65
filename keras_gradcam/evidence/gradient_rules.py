"""Rules that change the gradients of single operations of a pass.

Guided gradients: every ReLU stops what would inhibit it.

Balanced gradients: those of a network whose gates and norms are held constant. A
gradient of attention, of a normalization or of a gate such as that of GELU counts what
an input adds and what it changes of the weights of all others, and the second drowns
the first. With the weights held constant, a network is linear where the input is: the
input times its gradient, and the biases times theirs, sum up to the score.
"""

from typing import NamedTuple

import tensorflow as tf

from keras_gradcam.graphs import (
    gates,
    inner_operations,
    own_gradients,
    reached_from,
)

# 1 / sigma, as normalizations have it.
INVERSES = ("Rsqrt", "Reciprocal", "Inv")

# Functions with f(0) = 0: each stands for its input times f(x) / x.
ACTIVATIONS = ("Elu", "Selu", "Softsign", "Tanh")

RELUS = ("Relu", "Relu6")

# What must not be inside of a loop.
OUT_OF_REACH = ("Softmax", *INVERSES, "Sigmoid", "Tanh", "Erf", "Erfc")


class Rules(NamedTuple):
    """What is done to the gradients of a network.

    Attributes:
        softmax: Whether the weights of attention are constant.
        norms: Whether denominators are, as of a normalization.
        gates: Whether gates are, and any activation is a gate times its input.
        products: Whether a product of two that depend on the input gives one half of
            its gradient to each.
    """

    softmax: bool = True
    norms: bool = True
    gates: bool = True
    products: bool = True


RULES = {
    # Mehri et al., 2024, LibraGrad.
    "libragrad": Rules(),
    # Achtibat et al., 2024, AttnLRP.
    "attnlrp": Rules(softmax=False),
    # Ali et al., 2022, conservative propagation.
    "cp_lrp": Rules(gates=False, products=False),
}


def guided(forward_pass):
    """The gradients of all ReLUs and ReLU6s of a pass, guided.

    It does not matter where one comes from: a layer of its own, the activation of
    another layer, or a function. The model is not touched.

    Args:
        forward_pass: A `ForwardPass`.

    Returns:
        Dict, see `gradient_overrides.overridden`.

    Raises:
        ValueError: If there are ReLUs inside of loops or functions, out of reach.
    """
    graph = forward_pass.scores.graph
    if inner_operations(graph, RELUS):
        raise ValueError(
            "The model has ReLUs inside of a loop, as of a recurrent layer, or of a "
            "function without layers, whose gradients cannot be guided. Take another "
            "method, such as 'integrated_gradients'."
        )
    return {op: _guided for op in graph.get_operations() if op.type in RELUS}


def balanced(forward_pass, rules):
    """The gradients of a pass under the rules of a name.

    Args:
        forward_pass: A `ForwardPass`.
        rules: A key of `RULES`.

    Returns:
        Dict, see `gradient_overrides.overridden`.

    Raises:
        ValueError: If what the rules are about is inside of loops, out of reach.
    """
    graph = forward_pass.scores.graph
    if inner_operations(graph, OUT_OF_REACH):
        raise ValueError(
            "The model has attention, gates or a normalization inside of a loop, as of "
            "a recurrent layer, or of a function without layers, whose gradients "
            "cannot be changed. Leave out `gradient_rules`, or take a method without. "
            f"Received: gradient_rules={rules!r}"
        )
    inputs = [x for x in tf.nest.flatten(forward_pass.inputs) if x is not None]
    dependent = reached_from(*inputs)
    # What a gradient still goes through, with all that is constant left out.
    live = {tensor.name for tensor in inputs}
    found = {}
    for operation in graph.get_operations():
        reached = [x.name in live for x in operation.inputs]
        if not any(reached):
            continue
        if _is_constant(operation, reached, dependent, RULES[rules]):
            found[operation] = _nothing
            continue
        function = _changed(operation, reached, RULES[rules])
        if function is not None:
            found[operation] = function
        live.update(x.name for x in operation.outputs if _carries(operation, x))
    return found


def _carries(operation, output):
    # Numbers of words become floats; a mask made of floats has no gradient.
    if operation.type in ("StopGradient", "PreventGradient"):
        return False
    floats = any(x.dtype.is_floating for x in operation.inputs)
    return output.dtype.is_floating or (not floats and output.dtype != tf.bool)


def _is_constant(operation, reached, dependent, rules):
    """Whether nothing of the gradient passes an operation."""
    kind = operation.type
    if gates.is_softmax(operation):
        return rules.softmax and gates.is_gate(operation, dependent)
    if kind in gates.DIVISIONS:
        return rules.norms and reached[1] and not reached[0]
    if kind in INVERSES or _is_inverse_power(operation):
        return rules.norms
    is_squashing = rules.gates and kind in gates.SQUASHING
    return is_squashing and gates.is_gate(operation, dependent)


def _changed(operation, reached, rules):
    """The gradient of an operation in place of its own, `None` to leave that."""
    kind = operation.type
    if rules.norms and kind in gates.DIVISIONS and reached[1]:
        return None if gates.is_softmax(operation) else _of_numerator
    if rules.gates and kind == "IdentityN" and _is_silu(operation):
        return _handed_on
    if rules.gates and kind in ACTIVATIONS:
        return _in_proportion
    if rules.products and (kind == "Square" or _is_bilinear(operation, reached)):
        return _halved
    return None


def _is_bilinear(operation, reached):
    return operation.type in gates.PRODUCTS and sum(reached) > 1


def _is_inverse_power(operation):
    if operation.type != "Pow":
        return False
    exponent = tf.get_static_value(operation.inputs[1])
    return exponent is not None and bool((exponent < 0).all())


def _is_silu(operation):
    # TensorFlow gives x sigmoid(x) a gradient of its own, past both factors.
    product = operation.inputs[0].op
    return product.type == "Mul" and any(x.op.type == "Sigmoid" for x in product.inputs)


# Gradients of operations.


def _guided(operation, gradient):
    # PReLU is relu(x) - a relu(-x): its second half is no ReLU of the network.
    is_half = operation.inputs[0].op.type == "Neg"
    return own_gradients(operation, gradient if is_half else tf.nn.relu(gradient))


def _nothing(operation, *gradients):
    return [None] * len(operation.inputs)


def _handed_on(operation, *gradients):
    return list(gradients)


def _of_numerator(operation, gradient):
    return [own_gradients(operation, gradient)[0], None]


def _halved(operation, gradient):
    half = tf.cast(0.5, gradient.dtype)
    return [half * each for each in own_gradients(operation, gradient)]


def _in_proportion(operation, gradient):
    (x,), (y,) = operation.inputs, operation.outputs
    # The limit at 0 is the derivative there.
    share = tf.where(x == 0, tf.ones_like(x), y / tf.where(x == 0, tf.ones_like(x), x))
    limit = own_gradients(operation, gradient)[0]
    return [tf.where(x == 0, limit, gradient * share)]
