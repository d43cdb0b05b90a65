"""The same weights in TorchCAM: equal, or different for a proved reason."""

from importlib.metadata import version

import numpy as np
import pytest
import torch
from peers import twins
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
from torchcam import methods as peer

from keras_gradcam import methods, targets
from keras_gradcam.arrays import random_numbers

NAME = "TorchCAM"
EQUALS = {
    "GradCAM": "gradcam",
    "XGradCAM": "xgradcam",
    "LayerCAM": "layercam",
}
OTHERS = {
    "CAM",
    "CAM, the picture",
    "GradCAMpp",
    "SmoothGradCAMpp",
    "ScoreCAM",
    "SSCAM",
    "ISCAM",
    "FinerCAM",
    "RefineCAM",
    "fuse_cams of LayerCAM",
}
SAMPLES = 5
each_case = pytest.mark.parametrize("head, normalized, layer", twins.CASES)
# Its own are the maps of a ReLU; ours are compared in the same way.
ours_of_relu = {"activation": "relu"}


@pytest.fixture(autouse=True)
def laid_as_theirs(monkeypatch):
    stretch_over_images(monkeypatch)


def their_maps(cam, pair, classes=CLASSES, normalized=False):
    """A map of each layer; raw, and after its ReLU, unless it is `normalized`."""
    with cam:
        scores = pair.theirs(twins.as_tensor(IMAGES))
        maps = cam(class_idx=list(classes), scores=scores, normalized=normalized)
    maps = [one.detach().numpy() for one in maps]
    return maps if len(maps) > 1 else maps[0]


def signed(cam):
    """Without its ReLU, which leaves nothing of some maps."""
    cam._relu = False
    return cam


def best_classes(pair):
    """Classes whose maps are not empty."""
    return pair.theirs(twins.as_tensor(IMAGES)).argmax(-1).tolist()


def test_page_has_what_is_compared():
    assert set(rows(NAME)) == {*EQUALS, *OTHERS}
    assert f"\n## {NAME} {version('torchcam')}\n" in PAGE.read_text()


@each_case
@pytest.mark.parametrize("name", EQUALS)
def test_equal(head, normalized, layer, name):
    pair = twins.make(head, normalized)
    classes = best_classes(pair)
    theirs = their_maps(getattr(peer, name)(pair.theirs, layer), pair, classes)
    ours = our_map(pair.ours, layer, EQUALS[name], classes, **ours_of_relu)
    assert_documented(NAME, name, apart(ours, theirs))


def test_cam_is_equal_but_for_the_relu():
    pair = twins.make("gap")
    theirs = their_maps(peer.CAM(pair.theirs, "last", "head"), pair)
    ours = our_map(pair.ours, "last", "cam")
    assert_documented(NAME, "CAM", apart(ours, theirs))
    classes = best_classes(pair)
    cam = peer.CAM(pair.theirs, "last", "head")
    theirs = their_maps(cam, pair, classes, normalized=True)
    ours = our_map(pair.ours, "last", "cam", classes)
    assert apart(stretched(ours), theirs) < EQUAL
    measured = difference(np.maximum(ours, 0), theirs)
    assert_documented(NAME, "CAM, the picture", measured)


def weighted(activations, parts):
    """The map, with its sign, of weights that are sums of `parts` over the grid."""
    return (parts.sum((2, 3), keepdims=True) * activations).sum(1)


def test_grad_cam_plus_plus_loses_its_division():
    """It divides a copy: `alpha[idx][mask].div_(...)`."""
    measured = []
    for head, normalized, layer in twins.CASES:
        pair = twins.make(head, normalized)
        classes = best_classes(pair)
        theirs = their_maps(signed(peer.GradCAMpp(pair.theirs, layer)), pair, classes)
        ours = our_map(pair.ours, layer, "gradcam++", classes)
        measured.append(difference(ours, theirs))
        activations, gradients = twins.evidence(pair, layer, IMAGES, classes)
        positive = np.maximum(gradients, 0)
        assert apart(weighted(activations, gradients**2 * positive), theirs) < EQUAL
        # With the division, and the sum of A alone in it.
        total = activations.sum((2, 3), keepdims=True)
        below = 2 * gradients**2 + total * gradients**3
        alphas = gradients**2 / np.where(gradients > 0, below, 1)
        assert apart(weighted(activations, alphas * positive), ours) < EQUAL
    assert_documented(NAME, "GradCAMpp", max(measured))


