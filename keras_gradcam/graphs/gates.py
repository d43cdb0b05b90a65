"""Gates of a graph: values that only weigh what is multiplied with them.

The weights of attention are gates, so are the sigmoid of SiLU and the error function of
GELU. A softmax, or a tanh, that is the end of a network is none.
"""

import tensorflow as tf

# What makes the weights.
SQUASHING = ("Softmax", "Sigmoid", "Tanh", "Erf", "Erfc", "Relu6")

MATRIX_PRODUCTS = ("BatchMatMul", "BatchMatMulV2", "Einsum", "MatMul")

PRODUCTS = ("Mul", *MATRIX_PRODUCTS)

DIVISIONS = ("RealDiv", "Div", "DivNoNan")

# What may happen to a gate on its way: it is put elsewhere, scaled or shifted.
MOVES = (
    "BroadcastTo",
    "Cast",
    "ExpandDims",
    "Identity",
    "Neg",
    "Reshape",
    "ResizeBilinear",
    "ResizeNearestNeighbor",
    "Squeeze",
    "StridedSlice",
    "Tile",
    "Transpose",
)
ELEMENTWISE = ("AddV2", "Cast", "Identity", "Mul", "Pow", "Softplus", "Square")
AFFINE = ("Add", "AddV2", "Mul", "RealDiv", "SelectV2", "Sub")


def is_gate(operation, dependent):
    """Whether an operation makes weights for something else that depends on the input.

    A tanh may be an activation of its own, behind which another gate is: it counts
    where it weighs what it is made of, as in the approximation of GELU.

    Args:
        operation: Of a type in `SQUASHING`, or a softmax.
        dependent: Names of all tensors that depend on the input.
    """
    met = weighed_in(operation.outputs[0], dependent)
    if operation.type not in ("Tanh", "Relu6"):
        return bool(met)
    made_of = _made_of(operation)
    is_own = any(x.name in made_of for product in met for x in product.inputs)
    return is_own or (bool(met) and _is_hard_sigmoid(operation))


def _is_hard_sigmoid(operation):
    # relu6(x + 3) / 6
    shifted = operation.inputs[0].op
    constants = [tf.get_static_value(x) for x in shifted.inputs]
    return (
        operation.type == "Relu6"
        and shifted.type in ("Add", "AddV2")
        and any(x is not None and x.ndim == 0 and x == 3 for x in constants)
    )


def _made_of(operation):
    """Names of the tensors that an operation has its values from, place by place."""
    found, waiting = set(), list(operation.inputs)
    while waiting:
        tensor = waiting.pop()
        if tensor.name not in found:
            found.add(tensor.name)
            if tensor.op.type in ELEMENTWISE:
                waiting += tensor.op.inputs
    return found


def weighed_in(tensor, dependent):
    """The products in which a tensor meets another one that depends on the input.

    Args:
        tensor: See `is_gate`.
        dependent: See `is_gate`.

    Returns:
        List of operations.
    """
    found = []
    for operation in tensor.consumers():
        others = [x for x in operation.inputs if x is not tensor]
        meets = any(x.name in dependent and x.dtype.is_floating for x in others)
        if operation.type in PRODUCTS and meets:
            found.append(operation)
        elif operation.type in MOVES or (operation.type in AFFINE and not meets):
            found += weighed_in(operation.outputs[0], dependent)
    return found


def is_attention(operation, dependent):
    """Whether an operation makes the weights of attention.

    It is a softmax, over positions, whose outcome is multiplied with the values, a
    matrix of what depends on the input.

    Args:
        operation: An operation.
        dependent: See `is_gate`.
    """
    weights = operation.outputs[0] if is_softmax(operation) else None
    if weights is None or weights.name not in dependent:
        return False
    products = weighed_in(weights, dependent)
    is_matrix = any(product.type in MATRIX_PRODUCTS for product in products)
    return is_matrix and (weights.shape.rank or 0) > 2


def is_softmax(operation):
    """Whether an operation is a softmax, or the division at the end of one."""
    if operation.type != "RealDiv":
        return operation.type == "Softmax"
    numerator, denominator = operation.inputs
    total = denominator.op
    while total.type in ("AddV2", "Cast", "Identity", "Maximum"):
        total = total.inputs[0].op
    exponential = numerator
    while exponential.op.type in ("Cast", "Identity", "Mul", "SelectV2"):
        exponential = exponential.op.inputs[
            -1 if exponential.op.type == "SelectV2" else 0
        ]
    return (
        exponential.op.type == "Exp"
        and total.type == "Sum"
        and total.inputs[0] is numerator
        and _is_along_last(total)
    )


def _is_along_last(total):
    axes = tf.get_static_value(total.inputs[1])
    rank = total.inputs[0].shape.rank
    return (
        axes is not None and rank and {int(a) % rank for a in axes.flat} == {rank - 1}
    )
