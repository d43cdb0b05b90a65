"""The same weights in pytorch-grad-cam: equal, or different for a proved reason."""

from importlib.metadata import version

import cv2
import numpy as np
import pytest
import torch
from keras import ops
from peers import stubs, twins
from peers.comparison import (
    CLASSES,
    EQUAL,
    IMAGES,
    PAGE,
    apart,
    assert_documented,
    difference,
    our_map,
    rows,
    stretch_over_images,
    stretched,
)
from sklearn.decomposition import KernelPCA

from keras_gradcam import methods, targets

stubs.install()

import pytorch_grad_cam as peer  # noqa: E402
from pytorch_grad_cam.ablation_layer import AblationLayer  # noqa: E402
from pytorch_grad_cam.utils.model_targets import (  # noqa: E402
    ClassifierOutputReST,
    ClassifierOutputTarget,
)

NAME = "pytorch-grad-cam"
EQUALS = {
    "GradCAM": "gradcam",
    "XGradCAM": "xgradcam",
    "LayerCAM": "layercam",
    "HiResCAM": "hirescam",
    "GradCAMElementWise": "elementwise",
}
OTHERS = {
    "GradCAM, the picture",
    "GradCAM, where the picture lies",
    "GradCAMPlusPlus",
    "GradCAMPlusPlus, layer without ReLU",
    "ScoreCAM",
    "AblationCAM, score above 0",
    "AblationCAM, score below 0",
    "AblationCAM, lowest activation not 0",
    "EigenCAM",
    "EigenGradCAM",
    "KPCA_CAM",
    "KPCA_CAM, kernel rbf",
    "FEM",
    "ShapleyCAM",
    "FullGrad",
    "FullGrad, each channel by itself",
    "RandomCAM",
    "GuidedBackpropReLUModel",
    "GuidedBackpropReLUModel, ReLU as a function",
    "aug_smooth",
    "eigen_smooth",
    "several layers",
    "RefineCAM",
    "FinerCAM",
}
each_case = pytest.mark.parametrize("head, normalized, layer", twins.CASES)
each_head = pytest.mark.parametrize("head, normalized", [("gap", 0), ("flatten", 1)])


@pytest.fixture(autouse=True)
def laid_as_theirs(monkeypatch):
    stretch_over_images(monkeypatch)


def targets_of(classes, target=ClassifierOutputTarget):
    return [target(int(index)) for index in classes]


def watched(cam):
    """The list that its maps are added to, before their ReLU and min-max."""
    raw, compute = [], cam.get_cam_image
    cam.get_cam_image = lambda *args: raw.append(compute(*args)) or raw[-1]
    return raw


def their_maps(name, pair, layer, classes=CLASSES, call=None, **options):
    """A method's raw map of the first layer, and what it returns in the end."""
    layers = [getattr(pair.theirs, each) for each in np.atleast_1d(layer)]
    cam = getattr(peer, name)(pair.theirs, layers, **options)
    raw = watched(cam)
    picture = cam(twins.as_tensor(IMAGES), targets_of(classes), **(call or {}))
    return raw[0], picture


def our_picture(pair, layer, classes, images=IMAGES, **options):
    options = {"activation": "relu", "normalize": "minmax", "resize": True, **options}
    return our_map(pair.ours, layer, target=classes, images=images, **options)


def classes_by_score(pair, rank):
    """The class of rank 0 (the lowest) to 3 of each image, and its score."""
    logits = pair.theirs(twins.as_tensor(IMAGES)).detach().numpy()
    order = np.argsort(logits, axis=-1)[:, rank]
    return order, logits[range(len(order)), order]


def test_page_has_what_is_compared():
    assert set(rows(NAME)) == {*EQUALS, *OTHERS}
    assert f"\n## {NAME} {version('grad-cam')}\n" in PAGE.read_text()


@each_case
@pytest.mark.parametrize("name", EQUALS)
def test_equal(head, normalized, layer, name):
    pair = twins.make(head, normalized)
    theirs, _ = their_maps(name, pair, layer)
    ours = our_map(pair.ours, layer, EQUALS[name])
    assert_documented(NAME, name, apart(ours, theirs))


@each_case
def test_picture_is_equal(head, normalized, layer):
    """Its whole way: ReLU, min-max, `cv2.resize`, min-max again."""
    pair = twins.make(head, normalized)
    classes, _ = classes_by_score(pair, 3)
    _, theirs = their_maps("GradCAM", pair, layer, classes)
    ours = our_picture(pair, layer, classes)
    assert_documented(NAME, "GradCAM, the picture", np.abs(ours - theirs).max())


