"""What the training callback costs an epoch, next to a forward pass and to others.

    python benchmarks/callback.py --size 224 --samples 8 --rounds 15

All run in turn in one process, on crops of two photographs and a small network:

- `forward`: one compiled forward pass of the samples, to NumPy;
- `ours`: an epoch's end, from maps and numbers to the event file on the disk;
- `maps only`: the same of an epoch that is measured and not drawn (`freq`);
- `rebuilt`: the usual recipe at each epoch's end: a model of activations and
  predictions, a tape for each image, pictures by matplotlib, `tf.summary.image`;
- `tf-explain`: its Grad-CAM callback, where it is installed and runs.

Times are medians in milliseconds. `over_forward` is ours without 1.5 forward passes.
`mb_per_epoch` is what one epoch adds to the disk, in 10^6 bytes.
"""

import argparse
import json
import os
import pathlib
import tempfile
import time
import warnings

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import keras
import networks
import numpy as np
import tensorflow as tf
from matplotlib import pyplot as plt
from sklearn.datasets import load_sample_images

import keras_gradcam as kg


def main():
    args = _arguments()
    images, labels = _crops(args.samples, args.size)
    model = _network(args.size)
    forward = tf.function(lambda x: model(x, training=False))
    with tempfile.TemporaryDirectory() as folder:
        folder = pathlib.Path(folder)
        contestants = {
            "forward": lambda epoch: forward(images).numpy(),
            **_ours(model, images, labels, folder),
            "rebuilt": _rebuilt(model, images, folder / "rebuilt"),
            **_tf_explain(model, images, labels, folder / "tf_explain"),
        }
        first = {name: _seconds(run, 0) for name, run in contestants.items()}
        before = _bytes(folder / "ours")
        rounds = [
            {name: _seconds(run, epoch) for name, run in contestants.items()}
            for epoch in range(1, args.rounds + 1)
        ]
        written = (_bytes(folder / "ours") - before) / args.rounds
    median = {n: 1e3 * float(np.median([r[n] for r in rounds])) for n in contestants}
    rest = [1e3 * (r["ours"] - 1.5 * r["forward"]) for r in rounds]
    result = {
        "size": args.size,
        "samples": args.samples,
        "first_epoch_ms": {n: round(1e3 * x) for n, x in first.items()},
        "median_ms": {n: round(x, 1) for n, x in median.items()},
        "over_forward_ms": round(float(np.median(rest)), 1),
        "quartiles_ms": [round(float(q), 1) for q in np.quantile(rest, [0.25, 0.75])],
        "mb_per_epoch": round(written / 1e6, 3),
    }
    print(json.dumps(result, indent=2))


def _arguments():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--size", type=int, default=224)
    parser.add_argument("--samples", type=int, default=8)
    parser.add_argument("--rounds", type=int, default=15)
    return parser.parse_args()


def _crops(count, size):
    """Photographs, as their detail is what fills the disk."""
    photographs = load_sample_images().images
    starts = np.random.default_rng(0).integers(0, [427 - size, 640 - size], (count, 2))
    crops = [
        photographs[n % 2][top : top + size, left : left + size]
        for n, (top, left) in enumerate(starts)
    ]
    return np.stack(crops), np.arange(count) % 10


def _network(size):
    model = networks.small_cnn(size)
    model.compile("sgd", "sparse_categorical_crossentropy")
    return model


def _ours(model, images, labels, folder):
    runs = {}
    for name, freq in (("ours", 1), ("maps only", 10**9)):
        callback = kg.GradCAMCallback(
            images,
            labels,
            log_dir=folder / name,
            num_samples=len(images),
            freq=freq,
            on_error="raise",
        )
        callback.set_model(model)
        callback.set_params({"epochs": 10**9})
        callback.on_train_begin()
        callback.on_epoch_begin(0)
        runs[name] = lambda epoch, callback=callback: callback.on_epoch_end(epoch, {})
    return runs


def _rebuilt(model, images, folder):
    writer = tf.summary.create_file_writer(str(folder))

    def run(epoch):
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            last = model.layers[-3].output
            both = keras.Model(model.input, [last, model.output])
            panels = [_panel(both, image) for image in images]
        with writer.as_default():
            tf.summary.image("maps", np.stack(panels), step=epoch, max_outputs=8)
        writer.flush()

    return run


def _panel(both, image):
    with tf.GradientTape() as tape:
        activations, predictions = both(image[None].astype("float32"))
        score = tf.reduce_max(predictions[0])
    weights = tf.reduce_mean(tape.gradient(score, activations), (1, 2))
    heatmap = tf.nn.relu(tf.einsum("bijk,bk->bij", activations, weights))[0]
    heatmap = tf.image.resize(heatmap[..., None], image.shape[:2])[..., 0]
    figure, axes = plt.subplots(1, 3, figsize=(6.72, 2.24), dpi=100)
    axes[0].imshow(image)
    axes[1].imshow(heatmap, cmap="jet")
    axes[2].imshow(image)
    axes[2].imshow(heatmap, cmap="jet", alpha=0.4)
    for each in axes:
        each.axis("off")
    figure.canvas.draw()
    picture = np.asarray(figure.canvas.buffer_rgba())[..., :3].copy()
    plt.close(figure)
    return picture


def _tf_explain(model, images, labels, folder):
    try:
        from tf_explain.callbacks.grad_cam import GradCAMCallback
    except ImportError:
        return {}
    # It wants float images and one class for all of them.
    callback = GradCAMCallback(
        validation_data=(images.astype("float32"), labels),
        class_index=0,
        layer_name=model.layers[-4].name,
        output_dir=folder,
    )
    callback.set_model(model)
    return {"tf-explain": lambda epoch: callback.on_epoch_end(epoch)}


def _seconds(run, epoch):
    start = time.perf_counter()
    run(epoch)
    return time.perf_counter() - start


def _bytes(folder):
    return sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())


if __name__ == "__main__":
    main()
