"""Where panels and numbers go: TensorBoard, picture files."""

from keras_gradcam.training.writers.event_files import EventFiles
from keras_gradcam.training.writers.picture_files import PictureFiles

__all__ = [
    "EventFiles",
    "PictureFiles",
]
