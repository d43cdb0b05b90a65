"""Smoothing: means over changed inputs and first components, with every method."""

import keras
import numpy as np
import pytest
from conftest import OF_CNNS, RAW, L, close, make_classifier, methods_of, randomize
from random_evidence import facts

import keras_gradcam as kg
from keras_gradcam.arrays.random_numbers import normal, uniform
from keras_gradcam.evidence.gathering import GatheredEvidence
from keras_gradcam.maps import fusion, heatmaps
from keras_gradcam.maps.heatmaps import HeatmapConfig
from keras_gradcam.maps.smoothing import FIRST_STEP

pytestmark = pytest.mark.filterwarnings("ignore:.* of the maps are all zeros")

smoothing = kg.smoothing

SUMS = [
    name
    for name in OF_CNNS
    if name not in ("eigencam", "eigengradcam", "kpcacam", "random")
    and name not in ("saliency", "smoothgrad", "guided_backprop", "guided_gradcam")
    and name != "fullgrad"
]


def raw(model, images, **options):
    return kg.GradCAM(model, **{"target": 2, **RAW, **options})(images).numpy()


def noisy(images, noise, seed, step):
    drawn = normal((1, *images.shape[1:]), seed, step, "float32").numpy()
    spread = np.ptp(images, axis=(1, 2, 3), keepdims=True)
    return images + noise * spread * drawn


@pytest.mark.parametrize("name", ["gradcam", "scorecam", "saliency", "ablationcam"])
def test_noise_is_the_mean_over_noisy_inputs(images, name):
    model = make_classifier("flatten")
    smooth = smoothing.noise(samples=3, noise=0.2, seed=5)
    first = FIRST_STEP
    expected = np.mean(
        [raw(model, noisy(images, 0.2, 5, first + i), method=name) for i in range(3)],
        axis=0,
    )
    close(raw(model, images, method=name, smooth=smooth), expected)


def test_noise_keeps_the_class_of_the_clean_input(images):
    """Random noise must not explain another class for each sample of it."""
    model = make_classifier("flatten")
    cam = kg.GradCAM(model, smooth=smoothing.noise(samples=2, noise=5.0), **RAW)
    predicted = model(images).numpy().argmax(-1)
    noise = noisy(images, 5.0, 0, FIRST_STEP)
    changed = model(noise).numpy().argmax(-1)
    assert (predicted != changed).any()
    np.testing.assert_allclose(cam(images), cam(images, target=predicted), atol=1e-5)
    best = kg.targets.top_k(1)
    np.testing.assert_allclose(
        cam(images, target=best)[:, 0], cam(images, target=predicted), atol=1e-5
    )


@pytest.mark.parametrize("target", ["counterfactual", "contrast", "top_k"])
@pytest.mark.parametrize("method", ["scorecam", "ablationcam", "iscam"])
def test_masked_inputs_are_scored_by_the_choice_of_the_clean_one(
    images, method, target
):
    model = make_classifier("flatten", activation=None)
    chosen = model(images).numpy().argmax(-1)
    options = {"method": method, "layer": "last"}
    made = getattr(kg.targets, target)
    if target == "top_k":
        found = raw(model, images, target=made(2), **options)[:, 0]
        expected = raw(model, images, target=chosen, **options)
    elif target == "counterfactual":
        found = raw(model, images, target=made(), **options)
        expected = raw(model, images, target=made(chosen), **options)
    else:
        found = raw(model, images, target=made(similar=3), **options)
        expected = raw(model, images, target=made(chosen, similar=3), **options)
    close(found, expected)


@pytest.mark.slow
def test_a_target_with_a_class_for_each_sample_and_chunks(images):
    """Chunks hold several copies of the batch: each sample keeps its own class."""
    model = make_classifier("flatten")
    classes = [0, 1, 2, 3, 0]
    for chunk_size in (1, 12, 100):
        options = {"method": "scorecam", "chunk_size": chunk_size}
        cam = kg.GradCAM(model, **RAW, **options)
        found = cam(images, target=classes).numpy()
        for i, index in enumerate(classes):
            close(found[i], cam(images[i : i + 1], target=index)[0])
        counter = kg.targets.counterfactual(classes)
        against = raw(model, images, target=counter, **options)
        alone = raw(model, images[1:2], target=kg.targets.counterfactual(1), **options)
        close(against[1], alone[0])


