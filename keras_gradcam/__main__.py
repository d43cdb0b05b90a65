"""Runs the command line as `python -m keras_gradcam`."""

import sys

from keras_gradcam.cli import main

sys.exit(main())
