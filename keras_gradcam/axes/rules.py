"""The rules by the types of the operations that they are of."""

from keras_gradcam.axes import (
    function_rules,
    layout_rules,
    product_rules,
    reshape_rule,
    window_rules,
)

RULES = {
    **dict.fromkeys(
        ("Conv2D", "Conv3D", "DepthwiseConv2dNative", "DepthwiseConv2DNative"),
        window_rules.convolution,
    ),
    **dict.fromkeys(
        ("MaxPool", "AvgPool", "MaxPool3D", "AvgPool3D"), window_rules.pooling
    ),
    **dict.fromkeys(
        ("Conv2DBackpropInput", "Conv3DBackpropInputV2"),
        window_rules.transposed_convolution,
    ),
    **dict.fromkeys(
        (
            "ResizeBilinear",
            "ResizeNearestNeighbor",
            "ResizeBicubic",
            "ResizeArea",
            "ScaleAndTranslate",
        ),
        window_rules.resizing,
    ),
    **dict.fromkeys(("Pad", "PadV2", "MirrorPad"), layout_rules.pad),
    **dict.fromkeys(
        ("Mean", "Sum", "Max", "Min", "Prod", "All", "Any"), product_rules.reduction
    ),
    **dict.fromkeys(("ArgMax", "ArgMin"), lambda operation, operands: None),
    **dict.fromkeys(("MatMul", "BatchMatMul", "BatchMatMulV2"), product_rules.matmul),
    **dict.fromkeys(("GatherV2", "ResourceGather"), product_rules.gather),
    **dict.fromkeys(("Split", "SplitV"), layout_rules.split),
    **dict.fromkeys(
        (
            "BiasAdd",
            "FusedBatchNorm",
            "FusedBatchNormV2",
            "FusedBatchNormV3",
            "Identity",
            "TensorListFromTensor",
        ),
        product_rules.first_input,
    ),
    "StridedSlice": layout_rules.strided_slice,
    "Slice": layout_rules.plain_slice,
    "Unpack": layout_rules.unpack,
    "Pack": layout_rules.pack,
    "ConcatV2": layout_rules.concat,
    "Transpose": layout_rules.transpose,
    "Reshape": reshape_rule.reshape,
    "ExpandDims": layout_rules.expand_dims,
    "Squeeze": layout_rules.squeeze,
    "ReverseV2": layout_rules.reverse,
    "Roll": layout_rules.roll,
    "Tile": layout_rules.tile,
    "BroadcastTo": layout_rules.broadcast_to,
    "SpaceToDepth": window_rules.space_to_depth,
    "DepthToSpace": window_rules.depth_to_space,
    "SpaceToBatchND": window_rules.space_to_batch,
    "BatchToSpaceND": window_rules.batch_to_space,
    "Einsum": product_rules.einsum,
    "OneHot": product_rules.one_hot,
    "TensorListGetItem": function_rules.item_of_list,
    "TensorListSetItem": function_rules.list_with_item,
    "TensorListStack": function_rules.tensor_of_list,
    "RFFT": product_rules.spectrum,
}

# Of operations that run a graph of their own; they also take what follows the axes
# through it.
FUNCTION_RULES = {
    **dict.fromkeys(("While", "StatelessWhile"), function_rules.loop),
    **dict.fromkeys(("If", "StatelessIf"), function_rules.branches),
    **dict.fromkeys(
        ("PartitionedCall", "StatefulPartitionedCall"), function_rules.call
    ),
}
