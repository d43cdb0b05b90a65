"""Peak memory of a run, measured in a process of its own (Linux)."""

import json
import pathlib
import subprocess
import sys


def of_a_process(file, options):
    """Runs `file` with `options` in a process of its own; what its last line says."""
    command = [sys.executable, file, *options]
    output = subprocess.run(command, check=True, capture_output=True, text=True)
    return json.loads(output.stdout.splitlines()[-1])


def peak(run, times=3):
    """MB at the peak of `run`, above what there was before; of the GPU if there is."""
    import tensorflow as tf

    if gpus := tf.config.list_logical_devices("GPU"):
        return _device_peak(run, times, gpus[0].name)
    # Makes the kernel forget the peak of the imports.
    pathlib.Path("/proc/self/clear_refs").write_text("5")
    before = resident()
    for _ in range(times):
        run()
    return round(resident("VmHWM") - before, 1)


def _device_peak(run, times, device):
    import tensorflow as tf

    info = tf.config.experimental.get_memory_info
    tf.config.experimental.reset_memory_stats(device)
    before = info(device)["current"]
    for _ in range(times):
        run()
    return round((info(device)["peak"] - before) / 2**20, 1)


def resident(name="VmRSS"):
    """MB of memory that this process holds, or held at most with `"VmHWM"`."""
    status = pathlib.Path("/proc/self/status").read_text().splitlines()
    kilobytes = next(int(x.split()[1]) for x in status if x.startswith(name))
    return kilobytes / 1024
