"""Where the maps of each method are, on scenes with exact masks: docs/places.json.

    python benchmarks/places.py

Networks of several kinds learn which shapes a scene shows. Each has a map for each
shape that a scene shows, with each method. Measured are

- point: how often the peak is on the shape;
- inside: the share of the heat on it;
- others: the share on the shapes of other classes;
- iou: the overlap with the shape at the best threshold for each map.

Chance is a map of noise, and one that is the same everywhere. Seeds are of the scenes,
the weights and the order of the training.
"""

import argparse
import json
import os
import pathlib
import time

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import keras
import numpy as np
import shapes
from networks import ClassToken

import keras_gradcam as kg

L = keras.layers
FILE = pathlib.Path(__file__).parents[1] / "docs" / "places.json"

CAMS = ("gradcam", "gradcam++", "layercam", "hirescam", "eigencam", "scorecam")
INPUTS = (
    "saliency",
    "smoothgrad",
    "integrated_gradients",
    "guided_gradcam",
    "fullgrad",
)
TOKENS = (
    "attention_rollout",
    "transformer_attribution",
    "gradsam",
    "legrad",
    "attnlrp",
    "libragrad",
)
METHODS = (*CAMS, "depth_consensus", *INPUTS)


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1])
    parser.add_argument("--networks", nargs="+", default=list(NETWORKS))
    parser.add_argument("--scenes", type=int, default=200, help="to explain")
    parser.add_argument("--train", type=int, default=16000, help="to learn from")
    args = parser.parse_args()
    found = json.loads(FILE.read_text()) if FILE.exists() else {}
    for name in args.networks:
        rows = [measure(name, seed, args.scenes, args.train) for seed in args.seeds]
        found[name] = _mean(rows)
        FILE.write_text(json.dumps(found, indent=1) + "\n")


def _mean(rows):
    """The mean over seeds of each number, methods of which one is missing left out."""
    return {
        key: {
            name: round(float(np.mean([row[key][name] for row in rows])), 3)
            for name in rows[0][key]
        }
        for key in rows[0]
        if all(key in row for row in rows)
    }


def measure(name, seed, count, train):
    model, accuracy = trained(name, seed, train)
    images, labels, masks = shapes.make(count, 1000 + seed)
    which, classes = np.nonzero(labels)
    own, all_objects = masks[which, classes], masks[which].any(1)
    rng = np.random.default_rng(seed)
    found = {
        "network": {"accuracy": accuracy, "area": own.mean()},
        "chance: noise": scored(rng.random(own.shape), own, all_objects),
        "chance: the same everywhere": scored(np.ones(own.shape), own, all_objects),
    }
    for method in (*METHODS, *(TOKENS if NETWORKS[name][1] else ())):
        start = time.perf_counter()
        try:
            cam = kg.GradCAM(model, method=method)
            maps = np.concatenate(
                [
                    cam(images[which[n : n + 32]], target=classes[n : n + 32]).numpy()
                    for n in range(0, len(which), 32)
                ]
            )
        except ValueError as error:  # Not defined for this network.
            print(name, method, str(error)[:90], flush=True)
            continue
        found[method] = scored(maps, own, all_objects)
        seconds = time.perf_counter() - start
        row = {key: round(float(v), 3) for key, v in found[method].items()}
        print(name, seed, method, row, f"{seconds:.0f} s", flush=True)
    return found


def scored(maps, own, all_objects):
    flat = maps.reshape(len(maps), -1)
    # Of several peaks each counts for its share.
    peaks = flat == flat.max(1, keepdims=True)
    inside = own.reshape(len(maps), -1)
    others = all_objects.reshape(len(maps), -1) & ~inside
    total = np.maximum(flat.sum(1), 1e-12)
    return {
        "point": ((peaks & inside).sum(1) / peaks.sum(1)).mean(),
        "inside": ((flat * inside).sum(1) / total).mean(),
        "others": ((flat * others).sum(1) / total).mean(),
        "iou": np.mean([_best_iou(*pair) for pair in zip(flat, inside, strict=True)]),
    }


def _best_iou(values, inside):
    order = np.argsort(-values, kind="stable")
    hits = np.cumsum(inside[order])
    union = np.arange(1, len(values) + 1) + inside.sum() - hits
    # Cells of the same value are on one side of a threshold.
    ends = np.append(np.diff(values[order]) != 0, True)
    return (hits / union)[ends].max()


