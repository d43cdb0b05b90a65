"""What maps cost next to a compiled forward pass of the same batch.

    python benchmarks/speed.py --model MobileNetV2 --size 224 --batch 32 --seconds 30

Both run in turn in one process, from images to NumPy: the forward pass to predictions,
the maps to heatmaps of the images' size, normalised. Times are medians, the ratio is
the median of the rounds' ratios: the machine's mood reaches both alike. The first call
and the peak memory are medians of `--processes` processes for each (Linux): the first
call in seconds with all that is traced and compiled for it, also by `GradCAM(model)`;
memory in MB above what there was before the first call, on the GPU where there is one.
With `--xla` both are compiled with XLA; `--policy` is Keras' policy of types.
"""

import argparse
import json
import os

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import keras
import memory
import networks
import numpy as np
import tensorflow as tf
import timing

import keras_gradcam as kg

NAMES = ("forward", "maps")


def main():
    args = _arguments()
    keras.config.set_dtype_policy(args.policy)
    if args.first_of:
        print(json.dumps(_first(args)))
        return
    print(json.dumps({**_times(args), **_firsts(args)}, indent=2))


def _arguments():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument(
        "--model", default="MobileNetV2", help="of keras.applications, or 'small CNN'"
    )
    parser.add_argument("--size", type=int, default=224)
    parser.add_argument("--batch", type=int, default=32)
    parser.add_argument("--seconds", type=float, default=30, help="for all rounds")
    parser.add_argument("--processes", type=int, default=1, help="0: no memory")
    parser.add_argument("--layer", help="default: the last with a grid")
    parser.add_argument("--xla", action="store_true")
    parser.add_argument("--policy", default="float32")
    parser.add_argument("--first-of", choices=NAMES, help=argparse.SUPPRESS)
    return parser.parse_args()


def _makers(args, model, images):
    """Functions that make what is measured."""

    def forward():
        call = tf.function(lambda x: model(x, training=False), jit_compile=args.xla)
        return lambda: call(images).numpy()

    def maps():
        cam = kg.GradCAM(model, args.layer, jit_compile=args.xla)
        return lambda: cam(images).numpy()

    return {"forward": forward, "maps": maps}


def _times(args):
    model = networks.build(args.model, args.size)
    makers = _makers(args, model, networks.images(args.batch, args.size))
    contestants = {name: make() for name, make in makers.items()}
    for run in contestants.values():
        run()
        run()
    found = timing.rounds(contestants, args.seconds)
    return {
        "model": args.model,
        "size": args.size,
        "batch": args.batch,
        "layer": args.layer or kg.GradCAM(model).layer,
        "xla": args.xla,
        "policy": args.policy,
        "median_ms": timing.medians_ms(found),
        **timing.over(found, "maps", "forward"),
    }


def _first(args):
    """What one contestant needs at first, in a process of its own."""
    model = networks.build(args.model, args.size)
    make = _makers(args, model, networks.images(args.batch, args.size))[args.first_of]
    made, seconds = [], []

    def run():
        if not made:
            seconds.append(timing.seconds(lambda: made.append(make()) or made[0]()))
        made[0]()

    return {"peak_mb": memory.peak(run), "first_call_s": seconds[0]}


def _firsts(args):
    if not args.processes:
        return {}
    found = {
        name: [_first_of_a_process(args, name) for _ in range(args.processes)]
        for name in NAMES
    }
    result = {
        key: {
            name: round(float(np.median([one[key] for one in ones])), 2)
            for name, ones in found.items()
        }
        for key in ("first_call_s", "peak_mb")
    }
    peaks = result["peak_mb"]
    ratio = round(peaks["maps"] / peaks["forward"], 3) if peaks["forward"] else None
    return {**result, "peak_ratio": ratio, "processes": args.processes}


def _first_of_a_process(args, name):
    options = [f"--model={args.model}", f"--size={args.size}", f"--batch={args.batch}"]
    options += [f"--policy={args.policy}", *(["--xla"] if args.xla else [])]
    options += [f"--layer={args.layer}"] if args.layer else []
    return memory.of_a_process(__file__, [*options, f"--first-of={name}"])


if __name__ == "__main__":
    main()
