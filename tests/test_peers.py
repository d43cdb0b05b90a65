"""The same weights in tf-keras-vis: equal where both follow the same rules."""

import numpy as np
import pytest
from conftest import make_classifier
from scipy.ndimage import zoom

import keras_gradcam as kg

pytest.importorskip("tf_keras_vis")


def _peer_map(model, image, layer, target):
    """The map of tf-keras-vis 0.8 before its resizing and min-max."""
    from tf_keras_vis.gradcam import Gradcam
    from tf_keras_vis.utils.model_modifiers import ReplaceToLinear
    from tf_keras_vis.utils.scores import CategoricalScore

    peer = Gradcam(model, model_modifier=ReplaceToLinear(), clone=True)
    maps = peer(
        CategoricalScore([target]),
        image[None],
        penultimate_layer=layer,
        expand_cam=False,
        normalize_cam=False,
    )
    return np.asarray(maps)[0]


def _functional(head):
    """tf-keras-vis does not take the `Sequential` model apart; its graph it does."""
    import keras

    inputs = keras.Input((16, 12, 3))
    sequential = make_classifier(head)
    x = inputs
    for layer in sequential.layers:
        x = layer(x)
    return keras.Model(inputs, x)


# NumPy 2 and Keras 3 deprecations inside tf-keras-vis, which is not ours to mend.
pytestmark = [
    pytest.mark.filterwarnings("ignore::DeprecationWarning"),
    pytest.mark.filterwarnings("ignore::UserWarning"),
]


@pytest.mark.parametrize("head", ["gap", "flatten"])
@pytest.mark.parametrize("layer", ["first", "last"])
def test_equals_tf_keras_vis(images, head, layer):
    model = _functional(head)
    raw = kg.GradCAM(model, layer, normalize=None, resize=False)
    shown = kg.GradCAM(model, layer, normalize="minmax")
    for target in (0, 3):
        for i, image in enumerate(images[:2]):
            theirs = _peer_map(model, image, layer, target)
            ours = raw(images, target=target)[i].numpy()
            scale = theirs.max()
            if scale == 0:
                assert ours.max() == 0
                continue
            np.testing.assert_allclose(ours / scale, theirs / scale, atol=1e-5)
            # Its resizing aligns the corners, ours the pixels' centres: theirs is
            # reproduced on our grid, then stretched as both do.
            factors = np.array(image.shape[:2]) / ours.shape
            zoomed = zoom(ours, factors, order=1)
            stretched = (zoomed - zoomed.min()) / (np.ptp(zoomed) + 1e-7)
            np.testing.assert_allclose(
                stretched, _peer_picture(model, image, layer, target), atol=1e-4
            )
            assert np.abs(stretched - shown(images, target=target)[i]).max() < 0.5


def _peer_picture(model, image, layer, target):
    from tf_keras_vis.gradcam import Gradcam
    from tf_keras_vis.utils.model_modifiers import ReplaceToLinear
    from tf_keras_vis.utils.scores import CategoricalScore

    peer = Gradcam(model, model_modifier=ReplaceToLinear(), clone=True)
    return peer(CategoricalScore([target]), image[None], penultimate_layer=layer)[0]
