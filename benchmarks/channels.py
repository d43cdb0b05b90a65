"""What methods cost that ask for the score of each channel of a layer.

    python benchmarks/channels.py --model ResNet50 --size 224 --chunk 16

Score-CAM of K channels needs K masked inputs and the input itself: its time is told in
forward passes of batches of the same size, which run before it, between the rounds and
after it in the same process, (K + 1) / chunk of them. Ablation-CAM is told in the same
unit, although what comes before the layer runs only once. Peak memory is that of a
process of its own for each, above what it held before the first pass (Linux).
tf-keras-vis' Score-CAM runs on as many channels as `--peer-channels` says, and is told
in as many forward passes, and one.
"""

import argparse
import json
import os

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import keras
import memory
import numpy as np
import tensorflow as tf
import timing

import keras_gradcam as kg

METHODS = {"scorecam": kg.methods.scorecam, "ablationcam": kg.methods.ablationcam}


def main():
    # The peer predicts with a progress bar.
    keras.utils.disable_interactive_logging()
    args = _arguments()
    if args.memory_of:
        print(memory.peak(_contestants(args)[args.memory_of], times=1))
        return
    print(json.dumps({**_times(args), **_memories(args)}, indent=2))


def _arguments():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--model", default="ResNet50", help="of keras.applications")
    parser.add_argument("--size", type=int, default=224)
    parser.add_argument("--chunk", type=int, default=16, help="inputs at once")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--layer", help="default: the last with a grid")
    parser.add_argument("--peer-channels", type=int, default=128, help="0: no peer")
    parser.add_argument(
        "--memory-of",
        choices=["forward", *METHODS, "tf-keras-vis"],
        help=argparse.SUPPRESS,
    )
    return parser.parse_args()


def _contestants(args):
    build = getattr(keras.applications, args.model)
    model = build(weights=None, input_shape=(args.size, args.size, 3))
    shape = (args.chunk, args.size, args.size, 3)
    images = np.random.default_rng(0).random(shape, dtype="float32")
    forward = tf.function(lambda x: model(x, training=False))
    contestants = {"forward": lambda: forward(images).numpy()}
    for name, method in METHODS.items():
        cam = kg.GradCAM(model, args.layer, method(), chunk_size=args.chunk)
        contestants[name] = lambda cam=cam: cam(images[:1]).numpy()
    if args.peer_channels:
        contestants["tf-keras-vis"] = _peer(args, model, images[:1])
    return contestants


def _peer(args, model, images):
    from tf_keras_vis.scorecam import Scorecam
    from tf_keras_vis.utils.model_modifiers import ReplaceToLinear
    from tf_keras_vis.utils.scores import CategoricalScore

    peer = Scorecam(model, model_modifier=ReplaceToLinear(), clone=True)
    return lambda: peer(
        CategoricalScore([0]),
        images,
        penultimate_layer=-1,
        batch_size=args.chunk,
        max_N=args.peer_channels,
    )


def _channels(args):
    build = getattr(keras.applications, args.model)
    model = build(weights=None, input_shape=(args.size, args.size, 3))
    names = kg.GradCAM(model, args.layer)
    return names.activations(np.zeros((1, args.size, args.size, 3))).shape[-1]


def _times(args):
    contestants = _contestants(args)
    forward = contestants.pop("forward")
    first = {name: timing.seconds(run) for name, run in contestants.items()}
    rounds = []
    for _ in range(args.rounds):
        times = {}
        for name, run in contestants.items():
            before = [timing.seconds(forward) for _ in range(5)]
            times[name] = timing.seconds(run)
            passes = [*before, *[timing.seconds(forward) for _ in range(5)]]
            times[name, "pass"] = float(np.median(passes)) / args.chunk
        rounds.append(times)
    channels = _channels(args)
    counts = dict.fromkeys(contestants, channels + 1)
    counts["tf-keras-vis"] = args.peer_channels + 1
    ratios = {
        name: [r[name] / (counts[name] * r[name, "pass"]) for r in rounds]
        for name in contestants
    }
    return {
        "model": args.model,
        "size": args.size,
        "channels": channels,
        "peer_channels": args.peer_channels,
        "chunk": args.chunk,
        "first_call_s": {name: round(s, 1) for name, s in first.items()},
        "median_s": {
            name: round(float(np.median([r[name] for r in rounds])), 2)
            for name in contestants
        },
        "forward_ms_per_image": round(
            1e3 * float(np.median([r["scorecam", "pass"] for r in rounds])), 2
        ),
        "over_k_plus_1_forwards": {
            name: [round(x, 3) for x in sorted(values)]
            for name, values in ratios.items()
        },
    }


def _memories(args):
    names = ["forward", *METHODS] + (["tf-keras-vis"] if args.peer_channels else [])
    options = [f"--model={args.model}", f"--size={args.size}", f"--chunk={args.chunk}"]
    options += [f"--layer={args.layer}"] if args.layer else []
    options += [f"--peer-channels={args.peer_channels}"]
    return {
        "peak_mb": {
            name: memory.of_a_process(__file__, [*options, f"--memory-of={name}"])
            for name in names
        }
    }


if __name__ == "__main__":
    main()
