"""How long `import keras_gradcam` takes, and how much of it is not TensorFlow's.

    python benchmarks/imports.py --processes 7

Each import is that of a fresh process, in turn: of TensorFlow and Keras with what comes
on top of them with the package, and of the package alone. Milliseconds, medians, after
one of each that fills the caches.
"""

import argparse
import json
import os
import subprocess
import sys

import numpy as np

CLOCK = "import time; a = time.perf_counter(); {}; b = time.perf_counter(); "
LAST = "import keras_gradcam; c = time.perf_counter(); print(b - a, c - b)"
PROGRAMS = {
    "on top": CLOCK.format("import tensorflow, keras") + LAST,
    "alone": CLOCK.format("pass") + LAST,
}


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--processes", type=int, default=7)
    processes = parser.parse_args().processes
    found = [
        {name: _seconds(program) for name, program in PROGRAMS.items()}
        for _ in range(processes + 1)
    ][1:]
    result = {
        "tensorflow_and_keras_ms": _median_ms([r["on top"][0] for r in found]),
        "ours_on_top_ms": _median_ms([r["on top"][1] for r in found]),
        "keras_gradcam_ms": _median_ms([r["alone"][1] for r in found]),
        "processes": processes,
    }
    print(json.dumps(result, indent=2))


def _seconds(program):
    command = [sys.executable, "-c", program]
    quiet = {**os.environ, "TF_CPP_MIN_LOG_LEVEL": "3"}
    output = subprocess.run(
        command, env=quiet, check=True, capture_output=True, text=True
    )
    return [float(x) for x in output.stdout.splitlines()[-1].split()]


def _median_ms(values):
    return round(1e3 * float(np.median(values)))


if __name__ == "__main__":
    main()
