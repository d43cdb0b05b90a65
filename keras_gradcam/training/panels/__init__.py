"""The panels of a training: how they are drawn, and what is said below them."""

from keras_gradcam.training.panels.captions import Captions, name_of
from keras_gradcam.training.panels.panel_drawer import PanelDrawer, check_size

__all__ = [
    "Captions",
    "PanelDrawer",
    "check_size",
    "name_of",
]
