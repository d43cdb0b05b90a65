"""What each method costs and where its maps are: writes two pages of the docs.

    python benchmarks/methods.py

Costs are those of MobileNetV2 at 96 x 96, four images at a time, in forward passes of
the same batch, which run before and after each method: medians, and one run of what
takes longer than ten seconds. Methods for transformers are measured with a network as
large as ViT-Ti/16 at 224 x 224; `--transformers` measures these alone. Places are
measured on scenes with a handwritten digit among fragments, whose boxes are known, with
the small network of the demo, trained for six epochs. The numbers go to
docs/methods.json, the picture to docs/methods.png. The pages are made of methods.md and
choosing.md, the docstrings and the numbers; `--page` does this alone.
"""

import argparse
import inspect
import json
import os
import pathlib
import tempfile
import time

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import keras_gradcam as kg
from keras_gradcam import pictures
from keras_gradcam.demo import digit_scenes, tasks, training

DOCS = pathlib.Path(__file__).parents[1] / "docs"

# Each is made of the file of its name next to this one.
PAGES = ("methods.md", "choosing.md")

# What the sum of a raw map is, where that is known, behind average pooling and one
# dense layer.
ADDS_UP = ("gradcam", "xgradcam", "hirescam", "shapleycam", "integrated_gradients")

# Methods that ask for attention, or begin at the tokens.
OF_TRANSFORMERS = {
    name: method
    for name, method in kg.methods.METHODS.items()
    if method.row.default_layer == "embedding"
}

OF_CNNS = {
    name: method
    for name, method in kg.methods.METHODS.items()
    if name not in OF_TRANSFORMERS
}

# What is measured: the others, and an option that matters to the place of the heat.
MEASURED = {
    **OF_CNNS,
    'fullgrad(rescale="channel")': kg.methods.fullgrad(rescale="channel"),
    "fullgrad(rescale=None)": kg.methods.fullgrad(rescale=None),
}

NEEDS = {
    "nothing": "activations",
    "gradients": "gradients",
    "pooled": "gradients; average pooling and one dense layer behind the layer",
    "smoothed": "gradients of noisy inputs",
    "curvature": "gradients and a Hessian-vector product",
    "masked": "a forward pass for each channel",
    "noisy_masked": "`samples` forward passes for each channel",
    "faded_masked": "`steps` forward passes for each channel",
    "ablated": "for each channel a pass through what is behind the layer",
    "guided": "gradients with every ReLU replaced",
    "guided_at_layer": "gradients, and gradients with every ReLU replaced",
    "path": "gradients at `steps` inputs",
    "biases": "gradients at the input and at every bias",
    "attention": "attention weights and their gradients",
    "chained_attention": "the same, each attention over all tokens",
    "attention_by_depth": "the same, and the end of the network for each depth",
}


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--page", action="store_true", help="write the pages alone")
    parser.add_argument("--transformers", action="store_true", help="these alone")
    args = parser.parse_args()
    if not args.page:
        file = DOCS / "methods.json"
        measured = json.loads(file.read_text())
        if not args.transformers:
            measured |= {"costs": costs(), **places()}
        measured["transformers"] = costs_of_transformers()
        file.write_text(json.dumps(measured, indent=2) + "\n")
    write_pages()


def write_pages():
    for name in PAGES:
        (DOCS / name).write_text(page(name))


# Measuring.


def costs():
    """Forward passes that each method costs."""
    import keras

    shape = (96, 96, 3)
    return _costs(
        keras.applications.MobileNetV2(weights=None, input_shape=shape), MEASURED
    )


def costs_of_transformers():
    """The same of the methods for transformers, and of Grad-CAM beside them."""
    import networks

    return _costs(networks.vit(), {"gradcam": kg.methods.gradcam(), **OF_TRANSFORMERS})


def _costs(model, methods, batch=4):
    import numpy as np
    import tensorflow as tf

    shape = (batch, *model.input_shape[1:])
    images = np.random.default_rng(0).random(shape, dtype="float32")
    forward = tf.function(lambda x: model(x, training=False))

    def passes():
        return [_seconds(lambda: forward(images).numpy()) for _ in range(20)]

    passes()
    found = {}
    for name, method in methods.items():
        # What comes after the pooling is one dense layer, as CAM asks for.
        cam = kg.GradCAM(model, method=method, target=0)
        first = _seconds(lambda cam=cam: cam.trace(images))
        once = _seconds(lambda cam=cam: cam(images).numpy())
        before, times = passes(), [once]
        if once < 10:
            _seconds(lambda cam=cam: cam(images).numpy())
            times = [_seconds(lambda cam=cam: cam(images).numpy()) for _ in range(7)]
        unit = float(np.median([*before, *passes()]))
        found[name] = {
            "forwards": round(float(np.median(times)) / unit, 2),
            "trace_s": round(first, 1),
        }
        print(name, found[name], flush=True)
    return found


def _seconds(run):
    start = time.perf_counter()
    run()
    return time.perf_counter() - start


