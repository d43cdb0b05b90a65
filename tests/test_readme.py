"""The README's table for people with the usual recipe: each row does what it says."""

import pathlib
import re

import keras
import numpy as np
import PIL.Image
import pytest
import replicas
import tensorflow as tf
from conftest import make_classifier
from test_docs import BLOCK

import keras_gradcam as kg

README = (pathlib.Path(__file__).parents[1] / "README.md").read_text()
ROWS = re.findall(r"^\| (?!There)(.+) \| `(.+)` \|$", README, re.MULTILINE)


def usual_recipe(images, classes):
    """Grad-CAM as tutorials write it: a second model, a tape, a mean, a ReLU."""
    logits = make_classifier(activation=None)
    both = keras.Model(
        logits.inputs[0], [logits.get_layer("last").output, logits.outputs[0]]
    )
    with tf.GradientTape() as tape:
        activations, outputs = both(images)
        score = tf.gather(outputs, classes, axis=1, batch_dims=1)
    gradients = tape.gradient(score, activations)
    raw = tf.einsum("bijk,bk->bij", activations, tf.reduce_mean(gradients, (1, 2)))
    # The grid begins two pixels inside the image; tutorials stretch it over all of it.
    placed = [
        replicas.over_image(np.maximum(one, 0), image, "last")
        for one, image in zip(raw, images, strict=True)
    ]
    heatmaps = [one / one.max() for one in placed]
    return heatmaps, gradients, activations


@pytest.fixture(scope="module")
def done(tmp_path_factory):
    """The names that the right column assigns, run from top to bottom."""
    folder = tmp_path_factory.mktemp("readme")
    keras.utils.set_random_seed(0)
    make_classifier().save(folder / "model.keras")
    rng = np.random.default_rng(0)
    pixels = rng.integers(0, 256, (40, 30, 3), np.uint8)
    PIL.Image.fromarray(pixels).save(folder / "photo.png")
    namespace = {
        "PIL": PIL,
        "keras": keras,
        "kg": kg,
        "path": folder / "model.keras",
        "file": folder / "photo.png",
        "preprocess_input": lambda image: image / 127.5 - 1,
        "target_class": 2,
        "layer_name": "last",
        "layer_names": ["first", "last"],
        "images": rng.random((3, 16, 12, 3)).astype("float32"),
        "classes": [2, 0, 2],
    }
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        for _, code in ROWS:
            exec(code, namespace)
    return {**namespace, "folder": folder}


def test_the_table_is_whole():
    assert len(ROWS) == 11
    assigned = [code.split(" = ")[0] for _, code in ROWS if " = " in code]
    assert " ".join(assigned) == (
        "model image x heatmap picture figure cam heatmaps gradients activations"
    )


def test_load_model_loads_the_model(done):
    expected = make_classifier().get_weights()
    for actual, weight in zip(done["model"].get_weights(), expected, strict=True):
        np.testing.assert_array_equal(actual, weight)


def test_load_image_has_the_size_of_the_input(done):
    photo = PIL.Image.open(done["file"])
    expected = photo.resize((12, 16), PIL.Image.Resampling.BILINEAR)
    np.testing.assert_array_equal(done["image"], np.asarray(expected))


def test_preprocessing_leaves_the_picture_alone(done):
    np.testing.assert_allclose(done["x"], done["image"] / 127.5 - 1)
    assert done["image"].dtype == np.uint8


def test_gradcam_equals_the_usual_recipe(done):
    expected, _, _ = usual_recipe(done["x"][None].astype("float32"), [2])
    np.testing.assert_allclose(done["heatmap"], expected[0], atol=1e-5)


def test_overlay_is_drawn_on_the_image(done):
    cold = done["heatmap"] == 0
    assert cold.any()
    np.testing.assert_array_equal(done["picture"][cold], done["image"][cold])
    assert (done["picture"][~cold] != done["image"][~cold]).any()


def test_layers_are_shown_side_by_side(done):
    titles = [axes.get_title() for axes in done["figure"].axes]
    assert titles == ["", "first", "last"]


def test_the_saved_picture_is_the_overlay(done):
    saved = np.asarray(PIL.Image.open(done["folder"] / "overlay.png"))
    np.testing.assert_array_equal(saved, done["picture"])


@pytest.mark.parametrize(
    "index, name", [(0, "heatmaps"), (1, "gradients"), (2, "activations")]
)
def test_the_class_equals_the_usual_recipe(done, index, name):
    expected = usual_recipe(done["images"], done["classes"])
    np.testing.assert_allclose(done[name], expected[index], atol=1e-5)
    assert np.ptp(done[name]) > 1e-3


def test_the_first_lines_are_whole():
    [(code, _)] = BLOCK.findall(README)
    assert len([line for line in code.splitlines() if line]) <= 10
    for name in ("GradCAM(model)", "predict(", "overlay(", "GradCAMCallback("):
        assert name in code
