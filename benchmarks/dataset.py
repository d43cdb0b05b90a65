"""A large dataset from end to end: images per second, and memory over time.

    python benchmarks/dataset.py --images 10000 --size 96 --repeats 7

`explain_dataset` writes the maps of all images to disk; `predict` of the same `GradCAM`
returns them as one array. Both take the same `tf.data` pipeline, whose images cost next
to nothing, with the small CNN, and run in turn in one process: rates are medians, the
ratio is the median of the rounds' ratios. `float32` maps have the images' size, `uint8`
maps that of the layer's grid. The pipeline's autotuning is off: with it, TensorFlow
2.21 often ends a pass by waiting for its tuning thread, which rounds any time up to
about 10 ms * (2^n - 1), 5.1 s or 10.2 s for instance, whatever ran. Memory is that of a
process of its own that only runs `explain_dataset` with `float32` maps: what it holds
whenever the pipeline is asked for a batch, in MB (Linux).
"""

import argparse
import itertools
import json
import os
import pathlib
import tempfile

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import memory
import networks
import numpy as np
import tensorflow as tf
import timing

import keras_gradcam as kg

OPTIONS = {"float32": {}, "uint8": {"resize": False, "output_dtype": "uint8"}}

# So many different images there are.
POOL = 256

# Memory is told at every so many images, and is to be flat from the first of them on.
STEP = 500


def main():
    args = _arguments()
    if args.memory:
        print(json.dumps(_memory(args)))
        return
    result = {
        "model": "small CNN",
        "images": args.images,
        "size": args.size,
        "batch": args.batch,
        "rates": {kind: _rates(args, options) for kind, options in OPTIONS.items()},
        **_memory_of_a_process(args),
    }
    print(json.dumps(result, indent=2))


def _arguments():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--images", type=int, default=10_000)
    parser.add_argument("--size", type=int, default=96)
    parser.add_argument("--batch", type=int, default=32)
    parser.add_argument("--repeats", type=int, default=7)
    parser.add_argument("--memory", action="store_true", help=argparse.SUPPRESS)
    return parser.parse_args()


def _rates(args, options):
    cam = kg.GradCAM(networks.small_cnn(args.size), **options)
    pool = tf.constant(networks.images(POOL, args.size))

    def images(count):
        numbers = tf.data.Dataset.range(count)
        return _untuned(numbers.map(lambda n: pool[n % POOL]).batch(args.batch))

    with tempfile.TemporaryDirectory() as folder:
        folders = (pathlib.Path(folder) / str(n) for n in itertools.count())
        contestants = {
            "explain_dataset": lambda count: _write(
                cam, images(count), args.batch, next(folders)
            ),
            "predict": lambda count: cam.predict(images(count), verbose=0),
        }
        for run in contestants.values():
            run(4 * args.batch)
        timed = {n: lambda run=run: run(args.images) for n, run in contestants.items()}
        found = timing.rounds(timed, 0, least=args.repeats)
    # The rate of one over that of the other is the other's time over the one's.
    compared = timing.over(found, "predict", "explain_dataset")
    return {
        "images_per_s": {
            name: round(float(np.median([args.images / r[name] for r in found])))
            for name in timed
        },
        "ratio": compared["ratio"],
        "quartiles": compared["quartiles"],
        "rounds": compared["rounds"],
    }


def _untuned(pipeline):
    options = tf.data.Options()
    options.autotune.enabled = False
    return pipeline.with_options(options)


def _write(cam, images, batch, folder):
    return kg.explain_dataset(cam, images, folder, batch_size=batch, verbose=0)


def _written(cam, images, batch):
    with tempfile.TemporaryDirectory() as folder:
        done = _write(cam, images, batch, folder)
        size = sum(x.stat().st_size for x in pathlib.Path(folder).iterdir())
    return done, size


def _memory(args):
    """MB that are held at each step of images, and how many bytes are written."""
    cam = kg.GradCAM(networks.small_cnn(args.size), **OPTIONS["float32"])
    pool = networks.images(POOL, args.size)
    held = []

    def batches():
        for start in range(0, args.images, args.batch):
            held.append((start, round(memory.resident(), 1)))
            numbers = np.arange(start, min(start + args.batch, args.images))
            yield pool[numbers % POOL]

    spec = tf.TensorSpec((None, args.size, args.size, 3), "float32")
    images = tf.data.Dataset.from_generator(batches, output_signature=spec)
    done, size = _written(cam, images, args.batch)
    assert done.explained == args.images
    held.append((args.images, round(memory.resident(), 1)))
    flat = [mb for at, mb in held if at >= STEP]
    return {
        "memory_mb": [[at, mb] for at, mb in held if _is_first_of_step(at, args.batch)],
        "growth_mb": round(max(flat) - flat[0], 1),
        "written_mb": round(size / 2**20, 1),
    }


def _is_first_of_step(at, batch):
    return at % STEP < batch


def _memory_of_a_process(args):
    options = [
        f"--images={args.images}",
        f"--size={args.size}",
        f"--batch={args.batch}",
    ]
    return memory.of_a_process(__file__, [*options, "--memory"])


if __name__ == "__main__":
    main()