def test_picture_lies_elsewhere(monkeypatch):
    """As theirs are stretched, ours are the same: `test_picture_is_equal`."""
    monkeypatch.undo()
    measured = []
    for head, normalized, layer in twins.CASES:
        pair = twins.make(head, normalized)
        classes, _ = classes_by_score(pair, 3)
        _, theirs = their_maps("GradCAM", pair, layer, classes)
        measured.append(np.abs(our_picture(pair, layer, classes) - theirs).max())
    assert_documented(NAME, "GradCAM, where the picture lies", max(measured))


def grad_cam_plus_plus(activations, gradients, epsilon, guarded):
    """Chattopadhay 2018, equation 19, `(batch, channels, height, width)`."""
    total = activations.sum((2, 3), keepdims=True)
    below = 2 * gradients**2 + total * gradients**3 + epsilon
    known = below > 0 if guarded else gradients != 0
    alphas = np.where(known, gradients**2 / np.where(known, below, 1), 0)
    weights = (alphas * np.maximum(gradients, 0)).sum((2, 3), keepdims=True)
    return (weights * activations).sum(1)


@pytest.mark.parametrize(
    "row, layers",
    [
        ("GradCAMPlusPlus", ("first", "last")),
        ("GradCAMPlusPlus, layer without ReLU", ("before", "between")),
    ],
)
def test_grad_cam_plus_plus_has_an_epsilon_and_negative_alphas(row, layers):
    measured = []
    for head, normalized, layer in [
        (*case[:2], layer) for case in twins.CASES[1::2] for layer in layers
    ]:
        pair = twins.make(head, normalized)
        ours = our_map(pair.ours, layer, "gradcam++")
        theirs, _ = their_maps("GradCAMPlusPlus", pair, layer)
        activations, gradients = twins.evidence(pair, layer, IMAGES, CLASSES)
        # A denominator near 0 is what is left of two large numbers.
        allowed = EQUAL if "first" in layers else 10 * EQUAL
        with_both = grad_cam_plus_plus(activations, gradients, 1e-6, False)
        assert apart(with_both, theirs) < allowed
        with_none = grad_cam_plus_plus(activations, gradients, 0, True)
        assert apart(with_none, ours) < allowed
        if "first" in layers:
            only_epsilon = grad_cam_plus_plus(activations, gradients, 1e-6, True)
            assert apart(only_epsilon, theirs) < EQUAL
        measured.append(difference(ours, theirs))
    assert_documented(NAME, row, max(measured))


def half_pixel_centres(size):
    return torch.nn.Upsample(size=size, mode="bilinear", align_corners=False)


def test_score_cam_aligns_the_corners_of_its_masks(monkeypatch):
    measured = []
    for head, normalized, layer in twins.CASES:
        pair = twins.make(head, normalized)
        ours = our_map(pair.ours, layer, "scorecam")
        measured.append(difference(ours, their_maps("ScoreCAM", pair, layer)[0]))
        with monkeypatch.context() as patch:
            patch.setattr(torch.nn, "UpsamplingBilinear2d", half_pixel_centres)
            undone, _ = their_maps("ScoreCAM", pair, layer)
        assert apart(ours, undone) < EQUAL
    assert_documented(NAME, "ScoreCAM", max(measured))


@pytest.mark.parametrize("rank, row", [(3, "above"), (0, "below")])
def test_ablation_cam_divides_by_the_score_with_its_sign(rank, row):
    measured = []
    for head, normalized, layer in twins.CASES:
        pair = twins.make(head, normalized)
        classes, scores = classes_by_score(pair, rank)
        assert (scores > 0).all() if rank else (scores < 0).all()
        ours = our_map(pair.ours, layer, "ablationcam", classes)
        theirs, _ = their_maps("AblationCAM", pair, layer, classes)
        undone = theirs if rank else -theirs
        # Two scores are subtracted: what is left has lost some of the digits.
        assert apart(ours, undone) < 10 * EQUAL
        measured.append(difference(ours, theirs))
    assert_documented(NAME, f"AblationCAM, score {row} 0", max(measured))


class Zero(AblationLayer):
    """Ablates as the paper does, whatever the lowest activation is."""

    def __call__(self, x):
        output = self.activations
        for number, index in enumerate(self.indices[: len(output)]):
            output[number, index] = 0
        return output


