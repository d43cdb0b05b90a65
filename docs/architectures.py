"""Writes the table of default layers in docs/models.md: which layer is taken, and why.

Each architecture is built with random weights, and `GradCAM` is asked for its layer.
The libraries are not required by anything else: install `keras-hub`, `kimm` and
`medicai` first. The largest networks need 8 GB of memory; all of it takes about a
quarter of an hour on two cores.
"""

import argparse
import gc
import importlib
import pathlib
import re
import time

import keras
import numpy as np
from keras import tree

import keras_gradcam as kg

PAGE = pathlib.Path(__file__).parent / "models.md"
HEADING = "## Default layers"

INTRODUCTION = """
What `GradCAM(model)` takes without `layer`, by three rules:

1. It takes the last layer that all that the score knows of the input passes through, so
   never a part of a block; of layers that only pool, pad, cut, resize or reorder, the
   one before.
2. Where only a class token counts in the end, it takes the norm before the last
   attention; behind a convolution it takes no recurrent layer.
3. Where the output is a picture, as in segmentation, it takes the last layer on the
   coarsest grid, the bottleneck.

The table shows the layer next to what papers and practice take. The networks have
random weights and small inputs, and are built as their library makes them;
`python docs/architectures.py` writes this table, and says in its first lines what it
needs. No map is empty: the raw map is finite, and its values differ.

"""

RELU = "last convolution, after its ReLU (Selvaraju et al., 2017)"
POOLED = "last convolution before the pooling (Selvaraju et al., 2017)"
BLOCK = "output of the last block"
NORM = "norm behind the last block: all tokens count"
TOKEN = "norm before the last attention: behind it only the class token counts"
BOTTLENECK = "bottleneck (Vinogradova et al., 2020)"

# Names that Keras numbers in a process.
ADD = r"add(_\d+)?"
ACTIVATION = r"activation(_\d+)?"


def of_images(module, size, **options):
    """Makes a classifier by its name in a library."""

    def make(name):
        kind = getattr(importlib.import_module(module), name)
        return kind(input_shape=(size, size, 3), classes=5, **options)

    return make


def of_volumes(name, size=64, **options):
    kind = getattr(importlib.import_module("medicai.models"), name)
    return kind(input_shape=(size, size, size, 1), num_classes=3, **options)


def of_scans(name, **options):
    kind = getattr(importlib.import_module("medicai.models"), name)
    return kind(input_shape=(64, 64, 3), num_classes=1, **options)


def of_hub(backbone, pooling="avg", **options):
    models = importlib.import_module("keras_hub.models")
    body = getattr(models, backbone)(**options)
    return models.ImageClassifier(body, num_classes=5, pooling=pooling)


def of_encoder(backbone, pooling="avg", **options):
    """An image encoder with a head on the mean of its tokens, or on the first."""
    models = importlib.import_module("keras_hub.models")
    body = getattr(models, backbone)(**VIT, **options)
    x = body.output
    if pooling == "avg":
        x = keras.layers.GlobalAveragePooling1D()(x)
    elif pooling == "token":
        x = x[:, 0]
    return keras.Model(body.input, keras.layers.Dense(5)(x))


def of_segmenter(name):
    models = importlib.import_module("keras_hub.models")
    if name == "SegFormer":
        encoder = models.MiTBackbone(**MIT)
        body = models.SegFormerBackbone(image_encoder=encoder, projection_filters=32)
        return models.SegFormerImageSegmenter(body, num_classes=3)
    body = models.DeepLabV3Backbone(
        image_encoder=models.ResNetBackbone(**RESNET),
        spatial_pyramid_pooling_key="P5",
        low_level_feature_key="P2",
        upsampling_size=8,
        dilation_rates=[2, 4],
        projection_filters=16,
        image_shape=(64, 64, 3),
    )
    return models.DeepLabV3ImageSegmenter(body, num_classes=3)


TRANSFORMER = {"num_layers": 3, "num_heads": 2, "hidden_dim": 32}
VIT = {**TRANSFORMER, "image_shape": (64, 64, 3), "patch_size": 16}
RESNET = {
    "input_conv_filters": [64],
    "input_conv_kernel_sizes": [7],
    "stackwise_num_filters": [64, 64, 64, 64],
    "stackwise_num_blocks": [2, 2, 2, 2],
    "stackwise_num_strides": [1, 2, 2, 2],
    "block_type": "basic_block",
    "image_shape": (64, 64, 3),
}
MIT = {
    "layerwise_depths": [1, 1, 1, 2],
    "num_layers": 4,
    "layerwise_num_heads": [1, 2, 4, 8],
    "layerwise_sr_ratios": [8, 4, 2, 1],
    "max_drop_path_rate": 0.1,
    "layerwise_patch_sizes": [7, 3, 3, 3],
    "layerwise_strides": [4, 2, 2, 2],
    "hidden_dims": [16, 32, 64, 96],
    "image_shape": (64, 64, 3),
}

APPLICATIONS = of_images("keras.applications", 160, weights=None)
KIMM = of_images("kimm.models", 128, weights=None)