def test_flips_are_undone(images):
    model = make_classifier("flatten")
    smooth = smoothing.tta(scales=[1.0])
    flipped = raw(model, images[:, :, ::-1])[:, :, ::-1]
    close(raw(model, images, smooth=smooth), (raw(model, images) + flipped) / 2)


def test_a_map_that_moves_with_the_picture_stays_where_it_is():
    """One 1x1 convolution sees pixels alone: flips and scales change no more than
    interpolation does."""
    model = randomize(
        keras.Sequential(
            [
                keras.Input((24, 20, 1)),
                L.Conv2D(2, 1, activation="relu", name="last"),
                L.GlobalAveragePooling2D(),
                L.Dense(3),
            ]
        )
    )
    rows, columns = np.mgrid[:24, :20]
    blob = 9 * np.exp(-((rows - 14) ** 2 + (columns - 7) ** 2) / 30)[None, ..., None]
    plain = raw(model, blob, target=1)
    smooth = raw(model, blob, target=1, smooth="tta")
    assert np.abs(smooth - plain).max() < 0.03 * np.abs(plain).max()
    # Not the picture's mean, which a wrong undoing would give.
    flipped = (plain + plain[:, :, ::-1]) / 2
    assert np.abs(flipped - plain).max() > 0.3 * np.abs(plain).max()


def test_a_larger_picture_has_no_say_outside_its_frame():
    model = make_classifier("flatten")
    images = np.ones((1, 16, 12, 3), "float32")
    smooth = smoothing.tta(flip=False, scales=[1.0, 4.0])
    larger = raw(model, images, method="hirescam", smooth=smooth)
    plain = raw(model, images, method="hirescam")
    # A picture without contrast is the same at any scale: the corners, of which the
    # larger picture has nothing, are those of the plain map.
    close(larger[:, 0, 0], plain[:, 0, 0])
    close(larger[:, -1, -1], plain[:, -1, -1])
    assert np.abs(larger - plain).max() > 1e-3


@pytest.mark.slow
def test_tta_of_volumes_and_signals():
    for rank, layer in ((1, L.Conv1D), (3, L.Conv3D)):
        shape = (9, 8, 7)[:rank]
        model = randomize(
            keras.Sequential(
                [keras.Input((*shape, 2)), layer(3, 3), L.Flatten(), L.Dense(3)]
            )
        )
        x = np.random.default_rng(0).random((2, *shape, 2)).astype("float32")
        smooth = smoothing.tta(scales=[1.0])
        flipped = np.flip(raw(model, np.flip(x, rank)), rank)
        close(raw(model, x, smooth=smooth), (raw(model, x) + flipped) / 2)
        for name in ("gradcam", "scorecam", "fullgrad"):
            cam = kg.GradCAM(model, method=name, smooth=["tta", "noise"], target=1)
            maps = cam(x).numpy()
            assert maps.shape == (2, *shape)
            assert np.isfinite(maps).all()


def by_svd(parts):
    """The first component of parts `(*grid, channels)`, with the sign of their sum."""
    matrix = parts.reshape(-1, parts.shape[-1]).astype("float64")
    u, s, _ = np.linalg.svd(matrix, full_matrices=False)
    expected = (u[:, 0] * s[0]).reshape(parts.shape[:-1])
    return expected * np.sign((expected * parts.sum(-1)).sum())


@pytest.mark.parametrize("name", SUMS)
@pytest.mark.parametrize("shape", [(4, 6, 7), (9, 3)])
def test_eigen_smoothing_is_the_first_component(name, shape):
    activations, found, scores = facts(name, shape)
    method = kg.methods.METHODS[name]
    gathered = GatheredEvidence([activations], [found], scores, None)
    config = HeatmapConfig(method, (smoothing.eigen(),), None, None, False, None)
    (smooth,) = heatmaps.formula_maps(gathered, config)
    parts = np.asarray(method.formula(activations, found, scores))
    if not parts.any():  # FEM: nothing stands out that far on so small a grid.
        assert name == "fem"
        return
    close(smooth, [by_svd(of_sample) for of_sample in parts])


