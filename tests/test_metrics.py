import numpy as np
import pytest
import replicas

from keras_gradcam.metrics import (
    drift,
    empty_share,
    entropy,
    heat_inside,
    peak_strength,
    pointing_accuracy,
)

BOX = (2, 3, 5, 7)


def peak_at(row, column):
    heatmap = np.zeros((8, 10))
    heatmap[row, column] = 1
    return heatmap


@pytest.mark.parametrize(
    ("place", "hit"),
    [
        ((2, 3), 1),
        ((4, 6), 1),
        ((1, 3), 0),
        ((5, 3), 0),
        ((2, 2), 0),
        ((2, 7), 0),
        # The box mirrored: rows and columns must not be swapped.
        ((6, 4), 0),
    ],
)
def test_a_box_holds_its_first_and_not_its_last_pixel(place, hit):
    assert pointing_accuracy([peak_at(*place)], [BOX]) == hit


def test_it_is_the_share_of_all_samples():
    heatmaps = [peak_at(3, 4), peak_at(3, 4), peak_at(0, 0), peak_at(3, 4)]
    boxes = [BOX, BOX, BOX, (0, 0, 1, 1)]
    assert pointing_accuracy(heatmaps, boxes) == 0.5


@pytest.mark.parametrize("heatmap", [peak_at(3, 4) * 0, peak_at(3, 4) * np.nan])
def test_a_map_without_a_peak_is_a_miss(heatmap):
    assert pointing_accuracy([heatmap], [(0, 0, 8, 10)]) == 0


def test_one_nan_is_a_miss():
    heatmap = peak_at(3, 4)
    heatmap[3, 5] = np.nan
    assert pointing_accuracy([heatmap], [BOX]) == 0


def test_a_random_map_scores_the_share_of_the_box():
    heatmaps = np.random.default_rng(0).random((4000, 8, 10))
    share = pointing_accuracy(heatmaps, [BOX] * 4000)
    assert share == pytest.approx(3 * 4 / 80, abs=0.02)


def masks_of(boxes, shape):
    masks = np.zeros(shape, "uint8")
    for mask, (top, left, bottom, right) in zip(masks, boxes, strict=True):
        mask[top:bottom, left:right] = 3
    return masks


def random_maps(count=20, shape=(8, 10), signed=True, seed=0):
    heatmaps = np.random.default_rng(seed).normal(size=(count, *shape))
    return heatmaps if signed else np.abs(heatmaps)


@pytest.mark.parametrize("measure", [pointing_accuracy, heat_inside])
def test_a_box_is_the_mask_of_its_pixels(measure):
    rng = np.random.default_rng(1)
    boxes = [
        (t, left, t + h, left + w) for t, left, h, w in rng.integers(1, 5, (20, 4))
    ]
    heatmaps = random_maps()
    by_mask = measure(heatmaps, masks_of(boxes, heatmaps.shape))
    assert measure(heatmaps, boxes) == by_mask
    assert 0 < by_mask < 1


@pytest.mark.parametrize("shape", [(12,), (8, 10), (4, 5, 6)])
@pytest.mark.parametrize("scale", [1, 1e-37, 3e37])
def test_measures_equal_their_definitions(shape, scale):
    """Also in float32, whose sums overflow where the shares are of usual size."""
    before, after, mask = (random_maps(shape=shape, seed=seed) for seed in range(3))
    before[2] = after[2] = after[3] = 0
    old, new = (np.float32(scale * heatmaps) for heatmaps in (before, after))
    for found, expected in (
        (entropy(new), replicas.entropy(after)),
        (heat_inside(new, mask > 0.5), replicas.heat_inside(after, mask > 0.5)),
        (drift(old, new), replicas.drift(before, after)),
    ):
        assert found == pytest.approx(expected, rel=1e-5)
        assert 0 < found < 1


