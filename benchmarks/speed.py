"""What maps cost next to a compiled forward pass of the same batch.

    python benchmarks/speed.py --model MobileNetV2 --size 224 --batch 16 --rounds 15

Both run in turn in one process, from images to NumPy: the forward pass to predictions,
the maps to heatmaps of the images' size, normalised. Times are medians, the ratio is
the median of the rounds' ratios: the machine's mood reaches both alike. Peak memory is
that of a process of its own for each, above what it held before the first pass (Linux).
"""

import argparse
import json
import os
import time

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import keras
import memory
import numpy as np
import tensorflow as tf

import keras_gradcam as kg


def main():
    args = _arguments()
    if args.memory_of:
        print(memory.peak(_contestants(args)[args.memory_of]))
        return
    result = {**_times(args), **_memories(args)}
    print(json.dumps(result, indent=2))


def _arguments():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--model", default="MobileNetV2", help="of keras.applications")
    parser.add_argument("--size", type=int, default=224)
    parser.add_argument("--batch", type=int, default=16)
    parser.add_argument("--rounds", type=int, default=15)
    parser.add_argument("--layer", help="default: the last with a grid")
    parser.add_argument(
        "--memory-of", choices=["forward", "maps"], help=argparse.SUPPRESS
    )
    return parser.parse_args()


def _contestants(args):
    build = getattr(keras.applications, args.model)
    model = build(weights=None, input_shape=(args.size, args.size, 3))
    shape = (args.batch, args.size, args.size, 3)
    images = np.random.default_rng(0).random(shape, dtype="float32")
    forward = tf.function(lambda x: model(x, training=False))
    cam = kg.GradCAM(model, args.layer)
    return {
        "forward": lambda: forward(images).numpy(),
        "maps": lambda: cam(images).numpy(),
    }


def _times(args):
    contestants = _contestants(args)
    first = {name: _seconds(run) for name, run in contestants.items()}
    rounds = [
        {name: _seconds(run) for name, run in contestants.items()}
        for _ in range(args.rounds)
    ]
    ratios = [r["maps"] / r["forward"] for r in rounds]
    return {
        "model": args.model,
        "size": args.size,
        "batch": args.batch,
        "layer": args.layer,
        "first_call_s": {name: round(value, 2) for name, value in first.items()},
        "median_ms": {
            name: round(1e3 * float(np.median([r[name] for r in rounds])), 1)
            for name in contestants
        },
        "maps_over_forward": round(float(np.median(ratios)), 3),
        "quartiles": [round(float(q), 3) for q in np.quantile(ratios, [0.25, 0.75])],
    }


def _seconds(run):
    start = time.perf_counter()
    run()
    return time.perf_counter() - start


def _memories(args):
    peaks = {name: _memory_of_a_process(args, name) for name in ("forward", "maps")}
    return {
        "peak_mb": peaks,
        "peak_maps_over_forward": round(peaks["maps"] / peaks["forward"], 3),
    }


def _memory_of_a_process(args, name):
    options = [f"--model={args.model}", f"--size={args.size}", f"--batch={args.batch}"]
    options += [f"--layer={args.layer}"] if args.layer else []
    return memory.of_a_process(__file__, [*options, f"--memory-of={name}"])


if __name__ == "__main__":
    main()
