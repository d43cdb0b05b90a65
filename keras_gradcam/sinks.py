"""Where panels and numbers go besides TensorBoard: picture files and animations."""

from keras_gradcam.training.writers import (
    PictureFiles,
)

__all__ = [
    "PictureFiles",
]
