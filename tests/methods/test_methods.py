"""Every formula against a replica from its paper, and on evidence of every kind."""

import keras
import numpy as np
import pytest
import replicas
from conftest import OF_ATTENTION, OF_CNNS, RAW, close, make_classifier, methods_of
from keras import tree
from random_evidence import EVIDENCE, facts

import keras_gradcam as kg
from keras_gradcam.evidence import gathering
from keras_gradcam.evidence.gradient_evidence import Product
from keras_gradcam.methods.method import ROWS

pytestmark = pytest.mark.filterwarnings("ignore:.* of the maps are all zeros")

METHODS = kg.methods.METHODS
NAMES = list(METHODS)
NOISE = ["random"]
FORMULAS = [name for name in NAMES if name not in NOISE]
GRIDS = [(5, 7), (4, 6, 7), (3, 4, 5, 6)]

# The sign of A v is free where both signs agree as well with the sum.
SPECTRAL = ["eigencam", "eigengradcam", "kpcacam"]


def of_arrays(change, found):
    """Changes the arrays of evidence; it may also hold a callable, or nothing."""
    return tree.map_structure(
        lambda x: x if x is None or callable(x) else change(x), found
    )


def scaled(found, factor):
    return of_arrays(lambda x: factor * x, found)


def by_replica(name, activations, found, scores, **options):
    return [
        replicas.METHODS[name](
            activations[i].astype("float64"),
            of_arrays(lambda x, i=i: x[i].astype("float64"), found),
            float(scores[i]),
            **options,
        )
        for i in range(len(activations))
    ]


def test_every_method_has_a_replica():
    assert set(METHODS) == set(replicas.METHODS)
    assert {row.evidence for row in ROWS.values()} <= set(gathering.KINDS)
    assert set(EVIDENCE) == set(gathering.KINDS)
    assert len(METHODS) >= 24


@pytest.mark.parametrize("name", FORMULAS)
@pytest.mark.parametrize("sign", [None, "positive"])
@pytest.mark.parametrize("shape", GRIDS)
def test_a_method_equals_its_replica_on_any_rank(name, sign, shape):
    given = facts(name, shape, sign=sign)
    # On a small grid nothing is two standard deviations above the mean.
    method = kg.methods.fem(k=1.0) if name == "fem" else METHODS[name]
    options = {"k": 1.0} if name == "fem" else {}
    close(method(*given), by_replica(name, *given, **options))


@pytest.mark.parametrize("name", FORMULAS)
@pytest.mark.parametrize("shape", [(4, 6, 1), (1, 1, 7), (1, 1, 1), (1, 7)])
def test_one_channel_and_one_place(name, shape):
    # None of these numbers is near a pole of Grad-CAM++, where no float32 is enough.
    given = facts(name, shape, seed=1)
    expected = np.asarray(by_replica(name, *given))
    found = np.asarray(METHODS[name](*given))
    scale = np.abs(expected).max() or 1.0
    np.testing.assert_allclose(found / scale, expected / scale, atol=1e-5)


@pytest.mark.parametrize("name", ["scorecam", "sscam", "iscam"])
@pytest.mark.parametrize("shape", GRIDS)
def test_scores_of_the_most_varying_channels(name, shape):
    activations, found, scores = facts(name, shape)
    few = found[:, :3]
    close(
        METHODS[name](activations, few, scores),
        by_replica(name, activations, few, scores),
    )


@pytest.mark.parametrize("name", ["scorecam", "sscam", "iscam"])
def test_only_differences_of_scores_count(name):
    """The baseline's score cancels; logits of 1000 are no reason for an overflow."""
    activations, found, scores = facts(name, (4, 6, 7))
    shifted = METHODS[name](activations, found + np.float32(1000), scores)
    # The logits have fewer digits behind the point.
    close(shifted, METHODS[name](activations, found, scores), tolerance=1e-3)


@pytest.mark.parametrize("options", [{"kernel": "rbf"}, {"gamma": 0.5}])
def test_kernels_of_kpcacam(options):
    activations, _, scores = facts("kpcacam", (4, 6, 7))
    method = kg.methods.kpcacam(**options)
    expected = [replicas.METHODS["kpcacam"](a, None, 0, **options) for a in activations]
    close(method(activations, None, scores), expected)


def test_deviations_of_fem():
    activations, _, scores = facts("fem", (4, 6, 7), sign="positive")
    expected = [replicas.METHODS["fem"](a, None, 0, k=1.0) for a in activations]
    close(kg.methods.fem(k=1.0)(activations, None, scores), expected)