def test_ablation_cam_sets_channels_far_below_zero_where_none_is_zero():
    # A batch normalization with scales of either sign is behind it.
    pair = twins.make("flatten", True)
    classes, _ = classes_by_score(pair, 3)
    ours = our_map(pair.ours, "before", "ablationcam", classes)
    theirs, _ = their_maps("AblationCAM", pair, "before", classes)
    undone, _ = their_maps(
        "AblationCAM", pair, "before", classes, ablation_layer=Zero()
    )
    assert apart(ours, undone) < 10 * EQUAL
    measured = difference(ours, theirs)
    assert_documented(NAME, "AblationCAM, lowest activation not 0", measured)


def projection(batch, *_, centred=False):
    """`get_2d_projection`, which centres each channel."""
    maps = []
    for parts in batch:
        matrix = parts.reshape(len(parts), -1).T
        matrix = matrix - matrix.mean(0) * centred
        first = np.linalg.svd(matrix, full_matrices=False)[2][0]
        maps.append((matrix @ first).reshape(parts.shape[1:]))
    return np.array(maps)


def kernel_projection(batch, kernel, gamma):
    """`get_2d_projection_kernel`, which centres each channel before."""
    model = KernelPCA(1, kernel=kernel, gamma=gamma)
    maps = [model.fit_transform(parts.reshape(len(parts), -1).T) for parts in batch]
    return np.array(maps).reshape(len(batch), *batch.shape[2:])


@pytest.mark.parametrize(
    "name, method, module, function",
    [
        ("EigenCAM", "eigencam", "eigen_cam.get_2d_projection", projection),
        (
            "EigenGradCAM",
            "eigengradcam",
            "eigen_grad_cam.get_2d_projection",
            projection,
        ),
        (
            "KPCA_CAM",
            "kpcacam",
            "kpca_cam.get_2d_projection_kernel",
            kernel_projection,
        ),
    ],
)
def test_components_are_of_centred_activations(
    monkeypatch, name, method, module, function
):
    measured = []
    for head, normalized, layer in twins.CASES:
        pair = twins.make(head, normalized)
        ours = our_map(pair.ours, layer, method)
        theirs, _ = their_maps(name, pair, layer)
        measured.append(difference(ours, theirs, signed=False))
        with monkeypatch.context() as patch:
            patch.setattr(f"pytorch_grad_cam.{module}", function)
            undone, _ = their_maps(name, pair, layer)
        assert difference(ours, undone, signed=False) < 10 * EQUAL
    assert_documented(NAME, name, max(measured))


def test_kernel_of_distances_does_not_see_the_centring():
    measured = []
    for head, normalized, layer in twins.CASES:
        pair = twins.make(head, normalized)
        theirs, _ = their_maps("KPCA_CAM", pair, layer, kernel="rbf")
        ours = our_map(pair.ours, layer, methods.kpcacam(kernel="rbf"))
        measured.append(difference(ours, theirs, signed=False))
    assert_documented(NAME, "KPCA_CAM, kernel rbf", max(measured))


def test_fem_exchanges_weights_and_masks():
    measured = []
    for head, normalized, layer in twins.CASES:
        pair = twins.make(head, normalized)
        ours = our_map(pair.ours, layer, "fem")
        theirs, _ = their_maps("FEM", pair, layer)
        activations, _ = twins.evidence(pair, layer, IMAGES, CLASSES)
        means = activations.mean((2, 3), keepdims=True)
        masks = activations > means + 2 * activations.std((2, 3), keepdims=True)
        shares = masks.mean((2, 3), keepdims=True)
        assert apart((shares * activations).sum(1), theirs) < EQUAL
        assert apart((means * masks).sum(1), ours) < EQUAL
        measured.append(difference(ours, theirs))
    assert_documented(NAME, "FEM", max(measured))


def shapley_maps(pair, layer):
    cam = peer.ShapleyCAM(pair.theirs, [getattr(pair.theirs, layer)])
    raw = watched(cam)
    cam(twins.as_tensor(IMAGES), targets_of([1] * 3, ClassifierOutputReST))
    return cam, raw[0]


@each_case
def test_shapley_cam_of_its_own_target_is_equal(head, normalized, layer):
    pair = twins.make(head, normalized)
    cam, theirs = shapley_maps(pair, layer)
    target = targets.residual_softmax(1)
    ours = our_map(pair.ours, layer, "shapleycam", target)
    assert_documented(NAME, "ShapleyCAM", apart(ours, theirs))
    # The correction is not so small that its absence would pass.
    assert apart(our_map(pair.ours, layer, "gradcam", target), theirs) > 100 * EQUAL
    cam.activations_and_grads.gradients = []


