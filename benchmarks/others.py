"""How much longer others' Grad-CAM takes than ours, on the same model and images.

    python benchmarks/others.py --model MobileNetV2 --batch 32 --seconds 20

Each runs in turn with ours and a compiled forward pass in one process, in rounds, and
is told as its time over ours in the same round: medians of the rounds. All explain the
same class and give NumPy arrays, each in the use that its documentation shows:

- `tf-keras-vis`: `Gradcam`, kept, with `ReplaceToLinear` and `CategoricalScore`;
- `keras.io`: the function of Keras' code examples in our words, which makes a model
  and a tape for one image: called for each image, its maps have the layer's size;
- `tf-explain`: `GradCAM`, which draws its maps over the images, as one picture;
- `xplique, kept`: its `GradCAM`, one explainer for all calls, maps not normalised;
- `xplique, new`: the same, with an explainer made for each call.

One that is not installed, or fails, says so in place of numbers. The first call is that
of this process, in seconds, without imports.
"""

import argparse
import importlib.metadata
import json
import os
import warnings

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import keras
import networks
import numpy as np
import tensorflow as tf
import timing

import keras_gradcam as kg

# A map of a network without training is often empty, and others warn of old names.
warnings.simplefilter("ignore")
tf.get_logger().setLevel("ERROR")

CLASS = 0


def main():
    args = _arguments()
    model = networks.build(args.model, args.size)
    images = networks.images(args.batch, args.size)
    forward = tf.function(lambda x: model(x, training=False))
    cam = kg.GradCAM(model)
    own = {
        "forward": lambda: forward(images).numpy(),
        "ours": lambda: cam(images, target=CLASS).numpy(),
    }
    first = {name: timing.seconds(run) for name, run in own.items()}
    found = {}
    for name, (package, make) in PEERS.items():
        found[name] = {"version": _version(package)}
        try:
            found[name] |= _compared(own, make(model, images, cam.layer), args.seconds)
        except Exception as error:  # Whatever a peer raises is its result.
            found[name]["error"] = f"{type(error).__name__}: {error}".split("\n")[0]
    result = {
        "model": args.model,
        "size": args.size,
        "batch": args.batch,
        "first_call_s": {name: round(value, 2) for name, value in first.items()},
        "peers": found,
    }
    print(json.dumps(result, indent=2))


def _arguments():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--model", default="MobileNetV2", help="of keras.applications")
    parser.add_argument("--size", type=int, default=224)
    parser.add_argument("--batch", type=int, default=32)
    parser.add_argument("--seconds", type=float, default=20, help="for each peer")
    return parser.parse_args()


def _version(package):
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return None


def _compared(own, run, budget):
    first = timing.seconds(run)
    contestants = {**own, "peer": run}
    for each in contestants.values():
        each()
    found = timing.rounds(contestants, budget, most=200)
    return {
        "first_call_s": round(first, 2),
        "median_ms": timing.medians_ms(found),
        **timing.over(found, "peer", "ours"),
    }


def _linear(model):
    """A copy of the model without its softmax, as the peers' documentation asks."""
    copy = keras.models.clone_model(model)
    copy.set_weights(model.get_weights())
    copy.layers[-1].activation = keras.activations.linear
    return copy


def _tf_keras_vis(model, images, layer):
    from tf_keras_vis.gradcam import Gradcam
    from tf_keras_vis.utils.model_modifiers import ReplaceToLinear
    from tf_keras_vis.utils.scores import CategoricalScore

    peer = Gradcam(model, model_modifier=ReplaceToLinear(), clone=True)
    score = CategoricalScore([CLASS] * len(images))
    return lambda: peer(score, images, penultimate_layer=-1)


def _keras_io(model, images, layer):
    linear = _linear(model)
    return lambda: [_example(image[None], linear, layer) for image in images]


def _example(image, model, layer):
    """Grad-CAM of one image as the example of keras.io computes it."""
    both = keras.Model(model.inputs, [model.get_layer(layer).output, model.output])
    with tf.GradientTape() as tape:
        activations, predictions = both(image)
        score = predictions[:, CLASS]
    gradients = tape.gradient(score, activations)
    weights = tf.reduce_mean(gradients, axis=(0, 1, 2))
    heatmap = tf.squeeze(activations[0] @ weights[:, tf.newaxis])
    heatmap = tf.maximum(heatmap, 0) / tf.reduce_max(heatmap)
    return heatmap.numpy()


def _tf_explain(model, images, layer):
    from tf_explain.core.grad_cam import GradCAM

    linear = _linear(model)
    return lambda: GradCAM().explain((images, None), linear, CLASS, layer)


def _xplique_kept(model, images, layer):
    make, targets = _xplique(model, images, layer)
    explainer = make()
    return lambda: explainer(images, targets).numpy()


def _xplique_new(model, images, layer):
    make, targets = _xplique(model, images, layer)
    return lambda: make()(images, targets).numpy()


def _xplique(model, images, layer):
    from xplique.attributions import GradCAM

    linear = _linear(model)
    targets = np.eye(model.output_shape[-1], dtype="float32")[[CLASS] * len(images)]
    return lambda: GradCAM(linear, conv_layer=layer), targets


# The package whose version is told, and what makes a function of no arguments.
PEERS = {
    "tf-keras-vis": ("tf-keras-vis", _tf_keras_vis),
    "keras.io": ("keras", _keras_io),
    "tf-explain": ("tf-explain", _tf_explain),
    "xplique, kept": ("xplique", _xplique_kept),
    "xplique, new": ("xplique", _xplique_new),
}

if __name__ == "__main__":
    main()