def trained(name, seed, count):
    keras.utils.set_random_seed(seed)
    images, labels, _ = shapes.make(count, seed)
    model = NETWORKS[name][0]()
    epochs = 40 if NETWORKS[name][1] else 12
    steps = epochs * (count // 64)
    rate = keras.optimizers.schedules.CosineDecay(
        0.0, steps, warmup_target=0.002, warmup_steps=steps // 20
    )
    model.compile(keras.optimizers.AdamW(rate), "binary_crossentropy")
    start = time.perf_counter()
    model.fit(images, labels, 64, epochs, verbose=0)
    images, labels, _ = shapes.make(500, 2000 + seed)
    accuracy = float(((model.predict(images, verbose=0) > 0.5) == labels).mean())
    print(name, seed, f"{accuracy:.3f} {time.perf_counter() - start:.0f} s", flush=True)
    return model, accuracy


# Networks.


def _input():
    return keras.Input((shapes.SIZE, shapes.SIZE, 3))


def _classifier(inputs, x):
    return keras.Model(inputs, L.Dense(len(shapes.CLASSES), activation="sigmoid")(x))


def plain(activation="relu", norm=False, head=L.GlobalAveragePooling2D):
    x = inputs = _input()
    for filters in (16, 32, 64, 64):
        x = L.Conv2D(filters, 3, padding="same", use_bias=not norm)(x)
        x = L.BatchNormalization()(x) if norm else x
        x = L.MaxPooling2D()(L.Activation(activation)(x))
    x = L.Conv2D(64, 3, padding="same", activation=activation)(x)
    return _classifier(inputs, head()(x))


def residual():
    inputs = _input()
    x = L.Conv2D(16, 3, padding="same")(inputs)
    for filters in (16, 32, 64):
        h = L.Activation("relu")(L.BatchNormalization()(x))
        h = L.Conv2D(filters, 3, 2, "same")(h)
        h = L.Activation("relu")(L.BatchNormalization()(h))
        h = L.Conv2D(filters, 3, padding="same")(h)
        x = L.Add()([L.Conv2D(filters, 1, 2, "same")(x), h])
    x = L.Activation("relu")(L.BatchNormalization()(x))
    return _classifier(inputs, L.GlobalAveragePooling2D()(x))


def depthwise():
    inputs = _input()
    x = L.Conv2D(24, 3, 2, "same")(inputs)
    for filters, strides in ((32, 1), (48, 2), (64, 2), (64, 1)):
        x = L.DepthwiseConv2D(3, strides, "same", use_bias=False)(x)
        x = L.Activation("silu")(L.BatchNormalization()(x))
        x = L.Conv2D(filters, 1)(x)
    x = L.Activation("silu")(L.BatchNormalization()(x))
    return _classifier(inputs, L.GlobalAveragePooling2D()(x))


def vit(pool="token", dim=64, patch=8, depth=4, heads=4):
    inputs = _input()
    x = L.Reshape((-1, dim))(L.Conv2D(dim, patch, patch)(inputs))
    x = ClassToken()(x)
    for _ in range(depth):
        h = L.LayerNormalization()(x)
        x = x + L.MultiHeadAttention(heads, dim // heads)(h, h)
        h = L.LayerNormalization()(x)
        x = x + L.Dense(dim)(L.Dense(2 * dim, activation="gelu")(h))
    x = L.LayerNormalization()(x)
    x = x[:, 0] if pool == "token" else L.GlobalAveragePooling1D()(x[:, 1:])
    return _classifier(inputs, x)


def hybrid(dim=64, heads=4):
    inputs = _input()
    x = inputs
    for filters in (16, 32, dim):
        x = L.Conv2D(filters, 3, 2, "same", activation="gelu")(x)
    x = L.Reshape((-1, dim))(x)
    for _ in range(2):
        h = L.LayerNormalization()(x)
        x = x + L.MultiHeadAttention(heads, dim // heads)(h, h)
        h = L.LayerNormalization()(x)
        x = x + L.Dense(dim)(L.Dense(2 * dim, activation="gelu")(h))
    x = L.GlobalAveragePooling1D()(L.LayerNormalization()(x))
    return _classifier(inputs, x)


# By name, and whether there is attention.
NETWORKS = {
    "plain, ReLU": (plain, False),
    "plain, GELU": (lambda: plain("gelu"), False),
    "batch norm, ReLU": (lambda: plain(norm=True), False),
    "flattened": (lambda: plain(head=L.Flatten), False),
    "residual": (residual, False),
    "depthwise, SiLU": (depthwise, False),
    "ViT, class token": (vit, True),
    "ViT, mean of the tokens": (lambda: vit("mean"), True),
    "convolutions, then attention": (hybrid, True),
}


if __name__ == "__main__":
    main()