def test_shapley_cam_cannot_be_released_in_front_of_a_flatten_layer():
    cam, _ = shapley_maps(twins.make("flatten"), "last")
    with pytest.raises(RuntimeError, match="detach views in-place"):
        cam.activations_and_grads.release()
    # It would raise again when the object is collected.
    cam.activations_and_grads.gradients = []


def scaled_without_epsilon(tensor, size):
    """`scale_accross_batch_and_channels`, which adds 1e-7 to each maximum."""
    batch, channels, *grid = tensor.shape
    flat = tensor.reshape(-1, *grid)
    flat = flat - flat.min((1, 2), keepdims=True)
    high = flat.max((1, 2), keepdims=True)
    flat = flat / np.where(high > 0, high, 1)
    resized = [cv2.resize(np.float32(one), size) for one in flat]
    return np.array(resized).reshape(batch, channels, *size[::-1])


def test_fullgrad_rescales_each_channel_and_has_an_epsilon(monkeypatch):
    others, measured = [], []
    by_channel = methods.fullgrad(rescale="channel")
    for head, normalized in [("gap", False), ("flatten", True)]:
        pair = twins.make(head, normalized)
        ours = our_picture(pair, None, CLASSES, method="fullgrad")
        same = our_picture(pair, None, CLASSES, method=by_channel)

        def theirs(pair=pair):
            cam = peer.FullGrad(pair.theirs, [])
            return cam(twins.as_tensor(IMAGES), targets_of(CLASSES))

        others.append(difference(ours, theirs()))
        measured.append(np.abs(same - theirs()).max())
        with monkeypatch.context() as patch:
            name = "pytorch_grad_cam.fullgrad_cam.scale_accross_batch_and_channels"
            patch.setattr(name, scaled_without_epsilon)
            assert np.abs(same - theirs()).max() < EQUAL
    assert_documented(NAME, "FullGrad", max(others))
    assert_documented(NAME, "FullGrad, each channel by itself", max(measured))


def unexplained(maps, activations):
    """What of a map is no sum of the channels, relative to the map."""
    left = []
    for one, channels in zip(maps, activations, strict=True):
        table = channels.reshape(len(channels), -1).T
        weights = np.linalg.lstsq(table, one.ravel(), rcond=None)[0]
        left.append(np.abs(table @ weights - one.ravel()).max() / np.abs(one).max())
    return left


def test_random_cam_has_random_weights_and_no_noise_of_its_own():
    pair = twins.make()
    np.random.seed(0)
    theirs, _ = their_maps("RandomCAM", pair, "last")
    again, _ = their_maps("RandomCAM", pair, "last")
    ours = our_map(pair.ours, "last", "random")
    assert difference(theirs, again) > 0.1
    activations, _ = twins.evidence(pair, "last", IMAGES, CLASSES)
    assert max(unexplained(theirs, activations)) < EQUAL
    assert min(unexplained(ours, activations)) > 0.1
    assert_documented(NAME, "RandomCAM", difference(ours, theirs))


def guided(pair):
    """Its gradients of one image at a time, the largest over the colours."""
    return np.array(
        [
            np.abs(
                peer.GuidedBackpropReLUModel(pair.theirs)(
                    twins.as_tensor(IMAGES[number : number + 1]), index
                )
            ).max(-1)
            for number, index in enumerate(CLASSES)
        ]
    )


@each_head
def test_guided_backpropagation_is_equal(head, normalized):
    pair = twins.make(head, bool(normalized))
    ours = our_map(pair.ours, None, "guided_backprop")
    assert_documented(NAME, "GuidedBackpropReLUModel", apart(ours, guided(pair)))
    # It leaves one new ReLU in all places.
    assert pair.theirs.first is pair.theirs.last


class FunctionalReLU(torch.nn.Module):
    def forward(self, x):
        return torch.nn.functional.relu(x)


def test_guided_backpropagation_sees_modules_only():
    pair = twins.make("flatten")
    pair.theirs.first = FunctionalReLU()
    pair.theirs.last = FunctionalReLU()
    theirs = guided(pair)
    assert apart(our_map(pair.ours, None, "saliency"), theirs) < EQUAL
    measured = difference(our_map(pair.ours, None, "guided_backprop"), theirs)
    assert_documented(NAME, "GuidedBackpropReLUModel, ReLU as a function", measured)


