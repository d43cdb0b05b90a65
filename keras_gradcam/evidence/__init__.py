"""What a formula needs to know of a model."""

from keras_gradcam.evidence import chunking, gathering, perturbable_inputs
from keras_gradcam.evidence.gathering import GatheredEvidence
from keras_gradcam.evidence.noise import noisy_inputs

__all__ = [
    "GatheredEvidence",
    "chunking",
    "gathering",
    "noisy_inputs",
    "perturbable_inputs",
]