@pytest.mark.parametrize("rescale", ["layer", "channel", None])
@pytest.mark.parametrize("shape", GRIDS)
def test_rescaling_of_fullgrad(rescale, shape):
    given = facts("fullgrad", shape)
    # A layer of large products, a weak channel, and one that is the same everywhere.
    given[1].append(scaled(given[1][1], 1e3))
    given[1][0].values[..., 0] *= 1e-3
    given[1][0].values[..., 1] = 2.0
    method = kg.methods.fullgrad(rescale=rescale)
    close(method(*given), by_replica("fullgrad", *given, rescale=rescale))


def test_rescaling_of_fullgrad_by_hand():
    """Magnitudes 0, 1, 2 and 8 of two channels at two places."""
    term = np.array([[[0, -2], [1, 8]]], "float32")
    for rescale, expected in (
        ("layer", [0 + 2 / 8, 1 / 8 + 1]),
        ("channel", [0 + 0, 1 + 1]),
        (None, [0 + 2, 1 + 8]),
    ):
        terms = [Product(term, lambda maps: maps)]
        raw = kg.methods.fullgrad(rescale=rescale)(term, terms, np.zeros(1))
        np.testing.assert_allclose(raw, [expected])


# What scales with the score: gradients, not the scores themselves.
WITH_UNITS = [
    name
    for name in FORMULAS
    if METHODS[name].row.evidence in ("gradients", "pooled", "guided", "curvature")
]


@pytest.mark.parametrize("name", WITH_UNITS)
@pytest.mark.parametrize("scale", [1e-20, 1e-12, 1e12, 1e20])
def test_a_method_does_not_care_for_the_unit_of_the_score(name, scale):
    """Real gradients of 1e-12 are neither rounded away nor held up by an epsilon."""
    activations, found, scores = facts(name, (4, 6, 7), sign="positive")
    changed = scaled(found, np.float32(scale))
    close(
        METHODS[name](activations, changed, scores),
        by_replica(name, activations, changed, scores),
    )


@pytest.mark.parametrize("name", FORMULAS)
def test_nothing_comes_of_nothing(name):
    activations, found, scores = facts(name, (4, 6, 7))
    kind = METHODS[name].row.evidence
    cases = []
    if METHODS[name].row.place == "layer" and name not in OF_ATTENTION:
        cases.append((0 * activations, found))
    if "masked" not in kind and kind not in ("nothing", "ablated"):
        cases.append((activations, scaled(found, 0)))
    if kind == "ablated":
        cases.append((activations, np.repeat(scores[:, None], 7, axis=1)))
    assert cases
    for case in cases:
        np.testing.assert_array_equal(np.asarray(METHODS[name](*case, scores)), 0)


@pytest.mark.parametrize("name", FORMULAS)
def test_constant_activations(name):
    """A layer without contrast gives what the replica gives, and no NaN."""
    activations, found, scores = facts(name, (4, 6, 7))
    activations = np.ones_like(activations)
    map_ = np.asarray(METHODS[name](activations, found, scores))
    assert np.isfinite(map_).all()
    if name == "kpcacam":
        # All places are alike, and rounding is all that there is.
        assert np.abs(map_).max() < 1e-3
    else:
        expected = np.asarray(by_replica(name, activations, found, scores))
        scale = np.abs(expected).max() or 1.0
        np.testing.assert_allclose(map_ / scale, expected / scale, atol=1e-5)


# There are no eigenvectors of float16.
@pytest.mark.parametrize("name", [n for n in FORMULAS if n not in SPECTRAL])
def test_half_precision_gives_a_map(name):
    """Of float16, which a caller of a formula may have."""
    given = facts(name, (4, 6, 7), sign="positive")
    half = of_arrays(lambda x: x.astype("float16"), given)
    close(METHODS[name](*half), by_replica(name, *given), tolerance=2e-2)


def test_channels_that_are_centred_have_no_share_in_xgradcam():
    """Behind an instance normalization sums are 0 but for rounding."""
    activations, found, scores = facts("xgradcam", (14, 14, 7))
    activations[..., 3] -= activations[..., 3].mean((1, 2), keepdims=True)
    activations[..., 3] /= activations[..., 3].std((1, 2), keepdims=True)
    assert 0 < np.abs(activations[..., 3].sum((1, 2))).max() < 1e-3
    others = np.arange(7) != 3
    expected = METHODS["xgradcam"](activations[..., others], found[..., others], scores)
    close(METHODS["xgradcam"](activations, found, scores), expected)


