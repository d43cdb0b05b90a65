"""Every method against a replica from its paper, and against closed-form identities."""

import numpy as np
import pytest
import replicas
from conftest import make_classifier
from test_formulas import RAW, close

import keras_gradcam as kg

pytestmark = pytest.mark.filterwarnings("ignore:.* of the maps are all zeros")

METHODS = kg.methods.METHODS
NAMES = list(METHODS)
LINEAR = ["gradcam", "xgradcam", "hirescam"]


def random_evidence(shape, seed=0, sign=None):
    rng = np.random.default_rng(seed)
    a, g = rng.normal(size=(2, 2, *shape)).astype("float32")
    return (a if sign is None else np.abs(a)), g


def raw_maps(model, images, method, target=2, layer="last"):
    cam = kg.GradCAM(model, layer, method=method, target=target, **RAW)
    return cam(images).numpy()


def test_every_method_has_a_replica():
    assert set(METHODS) == set(replicas.METHODS)


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("sign", [None, "positive"])
@pytest.mark.parametrize("shape", [(5, 7), (4, 6, 7), (3, 4, 5, 6)])
def test_a_method_equals_its_replica_on_any_rank(name, sign, shape):
    a, g = random_evidence(shape, sign=sign)
    expected = [replicas.METHODS[name](*sample) for sample in zip(a, g, strict=True)]
    close(METHODS[name](a, g, None), expected)


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("scale", [1e-12, 1e12])
def test_a_method_does_not_care_for_the_unit_of_the_score(name, scale):
    """Real gradients of 1e-12 are neither rounded away nor held up by an epsilon."""
    a, g = random_evidence((4, 6, 7), sign="positive")
    tiny = METHODS[name](a, np.float32(scale) * g, None)
    expected = [
        replicas.METHODS[name](x.astype("float64"), scale * y.astype("float64"))
        for x, y in zip(a, g, strict=True)
    ]
    close(tiny, expected)


@pytest.mark.parametrize("name", NAMES)
def test_nothing_comes_of_nothing(name):
    a, g = random_evidence((4, 6, 7))
    for evidence in ((a, 0 * g), (0 * a, g)):
        found = np.asarray(METHODS[name](*evidence, None))
        np.testing.assert_array_equal(found, 0)


@pytest.mark.parametrize("name", NAMES)
def test_a_sample_that_is_nan_is_alone(name):
    a, g = random_evidence((4, 6, 7))
    alone = np.asarray(METHODS[name](a, g, None))
    a[0, 1, 2, 3] = np.nan
    found = np.asarray(METHODS[name](a, g, None))
    assert np.isnan(found[0]).any()
    np.testing.assert_array_equal(found[1], alone[1])


@pytest.mark.parametrize("name", NAMES)
def test_channels_have_no_order_and_no_unit(name):
    """Permuted, or scaled together with what comes next, they change nothing."""
    a, g = random_evidence((4, 6, 7))
    expected = METHODS[name](a, g, None)
    order = np.random.default_rng(1).permutation(7)
    close(METHODS[name](a[..., order], g[..., order], None), expected)
    scale = np.random.default_rng(2).uniform(0.5, 2, 7).astype("float32")
    # A scaled channel has the inverse gradient.
    close(METHODS[name](scale * a, g / scale, None), expected)


def test_behind_pooling_three_methods_are_gradcam(images):
    model = make_classifier("gap")
    expected = raw_maps(model, images, "gradcam")
    for name in ("hirescam", "xgradcam"):
        close(raw_maps(model, images, name), expected)


def test_behind_pooling_gradcam_plus_plus_is_known(images):
    """Grad-CAM++ = sum_k HW relu(g_k) / (2 + g_k S_k) A_k."""
    model = make_classifier("gap")
    cam = kg.GradCAM(model, target=2, **RAW)
    a, g = cam.activations(images).numpy(), cam.gradients(images).numpy()[:, 0, 0]
    sums, cells = a.sum((1, 2)), a.shape[1] * a.shape[2]
    weights = cells * np.maximum(g, 0) / (2 + g * sums)
    expected = np.einsum("bijk,bk->bij", a, weights)
    close(raw_maps(model, images, "gradcam++"), expected)


def test_behind_one_dense_layer_hirescam_sums_to_the_logit(images):
    model = make_classifier("flatten", activation=None)
    bias = model.get_layer("head").get_weights()[1][2]
    logit = model(images)[:, 2].numpy() - bias
    close(raw_maps(model, images, "hirescam").sum((1, 2)), logit)
    gradcam = raw_maps(model, images, "gradcam").sum((1, 2))
    assert np.abs(gradcam - logit).max() > 0.05 * np.abs(logit).max()


@pytest.mark.parametrize("layer", ["first", "last"])
def test_xgradcam_and_hirescam_have_one_sum(images, layer):
    model = make_classifier("flatten")
    sums = [
        raw_maps(model, images, name, layer=layer).sum((1, 2))
        for name in ("xgradcam", "hirescam")
    ]
    close(*sums, tolerance=2e-5)


@pytest.mark.parametrize("layer", ["first", "last"])
def test_layercam_for_and_against_is_hirescam(images, layer):
    """For A >= 0: LayerCAM(Y) - LayerCAM(-Y) = HiResCAM(Y) <= LayerCAM(Y)."""
    model = make_classifier("flatten")
    counter = kg.targets.counterfactual(2)
    layercam = raw_maps(model, images, "layercam", layer=layer)
    against = raw_maps(model, images, "layercam", counter, layer)
    hirescam = raw_maps(model, images, "hirescam", layer=layer)
    close(layercam - against, hirescam)
    assert (layercam >= hirescam - 1e-6).all()
    # And of positive activations the positive products are LayerCAM.
    close(raw_maps(model, images, "elementwise", layer=layer), layercam)


@pytest.mark.parametrize("name", NAMES)
def test_linear_in_the_score(images, name):
    model = make_classifier("flatten", activation=None)
    one, two = (raw_maps(model, images, name, target) for target in (1, 2))
    mixed = raw_maps(model, images, name, lambda y: 3 * y[:, 1] - 2 * y[:, 2] + 7)
    difference = np.abs(mixed - (3 * one - 2 * two)).max() / np.abs(mixed).max()
    assert (difference < 1e-5) == (name in LINEAR)


@pytest.mark.parametrize("name", NAMES)
def test_by_name_saved_and_compiled(images, name, tmp_path):
    model = make_classifier("flatten")
    cam = kg.GradCAM(model, method=name, target=1)
    heatmaps = cam(images).numpy()
    a, g = cam.activations(images), cam.gradients(images)
    raw = np.maximum(METHODS[name](a, g, None), 0)
    small = kg.GradCAM(model, method=name, target=1, resize=False)(images).numpy()
    close(small, raw / raw.max((1, 2), keepdims=True))
    cam.save(tmp_path / "cam.keras")
    loaded = kg.GradCAM.from_config(cam.get_config())
    assert loaded.method == name
    compiled = kg.GradCAM(model, method=name, target=1, jit_compile=True)(images)
    np.testing.assert_allclose(compiled, heatmaps, atol=1e-4)