def places(count=200):
    """Where the maps of each method are, and whether they add up to the score."""
    from PIL import Image

    with tempfile.TemporaryDirectory() as out:
        model = training.run(tasks.digits_task(8000, 2), out, 6, 2)
    images, labels, boxes = digit_scenes.make_scenes(count, 5, "validation")
    x = images.astype("float32")
    heatmaps, found = {}, {}
    for name, method in MEASURED.items():
        cam = kg.GradCAM(model, method=method, target="true")
        heatmaps[name] = maps = _predicted(cam, x, labels)
        found[name] = {
            "pointing": round(kg.metrics.pointing_accuracy(maps, boxes), 3),
            "inside": round(kg.metrics.heat_inside(maps, boxes), 3),
        }
        if name in ADDS_UP:
            found[name]["gap"] = _gap(model, name, x[:50], labels[:50])
        print(name, found[name], flush=True)
    shown = pictures.grid(
        [
            pictures.headed(_picture(images[0], heatmaps[name][0]), name)
            for name in OF_CNNS
        ],
        columns=6,
    )
    Image.fromarray(shown).save(DOCS / "methods.png", optimize=True)
    accuracy = float((model.predict(x, verbose=0).argmax(-1) == labels).mean())
    area = float(kg.metrics.as_masks(boxes, x.shape[:3]).mean())
    return {
        "places": found,
        "scenes": count,
        "accuracy": round(accuracy, 3),
        "box_area": round(area, 3),
    }


def _predicted(cam, x, labels):
    import tensorflow as tf

    data = tf.data.Dataset.from_tensor_slices((x, labels)).batch(25)
    return cam.predict(data, verbose=0)


def _picture(image, heatmap):
    return pictures.enlarge(kg.overlay(image, heatmap), 128)


def _gap(model, name, x, labels):
    """How far the sum of a raw map is from what it should be, relative to that."""
    import numpy as np

    options = {"activation": None, "normalize": None, "resize": False}
    sums = kg.GradCAM(model, method=name, **options)(x, target=labels).numpy()
    logits = _logits(model, x)
    # Without its bias; or without the score of the baseline, a black image.
    rest = model.layers[-1].bias.numpy()
    if name == "integrated_gradients":
        rest = _logits(model, np.zeros_like(x[:1]))[0]
    expected = (logits - rest)[np.arange(len(x)), labels]
    gap = np.abs(sums.sum((1, 2)) - expected).mean() / np.abs(expected).mean()
    return float(f"{gap:.1g}")


def _logits(model, x):
    import keras

    head = model.layers[-1]
    below = keras.Model(model.inputs, head.input)(x).numpy()
    return below @ head.kernel.numpy() + head.bias.numpy()


# The page.


def page(name):
    """The text of a page, from the docstrings and the measurements."""
    measured = json.loads((DOCS / "methods.json").read_text())
    costs, places = measured["costs"], measured["places"]
    rows = [_row(name, costs[name]) for name in OF_CNNS]
    of_transformers = measured["transformers"]
    transformers = [_row(name, of_transformers[name]) for name in OF_TRANSFORMERS]
    table = [_measured_row(name, costs[name], places[name]) for name in places]
    template = pathlib.Path(__file__).with_name(name).read_text()
    return template.format(
        count=len(kg.methods.METHODS),
        rows="\n".join(rows),
        transformers="\n".join(transformers),
        gradcam=_forwards(of_transformers["gradcam"]),
        measured="\n".join(table),
        scenes=measured["scenes"],
        accuracy=f"{100 * measured['accuracy']:.0f}",
        area=f"{100 * measured['box_area']:.0f}",
        **_channels(json.loads((DOCS / "benchmarks.json").read_text())["channels"]),
    )


def _channels(measured):
    """What the section on methods by channel says of its measurement."""
    peaks, peer = measured["peak_mb"], "tf-keras-vis"
    ratios = {k: sorted(v) for k, v in measured["over_k_plus_1_forwards"].items()}
    rows = [
        f"| {label} | {channels} | {measured['median_s'][name]:.1f} s | "
        f"{ratios[name][len(ratios[name]) // 2]:.2f} | "
        f"{peaks[name]:.0f} MB |"
        for name, label, channels in (
            ("scorecam", "`scorecam`", measured["channels"]),
            ("ablationcam", "`ablationcam`", measured["channels"]),
            (peer, "Score-CAM of tf-keras-vis", measured["peer_channels"]),
        )
    ]
    return {
        "model": measured["model"],
        "size": measured["size"],
        "chunk": measured["chunk"],
        "forward_mb": f"{peaks['forward']:.0f}",
        "by_channel": "\n".join(rows),
    }


def _row(name, cost):
    text = describe(name)
    options = ", ".join(
        f"`{key}={value!r}`" for key, value in kg.methods.METHODS[name].options.items()
    )
    cells = [
        f"`{name}`",
        text["formula"],
        text["paper"],
        _needs(kg.methods.METHODS[name].row),
        options or "none",
        _forwards(cost),
        text["choose"],
    ]
    return "| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |"


def _needs(row):
    return "gradients under rules" if row.gradient_rules else NEEDS[row.evidence]


def _forwards(cost):
    forwards = cost["forwards"]
    return f"{forwards:.2f}" if forwards < 10 else f"{forwards:.0f}"


def _measured_row(name, cost, place):
    gap = place.get("gap")
    cells = [
        f"`{name}`",
        f"{100 * place['pointing']:.1f} %",
        f"{100 * place['inside']:.1f} %",
        _forwards(cost),
        "" if gap is None else f"{gap:.0e}",
    ]
    return "| " + " | ".join(cells) + " |"


def describe(name):
    """What a method's docstring says: its formula, its paper, when to choose it."""
    make = next(f for f in kg.methods.FACTORIES if f().name == name)
    text = inspect.getdoc(make)
    summary, *paragraphs = text.split("\n\n")
    formula = " ".join(paragraphs[0].split()) if "`" in paragraphs[0] else ""
    choose = next(p for p in paragraphs if p.startswith("Choose it"))
    reference = text.split("Reference:")[1]
    return {
        "summary": summary,
        "formula": formula.split(". ")[0].removesuffix(".") or summary,
        "choose": " ".join(choose.split()).removeprefix("Choose it ").removesuffix("."),
        "paper": " ".join(reference.split()).removesuffix("."),
    }


if __name__ == "__main__":
    main()