# Library, names, how to make each, the layer that is expected as a regular expression,
# and why.
ROWS = [
    ("keras.applications", ["VGG16"], APPLICATIONS, "block5_conv3", POOLED),
    ("keras.applications", ["VGG19"], APPLICATIONS, "block5_conv4", POOLED),
    (
        "keras.applications",
        ["ResNet50", "ResNet101", "ResNet152"],
        APPLICATIONS,
        "conv5_block3_out",
        BLOCK,
    ),
    (
        "keras.applications",
        ["ResNet50V2", "ResNet101V2", "ResNet152V2"],
        APPLICATIONS,
        "post_relu",
        RELU,
    ),
    ("keras.applications", ["InceptionV3"], APPLICATIONS, "mixed10", BLOCK),
    ("keras.applications", ["InceptionResNetV2"], APPLICATIONS, "conv_7b_ac", RELU),
    ("keras.applications", ["Xception"], APPLICATIONS, "block14_sepconv2_act", RELU),
    ("keras.applications", ["MobileNet"], APPLICATIONS, "conv_pw_13_relu", RELU),
    ("keras.applications", ["MobileNetV2"], APPLICATIONS, "out_relu", RELU),
    (
        "keras.applications",
        ["MobileNetV3Small", "MobileNetV3Large"],
        APPLICATIONS,
        ACTIVATION,
        RELU,
    ),
    (
        "keras.applications",
        ["DenseNet121", "DenseNet169", "DenseNet201"],
        APPLICATIONS,
        "relu",
        RELU,
    ),
    (
        "keras.applications",
        ["NASNetMobile", "NASNetLarge"],
        APPLICATIONS,
        ACTIVATION,
        RELU,
    ),
    (
        "keras.applications",
        [f"EfficientNetB{n}" for n in range(8)],
        APPLICATIONS,
        "top_activation",
        RELU,
    ),
    (
        "keras.applications",
        [f"EfficientNetV2{n}" for n in ("B0", "B1", "B2", "B3", "S", "M", "L")],
        APPLICATIONS,
        "top_activation",
        RELU,
    ),
    (
        "keras.applications",
        [f"ConvNeXt{n}" for n in ("Tiny", "Small", "Base", "Large", "XLarge")],
        APPLICATIONS,
        ADD,
        BLOCK,
    ),
    ("kimm", ["ResNet18"], KIMM, "layer4_1", BLOCK),
    ("kimm", ["RegNetX002", "RegNetY002"], KIMM, "s4_b7", BLOCK),
    ("kimm", ["RepVGGA0"], KIMM, rf"stages_3_0/{ACTIVATION}", BLOCK),
    ("kimm", ["MobileOneS0"], KIMM, rf"stages_3_1/{ACTIVATION}", BLOCK),
    ("kimm", ["GhostNetW050", "GhostNetV2W100"], KIMM, "blocks_9", BLOCK),
    ("kimm", ["LCNet050"], KIMM, "blocks_5_1_conv_pw", BLOCK),
    ("kimm", ["TinyNetE"], KIMM, "conv_head", RELU),
    ("kimm", ["HGNetV2B0"], KIMM, "stages_3_blocks_0_aggregation_1_lab", BLOCK),
    ("kimm", ["InceptionNeXtTiny"], KIMM, ADD, BLOCK),
    ("kimm", ["ConvMixer736D32"], KIMM, "blocks_31_3", BLOCK),
    ("kimm", ["MobileViTXXS"], KIMM, "final_conv", RELU),
    ("kimm", ["MobileViTV2W050"], KIMM, "stages_4_1_conv_proj_bn", BLOCK),
    (
        "kimm",
        ["VisionTransformerTiny16"],
        of_images("kimm.models", 224, weights=None),
        "blocks_11_norm1",
        TOKEN,
    ),
    (
        "keras-hub",
        ["VGG"],
        lambda name: of_hub(
            "VGGBackbone",
            stackwise_num_repeats=[1, 1, 2],
            stackwise_num_filters=[8, 16, 16],
            image_shape=(64, 64, 3),
        ),
        "block3_conv2",
        POOLED,
    ),
    (
        "keras-hub",
        ["ResNet"],
        lambda name: of_hub("ResNetBackbone", **RESNET),
        "stack3_block1_out",
        BLOCK,
    ),
    (
        "keras-hub",
        ["DenseNet"],
        lambda name: of_hub(
            "DenseNetBackbone",
            stackwise_num_repeats=[2, 2, 2],
            image_shape=(64, 64, 3),
        ),
        "relu",
        RELU,
    ),
    (
        "keras-hub",
        ["MiT"],
        lambda name: of_hub("MiTBackbone", **MIT),
        r"layer_normalization(_\d+)?",
        NORM,
    ),
    (
        "keras-hub",
        ["ViT"],
        lambda name: of_encoder("ViTBackbone", "token", mlp_dim=64),
        "transformer_block_3/ln_1",
        TOKEN,
    ),
    (
        "keras-hub",
        ["DeiT"],
        lambda name: of_encoder("DeiTBackbone", "token", intermediate_dim=64),
        r"transformer_block_3/ln_1",
        TOKEN,
    ),
    (
        "keras-hub",
        ["DINOv2"],
        lambda name: of_encoder("DINOV2Backbone", intermediate_dim=64),
        "layernorm",
        NORM,
    ),
    (
        "keras-hub",
        ["DINOv3"],
        lambda name: of_encoder("DINOV3Backbone", intermediate_dim=64),
        "layernorm",
        NORM,
    ),
    (
        "keras-hub",
        ["CLIP"],
        lambda name: of_encoder("CLIPVisionEncoder", intermediate_dim=64),
        "layer_norm",
        NORM,
    ),
    (
        "keras-hub",
        ["SigLIP"],
        lambda name: of_encoder("SigLIPVisionEncoder", None, intermediate_dim=64),
        "post_layer_norm",
        "norm before the attention that pools the tokens",
    ),
    ("keras-hub", ["SegFormer"], of_segmenter, r"linear_\d+", BOTTLENECK),
    ("keras-hub", ["DeepLabV3"], of_segmenter, "activation_projection", BOTTLENECK),
    ("medicai 3-D", ["ResNet18", "SEResNet18"], of_volumes, "stack3_block1_out", BLOCK),
    ("medicai 3-D", ["DenseNet121"], of_volumes, "final_relu", RELU),
    ("medicai 3-D", ["EfficientNetB0"], of_volumes, "top_activation", RELU),
    ("medicai 3-D", ["ConvNeXtTiny"], of_volumes, ADD, BLOCK),
    ("medicai 3-D", ["Xception"], of_volumes, "block14_sepconv2_act", RELU),
    ("medicai 3-D", ["MixViTB0"], of_volumes, r"layer_normalization_\d+", NORM),
    ("medicai 3-D", ["ViTBase"], of_volumes, "vit_feature12/ln_1", TOKEN),
    (
        "medicai 3-D",
        ["SwinTiny"],
        lambda name: of_volumes(name, patch_size=2),
        r"swin_feature4/swin_transformer_block_\d+",
        BLOCK,
    ),
    (
        "medicai 3-D",
        ["UNet"],
        lambda name: of_volumes(name, encoder_name="densenet121"),
        "block3_layer15_concat",
        BOTTLENECK,
    ),
    (
        "medicai 3-D",
        ["UNETR"],
        lambda name: of_volumes(name, encoder_name="vit_base"),
        "vit_ln",
        BOTTLENECK,
    ),
    (
        "medicai 3-D",
        ["SegFormer"],
        lambda name: of_volumes(name, encoder_name="mit_b0"),
        r"layer_normalization_\d+",
        BOTTLENECK,
    ),
    (
        "medicai",
        ["UNet", "AttentionUNet", "UNetPlusPlus"],
        lambda name: of_scans(name, encoder_name="resnet18"),
        "stack3_block1_out",
        BOTTLENECK,
    ),
]


