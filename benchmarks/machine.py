"""What a benchmark ran on: processor, memory, accelerators and versions, as JSON.

    python benchmarks/machine.py

Memory is in 2^30 bytes.
"""

import json
import os
import pathlib
import platform
from importlib.metadata import version

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

# Those that decide about times.
PACKAGES = ("tensorflow", "keras", "numpy")


def describe():
    import tensorflow as tf

    devices = [
        d for kind in ("GPU", "TPU") for d in tf.config.list_physical_devices(kind)
    ]
    details = map(tf.config.experimental.get_device_details, devices)
    names = [
        detail.get("device_name", device.device_type)
        for device, detail in zip(devices, details, strict=True)
    ]
    return {
        "cpu": _field("/proc/cpuinfo", "model name") or platform.processor(),
        "cores": len(os.sched_getaffinity(0)),
        "memory_gb": round(int(_field("/proc/meminfo", "MemTotal").split()[0]) / 2**20),
        "accelerators": names,
        "python": platform.python_version(),
        **{package: version(package) for package in PACKAGES},
    }


def _field(path, name):
    lines = pathlib.Path(path).read_text().splitlines()
    return next((x.split(":")[1].strip() for x in lines if x.startswith(name)), None)


if __name__ == "__main__":
    print(json.dumps(describe()))