def test_heat_inside_worked_out_by_hand():
    heatmap = np.array([[[0.0, 1.0, -5.0], [3.0, 0.0, 0.0]]])
    assert heat_inside(heatmap, [(1, 0, 2, 1)]) == 0.75
    assert heat_inside(heatmap, [(0, 0, 2, 3)]) == 1
    # What speaks against the target is no heat, wherever it is.
    assert heat_inside(heatmap, [(0, 2, 1, 3)]) == 0


def test_heat_inside_of_an_even_map_is_the_share_of_the_box():
    assert heat_inside(np.ones((2, 8, 10)), [BOX] * 2) == pytest.approx(3 * 4 / 80)


@pytest.mark.parametrize("heatmap", [peak_at(3, 4) * 0, peak_at(3, 4) * np.nan])
def test_a_map_without_heat_has_none_inside(heatmap):
    assert heat_inside([heatmap, peak_at(3, 4)], [BOX] * 2) == 0.5


def test_entropy_of_known_maps():
    assert entropy([peak_at(3, 4)]) == 0
    assert entropy(np.ones((1, 8, 10))) == pytest.approx(1)
    half = np.concatenate([np.ones((1, 4, 10)), np.zeros((1, 4, 10))], axis=1)
    assert entropy(half) == pytest.approx(np.log(40) / np.log(80))
    # The sign and the strength do not count, and an empty map has no entropy.
    assert entropy(np.concatenate([-7 * half, 0 * half])) == entropy(half)
    assert np.isnan(entropy(np.zeros((2, 8, 10))))
    assert entropy(np.ones((1, 1, 1))) == 0


def test_drift_of_known_maps():
    here, there, empty = peak_at(3, 4), peak_at(0, 0), peak_at(0, 0) * 0
    assert drift([here], [9 * here]) == 0
    assert drift([here], [there]) == 1
    assert drift([here], [here + there]) == 0.5
    assert drift([here], [empty]) == drift([empty], [here]) == 1
    assert drift([empty], [empty]) == 0
    assert drift([here] * 4, [here, there, here, here]) == 0.25


def test_drift_is_a_distance():
    a, b, c = (random_maps(1, seed=n) for n in range(3))
    assert drift(a, b) == pytest.approx(drift(b, a))
    assert drift(a, c) <= drift(a, b) + drift(b, c)


def test_peak_and_emptiness():
    heatmaps = [peak_at(3, 4), -3 * peak_at(3, 4), 0 * peak_at(3, 4)]
    assert peak_strength(heatmaps) == pytest.approx(4 / 3)
    assert empty_share(heatmaps) == pytest.approx(1 / 3)
    assert empty_share([1e-30 * peak_at(3, 4)]) == 0


@pytest.mark.parametrize("bad", [np.nan, np.inf])
def test_a_broken_map_breaks_the_mean(bad):
    """A number that passes for fine would hide it."""
    broken = peak_at(1, 1)
    broken[3, 4] = bad
    heatmaps = [peak_at(3, 4), broken]
    assert not np.isfinite(peak_strength(heatmaps))
    assert np.isnan(entropy(heatmaps))
    assert np.isnan(drift(heatmaps, heatmaps))
    assert empty_share(heatmaps) == 0


@pytest.mark.parametrize(
    ("heatmaps", "boxes"),
    [
        (np.ones((2, 8, 8)), np.ones((1, 4))),
        (np.ones((2, 8, 8, 1)), np.ones((2, 4))),
        (np.ones((2, 8, 8)), np.ones((2, 2))),
        (np.ones((0, 8, 8)), np.ones((0, 4))),
    ],
)
def test_what_does_not_fit_is_refused(heatmaps, boxes):
    with pytest.raises(ValueError, match="heatmaps.shape="):
        pointing_accuracy(heatmaps, boxes)


def test_maps_of_other_samples_are_refused():
    with pytest.raises(ValueError, match="maps of the same samples"):
        drift(np.ones((2, 8, 8)), np.ones((3, 8, 8)))
    for measure in (entropy, peak_strength, empty_share):
        with pytest.raises(ValueError, match="heatmaps.shape=\\(0, 8\\)"):
            measure(np.ones((0, 8)))