@pytest.mark.parametrize("name", FORMULAS)
def test_a_sample_that_is_nan_is_alone(name):
    activations, found, scores = facts(name, (4, 6, 7))
    alone = np.asarray(METHODS[name](activations, found, scores))
    activations[0, 1, 2, 3] = np.nan
    for tensor in tree.flatten(found):
        if tensor is not None and not callable(tensor):
            tensor[(0, *[-1] * (tensor.ndim - 1))] = np.nan
    map_ = np.asarray(METHODS[name](activations, found, scores))
    assert np.isnan(map_[0]).any()
    np.testing.assert_array_equal(map_[1], alone[1])


@pytest.mark.parametrize("name", [n for n in FORMULAS if n not in SPECTRAL])
def test_only_what_speaks_against(name):
    """All-negative evidence: a finite map, and the one of the replica."""
    activations, found, scores = facts(name, (4, 6, 7), sign="positive")
    against = scaled(of_arrays(np.abs, found), -1)
    map_ = METHODS[name](activations, against, scores)
    expected = np.asarray(by_replica(name, activations, against, scores))
    scale = np.abs(expected).max() or 1.0
    np.testing.assert_allclose(np.asarray(map_) / scale, expected / scale, atol=1e-5)


def _permuted(found, order, channels):
    return of_arrays(
        lambda x: x if x.shape[-1] != channels else np.take(x, order, axis=-1), found
    )


@pytest.mark.parametrize("name", FORMULAS)
def test_channels_have_no_order(name):
    activations, found, scores = facts(name, (4, 6, 7))
    expected = METHODS[name](activations, found, scores)
    order = np.random.default_rng(1).permutation(7)
    changed = _permuted(found, order, 7)
    close(METHODS[name](activations[..., order], changed, scores), expected)


@pytest.mark.parametrize(
    "name",
    [n for n in WITH_UNITS if METHODS[n].row.place == "layer" and n != "shapleycam"],
)
def test_channels_have_no_unit(name):
    """Scaled together with what comes next, they change nothing."""
    activations, found, scores = facts(name, (4, 6, 7))
    scale = np.random.default_rng(2).uniform(0.5, 2, 7).astype("float32")
    # A scaled channel has the inverse gradient.
    changed = METHODS[name](scale * activations, found / scale, scores)
    close(changed, METHODS[name](activations, found, scores))


def test_random_is_noise_of_its_seed():
    activations, found, scores = facts("random", (4, 6, 7))
    maps = [
        np.asarray(kg.methods.random(seed=seed)(activations, found, scores))
        for seed in (0, 0, 1)
    ]
    np.testing.assert_array_equal(maps[0], maps[1])
    assert np.abs(maps[0] - maps[2]).max() > 0.1
    assert maps[0].shape == (2, 4, 6)
    assert maps[0].min() >= 0
    assert maps[0].max() <= 1
    assert np.abs(maps[0][0] - maps[0][1]).max() > 0.1


@pytest.mark.parametrize("name", methods_of(OF_CNNS))
def test_by_name_saved_and_compiled(images, name, tmp_path):
    model = make_classifier("gap")
    cam = kg.GradCAM(model, method=name, target=1)
    heatmaps = cam(images).numpy()
    assert heatmaps.shape == images.shape[:-1]
    raw = kg.GradCAM(model, method=name, target=1, normalize=None, resize=False)
    small = raw(images).numpy()
    assert small.min() >= 0
    cam.save(tmp_path / "cam.keras")
    loaded = keras.models.load_model(tmp_path / "cam.keras")
    assert loaded.method == name
    np.testing.assert_allclose(loaded(images), heatmaps, atol=1e-6)
    compiled = kg.GradCAM(model, method=name, target=1, jit_compile=True)(images)
    np.testing.assert_allclose(compiled, heatmaps, atol=2e-4)


def raw_maps(model, images, method, target=2, layer="last"):
    cam = kg.GradCAM(model, layer, method=method, target=target, **RAW)
    return cam(images).numpy()


def test_behind_pooling_four_methods_are_gradcam(images):
    model = make_classifier("gap")
    expected = raw_maps(model, images, "gradcam")
    for name in ("hirescam", "xgradcam", "shapleycam"):
        close(raw_maps(model, images, name), expected)
    cells = np.prod(expected.shape[1:])
    close(raw_maps(model, images, "cam"), cells * expected)