def test_eigen_smoothing_of_a_model(images):
    model = make_classifier("gap")
    cam = kg.GradCAM(model, "first", target=2)
    a, g = cam.activations(images).numpy(), cam.gradients(images).numpy()
    found = raw(model, images, layer="first", method="layercam", smooth="eigen")
    close(found, [by_svd(parts) for parts in np.maximum(g, 0) * a])


@pytest.mark.parametrize("smooth", ["tta", "noise", ["eigen", "tta"]])
def test_smoothing_of_several_scores_is_that_of_each(images, smooth):
    model = make_classifier("flatten")
    target = kg.targets.classes([2, 0])
    together = raw(model, images, smooth=smooth, target=target)
    for i, index in enumerate((2, 0)):
        close(together[:, i], raw(model, images, smooth=smooth, target=index))


def test_noise_of_a_method_and_of_a_smoothing_are_different(images):
    """The same seed must not add the same noise twice."""
    model = make_classifier("flatten")
    method = kg.methods.smoothgrad(samples=1, noise=0.1)
    smooth = smoothing.noise(samples=1, noise=0.1)
    both = raw(model, images, method=method, smooth=smooth)
    once = noisy(images, 0.1, 0, FIRST_STEP)
    close(both, raw(model, once, method=method))
    # Far behind all steps of a method's own.
    assert FIRST_STEP > 10_000


def pointwise(*inputs):
    """1x1 convolutions and pooling: flipping the inputs flips the map, exactly."""
    x = inputs[0] if len(inputs) == 1 else L.Concatenate()(list(inputs))
    x = L.Conv2D(5, 1, activation="relu", name="last")(x)
    return randomize(keras.Model(inputs, L.Dense(3)(L.GlobalAveragePooling2D()(x))))


def test_inputs_of_the_same_size_move_along():
    model = pointwise(keras.Input((16, 12, 3)), keras.Input((16, 12, 1)))
    rng = np.random.default_rng(0)
    images = [rng.random((2, 16, 12, n)).astype("float32") for n in (3, 1)]
    flips = smoothing.tta(scales=[1.0])
    close(raw(model, images, smooth=flips), raw(model, images))


@pytest.mark.parametrize(
    "target",
    [
        kg.targets.segmentation(1),
        kg.targets.counterfactual(kg.targets.segmentation(1)),
        kg.targets.detection(1, boxes=[0]),
    ],
)
def test_a_place_in_the_output_does_not_move(images, target):
    inputs = keras.Input((16, 12, 3))
    x = L.Conv2D(2, 1)(L.Conv2D(5, 1, name="last")(inputs))
    if "detection" in repr(target):
        x = L.Reshape((-1, 2))(x)
    cam = kg.GradCAM(keras.Model(inputs, x), "last", target=target, smooth="tta")
    with pytest.raises(ValueError, match="names a place in the model's output"):
        cam(images)


def test_a_function_as_smoothing_or_fusion_is_saved(images, tmp_path):

    cam = kg.GradCAM(
        make_classifier("flatten"),
        ["first", "last"],
        target=1,
        smooth=smoothing.tta,
        fuse=fusion.product,
    )
    cam.save(tmp_path / "cam.keras")
    loaded = keras.models.load_model(tmp_path / "cam.keras")
    np.testing.assert_allclose(loaded(images), cam(images), atol=1e-6)


def test_words_cannot_be_scaled_or_made_noisy():
    model = keras.Sequential(
        [
            keras.Input((9,), dtype="int32"),
            L.Embedding(50, 4),
            L.Conv1D(3, 3, activation="relu"),
            L.GlobalAveragePooling1D(),
            L.Dense(2),
        ]
    )
    words = np.random.default_rng(0).integers(0, 50, (2, 9))
    assert kg.GradCAM(model)(words).shape == (2, 9)
    assert kg.GradCAM(model, method="ablationcam")(words).shape == (2, 9)
    for options in (
        {"method": "scorecam"},
        {"method": "smoothgradcam++"},
        {"smooth": "noise"},
        {"smooth": "tta"},
    ):
        with pytest.raises(ValueError, match="as numbers of words have"):
            kg.GradCAM(model, **options)(words)


