import numpy as np
import pytest

from keras_gradcam.metrics import pointing_accuracy

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
