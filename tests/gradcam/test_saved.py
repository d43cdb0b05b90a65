"""What earlier versions have saved is loaded as what it was."""

import pickle

import keras
import numpy as np
import pytest
from conftest import TESTS

import keras_gradcam as kg

SAVED = TESTS / "saved"


def _saved_model():
    return keras.saving.load_model(SAVED / "gradcam_0.1.0.keras")


def _pickled():
    return pickle.loads((SAVED / "gradcam_0.1.0.pickle").read_bytes())


@pytest.mark.parametrize("load", [_saved_model, lambda: _pickled()["cam"]])
def test_a_saved_gradcam_is_the_one_that_was_saved(images, load):
    cam = load()
    anew = kg.GradCAM(
        cam.model,
        ["first", "last"],
        method=kg.methods.scorecam(channels=4),
        target=kg.targets.contrast(gamma=0.5),
        smooth=kg.smoothing.noise(samples=2),
        fuse="tanh_max",
    )
    assert {**cam.get_config(), "name": ""} == {**anew.get_config(), "name": ""}
    np.testing.assert_allclose(cam(images), anew(images), atol=1e-6)


def test_pickled_targets_and_smoothings_are_what_they_were():
    found = _pickled()
    assert found["target"] == kg.targets.contrast(gamma=0.5)
    assert found["smooth"] == kg.smoothing.noise(samples=2)
