"""What importing the package costs, and what it leaves alone."""

import subprocess
import sys


def test_pictures_and_plots_are_imported_only_when_used():
    code = """
import sys
import keras
before = set(sys.modules)
import keras_gradcam
loaded = {name.split(".")[0] for name in set(sys.modules) - before}
assert not loaded & {"matplotlib", "PIL", "sklearn", "tensorboard"}, loaded
"""
    subprocess.run([sys.executable, "-c", code], check=True)