class Noise:
    """Stands in for a distribution: our noise, one sample after the other."""

    def __init__(self, samples):
        self.samples = iter(samples)

    def sample(self, size):
        return torch.from_numpy(next(self.samples)).expand(size)


def noisy_inputs():
    """Our noise on the images, `(batch, channels, height, width)` for each sample."""
    span = np.ptp(IMAGES, (1, 2, 3))[:, None, None, None]
    noise = [
        0.1
        * span
        * random_numbers.normal((1, *IMAGES.shape[1:]), 0, n, "float32").numpy()
        for n in range(SAMPLES)
    ]
    return [np.ascontiguousarray(np.moveaxis(one, -1, 1)) for one in noise]


def test_smooth_grad_cam_plus_plus_mixes_noisy_and_clean():
    measured = []
    for head, normalized, layer in twins.CASES:
        pair = twins.make(head, normalized)
        classes = best_classes(pair)
        noise = noisy_inputs()
        cam = peer.SmoothGradCAMpp(pair.theirs, layer, num_samples=SAMPLES)
        cam._distrib = Noise(noise)
        theirs = their_maps(signed(cam), pair, classes)
        method = methods.smoothgradcam_plus_plus(samples=SAMPLES, noise=0.1)
        ours = our_map(pair.ours, layer, method, classes)
        measured.append(difference(ours, theirs))
        seen = [
            twins.evidence(pair, layer, IMAGES + np.moveaxis(one, 1, -1), classes)
            for one in noise
        ]
        first, second, third = (
            np.mean([gradients**power for _, gradients in seen], 0)
            for power in (1, 2, 3)
        )
        clean, _ = twins.evidence(pair, layer, IMAGES, classes)
        noisy, last = seen[-1]
        # Its activations and its first power are those of the last noisy input, and
        # the sum has the gradients inside.
        inside = (third * clean).sum((2, 3), keepdims=True)
        alphas = second / (2 * second + inside + 1e-8)
        parts = alphas * np.maximum(last, 0)
        assert apart(weighted(noisy, parts), theirs) < 10 * EQUAL
        below = 2 * second + third * clean.sum((2, 3), keepdims=True)
        alphas = np.where(below > 0, second / np.where(below > 0, below, 1), 0)
        parts = alphas * np.maximum(first, 0)
        assert apart(weighted(clean, parts), ours) < 10 * EQUAL
    assert_documented(NAME, "SmoothGradCAMpp", max(measured))


@pytest.fixture
def masks_are_stretched_last(monkeypatch):
    """Undoes that masks are stretched to [0, 1] before they are resized."""
    resize = peer.ScoreCAM._upsample

    def upsample(self, masks):
        masks = resize(self, masks)
        low, high = masks.amin((2, 3), True), masks.amax((2, 3), True)
        return (masks - low) / torch.where(high > low, high - low, 1.0)

    def undo():
        monkeypatch.setattr(peer.ScoreCAM, "_normalize", lambda self, maps, *_: maps)
        monkeypatch.setattr(peer.ScoreCAM, "_upsample", upsample)

    return undo


def score_maps(method, make_cam, undone_cam, undo):
    """Ours, theirs, and theirs with the reasons undone, of all cases."""
    pairs = [(twins.make(*case[:2]), case[2]) for case in twins.CASES]
    ours = [our_map(pair.ours, layer, method, **ours_of_relu) for pair, layer in pairs]
    theirs = [their_maps(make_cam(pair.theirs, layer), pair) for pair, layer in pairs]
    undo()
    undone = [their_maps(undone_cam(pair.theirs, layer), pair) for pair, layer in pairs]
    return list(zip(ours, theirs, undone, strict=True))


def check_scores(row, maps):
    for ours, _, undone in maps:
        assert apart(ours, undone) < EQUAL
    measured = max(difference(ours, theirs) for ours, theirs, _ in maps)
    assert_documented(NAME, row, measured)