def row_of(library, name, make, expected, why):
    """One line of the table, and whether it is as expected."""
    keras.backend.clear_session()
    keras.utils.set_random_seed(0)
    model = make(name)
    start = time.perf_counter()
    cam = kg.GradCAM(model, activation=None, normalize=None, resize=False)
    seconds = time.perf_counter() - start
    heat = np.asarray(cam(_noise(cam.signature), target=_score))
    is_empty = not np.isfinite(heat).all() or heat.std() == 0
    is_as_expected = re.fullmatch(f"(.*/)?({expected})", cam.layer) is not None
    print(f"{library} {name}: {cam.layer} {heat.shape[1:]} in {seconds:.1f} s", end=" ")
    print("EMPTY" if is_empty else "", "" if is_as_expected else f"not {expected}")
    grid = " x ".join(map(str, heat.shape[1:]))
    same = why if is_as_expected else f"{why}: **another layer**"
    line = f"| {library} | {name} | `{cam.layer}` | {grid} | {same} |"
    return line, is_as_expected and not is_empty


def _score(outputs):
    return keras.ops.max(
        keras.ops.reshape(outputs, (keras.ops.shape(outputs)[0], -1)), 1
    )


def _noise(signature):
    rng = np.random.default_rng(0)
    arrays = [
        rng.random((2, *x.shape[1:]), dtype="float32") for x in tree.flatten(signature)
    ]
    return tree.pack_sequence_as(signature, arrays)


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--only", help="print the rows of one library, write nothing")
    only = parser.parse_args().only
    found = []
    for library, names, make, expected, why in ROWS:
        for name in names if only in (None, library) else []:
            found.append(row_of(library, name, make, expected, why))
            gc.collect()
    print(f"{len(found)} architectures, {sum(good for _, good in found)} as expected")
    if only is None:
        write([line for line, _ in found])


def write(lines):
    before = PAGE.read_text().split(HEADING)[0]
    head = "| library | architecture | layer | grid | what is taken there |\n"
    table = head + "|---|---|---|---|---|\n" + "\n".join(lines) + "\n"
    PAGE.write_text(f"{before.rstrip()}\n\n{HEADING}\n{INTRODUCTION}{table}")


if __name__ == "__main__":
    main()
