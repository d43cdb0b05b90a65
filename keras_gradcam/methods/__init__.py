"""The formulas of the methods, and the table of them by name."""

from keras_gradcam.methods.activation_methods import (
    eigencam,
    eigengradcam,
    fem,
    first_component,
    kpcacam,
    random,
)
from keras_gradcam.methods.attention_methods import (
    attention_rollout,
    attnlrp,
    gradsam,
    legrad,
    libragrad,
    transformer_attribution,
)
from keras_gradcam.methods.gradient_methods import (
    cam,
    depth_consensus,
    elementwise,
    gradcam,
    gradcam_plus_plus,
    hirescam,
    layercam,
    shapleycam,
    smoothgradcam_plus_plus,
    xgradcam,
)
from keras_gradcam.methods.input_methods import (
    fullgrad,
    guided_backprop,
    guided_gradcam,
    integrated_gradients,
    saliency,
    smoothgrad,
)
from keras_gradcam.methods.method import OPTIONS, Custom, Method
from keras_gradcam.methods.score_methods import ablationcam, iscam, scorecam, sscam
from keras_gradcam.methods.table import FACTORIES, METHODS, get, name_of

__all__ = [
    "Custom",
    "FACTORIES",
    "METHODS",
    "Method",
    "OPTIONS",
    "ablationcam",
    "attention_rollout",
    "attnlrp",
    "cam",
    "depth_consensus",
    "eigencam",
    "eigengradcam",
    "elementwise",
    "fem",
    "first_component",
    "fullgrad",
    "get",
    "gradcam",
    "gradcam_plus_plus",
    "gradsam",
    "guided_backprop",
    "guided_gradcam",
    "hirescam",
    "integrated_gradients",
    "iscam",
    "kpcacam",
    "layercam",
    "legrad",
    "libragrad",
    "name_of",
    "random",
    "saliency",
    "scorecam",
    "shapleycam",
    "smoothgrad",
    "smoothgradcam_plus_plus",
    "sscam",
    "transformer_attribution",
    "xgradcam",
]