def test_score_cam_stretches_masks_before_it_resizes_them(masks_are_stretched_last):
    make_cam = peer.ScoreCAM
    maps = score_maps("scorecam", make_cam, make_cam, masks_are_stretched_last)
    check_scores("ScoreCAM", maps)


def test_ss_cam_has_other_noise_for_each_channel(masks_are_stretched_last):
    torch.manual_seed(0)

    def make_cam(model, layer):
        return peer.SSCAM(model, layer, num_samples=SAMPLES, std=2.0)

    def undone_cam(model, layer):
        cam = make_cam(model, layer)
        cam._distrib = Noise(
            2.0 * random_numbers.normal((1, 1, 16, 12), 0, n, "float32").numpy()
            for n in range(SAMPLES)
        )
        return cam

    method = methods.sscam(samples=SAMPLES, noise=2.0)
    maps = score_maps(method, make_cam, undone_cam, masks_are_stretched_last)
    check_scores("SSCAM", maps)


class FadedIn(peer.ISCAM):
    """Undoes that the shares are added up: they are n / N, not n (n + 1) / 2N."""

    step = 0

    def _score_input(self, inputs, *args):
        self.step += 1
        return super()._score_input(inputs * 2 / (self.step + 1), *args)


def test_is_cam_fades_beyond_the_input(masks_are_stretched_last):
    undo = masks_are_stretched_last
    maps = score_maps(methods.iscam(steps=10), peer.ISCAM, FadedIn, undo)
    check_scores("ISCAM", maps)


@each_case
def test_finer_cam_is_equal(head, normalized, layer):
    pair = twins.make(head, normalized)
    classes = best_classes(pair)
    cam = peer.FinerCAM(pair.theirs, layer, num_references=2)
    theirs = their_maps(cam, pair, classes)
    target = targets.contrast(classes, similar=2)
    ours = our_map(pair.ours, layer, target=target, **ours_of_relu)
    assert_documented(NAME, "FinerCAM", apart(ours, theirs))


def resized(maps, size):
    tensor = torch.from_numpy(maps)[:, None]
    return torch.nn.functional.interpolate(tensor, size, mode="bilinear")[:, 0].numpy()


def test_refine_cam_multiplies_stretched_maps():
    measured = []
    layers = ["first", "last"]
    for head, normalized in [("gap", False), ("flatten", True)]:
        pair = twins.make(head, normalized)
        classes = best_classes(pair)
        cam = peer.RefineCAM(pair.theirs, layers, base_method=peer.GradCAM)
        theirs = their_maps(cam, pair, classes, normalized=True)
        ours = our_map(
            pair.ours, layers, target=classes, fuse="product", **ours_of_relu
        )
        measured.append(difference(ours, theirs))
        each = [
            our_map(pair.ours, layer, target=classes, **ours_of_relu)
            for layer in layers
        ]
        first, last = (resized(stretched(maps), (14, 10)) for maps in each)
        assert apart(stretched(first * last), theirs) < EQUAL
    assert_documented(NAME, "RefineCAM", max(measured))


def test_fused_layer_cams_are_stretched_and_resized_last():
    measured = []
    layers = ["first", "last"]
    for head, normalized in [("gap", False), ("flatten", True)]:
        pair = twins.make(head, normalized)
        cam = peer.LayerCAM(pair.theirs, layers)
        maps = their_maps(cam, pair, normalized=True)
        theirs = cam.fuse_cams([torch.from_numpy(one) for one in maps]).numpy()
        ours = our_map(pair.ours, layers, "layercam", fuse="tanh_max", **ours_of_relu)
        measured.append(difference(ours, theirs))
        each = [
            our_map(pair.ours, layer, "layercam", resize=(14, 10), **ours_of_relu)
            for layer in layers
        ]
        scaled = [maps / maps.max((1, 2), keepdims=True) for maps in each]
        undone = cam.fuse_cams([torch.from_numpy(one) for one in scaled]).numpy()
        assert apart(ours, undone) < EQUAL
    assert_documented(NAME, "fuse_cams of LayerCAM", max(measured))