def test_aug_smooth_multiplies_pixels_and_averages_normalized_maps():
    measured = []
    for head, normalized, layer in twins.CASES:
        pair = twins.make(head, normalized)
        classes, _ = classes_by_score(pair, 3)
        call = {"aug_smooth": True}
        _, theirs = their_maps("GradCAM", pair, layer, classes, call)
        ours = our_picture(pair, layer, classes, smooth="tta")
        measured.append(difference(ours, stretched(theirs)))
        undone = [
            our_picture(pair, layer, classes, factor * IMAGES[:, :, ::step])[
                :, :, ::step
            ]
            for factor in (0.9, 1.0, 1.1)
            for step in (1, -1)
        ]
        assert apart(np.mean(undone, 0), theirs) < EQUAL
    assert_documented(NAME, "aug_smooth", max(measured))


def test_eigen_smooth_is_of_centred_parts(monkeypatch):
    measured = []
    for head, normalized, layer in twins.CASES:
        pair = twins.make(head, normalized)
        ours = our_map(pair.ours, layer, "gradcam", smooth="eigen")
        call = {"eigen_smooth": True}
        theirs, _ = their_maps("GradCAM", pair, layer, call=call)
        measured.append(difference(ours, theirs, signed=False))
        with monkeypatch.context() as patch:
            patch.setattr("pytorch_grad_cam.base_cam.get_2d_projection", projection)
            undone, _ = their_maps("GradCAM", pair, layer, call=call)
        assert difference(ours, undone, signed=False) < 10 * EQUAL
    assert_documented(NAME, "eigen_smooth", max(measured))


def resized(maps):
    return np.array([cv2.resize(np.float32(one), (12, 16)) for one in maps])


def test_several_layers_are_stretched_before_they_are_resized():
    measured = []
    for head, normalized in [("gap", False), ("flatten", True)]:
        pair = twins.make(head, normalized)
        classes, _ = classes_by_score(pair, 3)
        layers = ["first", "last"]
        _, theirs = their_maps("GradCAM", pair, layers, classes)
        ours = our_picture(pair, layers, classes, fuse="mean")
        measured.append(difference(ours, theirs))
        options = {"resize": False, "activation": "relu"}
        grids = [
            our_map(pair.ours, layer, target=classes, **options) for layer in layers
        ]
        undone = stretched(sum(resized(stretched(grid)) for grid in grids) / 2)
        assert apart(undone, theirs) < EQUAL
    assert_documented(NAME, "several layers", max(measured))


def product_of_stretched(maps):
    first, second = (
        (x - ops.min(x, (1, 2), True))
        / (ops.max(x, (1, 2), True) - ops.min(x, (1, 2), True))
        for x in maps
    )
    return first * second


def test_refine_cam_multiplies_stretched_maps():
    measured = []
    for head, normalized in [("gap", False), ("flatten", True)]:
        pair = twins.make(head, normalized)
        classes, _ = classes_by_score(pair, 3)
        modules = [pair.theirs.first, pair.theirs.last]
        cam = peer.RefineCAM(pair.theirs, modules, base_method=peer.GradCAM)
        theirs = cam(twins.as_tensor(IMAGES), targets_of(classes))
        layers = ["first", "last"]
        ours = our_picture(pair, layers, classes, fuse="product")
        measured.append(difference(ours, theirs))
        undone = our_picture(pair, layers, classes, fuse=product_of_stretched)
        assert apart(undone, theirs) < EQUAL
    assert_documented(NAME, "RefineCAM", max(measured))


def weighted_contrast(outputs):
    """`FinerWeightedTarget`: the mean of the others weighted by their probabilities."""
    ordered = -ops.sort(-outputs, axis=-1)
    others = ordered[:, 1:]
    # Of the predicted class, the most similar are the next ones.
    shares = ops.softmax(others, axis=-1)
    return ordered[:, 0] - ops.sum(shares * others, axis=-1)


def test_finer_cam_weights_the_other_classes_by_their_probabilities():
    measured = []
    for head, normalized, layer in twins.CASES:
        pair = twins.make(head, normalized)
        cam = peer.FinerCAM(pair.theirs, [getattr(pair.theirs, layer)])
        theirs = cam(twins.as_tensor(IMAGES))
        undone = our_picture(pair, layer, weighted_contrast)
        assert apart(undone, theirs) < EQUAL
        ours = our_picture(pair, layer, targets.contrast(gamma=1.0))
        measured.append(difference(ours, theirs))
    assert_documented(NAME, "FinerCAM", max(measured))
