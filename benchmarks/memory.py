"""Peak memory of a run, measured in a process of its own (Linux)."""

import pathlib
import subprocess
import sys


def of_a_process(file, options):
    """Runs `file` with `options` in a process of its own, which prints its `peak`."""
    command = [sys.executable, file, *options]
    output = subprocess.run(command, check=True, capture_output=True, text=True)
    return float(output.stdout.splitlines()[-1])


def peak(run, times=3):
    """MB of memory at the peak of `run`, above what there was before."""
    # Makes the kernel forget the peak of the imports.
    pathlib.Path("/proc/self/clear_refs").write_text("5")
    before = _resident("VmRSS")
    for _ in range(times):
        run()
    return round((_resident("VmHWM") - before) / 1024, 1)


def _resident(name):
    status = pathlib.Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in status if line.startswith(name))