@pytest.mark.parametrize("name", ["saliency", "eigencam", "random"])
def test_eigen_smoothing_needs_a_sum(images, name):
    cam = kg.GradCAM(make_classifier(), method=name, smooth="eigen")
    with pytest.raises(ValueError, match="does not sum over channels"):
        cam(images)


@pytest.mark.parametrize("name", methods_of([n for n in OF_CNNS if n != "random"]))
def test_smoothings_combine_with_every_method(images, name):
    model = make_classifier("gap")
    both = [smoothing.noise(samples=2), smoothing.tta(scales=[1.0])]
    cam = kg.GradCAM(model, method=name, smooth=both, target=1)
    maps = cam(images).numpy()
    assert np.isfinite(maps).all()
    plain = kg.GradCAM(model, method=name, target=1)(images).numpy()
    assert np.abs(maps - plain).max() > 1e-4
    np.testing.assert_array_equal(maps, cam(images))


@pytest.mark.slow
def test_smooth_saved_and_compiled(images, tmp_path):
    model = make_classifier("flatten")
    for smooth in ("noise", ["eigen", smoothing.tta(scales=[1.0, 1.2])]):
        cam = kg.GradCAM(model, smooth=smooth, target=1)
        cam.save(tmp_path / "cam.keras")
        loaded = keras.models.load_model(tmp_path / "cam.keras")
        np.testing.assert_allclose(loaded(images), cam(images), atol=1e-6)
        compiled = kg.GradCAM(model, smooth=smooth, target=1, jit_compile=True)
        np.testing.assert_allclose(compiled(images), cam(images), atol=1e-4)


def test_noise_is_normal_and_of_its_seed_alone():
    values = normal((200, 500), 3, 0, "float32").numpy()
    assert abs(values.mean()) < 0.01
    assert abs(values.std() - 1) < 0.01
    assert abs(np.mean(np.abs(values) > 1.96) - 0.05) < 0.003
    for other in (
        normal((200, 500), 4, 0, "float32").numpy(),
        normal((200, 500), 3, 1, "float32").numpy(),
    ):
        assert abs(np.corrcoef(values.ravel(), other.ravel())[0, 1]) < 0.01
    numbers = uniform((200, 500), 3, 0, "float32").numpy()
    assert numbers.min() > 0
    assert numbers.max() < 1
    assert abs(numbers.mean() - 0.5) < 0.005


def test_equal_smoothings_are_equal():
    assert smoothing.noise(samples=3) == smoothing.noise(samples=3)
    assert smoothing.noise(samples=3) != smoothing.noise(samples=4)
    assert repr(smoothing.noise(samples=3)) == (
        "smoothing.noise(samples=3, noise=0.1, seed=0)"
    )


@pytest.mark.parametrize(
    ("smooth", "message"),
    [
        ("blur", r"one of \['eigen', 'noise', 'tta'\].*smooth='blur'"),
        (3, "smooth=3"),
        (["noise", "noise"], "each smoothing once"),
    ],
)
def test_wrong_smoothings_raise_at_once(model, smooth, message):
    with pytest.raises(ValueError, match=message):
        kg.GradCAM(model, smooth=smooth)


def test_wrong_options_raise_with_the_list():
    with pytest.raises(TypeError, match=r"'sample'.*options are: \*?.*samples=16"):
        smoothing.noise(sample=3)
    with pytest.raises(ValueError, match="`samples` must be an int from 1 on"):
        smoothing.noise(samples=0)
    with pytest.raises(ValueError, match="`scales` must be a sequence of numbers"):
        smoothing.tta(scales=[0])
    with pytest.raises(ValueError, match="`scales` must be a sequence of numbers"):
        smoothing.tta(scales=1.0)
    with pytest.raises(ValueError, match="`flip` must be True or False"):
        smoothing.tta(flip="width")