def test_behind_pooling_ablation_is_gradcam_by_the_sums(images):
    """Y(A) - Y(A without channel k) = sum_ij g_kij A_kij, here g_k S_k."""
    model = make_classifier("gap", activation=None)
    cam = kg.GradCAM(model, target=2, **RAW)
    a, g = cam.activations(images).numpy(), cam.gradients(images).numpy()
    weights = (a * g).sum((1, 2)) / np.abs(model(images)[:, 2:3])
    expected = np.einsum("bijk,bk->bij", a, weights)
    # Two logits are subtracted.
    close(raw_maps(model, images, "ablationcam"), expected, tolerance=1e-3)


def test_behind_pooling_gradcam_plus_plus_is_known(images):
    """Grad-CAM++ = sum_k HW relu(g_k) / (2 + g_k S_k) A_k."""
    model = make_classifier("gap")
    cam = kg.GradCAM(model, target=2, **RAW)
    a, g = cam.activations(images).numpy(), cam.gradients(images).numpy()[:, 0, 0]
    sums, cells = a.sum((1, 2)), a.shape[1] * a.shape[2]
    weights = cells * np.maximum(g, 0) / (2 + g * sums)
    expected = np.einsum("bijk,bk->bij", a, weights)
    close(raw_maps(model, images, "gradcam++"), expected)


def test_without_noise_smooth_gradcam_plus_plus_is_gradcam_plus_plus(images):
    model = make_classifier("flatten")
    method = kg.methods.smoothgradcam_plus_plus(samples=2, noise=0)
    expected = raw_maps(model, images, "gradcam++", layer="first")
    close(raw_maps(model, images, method, layer="first"), expected)


@pytest.mark.parametrize("name", ["sscam", "iscam"])
def test_without_a_change_of_the_masks_it_is_scorecam(images, name):
    model = make_classifier("flatten")
    options = {"sscam": {"samples": 2, "noise": 0}, "iscam": {"steps": 1}}[name]
    method = getattr(kg.methods, name)(**options)
    close(raw_maps(model, images, method), raw_maps(model, images, "scorecam"))


def test_all_channels_are_the_most_varying(images):
    model = make_classifier("flatten")
    for channels in (6, 100):
        method = kg.methods.scorecam(channels=channels)
        np.testing.assert_array_equal(
            raw_maps(model, images, method), raw_maps(model, images, "scorecam")
        )


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


# Whose raw map is linear in the score, on a network with ReLU.
LINEAR = ["gradcam", "xgradcam", "hirescam", "cam", "shapleycam"]
LINEAR += ["integrated_gradients", "attnlrp", "libragrad"]
# Whose normalised map is the same for Y and 3 Y + 7.
INDIFFERENT = [*LINEAR, "layercam", "elementwise", "eigencam", "eigengradcam"]
INDIFFERENT += ["kpcacam", "fem", "random", "saliency", "smoothgrad", "guided_backprop"]
INDIFFERENT += [
    "attnlrp",
    "libragrad",
    "guided_gradcam",
    "fullgrad",
    "ablationcam",
    "depth_consensus",
]


def _raw(name, model, images, target):
    looks = METHODS[name].row.needs_layer
    layer = "last" if looks else None
    return kg.GradCAM(model, layer, name, target, **RAW)(images).numpy()


@pytest.mark.parametrize("name", methods_of(OF_CNNS))
def test_linear_in_the_score(images, name):
    head = "gap" if name == "cam" else "flatten"
    model = make_classifier(head, activation=None)
    one, two = (_raw(name, model, images, target) for target in (1, 2))
    mixed = _raw(name, model, images, lambda y: 3 * y[:, 1] + 2 * y[:, 2] + 7)
    difference = np.abs(mixed - (3 * one + 2 * two)).max() / np.abs(mixed).max()
    assert (difference < 1e-5) == (name in LINEAR)


@pytest.mark.parametrize("name", methods_of(OF_CNNS))
def test_indifferent_to_the_unit_of_the_score(images, name):
    head = "gap" if name == "cam" else "flatten"
    model = make_classifier(head, activation=None)
    found = []
    for target in (lambda y: y[:, 1], lambda y: 3 * y[:, 1] + 7):
        raw = _raw(name, model, images, target)
        raw = np.maximum(raw, 0)
        found.append(raw / raw.max((1, 2), keepdims=True))
    difference = np.nanmax(np.abs(found[0] - found[1]))
    assert (difference < 2e-5) == (name in INDIFFERENT)
