"""The demo: a small network learns, and its heatmaps move onto what it learns."""

from keras_gradcam.demo.digit_scenes import make_scenes
from keras_gradcam.demo.tasks import Task, digits_task, folder_task
from keras_gradcam.demo.training import build_network, run

__all__ = [
    "Task",
    "build_network",
    "digits_task",
    "folder_task",
    "make_scenes",
    "run",
]
